//! A picture in other colours.

use super::super::spec::{Group, IMAGE, Param, ParamKind, Port, Preset, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Input, Output, Value};
use crate::execution::Kind;

pub(in super::super) struct Convert;

const FACTOR: ParamKind = ParamKind::Number { min: 0.0, max: 8.0 };

const SPEC: Spec = Spec {
    name: "convert",
    version: 1,
    group: Group::Picture,
    about: "Changes the colours of a picture: first contrast and brightness, then the mode.",
    inputs: &[Port::new("image", IMAGE, "The picture.")],
    parameters: &[
        Param::new(
            "mode",
            ParamKind::Choice(&["colour", "grey", "invert"]),
            "Whether it keeps its colours, becomes grey, or its negative (invert).",
        )
        .or(Preset::Text("colour")),
        Param::new("brightness", FACTOR, "What its brightness is multiplied with.").or(Preset::Number(1.0)),
        Param::new("contrast", FACTOR, "What the distance of its colours from medium grey is multiplied with.")
            .or(Preset::Number(1.0)),
    ],
    outputs: &[Gives::new("image", Kind::Image, "The picture in other colours.")],
};

impl Block for Convert {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let (image, settings) = (input.image("image")?, input.settings);
        let mode = settings.text("mode");
        let levels = levels(settings.number("brightness"), settings.number("contrast"), mode == "invert");
        let level = |value: u8| levels.get(usize::from(value)).copied().unwrap_or(value);
        let mut picture = (*image.picture).clone();
        if mode == "grey" {
            for pixel in picture.data.as_chunks_mut::<3>().0 {
                let [r, g, b] = pixel.map(|value| u32::from(level(value)));
                *pixel = [((77 * r + 150 * g + 29 * b) >> 8) as u8; 3];
            }
        } else {
            for value in &mut picture.data {
                *value = level(*value);
            }
        }
        Ok(Output::of("image", Value::Image(image.with(picture))))
    }
}

/// What each value becomes.
fn levels(brightness: f64, contrast: f64, is_inverted: bool) -> [u8; 256] {
    let mut levels = [0; 256];
    for (value, level) in (0u8..=255).zip(&mut levels) {
        let changed = ((f64::from(value) - 128.0) * contrast + 128.0) * brightness;
        let changed = changed.round().clamp(0.0, 255.0) as u8;
        *level = if is_inverted { 255 - changed } else { changed };
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::super::super::Image;
    use super::super::super::fixture::{Seen, one_image, run};
    use super::*;
    use crate::frame::Rgb;

    #[test]
    fn colours_are_changed_as_asked() {
        let converted = |parameters: &str| {
            let picture = Rgb { width: 1, height: 1, data: vec![100, 128, 200] };
            let inputs = [("image", Value::Image(Image::whole(picture)))];
            let output = run("convert@1", &inputs, parameters, &Seen::nothing()).expect("converted");
            one_image(&output, "image").picture.data.clone()
        };
        assert_eq!(converted("{}"), [100, 128, 200]);
        assert_eq!(converted(r#"{"mode": "grey"}"#), [127; 3]);
        assert_eq!(converted(r#"{"mode": "invert"}"#), [155, 127, 55]);
        assert_eq!(converted(r#"{"brightness": 1.5}"#), [150, 192, 255]);
        assert_eq!(converted(r#"{"contrast": 2}"#), [72, 128, 255]);
        assert_eq!(converted(r#"{"contrast": 0, "mode": "grey"}"#), [128; 3]);
    }
}
