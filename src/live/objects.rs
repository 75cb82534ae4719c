//! What is drawn over the pictures.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::clock::Mono;
use crate::detection::{BBox, Detection, Track, TrackState};

/// An object in view.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LiveObject {
    /// Of its track; unique within one run of the camera's pipeline.
    pub id: u64,
    /// Class name.
    pub label: Arc<str>,
    /// Score of the last detection, 0..1.
    pub score: f32,
    /// `[x, y, w, h]`, 0..1 of the upright picture.
    #[serde(rename = "box")]
    pub bbox: BBox,
    /// Whether it was seen in this picture; otherwise the box is where it is taken to be.
    pub seen: bool,
}

/// The objects in one picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ObjectsAt {
    /// When the picture was taken, seconds on the boot clock.
    pub at: f64,
    /// Those that count as seen.
    pub objects: Vec<LiveObject>,
    /// Where they are of the camera's pipeline: numbers, texts and tables that it gives beside them, by output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<Values>,
}

/// Values of a pipeline, by output.
pub type Values = BTreeMap<String, serde_json::Value>;

impl ObjectsAt {
    pub(super) fn new(at: Mono, tracks: &[Track]) -> Self {
        let is_shown = |track: &&Track| matches!(track.state, TrackState::Confirmed | TrackState::Occluded);
        let object = |track: &Track| LiveObject {
            id: track.id,
            label: track.label.clone(),
            score: (track.score * 100.0).round() / 100.0,
            bbox: track.bbox,
            seen: track.state == TrackState::Confirmed,
        };
        Self { at: at.as_secs_f64(), objects: tracks.iter().filter(is_shown).map(object).collect(), pipeline: None }
    }

    /// What the camera's pipeline gives.
    pub(super) fn of_pipeline(at: Mono, found: &[Detection], values: Values) -> Self {
        let object = |(number, found): (u64, &Detection)| LiveObject {
            id: number,
            label: found.label.clone(),
            score: (found.score * 100.0).round() / 100.0,
            bbox: found.bbox,
            seen: true,
        };
        Self { at: at.as_secs_f64(), objects: (0..).zip(found).map(object).collect(), pipeline: Some(values) }
    }

    /// Whether there is nothing to be shown.
    pub(super) fn is_nothing(&self) -> bool {
        self.objects.is_empty() && self.pipeline.as_ref().is_none_or(BTreeMap::is_empty)
    }
}

/// A named figure of a camera's configuration, points `[x, y]` in 0..1.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outline {
    name: String,
    points: Vec<[f32; 2]>,
}

/// The zones and lines of a camera.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Outlines {
    zones: Vec<Outline>,
    lines: Vec<Outline>,
}

impl Outlines {
    /// Of zones and lines with their names.
    pub fn new(
        zones: impl IntoIterator<Item = (String, Vec<[f32; 2]>)>,
        lines: impl IntoIterator<Item = (String, Vec<[f32; 2]>)>,
    ) -> Self {
        let outline = |(name, points)| Outline { name, points };
        Self { zones: zones.into_iter().map(outline).collect(), lines: lines.into_iter().map(outline).collect() }
    }
}
