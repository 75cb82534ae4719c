//! The head part of a manifest: what a model's outputs are said to mean.

use serde::{Deserialize, Serialize};

/// How the numbers of a model's class scores become 0..1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// They are 0..1 already; exports usually have the last step inside.
    #[default]
    None,
    /// They are logits, each for itself.
    Sigmoid,
    /// They are logits of classes of which one alone applies. Heads `detr` and `classify`.
    Softmax,
}

impl Activation {
    /// The score of one number. Softmax needs its whole row: [`Activation::scores`].
    pub(super) fn apply(self, value: f32) -> f32 {
        match self {
            Self::None | Self::Softmax => value,
            Self::Sigmoid => 1.0 / (1.0 + (-value).exp()),
        }
    }

    /// The scores of a row of numbers; 0 for those that are not finite.
    pub(super) fn scores(self, row: &[f32]) -> Vec<f32> {
        let finite = |value: f32| if value.is_finite() { value } else { f32::NEG_INFINITY };
        if self != Self::Softmax {
            return row.iter().map(|&value| if value.is_finite() { self.apply(value) } else { 0.0 }).collect();
        }
        let greatest = row.iter().copied().map(finite).fold(f32::NEG_INFINITY, f32::max);
        if greatest == f32::NEG_INFINITY {
            return vec![0.0; row.len()];
        }
        let powers: Vec<f32> = row.iter().map(|&value| (finite(value) - greatest).exp()).collect();
        let sum: f32 = powers.iter().sum();
        powers.into_iter().map(|power| power / sum).collect()
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

/// The keys of a head whose boxes overlap.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlapping {
    /// Boxes of one class that overlap more than this are one thing. Default 0.6.
    #[serde(default = "default_nms_iou")]
    pub nms_iou: f32,
    /// Of the scores, and of the objectness where there is one. Default none.
    #[serde(default)]
    pub activation: Activation,
}

/// The keys of a head that states the sides of boxes as distributions of their distances from a cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distances {
    /// Boxes of one class that overlap more than this are one thing. Default 0.6.
    #[serde(default = "default_nms_iou")]
    pub nms_iou: f32,
    /// Of the scores. Default none.
    #[serde(default)]
    pub activation: Activation,
    /// Cell sizes in pixels, in the order of the output. Default 8, 16, 32, 64.
    #[serde(default = "default_four_strides")]
    pub strides: Vec<u32>,
    /// Where in a cell distances begin, in cells. Default 0 for NanoDet-Plus (0.5 is NanoDet before it), 0.5 for PicoDet.
    pub offset: Option<f32>,
}

/// The head part of a manifest: `[head]`, distinguished by `kind`. C is the number of labels, N of boxes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum HeadSpec {
    /// One output `[1, 4+C, N]` or `[1, N, 4+C]`: centre x, centre y, width, height in input pixels, then
    /// class scores. YOLOv8 and later, and what was exported in that layout.
    Yolov8(Overlapping),
    /// As `yolov8` with M numbers for a mask behind the scores, and a second output `[1, M, H, W]` that they weigh:
    /// segmentation of YOLOv8 and later.
    #[serde(rename = "yolov8-seg")]
    Yolov8Seg(Overlapping),
    /// As `yolov8` with key points behind the scores, each of them x, y in input pixels and a score: pose of YOLOv8 and
    /// later.
    #[serde(rename = "yolov8-pose")]
    Yolov8Pose {
        /// Boxes of one class that overlap more than this are one thing. Default 0.6.
        #[serde(default = "default_nms_iou")]
        nms_iou: f32,
        /// Of the scores. Default none.
        #[serde(default)]
        activation: Activation,
        /// Numbers of a key point: 3, or 2 where there are no scores. Default 3.
        #[serde(default = "default_keypoint_values")]
        values: usize,
    },
    /// One output `[1, N, 5+C]`: as above with the objectness before the class scores. YOLOv5, YOLOv7.
    Yolov5(Overlapping),
    /// One output `[1, N, 5+C]` in grid cells, or one `[1, 5+C, H, W]` for each stride: offset from the cell, logarithm
    /// of the size in strides. YOLOX as it is usually exported, without decoding.
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
    /// One output `[1, N, C+4*B]`, or scores and sides apart, in one output or in one for each stride: for each side of
    /// a box the distribution of its distance from the cell over B bins. NanoDet and NanoDet-Plus.
    Nanodet(Distances),
    /// The same as PicoDet has it; also after its post-processing without NMS: `[1, N, 4]` + `[1, C, N]`, two corners in
    /// input pixels; and with NMS inside: `[N, 6]` of class, score, two corners, beside a count.
    Picodet(Distances),
    /// Two outputs `[1, N, C]` and `[1, N, 4]`, scores and boxes (centre, size), or both in one `[1, N, 4+C]`, of boxes
    /// that do not overlap; with softmax one more score, the last, for no thing. Or labels `[1, N]`, boxes `[1, N, 4]`
    /// (two corners) and scores `[1, N]`. DETR, RT-DETR, D-FINE, RF-DETR.
    Detr {
        /// Of the scores. Default sigmoid; not applied to outputs with labels.
        #[serde(default = "default_sigmoid")]
        activation: Activation,
        /// Units of the boxes. Default unit, with labels pixels.
        #[serde(default)]
        units: Option<BoxUnits>,
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
    /// One output `[1, C]`: a score for each label, of the picture as a whole.
    Classify {
        /// Of the scores. Default none.
        #[serde(default)]
        activation: Activation,
    },
}

fn default_nms_iou() -> f32 {
    0.6
}

fn default_strides() -> Vec<u32> {
    vec![8, 16, 32]
}

fn default_four_strides() -> Vec<u32> {
    vec![8, 16, 32, 64]
}

fn default_keypoint_values() -> usize {
    3
}

fn default_sigmoid() -> Activation {
    Activation::Sigmoid
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
        self.choice().0
    }

    fn activation(&self) -> Activation {
        self.choice().1
    }

    /// How boxes are chosen: by which overlap, and what becomes of their scores before.
    fn choice(&self) -> (f32, Activation) {
        match *self {
            Self::Yolov8(Overlapping { nms_iou, activation })
            | Self::Yolov8Seg(Overlapping { nms_iou, activation })
            | Self::Yolov5(Overlapping { nms_iou, activation })
            | Self::Nanodet(Distances { nms_iou, activation, .. })
            | Self::Picodet(Distances { nms_iou, activation, .. })
            | Self::Yolov8Pose { nms_iou, activation, .. }
            | Self::Yolox { nms_iou, activation, .. }
            | Self::Ssd { nms_iou, activation, .. } => (nms_iou, activation),
            // Nothing is left to be sorted out.
            Self::Detr { activation, .. } | Self::Classify { activation } => (1.0, activation),
            Self::End2end { .. } => (1.0, Activation::None),
        }
    }

    /// Where in a cell distances begin, in cells.
    pub(super) fn offset(&self) -> f32 {
        match self {
            Self::Nanodet(Distances { offset, .. }) => offset.unwrap_or(0.0),
            Self::Picodet(Distances { offset, .. }) => offset.unwrap_or(0.5),
            _ => 0.0,
        }
    }

    /// The value of `kind`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Yolov8(_) => "yolov8",
            Self::Yolov8Seg(_) => "yolov8-seg",
            Self::Yolov8Pose { .. } => "yolov8-pose",
            Self::Yolov5(_) => "yolov5",
            Self::Yolox { .. } => "yolox",
            Self::Nanodet(_) => "nanodet",
            Self::Picodet(_) => "picodet",
            Self::Detr { .. } => "detr",
            Self::Ssd { .. } => "ssd",
            Self::End2end { .. } => "end2end",
            Self::Classify { .. } => "classify",
        }
    }

    /// Whether it says what a picture shows as a whole, not where.
    pub fn is_classifier(&self) -> bool {
        matches!(self, Self::Classify { .. })
    }

    /// Checks the numbers. The error is for the operator.
    pub(in crate::infer) fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.nms_iou()) {
            return Err(format!("head.nms_iou = {} is not between 0 and 1", self.nms_iou()));
        }
        if self.activation() == Activation::Softmax && !matches!(self, Self::Detr { .. } | Self::Classify { .. }) {
            return Err(format!(
                "head.activation = \"softmax\" is for detr and classify; {} takes none or sigmoid",
                self.kind()
            ));
        }
        match self {
            Self::Yolox { strides, .. }
            | Self::Nanodet(Distances { strides, .. })
            | Self::Picodet(Distances { strides, .. })
                if strides.is_empty() || strides.contains(&0) =>
            {
                Err(format!("head.strides = {strides:?} must hold at least one number, none of them 0"))
            }
            Self::Nanodet(_) | Self::Picodet(_) if !(0.0..=1.0).contains(&self.offset()) => {
                Err(format!("head.offset = {} is not between 0 and 1", self.offset()))
            }
            Self::Yolov8Pose { values, .. } if !(2..=3).contains(values) => {
                Err(format!("head.values = {values} is neither 2 nor 3"))
            }
            _ => Ok(()),
        }
    }
}
