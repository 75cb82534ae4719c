//! An event that a person deletes goes as one that became too old, whole and at once: see `evict`.

use anyhow::{Result, bail};
use tracing::info;

use super::evict::Evictor;
use crate::archive::Archive;
use crate::archive::sidecar::{SIDECAR, measure};
use crate::asset::MediaKind;
use crate::event::{EventId, EventState, MediaFile};

/// What became of the wish to delete an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// There is no such event.
    Unknown,
    /// It goes on, and its recorder writes it.
    GoingOn,
    /// It is pinned.
    Pinned,
    /// It is gone, with its files and all that waited of them.
    Done,
}

/// Deletes the event `id` from the box, unless it goes on or is pinned. A power cut in the middle leaves it whole, or
/// marked so that the next start goes on.
///
/// # Errors
/// When the index fails, or the file system refuses; what was begun is finished by the retention then.
pub fn delete_event(archive: &Archive, id: EventId) -> Result<Deletion> {
    let Some(event) = archive.store.events().get(id).wait()? else { return Ok(Deletion::Unknown) };
    if event.state == EventState::Open {
        return Ok(Deletion::GoingOn);
    }
    if event.pinned {
        return Ok(Deletion::Pinned);
    }
    let folder = archive.layout.folder(&event.camera, id);
    // One that is gone by hand stands for the whole event all the same.
    let sidecar = measure(&folder, SIDECAR).unwrap_or_else(|_| MediaFile::new(SIDECAR, 0, "0".repeat(64)));
    let condemned = archive.store.assets().begin_deletion(id, sidecar)?;
    if !condemned.iter().any(|file| file.media.kind == MediaKind::EventSidecar) {
        // It was pinned in between, or went.
        let is_there = archive.store.events().get(id).wait()?.is_some();
        return Ok(if is_there { Deletion::Pinned } else { Deletion::Unknown });
    }
    let evictor = Evictor { archive, between_steps: &|| Ok(()) };
    // A pass of the retention may have found it first: its folder is away then.
    if evictor.carry_out(condemned)?.is_empty() && folder.exists() {
        bail!("{} cannot be deleted now; the log says why, and it is tried again", folder.display());
    }
    info!(event = %id, camera = %event.camera, "a person deleted an event");
    Ok(Deletion::Done)
}
