//! Events and video to files on the box, and into the store.
//!
//! One [`Recorder`] thread per camera keeps the pre-roll ring and writes the clips of the events in
//! progress. The order in which an event becomes durable is the box's first promise:
//!
//! 1. start: folder, `event.json` (state `open`), then the index together with the alert's outbox row;
//! 2. while it lasts: stills and the clip's fragments, synced every few seconds;
//! 3. end: clip and stills synced, `event.json` (state `ended`) last, then the index together with the
//!    outbox rows of every file and of the closing alert.
//!
//! What a stop or a power cut leaves open is finished by [`recover()`] at the next start. What is too old or
//! too much is deleted by [`Retention`], which also makes the recorders record less when there is no space.

mod clip_files;
mod export;
pub mod footage;
#[cfg(test)]
mod fuzz;
mod ledger;
mod merge;
pub mod mux;
mod preroll;
mod recorder;
mod recording;
mod recover;
mod retention;
mod segments;
mod sidecar;
mod snapshot;
pub mod spool;
#[cfg(test)]
mod tests;
mod timekeeper;
pub mod volume;
mod walk;
mod writing;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, broadcast};

use crate::clock::Clock;
use crate::control::Control;
use crate::detection::BBox;
use crate::event::{Event, EventId, EventState, IdSource, Phase};
use crate::frame::Frame;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::store::{Amendment, Store};
use crate::supervise::Heartbeats;
use crate::supervise::governor::Pressure;
use retention::{Room, is_full};
use sidecar::{read_event, write_event};
use writing::Writing;

pub use merge::{Merged, merge};
pub use recorder::{Moving, Recorder};
pub use recording::Change;
pub use recover::{Progress, Recovered, StillWritten, recover};
pub use retention::{Age, Config as RetentionConfig, RecordingLevel, Retention, make_room};
pub use sidecar::{Layout, SIDECAR, Sidecar, look_at_event, measure};
pub use timekeeper::Timekeeper;
pub use walk::{Place, Walk};

/// Announcements that a slow listener may be behind before it misses some.
const ANNOUNCEMENTS: usize = 64;

/// How clips and stills are made, for all cameras. TOML `[archive]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// JPEG quality of snapshots, 1 to 100. Default: 85.
    pub snapshot_quality: u8,
    /// How long after the box's boot finished events wait for the clock to be synchronised before their files
    /// are delivered under the date that it shows. Default: 10m.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub time_hold: Duration,
    /// Encoder for cameras that give no H.264 or H.265.
    pub encoder: mux::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self { snapshot_quality: 85, time_hold: Duration::from_secs(600), encoder: mux::Config::default() }
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
        if self.time_hold > Duration::from_secs(7 * 24 * 3600) {
            return Err(format!("time_hold is {:?}, it can be at most 7d", self.time_hold));
        }
        self.encoder.validate().map_err(|e| format!("encoder: {e}"))
    }
}

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
}

impl Default for RecordConfig {
    fn default() -> Self {
        Self {
            mode: RecordMode::Events,
            segment: Duration::from_secs(60),
            pre_roll: Duration::from_secs(5),
            post_roll: Duration::from_secs(5),
            max_clip: Duration::from_secs(120),
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
    ids: Arc<IdSource>,
    device: Arc<str>,
    pressure: Pressure,
    heartbeats: Heartbeats,
    health: Health,
    control: Control,
    announce: broadcast::Sender<(Phase, Arc<Event>)>,
    room: Arc<Room>,
    /// What is left out in any case.
    at_most: RecordingLevel,
    /// Something of the past is still to be taken in, so that no account of it can be given.
    is_incomplete: Arc<AtomicBool>,
    /// A write failed, and the volume should be checked.
    trouble: Arc<Notify>,
    /// Held while the sidecar of an event that has ended is read, changed and recorded.
    changing: Arc<Mutex<()>>,
    /// What recorders write at present.
    writing: Writing,
}

/// What an archive needs beside its folder and index.
#[derive(Clone, Debug)]
pub struct ArchiveDeps {
    /// The box.
    pub device: Arc<str>,
    /// Ids of segments, in one order with those of events.
    pub ids: Arc<IdSource>,
    /// How much the box has to do.
    pub pressure: Pressure,
    /// Signs of life.
    pub heartbeats: Heartbeats,
    /// What is known of the cameras.
    pub health: Health,
    /// What people switched.
    pub control: Control,
}

impl ArchiveDeps {
    /// Dependencies for tests and commands.
    pub fn new(device: &str, clock: Arc<dyn Clock>) -> Self {
        let (ids, heartbeats) = (Arc::new(IdSource::new(clock.clone(), None)), Heartbeats::new(clock));
        let (pressure, health, control) = (Pressure::default(), Health::default(), Control::default());
        Self { device: device.into(), ids, pressure, heartbeats, health, control }
    }
}

impl Archive {
    /// An archive below `layout`, recorded in `store`.
    pub fn new(
        layout: Layout,
        store: Store,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        config: Config,
        ArchiveDeps { device, ids, pressure, heartbeats, health, control }: ArchiveDeps,
    ) -> Self {
        let (announce, _) = broadcast::channel(ANNOUNCEMENTS);
        let room = Arc::new(Room::new(layout.storage()));
        Self {
            layout,
            store,
            clock,
            metrics,
            config: Arc::new(config),
            ids,
            device,
            pressure,
            heartbeats,
            health,
            control,
            announce,
            room,
            at_most: RecordingLevel::Full,
            is_incomplete: Arc::default(),
            trouble: Arc::default(),
            changing: Arc::default(),
            writing: Writing::default(),
        }
    }

    /// The same box, recording below `layout` into `store` instead, and never more than `at_most`. Subscribers of
    /// announcements goes on hearing them.
    pub fn moved_to(&self, layout: Layout, store: Store, at_most: RecordingLevel) -> Self {
        let room = Arc::new(Room::new(layout.storage()));
        let is_incomplete = Arc::new(AtomicBool::new(at_most > RecordingLevel::Full));
        let writing = self.writing.elsewhere();
        Self { layout, store, room, at_most, is_incomplete, changing: Arc::default(), writing, ..self.clone() }
    }

    /// Whether something of the past is still to be taken in; no account of a day is given meanwhile.
    pub fn set_incomplete(&self, is_incomplete: bool) {
        self.is_incomplete.store(is_incomplete, Ordering::Relaxed);
    }

    /// What is recorded at present; less than everything while there is no space, or in the spool.
    pub fn level(&self) -> RecordingLevel {
        self.room.level().max(self.at_most)
    }

    /// Requests a check of the volume, because writing to it failed.
    pub fn trouble(&self) -> &Arc<Notify> {
        &self.trouble
    }

    /// The index of this archive.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Keeps an event whatever its age and however little space there is, or no longer so. Returns whether
    /// there is such an event.
    ///
    /// # Errors
    /// When the file system or the index refuses, or the event is just being deleted.
    pub fn pin(&self, id: EventId, pinned: bool) -> Result<bool> {
        let _changing = self.changing_sidecars();
        // First the index, so that no deletion begins in between.
        self.store.set_pinned(id, pinned)?;
        let Some(known) = self.store.event(id)? else { return Ok(false) };
        // The recorder writes the sidecar of an event that goes on, at its end.
        if known.state != EventState::Open {
            let folder = self.layout.folder(&known.camera, id);
            let mut event = read_event(&folder)?;
            event.pinned = pinned;
            let sidecar = self.with_room(|| write_event(&folder, &event))?;
            self.store.amend(vec![Amendment { event, sidecar, dropped: Vec::new() }])?;
        }
        Ok(true)
    }

    fn changing_sidecars(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work`, and does it again with the reserve given up when the volume was full.
    fn with_room<T>(&self, work: impl Fn() -> Result<T>) -> Result<T> {
        match work() {
            Err(failure) if is_full(&failure) => {
                self.room.low.notify_one();
                if self.room.reserve.release() { work() } else { Err(failure) }
            }
            other => other,
        }
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
        // No subscriber is fine.
        let _ = self.announce.send((phase, Arc::new(event.clone())));
    }
}
