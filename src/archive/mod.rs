//! Outlet: events to files on the box.
//!
//! One [`Recorder`] thread per camera keeps the pre-roll ring and writes the clips of the events in
//! progress. The order in which an event becomes durable is the box's first promise:
//!
//! 1. start: folder, `event.json` (state `open`), then the index together with the alert's outbox row;
//! 2. while it lasts: stills and the clip's fragments, synced every few seconds;
//! 3. end: clip and stills synced, `event.json` (state `ended`) last, then the index together with the
//!    outbox rows of every file and of the closing alert.
//!
//! What a stop or a power cut leaves open is finished by [`recover()`] at the next start.

pub mod mux;
mod preroll;
mod recorder;
mod recording;
mod recover;
mod sidecar;
mod snapshot;
#[cfg(test)]
mod tests;
pub mod volume;
mod walk;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::clock::Clock;
use crate::detection::BBox;
use crate::event::{Event, Phase};
use crate::frame::Frame;
use crate::metrics::Metrics;
use crate::store::Store;

pub use recorder::Recorder;
pub use recording::Change;
pub use recover::{Progress, Recovered, recover};
pub use sidecar::{Layout, SIDECAR, Sidecar, look_at_event, measure};
pub use walk::{Place, Walk};

/// Announcements that a slow listener may be behind before it misses some.
const ANNOUNCEMENTS: usize = 64;

/// How clips and stills are made, for all cameras. TOML `[archive]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// JPEG quality of snapshots, 1 to 100. Default: 85.
    pub snapshot_quality: u8,
    /// Encoder for cameras that give no H.264 or H.265.
    pub encoder: mux::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self { snapshot_quality: 85, encoder: mux::Config::default() }
    }
}

impl Config {
    /// Checks the values.
    ///
    /// # Errors
    /// A sentence that names the key.
    pub fn validate(&self) -> Result<(), String> {
        if !(1..=100).contains(&self.snapshot_quality) {
            return Err(format!("snapshot_quality is {}, it goes from 1 to 100", self.snapshot_quality));
        }
        self.encoder.validate().map_err(|e| format!("encoder: {e}"))
    }
}

/// What is recorded of one camera. TOML `[camera.<name>.record]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecordConfig {
    /// How much of the time before an event its clip holds, at least, as far as pictures existed. Default: 5s.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub pre_roll: Duration,
    /// How long the clip goes on after the event's end. Default: 5s.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub post_roll: Duration,
    /// Longest clip, counted from the event's start. The event itself goes on. Default: 2m.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub max_clip: Duration,
}

impl Default for RecordConfig {
    fn default() -> Self {
        Self { pre_roll: Duration::from_secs(5), post_roll: Duration::from_secs(5), max_clip: Duration::from_secs(120) }
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
        if self.max_clip < Duration::from_secs(1) {
            return Err(format!("max_clip is {:?}, it must be at least 1s", self.max_clip));
        }
        Ok(())
    }
}

/// One look at an object: the frame, where in it the object is, and how sure the model is.
#[derive(Clone, Debug)]
pub struct Look {
    /// The whole frame.
    pub frame: Frame,
    /// The object in it.
    pub bbox: BBox,
    /// Score in this frame, 0..1.
    pub score: f32,
}

/// What all recorders share. Cheap to clone.
#[derive(Clone)]
pub struct Archive {
    layout: Layout,
    store: Store,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    config: Arc<Config>,
    announce: broadcast::Sender<(Phase, Arc<Event>)>,
}

impl Archive {
    /// An archive below `layout`, recorded in `store`.
    pub fn new(layout: Layout, store: Store, clock: Arc<dyn Clock>, metrics: Metrics, config: Config) -> Self {
        let (announce, _) = broadcast::channel(ANNOUNCEMENTS);
        Self { layout, store, clock, metrics, config: Arc::new(config), announce }
    }

    /// Every start, update and end from now on, once it is durable. A listener that falls behind misses some.
    pub fn announcements(&self) -> broadcast::Receiver<(Phase, Arc<Event>)> {
        self.announce.subscribe()
    }

    /// Where the events lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    fn announce(&self, phase: Phase, event: &Event) {
        // Nobody listening is fine.
        let _ = self.announce.send((phase, Arc::new(event.clone())));
    }
}
