//! Albums: each a small file below `library/albums/`, which is the truth about it.

use std::path::Path;

use anyhow::{Context, Result};
use tracing::{info, warn};

use super::intake::blocking;
use super::layout::{ALBUMS, entries};
use super::{Library, LibraryError};
use crate::archive::{Archive, write_durable};
use crate::asset::{LIBRARY, MediaFile};
use crate::photo::{ALBUM_VERSION, Album, AlbumEdit, AlbumId, AlbumOrder};
use crate::store::Document;

impl Library {
    /// Makes an album of `owner`; durable when it returns.
    ///
    /// # Errors
    /// [`LibraryError::Away`], [`LibraryError::Full`], [`LibraryError::BadAlbum`]; else when index or disk fail.
    pub async fn make_album(&self, edit: AlbumEdit, owner: &str) -> Result<Album, LibraryError> {
        self.check_room()?;
        let _changing = self.archive.changing_photos.lock().await;
        let mut album = Album {
            version: ALBUM_VERSION,
            id: self.archive.next_id(),
            title: String::new(),
            note: String::new(),
            owner: owner.into(),
            created: self.archive.now(),
            everyone: false,
            shared_with: Vec::new(),
            cover: None,
            order: AlbumOrder::default(),
            photos: Vec::new(),
            deleted: None,
        };
        edit.apply(&mut album).map_err(LibraryError::BadAlbum)?;
        if album.title.is_empty() {
            return Err(LibraryError::BadAlbum("an album has a title".to_owned()));
        }
        self.keep_album(album).await
    }

    /// Changes an album; durable when it returns. Gives it as it is then. Where the caller names the album that it
    /// `expects`, it is changed only if it still is that, its photos aside.
    ///
    /// # Errors
    /// [`LibraryError::NoAlbum`], [`LibraryError::Changed`], [`LibraryError::BadAlbum`]; else when index or disk fail.
    pub async fn edit_album(
        &self,
        id: AlbumId,
        edit: AlbumEdit,
        expects: Option<&Album>,
    ) -> Result<Album, LibraryError> {
        let _changing = self.archive.changing_photos.lock().await;
        let albums = self.archive.store().albums();
        let known = albums.get(id).await?.ok_or(LibraryError::NoAlbum)?;
        if expects.is_some_and(|expected| Album { photos: Vec::new(), ..expected.clone() } != known) {
            return Err(LibraryError::Changed);
        }
        let known = Album { photos: albums.photos(id).await?, ..known };
        let mut album = known.clone();
        edit.apply(&mut album).map_err(LibraryError::BadAlbum)?;
        if album == known {
            return Ok(known);
        }
        self.keep_album(album).await
    }

    /// Deletes an album; its photos stay. What is left of it, here and in the cloud, says only that it was deleted.
    ///
    /// # Errors
    /// [`LibraryError::NoAlbum`]; else when index or disk fail.
    pub async fn delete_album(&self, id: AlbumId) -> Result<(), LibraryError> {
        let _changing = self.archive.changing_photos.lock().await;
        let known = self.archive.store().albums().get(id).await?.ok_or(LibraryError::NoAlbum)?;
        let gone = Album {
            title: String::new(),
            note: String::new(),
            shared_with: Vec::new(),
            cover: None,
            photos: Vec::new(),
            deleted: Some(self.archive.now()),
            ..known
        };
        let this = self.clone();
        blocking(move || {
            let document = this.write_album(&gone)?;
            Ok(this.archive.store().albums().forget(id, vec![document])?)
        })
        .await
    }

    async fn keep_album(&self, album: Album) -> Result<Album, LibraryError> {
        let this = self.clone();
        blocking(move || {
            let document = this.write_album(&album)?;
            this.archive.store().albums().record(&album, vec![document])?;
            Ok(album)
        })
        .await
    }

    fn write_album(&self, album: &Album) -> Result<Document> {
        let mut text = serde_json::to_vec_pretty(album).context("encode an album")?;
        text.push(b'\n');
        let folder = self.layout.create(&self.layout.albums())?;
        Ok(document(write_durable(&folder, &Album::file_name(album.id), &text)?))
    }
}

fn document(file: MediaFile) -> Document {
    Document::new(format!("{LIBRARY}/{ALBUMS}/{}", file.file), file.bytes, file.sha256)
}

/// Fills the index with all albums on the disk. Returns how many there are. Blocks.
pub(super) fn fill(archive: &Archive, folder: &Path) -> Result<u64> {
    let mut found = 0;
    for path in entries(folder)?.into_iter().filter(|path| path.extension().is_some_and(|end| end == "json")) {
        match read(&path) {
            Ok((album, _)) if album.deleted.is_some() => {}
            Ok((album, _)) => {
                take_in(archive, folder, &album)?;
                found += 1;
            }
            Err(failure) => {
                warn!(file = %path.display(), error = format!("{failure:#}"), "the file of an album is damaged, the album is not shown");
            }
        }
    }
    if found > 0 {
        info!(albums = found, "took the albums on the disk into the index");
    }
    Ok(found)
}

/// The album in a file, and the text of that.
pub(super) fn read(path: &Path) -> Result<(Album, Vec<u8>)> {
    let text = std::fs::read(path)?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    Ok((checked(&text, name)?, text))
}

/// The album that `text` says, if it belongs into a file with that name.
pub(super) fn checked(text: &[u8], name: &str) -> Result<Album> {
    let album: Album = serde_json::from_slice(text)?;
    anyhow::ensure!(name == Album::file_name(album.id), "it does not agree with its name");
    anyhow::ensure!(album.version <= ALBUM_VERSION, "it was written by a later version");
    Ok(album)
}

/// Takes an album, which lies on the disk, into the index, with its delivery. Blocks.
pub(super) fn take_in(archive: &Archive, folder: &Path, album: &Album) -> Result<()> {
    let file = crate::archive::measure(folder, &Album::file_name(album.id))?;
    Ok(archive.store().albums().record(album, vec![document(file)])?)
}
