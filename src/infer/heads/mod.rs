//! What a model's output means: from rows of numbers to boxes with a class and a score.
//!
//! A head is fitted to the real output shapes when the model is loaded and refuses what it does not
//! understand; decoding therefore never fails. Numbers that are not finite are passed over.

mod classify;
mod detr;
mod distribution;
mod end2end;
mod mask;
mod meaning;
mod spec;
mod ssd;
mod table;
mod yolo;

use std::fmt;

use super::engine::Output;
use super::input::InputSpec;
use super::preprocess::Fit;
use crate::detection::Shape;
use classify::Classify;
use detr::Detr;
use distribution::Distribution;
use end2end::End2end;
use ssd::Ssd;
use yolo::Yolo;

pub use spec::{Activation, BoxOrder, BoxUnits, HeadSpec};

/// A box that a head read, before overlaps are sorted out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    /// Index of the label.
    pub class: usize,
    /// 0..1.
    pub score: f32,
    /// Left, top, right, bottom in input pixels; finite, with an area.
    pub corners: [f32; 4],
    /// Which row of the output it was read from.
    pub row: usize,
}

impl Candidate {
    /// `None` where a number is not finite, the box is empty or the score too low.
    fn new(class: usize, score: f32, min_score: f32, corners: [f32; 4]) -> Option<Self> {
        let [x0, y0, x1, y1] = corners;
        let sound = score.is_finite() && corners.iter().all(|v| v.is_finite()) && x1 > x0 && y1 > y0;
        (sound && score >= min_score).then(|| Self { class, score: score.min(1.0), corners, row: 0 })
    }

    fn of_row(self, row: usize) -> Self {
        Self { row, ..self }
    }
}

/// Why a head does not fit a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    kind: &'static str,
    found: String,
    understood: String,
    labels: usize,
    /// How many classes the model seems to have, where that is known and is not the number of labels.
    classes: Option<usize>,
    /// The output looks like that of a model that chooses its boxes itself.
    chosen: bool,
}

/// What to do with a model that chooses its boxes itself.
const CHOSEN: &str = "boxes that the model has chosen itself (two corners, score, class); use kind = \"end2end\", or \
                      export it with end2end=False or nms=False";

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, found, understood, labels, classes, chosen } = self;
        write!(f, "its output is {found}, but head {kind} with {labels} labels understands {understood}")?;
        match classes {
            _ if *chosen => write!(f, "; that is how an output looks with {CHOSEN}"),
            Some(classes) => write!(f, "; the output looks like {classes} classes, so check the labels"),
            None => Ok(()),
        }
    }
}

/// What would be understood, and how many classes the output seems to have where that is known.
type Unfit = (String, Option<usize>);

/// Corners of a box that is given by its centre and its size.
fn corners_of([x, y, w, h]: [f32; 4]) -> [f32; 4] {
    [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0]
}

/// The cells of all grids, line by line, grid after grid: column, row and stride of each.
fn cells(input: &InputSpec, strides: &[u32]) -> Vec<[f32; 3]> {
    let mut cells = Vec::new();
    for &stride in strides {
        for line in 0..input.height.div_ceil(stride.max(1)) {
            for column in 0..input.width.div_ceil(stride.max(1)) {
                cells.push([column as f32, line as f32, stride as f32]);
            }
        }
    }
    cells
}

/// A head that was fitted to a model.
#[derive(Debug)]
pub(super) enum Head {
    Yolo(Yolo),
    Distribution(Distribution),
    Detr(Detr),
    Ssd(Ssd),
    End2end(End2end),
    Classify(Classify),
}

impl Head {
    /// Fits the head that a manifest names to the outputs that the engine really gives.
    pub(super) fn fit(
        spec: &HeadSpec,
        input: &InputSpec,
        labels: usize,
        names: &[&str],
        shapes: &[&[usize]],
    ) -> Result<Self, Misfit> {
        let misfit = |(understood, classes): Unfit| {
            let named = names.iter().zip(shapes).map(|(name, shape)| format!("{name} {shape:?}"));
            let found = named.collect::<Vec<_>>().join(" + ");
            let chosen = matches!(shapes, [[1, _, end2end::COLUMNS]]);
            let classes = classes.filter(|&classes| classes != labels);
            Misfit { kind: spec.kind(), found, understood, labels, classes, chosen }
        };
        let fitted = match spec {
            HeadSpec::End2end { .. } => End2end::fit(spec, input, labels, shapes).map(Self::End2end),
            HeadSpec::Ssd { .. } => Ssd::fit(spec, input, labels, names, shapes).map(Self::Ssd),
            HeadSpec::Detr { activation, units } => {
                Detr::fit(*activation, *units, input, labels, names, shapes).map(Self::Detr)
            }
            HeadSpec::Classify { activation } => Classify::fit(*activation, input, labels, shapes).map(Self::Classify),
            HeadSpec::Picodet(_) if let Some(chosen) = End2end::of_paddle(input, labels, shapes) => {
                Ok(Self::End2end(chosen))
            }
            HeadSpec::Nanodet(keys) | HeadSpec::Picodet(keys) => {
                let strides = &keys.strides;
                let grid = distribution::Grid { cells: cells(input, strides), strides, offset: spec.offset() };
                Distribution::fit(grid, keys.activation, input, labels, shapes).map(Self::Distribution)
            }
            HeadSpec::Yolov8(_)
            | HeadSpec::Yolov8Seg(_)
            | HeadSpec::Yolov8Pose { .. }
            | HeadSpec::Yolov5(_)
            | HeadSpec::Yolox { .. } => Yolo::fit(spec, input, labels, shapes).map(Self::Yolo),
        };
        fitted.map_err(misfit)
    }

    /// All boxes with a score of at least `min_score`. `outputs` have the shapes that the head was fitted to.
    pub(super) fn decode(&self, outputs: &[Output], min_score: f32) -> Vec<Candidate> {
        match self {
            Self::Yolo(yolo) => yolo.decode(outputs, min_score),
            Self::Distribution(head) => head.decode(outputs, min_score),
            Self::Detr(detr) => detr.decode(outputs, min_score),
            Self::Ssd(ssd) => ssd.decode(outputs, min_score),
            Self::End2end(head) => outputs.first().map(|output| head.decode(output, min_score)).unwrap_or_default(),
            Self::Classify(head) => outputs.first().map(|output| head.decode(output, min_score)).unwrap_or_default(),
        }
    }

    /// What more the model says of the place of a box: its outline or key points, in shares of the picture.
    pub(super) fn shape(&self, outputs: &[Output], candidate: &Candidate, fit: Fit) -> Option<Shape> {
        match self {
            Self::Yolo(yolo) => yolo.shape(outputs, candidate, fit),
            _ => None,
        }
    }

    /// Whether it can read an output of shape `found` that had shape `fitted` when the model was loaded.
    pub(super) fn accepts(&self, fitted: &[usize], found: &[usize]) -> bool {
        match self {
            // The count beside the boxes is always one number.
            Self::End2end(_) => End2end::accepts(found) || fitted == found,
            _ => fitted == found,
        }
    }

    /// Why `outputs`, which the model gave for a photograph, cannot mean what the head reads in them; `None`: nothing
    /// speaks against it. Whether anything is seen does not matter.
    pub(super) fn doubt(&self, outputs: &[Output]) -> Option<String> {
        match self {
            Self::Yolo(yolo) => yolo.doubt(outputs),
            Self::Distribution(head) => head.doubt(outputs),
            Self::Detr(detr) => detr.doubt(outputs),
            Self::Ssd(ssd) => ssd.doubt(outputs),
            Self::End2end(head) => outputs.first().and_then(|output| head.doubt(output)),
            Self::Classify(head) => outputs.first().and_then(|output| head.doubt(output)),
        }
    }
}

#[cfg(test)]
mod tests;
