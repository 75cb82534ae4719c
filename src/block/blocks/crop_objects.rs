//! A picture of each thing.

use super::super::pixels::{Rectangle, check_parts, crop};
use super::super::spec::{Group, IMAGE, OBJECTS, Param, ParamKind, Port, Preset, Result as Gives, Spec};
use super::super::value::{Object, widened};
use super::super::{Block, BlockError, Context, Input, Output, Value};
use crate::execution::Kind;

pub(in super::super) struct CropObjects;

const SPEC: Spec = Spec {
    name: "crop_objects",
    version: 1,
    group: Group::Picture,
    about: "Cuts each thing out of a picture; steps behind it run once for each.",
    inputs: &[Port::new("image", IMAGE, "The picture."), Port::new("objects", OBJECTS, "The things in it.")],
    parameters: &[
        Param::new(
            "margin",
            ParamKind::Number { min: 0.0, max: 2.0 },
            "How much of its surroundings is kept at each side, in widths and heights of the thing.",
        )
        .or(Preset::Number(0.0)),
        Param::new("most", ParamKind::Whole { min: 1.0, max: 1000.0 }, "How many are cut out at most, the best first.")
            .or(Preset::Number(100.0)),
    ],
    outputs: &[
        Gives::new("images", Kind::Image, "A picture of each thing; none where there is nothing.").list(),
        Gives::new("labels", Kind::Text, "What each is.").list(),
    ],
};

impl Block for CropObjects {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let (image, objects) = (input.image("image")?, input.objects("objects")?);
        let (width, height) = (image.picture.width, image.picture.height);
        let margin = input.settings.number("margin") as f32;
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        let objects = objects.objects.iter().take(input.settings.whole("most") as usize);
        // A box that lies outside has no pixels.
        let part = |object: &Object| Rectangle::of(widened(object.bbox, margin), width, height);
        let parts: Vec<(&Object, Rectangle)> = objects.filter_map(|object| Some((object, part(object)?))).collect();
        check_parts(parts.iter().map(|(_, part)| part))?;
        for (object, part) in parts {
            images.push(Value::Image(image.part(crop(&image.picture, part), part.share(width, height))));
            labels.push(Value::Text(object.label.to_string()));
        }
        Ok(Output::default().list("images", images).list("labels", labels))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Seen, image, objects, run, sizes as image_sizes};
    use crate::detection::BBox;

    fn sizes(things: &[(&str, f32, [f32; 4])], parameters: &str) -> Vec<(u32, u32, BBox)> {
        let inputs = [("image", image(100, 50)), ("objects", objects(things))];
        let output = run("crop_objects@1", &inputs, parameters, &Seen::nothing()).expect("pictures");
        image_sizes(&output, "images")
    }

    #[test]
    fn each_thing_becomes_a_picture_that_knows_its_place() {
        let found = sizes(&[("dog", 0.9, [0.5, 0.0, 0.2, 0.4]), ("cat", 0.8, [0.9, 0.9, 0.1, 0.1])], "{}");
        assert_eq!(found[0], (20, 20, BBox { x: 0.5, y: 0.0, w: 0.2, h: 0.4 }));
        assert_eq!((found[1].0, found[1].1), (10, 5));
    }

    #[test]
    fn margins_end_at_the_edge_and_nothing_gives_an_empty_list() {
        let found = sizes(&[("dog", 0.9, [0.0, 0.0, 0.2, 0.4])], r#"{"margin": 0.5}"#);
        assert_eq!((found[0].0, found[0].1), (30, 30));
        assert_eq!(sizes(&[], "{}"), []);
        assert_eq!(sizes(&[("dog", 0.9, [0.0, 0.0, 0.0, 0.0])], "{}"), []);
        assert_eq!(sizes(&[("dog", 0.9, [0.0, 0.0, 0.2, 0.2]); 3], r#"{"most": 2}"#).len(), 2);
    }
}
