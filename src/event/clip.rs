//! The video of an event: files of its own, and parts of other events' files.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{EventId, MediaFile};
use crate::clock::{Moment, Mono};

/// The recorded video of an event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clip {
    /// The file.
    #[serde(flatten)]
    pub media: MediaFile,
    /// When the first picture was taken (a key frame at or before start minus pre-roll, as far as pictures existed).
    pub start: Moment,
    /// Length in seconds.
    pub duration_s: f64,
    /// Coding, e.g. `h264`.
    pub codec: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// The event went on for longer than the longest clip that the config allows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// A part of another event's clip that shows this event too: what overlaps is recorded once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SharedClip {
    /// The event in whose folder the file is.
    pub event: EventId,
    /// Name of the file.
    pub file: String,
    /// When the part begins, seconds after the event's start; negative before it.
    pub after_s: f64,
    /// Where that is in the file, seconds.
    pub offset_s: f64,
    /// How long the part is, seconds; while the event goes on, as far as it was when it began.
    pub duration_s: f64,
}

/// The name under which the whole video of an event is asked for, wherever its parts lie.
pub const WHOLE_VIDEO: &str = "video.mp4";

impl SharedClip {
    /// When the part begins, of an event that began at `start`.
    pub fn start(&self, start: Mono) -> Mono {
        let by = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or_default();
        if self.after_s < 0.0 { start - by(-self.after_s) } else { start + by(self.after_s) }
    }
}

/// Most files that the clip of one event has: the event has to fit into a row of the index.
pub const MOST_CLIPS: usize = 4;

impl Clip {
    /// The name of an event's `n`th file of video, from 0.
    pub fn file_name(n: usize) -> String {
        if n == 0 { "clip.mp4".to_owned() } else { format!("clip-{}.mp4", n + 1) }
    }
}

/// So many seconds after `at`, or before it where there are less than none.
pub(crate) fn seconds_after(at: Timestamp, seconds: f64) -> Timestamp {
    let end = if seconds < 0.0 { Timestamp::MIN } else { Timestamp::MAX };
    let by = SignedDuration::try_from_secs_f64(seconds).unwrap_or_default();
    at.checked_add(by).unwrap_or(end)
}
