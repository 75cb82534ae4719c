//! An opened volume: its index and archive, and where numbers and ids go on.

use anyhow::{Context, Result};
use tracing::warn;

use super::storage::{Opened, Place};
use crate::archive::volume::Anchor;
use crate::archive::{Archive, ArchiveDeps, Layout, RecordingLevel, Walk};
use crate::clock::{Clock, TimeQuality};
use crate::config::Config;
use crate::event::EventId;
use crate::pipeline::Shared;
use crate::store::{Store, StoreError};

/// An opened place: index and archive.
pub struct OpenVolume {
    /// Which of the two it is.
    pub place: Place,
    /// The index.
    pub store: Store,
    /// The archive.
    pub archive: Archive,
    /// The first id of its session: what is below it, on this volume, is of an earlier run.
    pub first_id: EventId,
}

impl OpenVolume {
    /// Makes the archive of this process on what was opened, or moves `from` there.
    ///
    /// # Errors
    /// When the volume's identity cannot be read, or the index is out of service.
    pub fn new(opened: &Opened, config: &Config, shared: &Shared, from: Option<&Archive>) -> Result<Self> {
        let Opened { place, folder, store, .. } = opened;
        let (place, store) = (*place, store.clone());
        let mut layout = Layout::new(folder);
        if place == Place::Main {
            layout = layout.with_anchor(Anchor::new(folder).context("read the volume's identity")?);
        }
        if let Some(newest) = newest_id(&store, &layout)? {
            shared.ids.go_beyond(newest);
        }
        // Without room for this note alerts keep the numbers that they would have had.
        if let Some(Err(error)) = number_of_now(&*shared.clock).map(|number| store.outboxes().count_on_from(number)) {
            warn!(%error, "note the number of the next alert");
        }
        let deps = || ArchiveDeps {
            device: shared.device.clone(),
            ids: shared.ids.clone(),
            pressure: shared.pressure.clone(),
            heartbeats: shared.heartbeats.clone(),
            health: shared.health.clone(),
            control: shared.control.clone(),
        };
        let first = || {
            let (clock, metrics) = (shared.clock.clone(), shared.metrics.clone());
            Archive::new(layout.clone(), store.clone(), clock, metrics, config.archive.clone(), deps())
        };
        let at_most = match place {
            Place::Main => RecordingLevel::Full,
            Place::Spool => RecordingLevel::NoContinuous,
        };
        let archive = from.cloned().unwrap_or_else(first).moved_to(layout.clone(), store.clone(), at_most);
        // Before the first record here.
        let first_id = shared.ids.next();
        Ok(Self { place, store, archive, first_id })
    }
}

/// What numbers of alerts are above from `clock`'s present on, on whatever volume and in whatever index they are given:
/// microseconds, as far as the clock can be trusted. Exact in JSON for two centuries.
fn number_of_now(clock: &dyn Clock) -> Option<u64> {
    let believed = clock.quality() != TimeQuality::Implausible;
    believed.then(|| u64::try_from(clock.wall().as_millisecond()).ok()?.checked_mul(1000)).flatten()
}

/// The highest event id on the box. An index that is not complete does not know it, and a clock that is behind
/// would then give ids below it.
///
/// # Errors
/// When the store is out of service.
fn newest_id(store: &Store, layout: &Layout) -> Result<Option<EventId>, StoreError> {
    let known = store.newest_id()?;
    if store.is_filled()? {
        return Ok(known);
    }
    let highest = EventId::from_bytes([0xff; 16]);
    Ok(known.max(Walk::new(layout.clone(), highest).newest()))
}
