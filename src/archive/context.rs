//! What all parts that write to one archive share: where it lies, its index, clock, space and announcements.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use parking_lot::{Mutex, MutexGuard, RwLock};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, broadcast};

use super::layout::Layout;
use super::space::{RecordingLevel, Room, is_full};
use super::writing::Writing;
use crate::asset::AssetId;
use crate::clock::{Clock, Moment};
use crate::control::Control;
use crate::event::{Event, IdSource, Phase};
use crate::health::Health;
use crate::load::Pressure;
use crate::metrics::Metrics;
use crate::mux;
use crate::store::Store;
use crate::supervise::Heartbeats;

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

/// What all recorders share. Cheap to clone.
#[derive(Clone)]
pub struct Archive {
    pub(crate) layout: Layout,
    pub(crate) store: Store,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) config: Arc<Config>,
    pub(crate) ids: Arc<IdSource>,
    pub(crate) device: Arc<str>,
    pub(crate) pressure: Pressure,
    pub(crate) heartbeats: Heartbeats,
    pub(crate) health: Health,
    pub(crate) control: Control,
    pub(crate) announce: broadcast::Sender<(Phase, Arc<Event>)>,
    pub(crate) room: Arc<Room>,
    /// What is left out in any case.
    pub(crate) at_most: RecordingLevel,
    /// Something of the past is still to be taken in, so that no account of it can be given.
    pub(crate) is_incomplete: Arc<AtomicBool>,
    /// A write failed, and the volume should be checked.
    pub(crate) trouble: Arc<Notify>,
    /// Held while the sidecar of an event that has ended is read, changed and recorded.
    pub(crate) changing: Arc<Mutex<()>>,
    /// Held while a photo is taken in, changed or recovered: two files with the same content become one.
    pub(crate) changing_photos: Arc<tokio::sync::Mutex<()>>,
    /// Shared by recorders while they write the end of an event; held alone while what people say of one that goes on is
    /// written.
    pub(crate) ending: Arc<RwLock<()>>,
    /// What recorders write at present.
    pub(crate) writing: Writing,
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
            changing_photos: Arc::default(),
            ending: Arc::default(),
            writing: Writing::default(),
        }
    }

    /// The same box, recording below `layout` into `store` instead, and never more than `at_most`. Subscribers of
    /// announcements goes on hearing them.
    pub fn moved_to(&self, layout: Layout, store: Store, at_most: RecordingLevel) -> Self {
        let room = Arc::new(Room::new(layout.storage()));
        let is_incomplete = Arc::new(AtomicBool::new(at_most > RecordingLevel::Full));
        let writing = self.writing.elsewhere();
        Self {
            layout,
            store,
            room,
            at_most,
            is_incomplete,
            changing: Arc::default(),
            changing_photos: Arc::default(),
            ending: Arc::default(),
            writing,
            ..self.clone()
        }
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

    pub(crate) fn changing_sidecars(&self) -> MutexGuard<'_, ()> {
        self.changing.lock()
    }

    /// Does `work`, and does it again with the reserve given up when the volume was full.
    pub(crate) fn with_room<T>(&self, work: impl Fn() -> Result<T>) -> Result<T> {
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

    /// An id for something new, above all that the box gave before.
    pub fn next_id(&self) -> AssetId {
        self.ids.next()
    }

    /// This moment, with the trust that the clock deserves.
    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Where the events lie.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn announce(&self, phase: Phase, event: &Event) {
        // No subscriber is fine.
        let _ = self.announce.send((phase, Arc::new(event.clone())));
    }
}
