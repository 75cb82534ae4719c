//! After an unclean stop: finish what was open, and bring the index up to what lies on the disk.
//!
//! Sidecars are the truth. Where one is damaged, it is set aside as `event.json.bad`; if the index still knows
//! the event, the sidecar is rewritten from there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tracing::{error, info, warn};

use super::segments::recover_segments;
use super::shared::shared_video;
use crate::archive::annotations::reviewed_of;
use crate::archive::filing::{self, file_if_possible};
use crate::archive::removal::remove_evicted;
use crate::archive::sidecar::{SIDECAR, Sidecar, look_at_event, measure, remove_drafts, set_aside, write_event};
use crate::archive::times::of_same_boot;
use crate::archive::{Archive, Place, Walk, Writer};
use crate::asset::{SNAPSHOT, SNAPSHOT_BOXES, THUMBNAIL};
use crate::clock::Moment;
use crate::event::{Clip, Event, EventId, EventState, MOST_CLIPS, MediaFile, Phase, Reviewed};
use crate::mux;
use crate::store::{self, Delivery, DeliveryStatus, StoreError};

/// Events that are compared with the index in one go, and recorded with a shared flush.
const BATCH: usize = 128;
/// Events of an older version that are taken into the catalogue in one step.
const CATALOGUED_AT_ONCE: usize = 100;
/// The pictures that an event can have.
const PICTURES: [&str; 3] = [THUMBNAIL, SNAPSHOT, SNAPSHOT_BOXES];

/// What a recovery found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Events that were open and are now closed as `interrupted`.
    pub interrupted: u32,
    /// Events that the index did not know, or not as they are.
    pub reindexed: u32,
    /// Sidecars and media files that are damaged or missing; what was left of them is set aside.
    pub damaged: u32,
    /// Folders that could not be taken in for other reasons (a newer version's, no permission); left as they are.
    pub unreadable: u32,
    /// Segments of continuous recording that were open.
    pub segments_closed: u32,
    /// Segments that only the disk knew.
    pub segments_reindexed: u32,
}

/// Recorders that left this archive have not closed everything yet; the recovery has to be done again when they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} events and segments are still being written by recorders that are leaving the volume")]
pub struct StillWritten(pub u32);

/// How far a recovery is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Folders that were looked at.
    pub done: u64,
    /// Folders on the disk.
    pub total: u64,
    /// What was found in them.
    pub found: Recovered,
}

/// Closes every event that the index knows as open, then takes in what the index lacks of the events on the
/// disk, and notes that the index is complete. Runs beside recording, on a thread of its own, in bounded memory;
/// events of this run are not touched, because their ids are not below `before`, the first id of this run.
///
/// # Errors
/// When the index fails or has lost rows; what is wrong with a single event is counted, and the others go on. When segments could
/// not be finished yet, for want of room, and [`StillWritten`]: all else is done by then, and the next call needs to
/// do only them.
pub fn recover(archive: &Archive, before: EventId, report: &mut dyn FnMut(Progress)) -> Result<Recovered> {
    archive.store.audit()?;
    archive.finish_annotations()?;
    let mut recovery = Recovery {
        archive,
        found: Recovered::default(),
        changes: Vec::new(),
        reviewed: Vec::new(),
        still_written: BTreeSet::new(),
    };
    let open = archive.store.events().open()?.into_iter().filter(|id| *id < before).collect();
    for id in holders_first(archive, open) {
        if recovery.is_being_written(id) {
            continue;
        }
        match archive.store.events().get(id).wait() {
            Ok(None) => {}
            // Its recorder has closed it since it was listed.
            Ok(Some(event)) if event.state != EventState::Open => {}
            Ok(Some(event)) => {
                let place = (id, event.camera.clone());
                recovery.attempt(&place, |recovery| recovery.close_open(&place, event))?;
            }
            Err(StoreError::Unreadable(reason)) => warn!(event = %id, %reason, "an open event cannot be closed"),
            Err(failure) => return Err(failure.into()),
        }
    }
    recovery.flush()?;
    let whole = !archive.store.is_filled()?;
    let walk = Walk::new(archive.layout.clone(), before);
    walk.remove_gone();
    let (mut done, total) = (0, walk.folders());
    report(Progress { done, total, found: recovery.found });
    for places in walk {
        for batch in places.chunks(BATCH) {
            recovery.take_in(batch)?;
            done += batch.len() as u64;
            report(Progress { done, total: total.max(done), found: recovery.found });
        }
    }
    let mut found = recovery.found;
    let segments = recover_segments(archive, before, whole)?;
    (found.segments_closed, found.segments_reindexed) = (segments.finished, segments.taken);
    found.damaged += segments.damaged;
    catalogue(archive)?;
    let still_written = u32::try_from(recovery.still_written.len())?.saturating_add(segments.still_written);
    if still_written == 0 {
        archive.store.note_filled()?;
    }
    if found != Recovered::default() {
        let Recovered { interrupted, reindexed, damaged, unreadable, segments_closed, segments_reindexed } = found;
        info!(interrupted, reindexed, damaged, unreadable, segments_closed, segments_reindexed, "recovered");
    }
    // At the very end, so that they delay only themselves.
    match segments.left {
        Some((number, first)) => Err(first.context(format!("{number} segments are left open, one because"))),
        None if still_written > 0 => Err(StillWritten(still_written).into()),
        None => Ok(found),
    }
}

struct Recovery<'a> {
    archive: &'a Archive,
    found: Recovered,
    /// Waits for the flush that they share.
    changes: Vec<store::Change>,
    /// Who has looked them through, of those that the index did not know.
    reviewed: Vec<(EventId, Vec<Reviewed>)>,
    /// Events that recorders of an archive of before still write.
    still_written: BTreeSet<EventId>,
}

impl Recovery<'_> {
    /// Runs `work` on one event. What fails stays with that event, unless it is the store.
    fn attempt(&mut self, (id, camera): &Place, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let Err(failure) = work(self) else { return Ok(()) };
        match failure.downcast_ref() {
            None | Some(StoreError::TooLarge { .. } | StoreError::Unreadable(_)) => {}
            Some(_) => return Err(failure),
        }
        warn!(%camera, event = %id, error = format!("{failure:#}"), "an event could not be taken into the index, its folder is left as it is");
        self.found.unreadable += 1;
        Ok(())
    }

    /// Whether a recorder has the event in hand. Asked before disk and index are looked at.
    fn is_being_written(&mut self, id: EventId) -> bool {
        let writer = self.archive.writing.writer_of(id);
        if writer == Some(Writer::Elsewhere) {
            self.still_written.insert(id);
        }
        writer.is_some()
    }

    fn take_in(&mut self, batch: &[Place]) -> Result<()> {
        let batch: Vec<Place> = batch.iter().filter(|(id, _)| !self.is_being_written(*id)).cloned().collect();
        let delivery_statuses =
            self.archive.store.events().delivery_statuses(batch.iter().map(|(id, _)| *id).collect())?;
        for (place, status) in batch.iter().zip(delivery_statuses) {
            match status {
                DeliveryStatus::Settled => {}
                DeliveryStatus::Unknown => self.attempt(place, |recovery| recovery.add(place))?,
                DeliveryStatus::Waiting => self.attempt(place, |recovery| recovery.compare(place))?,
            }
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<()> {
        let changes = std::mem::take(&mut self.changes);
        let places: Vec<Place> = changes.iter().map(|change| (change.event.id, change.event.camera.clone())).collect();
        for (place, outcome) in places.iter().zip(self.archive.store.events().record_all(changes)) {
            match outcome {
                Ok(()) => self.found.reindexed += 1,
                refused => self.attempt(place, |_| Ok(refused?))?,
            }
        }
        for (id, by) in std::mem::take(&mut self.reviewed) {
            self.archive.store.events().set_reviewed(id, by)?;
        }
        Ok(())
    }

    /// An event that the index knows as open, whether it lists it as such or not.
    fn close_open(&mut self, place: &Place, known: Event) -> Result<()> {
        match self.look(place)? {
            Some(event) if event.state != EventState::Open => self.reindex(event, Some(Phase::End)),
            Some(event) => self.close_interrupted(event),
            None => self.close_interrupted(known),
        }
    }

    /// An event that the index does not know.
    fn add(&mut self, place: &Place) -> Result<()> {
        self.take_reviewed(place);
        match self.look(place)? {
            Some(event) if event.state == EventState::Open => self.close_interrupted(event),
            Some(event) => self.reindex(event, None),
            None => Ok(()),
        }
    }

    fn take_reviewed(&mut self, (id, camera): &Place) {
        match reviewed_of(&self.archive.layout.folder(camera, *id)) {
            Ok(by) if by.is_empty() => {}
            Ok(by) => self.reviewed.push((*id, by)),
            Err(failure) => {
                warn!(event = %id, error = format!("{failure:#}"), "who looked an event through is not known")
            }
        }
    }

    /// An event that waits for its delivery or its end: what is delivered has to be what lies on the disk.
    fn compare(&mut self, place: &Place) -> Result<()> {
        let known = match self.archive.store.events().get(place.0).wait() {
            Err(StoreError::Unreadable(_)) => None,
            known => known?,
        };
        if let Some(known) = known.as_ref().filter(|known| known.state == EventState::Open) {
            return self.close_open(place, known.clone());
        }
        match (self.look(place)?, known) {
            (Some(event), Some(known)) if event.clone().without_path() == known && !self.has_unnamed_files(&event) => {
                Ok(())
            }
            (Some(event), _) if event.state == EventState::Open => self.close_interrupted(event),
            (Some(event), _) => self.reindex(event, None),
            (None, None) => Ok(()),
            (None, Some(known)) => {
                warn!(event = %known.id, camera = %known.camera, "the sidecar is rewritten from the index");
                write_event(&self.archive.layout.folder(&known.camera, known.id), &known)?;
                self.reindex(known, None)
            }
        }
    }

    /// The event of a folder, if it has a usable sidecar. A damaged one is set aside.
    fn look(&mut self, (id, camera): &Place) -> Result<Option<Event>> {
        let folder = self.archive.layout.folder(camera, *id);
        match look_at_event(&folder, camera, *id)? {
            Sidecar::Good(event) => Ok(Some(*event)),
            Sidecar::Missing => Ok(None),
            Sidecar::Damaged(reason) => {
                error!(%camera, event = %id, reason, "a sidecar is damaged and was set aside");
                self.found.damaged += 1;
                self.archive.metrics.damaged_files.inc();
                set_aside(&folder, SIDECAR)?;
                Ok(None)
            }
        }
    }

    fn close_interrupted(&mut self, mut event: Event) -> Result<()> {
        let archive = self.archive;
        let folder = archive.layout.create_folder(&event.camera, event.id)?;
        remove_drafts(&folder);
        event.pictures = pictures_in(&folder);
        event.set_clips(clips_in(&folder, &event));
        if !event.shares.is_empty() {
            // The index has to know what is known of the others.
            self.flush()?;
        }
        let (shares, shared_until) = shared_video(archive, &event)?;
        event.shares = shares;
        let last_own = event.clips().last().map(|clip| later(&clip.start, Duration::from_secs_f64(clip.duration_s)));
        let last_known = last_own.or_else(|| shared_until.map(|until| of_same_boot(&event.start, until)));
        let end = last_known.filter(|end| end.mono_ns >= event.start.mono_ns).unwrap_or_else(|| event.start.clone());
        event.end.get_or_insert(end);
        event.state = EventState::Interrupted;
        file_if_possible(archive, &mut event);
        archive.with_room(|| write_event(&folder, &event))?;
        let mut deliveries = filing::deliveries(archive, &event)?;
        deliveries.push(Delivery::Alert(Phase::End));
        // Before it is over itself: a stop in between comes by here again.
        archive.keep_holders(&event)?;
        archive.store.events().record(store::Change { event: event.clone(), deliveries })?;
        archive.announce(Phase::End, &event);
        info!(event = %event.id, camera = %event.camera, "closed an event that the last stop interrupted");
        self.found.interrupted += 1;
        Ok(())
    }

    /// Queues all files again: puts are idempotent, so what was delivered before is only confirmed.
    fn reindex(&mut self, mut event: Event, report: Option<Phase>) -> Result<()> {
        let folder = self.archive.layout.folder(&event.camera, event.id);
        let found = take_unnamed_files(&folder, &mut event);
        let lost = mend(&folder, &mut event);
        let had_its_day = event.filed.is_some();
        if !had_its_day {
            file_if_possible(self.archive, &mut event);
        }
        self.found.damaged += lost;
        self.archive.metrics.damaged_files.inc_by(u64::from(lost));
        if lost + found > 0 || event.filed.is_some() != had_its_day {
            self.archive.with_room(|| write_event(&folder, &event))?;
        }
        remove_evicted(&folder, &event);
        remove_drafts(&folder);
        let mut deliveries = filing::deliveries(self.archive, &event)?;
        deliveries.extend(report.map(Delivery::Alert));
        self.changes.push(store::Change { event, deliveries });
        Ok(())
    }

    fn has_unnamed_files(&self, event: &Event) -> bool {
        !unnamed_files(&self.archive.layout.folder(&event.camera, event.id), event).is_empty()
    }
}

/// The same events, those first that have video of their own: others may share it.
fn holders_first(archive: &Archive, mut open: Vec<EventId>) -> Vec<EventId> {
    let has_none = |id: &EventId| {
        let known = archive.store.events().get(*id).wait().ok().flatten();
        known.is_some_and(|event| !archive.layout.folder(&event.camera, *id).join(Clip::file_name(0)).exists())
    };
    open.sort_by_cached_key(has_none);
    open
}

/// Names of pictures and clips that lie in the folder of an event that ended and that the event does not name: their
/// disk failed before they could be described.
fn unnamed_files(folder: &Path, event: &Event) -> Vec<String> {
    let named = || event.media().chain(event.evicted.iter().map(|gone| &gone.media));
    let names = PICTURES.map(str::to_owned).into_iter().chain((0..MOST_CLIPS).map(Clip::file_name));
    names.filter(|name| named().all(|media| media.file != *name) && folder.join(name).exists()).collect()
}

/// Makes the event name what lies in its folder. Removes what cannot be played. Returns how many files were found.
fn take_unnamed_files(folder: &Path, event: &mut Event) -> u32 {
    let names = unnamed_files(folder, event);
    let (mut pictures, mut clips) = (Vec::new(), event.take_clips());
    let before = clips.len();
    for name in names {
        if PICTURES.contains(&name.as_str()) {
            pictures.extend(measure(folder, &name).ok());
            continue;
        }
        match clip_in(folder, event, &name) {
            Ok(found) => clips.extend(found.map(|clip| Clip { truncated: true, ..clip })),
            Err(failure) => warn!(event = %event.id, error = format!("{failure:#}"), "a clip cannot be used"),
        }
    }
    let found = pictures.len() + clips.len() - before;
    // Files are numbered in the order of time.
    clips.sort_by_key(|clip| (0..MOST_CLIPS).position(|n| Clip::file_name(n) == clip.media.file));
    event.pictures.extend(pictures);
    event.set_clips(clips);
    if found > 0 {
        info!(event = %event.id, camera = %event.camera, files = found, "took in files that the event did not name");
    }
    u32::try_from(found).unwrap_or(u32::MAX)
}

/// Takes the events of an index that had no catalogue into it.
fn catalogue(archive: &Archive) -> Result<()> {
    let (mut taken, mut done) = (0, None);
    while let Some((events, last)) = archive.store.assets().uncatalogued(CATALOGUED_AT_ONCE)? {
        let files = |event: &Event| {
            let folder = archive.layout.folder(&event.camera, event.id);
            let media = event.media().filter(|media| folder.join(&media.file).exists()).cloned();
            // The index does not know its size, and what is not there holds nothing.
            (event.id, media.chain(measure(&folder, SIDECAR)).collect())
        };
        taken += events.len();
        archive.store.assets().adopt(events.iter().map(files).collect(), Some(last))?;
        done = Some(last);
    }
    if done.is_some() {
        archive.store.assets().adopt(Vec::new(), None)?;
        info!(events = taken, "took the events of an older version into the catalogue of files");
    }
    Ok(())
}

/// Makes the event name only files that are there, whole. Returns how many were not.
fn mend(folder: &Path, event: &mut Event) -> u32 {
    let mut lost = 0;
    let is_whole = |media: &MediaFile| fs::metadata(folder.join(&media.file)).is_ok_and(|at| at.len() == media.bytes);
    let mut give_up = |media: &MediaFile| {
        let MediaFile { file, bytes, sha256, .. } = media;
        error!(folder = %folder.display(), file, bytes, sha256, "a file of an event is damaged or gone");
        lost += 1;
    };
    event.pictures.retain(|picture| {
        let whole = is_whole(picture);
        if !whole {
            give_up(picture);
            set_aside_or_log(folder, &picture.file);
        }
        whole
    });
    let mut clips = Vec::new();
    for clip in event.take_clips() {
        if is_whole(&clip.media) {
            clips.push(clip);
            continue;
        }
        give_up(&clip.media);
        // Its beginning may still play.
        match clip_in(folder, event, &clip.media.file) {
            Ok(Some(beginning)) => clips.push(Clip { truncated: true, ..beginning }),
            Ok(None) | Err(_) => set_aside_or_log(folder, &clip.media.file),
        }
    }
    event.set_clips(clips);
    lost
}

fn set_aside_or_log(folder: &Path, file: &str) {
    if let Err(failure) = set_aside(folder, file) {
        warn!(error = format!("{failure:#}"), "a damaged file could not be set aside");
    }
}

fn pictures_in(folder: &Path) -> Vec<MediaFile> {
    PICTURES.iter().filter(|name| folder.join(name).exists()).filter_map(|name| measure(folder, name).ok()).collect()
}

/// What is playable of an event's clip; it goes on no further than that.
fn clips_in(folder: &Path, event: &Event) -> Vec<Clip> {
    let mut clips = Vec::new();
    for name in (0..MOST_CLIPS).map(Clip::file_name) {
        clips.extend(clip_in(folder, event, &name).unwrap_or_else(|failure| {
            error!(event = %event.id, error = format!("{failure:#}"), "the clip of an interrupted event is not playable");
            None
        }));
    }
    if let Some(last) = clips.last_mut() {
        last.truncated = true;
    }
    clips
}

/// Repairs a file of the clip and describes it.
fn clip_in(folder: &Path, event: &Event, name: &str) -> Result<Option<Clip>> {
    let path = folder.join(name);
    if !path.exists() {
        return Ok(None);
    }
    let Some(facts) = mux::repair(&path)? else {
        fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
        return Ok(None);
    };
    Ok(Some(Clip {
        media: measure(folder, name)?,
        start: of_same_boot(&event.start, facts.start),
        duration_s: facts.duration.as_secs_f64(),
        codec: facts.codec,
        width: facts.width,
        height: facts.height,
        truncated: false,
    }))
}

fn later(moment: &Moment, by: Duration) -> Moment {
    Moment { wall: moment.wall + by, mono_ns: (moment.mono() + by).0, ..moment.clone() }
}
