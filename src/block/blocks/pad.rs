//! A picture with a border.

use super::super::pixels::{paste, plain};
use super::super::spec::{Group, IMAGE, Param, ParamKind, Port, Preset, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Input, Output, Value};
use crate::detection::BBox;
use crate::execution::Kind;

pub(in super::super) struct Pad;

const SIDE: ParamKind = ParamKind::Whole { min: 0.0, max: 16_384.0 };

const SPEC: Spec = Spec {
    name: "pad",
    version: 1,
    group: Group::Picture,
    about: "Adds a border around a picture, up to a size and then to a shape. Nothing is cut off.",
    inputs: &[Port::new("image", IMAGE, "The picture.")],
    parameters: &[
        Param::new("width", SIDE, "Least width with the border, pixels; 0 for none.").or(Preset::Number(0.0)),
        Param::new("height", SIDE, "Least height with the border, pixels; 0 for none.").or(Preset::Number(0.0)),
        Param::new(
            "aspect",
            ParamKind::Number { min: 0.0, max: 100.0 },
            "Width by height with the border: 1 for a square, 1.7778 for 16:9, 0 for any.",
        )
        .or(Preset::Number(0.0)),
        Param::new("colour", ParamKind::Colour, "The colour of the border.").or(Preset::Text("#727272")),
    ],
    outputs: &[Gives::new("image", Kind::Image, "The picture in the middle of its border.")],
};

impl Block for Pad {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let (image, settings) = (input.image("image")?, input.settings);
        let of = (image.picture.width, image.picture.height);
        let (width, height) = size(of, (settings.whole("width"), settings.whole("height")), settings.number("aspect"));
        if (width, height) == of {
            return Ok(Output::of("image", Value::Image(image.clone())));
        }
        let mut padded = plain(width, height, settings.colour("colour"))?;
        let (left, top) = ((width - of.0) / 2, (height - of.1) / 2);
        paste(&mut padded, &image.picture, left, top);
        let (across, down) = (of.0.max(1) as f32, of.1.max(1) as f32);
        // The border belongs to the place, so that what is found in the padded picture is brought back where it is.
        let place = BBox {
            x: -(left as f32) / across,
            y: -(top as f32) / down,
            w: width as f32 / across,
            h: height as f32 / down,
        };
        Ok(Output::of("image", Value::Image(image.part(padded, place))))
    }
}

/// The size with the border; never less than `of`.
fn size(of: (u32, u32), least: (u32, u32), aspect: f64) -> (u32, u32) {
    let (width, height) = (of.0.max(least.0), of.1.max(least.1));
    if aspect <= 0.0 {
        return (width, height);
    }
    let (wanted_width, wanted_height) = (f64::from(height) * aspect, f64::from(width) / aspect);
    (width.max(wanted_width.round() as u32), height.max(wanted_height.round() as u32))
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Seen, image, one_image, run};
    use super::super::super::value::{WHOLE, within};
    use super::*;

    #[test]
    fn sizes_reach_the_shape_and_are_never_less() {
        let cases = [
            ((40, 20), (0, 0), 1.0, (40, 40)),
            ((40, 20), (0, 0), 4.0, (80, 20)),
            ((40, 20), (0, 0), 2.0, (40, 20)),
            ((40, 20), (30, 60), 0.0, (40, 60)),
            ((40, 20), (100, 0), 1.0, (100, 100)),
            ((1, 1), (0, 0), 0.01, (1, 100)),
        ];
        for (of, least, aspect, expected) in cases {
            assert_eq!(size(of, least, aspect), expected, "{of:?} {least:?} {aspect}");
        }
    }

    #[test]
    fn the_picture_lies_in_the_middle_and_keeps_its_place() {
        let output =
            run("pad@1", &[("image", image(40, 20))], r##"{"aspect": 1, "colour": "#010203"}"##, &Seen::nothing());
        let padded = one_image(&output.expect("padded"), "image");
        assert_eq!((padded.picture.width, padded.picture.height), (40, 40));
        assert_eq!(padded.picture.data[..3], [1, 2, 3]);
        assert_ne!(padded.picture.data[3 * 40 * 10..][..3], [1, 2, 3]);
        // The middle half of the padded picture is all of the one before.
        assert_eq!(within(BBox { x: 0.0, y: 0.25, w: 1.0, h: 0.5 }, padded.place), WHOLE);
    }

    #[test]
    fn a_picture_that_would_be_too_large_is_an_error() {
        let huge = run("pad@1", &[("image", image(4, 4))], r#"{"width": 16384, "height": 16384}"#, &Seen::nothing());
        assert!(huge.expect_err("too large").message.contains("16384x16384"));
    }
}
