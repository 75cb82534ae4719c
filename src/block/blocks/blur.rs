//! Parts of a picture made unrecognisable.
//!
//! What is left of a part are the means of its cells alone, so that no more can be got back than those: `blur` is
//! interpolated between them, and is no filter that could be undone.

use super::super::pixels::Rectangle;
use super::super::spec::{Group, IMAGE, OBJECTS, Param, ParamKind, Port, Preset, REGIONS, Result as Gives, Spec};
use super::super::value::{WHOLE, widened};
use super::super::{Block, BlockError, Context, Input, Object, Output, Value};
use crate::detection::{BBox, Shape};
use crate::execution::Kind;
use crate::frame::Rgb;
use crate::polygon::Polygon;

pub(in super::super) struct Blur;

/// A cell is at least this share of the short side of what is hidden.
const LEAST_SHARE: f32 = 0.125;
/// A cell is at least so many pixels wide and high: the means of smaller ones would be the picture itself.
const LEAST_SIDE: u32 = 8;

const SPEC: Spec = Spec {
    name: "blur",
    version: 1,
    group: Group::Picture,
    about: "Makes things and areas of a picture unrecognisable; all of it where neither is connected.",
    inputs: &[
        Port::new("image", IMAGE, "The picture."),
        Port::new("objects", OBJECTS, "The things that are hidden.").optional(),
        Port::new("regions", REGIONS, "The areas that are hidden.").optional(),
    ],
    parameters: &[
        Param::new(
            "mode",
            ParamKind::Choice(&["blur", "pixelate", "fill"]),
            "Whether it is blurred, becomes coarse cells (pixelate), or gets one colour (fill).",
        )
        .or(Preset::Text("blur")),
        Param::new(
            "strength",
            ParamKind::Number { min: 0.0, max: 1.0 },
            "How much is lost: from 0 (8 cells along the short side) to 1 (a single one).",
        )
        .or(Preset::Number(0.2)),
        Param::new(
            "margin",
            ParamKind::Number { min: 0.0, max: 2.0 },
            "How much of its surroundings is hidden at each side of a thing, in widths and heights of the thing.",
        )
        .or(Preset::Number(0.1)),
        Param::new(
            "follow",
            ParamKind::Choice(&["box", "outline"]),
            "Whether the box of a thing is hidden, or its outline where a model for segmentation gave one: less of the \
             picture, but what such a model misses of a thing stays visible.",
        )
        .or(Preset::Text("box")),
        Param::new("colour", ParamKind::Colour, "The colour for fill.").or(Preset::Text("#000000")),
    ],
    outputs: &[Gives::new("image", Kind::Image, "The picture, in which they cannot be recognised.")],
};

impl Block for Blur {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let (image, settings) = (input.image("image")?, input.settings);
        let cover = Cover {
            mode: match settings.text("mode") {
                "fill" => Mode::Fill,
                "pixelate" => Mode::Pixelate,
                _ => Mode::Blur,
            },
            share: LEAST_SHARE + (1.0 - LEAST_SHARE) * settings.number("strength") as f32,
            colour: settings.colour("colour"),
        };
        let mut picture = (*image.picture).clone();
        let objects = input.optional_objects("objects");
        if objects.is_none() && input.value("regions").is_none() {
            cover.hide(&mut picture, WHOLE, None);
        }
        for object in objects.iter().flat_map(|objects| &objects.objects) {
            let BBox { x, y, w, h } = object.bbox;
            if ![x, y, w, h].iter().all(|number| number.is_finite()) {
                let message = format!("the box of {} is not finite, so it is not known what to hide", object.label);
                return Err(BlockError::step(message));
            }
            let margin = settings.number("margin") as f32;
            let outlines = if settings.text("follow") == "outline" { outlines(object, margin) } else { None };
            for outline in outlines.iter().flatten() {
                cover.hide(&mut picture, outline.bounds(), Some(outline));
            }
            if outlines.is_none() {
                cover.hide(&mut picture, widened(object.bbox, margin), None);
            }
        }
        for region in input.regions("regions") {
            cover.hide(&mut picture, region.points.bounds(), Some(&region.points));
        }
        Ok(Output::of("image", Value::Image(image.with(picture))))
    }
}

/// The outline of a thing, and that with its surroundings; together, since a hollow may lie outside of the second one.
/// `None` where there is none, or it is no area.
fn outlines(object: &Object, margin: f32) -> Option<[Polygon; 2]> {
    let Some(Shape::Outline(points)) = object.shape.as_deref() else { return None };
    let [across, down] = object.bbox.centre();
    let grown = |by: f32| {
        let from = |centre: f32, place: f32| (centre + (place - centre) * by).clamp(0.0, 1.0);
        let point = |[x, y]: &[f32; 2]| [from(across, *x), from(down, *y)];
        Polygon::new(points.iter().map(point).collect()).ok()
    };
    Some([grown(1.0)?, grown(1.0 + 2.0 * margin)?])
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Blur,
    Pixelate,
    Fill,
}

/// How parts are hidden.
struct Cover {
    mode: Mode,
    /// Side of a cell, as a share of the short side of the part.
    share: f32,
    colour: [u8; 3],
}

impl Cover {
    /// Hides `part` of the picture, or of it what lies in `area`.
    fn hide(&self, picture: &mut Rgb, part: BBox, area: Option<&Polygon>) {
        let (width, height) = (picture.width, picture.height);
        let Some(inner) = Rectangle::of(part, width, height) else { return };
        let short = (part.w * width as f32).min(part.h * height as f32);
        let side = ((short * self.share).ceil() as u32).clamp(LEAST_SIDE, width.max(height).max(LEAST_SIDE));
        let cells = Cells::of(picture, inner, side);
        let across: Vec<Between> = (0..inner.width).map(|x| Between::at(x, side, cells.columns)).collect();
        let line = (3 * width as usize).max(1);
        let rows = picture.data.chunks_exact_mut(line).skip(inner.top as usize).take(inner.height as usize);
        let (mut spans, mut crossings, mut means) = (Vec::new(), Vec::new(), Vec::new());
        for (y, row) in (0..inner.height).zip(rows) {
            let Some(row) = row.as_chunks_mut::<3>().0.get_mut(inner.left as usize..) else { return };
            spans_of_row(area, inner, (width, height), y, &mut spans, &mut crossings);
            cells.row(Between::at(y, side, cells.rows), self.mode, &mut means);
            for &(begin, end) in &spans {
                let pixels = row.get_mut(begin..end).unwrap_or_default();
                self.paint(pixels, across.get(begin..end).unwrap_or_default(), &means);
            }
        }
    }

    /// Paints pixels of a row with the means `means` of its cells; `across` says between which each lies.
    fn paint(&self, pixels: &mut [[u8; 3]], across: &[Between], means: &[[u8; 3]]) {
        let mean = |cell: u32| means.get(cell as usize).copied().unwrap_or_default();
        match self.mode {
            Mode::Fill => pixels.fill(self.colour),
            Mode::Pixelate => pixels.iter_mut().zip(across).for_each(|(pixel, at)| *pixel = mean(at.own)),
            Mode::Blur => {
                for (pixel, at) in pixels.iter_mut().zip(across) {
                    *pixel = mix(mean(at.first), mean(at.second), at.weight);
                }
            }
        }
    }
}

/// From where to where row `y` of `inner` is hidden, in pixels of `inner`.
fn spans_of_row(
    area: Option<&Polygon>,
    inner: Rectangle,
    (width, height): (u32, u32),
    y: u32,
    spans: &mut Vec<(usize, usize)>,
    crossings: &mut Vec<f32>,
) {
    spans.clear();
    let all = (0, inner.width as usize);
    let Some(area) = area else {
        spans.push(all);
        return;
    };
    let pixel = |x: f32| x * width as f32 - inner.left as f32;
    // A pixel that is partly inside is hidden too.
    for within in [0.0, 0.5, 1.0] {
        area.crossings(((inner.top + y) as f32 + within) / height as f32, crossings);
        for pair in crossings.as_chunks::<2>().0 {
            let (begin, end) = (pixel(pair[0]).floor().max(0.0) as usize, pixel(pair[1]).ceil().max(0.0) as usize);
            spans.push((begin.min(all.1), end.min(all.1)));
        }
    }
}

/// Means of the cells of a part.
struct Cells {
    columns: u32,
    rows: u32,
    means: Vec<[u8; 3]>,
}

/// Between which two cells a pixel lies, along one side.
#[derive(Clone, Copy)]
struct Between {
    /// The cell that it is in.
    own: u32,
    first: u32,
    second: u32,
    /// How much of the second one it has, of 256.
    weight: u32,
}

impl Between {
    fn at(pixel: u32, side: u32, cells: u32) -> Self {
        let last = cells.saturating_sub(1);
        // In halves of pixels, from the centre of the first cell.
        let from_centre = i64::from(2 * pixel + 1) - i64::from(side);
        let (first, rest) = (from_centre.div_euclid(2 * i64::from(side)), from_centre.rem_euclid(2 * i64::from(side)));
        let cell = |at: i64| u32::try_from(at.max(0)).unwrap_or(u32::MAX).min(last);
        let weight = (rest * 256 / (2 * i64::from(side))) as u32;
        Self { own: (pixel / side).min(last), first: cell(first), second: cell(first + 1), weight }
    }
}

impl Cells {
    fn of(picture: &Rgb, part: Rectangle, side: u32) -> Self {
        let (columns, rows) = (part.width.div_ceil(side), part.height.div_ceil(side));
        let mut sums = vec![[0u64; 4]; columns as usize];
        let mut means = Vec::with_capacity(columns as usize * rows as usize);
        let line = (3 * picture.width as usize).max(1);
        let lines = picture.data.chunks_exact(line).skip(part.top as usize).take(part.height as usize);
        for (y, row) in (1..=part.height).zip(lines) {
            let from = 3 * part.left as usize;
            let pixels = row.get(from..from + 3 * part.width as usize).unwrap_or_default();
            for (sum, cell) in sums.iter_mut().zip(pixels.chunks(3 * side as usize)) {
                for pixel in cell.as_chunks::<3>().0 {
                    for (sum, value) in sum.iter_mut().zip(pixel) {
                        *sum += u64::from(*value);
                    }
                }
                sum[3] += cell.len() as u64 / 3;
            }
            if y % side == 0 || y == part.height {
                let mean = |[r, g, b, count]: &[u64; 4]| [r, g, b].map(|sum| (sum / count.max(&1)) as u8);
                means.extend(sums.iter().map(mean));
                sums.fill([0; 4]);
            }
        }
        Self { columns, rows, means }
    }

    /// The means along a row of pixels.
    fn row(&self, down: Between, mode: Mode, means: &mut Vec<[u8; 3]>) {
        let row = |row: u32| {
            let from = row as usize * self.columns as usize;
            self.means.get(from..from + self.columns as usize).unwrap_or_default()
        };
        means.clear();
        if mode == Mode::Blur {
            let upper_and_lower = row(down.first).iter().zip(row(down.second));
            means.extend(upper_and_lower.map(|(upper, lower)| mix(*upper, *lower, down.weight)));
        } else {
            means.extend_from_slice(row(down.own));
        }
    }
}

/// The colour that has `weight` of 256 of `b`, and the rest of `a`.
fn mix(a: [u8; 3], b: [u8; 3], weight: u32) -> [u8; 3] {
    let mut mixed = [0; 3];
    for (mixed, (a, b)) in mixed.iter_mut().zip(a.into_iter().zip(b)) {
        *mixed = ((u32::from(a) * (256 - weight) + u32::from(b) * weight) / 256) as u8;
    }
    mixed
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::super::fixture::{Seen, image, objects, one_image, picture, region, run};
    use super::super::super::{Encoded, Image};
    use super::*;

    fn hidden(inputs: &[(&'static str, Value)], parameters: &str) -> Rgb {
        let output = run("blur@1", inputs, parameters, &Seen::nothing()).expect("a picture");
        (*one_image(&output, "image").picture).clone()
    }

    /// A picture of noise, of which every pixel is information.
    fn noise(width: u32, height: u32) -> Value {
        let mut random = fastrand::Rng::with_seed(7);
        let data = (0..3 * width * height).map(|_| random.u8(..)).collect();
        Value::Image(Image::whole(Rgb { width, height, data }))
    }

    #[test]
    fn what_is_outside_is_kept_and_what_is_inside_is_not() {
        for mode in ["blur", "pixelate", "fill"] {
            let thing = objects(&[("dog", 0.9, [0.25, 0.25, 0.5, 0.5])]);
            let parameters = format!(r##"{{"mode": "{mode}", "margin": 0, "colour": "#010203"}}"##);
            let found = hidden(&[("image", noise(80, 80)), ("objects", thing)], &parameters);
            let Value::Image(before) = noise(80, 80) else { panic!("no picture") };
            for (at, (new, old)) in found.data.chunks(3).zip(before.picture.data.chunks(3)).enumerate() {
                let is_inside = (20..60).contains(&(at % 80)) && (20..60).contains(&(at / 80));
                // Noise and its mean are the same by chance only.
                assert!(is_inside || new == old, "{mode} {at}");
            }
            let same = (0..6400).filter(|at| found.data[3 * at..][..3] == before.picture.data[3 * at..][..3]).count();
            assert!(same <= 4800 + 5, "{mode}: {same}");
        }
    }

    #[test]
    fn no_more_than_8_cells_are_left_along_the_short_side() {
        let colours = |size: (u32, u32), bbox: [f32; 4]| {
            let found = hidden(
                &[("image", noise(size.0, size.1)), ("objects", objects(&[("face", 0.9, bbox)]))],
                r#"{"mode": "pixelate", "strength": 0, "margin": 0}"#,
            );
            let part = Rectangle::of(BBox::from(bbox), size.0, size.1).expect("inside");
            let cut = super::super::super::pixels::crop(&found, part);
            cut.data.chunks(3).map(<[u8]>::to_vec).collect::<BTreeSet<_>>().len()
        };
        assert!(colours((400, 400), [0.0, 0.0, 1.0, 1.0]) <= 64);
        // Half of it lies outside; the cells are as large as for all of it.
        assert!(colours((400, 400), [-0.5, 0.0, 1.0, 1.0]) <= 32);
        // Of a small thing a single colour is left.
        assert_eq!(colours((40, 40), [0.5, 0.5, 0.15, 0.15]), 1);
    }

    #[test]
    fn a_blurred_part_depends_on_the_means_of_its_cells_alone() {
        // Two pictures with the same means: each cell of 8 by 8 is a chess board, or its reverse.
        let board = |is_reverse: bool| {
            let pixel = |at: u32| [if (at % 64 + at / 64).is_multiple_of(2) == is_reverse { 200 } else { 100 }; 3];
            Value::Image(Image::whole(Rgb { width: 64, height: 64, data: (0..64 * 64).flat_map(pixel).collect() }))
        };
        let parameters = r#"{"strength": 0}"#;
        assert_eq!(hidden(&[("image", board(false))], parameters), hidden(&[("image", board(true))], parameters));
    }

    #[test]
    fn a_region_is_hidden_to_its_outline() {
        let triangle = region("corner", &[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]);
        let inputs = [("image", image(40, 40)), ("regions", Value::Regions(vec![triangle]))];
        let found = hidden(&inputs, r##"{"mode": "fill", "colour": "#ff00ff"}"##);
        let is_hidden = |x: usize, y: usize| found.data[3 * (40 * y + x)..][..3] == [255, 0, 255];
        assert!(is_hidden(0, 0) && is_hidden(10, 10) && is_hidden(18, 20) && is_hidden(0, 38));
        assert!(!is_hidden(39, 39) && !is_hidden(25, 25) && !is_hidden(39, 5));
    }

    #[test]
    fn an_outline_is_hidden_with_its_hollows_and_where_there_is_none_the_box() {
        // An L: its hollow is the upper right quarter of the box.
        let corners = [[0.25, 0.25], [0.5, 0.25], [0.5, 0.5], [0.75, 0.5], [0.75, 0.75], [0.25, 0.75]];
        let thing = |shape: Option<Shape>| {
            let Value::Objects(mut found) = objects(&[("dog", 0.9, [0.25, 0.25, 0.5, 0.5])]) else { panic!("objects") };
            found.objects[0].shape = shape.map(std::sync::Arc::new);
            Value::Objects(found)
        };
        let found = |shape: Option<Shape>, parameters: &str| {
            let found = hidden(&[("image", image(40, 40)), ("objects", thing(shape))], parameters);
            move |x: usize, y: usize| found.data[3 * (40 * y + x)..][..3] == [255, 0, 255]
        };
        let outline = || Some(Shape::Outline(corners.to_vec()));
        let fill = r##"{"mode": "fill", "colour": "#ff00ff", "margin": 0, "follow": "outline"}"##;
        let is_hidden = found(outline(), fill);
        assert!(is_hidden(12, 12) && is_hidden(28, 28) && is_hidden(12, 28) && !is_hidden(27, 12) && !is_hidden(5, 5));
        let is_hidden = found(outline(), &fill.replace("\"margin\": 0", "\"margin\": 0.2"));
        assert!(is_hidden(12, 12) && is_hidden(28, 28) && is_hidden(8, 8) && !is_hidden(31, 8));
        for without in [None, Some(Shape::Outline(Vec::new())), Some(Shape::Keypoints(Vec::new()))] {
            assert!(found(without, fill)(27, 12), "the box");
        }
        assert!(found(outline(), &fill.replace("outline", "box"))(27, 12));
    }

    #[test]
    fn nothing_found_changes_nothing_and_a_coded_form_is_dropped() {
        let Value::Image(image) = image(8, 8) else { panic!("no picture") };
        let encoded = Encoded { bytes: Vec::new(), media_type: "image/png", extension: "png" };
        let image = Image { encoded: Some(std::sync::Arc::new(encoded)), ..image };
        let inputs = [("image", Value::Image(image)), ("objects", objects(&[]))];
        let output = run("blur@1", &inputs, "{}", &Seen::nothing()).expect("a picture");
        assert!(one_image(&output, "image").encoded.is_none());
        assert_eq!(*one_image(&output, "image").picture, picture(8, 8));
        let endless = objects(&[("dog", 0.9, [0.0, 0.0, f32::INFINITY, 0.5])]);
        let failed = run("blur@1", &[inputs[0].clone(), ("objects", endless)], "{}", &Seen::nothing());
        assert!(failed.expect_err("refused").message.contains("dog is not finite"));
    }
}
