//! What a pipeline came to, as it is kept: values as JSON, pictures as files.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::block::{BrokenOff, Effect, Encoded, Image, Item, Outcome, StepEffect, Value as Made, short};
use crate::execution::StepReport;
use crate::executor::MadeFile;

/// JPEG quality of pictures that no step has coded.
const QUALITY: u8 = 90;

/// What is kept of an outcome. The error names the output that cannot be written.
pub(super) struct Results {
    pub(super) outputs: BTreeMap<String, Value>,
    pub(super) files: Vec<MadeFile>,
    pub(super) steps: Vec<StepReport>,
}

/// Why nothing is kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotWritten {
    #[error("it was broken off")]
    BrokenOff(BrokenOff),
    #[error("{0}")]
    Failed(String),
}

/// Files as they are made.
struct Files<'a> {
    made: Vec<MadeFile>,
    names: BTreeSet<String>,
    /// The last number behind each stem and extension.
    counts: BTreeMap<(String, &'static str), u32>,
    is_over: &'a dyn Fn() -> Option<BrokenOff>,
}

/// Writes what a pipeline came to, unless `is_over` says why not. Takes a while: pictures are coded.
pub(super) fn write(outcome: &Outcome, is_over: &dyn Fn() -> Option<BrokenOff>) -> Result<Results, NotWritten> {
    let mut outputs = BTreeMap::new();
    let mut files = Files { made: Vec::new(), names: BTreeSet::new(), counts: BTreeMap::new(), is_over };
    for (name, item) in &outcome.outputs {
        let written = write_item(name, item, &mut files).map_err(|error| match error {
            NotWritten::Failed(reason) => NotWritten::Failed(format!("output {name}: {reason}")),
            broken_off @ NotWritten::BrokenOff(_) => broken_off,
        })?;
        outputs.insert(name.clone(), written);
    }
    for StepEffect { step, effect } in &outcome.effects {
        match effect {
            Effect::Keep { name, file } => {
                let name = files.free_name(&format!("keep-{name}"), file.extension);
                files.made.push(made(name, file, true));
            }
            Effect::Post { webhook, body } => {
                let name = files.free_name(&format!("post-{step}"), "json");
                files.made.push(posted(name, webhook, step, body));
            }
            Effect::Photo { .. } | Effect::Alert { .. } => {}
        }
    }
    let steps = outcome.steps.iter().map(|step| StepReport {
        step: step.step.clone(),
        runs: step.runs,
        took_ms: milliseconds(step.took),
    });
    Ok(Results { outputs, files: files.made, steps: steps.collect() })
}

fn write_item(name: &str, item: &Item, files: &mut Files<'_>) -> Result<Value, NotWritten> {
    match item {
        Item::Absent => Ok(Value::Null),
        Item::Many(items) => items.iter().map(|item| write_item(name, item, files)).collect(),
        Item::One(Made::Image(image)) => {
            if let Some(why) = (files.is_over)() {
                return Err(NotWritten::BrokenOff(why));
            }
            let coded = coded(image).map_err(NotWritten::Failed)?;
            let file = files.free_name(name, coded.extension);
            let (width, height) = (image.picture.width, image.picture.height);
            let place = short(&image.place).unwrap_or_default();
            let written = json!({ "file": file, "width": width, "height": height, "place": place });
            files.made.push(made(file, &coded, false));
            Ok(written)
        }
        Item::One(value) => Ok(value.to_json()),
    }
}

fn made(name: String, file: &Encoded, kept: bool) -> MadeFile {
    MadeFile {
        name,
        media_type: file.media_type.to_owned(),
        bytes: Arc::from(file.bytes.as_slice()),
        kept,
        webhook: None,
    }
}

/// What a webhook gets of a step. Its receiver is given it with what the execution says of itself.
fn posted(name: String, webhook: &str, step: &str, body: &Value) -> MadeFile {
    let mut body = body.clone();
    body["step"] = step.into();
    let (media_type, bytes) = ("application/json".to_owned(), body.to_string().into_bytes().into());
    MadeFile { name, media_type, bytes, kept: false, webhook: Some(webhook.into()) }
}

impl Files<'_> {
    /// A name that no other file has: `drawn.jpg`, `drawn-2.jpg`.
    fn free_name(&mut self, stem: &str, extension: &'static str) -> String {
        let count = self.counts.entry((stem.to_owned(), extension)).or_default();
        loop {
            *count += 1;
            let number = if *count == 1 { String::new() } else { format!("-{count}") };
            let name = format!("{stem}{number}.{extension}");
            // An output may be called as the second file of another one is.
            if self.names.insert(name.clone()) {
                return name;
            }
        }
    }
}

fn coded(image: &Image) -> Result<Arc<Encoded>, String> {
    if let Some(coded) = &image.encoded {
        return Ok(coded.clone());
    }
    let bytes = image.picture.to_jpeg(QUALITY).map_err(|error| error.to_string())?;
    Ok(Arc::new(Encoded { bytes, media_type: "image/jpeg", extension: "jpg" }))
}

/// To hundredths.
pub(super) fn milliseconds(took: std::time::Duration) -> f64 {
    (took.as_secs_f64() * 100_000.0).round() / 100.0
}
