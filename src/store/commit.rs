//! What a commit changes: the writer thread applies everything that waits in one transaction.

use std::sync::Arc;

use super::changes::{self, ChangeKind};
use super::dropped::Dropped;
use super::import::GivenUp;
use super::op::Op;
use super::packed::View;
use super::photo_changes::PhotoChange;
use super::place::Place;
use super::position::Position;
use super::queue::{ItemRef, Queue};
use super::queues::Queues;
use super::schema::{Counters, MAX_ERROR, Row, decode, encode, item_key, shorten, upload_key};
use super::trees::{Database, Views};
use super::{Delivery, StoreError, event_log, timeline};
use crate::asset::{FileId, MediaFile, MediaKind};
use crate::clock::Moment;
use crate::destination::Destination;
use crate::event::{Event, EventId};

/// What a commit brought.
pub(super) struct Applied {
    /// Items that are due now because of it.
    pub due: Vec<(Arc<Queue>, u64)>,
    /// The last change of an event.
    pub last: Position,
    pub photos: Vec<PhotoChange>,
}

/// Applies `ops` in order, all or nothing.
pub(super) fn apply(db: &Database, queues: &Queues, dropped: &Dropped, ops: &[Op]) -> Result<Applied, StoreError> {
    let (views, mut counters) = (Views::new(db), db.counters()?);
    changes::begin(db, &views, &mut counters)?;
    let mut group = Group { views, queues, dropped, counters, due: Vec::new(), photos: Vec::new() };
    for op in ops {
        group.apply(op)?;
    }
    let Group { views, counters, due, photos, .. } = group;
    views.meta.insert("counters", encode(&counters)?)?;
    views.commit(db)?;
    Ok(Applied { due, last: counters.changes.last, photos })
}

/// The changes of one transaction.
pub(super) struct Group<'a> {
    pub views: Views<'a>,
    pub queues: &'a Queues,
    /// What a person does not want delivered.
    pub dropped: &'a Dropped,
    pub counters: Counters,
    /// Items that are due now because of it.
    pub due: Vec<(Arc<Queue>, u64)>,
    /// What became of photos.
    pub photos: Vec<PhotoChange>,
}

impl<'a> Group<'a> {
    fn apply(&mut self, op: &Op) -> Result<(), StoreError> {
        match op {
            Op::Record { event, json, deliveries, now } => {
                let known = event_log::in_transaction(&self.views, event.id)?;
                // The caller may not know that the event was pinned.
                match known.as_ref().filter(|known| known.pinned != event.pinned) {
                    Some(known) => {
                        let (event, json) = event_log::index_form(Event { pinned: known.pinned, ..(**event).clone() })?;
                        self.record(Some(known), &event, &json, deliveries, now)
                    }
                    None => self.record(known.as_ref(), event, json, deliveries, now),
                }
            }
            Op::Segment(segment) => timeline::put(&self.views, segment),
            Op::Span(span) => timeline::put_span(&self.views, span),
            Op::EvictSegment { camera, id, span } => {
                timeline::remove(&self.views, camera, *id)?;
                timeline::put_span(&self.views, span)
            }
            Op::ForgetSegment { camera, id } => timeline::remove(&self.views, camera, *id),
            Op::Ack(item) => match self.take(item)? {
                Some(row) => self.mark_delivered(item.queue.destination(), &row),
                None => Ok(()),
            },
            Op::Nack { item, error } => {
                let changed = self.change(item, |row| {
                    row.attempts = row.attempts.saturating_add(1);
                    row.error = Some(shorten(error, MAX_ERROR).to_owned());
                })?;
                if !changed {
                    self.due.push((item.queue.clone(), item.place.seq));
                }
                Ok(())
            }
            Op::Progress { item, progress } => self.change(item, |row| row.progress.clone_from(progress)).map(|_| ()),
            Op::DeadLetter { item, class, error } => {
                let Some(mut row) = self.take(item)? else { return Ok(()) };
                row.attempts = row.attempts.saturating_add(1);
                row.error = Some(shorten(error, MAX_ERROR).to_owned());
                row.class = Some(class.clone());
                let key = item_key(item.queue.destination(), item.place.seq);
                self.views.dead.insert(key, encode(&row)?)?;
                self.counters.of(item.queue.destination()).dead += 1;
                self.mark_dead(item.queue.destination(), &row, item.place.seq)
            }
            Op::Drop(item) => match self.take(item)? {
                Some(row) => self.mark_dropped(item.queue.destination(), &row),
                None => Ok(()),
            },
            Op::Revive(item) => self.revive(item),
            Op::Several(ops) => ops.iter().try_for_each(|op| self.apply(op)),
            Op::Discard(item) => match self.take_dead(item)? {
                Some(row) => self.mark_discarded(item.queue.destination(), &row, item.place.seq),
                None => Ok(()),
            },
            Op::Deliver { delivery, now } => self.enqueue(None, delivery, now),
            Op::DeliverTo { outbox, document, now } => self.deliver_to(outbox, document, now),
            Op::MigrateAlert { outbox, event, phase, created, given_up } => match self.queues.get(outbox) {
                Some(queue) => {
                    self.begin_alerts(event.id, false)?;
                    let row = Row::new(Some(event), &Delivery::Alert(*phase), created);
                    match given_up {
                        None => self.insert(queue, row),
                        Some(how) => self.insert_dead(queue.destination(), row, how),
                    }
                }
                // It left the configuration meanwhile.
                None => Ok(()),
            },
            Op::CountAlerts { id, counted } => self.take_alert_counts(*id, counted),
            Op::Review { id, by } => self.review(*id, by),
            Op::Withdraw { outbox, file } => self.withdraw(outbox, file),
            Op::Photo { photo, json, deliveries, now } => {
                self.put_photo(photo, json)?;
                deliveries.iter().try_for_each(|delivery| self.enqueue(None, delivery, now))
            }
            Op::ForgetPhoto { id, deliveries, now } => {
                self.forget_photo(*id)?;
                deliveries.iter().try_for_each(|delivery| self.enqueue(None, delivery, now))
            }
            Op::Album { album, json, deliveries, now } => {
                self.put_album(album, json)?;
                deliveries.iter().try_for_each(|delivery| self.enqueue(None, delivery, now))
            }
            Op::ForgetAlbum { id, deliveries, now } => {
                self.forget_album(*id)?;
                deliveries.iter().try_for_each(|delivery| self.enqueue(None, delivery, now))
            }
            Op::Execution { summary, json, key, deliveries, posts, now } => {
                self.put_execution(summary, json, key.as_deref())?;
                deliveries.iter().try_for_each(|delivery| self.enqueue(None, delivery, now))?;
                posts.iter().try_for_each(|(outbox, document)| self.deliver_to(outbox, document, now))
            }
            Op::ForgetExecution { id, key, deliveries, now } => {
                self.forget_execution(*id, key.as_deref())?;
                deliveries.iter().try_for_each(|delivery| self.enqueue(None, delivery, now))
            }
            Op::FillPhoto(id) => self.fill_photo_lists(*id),
            Op::FillAlbum(id) => self.fill_album_list(*id),
            Op::FolderFiles(files) => self.note_folder_files(files),
            Op::Supersede { paths, by, now } => self.supersede(paths, by.as_ref(), now),
            Op::CountOn(seq) => {
                self.counters.last_seq = self.counters.last_seq.max(*seq);
                Ok(())
            }
            Op::Catalog(changes) => changes.iter().try_for_each(|change| self.change_catalog(change)),
        }
    }

    fn record(
        &mut self,
        known: Option<&Event>,
        event: &Event,
        json: &[u8],
        deliveries: &[Delivery],
        now: &Moment,
    ) -> Result<(), StoreError> {
        event_log::put(&self.views, &mut self.counters, event, json)?;
        self.take_annotations(event)?;
        self.note_change(event.id, ChangeKind::of(known, event))?;
        self.catalogue(known, event, deliveries)?;
        if deliveries.iter().any(|delivery| matches!(delivery, Delivery::Alert(_))) {
            self.begin_alerts(event.id, known.is_none())?;
        }
        deliveries.iter().try_for_each(|delivery| self.enqueue(Some(event), delivery, now))
    }

    /// Adds to the sequence that clients follow.
    pub(super) fn note_change(&mut self, id: EventId, kind: ChangeKind) -> Result<(), StoreError> {
        changes::note(&self.views, &mut self.counters, id, kind)
    }

    /// Queues `delivery` wherever it belongs.
    pub(super) fn enqueue(
        &mut self,
        event: Option<&Event>,
        delivery: &Delivery,
        now: &Moment,
    ) -> Result<(), StoreError> {
        let queues = self.queues;
        let goes_to = |to: &Destination| match delivery {
            Delivery::Alert(_) => to.takes_alerts(),
            Delivery::Upload(MediaFile { kind: MediaKind::EventSidecar, .. }) => {
                to.takes_files() || *to == Destination::Lake
            }
            Delivery::Upload(_) => to.takes_files(),
            Delivery::Document(_) => to.takes_files(),
        };
        let mut queues = queues.iter().filter(|(to, _)| goes_to(to));
        queues.try_for_each(|(_, queue)| {
            let row = Row::new(event, delivery, now);
            // The same content comes again when the index is rebuilt, or beside another file that changed.
            if self.dropped.holds(queue.destination(), &row) && !self.is_queued(queue.destination(), &row)? {
                return self.mark_dropped(queue.destination(), &row);
            }
            self.insert(queue, row)
        })
    }

    /// Whether an item with the same file waits.
    fn is_queued(&self, outbox: &Destination, row: &Row) -> Result<bool, StoreError> {
        let Some(key) = row.upload_key(outbox) else { return Ok(false) };
        Ok(self.views.uploads.get(key)?.is_some())
    }

    /// A new item at the end of the queue; a file that waits already keeps its place and is replaced there.
    pub(super) fn insert(&mut self, queue: &Arc<Queue>, mut row: Row) -> Result<(), StoreError> {
        self.mark_waiting(queue.destination(), &row)?;
        let mut known = None;
        let next = Place::new(&row.item, self.counters.last_seq + 1);
        if let Some(key) = row.upload_key(queue.destination()) {
            known = self.views.uploads.get(&key)?.and_then(|place| Place::from_bytes(&place));
            if known.is_none() {
                self.views.uploads.insert(key, next.to_bytes())?;
            }
        }
        let goes_first = row.item.goes_first();
        if let Some(place) = known {
            if let Some(old) = self.row(goes_first, &place.key(queue.destination()))? {
                row.revision = old.revision + 1;
                row.created = old.created;
                self.counters.of(queue.destination()).remove(&old.item);
            }
        } else {
            self.counters.last_seq = next.seq;
        }
        let place = known.unwrap_or(next);
        self.counters.of(queue.destination()).add(&row.item);
        self.items(goes_first).insert(place.key(queue.destination()), encode(&row)?)?;
        self.due.push((queue.clone(), place.seq));
        Ok(())
    }

    /// A dead letter that comes from another index, under a new number.
    fn insert_dead(&mut self, outbox: &Destination, mut row: Row, how: &GivenUp) -> Result<(), StoreError> {
        self.mark_waiting(outbox, &row)?;
        self.counters.last_seq += 1;
        let seq = self.counters.last_seq;
        (row.attempts, row.class) = (how.attempts, Some(how.class.clone()));
        row.error = Some(shorten(&how.error, MAX_ERROR).to_owned());
        self.views.dead.insert(item_key(outbox, seq), encode(&row)?)?;
        self.counters.of(outbox).dead += 1;
        self.mark_dead(outbox, &row, seq)
    }

    /// Changes an item in its place, unless it is gone or was replaced since. Returns whether it did.
    fn change(&self, item: &ItemRef, change: impl FnOnce(&mut Row)) -> Result<bool, StoreError> {
        let key = item.place.key(item.queue.destination());
        let row = self.row(item.goes_first, &key)?;
        let Some(mut row) = row.filter(|row| row.revision == item.revision) else { return Ok(false) };
        change(&mut row);
        self.items(item.goes_first).insert(key, encode(&row)?)?;
        Ok(true)
    }

    /// Removes an item unless it is gone or was replaced since.
    pub(super) fn take(&mut self, item: &ItemRef) -> Result<Option<Row>, StoreError> {
        let name = item.queue.destination();
        let key = item.place.key(name);
        let row = self.row(item.goes_first, &key)?;
        let Some(row) = row.filter(|row| row.revision == item.revision) else { return Ok(None) };
        self.items(item.goes_first).remove(key)?;
        if let Some(key) = row.upload_key(name) {
            self.views.uploads.remove(key)?;
        }
        self.counters.of(name).remove(&row.item);
        Ok(Some(row))
    }

    fn withdraw(&mut self, outbox: &Destination, file: &FileId) -> Result<(), StoreError> {
        let Some(queue) = self.queues.get(outbox) else { return Ok(()) };
        let place = self.views.uploads.get(upload_key(outbox, file))?;
        let Some(place) = place.and_then(|place| Place::from_bytes(&place)) else { return Ok(()) };
        let Some(row) = self.row(false, &place.key(outbox))? else { return Ok(()) };
        let item = ItemRef { queue: queue.clone(), place, revision: row.revision, goes_first: false };
        match self.take(&item)? {
            Some(row) => self.mark_dropped(outbox, &row),
            None => Ok(()),
        }
    }

    fn take_dead(&mut self, item: &ItemRef) -> Result<Option<Row>, StoreError> {
        let key = item_key(item.queue.destination(), item.place.seq);
        let Some(bytes) = self.views.dead.remove(key)? else { return Ok(None) };
        let dead = &mut self.counters.of(item.queue.destination()).dead;
        *dead = dead.saturating_sub(1);
        decode(&bytes).map(Some)
    }

    /// Back into the queue, as if new. A file that was queued again in the meantime stays as it is there, and
    /// one that was deleted from the box is not queued again.
    fn revive(&mut self, item: &ItemRef) -> Result<(), StoreError> {
        let Some(mut row) = self.take_dead(item)? else { return Ok(()) };
        if let Some(file) = row.file() {
            let event = event_log::in_transaction(&self.views, file.asset)?;
            if event.is_some_and(|event| event.evicted.iter().any(|gone| gone.media.file == file.name)) {
                return self.mark_discarded(item.queue.destination(), &row, item.place.seq);
            }
        }
        if let Some(key) = row.upload_key(item.queue.destination())
            && self.views.uploads.get(key)?.is_some()
        {
            return Ok(());
        }
        (row.attempts, row.revision, row.progress, row.class) = (0, row.revision + 1, None, None);
        self.mark_revived(item.queue.destination(), &row)?;
        self.insert(&item.queue, row)
    }

    /// Where items of this kind lie.
    fn items(&self, goes_first: bool) -> &View<'a> {
        if goes_first { &self.views.documents } else { &self.views.outbox }
    }

    pub(super) fn row(&self, goes_first: bool, key: &[u8]) -> Result<Option<Row>, StoreError> {
        self.items(goes_first).get(key)?.map(|bytes| decode(&bytes)).transpose()
    }
}
