//! What lies on the disk: the folders of all contents, and the photos in each.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use tracing::warn;

use super::Library;
use super::layout::{LibraryLayout, entries, is_sidecar};
use crate::archive::{Archive, measure};
use crate::asset::ORIGINAL;
use crate::photo::{Photo, SCHEMA_VERSION, Tombstone};

/// A sidecar, and the photo that it says with the text, or why it says none.
pub(super) type Found = (PathBuf, Result<(Photo, Vec<u8>)>);

/// Calls `visit` with the folder of each content, in the order of their names, until it fails.
pub(super) fn each_content(layout: &LibraryLayout, mut visit: impl FnMut(&Path) -> Result<()>) -> Result<()> {
    for group in sorted(&layout.root())?.into_iter().filter(|group| !layout.is_special(group)) {
        for folder in sorted(&group)? {
            visit(&folder)?;
        }
    }
    Ok(())
}

/// What lies in a folder, in the order of the names.
pub(super) fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = entries(folder)?;
    found.sort_unstable();
    Ok(found)
}

/// The photos of one content; what was deleted, also since it was listed, is none.
pub(super) fn photos_in(folder: &Path) -> Result<Vec<Found>> {
    let sidecars = sorted(folder)?.into_iter().filter(|path| is_sidecar(path) && tombstone(path).is_none());
    let found = sidecars.map(|path| (read(&path, folder), path)).map(|(photo, path)| (path, photo));
    Ok(found.filter(|(path, photo)| photo.is_ok() || path.exists() && tombstone(path).is_none()).collect())
}

/// The photo of a sidecar, and the text of that.
pub(super) fn read(sidecar: &Path, folder: &Path) -> Result<(Photo, Vec<u8>)> {
    let text = std::fs::read(sidecar)?;
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    Ok((checked(&text, &name(folder), &name(sidecar))?, text))
}

/// The photo that `text` says, if it belongs into a file with that name in the folder of that content.
pub(super) fn checked(text: &[u8], content: &str, name: &str) -> Result<Photo> {
    let photo: Photo = serde_json::from_slice(text)?;
    let is_its_place = content == photo.sha256 && name == Photo::sidecar_name(photo.id);
    let is_plain = photo.file.split('.').next() == Some(ORIGINAL) && !photo.file.contains('/');
    ensure!(is_its_place && is_plain, "it does not agree with its place");
    ensure!(photo.version <= SCHEMA_VERSION, "it was written by a later version");
    Ok(photo)
}

/// Takes a photo into the index, with its delivery. Returns whether it could.
pub(super) fn take_in(archive: &Archive, folder: &Path, sidecar: &Path) -> Result<bool> {
    let photo = match read(sidecar, folder) {
        Ok((photo, _)) => photo,
        Err(failure) => {
            warn!(file = %sidecar.display(), error = format!("{failure:#}"), "a photo's sidecar is damaged, the photo is not shown");
            return Ok(false);
        }
    };
    let name = Photo::sidecar_name(photo.id);
    let documents = Library::documents(&photo, measure(folder, &name)?, folder.join(&photo.file).is_file());
    archive.store().photos().record_blocking(&photo, documents)?;
    Ok(true)
}

/// The tombstone that lies in a sidecar's place; `None` for anything else.
pub(super) fn tombstone(sidecar: &Path) -> Option<Tombstone> {
    serde_json::from_slice(&std::fs::read(sidecar).ok()?).ok()
}
