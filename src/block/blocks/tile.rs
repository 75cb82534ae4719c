//! A picture in tiles that overlap, so that small things are large enough for a model.

use std::collections::BTreeSet;

use super::super::pixels::{Rectangle, check_parts, crop};
use super::super::spec::{Group, IMAGE, Param, ParamKind, Port, Preset, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Input, Output, Value};
use crate::execution::Kind;

pub(in super::super) struct Tile;

/// Most tiles of one picture.
const MOST: usize = 400;

const SPEC: Spec = Spec {
    name: "tile",
    version: 1,
    group: Group::Picture,
    about: "Cuts a picture into tiles that overlap; steps behind it run once for each, and merge joins what they find.",
    inputs: &[Port::new("image", IMAGE, "The picture.")],
    parameters: &[
        Param::new(
            "side",
            ParamKind::Whole { min: 0.0, max: 16_384.0 },
            "How wide and high a tile is, pixels; 0 for as many columns and rows as are set.",
        )
        .or(Preset::Number(0.0)),
        Param::new(
            "columns",
            ParamKind::Whole { min: 1.0, max: 20.0 },
            "How many tiles lie side by side, without a side.",
        )
        .or(Preset::Number(2.0)),
        Param::new(
            "rows",
            ParamKind::Whole { min: 1.0, max: 20.0 },
            "How many rows of tiles there are, without a side.",
        )
        .or(Preset::Number(2.0)),
        Param::new(
            "overlap",
            ParamKind::Number { min: 0.0, max: 0.9 },
            "Share of a tile that the next one shows too; with a side at least that.",
        )
        .or(Preset::Number(0.2)),
    ],
    outputs: &[Gives::new("images", Kind::Image, "The tiles, row by row.").list()],
};

impl Block for Tile {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let (image, settings) = (input.image("image")?, input.settings);
        let (width, height) = (image.picture.width, image.picture.height);
        let (side, overlap) = (settings.whole("side"), settings.number("overlap"));
        let spans =
            |length, count| if side == 0 { parts(length, count, overlap) } else { steps(length, side, overlap) };
        let (across, down) = (spans(width, settings.whole("columns")), spans(height, settings.whole("rows")));
        let count = across.len().saturating_mul(down.len());
        if count > MOST {
            let message = format!(
                "a picture of {width}x{height} would have {count} tiles, and {MOST} are the most; set a longer side"
            );
            return Err(BlockError::too_large(message));
        }
        let tiles: Vec<Rectangle> = down
            .iter()
            .flat_map(|&(top, height)| across.iter().map(move |&(left, width)| Rectangle { left, top, width, height }))
            .collect();
        check_parts(&tiles)?;
        let images = tiles.into_iter().map(|tile| image.part(crop(&image.picture, tile), tile.share(width, height)));
        Ok(Output::default().list("images", images.map(Value::Image)))
    }
}

/// `count` spans of equal length over `length`, each with `overlap` of the next: begin and length.
fn parts(length: u32, count: u32, overlap: f64) -> Vec<(u32, u32)> {
    let count = f64::from(count.max(1));
    let side = f64::from(length) / (count - (count - 1.0) * overlap);
    spread(length, (side.ceil() as u32).clamp(1, length.max(1)), count as u32)
}

/// As many spans of length `side` over `length` as make them overlap by `overlap` at least.
fn steps(length: u32, side: u32, overlap: f64) -> Vec<(u32, u32)> {
    let side = side.clamp(1, length.max(1));
    let step = (f64::from(side) * (1.0 - overlap)).max(1.0);
    spread(length, side, (f64::from(length - side.min(length)) / step).ceil() as u32 + 1)
}

/// `count` spans of length `side`, from one end to the other; none twice.
fn spread(length: u32, side: u32, count: u32) -> Vec<(u32, u32)> {
    let (free, gaps) = (f64::from(length.saturating_sub(side)), f64::from(count.max(2) - 1));
    let begins: BTreeSet<u32> = (0..count).map(|at| (free * f64::from(at) / gaps).round() as u32).collect();
    begins.into_iter().map(|begin| (begin, side)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Seen, image, run, sizes};
    use super::*;
    use crate::detection::BBox;

    #[test]
    fn tiles_cover_the_picture_and_overlap() {
        let cases =
            [(100, 40, 0.25), (100, 100, 0.5), (100, 300, 0.0), (1, 640, 0.2), (1920, 640, 0.2), (641, 640, 0.2)];
        for (length, side, overlap) in cases {
            let spans = steps(length, side, overlap);
            assert_eq!((spans[0].0, spans.last().map(|(begin, side)| begin + side)), (0, Some(length)));
            for pair in spans.windows(2) {
                let shared = (pair[0].0 + pair[0].1).saturating_sub(pair[1].0);
                assert!(f64::from(shared) + 1.0 >= overlap * f64::from(side), "{length} {side}: {spans:?}");
            }
        }
        assert_eq!(parts(100, 2, 0.0), [(0, 50), (50, 50)]);
        assert_eq!(parts(100, 4, 0.5), [(0, 40), (20, 40), (40, 40), (60, 40)]);
        assert_eq!(parts(1, 4, 0.2), [(0, 1)]);
    }

    #[test]
    fn each_tile_knows_its_place() {
        let parameters = r#"{"columns": 2, "rows": 1, "overlap": 0}"#;
        let output = run("tile@1", &[("image", image(40, 20))], parameters, &Seen::nothing()).expect("tiles");
        let place = |x| BBox { x, y: 0.0, w: 0.5, h: 1.0 };
        assert_eq!(sizes(&output, "images"), [(20, 20, place(0.0)), (20, 20, place(0.5))]);
    }

    #[test]
    fn too_many_tiles_are_an_error() {
        let error =
            run("tile@1", &[("image", image(300, 200))], r#"{"side": 4}"#, &Seen::nothing()).expect_err("too many");
        assert!(error.message.contains("400 are the most"), "{}", error.message);
    }
}
