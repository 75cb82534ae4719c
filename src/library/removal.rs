//! Deleting for good: here, and wherever the photo was delivered.
//!
//! A note, then the tombstone in the sidecar's place, then the index together with what destinations are to remove, then
//! the files. What a stop leaves in between is finished by the note, or by the tombstone itself where the index was lost.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::contents::tombstone;
use super::intake::{Note, blocking};
use super::layout::{LibraryLayout, entries, is_sidecar, remove};
use super::{Library, LibraryError, layout};
use crate::archive::{Archive, measure, write_durable};
use crate::asset::LIBRARY;
use crate::away;
use crate::photo::{Photo, PhotoId, Tombstone};
use crate::store::Document;

impl Library {
    /// Deletes a photo for good; durable when it returns. The original goes with the last photo of its content, here and
    /// at all destinations. Where the caller names what it `expects`, the photo is deleted only if it still is that.
    ///
    /// # Errors
    /// [`LibraryError::Unknown`], [`LibraryError::Changed`]; else when index or disk fail.
    pub async fn delete(&self, id: PhotoId, expects: Option<&Photo>) -> Result<(), LibraryError> {
        let _changing = self.archive.changing_photos.lock().await;
        let known = self.archive.store().photos().get(id).await?.ok_or(LibraryError::Unknown)?;
        if expects.is_some_and(|expected| *expected != known) {
            return Err(LibraryError::Changed);
        }
        let (this, tombstone) = (self.clone(), Tombstone::of(&known, self.archive.now()));
        // Under an id of this run: what is going on now is not what a stop left.
        let name = Note::file_name(self.archive.next_id());
        blocking(move || {
            let incoming = this.layout.create(&this.layout.incoming())?;
            let note = Note { id, sha256: tombstone.sha256.clone(), file: tombstone.file.clone() };
            let text = serde_json::to_vec(&note).context("encode a note")?;
            write_durable(&incoming, &name, &text)?;
            let mut text = serde_json::to_vec_pretty(&tombstone).context("encode a tombstone")?;
            text.push(b'\n');
            write_durable(&this.layout.content(&tombstone.sha256), &Photo::sidecar_name(id), &text)?;
            complete(&this.archive, &this.layout, &tombstone)?;
            remove(&incoming.join(&name))
        })
        .await
    }
}

/// Takes out of the index, the disk and the cloud what a tombstone is of. The disk says whether another photo has the
/// same content: the index may not know it yet. Blocks.
pub(super) fn complete(archive: &Archive, layout: &LibraryLayout, of: &Tombstone) -> Result<()> {
    let folder = layout.content(&of.sha256);
    let is_living = |path: &Path| is_sidecar(path) && tombstone(path).is_none();
    let is_last = !entries(&folder)?.iter().any(|path| is_living(path));
    let path = |file: &str| format!("{LIBRARY}/{}/{file}", layout::relative(&of.sha256));
    let sidecar = measure(&folder, &Photo::sidecar_name(of.id))?;
    let mut documents = vec![Document::new(path(&sidecar.file), sidecar.bytes, sidecar.sha256)];
    if is_last {
        documents.push(Document::removal(path(&of.file)));
    }
    archive.store().photos().forget_blocking(of.id, documents)?;
    if is_last {
        let original = folder.join(&of.file);
        let beside = [away::note_of, away::part_of, away::damaged_of].map(|of| of(&original));
        for path in beside.into_iter().chain([original]) {
            remove(&path)?;
        }
        match fs::remove_dir_all(layout.derived(&of.sha256)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context("remove what was derived of a photo");
            }
            _ => {}
        }
    }
    Ok(())
}
