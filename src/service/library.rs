//! The photo library, as page and API have it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use jiff::civil::Date;
use serde::Serialize;
use tokio::sync::Semaphore;

use super::context::Context;
use super::similar_hashes::SharedHashes;
use crate::library::{Arriving, Given, Kept, Library, LibraryError, LibraryShared, OriginalState, PhotoEdit, Thumb};
use crate::photo::{
    Album, AlbumId, AlbumOrder, Cell, Condition, GeoPoint, Photo, PhotoId, PhotoSearch, Term, Wanted, fold,
};
use crate::store::{PhotoCell, PhotoPosition, PhotosFound, Scope, StoreError};

/// Most photos of one page.
pub const MOST_PHOTOS: usize = 500;
/// Exports that are written at once.
pub(super) const MOST_EXPORTS: usize = 2;
/// Most tags that are listed.
const MOST_TAGS: usize = 1000;

/// Who looks at photos.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// The user's name.
    pub name: Arc<str>,
    /// Whether the user sees all cameras, and so what all see of the library; else albums that are shared by name alone.
    pub sees_all: bool,
}

impl Viewer {
    pub(super) fn scopes(&self) -> Vec<Scope> {
        if self.sees_all { vec![Scope::Shared, Scope::PrivateOf(self.name.to_string())] } else { vec![Scope::Shared] }
    }
}

/// Where a page ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhotoPlace {
    /// In the order of time.
    Time(PhotoPosition),
    /// In the order that an album was given.
    Rank(usize),
}

impl PhotoPlace {
    pub(super) fn time(self) -> Option<PhotoPosition> {
        match self {
            Self::Time(position) => Some(position),
            Self::Rank(_) => None,
        }
    }
}

/// Which photos.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhotoQuery {
    /// The user who asks.
    pub viewer: Viewer,
    /// What is searched for, as the user wrote it.
    pub search: String,
    /// Those of this album.
    pub album: Option<AlbumId>,
    /// What lies in that user's trash, in place of what does not.
    pub trash: bool,
    /// Where the page before ended.
    pub before: Option<PhotoPlace>,
    /// At most so many, 1 to [`MOST_PHOTOS`].
    pub limit: usize,
}

/// Why photos are not listed.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// What is searched for cannot be read, or is too short.
    #[error("{0}")]
    BadSearch(String),
    /// The user sees no such album.
    #[error("there is no album with this id that you see")]
    NoAlbum,
    /// The user does not see the library.
    #[error("{0} sees some cameras only; of the library, albums that are shared with this user by name")]
    NotSeen(Arc<str>),
    /// The index is out of service.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

impl From<StoreError> for ListError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::TooMany(_) => Self::BadSearch(error.to_string()),
            other => Self::Failed(other.into()),
        }
    }
}

/// A photo as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhotoRecord {
    /// What is known of it.
    #[serde(flatten, serialize_with = "without_favorites")]
    pub photo: Photo,
    /// Whether it belongs to the user who asks.
    pub own: bool,
    /// Whether it is a favourite of the user who asks.
    pub favorite: bool,
}

/// Leaves out whose favourite it is: that is each user's own.
fn without_favorites<S: serde::Serializer>(photo: &Photo, serializer: S) -> Result<S::Ok, S::Error> {
    Photo { favorite_of: Vec::new(), ..photo.clone() }.serialize(serializer)
}

/// Photos, in the order of the album where one was asked for that has its own, else those that were taken last first.
#[derive(Clone, Debug, Serialize)]
pub struct PhotoPage {
    /// The photos.
    pub photos: Vec<PhotoRecord>,
    /// Where the next page begins; none after the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// How many there are in all, where a search knows that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

/// A day on the wall with photos.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PhotoDay {
    /// The day.
    pub day: Date,
    /// Photos that were taken then.
    pub photos: u64,
}

/// A tag with its photos.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PhotoTag {
    /// The tag, folded.
    pub tag: String,
    /// Photos that have it.
    pub photos: u64,
}

/// Photos that were taken near each other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhotoArea {
    /// Middle of the square of the map, degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
    /// Side of the square, degrees.
    pub side: f64,
    /// Photos in it.
    pub photos: u64,
    /// One of them.
    pub example: Option<PhotoId>,
}

/// The photo library of the volume in use.
#[derive(Clone)]
pub struct LibraryService {
    pub(super) context: Arc<Context>,
    shared: LibraryShared,
    pub(super) exports: Arc<Semaphore>,
    pub(super) hashes: SharedHashes,
}

impl LibraryService {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            shared: LibraryShared::default(),
            exports: Arc::new(Semaphore::new(MOST_EXPORTS)),
            hashes: SharedHashes::default(),
        }
    }

    /// The library on the volume in use.
    pub fn library(&self) -> Library {
        Library::new(&self.context.volume.archive(), &self.shared, self.context.configured().library.clone())
    }

    /// Begins to take in a file.
    ///
    /// # Errors
    /// As [`Library::begin`].
    pub async fn begin(&self) -> Result<Arriving, LibraryError> {
        self.library().begin().await
    }

    /// Keeps what has arrived.
    ///
    /// # Errors
    /// As [`Library::keep`].
    pub async fn keep(&self, arriving: Arriving, given: Given) -> Result<Kept, LibraryError> {
        self.library().keep(arriving, given).await
    }

    /// Photos that the viewer sees.
    ///
    /// # Errors
    /// [`ListError`].
    pub async fn list(&self, query: PhotoQuery) -> Result<PhotoPage, ListError> {
        let begun = Instant::now();
        let page = self.page(query).await;
        self.context.metrics.library_search_seconds.observe(begun.elapsed().as_secs_f64());
        page
    }

    async fn page(&self, query: PhotoQuery) -> Result<PhotoPage, ListError> {
        let photos = self.context.store().photos();
        let limit = query.limit.clamp(1, MOST_PHOTOS);
        let (search, album) = self.search(&query).await?;
        let PhotoQuery { viewer, trash, before, .. } = query;
        if let Some(album) = album.filter(|_| !trash && query.search.trim().is_empty()) {
            return self.of_album(&album, &viewer, before, limit).await;
        }
        let before = before.and_then(PhotoPlace::time);
        let scopes = if trash { vec![Scope::TrashOf(viewer.name.to_string())] } else { viewer.scopes() };
        let found = if search.is_all() {
            let photos = photos.newest(scopes, before, limit).await?;
            let next = photos.last().filter(|_| photos.len() == limit).map(PhotoPosition::of);
            PhotosFound { photos, next, total: None }
        } else {
            photos.find(scopes, search, before, limit).await?
        };
        Ok(timed_page(found, &viewer))
    }

    /// A page of an album, in its order.
    pub(super) async fn of_album(
        &self,
        album: &Album,
        viewer: &Viewer,
        before: Option<PhotoPlace>,
        limit: usize,
    ) -> Result<PhotoPage, ListError> {
        if album.order == AlbumOrder::Given {
            return self.arranged(album, viewer, before, limit).await;
        }
        let photos = self.context.store().photos();
        let before = before.and_then(PhotoPlace::time);
        Ok(timed_page(photos.find(viewer.scopes(), of_one_album(album.id), before, limit).await?, viewer))
    }

    /// What is asked for, with the album that it is asked of.
    async fn search(&self, query: &PhotoQuery) -> Result<(PhotoSearch, Option<Album>), ListError> {
        let viewer = &query.viewer;
        let mut search = PhotoSearch::read(&query.search, &viewer.name).map_err(ListError::BadSearch)?;
        for wanted in search.conditions.iter_mut().flat_map(|condition| &mut condition.all) {
            if let Wanted::AlbumTitled(title) = wanted {
                let albums = self.albums_seen(viewer).await?;
                let ids = albums.iter().filter(|album| fold(&album.title) == *title).map(|album| Term::Album(album.id));
                *wanted = Wanted::Any(ids.collect());
            }
        }
        let Some(id) = query.album else {
            return if viewer.sees_all { Ok((search, None)) } else { Err(ListError::NotSeen(viewer.name.clone())) };
        };
        let album = self.album_seen(id, viewer).await?.ok_or(ListError::NoAlbum)?;
        search.conditions.splice(0..0, of_one_album(id).conditions);
        Ok((search, Some(album)))
    }

    /// A page of an album in its own order.
    async fn arranged(
        &self,
        album: &Album,
        viewer: &Viewer,
        before: Option<PhotoPlace>,
        limit: usize,
    ) -> Result<PhotoPage, ListError> {
        let store = self.context.store();
        let ids = store.albums().photos(album.id).await?;
        let mut rank = match before {
            Some(PhotoPlace::Rank(rank)) => rank,
            _ => 0,
        };
        let mut found = Vec::new();
        while found.len() < limit && rank < ids.len() {
            let some: Vec<PhotoId> = ids.iter().skip(rank).take(limit - found.len()).copied().collect();
            rank += some.len();
            let photos = store.photos().some(some).await?;
            found.extend(photos.into_iter().filter(|photo| photo.trashed.is_none() && is_seen(photo, &viewer.name)));
        }
        let next = (rank < ids.len()).then(|| cursor(PhotoPlace::Rank(rank)));
        let total = store.albums().count(viewer.scopes(), album.id).await?;
        let photos = found.into_iter().map(|photo| record(photo, &viewer.name)).collect();
        Ok(PhotoPage { photos, next, total: Some(total) })
    }

    /// How many photos there are of each day of those that `query` asks for, the last day first; and whether these are the
    /// photos, day after day, that [`LibraryService::list`] gives: not where only a look at each photo decides, nor of an
    /// album in an order of its own.
    ///
    /// # Errors
    /// [`ListError`].
    pub async fn days(&self, query: &PhotoQuery) -> Result<(Vec<PhotoDay>, bool), ListError> {
        let (search, album) = self.search(query).await?;
        let is_arranged = query.search.trim().is_empty() && album.is_some_and(|album| album.order == AlbumOrder::Given);
        let is_exact = !search.needs_look() && !is_arranged;
        let days = self.context.store().photos().days(query.viewer.scopes(), search).await?;
        let day = |(day, photos): (i64, u64)| {
            let day = Date::constant(1970, 1, 1).checked_add(jiff::Span::new().try_days(day).ok()?).ok()?;
            Some(PhotoDay { day, photos })
        };
        Ok((days.into_iter().rev().filter_map(day).collect(), is_exact))
    }

    /// The tags of photos that the viewer sees, the most frequent first.
    ///
    /// # Errors
    /// [`ListError`].
    pub async fn tags(&self, viewer: &Viewer) -> Result<Vec<PhotoTag>, ListError> {
        if !viewer.sees_all {
            return Err(ListError::NotSeen(viewer.name.clone()));
        }
        let tags = self.context.store().photos().texts(viewer.scopes(), Term::Tag(String::new()), MOST_TAGS).await?;
        Ok(tags.into_iter().map(|(tag, photos)| PhotoTag { tag, photos }).collect())
    }

    /// Where the photos that `query` asks for were taken, within four degrees: south, north, west, east. In squares of the
    /// finest grid of which few hundred cover that.
    ///
    /// # Errors
    /// [`ListError`].
    pub async fn places(
        &self,
        query: &PhotoQuery,
        [south, north, west, east]: [f64; 4],
    ) -> Result<Vec<PhotoArea>, ListError> {
        let (search, _) = self.search(query).await?;
        let cells = (0..Cell::LEVELS).rev().find_map(|level| Cell::cover(south, north, west, east, level));
        let store = self.context.store();
        let found = store.photos().places(query.viewer.scopes(), search, cells.unwrap_or_default()).await?;
        let area = |found: PhotoCell| {
            let (GeoPoint { latitude, longitude, .. }, side) = (found.cell.middle()?, found.cell.side()?);
            Some(PhotoArea { latitude, longitude, side, photos: found.photos, example: found.example })
        };
        Ok(found.into_iter().filter_map(area).collect())
    }

    /// A photo that the viewer sees; `None` for any other.
    ///
    /// # Errors
    /// When the index is out of service.
    pub async fn get(&self, id: PhotoId, viewer: &Viewer) -> Result<Option<PhotoRecord>> {
        let photo = self.context.store().photos().get(id).await?;
        let Some(photo) = photo.filter(|photo| is_seen(photo, &viewer.name)) else { return Ok(None) };
        if !viewer.sees_all {
            let albums = self.albums_seen(viewer).await?.into_iter().map(|album| album.id).collect();
            let is_shared = !photo.private && photo.trashed.is_none();
            if !is_shared || !self.context.store().photos().is_in_albums(id, albums).await? {
                return Ok(None);
            }
        }
        Ok(Some(record(photo, &viewer.name)))
    }

    /// Makes a photo a favourite of the viewer, or no favourite.
    ///
    /// # Errors
    /// As [`Library::set_favorite`].
    pub async fn set_favorite(
        &self,
        id: PhotoId,
        viewer: &Viewer,
        is_favorite: bool,
    ) -> Result<PhotoRecord, LibraryError> {
        Ok(record(self.library().set_favorite(id, &viewer.name, is_favorite).await?, &viewer.name))
    }

    /// Changes a photo.
    ///
    /// # Errors
    /// As [`Library::edit`].
    pub async fn edit(
        &self,
        id: PhotoId,
        edit: PhotoEdit,
        expects: Option<&Photo>,
        viewer: &str,
    ) -> Result<PhotoRecord, LibraryError> {
        Ok(record(self.library().edit(id, edit, expects).await?, viewer))
    }

    /// Deletes a photo for good.
    ///
    /// # Errors
    /// As [`Library::delete`].
    pub async fn delete(&self, id: PhotoId, expects: Option<&Photo>) -> Result<(), LibraryError> {
        self.library().delete(id, expects).await
    }

    /// Where the original lies.
    pub fn original(&self, photo: &Photo) -> PathBuf {
        self.library().original(photo)
    }

    /// Where a thumbnail lies; it is made again where it went. `None` where the photo cannot be shown.
    ///
    /// # Errors
    /// When the disk fails.
    pub async fn thumbnail(&self, photo: &Photo, size: Thumb) -> Result<Option<PathBuf>, LibraryError> {
        self.library().thumbnail(photo, size).await
    }

    /// Makes the copy of a video without what its file says, and gives why it cannot be made, where it cannot.
    ///
    /// # Errors
    /// As [`Library::strip_video`].
    pub async fn strip_video(&self, photo: &Photo) -> Result<Option<String>, LibraryError> {
        self.library().strip_video(photo).await
    }

    /// Makes one photo of several.
    ///
    /// # Errors
    /// As [`Library::merge`].
    pub async fn merge(&self, keep: PhotoId, others: &[PhotoId]) -> Result<Photo, LibraryError> {
        self.library().merge(keep, others).await
    }

    /// Where the original is.
    ///
    /// # Errors
    /// As [`Library::original_state`].
    pub async fn original_state(&self, photo: &Photo) -> Result<OriginalState, LibraryError> {
        self.library().original_state(photo).await
    }

    /// Queues the removal of an original from this box.
    ///
    /// # Errors
    /// As [`Library::release_original`].
    pub async fn release_original(&self, photo: &Photo) -> Result<OriginalState, LibraryError> {
        self.library().release_original(photo, &self.context.configured().openable).await
    }

    /// Asks for an original that lies at a destination alone.
    ///
    /// # Errors
    /// As [`Library::fetch_original`].
    pub async fn fetch_original(&self, photo: &Photo) -> Result<OriginalState, LibraryError> {
        self.library().fetch_original(photo).await
    }
}

/// A search for the photos of an album.
fn of_one_album(id: AlbumId) -> PhotoSearch {
    let all = vec![Wanted::Term(Term::Album(id))];
    PhotoSearch { conditions: vec![Condition { negated: false, all }], ..PhotoSearch::default() }
}

/// What was found in the order of time, as `viewer` is shown it.
fn timed_page(found: PhotosFound, viewer: &Viewer) -> PhotoPage {
    let next = found.next.map(|position| cursor(PhotoPlace::Time(position)));
    let photos = found.photos.into_iter().map(|photo| record(photo, &viewer.name)).collect();
    PhotoPage { photos, next, total: found.total }
}

/// A photo as `viewer` is shown it.
pub fn record(photo: Photo, viewer: &str) -> PhotoRecord {
    let favorite = photo.favorite_of.iter().any(|user| **user == *viewer);
    PhotoRecord { own: *photo.owner == *viewer, favorite, photo }
}

pub(super) fn is_seen(photo: &Photo, viewer: &str) -> bool {
    *photo.owner == *viewer || !photo.private && photo.trashed.is_none()
}

/// A place in a list, as text.
pub(super) fn cursor(place: PhotoPlace) -> String {
    match place {
        PhotoPlace::Time(PhotoPosition { wall_ms, id }) => format!("{wall_ms}_{id}"),
        PhotoPlace::Rank(rank) => rank.to_string(),
    }
}

/// The place in a list that [`PhotoPage::next`] gave; `None` for what is none.
pub fn read_cursor(text: &str) -> Option<PhotoPlace> {
    let Some((wall_ms, id)) = text.split_once('_') else { return text.parse().ok().map(PhotoPlace::Rank) };
    Some(PhotoPlace::Time(PhotoPosition { wall_ms: wall_ms.parse().ok()?, id: id.parse().ok()? }))
}
