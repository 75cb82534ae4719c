//! A small picture in a corner of another one.

use super::super::pixels::{paste, resize};
use super::super::spec::{Group, IMAGE, Param, ParamKind, Port, Preset, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Input, Output, Value};
use crate::execution::Kind;

pub(in super::super) struct Overlay;

const SPEC: Spec = Spec {
    name: "overlay",
    version: 1,
    group: Group::Picture,
    about: "Puts a small picture into a corner of another one.",
    inputs: &[Port::new("image", IMAGE, "The picture."), Port::new("small", IMAGE, "What is put into its corner.")],
    parameters: &[
        Param::new(
            "corner",
            ParamKind::Choice(&["top_left", "top_right", "bottom_left", "bottom_right"]),
            "The corner.",
        )
        .or(Preset::Text("bottom_right")),
        Param::new(
            "width",
            ParamKind::Number { min: 0.01, max: 1.0 },
            "How wide the small picture is, in widths of the other; less where it would be higher than that.",
        )
        .or(Preset::Number(0.25)),
        Param::new(
            "margin",
            ParamKind::Number { min: 0.0, max: 0.5 },
            "How far it is from the edges, in widths of the picture; less where there is no room.",
        )
        .or(Preset::Number(0.02)),
    ],
    outputs: &[Gives::new("image", Kind::Image, "The picture with the small one in it.")],
};

impl Block for Overlay {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let (image, small, settings) = (input.image("image")?, input.image("small")?, input.settings);
        let mut picture = (*image.picture).clone();
        let of = |share: f64| (share * f64::from(picture.width)).round() as u32;
        let (width, height) = (f64::from(small.picture.width.max(1)), f64::from(small.picture.height.max(1)));
        let factor =
            (settings.number("width") * f64::from(picture.width) / width).min(f64::from(picture.height) / height);
        let side = |length: f64, most: u32| ((length * factor).round() as u32).clamp(1, most.max(1));
        let small = resize(&small.picture, side(width, picture.width), side(height, picture.height))?;
        let margin = of(settings.number("margin"));
        let (across, down) = (picture.width.saturating_sub(small.width), picture.height.saturating_sub(small.height));
        let corner = settings.text("corner");
        let left = if corner.ends_with("left") { margin.min(across) } else { across.saturating_sub(margin) };
        let top = if corner.starts_with("top") { margin.min(down) } else { down.saturating_sub(margin) };
        paste(&mut picture, &small, left, top);
        Ok(Output::of("image", Value::Image(image.with(picture))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Image;
    use super::super::super::fixture::{Seen, image, one_image, run};
    use super::*;
    use crate::frame::Rgb;

    /// Where white lies in a picture of 40 by 20: left, top, right, bottom.
    fn white(size: (u32, u32), parameters: &str) -> Option<[usize; 4]> {
        let small = Rgb { width: size.0, height: size.1, data: vec![255; 3 * (size.0 * size.1) as usize] };
        let inputs = [("image", image(40, 20)), ("small", Value::Image(Image::whole(small)))];
        let output = run("overlay@1", &inputs, parameters, &Seen::nothing()).expect("a picture");
        let data = one_image(&output, "image").picture.data.clone();
        let white: Vec<(usize, usize)> =
            (0..800).filter(|at| data[3 * at..][..3] == [255; 3]).map(|at| (at % 40, at / 40)).collect();
        let (left, right) = (white.iter().map(|at| at.0).min()?, white.iter().map(|at| at.0).max()?);
        Some([left, white.first()?.1, right, white.last()?.1])
    }

    #[test]
    fn the_small_picture_lies_in_its_corner() {
        let of = |corner: &str| white((4, 2), &format!(r#"{{"corner": "{corner}", "margin": 0.05}}"#));
        assert_eq!(of("top_left"), Some([2, 2, 11, 6]));
        assert_eq!(of("bottom_right"), Some([28, 13, 37, 17]));
        assert_eq!(of("top_right"), Some([28, 2, 37, 6]));
        assert_eq!(of("bottom_left"), Some([2, 13, 11, 17]));
    }

    #[test]
    fn a_high_one_is_no_higher_than_the_picture() {
        assert_eq!(white((1, 100), r#"{"width": 1, "margin": 0.5}"#), Some([19, 0, 19, 19]));
    }
}
