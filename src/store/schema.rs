//! Trees, keys, values, and the version of it all.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::mpsc::Receiver;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sled::transaction::TransactionError;
use sled::{Db, Transactional, Tree};

use super::catalog::Class;
use super::packed::{Packed, Packing, View};
use super::{Delivery, StoreError, migrate, settings, wake};
use crate::clock::Moment;
use crate::destination::Destination;
use crate::event::{Event, EventId};

/// Version of keys and values.
pub(super) const VERSION: u32 = 4;
/// Largest event, in bytes of JSON. A queued alert carries the event plus less than 1 KiB, which keeps all
/// values below 4 KiB, and blocks of several below 6 KiB; sled then never moves a page into a file of its own,
/// which it would not fsync.
pub(super) const MAX_EVENT: usize = 3 * 1024;
/// Longest error text that is kept with an item, in bytes.
pub(super) const MAX_ERROR: usize = 300;
/// Longest note of progress, in bytes; only uploads have one, and they carry no event.
pub(super) const MAX_PROGRESS: usize = 3 * 1024;
/// Longest file name of a delivery, in bytes.
pub(super) const MAX_FILE: usize = 128;

/// How often sled's own thread looks for fragmented segments to clean. It also syncs the file each time, so
/// a short period would keep an idle disk awake.
const CLEAN_EVERY_MS: u64 = 5_000;

/// The open database.
#[derive(Clone, Debug)]
pub(super) struct Database {
    pub db: Db,
    /// With these it was opened; sled keeps the failure of a write in them.
    settings: sled::Config,
    pub packing: Packing,
    pub meta: Tree,
    pub events: Packed,
    pub open: Packed,
    pub by_camera: Packed,
    pub outbox: Packed,
    pub documents: Packed,
    pub uploads: Packed,
    pub dead: Packed,
    pub segments: Packed,
    pub open_segments: Packed,
    pub spans: Packed,
    pub unfiled: Packed,
    pub files: Packed,
    pub held: Packed,
    pub aged: Packed,
    /// How far outlets of alerts got, by event. An index of before it has none of its events here.
    pub alerts: Packed,
}

/// The same trees as one commit changes them.
pub(super) struct Views<'a> {
    pub meta: View<'a>,
    pub events: View<'a>,
    pub open: View<'a>,
    pub by_camera: View<'a>,
    pub outbox: View<'a>,
    pub documents: View<'a>,
    pub uploads: View<'a>,
    pub dead: View<'a>,
    pub segments: View<'a>,
    pub open_segments: View<'a>,
    pub spans: View<'a>,
    pub unfiled: View<'a>,
    pub files: View<'a>,
    pub held: View<'a>,
    pub aged: View<'a>,
    pub alerts: View<'a>,
}

impl<'a> Views<'a> {
    pub(super) fn new(db: &'a Database) -> Self {
        Self {
            meta: View::plain(&db.meta),
            events: View::packed(db.events.tree(), db.packing),
            open: View::packed(db.open.tree(), db.packing),
            by_camera: View::packed(db.by_camera.tree(), db.packing),
            outbox: View::packed(db.outbox.tree(), db.packing),
            documents: View::packed(db.documents.tree(), db.packing),
            uploads: View::packed(db.uploads.tree(), db.packing),
            dead: View::packed(db.dead.tree(), db.packing),
            segments: View::packed(db.segments.tree(), db.packing),
            open_segments: View::packed(db.open_segments.tree(), db.packing),
            spans: View::packed(db.spans.tree(), db.packing),
            unfiled: View::packed(db.unfiled.tree(), db.packing),
            files: View::packed(db.files.tree(), db.packing),
            held: View::packed(db.held.tree(), db.packing),
            aged: View::packed(db.aged.tree(), db.packing),
            alerts: View::packed(db.alerts.tree(), db.packing),
        }
    }

    /// All but `meta`, in the order of [`Database::packed`].
    pub(super) fn packed(&self) -> [&View<'a>; 15] {
        [
            &self.events,
            &self.open,
            &self.by_camera,
            &self.outbox,
            &self.documents,
            &self.uploads,
            &self.dead,
            &self.segments,
            &self.open_segments,
            &self.spans,
            &self.unfiled,
            &self.files,
            &self.held,
            &self.aged,
            &self.alerts,
        ]
    }

    /// Writes the changes, all or nothing.
    pub(super) fn commit(self, db: &Database) -> Result<(), StoreError> {
        let views = [
            self.meta,
            self.events,
            self.open,
            self.by_camera,
            self.outbox,
            self.documents,
            self.uploads,
            self.dead,
            self.segments,
            self.open_segments,
            self.spans,
            self.unfiled,
            self.files,
            self.held,
            self.aged,
            self.alerts,
        ];
        let trees = [&db.meta].into_iter().chain(db.packed().map(|(_, tree)| tree.tree()));
        let changed = trees.zip(views).map(|(tree, view)| (tree, view.changes())).filter(|(_, rows)| !rows.is_empty());
        let (trees, changes): (Vec<&Tree>, Vec<_>) = changed.unzip();
        if trees.is_empty() {
            return Ok(());
        }
        let outcome = trees.as_slice().transaction(|trees| {
            for (tree, rows) in trees.iter().zip(&changes) {
                for (key, value) in rows {
                    match value {
                        Some(value) => tree.insert(key, value)?,
                        None => tree.remove(key)?,
                    };
                }
            }
            Ok(())
        });
        outcome.map_err(|error: TransactionError<StoreError>| match error {
            TransactionError::Abort(error) => error,
            TransactionError::Storage(error) => error.into(),
        })
    }
}

impl Database {
    /// Opens or makes the database in the folder `index`, and touches both ends of every tree: most damage
    /// that makes it unusable shows here already.
    pub(super) fn open(index: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        let settings = settings::of(index, cache_bytes)?.flush_every_ms(Some(CLEAN_EVERY_MS));
        let db = settings.open().map_err(|e| store_error(&e, index))?;
        let tree = |name: &str| db.open_tree(name).map_err(|e| store_error(&e, index));
        let packed = |name: &str| tree(name).map(Packed::new);
        let database = Self {
            packing: Packing::chosen(),
            meta: tree("meta")?,
            events: packed("events")?,
            open: packed("open")?,
            by_camera: packed("by_camera")?,
            outbox: packed("outbox")?,
            documents: packed("documents")?,
            uploads: packed("uploads")?,
            dead: packed("dead")?,
            segments: packed("segments")?,
            open_segments: packed("open_segments")?,
            spans: packed("spans")?,
            unfiled: packed("unfiled")?,
            files: packed("files")?,
            held: packed("held")?,
            aged: packed("aged")?,
            alerts: packed("alerts")?,
            db,
            settings,
        };
        migrate::begin(&database)?;
        if let Err(error) = database.counters() {
            return Err(StoreError::Corrupt(error.to_string().into()));
        }
        for (_, tree) in database.packed() {
            tree.first()?;
            tree.last()?;
        }
        Ok(database)
    }

    /// All trees but `meta`, with their names.
    pub(super) fn packed(&self) -> [(&'static str, &Packed); 15] {
        [
            ("events", &self.events),
            ("open", &self.open),
            ("by_camera", &self.by_camera),
            ("outbox", &self.outbox),
            ("documents", &self.documents),
            ("uploads", &self.uploads),
            ("dead", &self.dead),
            ("segments", &self.segments),
            ("open_segments", &self.open_segments),
            ("spans", &self.spans),
            ("unfiled", &self.unfiled),
            ("files", &self.files),
            ("held", &self.held),
            ("aged", &self.aged),
            ("alerts", &self.alerts),
        ]
    }

    pub(super) fn counters(&self) -> Result<Counters, StoreError> {
        self.meta.get("counters")?.map_or_else(|| Ok(Counters::default()), |bytes| decode(&bytes))
    }

    /// Wakes the waiters for a write that failed, until `stop` is disconnected.
    pub(super) fn watch_for_failures(&self, stop: &Receiver<()>) {
        wake::watch(&self.settings, &self.db, stop);
    }

    /// Writes out what sled has buffered, then makes `data` (sled's file) reach the disk.
    pub(super) fn flush(&self, data: &File) -> Result<(), StoreError> {
        self.db.flush()?;
        data.sync_data().map_err(super::reset::disk("fsync", Path::new("index")))
    }
}

/// Numbers that are kept, because counting would mean scanning.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Counters {
    pub events: u64,
    pub open: u64,
    /// The sequence number that was given out last.
    pub last_seq: u64,
    pub outboxes: BTreeMap<Destination, BoxCounters>,
    /// Since version 2.
    #[serde(default)]
    pub held: BTreeMap<Class, HeldCounters>,
}

/// Numbers of one class of files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct HeldCounters {
    pub files: u64,
    pub bytes: u64,
}

/// Numbers of one outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BoxCounters {
    pub items: u64,
    pub bytes: u64,
    pub dead: u64,
}

impl Counters {
    pub(super) fn of(&mut self, outbox: &Destination) -> &mut BoxCounters {
        self.outboxes.entry(outbox.clone()).or_default()
    }
}

impl BoxCounters {
    pub(super) fn add(&mut self, item: &Delivery) {
        self.items += 1;
        self.bytes = self.bytes.saturating_add(item.bytes());
    }

    pub(super) fn remove(&mut self, item: &Delivery) {
        self.items = self.items.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(item.bytes());
    }
}

/// One item of an outbox, as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    /// `None` for a document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<EventId>,
    /// The event as it was when the row was written; alerts only, the upload of a file needs only its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Event>,
    pub item: Delivery,
    /// Counts replacements, so that an acknowledgement cannot remove what came after the lease.
    pub revision: u64,
    pub attempts: u32,
    pub created: Moment,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What kind of failure made it a dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// How far the outlet got, in its own words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
}

impl Row {
    /// A new item. `event` is what it reports or belongs to.
    pub(super) fn new(event: Option<&Event>, item: &Delivery, now: &Moment) -> Self {
        let reported = event.filter(|_| matches!(item, Delivery::Alert(_)));
        Self {
            id: event.map(|event| event.id).filter(|_| !item.is_document()),
            event: reported.cloned(),
            item: item.clone(),
            revision: 0,
            attempts: 0,
            created: now.clone(),
            error: None,
            class: None,
            progress: None,
        }
    }

    /// The event and the name of the file that it sends, if it sends one of an event.
    pub(super) fn file(&self) -> Option<(EventId, &str)> {
        match &self.item {
            Delivery::Upload(media) => Some((self.id?, &media.file)),
            Delivery::Alert(_) | Delivery::Document(_) => None,
        }
    }

    /// Its key in `uploads`; an alert has none, since alerts do not replace each other.
    pub(super) fn upload_key(&self, outbox: &Destination) -> Option<Vec<u8>> {
        match &self.item {
            Delivery::Alert(_) => None,
            Delivery::Upload(media) => Some(upload_key(outbox, self.id?, &media.file)),
            Delivery::Document(document) => Some(document_key(outbox, &document.path)),
        }
    }
}

/// `name 0`: what all keys of one outbox or camera begin with.
pub(super) fn prefix(name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 1 + 16);
    key.extend_from_slice(name.as_bytes());
    key.push(0);
    key
}

/// Key of an item.
pub(super) fn item_key(outbox: &Destination, seq: u64) -> Vec<u8> {
    let mut key = prefix(outbox.as_str());
    key.extend_from_slice(&seq.to_be_bytes());
    key
}

/// Sequence number in the key of an item.
pub(super) fn seq_of(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// Key of an event in `by_camera`.
pub(super) fn camera_key(camera: &str, id: EventId) -> Vec<u8> {
    let mut key = prefix(camera);
    key.extend_from_slice(&id.to_bytes());
    key
}

/// Key of a document in `uploads`: no event has the id that is all zeros.
pub(super) fn document_key(outbox: &Destination, path: &str) -> Vec<u8> {
    upload_key(outbox, EventId::from_bytes([0; 16]), path)
}

/// Key of a file in `uploads`.
pub(super) fn upload_key(outbox: &Destination, id: EventId, file: &str) -> Vec<u8> {
    let mut key = prefix(outbox.as_str());
    key.extend_from_slice(&id.to_bytes());
    key.extend_from_slice(file.as_bytes());
    key
}

/// The event id at the end of a key.
pub(super) fn id_of(key: &[u8]) -> Option<EventId> {
    key.last_chunk().map(|bytes| EventId::from_bytes(*bytes))
}

pub(super) fn encode(value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    // Our own plain data always serialises; the error names it, should that ever change.
    serde_json::to_vec(value).map_err(|e| StoreError::Unreadable(format!("write a value: {e}").into()))
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|e| StoreError::Unreadable(e.to_string().into()))
}

/// At most `limit` bytes of `text`, whole characters.
pub(super) fn shorten(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or_default()
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        store_error(&error, Path::new("index"))
    }
}

/// Sorts sled's errors: a disk that is full or read-only is no reason to throw the index away, everything
/// else that comes out of reading one's own files is.
fn store_error(error: &sled::Error, index: &Path) -> StoreError {
    use std::io::ErrorKind;
    let sled::Error::Io(io) = error else { return StoreError::Corrupt(error.to_string().into()) };
    let text = io.to_string();
    if text.contains("could not acquire lock") {
        // sled gives the system's answer as text alone.
        if text.contains("WouldBlock") {
            return StoreError::InUse(index.display().to_string().into());
        }
        let advice = "the file system has no file locks, which the index needs: use another one for storage.path";
        return StoreError::Disk(format!("{text}: {advice}").into());
    }
    if matches!(io.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
        return StoreError::Full(text.into());
    }
    let out_of_files = matches!(io.raw_os_error(), Some(libc::EMFILE | libc::ENFILE));
    let disk = matches!(
        io.kind(),
        ErrorKind::FileTooLarge | ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied | ErrorKind::OutOfMemory
    );
    if disk || out_of_files { StoreError::Disk(text.into()) } else { StoreError::Corrupt(text.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Works with: disks | network shares without file locks | says so, and records into the spool where there is one
    #[test]
    fn a_lock_that_cannot_be_had_is_not_a_lock_that_another_process_has() {
        let of = |errno: i32| {
            let system = std::io::Error::from_raw_os_error(errno);
            let text = format!("could not acquire lock on \"/mnt/index/db\": {system:?}");
            store_error(&sled::Error::Io(std::io::Error::other(text)), Path::new("/mnt/index"))
        };
        assert!(matches!(of(libc::EWOULDBLOCK), StoreError::InUse(_)));
        for errno in [libc::ENOLCK, libc::EOPNOTSUPP, libc::ENOSYS] {
            let StoreError::Disk(said) = of(errno) else { panic!("{errno}") };
            assert!(said.contains("no file locks"), "{said}");
        }
    }
}
