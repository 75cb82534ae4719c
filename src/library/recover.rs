//! After a stop: what was being taken in is finished or removed, and a fresh index is filled from the sidecars.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tracing::{info, warn};

use super::albums;
use super::contents::{each_content, take_in, tombstone};
use super::intake::Note;
use super::layout::{LibraryLayout, entries, is_sidecar, remove};
use super::removal::complete;
use super::resumable;
use crate::archive::Archive;
use crate::photo::{Photo, PhotoId};

/// How often it is looked whether nothing is taken in or changed.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Finishes what the last stop left of files that were being taken in. Where the index was begun afresh, fills it with all
/// photos. `first_id` is the first id of this run: what arrives under it or a higher one is left alone. Blocks. Returns how
/// many photos were taken into a fresh index.
///
/// # Errors
/// When the index fails, or the disk. A damaged sidecar is logged and left where it is.
pub fn recover(archive: &Archive, first_id: PhotoId) -> Result<u64> {
    let layout = LibraryLayout::new(archive.layout());
    let found = if archive.store().is_filled()? { 0 } else { fill(archive, &layout)? };
    let listed = archive.store().photos().fill_terms()?;
    if listed > found {
        info!(photos = listed, "made the lists that photos are found by");
    }
    resumable::remove_expired(archive, &layout)?;
    for path in entries(&layout.incoming())? {
        // Files are written under a name that begins with a point, and then renamed.
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let mut parts = name.trim_start_matches('.').split('.');
        let id = parts.next().and_then(|stem| stem.parse::<PhotoId>().ok());
        if id.is_some_and(|id| id >= first_id) {
            continue;
        }
        // An upload that goes on notes its place at any moment.
        if name.starts_with('.') && parts.next() == Some(resumable::STATE) && id.is_some_and(|id| goes_on(&layout, id))
        {
            continue;
        }
        let _turn = turn(archive);
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => finish(archive, &layout, &path)?,
            // They go on.
            Some(resumable::DATA | resumable::STATE) => {}
            // What was arriving when the box stopped was not acknowledged.
            _ => remove(&path)?,
        }
    }
    Ok(found)
}

/// Waits until no photo is taken in or changed, and holds up those that come.
fn turn(archive: &Archive) -> tokio::sync::MutexGuard<'_, ()> {
    loop {
        match archive.changing_photos.try_lock() {
            Ok(turn) => return turn,
            Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}

/// Whether there is an upload with this id.
fn goes_on(layout: &LibraryLayout, id: PhotoId) -> bool {
    layout.incoming().join(format!("{id}.{}", resumable::STATE)).exists()
}

/// Fills the index with all photos on the disk. Returns how many there are.
fn fill(archive: &Archive, layout: &LibraryLayout) -> Result<u64> {
    let mut found = 0;
    each_content(layout, |folder| {
        let _turn = turn(archive);
        // Tombstones last: the photos beside them are in the index by then.
        let sidecars = entries(folder)?.into_iter().filter(|path| is_sidecar(path));
        let (gone, sidecars): (Vec<_>, Vec<_>) =
            sidecars.map(|path| (tombstone(&path), path)).partition(|(gone, _)| gone.is_some());
        for (_, sidecar) in sidecars {
            found += u64::from(take_in(archive, folder, &sidecar)?);
        }
        gone.into_iter().filter_map(|(gone, _)| gone).try_for_each(|of| complete(archive, layout, &of))
    })?;
    albums::fill(archive, &layout.albums())?;
    if found > 0 {
        info!(photos = found, "took the photos on the disk into the index");
    }
    Ok(found)
}

/// Finishes what a note says was going on.
fn finish(archive: &Archive, layout: &LibraryLayout, path: &Path) -> Result<()> {
    let note: Note = match serde_json::from_slice(&fs::read(path).with_context(|| format!("read {}", path.display()))?)
    {
        Ok(note) => note,
        Err(error) => {
            warn!(file = %path.display(), %error, "a note of the library cannot be read and is removed");
            return remove(path);
        }
    };
    let folder = layout.content(&note.sha256);
    let sidecar = folder.join(Photo::sidecar_name(note.id));
    if let Some(gone) = tombstone(&sidecar) {
        complete(archive, layout, &gone)?;
    } else if sidecar.is_file() {
        if archive.store().photos().get(note.id).wait()?.is_none() {
            take_in(archive, &folder, &sidecar)?;
        }
    } else if archive.store().photos().with_content(&note.sha256).wait()?.is_empty() {
        // The original had its place, and was no photo yet: it was not acknowledged.
        remove(&folder.join(&note.file))?;
        let _ = fs::remove_dir(&folder);
    }
    remove(path)
}
