//! A picture turned.

use super::super::settings::{Settings, Wrong};
use super::super::spec::{Group, IMAGE, Param, ParamKind, Port, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Image, Input, Models, Output, Value};
use crate::execution::Kind;
use crate::frame::Rgb;

pub(in super::super) struct Rotate;

const SPEC: Spec = Spec {
    name: "rotate",
    version: 1,
    group: Group::Picture,
    about: "Turns a picture clockwise. A turned cut-out counts as a whole picture: merge does not bring back what is found in it.",
    inputs: &[Port::new("image", IMAGE, "The picture.")],
    parameters: &[Param::new("degrees", ParamKind::Whole { min: 0.0, max: 270.0 }, "How far: 0, 90, 180 or 270.")],
    outputs: &[Gives::new("image", Kind::Image, "The turned picture.")],
};

impl Block for Rotate {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn check(&self, settings: &Settings, _: &dyn Models) -> Vec<Wrong> {
        let degrees = settings.whole("degrees");
        if degrees.is_multiple_of(90) {
            return Vec::new();
        }
        vec![Wrong::new("degrees", format!("{degrees} is no quarter turn"), "set 0, 90, 180 or 270")]
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let image = input.image("image")?;
        let turned = match input.settings.whole("degrees") {
            90 => Image::whole(quarter(&image.picture, true)),
            180 => Image::whole(half(&image.picture)),
            270 => Image::whole(quarter(&image.picture, false)),
            _ => image.clone(),
        };
        Ok(Output::of("image", Value::Image(turned)))
    }
}

fn half(picture: &Rgb) -> Rgb {
    let mut turned = picture.clone();
    turned.data.as_chunks_mut::<3>().0.reverse();
    turned
}

fn quarter(picture: &Rgb, is_clockwise: bool) -> Rgb {
    let Rgb { width, height, ref data } = *picture;
    let (columns, rows) = (width as usize, height as usize);
    let pixels = data.as_chunks::<3>().0;
    let mut turned = Vec::with_capacity(data.len());
    for x in 0..columns {
        let column = if is_clockwise { x } else { columns - 1 - x };
        // A column becomes a row: from below where it is turned clockwise, else from above.
        for y in 0..rows {
            let row = if is_clockwise { rows - 1 - y } else { y };
            turned.extend_from_slice(pixels.get(row * columns + column).unwrap_or(&[0; 3]));
        }
    }
    Rgb { width: height, height: width, data: turned }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Seen, one_image, run, settings};
    use super::*;
    use crate::detection::BBox;

    fn turned(degrees: u32) -> (u32, u32, Vec<u8>, BBox) {
        let picture =
            Rgb { width: 3, height: 2, data: [1, 2, 3, 4, 5, 6].iter().flat_map(|grey| [*grey; 3]).collect() };
        let place = BBox { x: 0.5, y: 0.5, w: 0.5, h: 0.5 };
        let image = Value::Image(Image { place, ..Image::whole(picture) });
        let parameters = format!(r#"{{"degrees": {degrees}}}"#);
        let output = run("rotate@1", &[("image", image)], &parameters, &Seen::nothing()).expect("turned");
        let Image { picture, place, .. } = one_image(&output, "image");
        (picture.width, picture.height, picture.data.iter().copied().step_by(3).collect(), place)
    }

    #[test]
    fn pictures_are_turned_clockwise() {
        let (kept, whole) = (BBox { x: 0.5, y: 0.5, w: 0.5, h: 0.5 }, BBox { x: 0.0, y: 0.0, w: 1.0, h: 1.0 });
        assert_eq!(turned(0), (3, 2, vec![1, 2, 3, 4, 5, 6], kept));
        assert_eq!(turned(90), (2, 3, vec![4, 1, 5, 2, 6, 3], whole));
        assert_eq!(turned(180), (3, 2, vec![6, 5, 4, 3, 2, 1], whole));
        assert_eq!(turned(270), (2, 3, vec![3, 6, 2, 5, 1, 4], whole));
    }

    #[test]
    fn other_turns_are_refused() {
        assert_eq!(
            settings("rotate", r#"{"degrees": 45}"#, &Seen::nothing()).expect_err("refused")[0].field,
            "degrees"
        );
    }
}
