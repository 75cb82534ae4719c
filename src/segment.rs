//! Continuous recording: one segment is one file of a camera's video.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::asset::{AssetId, MediaFile};
use crate::clock::{Moment, Mono};

/// Version of the written form `<segment-id>.json`.
pub const SCHEMA_VERSION: u32 = 1;

/// Identity of a segment; from the same source as the ids of events, so that the order of both is one.
pub type SegmentId = AssetId;

/// Where the segment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SegmentState {
    /// Being written.
    Open,
    /// Complete.
    Closed,
    /// The box stopped in the middle; it reaches as far as it reaches.
    Interrupted,
}

/// The video of a closed segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Video {
    /// The file, beside the segment's sidecar.
    #[serde(flatten)]
    pub media: MediaFile,
    /// Coding, e.g. `h264`.
    pub codec: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// Everything known about one segment; serialises to `<segment-id>.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// [`SCHEMA_VERSION`] of the writer.
    pub version: u32,
    /// Identity.
    pub id: SegmentId,
    /// The box.
    pub device: Arc<str>,
    /// Name of the camera in the config.
    pub camera: Arc<str>,
    /// Where it stands.
    pub state: SegmentState,
    /// When the first picture was taken.
    pub start: Moment,
    /// When the last picture ended; absent while it is being written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<Moment>,
    /// The video, once it is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<Video>,
}

impl Segment {
    /// The name of its file.
    pub fn file_name(id: SegmentId) -> String {
        format!("{id}.mp4")
    }

    /// The segment whose file has this name. Other spellings of an id name no segment.
    pub fn id_of(file: &str) -> Option<SegmentId> {
        let id = file.strip_suffix(".mp4")?.parse().ok()?;
        (file == Self::file_name(id)).then_some(id)
    }

    /// From when to when it reaches; one that is being written reaches to `now`.
    pub fn extent(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        (self.start.wall, self.end.as_ref().map_or(now, |end| end.wall).max(self.start.wall))
    }

    /// The name of its sidecar.
    pub fn sidecar_name(id: SegmentId) -> String {
        format!("{id}.json")
    }

    /// Whether it holds a part of the time from `from` to `until`, both of the segment's own boot.
    pub fn overlaps(&self, from: Mono, until: Mono) -> bool {
        self.start.mono() <= until && self.end.as_ref().is_none_or(|end| end.mono() >= from)
    }
}

/// The segments that hold the video around an event, first and last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRange {
    /// The first.
    pub first: SegmentId,
    /// The last; it may have been open when the event ended.
    pub last: SegmentId,
}
