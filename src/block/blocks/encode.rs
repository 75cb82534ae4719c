//! How a picture is written.

use std::sync::Arc;

use super::super::coded::{Format, encode};
use super::super::spec::{Group, IMAGE, Param, ParamKind, Port, Preset, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Image, Input, Output, Value};
use crate::execution::Kind;

pub(in super::super) struct Encode;

const SPEC: Spec = Spec {
    name: "encode",
    version: 1,
    group: Group::Picture,
    about: "Sets the format in which a picture leaves the pipeline; without it that is JPEG.",
    inputs: &[Port::new("image", IMAGE, "The picture.")],
    parameters: &[
        Param::new(
            "format",
            ParamKind::Choice(&["jpeg", "png", "webp"]),
            "The format: jpeg (small), png or webp (both without loss).",
        )
        .or(Preset::Text("jpeg")),
        Param::new("quality", ParamKind::Whole { min: 1.0, max: 100.0 }, "The quality of a JPEG.")
            .or(Preset::Number(85.0)),
    ],
    outputs: &[Gives::new("image", Kind::Image, "The picture; a step that changes its pixels undoes the format.")],
};

impl Block for Encode {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let image = input.image("image")?;
        let format = match input.settings.text("format") {
            "png" => Format::Png,
            "webp" => Format::Webp,
            _ => Format::Jpeg(u8::try_from(input.settings.whole("quality")).unwrap_or(100)),
        };
        let encoded = Some(Arc::new(encode(&image.picture, format)?));
        Ok(Output::of("image", Value::Image(Image { encoded, ..image.clone() })))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Seen, image, one_image, run};

    fn coded(parameters: &str) -> (&'static str, usize) {
        let output = run("encode@1", &[("image", image(64, 64))], parameters, &Seen::nothing()).expect("coded");
        let encoded = one_image(&output, "image").encoded.expect("a file");
        (encoded.media_type, encoded.bytes.len())
    }

    #[test]
    fn the_format_and_the_quality_are_what_is_asked_for() {
        assert_eq!(coded(r#"{"format": "png"}"#).0, "image/png");
        assert_eq!(coded(r#"{"format": "webp"}"#).0, "image/webp");
        let (media_type, good) = coded(r#"{"quality": 95}"#);
        assert_eq!(media_type, "image/jpeg");
        assert!(coded(r#"{"quality": 10}"#).1 < good);
    }
}
