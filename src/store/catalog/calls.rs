//! The catalogue's side of the store.

use std::ops::Range;
use std::sync::Arc;

use super::super::op::Op;
use super::super::worker::Core;
use super::super::{StoreError, annotations, event_log};
use super::plan::Reader;
use super::write::{Change, HoldRow};
use super::{Amendment, Class, Cursor, HeldFile, RUN_TIME_BELOW, UNDATED, uploads};
use crate::asset::{AssetId, FileId};
use crate::clock::Moment;
use crate::event::{Event, EventId, EvictReason, MediaFile};

/// Rows that are put in order by one call.
const PLACED_AT_ONCE: usize = 500;

fn ids(files: &[HeldFile]) -> Vec<FileId> {
    files.iter().map(HeldFile::id).collect()
}

/// The catalogue: every file that the box holds, in the order in which it may go. Clones share one index.
#[derive(Clone, Debug)]
pub struct Assets(Arc<Core>);

impl Assets {
    pub(in crate::store) fn new(core: &Arc<Core>) -> Self {
        Self(core.clone())
    }

    fn read_catalog<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Reader<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let destinations = uploads(self.0.queues().keys());
        self.0.read(move |db| {
            let destinations = destinations.iter().collect();
            query(&Reader { db, destinations })
        })
    }

    fn change_catalog(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        if changes.is_empty() { Ok(()) } else { self.0.write(Op::Catalog(changes)) }
    }

    /// The files that go next when `bytes` are needed, at most about `max`: first what every destination has,
    /// then what of a class was recorded at the dates given in `overdue` (milliseconds), then by value and age;
    /// metadata last, if there is enough of it, and never while a destination is still to get it. An event's
    /// sidecar comes with all that is left of the event.
    ///
    /// # Errors
    /// When the store is out of service; this holds for all calls of the catalogue.
    pub fn evictable(
        &self,
        bytes: u64,
        overdue: &[(Class, Range<u64>)],
        max: usize,
    ) -> Result<Vec<HeldFile>, StoreError> {
        let overdue = overdue.to_vec();
        self.read_catalog(move |reader| reader.evictable(Some(bytes), &overdue, max))
    }

    /// As [`Assets::evictable`], where it is room for `max` files that is needed, however small they are.
    ///
    /// # Errors
    /// As [`Assets::evictable`].
    pub fn evictable_files(&self, overdue: &[(Class, Range<u64>)], max: usize) -> Result<Vec<HeldFile>, StoreError> {
        let overdue = overdue.to_vec();
        self.read_catalog(move |reader| reader.evictable(None, &overdue, max))
    }

    /// Files of `class` recorded at one of `dates` (milliseconds of wall time, or of run time below
    /// [`RUN_TIME_BELOW`]), oldest first; not those that a destination is still to get, unless `waiting_too`. `after` is where the last call stopped; at the end there is none.
    ///
    /// # Errors
    /// As [`Assets::evictable`].
    pub fn expired(
        &self,
        class: Class,
        dates: Range<u64>,
        waiting_too: bool,
        after: Option<Cursor>,
        max: usize,
    ) -> Result<(Vec<HeldFile>, Option<Cursor>), StoreError> {
        self.read_catalog(move |reader| reader.expired(class, &dates, waiting_too, after.as_ref(), max))
    }

    /// Begins the deletion of `files`, except those that were pinned meanwhile: [`Assets::condemned`] lists them
    /// from now on, also after a restart, until [`Assets::gone`].
    ///
    /// # Errors
    /// As [`Assets::evictable`].
    pub fn condemn(&self, files: &[HeldFile], reason: EvictReason) -> Result<(), StoreError> {
        self.change_catalog(vec![Change::Condemn { files: ids(files), reason }])
    }

    /// Up to `max` files whose deletion has begun, those of one event beside each other.
    ///
    /// # Errors
    /// As [`Assets::evictable`].
    pub fn condemned(&self, after: Option<Cursor>, max: usize) -> Result<(Vec<HeldFile>, Option<Cursor>), StoreError> {
        self.read_catalog(move |reader| reader.condemned(after.as_ref(), max))
    }

    /// Records what `event.json` files say by now, queues them for delivery, and takes what they dropped out of
    /// every outbox and out of the dead letters.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`]; else as [`Assets::evictable`].
    pub fn amend(&self, amendments: Vec<Amendment>) -> Result<(), StoreError> {
        let amend = |Amendment { event, sidecar, dropped }: Amendment| {
            let (event, json) = event_log::index_form(event)?;
            Ok(Change::Amend { event: Box::new(event), json, sidecar, now: self.0.clock.now(), dropped })
        };
        self.change_catalog(amendments.into_iter().map(amend).collect::<Result<_, StoreError>>()?)
    }

    /// Takes events out of the index and everything of them out of the outboxes that files wait in. Their
    /// condemned files stay listed. The outbox `lake` gets each event as it was `last`, where that is known.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`]; else as [`Assets::evictable`].
    pub fn forget(&self, events: Vec<(EventId, Option<Event>)>) -> Result<(), StoreError> {
        let forget = |(id, last): (EventId, Option<Event>)| {
            let files = ids(&self.files_of(id)?);
            let last = last.map(event_log::index_form).transpose()?.map(|(last, _)| Box::new(last));
            Ok(Change::Forget { id, files, last, now: self.0.clock.now() })
        };
        self.change_catalog(events.into_iter().map(forget).collect::<Result<_, StoreError>>()?)
    }

    /// `files` are deleted from the disk.
    ///
    /// # Errors
    /// As [`Assets::evictable`].
    pub fn gone(&self, files: &[HeldFile]) -> Result<(), StoreError> {
        self.change_catalog(vec![Change::Gone(ids(files))])
    }

    /// All files of one event or segment.
    ///
    /// # Errors
    /// As [`Assets::evictable`].
    pub fn files_of(&self, id: AssetId) -> Result<Vec<HeldFile>, StoreError> {
        self.read_catalog(move |reader| reader.files_of(id))
    }

    /// Notes in the index what people say of `event`, and whether it is to be kept whatever its age; its `event.json` is
    /// the caller's, who calls [`Assets::annotated`] once that says the same. Files whose deletion has begun are deleted
    /// all the same.
    ///
    /// # Errors
    /// As [`Assets::evictable`].
    pub fn annotate(&self, event: Event) -> Result<(), StoreError> {
        let files = ids(&self.files_of(event.id)?);
        self.change_catalog(vec![Change::Annotate { event: Box::new(event), files }])
    }

    /// `event.json` says what people say of an event.
    ///
    /// # Errors
    /// As [`Assets::evictable`].
    pub fn annotated(&self, id: EventId) -> Result<(), StoreError> {
        self.change_catalog(vec![Change::Annotated(id)])
    }

    /// Events for which [`Assets::annotated`] was not called: a stop came in between.
    ///
    /// # Errors
    /// As [`Assets::evictable`].
    pub fn unwritten_annotations(&self) -> Result<Vec<EventId>, StoreError> {
        self.0.read(annotations::unwritten)
    }

    /// Begins the deletion of an event with all of its files, unless it is open or pinned by now. Gives what is
    /// condemned.
    ///
    /// # Errors
    /// As [`Assets::evictable`].
    pub fn begin_deletion(&self, id: EventId, sidecar: MediaFile) -> Result<Vec<HeldFile>, StoreError> {
        self.change_catalog(vec![Change::Delete { id, sidecar }])?;
        Ok(self.files_of(id)?.into_iter().filter(|file| file.condemned.is_some()).collect())
    }

    /// Takes in a file that belongs to no event, such as a segment of continuous video.
    ///
    /// # Errors
    /// As [`Assets::evictable`].
    pub fn hold(
        &self,
        id: AssetId,
        camera: &str,
        class: Class,
        media: MediaFile,
        recorded: Moment,
    ) -> Result<(), StoreError> {
        let row = HoldRow { camera: camera.into(), class, bytes: media.bytes, sha256: media.sha256, recorded };
        self.change_catalog(vec![Change::Hold { file: FileId::new(id, media.file), row: Box::new(row) }])
    }

    /// Gives files that were recorded while the wall clock was not synchronised the date `since` (milliseconds of
    /// run time). Returns whether there may be more.
    ///
    /// # Errors
    /// As [`Assets::evictable`].
    pub fn date_undated(&self, since: u64) -> Result<bool, StoreError> {
        let files = self.read_catalog(|reader| reader.dated(&(UNDATED..=UNDATED), PLACED_AT_ONCE))?;
        let more = files.len() == PLACED_AT_ONCE;
        if !files.is_empty() {
            self.change_catalog(vec![Change::Place { files, date: Some(since) }])?;
        }
        Ok(more)
    }

    /// Gives files that are dated in run time wall time instead, now that it is known: it is `now` when the box has
    /// run for `run` (milliseconds). Returns whether there may be more.
    ///
    /// # Errors
    /// As [`Assets::evictable`].
    pub fn settle_dates(&self, run: u64, now: u64) -> Result<bool, StoreError> {
        let files = self.read_catalog(|reader| reader.dated(&(0..=RUN_TIME_BELOW - 1), PLACED_AT_ONCE))?;
        let more = files.len() == PLACED_AT_ONCE;
        if !files.is_empty() {
            self.change_catalog(vec![Change::Settle { files, run, now }])?;
        }
        Ok(more)
    }

    /// Puts a part of the rows where they belong after destinations were added or removed. Call it with what it
    /// returned until that is `None`; when nothing changed, that is at once.
    ///
    /// # Errors
    /// As [`Assets::evictable`].
    pub fn put_in_place(&self, after: Option<Cursor>) -> Result<Option<Cursor>, StoreError> {
        if after.is_none() && self.read_catalog(|reader| reader.is_placed())? {
            return Ok(None);
        }
        let (files, next) = self.read_catalog(move |reader| reader.all(after.as_ref(), PLACED_AT_ONCE))?;
        let mut changes = vec![Change::Place { files, date: None }];
        if next.is_none() {
            changes.push(Change::Placed { destinations: uploads(self.0.queues().keys()) });
        }
        self.change_catalog(changes)?;
        Ok(next)
    }

    /// Events of an index without catalogue whose files are not in it yet: measure them and call
    /// [`Assets::adopt`], until there are none.
    ///
    /// # Errors
    /// As [`Assets::evictable`].
    pub fn uncatalogued(&self, max: usize) -> Result<Option<(Vec<Event>, EventId)>, StoreError> {
        self.read_catalog(move |reader| reader.uncatalogued(max))
    }

    /// Takes files of events into the catalogue; `up_to` is what [`Assets::uncatalogued`] gave, or `None` after
    /// it gave nothing.
    ///
    /// # Errors
    /// As [`Assets::evictable`].
    pub fn adopt(&self, events: Vec<(EventId, Vec<MediaFile>)>, up_to: Option<EventId>) -> Result<(), StoreError> {
        let adopt = |(id, files)| Change::Adopt { id, files };
        self.change_catalog(events.into_iter().map(adopt).chain([Change::Adopted { up_to }]).collect())
    }
}
