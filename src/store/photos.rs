//! The index of the photo library.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use super::album_index;
use super::op::Op;
use super::photo_changes::PhotoChange;
use super::photo_index;
use super::photo_scope::{PhotoPosition, Scope};
use super::photo_search::{self, PhotoCell, PhotosFound};
use super::photo_usage::{self, PhotoUsage};
use super::read::Read;
use super::worker::Core;
use super::{Delivery, Document, Position, StoreError};
use crate::photo::{AlbumId, Cell, Photo, PhotoId, PhotoSearch, TERMS_VERSION, Term};

/// Key in `meta`: the version of the lists of terms.
const TERMS: &str = "photo_terms";
/// Photos that are given lists at once.
const AT_ONCE: usize = 200;

/// The photos. Clones share one index.
#[derive(Clone, Debug)]
pub struct Photos(Arc<Core>);

impl Photos {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        Self(core.clone())
    }

    /// Records a photo, or what changed of it, together with the files that are to be delivered because of that.
    /// All or nothing; durable when it returns.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`]; else when the disk is full or the store is out of service.
    pub async fn record(&self, photo: &Photo, documents: Vec<Document>) -> Result<(), StoreError> {
        self.0.write_async(self.recorded(photo, documents)?).await
    }

    /// The same for threads that wait.
    ///
    /// # Errors
    /// As [`Photos::record`].
    pub fn record_blocking(&self, photo: &Photo, documents: Vec<Document>) -> Result<(), StoreError> {
        self.0.write(self.recorded(photo, documents)?)
    }

    fn recorded(&self, photo: &Photo, documents: Vec<Document>) -> Result<Op, StoreError> {
        let deliveries: Vec<Delivery> = documents.into_iter().map(Delivery::Document).collect();
        deliveries.iter().try_for_each(Delivery::check)?;
        let json = photo_index::index_form(photo)?;
        Ok(Op::Photo { photo: Box::new(photo.clone()), json, deliveries, now: self.0.clock.now() })
    }

    /// Records many photos of which nothing is to be delivered, in few commits.
    ///
    /// # Errors
    /// As [`Photos::record`], of the first that fails.
    #[cfg(test)]
    pub(super) fn record_all(&self, photos: &[Photo]) -> Result<(), StoreError> {
        let ops = photos.iter().map(|photo| self.recorded(photo, Vec::new()));
        self.0.write_all(ops).into_iter().collect()
    }

    /// The answer of a test's own question.
    #[cfg(test)]
    pub(super) fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&super::trees::Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Read<T> {
        Read::new(&self.0, question)
    }

    /// Gives an index that has photos and no lists of their terms, or those of another version, its lists. Returns how many
    /// photos that were. Blocks.
    ///
    /// # Errors
    /// When the disk is full or the store is out of service.
    pub fn fill_terms(&self) -> Result<u64, StoreError> {
        let version = TERMS_VERSION.to_be_bytes();
        let is_filled = self.0.on_writer(move |db, _| {
            let is_filled = db.meta.get(TERMS)?.is_some_and(|known| known == version);
            if !is_filled {
                photo_search::clear(db)?;
            }
            Ok(is_filled)
        })?;
        if is_filled {
            return Ok(0);
        }
        let (mut filled, mut after) = (0, None);
        loop {
            let photos = self.0.read(move |db| photo_index::by_id(db, after, AT_ONCE))?;
            let Some(last) = photos.last() else { break };
            after = Some(last.id);
            filled += photos.len() as u64;
            // As they are when their turn comes: they may be edited meanwhile.
            let ops = photos.into_iter().map(|photo| Ok(Op::FillPhoto(photo.id)));
            self.0.write_all(ops).into_iter().collect::<Result<(), StoreError>>()?;
        }
        let albums = self.0.read(album_index::all)?;
        let ops = albums.into_iter().map(|album| Ok(Op::FillAlbum(album.id)));
        self.0.write_all(ops).into_iter().collect::<Result<(), StoreError>>()?;
        self.0.on_writer(move |db, data| {
            db.meta.insert(TERMS, &version)?;
            db.flush(data)
        })?;
        Ok(filled)
    }

    /// Takes a photo out of the index.
    ///
    /// # Errors
    /// When the store is out of service.
    pub async fn forget(&self, id: PhotoId) -> Result<(), StoreError> {
        self.0.write_async(Op::ForgetPhoto { id, deliveries: Vec::new(), now: self.0.clock.now() }).await
    }

    /// Takes a photo out of the index, where it is in it, together with what destinations are to have and to remove
    /// because of that. All or nothing; durable when it returns. Blocks.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn forget_blocking(&self, id: PhotoId, documents: Vec<Document>) -> Result<(), StoreError> {
        let deliveries: Vec<Delivery> = documents.into_iter().map(Delivery::Document).collect();
        deliveries.iter().try_for_each(Delivery::check)?;
        self.0.write(Op::ForgetPhoto { id, deliveries, now: self.0.clock.now() })
    }

    /// The first `limit` photos behind `after`, by id.
    pub fn by_id(&self, after: Option<PhotoId>, limit: usize) -> Read<Vec<Photo>> {
        Read::new(&self.0, move |db| photo_index::by_id(db, after, limit))
    }

    /// One photo, as it was recorded last.
    pub fn get(&self, id: PhotoId) -> Read<Option<Photo>> {
        Read::new(&self.0, move |db| photo_index::get(db, id))
    }

    /// Those of `ids` that there are, in that order.
    pub fn some(&self, ids: Vec<PhotoId>) -> Read<Vec<Photo>> {
        Read::new(&self.0, move |db| {
            let found: Result<Vec<Option<Photo>>, StoreError> =
                ids.iter().map(|id| photo_index::get(db, *id)).collect();
            Ok(found?.into_iter().flatten().collect())
        })
    }

    /// All photos with the content `sha256` (lower-case hex), of whomever they are.
    pub fn with_content(&self, sha256: &str) -> Read<Vec<Photo>> {
        let sha256 = sha256.to_owned();
        Read::new(&self.0, move |db| photo_index::with_content(db, &sha256))
    }

    /// Up to `limit` photos of `scopes` together, those that were taken last first; `before` is where the page before
    /// ended.
    pub fn newest(&self, scopes: Vec<Scope>, before: Option<PhotoPosition>, limit: usize) -> Read<Vec<Photo>> {
        Read::new(&self.0, move |db| photo_index::newest(db, &scopes, before, limit))
    }

    /// Up to `limit` photos of `scopes` that `search` asks for, those that were taken last first; `before` is where the page
    /// before ended. [`StoreError::TooMany`] where what is asked for is too short.
    pub fn find(
        &self,
        scopes: Vec<Scope>,
        search: PhotoSearch,
        before: Option<PhotoPosition>,
        limit: usize,
    ) -> Read<PhotosFound> {
        Read::new(&self.0, move |db| photo_search::find(db, &scopes, &search, before, limit))
    }

    /// How many photos of `scopes` that `search` finds by terms and times there are of each day, days on the wall since
    /// 1970.
    pub fn days(&self, scopes: Vec<Scope>, search: PhotoSearch) -> Read<BTreeMap<i64, u64>> {
        Read::new(&self.0, move |db| photo_search::days(db, &scopes, &search))
    }

    /// Up to `limit` tags or labels that begin as `kind` does, with the number of photos of `scopes` that have each, the
    /// most frequent first.
    pub fn texts(&self, scopes: Vec<Scope>, kind: Term, limit: usize) -> Read<Vec<(String, u64)>> {
        Read::new(&self.0, move |db| photo_search::texts(db, &scopes, &kind, limit))
    }

    /// Those of `cells` that photos of `scopes` lie in which `search` finds by terms and times.
    pub fn places(&self, scopes: Vec<Scope>, search: PhotoSearch, cells: Vec<Cell>) -> Read<Vec<PhotoCell>> {
        Read::new(&self.0, move |db| photo_search::places(db, &scopes, &search, &cells))
    }

    /// Whether a photo is in one of `albums`.
    pub fn is_in_albums(&self, photo: PhotoId, albums: Vec<AlbumId>) -> Read<bool> {
        Read::new(&self.0, move |db| photo_search::is_in_albums(db, photo, &albums))
    }

    /// The last change that is on the disk.
    pub fn changed(&self) -> watch::Receiver<Position> {
        self.0.photo_changes().last()
    }

    /// The changes behind `position` and where they end; `None` where some of them are not known any more, or of another
    /// index.
    pub fn changes(&self, position: Position) -> (Option<Vec<PhotoChange>>, Position) {
        self.0.photo_changes().after(position)
    }

    /// What the photos of `owner` take, the trash among them.
    pub fn usage(&self, owner: &str) -> Read<PhotoUsage> {
        let owner = owner.to_owned();
        Read::new(&self.0, move |db| photo_usage::usage(db, &owner))
    }

    /// What the photos of each user take who has some, by name.
    pub fn usages(&self) -> Read<BTreeMap<String, PhotoUsage>> {
        Read::new(&self.0, photo_usage::usages)
    }

    /// Up to `limit` photos in the trash of any user, behind `after`.
    pub fn trashed(&self, after: Option<Photo>, limit: usize) -> Read<Vec<Photo>> {
        Read::new(&self.0, move |db| photo_index::trashed(db, after.as_ref(), limit))
    }

    /// How many photos there are, of all users, the trash included.
    pub fn count(&self) -> Read<u64> {
        Read::new(&self.0, |db| Ok(db.counters()?.photos))
    }
}
