//! `[camera.<name>.record]`: what is recorded of one camera.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What of a camera's video is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordMode {
    /// A clip of every event.
    #[default]
    Events,
    /// Everything, in segments, and a clip of every event.
    Continuous,
    /// No video; events have their stills.
    Off,
}

/// What is recorded of one camera. TOML `[camera.<name>.record]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordConfig {
    /// What of the video is kept: "events", "continuous" or "off". Default: "events".
    pub mode: RecordMode,
    /// Length of a segment of continuous recording, about: it ends before the next key frame. Default: 1m.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub segment: Duration,
    /// How much of the time before an event its clip holds, at least, as far as pictures existed. Default: 5s.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub pre_roll: Duration,
    /// How long the clip goes on after the event's end. Default: 5s.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub post_roll: Duration,
    /// Longest clip, counted from the event's start. The event itself goes on. Default: 2m.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub max_clip: Duration,
    /// Whether the camera's sound is recorded with its video, where it is AAC or Opus. With `false` the camera is not even
    /// asked for it. Default: `true`.
    pub audio: bool,
}

impl Default for RecordConfig {
    fn default() -> Self {
        Self {
            mode: RecordMode::Events,
            segment: Duration::from_secs(60),
            pre_roll: Duration::from_secs(5),
            post_roll: Duration::from_secs(5),
            max_clip: Duration::from_secs(120),
            audio: true,
        }
    }
}

impl RecordConfig {
    /// Checks the values.
    ///
    /// # Errors
    /// A sentence that names the key.
    pub fn validate(&self) -> Result<(), String> {
        if self.pre_roll > Duration::from_secs(60) {
            return Err(format!("pre_roll is {:?}, it is held in memory and can be at most 60s", self.pre_roll));
        }
        if !(Duration::from_secs(5)..=Duration::from_secs(3600)).contains(&self.segment) {
            return Err(format!("segment is {:?}, it goes from 5s to 1h", self.segment));
        }
        if self.max_clip < Duration::from_secs(1) {
            return Err(format!("max_clip is {:?}, it must be at least 1s", self.max_clip));
        }
        Ok(())
    }
}
