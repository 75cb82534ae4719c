//! Deleting a file, so that a power cut between any two steps leaves nothing that lies.
//!
//! 1. The catalogue notes that the deletion has begun. From here on it is finished, whatever happens: the
//!    next start finds it in the catalogue, without a walk over the disk.
//! 2. `event.json` no longer names the file, and says that it was deleted.
//! 3. In one transaction: the index says the same, nothing delivers the file any more, and the new
//!    `event.json` is queued.
//! 4. The file is removed, and the folder synced.
//! 5. The catalogue forgets it. Until then its bytes count, so that held bytes are never too few.
//!
//! A whole event goes in one rename to a name that is no event's: a start without an index takes in every
//! folder that has an event's name, and must find all of it or nothing. Then the index forgets the event,
//! and the folder is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tracing::warn;

use crate::archive::removal::{GONE, removed};
use crate::archive::sidecar::{SIDECAR, is_plain, measure, read_event, sync_folder, write_event};
use crate::archive::{Archive, Layout};
use crate::asset::{MediaKind, Owner};
use crate::clock::Moment;
use crate::event::{Event, EventId, EvictReason, Evicted};
use crate::segment::Segment;
use crate::store::{Amendment, HeldFile};

/// Deletes files of the archive.
pub(super) struct Evictor<'a> {
    pub archive: &'a Archive,
    /// Tests let it fail here, between any two steps.
    pub between_steps: &'a dyn Fn() -> Result<()>,
}

impl Evictor<'_> {
    /// Deletes `files`, those that may be. Returns what is gone.
    ///
    /// # Errors
    /// When the index fails. What could not be deleted otherwise is tried again by [`Evictor::finish`].
    pub(super) fn evict(&self, files: &[HeldFile], reason: EvictReason) -> Result<Vec<HeldFile>> {
        self.archive.store.assets().condemn(files, reason)?;
        (self.between_steps)()?;
        let ids: BTreeSet<EventId> = files.iter().map(|file| file.asset).collect();
        let mut condemned = Vec::new();
        for id in ids {
            condemned
                .extend(self.archive.store.assets().files_of(id)?.into_iter().filter(|file| file.condemned.is_some()));
        }
        self.carry_out(condemned)
    }

    /// Finishes every deletion that was begun. Returns what is gone.
    ///
    /// # Errors
    /// When the index fails.
    pub(super) fn finish(&self, batch: usize) -> Result<Vec<HeldFile>> {
        let (mut gone, mut after) = (Vec::new(), None);
        loop {
            let (files, next) = self.archive.store.assets().condemned(after, batch)?;
            gone.extend(self.carry_out(files)?);
            after = next;
            if after.is_none() {
                return Ok(gone);
            }
        }
    }

    pub(super) fn carry_out(&self, files: Vec<HeldFile>) -> Result<Vec<HeldFile>> {
        let _changing = self.archive.changing_sidecars();
        let mut events: BTreeMap<EventId, Vec<HeldFile>> = BTreeMap::new();
        for file in files {
            events.entry(file.asset).or_default().push(file);
        }
        let (whole, parts): (BTreeMap<_, _>, BTreeMap<_, _>) = events
            .into_iter()
            .partition(|(_, files)| files.iter().any(|file| file.media.kind == MediaKind::EventSidecar));
        let mut gone = self.remove_events(whole)?;
        gone.extend(self.remove_files(parts)?);
        if !gone.is_empty() {
            self.archive.store.assets().gone(&gone)?;
        }
        Ok(gone)
    }

    fn remove_files(&self, events: BTreeMap<EventId, Vec<HeldFile>>) -> Result<Vec<HeldFile>> {
        let (mut amendments, mut unnamed) = (Vec::new(), Vec::new());
        let at = self.archive.clock.now();
        for (id, files) in events {
            match self.bury(id, &files, &at) {
                Ok(amendment) => {
                    amendments.extend(amendment);
                    unnamed.extend(files);
                }
                Err(failure) => warn!(event = %id, error = format!("{failure:#}"), "files stay for now"),
            }
            (self.between_steps)()?;
        }
        self.archive.store.assets().amend(amendments)?;
        (self.between_steps)()?;
        let mut gone = Vec::new();
        for file in unnamed {
            if !is_plain(&file.camera) || !is_plain(&file.media.file) {
                warn!(camera = %file.camera, file = file.media.file, "the index names a file outside the archive, forgetting it");
                gone.push(file);
                continue;
            }
            let path = path_of(&self.archive.layout, &file);
            // A segment's sidecar after the file that it describes.
            let with_sidecar = || match file.owner() {
                Owner::Segment => removed(fs::remove_file(path.with_file_name(Segment::sidecar_name(file.asset)))),
                _ => Ok(()),
            };
            match removed(fs::remove_file(&path)).and_then(|()| with_sidecar()).and_then(|()| sync_parent(&path)) {
                Ok(()) => gone.push(file),
                Err(error) => warn!(%error, file = %path.display(), "a file could not be deleted"),
            }
            (self.between_steps)()?;
        }
        Ok(gone)
    }

    /// Writes into `event.json` that `files` are gone. `None` for what belongs to no event.
    fn bury(&self, id: EventId, files: &[HeldFile], at: &Moment) -> Result<Option<Amendment>> {
        let Some(first) = files.first() else { return Ok(None) };
        if first.owner() == Owner::Segment {
            self.archive.store.ledger().evict_segment(&first.camera, id)?;
            return Ok(None);
        }
        let folder = self.archive.layout.folder(&first.camera, id);
        let mut event = match (read_event(&folder, &first.camera, id), self.archive.store.events().get(id).wait()?) {
            (Ok(event), _) => event,
            (Err(failure), Some(event)) if folder.is_dir() => {
                warn!(event = %id, error = format!("{failure:#}"), "rewriting the sidecar from the index");
                event
            }
            // The folder was removed, or the index never knew the event: there is nothing to correct.
            _ => return Ok(None),
        };
        let dropped = files.iter().map(|file| file.media.file.clone()).collect();
        let sidecar = if add_tombstones(&mut event, files, at) {
            self.archive.with_room(|| write_event(&folder, &event))?
        } else {
            measure(&folder, SIDECAR)?
        };
        Ok(Some(Amendment { event, sidecar, dropped }))
    }

    /// An event that goes as a whole, with tombstones for all that was left of it.
    fn last(&self, id: EventId) -> Result<Option<Event>> {
        let Some(mut event) = self.archive.store.events().get(id).wait()? else { return Ok(None) };
        add_tombstones(&mut event, &self.archive.store.assets().files_of(id)?, &self.archive.clock.now());
        Ok(Some(event))
    }

    fn remove_events(&self, events: BTreeMap<EventId, Vec<HeldFile>>) -> Result<Vec<HeldFile>> {
        let mut renamed = Vec::new();
        for (id, files) in events {
            let Some(first) = files.first() else { continue };
            let folder = self.archive.layout.folder(&first.camera, id);
            let going = folder.with_added_extension(GONE);
            match removed(fs::rename(&folder, &going)).and_then(|()| sync_parent(&folder)) {
                Ok(()) => renamed.push((id, going, self.last(id)?)),
                Err(error) => warn!(%error, event = %id, "an event could not be deleted"),
            }
            (self.between_steps)()?;
        }
        let last = renamed.iter().map(|(id, _, last)| (*id, last.clone())).collect();
        self.archive.store.assets().forget(last)?;
        (self.between_steps)()?;
        let mut gone = Vec::new();
        for (id, going, _) in renamed {
            match removed(fs::remove_dir_all(&going)).and_then(|()| sync_parent(&going)) {
                Ok(()) => gone.extend(self.archive.store.assets().files_of(id)?),
                Err(error) => warn!(%error, folder = %going.display(), "a folder could not be deleted"),
            }
            (self.between_steps)()?;
        }
        Ok(gone)
    }
}

/// Returns whether the event had to be changed: it was not when this is done again after a power cut.
fn add_tombstones(event: &mut Event, files: &[HeldFile], at: &Moment) -> bool {
    let before = event.clone();
    for file in files {
        let is_it = |name: &str| name == file.media.file;
        event.retain_clips(|clip| !is_it(&clip.media.file));
        event.pictures.retain(|picture| !is_it(&picture.file));
        if !event.evicted.iter().any(|gone| is_it(&gone.media.file)) {
            event.evicted.push(Evicted {
                media: file.media.clone(),
                at: at.clone(),
                reason: file.condemned.unwrap_or(EvictReason::Quota),
                delivered: file.delivered,
            });
        }
    }
    *event != before
}

fn path_of(layout: &Layout, file: &HeldFile) -> PathBuf {
    match file.owner() {
        Owner::Segment => layout.recordings(&file.camera).join(&file.media.file),
        _ => layout.folder(&file.camera, file.asset).join(&file.media.file),
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent().context("no parent").and_then(sync_folder) {
        Ok(()) => Ok(()),
        // The folder went before.
        Err(_) if !path.parent().is_some_and(Path::is_dir) => Ok(()),
        Err(failure) => Err(io::Error::other(format!("{failure:#}"))),
    }
}
