//! Detections and tracks: what the models see and what the tracker makes of it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Mono;

/// A rectangle in picture coordinates: 0..1 from the left and from the top edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f32; 4]", into = "[f32; 4]")]
pub struct BBox {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width.
    pub w: f32,
    /// Height.
    pub h: f32,
}

impl BBox {
    /// From two corners; corners outside the picture are cut to it.
    pub fn from_corners(x0: f32, y0: f32, x1: f32, y1: f32) -> Self {
        let (x0, y0) = (x0.clamp(0.0, 1.0), y0.clamp(0.0, 1.0));
        Self { x: x0, y: y0, w: (x1.clamp(0.0, 1.0) - x0).max(0.0), h: (y1.clamp(0.0, 1.0) - y0).max(0.0) }
    }

    /// Share of the picture that it covers, 0..1.
    pub fn area(&self) -> f32 {
        self.w * self.h
    }

    /// Centre point `[x, y]`.
    pub fn centre(&self) -> [f32; 2] {
        [self.x + self.w / 2.0, self.y + self.h / 2.0]
    }

    /// Where a thing stands on the ground: the middle of the lower edge, `[x, y]`.
    pub fn bottom_centre(&self) -> [f32; 2] {
        [self.x + self.w / 2.0, self.y + self.h]
    }

    /// Intersection over union, 0..1; 0 for two empty boxes.
    pub fn iou(&self, other: &BBox) -> f32 {
        let w = (self.x + self.w).min(other.x + other.w) - self.x.max(other.x);
        let h = (self.y + self.h).min(other.y + other.h) - self.y.max(other.y);
        if w <= 0.0 || h <= 0.0 {
            return 0.0;
        }
        let inter = w * h;
        inter / (self.area() + other.area() - inter)
    }
}

impl From<[f32; 4]> for BBox {
    fn from([x, y, w, h]: [f32; 4]) -> Self {
        Self { x, y, w, h }
    }
}

impl From<BBox> for [f32; 4] {
    /// `[x, y, w, h]`, rounded to 1e-4 (a tenth of a pixel at 1000 px), so that JSON stays readable.
    fn from(b: BBox) -> Self {
        [b.x, b.y, b.w, b.h].map(short)
    }
}

/// One thing that a model saw in one frame.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Detection {
    /// Class name as the model's manifest gives it.
    pub label: Arc<str>,
    /// Confidence, 0..1.
    pub score: f32,
    /// Where.
    #[serde(rename = "box")]
    pub bbox: BBox,
    /// What more a model for segmentation or pose says of it.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Arc<Shape>>,
}

/// What a thing looks like within its box, in shares of the picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Corners of its outline, `[x, y]`; none where the model sees none.
    Outline(#[serde(serialize_with = "rounded")] Vec<[f32; 2]>),
    /// Its key points, in the order of the model.
    Keypoints(Vec<Keypoint>),
}

impl Shape {
    /// The same in coordinates of a whole picture, of which it was found in the part `part`.
    #[must_use]
    pub fn within(&self, part: BBox) -> Self {
        let place = |[x, y]: [f32; 2]| [part.x + x * part.w, part.y + y * part.h];
        match self {
            Self::Outline(points) => Self::Outline(points.iter().copied().map(place).collect()),
            Self::Keypoints(points) => {
                let point = |point: &Keypoint| {
                    let [x, y] = place([point.x, point.y]);
                    Keypoint { x, y, ..*point }
                };
                Self::Keypoints(points.iter().map(point).collect())
            }
        }
    }
}

/// A point of a thing: a joint, the tip of a nose.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(into = "[f32; 3]")]
pub struct Keypoint {
    /// From the left edge of the picture, 0..1.
    pub x: f32,
    /// From its top edge, 0..1.
    pub y: f32,
    /// How sure the model is that it can be seen, 0..1.
    pub score: f32,
}

impl Keypoint {
    /// A point; numbers outside of 0..1 are moved into it, and those that are none become 0.
    pub fn new(x: f32, y: f32, score: f32) -> Self {
        let share = |value: f32| if value.is_nan() { 0.0 } else { value.clamp(0.0, 1.0) };
        let score = if x.is_finite() && y.is_finite() { share(score) } else { 0.0 };
        Self { x: share(x), y: share(y), score }
    }
}

impl From<Keypoint> for [f32; 3] {
    fn from(point: Keypoint) -> Self {
        [point.x, point.y, point.score].map(short)
    }
}

/// To 1e-4, so that JSON stays readable.
fn short(value: f32) -> f32 {
    (value * 10_000.0).round() / 10_000.0
}

fn rounded<S: serde::Serializer>(points: &[[f32; 2]], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(points.iter().map(|point| point.map(short)))
}

/// Where a track stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackState {
    /// Seen too few times to believe.
    Tentative,
    /// Seen in this update.
    Confirmed,
    /// Confirmed before, not seen in this update; its box is a prediction.
    Occluded,
    /// Gone for good; reported once.
    Ended,
}

/// One object followed through time.
#[derive(Clone, Debug)]
pub struct Track {
    /// Unique within one run of the camera's pipeline.
    pub id: u64,
    /// The class that most detections voted for.
    pub label: Arc<str>,
    /// Where it stands in its life.
    pub state: TrackState,
    /// Smoothed box (predicted while occluded).
    pub bbox: BBox,
    /// Score of the last detection, 0..1.
    pub score: f32,
    /// Median of the last three scores (missing ones count as 0), 0..1.
    pub median_score: f32,
    /// When it was first detected.
    pub first_seen: Mono,
    /// When it was last detected.
    pub last_seen: Mono,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iou_of_boxes() {
        let a = BBox { x: 0.0, y: 0.0, w: 0.2, h: 0.2 };
        let cases = [
            (a, 1.0),
            (BBox { x: 0.1, y: 0.0, w: 0.2, h: 0.2 }, 1.0 / 3.0),
            (BBox { x: 0.5, y: 0.5, w: 0.2, h: 0.2 }, 0.0),
            (BBox { x: 0.2, y: 0.0, w: 0.2, h: 0.2 }, 0.0),
            (BBox::default(), 0.0),
        ];
        for (b, expected) in cases {
            assert!((a.iou(&b) - expected).abs() < 1e-5, "{b:?}: {}", a.iou(&b));
        }
    }

    #[test]
    fn boxes_are_cut_to_the_picture_and_written_as_four_numbers() {
        let b = BBox::from_corners(-0.5, 0.25, 0.333_333_34, 2.0);
        assert_eq!(serde_json::to_string(&b).expect("json"), "[0.0,0.25,0.3333,0.75]");
    }
}
