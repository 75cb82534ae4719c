//! Boxes around things.

use super::super::pixels::Rectangle;
use super::super::spec::{Group, IMAGE, OBJECTS, Param, ParamKind, Port, Preset, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Input, Output, Value};
use crate::execution::Kind;
use crate::frame::Rgb;

pub(in super::super) struct Draw;

const SPEC: Spec = Spec {
    name: "draw",
    version: 1,
    group: Group::Picture,
    about: "Draws boxes around things.",
    inputs: &[Port::new("image", IMAGE, "The picture."), Port::new("objects", OBJECTS, "The things in it.")],
    parameters: &[
        Param::new("colour", ParamKind::Colour, "The colour of the boxes.").or(Preset::Text("#ffb000")),
        Param::new(
            "thickness",
            ParamKind::Whole { min: 0.0, max: 64.0 },
            "How thick the lines are, pixels; 0 for what fits the picture.",
        )
        .or(Preset::Number(0.0)),
    ],
    outputs: &[Gives::new("image", Kind::Image, "The picture with the boxes.")],
};

impl Block for Draw {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let (image, objects) = (input.image("image")?, input.objects("objects")?);
        let mut picture = (*image.picture).clone();
        let longest = picture.width.max(picture.height);
        let thickness = match input.settings.whole("thickness") {
            0 => (longest / 320).max(1),
            pixels => pixels,
        };
        for object in &objects.objects {
            if let Some(part) = Rectangle::of(object.bbox, picture.width, picture.height) {
                outline(&mut picture, part, thickness, input.settings.colour("colour"));
            }
        }
        Ok(Output::of("image", Value::Image(image.with(picture))))
    }
}

fn outline(picture: &mut Rgb, part: Rectangle, thickness: u32, colour: [u8; 3]) {
    let line = 3 * picture.width as usize;
    let rows = picture.data.chunks_exact_mut(line.max(1)).skip(part.top as usize).take(part.height as usize);
    for (y, row) in (0..part.height).zip(rows) {
        let is_edge = y < thickness || y + thickness >= part.height;
        let pixels = row.as_chunks_mut::<3>().0.iter_mut().skip(part.left as usize).take(part.width as usize);
        for (x, pixel) in (0..part.width).zip(pixels) {
            if is_edge || x < thickness || x + thickness >= part.width {
                *pixel = colour;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Seen, image, objects, one_image, run};

    #[test]
    fn the_outline_is_coloured_and_the_inside_is_not() {
        let inputs = [("image", image(20, 20)), ("objects", objects(&[("dog", 0.9, [0.25, 0.25, 0.5, 0.5])]))];
        let output =
            run("draw@1", &inputs, r##"{"colour": "#010203", "thickness": 2}"##, &Seen::nothing()).expect("a picture");
        let picture = one_image(&output, "image").picture;
        let at = |x: usize, y: usize| picture.data[3 * (20 * y + x)..][..3].to_vec();
        for (x, y) in [(5, 5), (6, 6), (14, 14), (13, 8), (5, 10)] {
            assert_eq!(at(x, y), [1, 2, 3], "{x} {y}");
        }
        for (x, y) in [(4, 5), (7, 7), (12, 12), (15, 15)] {
            assert_ne!(at(x, y), [1, 2, 3], "{x} {y}");
        }
    }
}
