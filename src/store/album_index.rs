//! The albums: what a commit does to them, and how they are read.

use super::StoreError;
use super::commit::Group;
use super::photo_search::album_key;
use super::schema::{decode, encode, id_of};
use super::trees::Database;
use crate::photo::{Album, AlbumId, PhotoId};

/// Photos of one row.
const OF_A_ROW: usize = 128;
/// Largest album in the index without its photos, bytes of JSON.
const LARGEST: usize = 3 * 1024;

/// The album as the index keeps it, without its photos.
pub(super) fn index_form(album: &Album) -> Result<Vec<u8>, StoreError> {
    let mut short = Album { photos: Vec::new(), ..album.clone() };
    let mut json = encode(&short)?;
    if json.len() > LARGEST {
        // Names of users are short; many long ones leave the note out.
        short.note.clear();
        json = encode(&short)?;
    }
    if json.len() > LARGEST {
        return Err(StoreError::TooLarge { what: "an album", bytes: json.len(), limit: LARGEST });
    }
    Ok(json)
}

fn rows(photos: &[PhotoId]) -> impl Iterator<Item = (u32, Vec<u8>)> {
    (0..).zip(photos.chunks(OF_A_ROW).map(|row| row.iter().flat_map(|id| id.to_bytes()).collect()))
}

fn row_key(id: AlbumId, row: u32) -> Vec<u8> {
    [id.to_bytes().as_slice(), &row.to_be_bytes()].concat()
}

impl Group<'_> {
    /// Puts an album into the index, or a newer state in place of the older.
    pub(super) fn put_album(&mut self, album: &Album, json: &[u8]) -> Result<(), StoreError> {
        let old = self.album_rows(album.id)?;
        self.views.albums.insert(album.id.to_bytes(), json)?;
        let mut count = 0;
        for (row, ids) in rows(&album.photos) {
            self.views.album_photos.insert(row_key(album.id, row), ids)?;
            count = row + 1;
        }
        for row in count..u32::try_from(old.len().div_ceil(OF_A_ROW)).unwrap_or(u32::MAX) {
            self.views.album_photos.remove(row_key(album.id, row))?;
        }
        self.list_album(album.id, &old, &album.photos)
    }

    /// Takes an album out of the index.
    pub(super) fn forget_album(&mut self, id: AlbumId) -> Result<(), StoreError> {
        let old = self.album_rows(id)?;
        self.views.albums.remove(id.to_bytes())?;
        for (row, _) in rows(&old) {
            self.views.album_photos.remove(row_key(id, row))?;
        }
        self.list_album(id, &old, &[])
    }

    /// Puts the photos of an album into its list, whatever is in it.
    pub(super) fn fill_album_list(&mut self, id: AlbumId) -> Result<(), StoreError> {
        let photos = self.album_rows(id)?;
        self.list_album(id, &[], &photos)
    }

    fn list_album(&mut self, id: AlbumId, old: &[PhotoId], new: &[PhotoId]) -> Result<(), StoreError> {
        let key = album_key(id);
        let in_lists = |ids: &[PhotoId]| ids.iter().copied().collect::<std::collections::BTreeSet<PhotoId>>();
        let (old, new) = (in_lists(old), in_lists(new));
        for (photo, is_in) in
            old.difference(&new).map(|id| (id, false)).chain(new.difference(&old).map(|id| (id, true)))
        {
            if let Some(number) = self.photo_number(*photo)? {
                self.change_term(&key, number, is_in)?;
            }
        }
        Ok(())
    }

    fn album_rows(&self, id: AlbumId) -> Result<Vec<PhotoId>, StoreError> {
        let mut photos = Vec::new();
        for row in 0.. {
            let Some(ids) = self.views.album_photos.get(row_key(id, row))? else { break };
            photos.extend(ids.as_chunks().0.iter().map(|bytes| PhotoId::from_bytes(*bytes)));
        }
        Ok(photos)
    }
}

/// One album, without its photos.
pub(super) fn get(db: &Database, id: AlbumId) -> Result<Option<Album>, StoreError> {
    db.albums.get(id.to_bytes())?.map(|json| decode(&json)).transpose()
}

/// All albums, without their photos, by id.
pub(super) fn all(db: &Database) -> Result<Vec<Album>, StoreError> {
    db.albums.iter().map(|entry| decode(&entry?.1)).collect()
}

/// The highest id of an album.
pub(super) fn newest_id(db: &Database) -> Result<Option<AlbumId>, StoreError> {
    Ok(db.albums.last()?.and_then(|(key, _)| id_of(&key)))
}

/// The photos of an album, as they were put.
pub(super) fn photos(db: &Database, id: AlbumId) -> Result<Vec<PhotoId>, StoreError> {
    let mut photos = Vec::new();
    for entry in db.album_photos.scan_prefix(id.to_bytes()) {
        photos.extend(entry?.1.as_chunks().0.iter().map(|bytes| PhotoId::from_bytes(*bytes)));
    }
    Ok(photos)
}
