//! Many pictures as one.

use super::super::pixels::{check_size, fit, paste, plain};
use super::super::spec::{Group, IMAGE, Param, ParamKind, Port, Preset, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Image, Input, Output, Value};
use crate::execution::Kind;

pub(in super::super) struct Stitch;

const SIDE: ParamKind = ParamKind::Whole { min: 1.0, max: 4096.0 };

const SPEC: Spec = Spec {
    name: "stitch",
    version: 1,
    group: Group::Picture,
    about: "Puts the pictures of a list into a grid, row by row.",
    inputs: &[Port::new("images", IMAGE, "The pictures.").list()],
    parameters: &[
        Param::new(
            "columns",
            ParamKind::Whole { min: 0.0, max: 100.0 },
            "How many lie side by side; 0 for about as many as there are rows.",
        )
        .or(Preset::Number(0.0)),
        Param::new("width", SIDE, "How wide a cell is, pixels.").or(Preset::Number(320.0)),
        Param::new("height", SIDE, "How high a cell is, pixels; pictures keep their shape in it.")
            .or(Preset::Number(240.0)),
        Param::new("colour", ParamKind::Colour, "The colour of what they leave free.").or(Preset::Text("#000000")),
    ],
    outputs: &[Gives::new("image", Kind::Image, "The grid; nothing where there are no pictures.")],
};

impl Block for Stitch {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let settings = input.settings;
        let images = input.images("images");
        let Ok(count @ 1..) = u32::try_from(images.len()) else { return Ok(Output::default()) };
        let columns = match settings.whole("columns") {
            0 => f64::from(count).sqrt().ceil() as u32,
            columns => columns.min(count),
        };
        let (width, height) = (settings.whole("width"), settings.whole("height"));
        let size = (width.saturating_mul(columns), height.saturating_mul(count.div_ceil(columns)));
        check_size(size.0, size.1)?;
        let mut grid = plain(size.0, size.1, settings.colour("colour"))?;
        for (at, image) in (0u32..).zip(images) {
            let small = fit(&image.picture, width, height)?;
            let left = at % columns * width + (width - small.width) / 2;
            let top = at / columns * height + (height - small.height) / 2;
            paste(&mut grid, &small, left, top);
        }
        Ok(Output::of("image", Value::Image(Image::whole(grid))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Seen, image, one_image, run};

    #[test]
    fn pictures_fill_the_grid_row_by_row() {
        let stitched = |count: usize, parameters: &str| {
            let inputs = vec![("images", image(20, 10)); count];
            run("stitch@1", &inputs, parameters, &Seen::nothing())
        };
        let size = |count, parameters: &str| {
            let picture = one_image(&stitched(count, parameters).expect("a grid"), "image").picture;
            (picture.width, picture.height)
        };
        assert_eq!(size(1, "{}"), (320, 240));
        assert_eq!(size(5, r#"{"width": 10, "height": 10}"#), (30, 20));
        assert_eq!(size(5, r#"{"width": 10, "height": 20, "columns": 2}"#), (20, 60));
        assert!(stitched(0, "{}").expect("nothing").items.is_empty());
        assert!(stitched(9, r#"{"width": 4096, "height": 4096}"#).is_err());
        // A cell of 10 by 10 shows a picture of 10 by 5 in its middle; the third of three cells begins the second row.
        let grid =
            one_image(&stitched(3, r##"{"width": 10, "height": 10, "colour": "#ff00ff"}"##).expect("a grid"), "image");
        let is_free = |x: usize, y: usize| grid.picture.data[3 * (20 * y + x)..][..3] == [255, 0, 255];
        assert!(
            is_free(5, 1)
                && !is_free(5, 2)
                && !is_free(5, 6)
                && is_free(5, 7)
                && !is_free(15, 5)
                && !is_free(5, 15)
                && is_free(15, 15)
        );
    }
}
