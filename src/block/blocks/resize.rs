//! A picture in another size.

use super::super::pixels::resize;
use super::super::spec::{Group, IMAGE, Param, ParamKind, Port, Preset, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Input, Output, Value};
use crate::execution::Kind;

pub(in super::super) struct Resize;

/// Longest side that may be asked for, pixels.
const LONGEST: f64 = 16_384.0;

const SPEC: Spec = Spec {
    name: "resize",
    version: 1,
    group: Group::Picture,
    about: "Scales a picture to fit into a width and a height.",
    inputs: &[Port::new("image", IMAGE, "The picture.")],
    parameters: &[
        Param::new("width", ParamKind::Whole { min: 0.0, max: LONGEST }, "Its width in pixels; 0 for what the height gives.")
            .or(Preset::Number(0.0)),
        Param::new("height", ParamKind::Whole { min: 0.0, max: LONGEST }, "Its height in pixels; 0 for what the width gives.")
            .or(Preset::Number(0.0)),
        Param::new("mode", ParamKind::Choice(&["fit", "stretch", "shrink"]), "Whether it keeps its shape (fit), takes the size as it is (stretch), or keeps its shape and is never enlarged (shrink).")
            .or(Preset::Text("fit")),
    ],
    outputs: &[Gives::new("image", Kind::Image, "The scaled picture.")],
};

impl Block for Resize {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let (image, settings) = (input.image("image")?, input.settings);
        let picture = &image.picture;
        let (wanted, mode) = ((settings.whole("width"), settings.whole("height")), settings.text("mode"));
        let (width, height) = size((picture.width, picture.height), wanted, mode);
        Ok(Output::of("image", Value::Image(image.with(resize(picture, width, height)?))))
    }
}

/// The size of a picture of size `of` for the size `wanted`, in which 0 leaves a side open.
fn size(of: (u32, u32), wanted: (u32, u32), mode: &str) -> (u32, u32) {
    let (width, height) = (f64::from(of.0.max(1)), f64::from(of.1.max(1)));
    let share = |side: u32, of: f64| if side == 0 { f64::INFINITY } else { f64::from(side) / of };
    let (across, down) = (share(wanted.0, width), share(wanted.1, height));
    let least = across.min(down);
    let (across, down) = match mode {
        _ if !least.is_finite() => (1.0, 1.0),
        "stretch" if across.is_finite() && down.is_finite() => (across, down),
        "shrink" => (least.min(1.0), least.min(1.0)),
        _ => (least, least),
    };
    (((width * across).round() as u32).max(1), ((height * down).round() as u32).max(1))
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Seen, image, one_image, run};
    use super::*;

    #[test]
    fn sizes_keep_the_shape_unless_it_is_to_be_stretched() {
        let cases = [
            ((200, 100), (100, 0), "fit", (100, 50)),
            ((200, 100), (0, 50), "fit", (100, 50)),
            ((200, 100), (100, 100), "fit", (100, 50)),
            ((200, 100), (100, 100), "stretch", (100, 100)),
            ((200, 100), (100, 0), "stretch", (100, 50)),
            ((200, 100), (400, 400), "shrink", (200, 100)),
            ((200, 100), (400, 400), "fit", (400, 200)),
            ((200, 100), (0, 0), "fit", (200, 100)),
            ((4000, 1), (100, 100), "fit", (100, 1)),
        ];
        for (of, wanted, mode, expected) in cases {
            assert_eq!(size(of, wanted, mode), expected, "{of:?} {wanted:?} {mode}");
        }
    }

    #[test]
    fn a_picture_that_would_be_too_large_is_an_error() {
        let resized = |parameters| run("resize@1", &[("image", image(20, 10))], parameters, &Seen::nothing());
        let image = one_image(&resized(r#"{"width": 10}"#).expect("a picture"), "image");
        assert_eq!((image.picture.width, image.picture.height, image.picture.data.len()), (10, 5, 150));
        assert!(resized(r#"{"width": 16384}"#).expect_err("too large").message.contains("16384x8192"));
    }
}
