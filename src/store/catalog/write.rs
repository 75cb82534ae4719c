//! What commits change in the catalogue.

use super::super::commit::Group;
use super::super::place::Place;
use super::super::schema::{Row as Item, decode, encode, item_key, upload_key};
use super::super::{Delivery, LAKE, StoreError, event_log};
use super::{Condemned, Mark, RUN_TIME_BELOW, Row, SIDECAR, aged_key, file_key, held_key, known_ms, sent};
use crate::clock::Moment;
use crate::event::{Event, EventId, EventState, EvictReason, MediaFile, Phase};

/// A file of the catalogue, by its key.
pub(in crate::store) type FileRef = (EventId, String);

/// Key in `meta`: how far the events of an older schema were taken into the catalogue; gone when all were.
pub(in crate::store) const UNCATALOGUED: &str = "uncatalogued";
/// Key in `meta`: the destinations that the places of all rows were computed for.
pub(super) const PLACED_FOR: &str = "placed_for";

/// One change of the catalogue.
#[derive(Debug)]
pub(in crate::store) enum Change {
    /// The deletion of these files begins, as far as they may be deleted.
    Condemn { files: Vec<FileRef>, reason: EvictReason },
    /// An event changed after its end.
    Amend { event: Box<Event>, json: Vec<u8>, sidecar: MediaFile, now: Moment, dropped: Vec<String> },
    /// An event leaves the index, with everything that waits of these files. `last` is told to the lake.
    Forget { id: EventId, files: Vec<String>, last: Option<Box<Event>>, now: Moment },
    /// Condemned files are deleted from the disk.
    Gone(Vec<FileRef>),
    /// The wish to keep an event changed. `files` are all that the catalogue has of it.
    Pin { id: EventId, pinned: bool, files: Vec<String> },
    /// Rows whose place may have changed. `date` is that of those that have none.
    Place { files: Vec<FileRef>, date: Option<u64> },
    /// Rows dated in run time get wall time: `now` less the run time that has passed up to `run` (all milliseconds).
    Settle { files: Vec<FileRef>, run: u64, now: u64 },
    /// All rows are where they belong while these destinations are configured.
    Placed { destinations: Vec<String> },
    /// Takes an event of an older schema in.
    Adopt { id: EventId, files: Vec<MediaFile> },
    /// Events up to this one were adopted; `None`: all.
    Adopted { up_to: Option<EventId> },
    /// A file that belongs to no event.
    Hold { id: EventId, file: String, row: Box<HoldRow> },
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
    fn destinations(&self) -> Vec<&'a str> {
        self.queues.keys().map(String::as_str).filter(|name| name.starts_with("upload/")).collect()
    }

    /// Applies a change of the catalogue alone.
    pub(in crate::store) fn change_catalog(&mut self, change: &Change) -> Result<(), StoreError> {
        match change {
            Change::Condemn { files, reason } => {
                files.iter().try_for_each(|(id, file)| self.condemn(*id, file, *reason))
            }
            Change::Amend { event, json, sidecar, now, dropped } => self.amend(event, json, sidecar, now, dropped),
            Change::Forget { id, files, last, now } => {
                files.iter().try_for_each(|file| self.drop_pending(*id, file))?;
                event_log::remove(&self.views, &mut self.counters, *id)?;
                match (self.queues.get(LAKE), last) {
                    // No file of it is left to be told of, so the item has the event itself.
                    (Some(lake), Some(last)) => {
                        self.insert(lake, Item::new(Some(last), &Delivery::Alert(Phase::End), now))
                    }
                    _ => Ok(()),
                }
            }
            Change::Gone(files) => files.iter().try_for_each(|(id, file)| self.remove_file(*id, file)),
            Change::Pin { id, pinned, files } => self.pin(*id, *pinned, files),
            Change::Place { files, date } => {
                files.iter().try_for_each(|(id, file)| self.edit_file(*id, file, |row| row.since = row.since.or(*date)))
            }
            Change::Settle { files, run, now } => files.iter().try_for_each(|(id, file)| {
                let wall = |since: u64| now.saturating_sub(run.saturating_sub(since));
                let settled = |since| if since < RUN_TIME_BELOW { wall(since) } else { since };
                self.edit_file(*id, file, |row| row.since = row.since.map(settled))
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
            Change::Hold { id, file, row } => self.hold(*id, file, row),
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
            if self.file(event.id, &old.file)?.is_some_and(|row| row.condemned.is_none()) {
                self.remove_file(event.id, &old.file)?;
            }
        }
        Ok(())
    }

    fn put_file(&mut self, event: &Event, media: &MediaFile) -> Result<(), StoreError> {
        let old = self.file(event.id, &media.file)?;
        let mut row = Row::new(event, media);
        if let Some(old) = &old {
            // A time that was put right since is better than the date that the file got before.
            (row.since, row.condemned) = (row.since.or(old.since), old.condemned);
            row.to.clone_from(&old.to);
            if (old.bytes, &old.sha256) != (row.bytes, &row.sha256) {
                row.to.retain(|_, mark| *mark != Mark::Delivered);
            }
        }
        self.save_file(event.id, &media.file, old.as_ref(), row)
    }

    fn condemn(&mut self, id: EventId, file: &str, reason: EvictReason) -> Result<(), StoreError> {
        let delivered = self.file(id, file)?.is_some_and(|row| row.is_delivered(&self.destinations()));
        self.edit_file(id, file, |row| {
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
        if self.views.events.get(event.id.to_bytes())?.is_none() {
            return Ok(());
        }
        event_log::put(&self.views, &mut self.counters, event, json)?;
        dropped.iter().try_for_each(|file| self.drop_pending(event.id, file))?;
        self.put_file(event, sidecar)?;
        let delivery =
            Delivery::Upload { file: sidecar.file.clone(), bytes: sidecar.bytes, sha256: sidecar.sha256.clone() };
        self.enqueue(Some(event), &delivery, now)
    }

    fn pin(&mut self, id: EventId, pinned: bool, files: &[String]) -> Result<(), StoreError> {
        if let Some(mut event) = event_log::in_transaction(&self.views, id)? {
            event.pinned = pinned;
            let json = encode(&event)?;
            self.views.events.insert(id.to_bytes(), json)?;
        }
        files.iter().try_for_each(|file| self.edit_file(id, file, |row| row.pinned = pinned))
    }

    fn adopt(&mut self, id: EventId, files: &[MediaFile]) -> Result<(), StoreError> {
        let Some(event) = event_log::in_transaction(&self.views, id)? else { return Ok(()) };
        if event.state == EventState::Open {
            return Ok(());
        }
        for media in files {
            let is_named = media.file == SIDECAR || event.media().any(|named| named.file == media.file);
            if !is_named || self.file(id, &media.file)?.is_some() {
                continue;
            }
            let mut row = Row::new(&event, media);
            for name in self.queues.keys() {
                if self.views.uploads.get(upload_key(name, id, &media.file))?.is_some() {
                    row.to.insert(name.clone(), Mark::Waiting);
                }
            }
            self.save_file(id, &media.file, None, row)?;
        }
        Ok(())
    }

    fn hold(&mut self, id: EventId, file: &str, held: &HoldRow) -> Result<(), StoreError> {
        let old = self.file(id, file)?;
        let row = Row {
            camera: held.camera.clone(),
            class: held.class,
            bytes: held.bytes,
            sha256: held.sha256.clone(),
            score: 0,
            since: known_ms(&held.recorded).or(old.as_ref().and_then(|old| old.since)),
            to: old.as_ref().map(|old| old.to.clone()).unwrap_or_default(),
            pinned: false,
            open: false,
            condemned: None,
            place: super::Place { tier: 0, value: 0, lane: 0, since: 0 },
        };
        self.save_file(id, file, old.as_ref(), row)
    }

    /// The outbox has a file now.
    pub(in crate::store) fn mark_waiting(&mut self, outbox: &str, id: EventId, file: &str) -> Result<(), StoreError> {
        self.edit_file(id, file, |row| {
            row.to.insert(outbox.to_owned(), Mark::Waiting);
        })
    }

    pub(in crate::store) fn mark_delivered(&mut self, outbox: &str, item: &Item) -> Result<(), StoreError> {
        let Some((id, file)) = item.file() else { return Ok(()) };
        self.edit_file(id, file, |row| {
            row.to.insert(outbox.to_owned(), Mark::Delivered);
        })
    }

    pub(in crate::store) fn mark_dead(&mut self, outbox: &str, item: &Item, seq: u64) -> Result<(), StoreError> {
        let Some((id, file)) = item.file() else { return Ok(()) };
        self.edit_file(id, file, |row| {
            row.to.insert(outbox.to_owned(), Mark::Dead(seq));
        })
    }

    /// The dead letter `seq` was discarded.
    pub(in crate::store) fn unmark_dead(&mut self, outbox: &str, item: &Item, seq: u64) -> Result<(), StoreError> {
        let Some((id, file)) = item.file() else { return Ok(()) };
        self.edit_file(id, file, |row| {
            if row.to.get(outbox) == Some(&Mark::Dead(seq)) {
                row.to.remove(outbox);
            }
        })
    }

    /// Nobody wants the file delivered there any more.
    pub(in crate::store) fn unmark_waiting(&mut self, outbox: &str, item: &Item) -> Result<(), StoreError> {
        let Some((id, file)) = item.file() else { return Ok(()) };
        self.edit_file(id, file, |row| {
            row.to.remove(outbox);
        })
    }

    /// Takes a file out of every outbox and out of the dead letters, configured or not.
    fn drop_pending(&mut self, id: EventId, file: &str) -> Result<(), StoreError> {
        let Some(row) = self.file(id, file)? else { return Ok(()) };
        for (name, mark) in &row.to {
            match mark {
                Mark::Delivered => {}
                Mark::Waiting => {
                    let Some(place) = self.views.uploads.remove(upload_key(name, id, file))? else { continue };
                    let Some(place) = Place::from_bytes(&place) else { continue };
                    if let Some(item) = self.views.outbox.remove(place.key(name))? {
                        let item: Item = decode(&item)?;
                        self.counters.of(name).remove(&item.item);
                    }
                    // Ends its rest, which would wake the outlet for ever.
                    self.due.extend(self.queues.get(name).map(|queue| (queue.clone(), place.seq)));
                }
                Mark::Dead(seq) => {
                    if self.views.dead.remove(item_key(name, *seq))?.is_some() {
                        let dead = &mut self.counters.of(name).dead;
                        *dead = dead.saturating_sub(1);
                    }
                }
            }
        }
        self.edit_file(id, file, |row| row.to.retain(|_, mark| *mark == Mark::Delivered))
    }

    fn file(&self, id: EventId, file: &str) -> Result<Option<Row>, StoreError> {
        self.views.files.get(file_key(id, file))?.map(|bytes| decode(&bytes)).transpose()
    }

    /// Changes a row, if there is one, and puts it where it belongs then.
    fn edit_file(&mut self, id: EventId, file: &str, edit: impl FnOnce(&mut Row)) -> Result<(), StoreError> {
        let Some(old) = self.file(id, file)? else { return Ok(()) };
        let mut row = old.clone();
        edit(&mut row);
        self.save_file(id, file, Some(&old), row)
    }

    fn save_file(&mut self, id: EventId, file: &str, old: Option<&Row>, mut row: Row) -> Result<(), StoreError> {
        row.place = row.belongs(file, &self.destinations());
        if old == Some(&row) {
            return Ok(());
        }
        if let Some(old) = old {
            self.unfile(id, file, old)?;
        }
        let held = self.counters.held.entry(row.class).or_default();
        (held.files, held.bytes) = (held.files + 1, held.bytes.saturating_add(row.bytes));
        self.views.held.insert(held_key(row.place, id, file), &[])?;
        self.views.aged.insert(aged_key(row.place, row.class, id, file), &[])?;
        self.views.files.insert(file_key(id, file), encode(&row)?)?;
        Ok(())
    }

    fn remove_file(&mut self, id: EventId, file: &str) -> Result<(), StoreError> {
        let Some(row) = self.file(id, file)? else { return Ok(()) };
        self.unfile(id, file, &row)?;
        self.views.files.remove(file_key(id, file))?;
        Ok(())
    }

    fn unfile(&mut self, id: EventId, file: &str, row: &Row) -> Result<(), StoreError> {
        let held = self.counters.held.entry(row.class).or_default();
        held.files = held.files.saturating_sub(1);
        held.bytes = held.bytes.saturating_sub(row.bytes);
        self.views.held.remove(held_key(row.place, id, file))?;
        self.views.aged.remove(aged_key(row.place, row.class, id, file))?;
        Ok(())
    }
}
