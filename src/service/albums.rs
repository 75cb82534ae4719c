//! Albums of the photo library, as page and API have them.

use std::sync::Arc;

use anyhow::Result;
use serde::Serialize;

use super::library::{LibraryService, ListError, PhotoPage, PhotoPlace, Viewer};
use crate::library::LibraryError;
use crate::photo::{Album, AlbumEdit, AlbumId, Photo, PhotoId};

/// An album as it is shown, without its photos.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlbumRecord {
    /// What it says.
    #[serde(flatten, serialize_with = "without_photos")]
    pub album: Album,
    /// How many of its photos the user who asks sees.
    pub count: u64,
    /// A photo that stands for it and that the user sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub face: Option<PhotoId>,
    /// Whether it belongs to the user who asks.
    pub own: bool,
}

#[derive(Serialize)]
struct Shown<'a> {
    id: AlbumId,
    title: &'a str,
    note: &'a str,
    owner: &'a str,
    created: &'a crate::clock::Moment,
    everyone: bool,
    shared_with: &'a [Arc<str>],
    order: crate::photo::AlbumOrder,
}

/// Its photos are a list of their own, and which of them a user sees is not for the file to say.
fn without_photos<S: serde::Serializer>(album: &Album, serializer: S) -> Result<S::Ok, S::Error> {
    let Album { id, title, note, owner, created, everyone, shared_with, order, .. } = album;
    let (id, everyone, order) = (*id, *everyone, *order);
    Shown { id, title, note, owner, created, everyone, shared_with, order }.serialize(serializer)
}

impl LibraryService {
    /// Albums that the viewer sees, those that were made last first.
    pub(super) async fn albums_seen(&self, viewer: &Viewer) -> Result<Vec<Album>> {
        let mut albums = self.context.store().albums().all().await?;
        albums.retain(|album| album.is_seen(&viewer.name, viewer.sees_all));
        albums.reverse();
        Ok(albums)
    }

    /// An album that the viewer sees, without its photos; `None` for any other.
    pub(super) async fn album_seen(&self, id: AlbumId, viewer: &Viewer) -> Result<Option<Album>> {
        let album = self.context.store().albums().get(id).await?;
        Ok(album.filter(|album| album.is_seen(&viewer.name, viewer.sees_all)))
    }

    /// Photos of an album as a link shows it: without private ones and those in a trash, whatever its maker sees; `None`
    /// where there is no such album.
    ///
    /// # Errors
    /// [`ListError`].
    pub async fn shared_album(
        &self,
        id: AlbumId,
        before: Option<PhotoPlace>,
        limit: usize,
    ) -> Result<Option<(String, PhotoPage)>, ListError> {
        let Some(album) = self.context.store().albums().get(id).await? else { return Ok(None) };
        let stranger = Viewer { name: "".into(), sees_all: false };
        let page = self.of_album(&album, &stranger, before, limit).await?;
        Ok(Some((album.title, page)))
    }

    /// A photo as a link shows it; `None` for private ones and those in a trash.
    ///
    /// # Errors
    /// When the index is out of service.
    pub async fn shared_photo(&self, id: PhotoId) -> Result<Option<Photo>> {
        let photo = self.context.store().photos().get(id).await?;
        Ok(photo.filter(|photo| !photo.private && photo.trashed.is_none()))
    }

    /// The same of an album, if it is in that.
    ///
    /// # Errors
    /// When the index is out of service.
    pub async fn shared_photo_of(&self, album: AlbumId, id: PhotoId) -> Result<Option<Photo>> {
        if !self.context.store().photos().is_in_albums(id, vec![album]).await? {
            return Ok(None);
        }
        self.shared_photo(id).await
    }

    /// Albums that the viewer sees, those that were made last first.
    ///
    /// # Errors
    /// When the index is out of service.
    pub async fn albums(&self, viewer: &Viewer) -> Result<Vec<AlbumRecord>> {
        let mut records = Vec::new();
        for album in self.albums_seen(viewer).await? {
            records.push(self.album_record(album, viewer).await?);
        }
        Ok(records)
    }

    /// An album that the viewer sees; `None` for any other.
    ///
    /// # Errors
    /// When the index is out of service.
    pub async fn album(&self, id: AlbumId, viewer: &Viewer) -> Result<Option<AlbumRecord>> {
        match self.album_seen(id, viewer).await? {
            Some(album) => Ok(Some(self.album_record(album, viewer).await?)),
            None => Ok(None),
        }
    }

    async fn album_record(&self, album: Album, viewer: &Viewer) -> Result<AlbumRecord> {
        let store = self.context.store();
        let count = store.albums().count(viewer.scopes(), album.id).await?;
        let is_shown = |photo: &Photo| photo.trashed.is_none() && super::library::is_seen(photo, &viewer.name);
        let cover = match album.cover {
            Some(cover) => store.photos().get(cover).await?.filter(is_shown),
            None => None,
        };
        let face = match cover {
            Some(photo) => Some(photo.id),
            // The first ones that are seen: a whole album of photos that are not is rare.
            None if count > 0 => {
                let ids = store.albums().photos(album.id).await?.into_iter().take(MOST_LOOKS).collect();
                store.photos().some(ids).await?.iter().find(|photo| is_shown(photo)).map(|photo| photo.id)
            }
            None => None,
        };
        Ok(AlbumRecord { count, face, own: *album.owner == *viewer.name, album })
    }

    /// Makes an album of the viewer's. Photos that the viewer does not see are left out.
    ///
    /// # Errors
    /// As [`crate::library::Library::make_album`].
    pub async fn make_album(&self, edit: AlbumEdit, viewer: &Viewer) -> Result<AlbumRecord, LibraryError> {
        self.check_users(&edit, &[])?;
        let edit = self.seen_alone(edit, viewer).await?;
        let album = self.library().make_album(edit, &viewer.name).await?;
        Ok(self.album_record(album, viewer).await?)
    }

    /// Changes an album.
    ///
    /// # Errors
    /// As [`crate::library::Library::edit_album`].
    pub async fn edit_album(
        &self,
        id: AlbumId,
        edit: AlbumEdit,
        expects: Option<&Album>,
        viewer: &Viewer,
    ) -> Result<AlbumRecord, LibraryError> {
        let known = self.context.store().albums().get(id).await?.map(|album| album.shared_with).unwrap_or_default();
        self.check_users(&edit, &known)?;
        let edit = self.seen_alone(edit, viewer).await?;
        let album = self.library().edit_album(id, edit, expects).await?;
        Ok(self.album_record(album, viewer).await?)
    }

    /// Deletes an album; its photos stay.
    ///
    /// # Errors
    /// As [`crate::library::Library::delete_album`].
    pub async fn delete_album(&self, id: AlbumId) -> Result<(), LibraryError> {
        self.library().delete_album(id).await
    }

    /// Refuses unknown names among those that an album is to be shared with; those of users who are gone may stay.
    fn check_users(&self, edit: &AlbumEdit, known: &[Arc<str>]) -> Result<(), LibraryError> {
        let access = &self.context.access;
        let is_known = |name: &&Arc<str>| known.contains(name) || access.user(name).is_some();
        match edit.shared_with.iter().flatten().find(|name| !is_known(name)) {
            Some(name) if access.has_users() => {
                Err(LibraryError::BadAlbum(format!("there is no user {name:?} to share the album with")))
            }
            _ => Ok(()),
        }
    }

    /// Without photos that the viewer does not see.
    async fn seen_alone(&self, edit: AlbumEdit, viewer: &Viewer) -> Result<AlbumEdit> {
        let Some(add) = edit.add else { return Ok(edit) };
        let photos = self.context.store().photos().some(add).await?;
        let seen = photos.iter().filter(|photo| super::library::is_seen(photo, &viewer.name));
        Ok(AlbumEdit { add: Some(seen.map(|photo| photo.id).collect()), ..edit })
    }
}

/// Photos that are looked at for one that stands for an album.
const MOST_LOOKS: usize = 50;
