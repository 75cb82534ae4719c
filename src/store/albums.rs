//! The index of albums.

use std::sync::Arc;

use super::album_index;
use super::op::Op;
use super::photo_scope::Scope;
use super::photo_search;
use super::read::Read;
use super::worker::Core;
use super::{Delivery, Document, StoreError};
use crate::photo::{Album, AlbumId, PhotoId};

/// The albums. Clones share one index.
#[derive(Clone, Debug)]
pub struct Albums(Arc<Core>);

impl Albums {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        Self(core.clone())
    }

    /// Records an album, or what changed of it, together with its delivery. All or nothing; durable when it returns.
    /// Blocks.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`]; else when the disk is full or the store is out of service.
    pub fn record(&self, album: &Album, documents: Vec<Document>) -> Result<(), StoreError> {
        let json = album_index::index_form(album)?;
        let deliveries = checked(documents)?;
        self.0.write(Op::Album { album: Box::new(album.clone()), json, deliveries, now: self.0.clock.now() })
    }

    /// Takes an album out of the index, together with the delivery of what is left of it. Blocks.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn forget(&self, id: AlbumId, documents: Vec<Document>) -> Result<(), StoreError> {
        self.0.write(Op::ForgetAlbum { id, deliveries: checked(documents)?, now: self.0.clock.now() })
    }

    /// One album, without its photos.
    pub fn get(&self, id: AlbumId) -> Read<Option<Album>> {
        Read::new(&self.0, move |db| album_index::get(db, id))
    }

    /// All albums, without their photos, those that were made first first.
    pub fn all(&self) -> Read<Vec<Album>> {
        Read::new(&self.0, album_index::all)
    }

    /// The photos of an album, as they were put; some may be gone from the library.
    pub fn photos(&self, id: AlbumId) -> Read<Vec<PhotoId>> {
        Read::new(&self.0, move |db| album_index::photos(db, id))
    }

    /// How many photos of `scopes` an album has.
    pub fn count(&self, scopes: Vec<Scope>, id: AlbumId) -> Read<u64> {
        Read::new(&self.0, move |db| photo_search::count_album(db, &scopes, id))
    }
}

fn checked(documents: Vec<Document>) -> Result<Vec<Delivery>, StoreError> {
    let deliveries: Vec<Delivery> = documents.into_iter().map(Delivery::Document).collect();
    deliveries.iter().try_for_each(Delivery::check)?;
    Ok(deliveries)
}
