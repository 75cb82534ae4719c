//! A part of a picture.

use super::super::pixels::{Rectangle, crop};
use super::super::settings::{Settings, Wrong};
use super::super::spec::{Group, IMAGE, Param, ParamKind, Port, Preset, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Input, Models, Output, Value};
use crate::detection::BBox;
use crate::execution::Kind;
use crate::polygon::Polygon;

pub(in super::super) struct Crop;

const FROM: ParamKind = ParamKind::Number { min: 0.0, max: 0.999 };
const LENGTH: ParamKind = ParamKind::Number { min: 0.001, max: 1.0 };
const SIDES: [(&str, f64); 4] = [("left", 0.0), ("top", 0.0), ("width", 1.0), ("height", 1.0)];

const SPEC: Spec = Spec {
    name: "crop",
    version: 1,
    group: Group::Picture,
    about: "Cuts a part out of a picture, always the same one; what goes beyond the picture is left out.",
    inputs: &[Port::new("image", IMAGE, "The picture.")],
    parameters: &[
        Param::new("left", FROM, "Where the part begins, in widths of the picture.").or(Preset::Number(0.0)),
        Param::new("top", FROM, "Where the part begins, in heights of the picture.").or(Preset::Number(0.0)),
        Param::new("width", LENGTH, "How wide the part is, in widths of the picture.").or(Preset::Number(1.0)),
        Param::new("height", LENGTH, "How high the part is, in heights of the picture.").or(Preset::Number(1.0)),
        Param::new("area", ParamKind::Area, "Instead of the four: the part is the box around this area.")
            .or(Preset::Nothing),
    ],
    outputs: &[Gives::new("image", Kind::Image, "The part.")],
};

impl Block for Crop {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn check(&self, settings: &Settings, _: &dyn Models) -> Vec<Wrong> {
        let is_set = SIDES.iter().any(|(side, preset)| settings.number(side) != *preset);
        if settings.area("area").is_none() || !is_set {
            return Vec::new();
        }
        let reason = "left, top, width or height are set too";
        vec![Wrong::new("area", reason, "set either the area, or the other four")]
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let (image, settings) = (input.image("image")?, input.settings);
        let part = settings
            .area("area")
            .map_or_else(|| BBox::from(SIDES.map(|(side, _)| settings.number(side) as f32)), Polygon::bounds);
        let (width, height) = (image.picture.width, image.picture.height);
        let part = Rectangle::of(part, width, height);
        let part = part.ok_or_else(|| BlockError::step("the part lies outside of the picture; choose another one"))?;
        Ok(Output::of("image", Value::Image(image.part(crop(&image.picture, part), part.share(width, height)))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Seen, image, one_image, run, settings};
    use super::*;

    #[test]
    fn the_part_knows_its_place() {
        let half = BBox { x: 0.5, y: 0.0, w: 0.5, h: 0.5 };
        let cases = [
            ("{}", (20, 10), BBox { x: 0.0, y: 0.0, w: 1.0, h: 1.0 }),
            (r#"{"left": 0.5, "height": 0.5}"#, (10, 5), half),
            (r#"{"area": [[0.5, 0], [1, 0.25], [0.75, 0.5]]}"#, (10, 5), half),
        ];
        for (parameters, size, place) in cases {
            let output = run("crop@1", &[("image", image(20, 10))], parameters, &Seen::nothing()).expect("a part");
            let part = one_image(&output, "image");
            assert_eq!(((part.picture.width, part.picture.height), part.place), (size, place), "{parameters}");
            assert_eq!(part.picture.data.len() as u32, 3 * size.0 * size.1);
        }
    }

    #[test]
    fn an_area_beside_the_four_is_refused() {
        let wrong = settings("crop", r#"{"left": 0.5, "area": [[0, 0], [1, 0], [1, 1]]}"#, &Seen::nothing());
        assert_eq!(wrong.expect_err("refused")[0].field, "area");
    }
}
