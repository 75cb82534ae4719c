//! Models that see what a test says, pictures, and pipelines.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::context::{Context, Memory, Models, ModelsError};
use super::input::{Given, Input};
use super::output::{BlockError, Output};
use super::settings::{Settings, Wrong};
use super::value::{Image, Item, Object, Objects, Region, Table, Value, WHOLE};
use crate::clock::{Clock, Mono, SystemClock};
use crate::detection::{BBox, Detection};
use crate::execution::Pipeline;
use crate::frame::Rgb;
use crate::polygon::Polygon;

/// A model by the name `seer`, which sees the same in every picture.
pub(crate) struct Seen {
    pub(crate) detections: Vec<Detection>,
    /// Whether it says what pictures show as a whole, where that is known.
    pub(crate) classifies: Option<bool>,
    /// Sizes of the pictures that it was shown.
    pub(crate) shown: Mutex<Vec<(u32, u32)>>,
}

impl Seen {
    pub(crate) fn nothing() -> Self {
        Self::things(&[])
    }

    pub(crate) fn things(things: &[(&str, f32, [f32; 4])]) -> Self {
        let detection = |(label, score, bbox): &(&str, f32, [f32; 4])| Detection {
            label: (*label).into(),
            score: *score,
            bbox: BBox::from(*bbox),
            shape: None,
        };
        Self { detections: things.iter().map(detection).collect(), classifies: None, shown: Mutex::default() }
    }
}

impl Models for Seen {
    fn installed(&self) -> Vec<String> {
        vec!["seer".to_owned()]
    }

    fn labels(&self, _: &str) -> Option<Vec<Arc<str>>> {
        Some(vec!["dog".into(), "person".into()])
    }

    fn classifies(&self, _: &str) -> Option<bool> {
        self.classifies
    }

    fn webhooks(&self) -> Vec<String> {
        vec!["office".to_owned()]
    }

    fn detect(&self, _: &str, picture: Arc<Rgb>, min_score: f32) -> Result<Vec<Detection>, ModelsError> {
        self.shown.lock().push((picture.width, picture.height));
        Ok(self.detections.iter().filter(|found| found.score >= min_score).cloned().collect())
    }
}

/// A pipeline of these steps, with one picture as its input.
pub(crate) fn pipeline(steps: &str) -> Pipeline {
    toml::from_str(&format!("name = 'test'\n{steps}")).expect("a pipeline")
}

/// A picture whose pixels differ.
pub(crate) fn picture(width: u32, height: u32) -> Rgb {
    let pixel = |at: u32| [(at % width * 255 / width) as u8, (at / width * 255 / height) as u8, 128];
    Rgb { width, height, data: (0..width * height).flat_map(pixel).collect() }
}

pub(crate) fn image(width: u32, height: u32) -> Value {
    Value::Image(Image::whole(picture(width, height)))
}

pub(crate) fn objects(things: &[(&str, f32, [f32; 4])]) -> Value {
    let objects = things.iter().map(|(label, score, bbox)| Object {
        label: (*label).into(),
        score: *score,
        bbox: BBox::from(*bbox),
        track: None,
        shape: None,
    });
    Value::Objects(Objects { objects: objects.collect(), place: WHOLE })
}

/// Runs the block `name` (`crop@1`) once. A list is given where a name comes twice.
pub(super) fn run(
    name: &str,
    inputs: &[(&'static str, Value)],
    parameters: &str,
    models: &dyn Models,
) -> Result<Output, BlockError> {
    run_with(name, inputs, parameters, models, &Memory::default(), Mono::default())
}

/// The same with a memory, at a time.
pub(super) fn run_with(
    name: &str,
    inputs: &[(&'static str, Value)],
    parameters: &str,
    models: &dyn Models,
    memory: &Memory,
    at: Mono,
) -> Result<Output, BlockError> {
    let (name, version) = name.split_once('@').expect("NAME@VERSION");
    let block = super::find(name, version.parse().expect("a number")).expect("a block");
    let settings = settings(name, parameters, models).expect("settings");
    let mut values: BTreeMap<&'static str, Given<'_>> = BTreeMap::new();
    for port in block.spec().inputs {
        let of_port: Vec<&Value> =
            inputs.iter().filter(|(name, _)| *name == port.name).map(|(_, value)| value).collect();
        match of_port.as_slice() {
            [] => {}
            [only] if !port.list => drop(values.insert(port.name, Given::One(only))),
            many => drop(values.insert(port.name, Given::Many(many.to_vec()))),
        }
    }
    let moment = SystemClock::new().now();
    block.run(
        &Input { values, settings: &settings },
        &Context::new(models, memory, at, moment, &|| None).of_step("test"),
    )
}

/// The parameters of a block, checked.
pub(super) fn settings(name: &str, parameters: &str, models: &dyn Models) -> Result<Settings, Vec<Wrong>> {
    let block = super::blocks::ALL.iter().find(|block| block.spec().name == name).expect("a block");
    let given = serde_json::from_str(parameters).expect("JSON");
    let settings = Settings::read(block.spec(), &given, models)?;
    let mut wrong = block.check(&settings, models);
    wrong.extend(settings.wrong_variables(block.spec(), |_| true));
    if wrong.is_empty() { Ok(settings) } else { Err(wrong) }
}

/// The one value of an output.
pub(super) fn one(output: &Output, name: &str) -> Value {
    match output.items.get(name) {
        Some(Item::One(value)) => value.clone(),
        other => panic!("{name}: {other:?}"),
    }
}

pub(super) fn one_image(output: &Output, name: &str) -> Image {
    if let Value::Image(image) = one(output, name) { image } else { panic!("{name} is no picture") }
}

pub(super) fn one_objects(output: &Output, name: &str) -> Objects {
    if let Value::Objects(objects) = one(output, name) { objects } else { panic!("{name} are no objects") }
}

pub(super) fn one_table(output: &Output, name: &str) -> Table {
    if let Value::Table(table) = one(output, name) { table } else { panic!("{name} is no table") }
}

pub(super) fn one_number(output: &Output, name: &str) -> f64 {
    if let Value::Number(number) = one(output, name) { number } else { panic!("{name} is no number") }
}

pub(super) fn one_text(output: &Output, name: &str) -> String {
    if let Value::Text(text) = one(output, name) { text } else { panic!("{name} is no text") }
}

/// The values of a list.
pub(super) fn many(output: &Output, name: &str) -> Vec<Value> {
    match output.items.get(name) {
        Some(item @ Item::Many(_)) => item.values().into_iter().cloned().collect(),
        other => panic!("{name}: {other:?}"),
    }
}

/// A picture, its size, and how it was placed: what a list of pictures has.
pub(super) fn sizes(output: &Output, name: &str) -> Vec<(u32, u32, BBox)> {
    let of = |value| match value {
        Value::Image(image) => (image.picture.width, image.picture.height, image.place),
        other => panic!("{other:?}"),
    };
    many(output, name).into_iter().map(of).collect()
}

/// An area with its name.
pub(super) fn region(name: &str, points: &[[f32; 2]]) -> Region {
    Region { name: name.to_owned(), points: Polygon::new(points.to_vec()).expect("an area") }
}
