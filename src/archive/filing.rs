//! Filing: an event gets its day, which is part of its keys in the cloud and never changes, and its files are queued.

use std::sync::Arc;

use anyhow::Result;

use super::context::{Archive, Config};
use super::sidecar::{SIDECAR, measure};
use super::times::correct_event;
use crate::clock::{Clock, Moment, Mono, TimeQuality};
use crate::event::{Event, MediaFile};
use crate::store::Delivery;

/// Whether what ends now may be filed under the date that the clock shows.
pub fn may_file(clock: &dyn Clock, config: &Config) -> bool {
    clock.quality() == TimeQuality::Synchronised || clock.mono() >= Mono::default() + config.time_hold
}

/// The folder of the day in the cloud: `2026/11/22`, in UTC.
pub fn day(moment: &Moment) -> Arc<str> {
    moment.wall.strftime("%Y/%m/%d").to_string().into()
}

/// What a finished event's files are queued as: nothing yet, while its day is not known.
pub fn file_if_possible(archive: &Archive, event: &mut Event) {
    correct_event(&*archive.clock, event);
    let of_this_boot = event.start.boot_id == archive.clock.boot_id();
    if event.filed.is_none() && (!of_this_boot || may_file(&*archive.clock, &archive.config)) {
        event.filed = Some(day(&event.start));
    }
}

/// The deliveries of a finished event's files, none while it is not filed.
pub fn deliveries(archive: &Archive, event: &Event) -> Result<Vec<Delivery>> {
    if event.filed.is_none() {
        return Ok(Vec::new());
    }
    let sidecar = measure(&archive.layout.folder(&event.camera, event.id), SIDECAR)?;
    Ok(uploads(event, sidecar))
}

/// Every file of a finished event, in the order of its value over a slow link.
pub fn uploads(event: &Event, sidecar: MediaFile) -> Vec<Delivery> {
    let files = std::iter::once(sidecar).chain(event.media().cloned());
    files.map(|f| Delivery::Upload { file: f.file, bytes: f.bytes, sha256: f.sha256 }).collect()
}
