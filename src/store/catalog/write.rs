//! What commits change in the catalogue; `marks` has what they note of destinations.

use std::collections::BTreeMap;

use super::super::changes::ChangeKind;
use super::super::commit::Group;
use super::super::schema::{Row as Item, decode, encode, upload_key};
use super::super::{Delivery, StoreError, event_log};
use super::{Condemned, Mark, RUN_TIME_BELOW, Row, aged_key, held_key, known_ms, sent};
use crate::asset::{FileId, MediaKind};
use crate::clock::Moment;
use crate::destination::Destination;
use crate::event::{Event, EventId, EventState, EvictReason, MediaFile, Phase};

/// Key in `meta`: how far the events of an older schema were taken into the catalogue; gone when all were.
pub(in crate::store) const UNCATALOGUED: &str = "uncatalogued";
/// Key in `meta`: the destinations that the places of all rows were computed for.
pub(super) const PLACED_FOR: &str = "placed_for";

/// One change of the catalogue.
#[derive(Debug)]
pub(in crate::store) enum Change {
    /// The deletion of these files begins, as far as they may be deleted.
    Condemn { files: Vec<FileId>, reason: EvictReason },
    /// An event changed after its end.
    Amend { event: Box<Event>, json: Vec<u8>, sidecar: MediaFile, now: Moment, dropped: Vec<String> },
    /// An event leaves the index, with everything that waits of these files. `last` goes to the lake.
    Forget { id: EventId, files: Vec<FileId>, last: Option<Box<Event>>, now: Moment },
    /// Condemned files are deleted from the disk.
    Gone(Vec<FileId>),
    /// What people say of an event changed, or the wish to keep it; `event.json` is still to say so. `files` are all
    /// that the catalogue has of it.
    Annotate { event: Box<Event>, files: Vec<FileId> },
    /// `event.json` says what people say of the event.
    Annotated(EventId),
    /// The deletion of an event begins, with all of its files. Its `event.json` may not be known yet.
    Delete { id: EventId, sidecar: MediaFile },
    /// Rows whose place may have changed. `date` is that of those that have none.
    Place { files: Vec<FileId>, date: Option<u64> },
    /// Rows dated in run time get wall time: `now` less the run time that has passed up to `run` (all milliseconds).
    Settle { files: Vec<FileId>, run: u64, now: u64 },
    /// All rows are where they belong while these destinations are configured.
    Placed { destinations: Vec<Destination> },
    /// Takes an event of an older schema in.
    Adopt { id: EventId, files: Vec<MediaFile> },
    /// Events up to this one were adopted; `None`: all.
    Adopted { up_to: Option<EventId> },
    /// A file that belongs to no event.
    Hold { file: FileId, row: Box<HoldRow> },
}

/// What is known of a file that belongs to no event.
#[derive(Debug)]
pub(in crate::store) struct HoldRow {
    pub camera: std::sync::Arc<str>,
    pub class: super::Class,
    pub bytes: u64,
    pub sha256: String,
    pub recorded: Moment,
}

impl<'a> Group<'a> {
    pub(super) fn destinations(&self) -> Vec<&'a Destination> {
        self.queues.keys().filter(|destination| destination.takes_files()).collect()
    }

    /// Applies a change of the catalogue alone.
    pub(in crate::store) fn change_catalog(&mut self, change: &Change) -> Result<(), StoreError> {
        match change {
            Change::Condemn { files, reason } => files.iter().try_for_each(|file| self.condemn(file, *reason)),
            Change::Amend { event, json, sidecar, now, dropped } => self.amend(event, json, sidecar, now, dropped),
            Change::Forget { id, files, last, now } => {
                files.iter().try_for_each(|file| self.drop_pending(file))?;
                if event_log::remove(&self.views, &mut self.counters, *id)? {
                    self.note_change(*id, ChangeKind::Delete)?;
                }
                match (self.queues.get(&Destination::Lake), last) {
                    // No file of it is left to be reported, so the item has the event itself.
                    (Some(lake), Some(last)) => {
                        self.insert(lake, Item::new(Some(last), &Delivery::Alert(Phase::End), now))
                    }
                    _ => Ok(()),
                }
            }
            Change::Gone(files) => files.iter().try_for_each(|file| self.bury_file(file)),
            Change::Annotate { event, files } => self.annotate_and_pin(event, files),
            Change::Annotated(id) => self.annotation_written(*id),
            Change::Delete { id, sidecar } => self.begin_deletion(*id, sidecar),
            Change::Place { files, date } => {
                files.iter().try_for_each(|file| self.edit_file(file, |row| row.since = row.since.or(*date)))
            }
            Change::Settle { files, run, now } => files.iter().try_for_each(|file| {
                let wall = |since: u64| now.saturating_sub(run.saturating_sub(since));
                let settled = |since| if since < RUN_TIME_BELOW { wall(since) } else { since };
                self.edit_file(file, |row| row.since = row.since.map(settled))
            }),
            Change::Placed { destinations } => {
                self.views.meta.insert(PLACED_FOR, encode(destinations)?)?;
                Ok(())
            }
            Change::Adopt { id, files } => self.adopt(*id, files),
            Change::Adopted { up_to: Some(id) } => {
                self.views.meta.insert(UNCATALOGUED, &id.to_bytes())?;
                Ok(())
            }
            Change::Adopted { up_to: None } => {
                self.views.meta.remove(UNCATALOGUED)?;
                Ok(())
            }
            Change::Hold { file, row } => self.hold(file, row),
        }
    }

    /// Takes in what an event's record says of its files: those that it names, and those that it sends.
    pub(in crate::store) fn catalogue(
        &mut self,
        known: Option<&Event>,
        event: &Event,
        sent_with: &[Delivery],
    ) -> Result<(), StoreError> {
        let sent: Vec<MediaFile> = sent_with.iter().filter_map(sent).collect();
        for media in event.media().chain(&sent) {
            self.put_file(event, media)?;
        }
        let is_named = |file: &str| event.media().chain(&sent).any(|media| media.file == file);
        for old in known.iter().flat_map(|known| known.media()).filter(|old| !is_named(&old.file)) {
            let file = FileId::new(event.id, &*old.file);
            if self.file(&file)?.is_some_and(|row| row.condemned.is_none()) {
                self.remove_file(&file)?;
            }
        }
        Ok(())
    }

    fn put_file(&mut self, event: &Event, media: &MediaFile) -> Result<(), StoreError> {
        let file = FileId::new(event.id, &*media.file);
        let old = self.file(&file)?;
        let mut row = Row::new(event, media);
        if let Some(old) = &old {
            // A time that was put right since is better than the date that the file got before.
            (row.since, row.condemned) = (row.since.or(old.since), old.condemned);
            row.to.clone_from(&old.to);
            row.dropped.clone_from(&old.dropped);
            row.gone.clone_from(&old.gone);
            if (old.bytes, &old.sha256) != (row.bytes, &row.sha256) {
                row.to.retain(|_, mark| *mark != Mark::Delivered);
            }
        }
        self.save_file(&file, old.as_ref(), row)
    }

    fn condemn(&mut self, file: &FileId, reason: EvictReason) -> Result<(), StoreError> {
        let delivered = self.file(file)?.is_some_and(|row| row.is_delivered(&self.destinations()));
        self.edit_file(file, |row| {
            if !row.open && !row.pinned {
                row.condemned.get_or_insert(Condemned { reason, delivered });
            }
        })
    }

    fn amend(
        &mut self,
        event: &Event,
        json: &[u8],
        sidecar: &MediaFile,
        now: &Moment,
        dropped: &[String],
    ) -> Result<(), StoreError> {
        // Gone from the index meanwhile: nothing to amend, its files are deleted all the same.
        let Some(known) = event_log::in_transaction(&self.views, event.id)? else { return Ok(()) };
        if known.pinned == event.pinned {
            event_log::put(&self.views, &mut self.counters, event, json)?;
        } else {
            // A power cut came before the sidecar said whether the event is pinned.
            let (event, json) = event_log::index_form(Event { pinned: known.pinned, ..event.clone() })?;
            event_log::put(&self.views, &mut self.counters, &event, &json)?;
        }
        self.note_change(event.id, ChangeKind::Update)?;
        let dropped: Vec<FileId> = dropped.iter().map(|name| FileId::new(event.id, &**name)).collect();
        dropped.iter().try_for_each(|file| self.drop_pending(file))?;
        if event.filed.is_none() {
            // Its files were to be queued once it has its day.
            dropped.iter().try_for_each(|file| self.drop_unqueued(file))?;
        }
        self.put_file(event, sidecar)?;
        self.enqueue(Some(event), &Delivery::Upload(sidecar.clone()), now)
    }

    fn annotate_and_pin(&mut self, event: &Event, files: &[FileId]) -> Result<(), StoreError> {
        // It may have gone meanwhile.
        let Some(mut known) = event_log::in_transaction(&self.views, event.id)? else { return Ok(()) };
        if known.pinned != event.pinned {
            known.pinned = event.pinned;
            self.views.events.insert(event.id.to_bytes(), encode(&known)?)?;
        }
        self.annotate(event)?;
        files.iter().try_for_each(|file| self.edit_file(file, |row| row.pinned = event.pinned))
    }

    fn begin_deletion(&mut self, id: EventId, sidecar: &MediaFile) -> Result<(), StoreError> {
        let Some(event) = event_log::in_transaction(&self.views, id)? else { return Ok(()) };
        // The catalogue has that of an event without a day not yet; it stands for all of the event.
        let sidecar_id = FileId::new(id, &*sidecar.file);
        if self.file(&sidecar_id)?.is_none() {
            self.put_file(&event, sidecar)?;
        }
        let named: Vec<FileId> = event.media().map(|media| FileId::new(id, &*media.file)).collect();
        named.iter().chain([&sidecar_id]).try_for_each(|file| self.condemn(file, EvictReason::Person))
    }

    fn adopt(&mut self, id: EventId, files: &[MediaFile]) -> Result<(), StoreError> {
        let Some(event) = event_log::in_transaction(&self.views, id)? else { return Ok(()) };
        if event.state == EventState::Open {
            return Ok(());
        }
        for media in files {
            let is_named = media.kind == MediaKind::EventSidecar || event.media().any(|named| named.file == media.file);
            let file = FileId::new(id, &*media.file);
            if !is_named || self.file(&file)?.is_some() {
                continue;
            }
            let mut row = Row::new(&event, media);
            for name in self.queues.keys() {
                if self.views.uploads.get(upload_key(name, &file))?.is_some() {
                    row.mark(name, Mark::Waiting);
                }
            }
            self.save_file(&file, None, row)?;
        }
        Ok(())
    }

    fn hold(&mut self, file: &FileId, held: &HoldRow) -> Result<(), StoreError> {
        let old = self.file(file)?;
        let row = Row {
            camera: held.camera.clone(),
            class: held.class,
            bytes: held.bytes,
            sha256: held.sha256.clone(),
            score: 0,
            since: known_ms(&held.recorded).or(old.as_ref().and_then(|old| old.since)),
            to: old.as_ref().map(|old| old.to.clone()).unwrap_or_default(),
            dropped: old.as_ref().map(|old| old.dropped.clone()).unwrap_or_default(),
            gone: BTreeMap::new(),
            pinned: false,
            open: false,
            condemned: None,
            place: super::Place { tier: 0, value: 0, lane: 0, since: 0 },
        };
        self.save_file(file, old.as_ref(), row)
    }

    pub(super) fn file(&self, file: &FileId) -> Result<Option<Row>, StoreError> {
        self.views.files.get(file.to_bytes())?.map(|bytes| decode(&bytes)).transpose()
    }

    /// Changes a row, if there is one, and puts it where it belongs then.
    pub(super) fn edit_file(&mut self, file: &FileId, edit: impl FnOnce(&mut Row)) -> Result<(), StoreError> {
        let Some(old) = self.file(file)? else { return Ok(()) };
        let mut row = old.clone();
        edit(&mut row);
        self.save_file(file, Some(&old), row)
    }

    fn save_file(&mut self, file: &FileId, old: Option<&Row>, mut row: Row) -> Result<(), StoreError> {
        row.place = row.belongs(file.kind(), &self.destinations());
        if old == Some(&row) {
            return Ok(());
        }
        if let Some(old) = old {
            self.unfile(file, old)?;
        }
        let held = self.counters.held.entry(row.class).or_default();
        (held.files, held.bytes) = (held.files + 1, held.bytes.saturating_add(row.bytes));
        self.views.held.insert(held_key(row.place, file), &[])?;
        self.views.aged.insert(aged_key(row.place, row.class, file), &[])?;
        self.views.files.insert(file.to_bytes(), encode(&row)?)?;
        Ok(())
    }

    pub(super) fn remove_file(&mut self, file: &FileId) -> Result<(), StoreError> {
        let Some(row) = self.file(file)? else { return Ok(()) };
        self.unfile(file, &row)?;
        self.views.files.remove(file.to_bytes())?;
        Ok(())
    }

    fn unfile(&mut self, file: &FileId, row: &Row) -> Result<(), StoreError> {
        let held = self.counters.held.entry(row.class).or_default();
        held.files = held.files.saturating_sub(1);
        held.bytes = held.bytes.saturating_sub(row.bytes);
        self.views.held.remove(held_key(row.place, file))?;
        self.views.aged.remove(aged_key(row.place, row.class, file))?;
        Ok(())
    }
}
