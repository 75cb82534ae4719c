//! What a model's output means: from rows of numbers to boxes with a class and a score.
//!
//! A head is fitted to the real output shapes when the model is loaded and refuses what it does not
//! understand; decoding therefore never fails. Numbers that are not finite are passed over.

mod end2end;
mod meaning;
mod ssd;
mod table;
mod yolo;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::engine::Output;
use super::input::InputSpec;
use end2end::End2end;
use ssd::Ssd;
use yolo::Yolo;

/// How the numbers of a model's class scores become 0..1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// They are 0..1 already; exports usually have the last step inside.
    #[default]
    None,
    /// They are logits.
    Sigmoid,
}

impl Activation {
    fn apply(self, value: f32) -> f32 {
        match self {
            Self::None => value,
            Self::Sigmoid => 1.0 / (1.0 + (-value).exp()),
        }
    }
}

/// Order of the four numbers of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BoxOrder {
    /// Left, top, right, bottom.
    Xyxy,
    /// Top, left, bottom, right, as TensorFlow has it.
    Yxyx,
}

/// What the numbers of a box count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BoxUnits {
    /// Shares of the input's width and height.
    #[default]
    Unit,
    /// Pixels of the input.
    Pixels,
}

/// The head part of a manifest: `[head]`, distinguished by `kind`. C is the number of labels, N of boxes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum HeadSpec {
    /// One output `[1, 4+C, N]` or `[1, N, 4+C]`: centre x, centre y, width, height in input pixels, then
    /// class scores. YOLOv8 and later, and what was exported in that layout.
    Yolov8 {
        /// Boxes of one class that overlap more than this are one thing. Default 0.6.
        #[serde(default = "default_nms_iou")]
        nms_iou: f32,
        /// Of the scores. Default none.
        #[serde(default)]
        activation: Activation,
    },
    /// One output `[1, N, 5+C]`: as above with the objectness before the class scores. YOLOv5, YOLOv7.
    Yolov5 {
        /// Boxes of one class that overlap more than this are one thing. Default 0.6.
        #[serde(default = "default_nms_iou")]
        nms_iou: f32,
        /// Of objectness and scores. Default none.
        #[serde(default)]
        activation: Activation,
    },
    /// One output `[1, N, 5+C]` in grid cells: offset from the cell, logarithm of the size in strides.
    /// YOLOX as it is usually exported, without decoding.
    Yolox {
        /// Boxes of one class that overlap more than this are one thing. Default 0.6.
        #[serde(default = "default_nms_iou")]
        nms_iou: f32,
        /// Of objectness and scores. Default none.
        #[serde(default)]
        activation: Activation,
        /// Cell sizes in pixels, in the order of the output. Default 8, 16, 32.
        #[serde(default = "default_strides")]
        strides: Vec<u32>,
    },
    /// Two outputs `[1, N, 4]` and `[1, N, C]` (boxes and scores), or TensorFlow's four: boxes `[1, N, 4]`,
    /// classes `[1, N]`, scores `[1, N]`, count `[1]`. Boxes are two corners.
    Ssd {
        /// Boxes of one class that overlap more than this are one thing. Default 0.6.
        #[serde(default = "default_nms_iou")]
        nms_iou: f32,
        /// Of the scores. Default none.
        #[serde(default)]
        activation: Activation,
        /// Order of the corners. Default xyxy with two outputs, yxyx with four.
        #[serde(default)]
        order: Option<BoxOrder>,
        /// Units of the corners. Default unit.
        #[serde(default)]
        units: BoxUnits,
        /// Whether class 0 is the background, which has no label. Default true.
        #[serde(default = "default_background")]
        background: bool,
    },
    /// One output `[1, N, 6]`: two corners, score, class, of boxes that the model has chosen itself. YOLOv10, YOLO26,
    /// and exports with `nms=True` as far as the engine runs them.
    End2end {
        /// Units of the corners. Default pixels.
        #[serde(default = "default_pixels")]
        units: BoxUnits,
    },
}

fn default_nms_iou() -> f32 {
    0.6
}

fn default_strides() -> Vec<u32> {
    vec![8, 16, 32]
}

fn default_pixels() -> BoxUnits {
    BoxUnits::Pixels
}

fn default_background() -> bool {
    true
}

impl HeadSpec {
    /// Overlap above which two boxes of one class are one thing.
    pub fn nms_iou(&self) -> f32 {
        match *self {
            Self::Yolov8 { nms_iou, .. }
            | Self::Yolov5 { nms_iou, .. }
            | Self::Yolox { nms_iou, .. }
            | Self::Ssd { nms_iou, .. } => nms_iou,
            // Nothing is left to be sorted out.
            Self::End2end { .. } => 1.0,
        }
    }

    /// The value of `kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Yolov8 { .. } => "yolov8",
            Self::Yolov5 { .. } => "yolov5",
            Self::Yolox { .. } => "yolox",
            Self::Ssd { .. } => "ssd",
            Self::End2end { .. } => "end2end",
        }
    }

    /// Checks the numbers. The error is for the operator.
    pub(super) fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.nms_iou()) {
            return Err(format!("head.nms_iou = {} is not between 0 and 1", self.nms_iou()));
        }
        match self {
            Self::Yolox { strides, .. } if strides.is_empty() || strides.contains(&0) => {
                Err(format!("head.strides = {strides:?} must hold at least one number, none of them 0"))
            }
            _ => Ok(()),
        }
    }
}

/// A box that a head read, before overlaps are sorted out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    /// Index of the label.
    pub class: usize,
    /// 0..1.
    pub score: f32,
    /// Left, top, right, bottom in input pixels; finite, with an area.
    pub corners: [f32; 4],
}

impl Candidate {
    /// `None` where a number is not finite, the box is empty or the score too low.
    fn new(class: usize, score: f32, min_score: f32, corners: [f32; 4]) -> Option<Self> {
        let [x0, y0, x1, y1] = corners;
        let sound = score.is_finite() && corners.iter().all(|v| v.is_finite()) && x1 > x0 && y1 > y0;
        (sound && score >= min_score).then(|| Self { class, score: score.min(1.0), corners })
    }

    fn centred(class: usize, score: f32, min_score: f32, [x, y, w, h]: [f32; 4]) -> Option<Self> {
        Self::new(class, score, min_score, [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0])
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

/// A head that was fitted to a model.
#[derive(Debug)]
pub(super) enum Head {
    Yolo(Yolo),
    Ssd(Ssd),
    End2end(End2end),
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
        let misfit = |(understood, classes): (String, Option<usize>)| {
            let named = names.iter().zip(shapes).map(|(name, shape)| format!("{name} {shape:?}"));
            let found = named.collect::<Vec<_>>().join(" + ");
            let chosen = matches!(shapes, [[1, _, end2end::COLUMNS]]);
            let classes = classes.filter(|&classes| classes != labels);
            Misfit { kind: spec.kind(), found, understood, labels, classes, chosen }
        };
        match spec {
            HeadSpec::End2end { .. } => End2end::fit(spec, input, labels, shapes).map(Self::End2end).map_err(misfit),
            HeadSpec::Ssd { .. } => Ssd::fit(spec, input, labels, names, shapes).map(Self::Ssd).map_err(misfit),
            _ => Yolo::fit(spec, input, labels, shapes).map(Self::Yolo).map_err(misfit),
        }
    }

    /// All boxes with a score of at least `min_score`. `outputs` have the shapes that the head was fitted to.
    pub(super) fn decode(&self, outputs: &[Output], min_score: f32) -> Vec<Candidate> {
        match self {
            Self::Yolo(yolo) => outputs.first().map(|output| yolo.decode(&output.data, min_score)).unwrap_or_default(),
            Self::Ssd(ssd) => ssd.decode(outputs, min_score),
            Self::End2end(head) => outputs.first().map(|output| head.decode(output, min_score)).unwrap_or_default(),
        }
    }

    /// Whether it can read an output of shape `found` that had shape `fitted` when the model was loaded.
    pub(super) fn accepts(&self, fitted: &[usize], found: &[usize]) -> bool {
        match self {
            Self::End2end(_) => End2end::accepts(found),
            Self::Yolo(_) | Self::Ssd(_) => fitted == found,
        }
    }

    /// Why `outputs`, which the model gave for a photograph, cannot mean what the head reads in them; `None`: nothing
    /// speaks against it. Whether anything is seen does not matter.
    pub(super) fn doubt(&self, outputs: &[Output]) -> Option<String> {
        match self {
            Self::Yolo(yolo) => outputs.first().and_then(|output| yolo.doubt(&output.data)),
            Self::Ssd(ssd) => ssd.doubt(outputs),
            Self::End2end(head) => outputs.first().and_then(|output| head.doubt(output)),
        }
    }
}

#[cfg(test)]
mod tests;
