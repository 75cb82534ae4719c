//! After a stop that nobody asked for: finish what was open, and feed a fresh index from the sidecars.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tracing::{error, info, warn};

use super::mux;
use super::recording::CLIP;
use super::retention::{GONE, remove_evicted, remove_gone};
use super::segments::{of_same_boot, recover_segments};
use super::sidecar::{SIDECAR, measure, read_event, write_event};
use super::timekeeper::{self, file_if_possible};
use super::{Archive, Layout};
use crate::clock::Moment;
use crate::event::{Clip, Event, EventId, EventState, MediaFile, Phase};
use crate::store::{self, Delivery};

/// Events of an older version that are taken into the catalogue in one step.
const CATALOGUED_AT_ONCE: usize = 100;

/// What a recovery found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Events that were open and are now closed as `interrupted`.
    pub interrupted: u32,
    /// Events that only their sidecars knew.
    pub reindexed: u32,
    /// Folders whose sidecar cannot be used; left as they are.
    pub unreadable: u32,
    /// Segments of continuous recording that were open.
    pub segments_closed: u32,
    /// Segments that only the disk knew.
    pub segments_reindexed: u32,
}

/// Closes every event that the index knows as open, then takes in the sidecars that it does not know:
/// those newer than its newest event, or all of them when the index was started afresh (`whole`).
/// Runs beside recording, on a thread of its own; events that began since are not touched, because
/// `newest` (the index's newest event before this run) and `before` (the first id of this run) bound the work.
///
/// # Errors
/// When the index fails; a single bad folder is counted and left.
pub fn recover(archive: &Archive, newest: Option<EventId>, before: EventId, whole: bool) -> Result<Recovered> {
    let mut found = Recovered::default();
    for id in archive.store.open_events()? {
        if id >= before {
            continue;
        }
        let Some(event) = archive.store.event(id)? else { continue };
        close_interrupted(archive, event)?;
        found.interrupted += 1;
    }
    catalogue(archive)?;
    each_sidecar(&archive.layout, |camera, id| {
        let known = !whole && newest.is_some_and(|newest| id <= newest);
        if id >= before || known || archive.store.event(id)?.is_some() {
            return Ok(());
        }
        match read_event(&archive.layout.folder(camera, id)) {
            Ok(event) if event.state == EventState::Open => {
                close_interrupted(archive, event)?;
                found.interrupted += 1;
            }
            Ok(event) => {
                remove_evicted(&archive.layout.folder(camera, id), &event);
                reindex(archive, event)?;
                found.reindexed += 1;
            }
            Err(failure) => {
                warn!(camera, event = %id, error = format!("{failure:#}"), "an event's folder has no usable sidecar, leaving it");
                found.unreadable += 1;
            }
        }
        Ok(())
    })?;
    (found.segments_closed, found.segments_reindexed) = recover_segments(archive, before, whole || newest.is_none())?;
    if found != Recovered::default() {
        info!(
            interrupted = found.interrupted,
            reindexed = found.reindexed,
            unreadable = found.unreadable,
            segments_closed = found.segments_closed,
            segments_reindexed = found.segments_reindexed,
            "recovered"
        );
    }
    Ok(found)
}

/// Walks `<archive>/<camera>/<event-id>/`; names that are no event ids are somebody else's.
fn each_sidecar(layout: &Layout, mut visit: impl FnMut(&str, EventId) -> Result<()>) -> Result<()> {
    let Ok(cameras) = fs::read_dir(layout.root()) else { return Ok(()) };
    for camera in cameras.flatten() {
        let Ok(camera_name) = camera.file_name().into_string() else { continue };
        let Ok(events) = fs::read_dir(camera.path()) else { continue };
        for event in events.flatten() {
            if event.path().extension().is_some_and(|extension| extension == GONE) {
                remove_gone(&event.path());
                continue;
            }
            let Some(id) = event.file_name().to_str().and_then(|name| name.parse::<EventId>().ok()) else { continue };
            visit(&camera_name, id)?;
        }
    }
    Ok(())
}

/// Takes the events of an index that had no catalogue into it.
fn catalogue(archive: &Archive) -> Result<()> {
    let (mut taken, mut done) = (0, None);
    while let Some((events, last)) = archive.store.uncatalogued(CATALOGUED_AT_ONCE)? {
        let files = |event: &Event| {
            let folder = archive.layout.folder(&event.camera, event.id);
            let media = event.media().filter(|media| folder.join(&media.file).exists()).cloned();
            // The index does not know its size, and what is not there holds nothing.
            (event.id, media.chain(measure(&folder, SIDECAR)).collect())
        };
        taken += events.len();
        archive.store.adopt(events.iter().map(files).collect(), Some(last))?;
        done = Some(last);
    }
    if done.is_some() {
        archive.store.adopt(Vec::new(), None)?;
        info!(events = taken, "took the events of an older version into the catalogue of files");
    }
    Ok(())
}

fn close_interrupted(archive: &Archive, mut event: Event) -> Result<()> {
    let folder = archive.layout.folder(&event.camera, event.id);
    fs::create_dir_all(&folder).with_context(|| format!("create folder {}", folder.display()))?;
    event.pictures = pictures_in(&folder);
    event.clip = clip_in(&folder, &event).unwrap_or_else(|failure| {
        error!(event = %event.id, error = format!("{failure:#}"), "the clip of an interrupted event is not playable");
        None
    });
    let last_known = event.clip.as_ref().map(|clip| later(&clip.start, Duration::from_secs_f64(clip.duration_s)));
    let end = last_known.filter(|end| end.mono_ns >= event.start.mono_ns).unwrap_or_else(|| event.start.clone());
    event.end.get_or_insert(end);
    event.state = EventState::Interrupted;
    file_if_possible(archive, &mut event);
    archive.with_room(|| write_event(&folder, &event))?;
    let mut deliveries = timekeeper::deliveries(archive, &event)?;
    deliveries.push(Delivery::Alert(Phase::End));
    archive.store.record(store::Change { event: event.clone(), deliveries })?;
    archive.announce(Phase::End, &event);
    info!(event = %event.id, camera = %event.camera, "closed an event that the last stop interrupted");
    Ok(())
}

/// Queues all files again: puts are idempotent, so what was delivered before is only confirmed.
fn reindex(archive: &Archive, mut event: Event) -> Result<()> {
    if event.filed.is_none() {
        file_if_possible(archive, &mut event);
        write_event(&archive.layout.folder(&event.camera, event.id), &event)?;
    }
    let deliveries = timekeeper::deliveries(archive, &event)?;
    archive.store.record(store::Change { event, deliveries })?;
    Ok(())
}

fn pictures_in(folder: &Path) -> Vec<MediaFile> {
    let names = ["thumb.jpg", "snapshot.jpg", "snapshot-boxes.jpg"];
    names.iter().filter(|name| folder.join(name).exists()).filter_map(|name| measure(folder, name).ok()).collect()
}

/// Repairs the clip and describes it.
fn clip_in(folder: &Path, event: &Event) -> Result<Option<Clip>> {
    let path = folder.join(CLIP);
    if !path.exists() {
        return Ok(None);
    }
    let Some(facts) = mux::repair(&path)? else {
        fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        return Ok(None);
    };
    Ok(Some(Clip {
        media: measure(folder, CLIP)?,
        start: of_same_boot(&event.start, facts.start),
        duration_s: facts.duration.as_secs_f64(),
        codec: facts.codec,
        width: facts.width,
        height: facts.height,
        truncated: true,
    }))
}

fn later(moment: &Moment, by: Duration) -> Moment {
    Moment { wall: moment.wall + by, mono_ns: (moment.mono() + by).0, ..moment.clone() }
}
