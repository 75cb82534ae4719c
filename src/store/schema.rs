//! Keys, values, and the version of it all.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::catalog::Class;
use super::position::Sequence;
use super::{Delivery, StoreError};
use crate::asset::{AssetId, FileId};
use crate::clock::Moment;
use crate::destination::Destination;
use crate::event::{Event, EventId};

/// Version of keys and values.
pub(super) const VERSION: u32 = 5;
/// Key in `meta`: the index holds all that the sidecars say.
pub(super) const FILLED: &str = "filled";
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
    /// The sequence of changes of events; an index that has none yet begins one.
    #[serde(default)]
    pub changes: Sequence,
    #[serde(default)]
    pub photos: u64,
    /// The number that the next photo gets.
    #[serde(default)]
    pub photo_numbers: u32,
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
    #[serde(rename = "id", default, skip_serializing_if = "Option::is_none")]
    pub asset: Option<AssetId>,
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
            asset: event.map(|event| event.id).filter(|_| !item.is_document()),
            // What people say may be long, and is not what is reported.
            event: reported.map(|event| Event { annotations: None, ..event.clone() }),
            item: item.clone(),
            revision: 0,
            attempts: 0,
            created: now.clone(),
            error: None,
            class: None,
            progress: None,
        }
    }

    /// The file that it sends, if it sends one of an asset.
    pub(super) fn file(&self) -> Option<FileId> {
        match &self.item {
            Delivery::Upload(media) => Some(FileId::new(self.asset?, &*media.file)),
            Delivery::Alert(_) | Delivery::Document(_) => None,
        }
    }

    /// Its key in `uploads`; an alert has none, since alerts do not replace each other.
    pub(super) fn upload_key(&self, outbox: &Destination) -> Option<Vec<u8>> {
        match &self.item {
            Delivery::Alert(_) => None,
            Delivery::Upload(media) => Some(upload_key(outbox, &FileId::new(self.asset?, &*media.file))),
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

/// Key of a document in `uploads`: no asset has the id that is all zeros.
pub(super) fn document_key(outbox: &Destination, path: &str) -> Vec<u8> {
    upload_key(outbox, &FileId::new(AssetId::from_bytes([0; 16]), path))
}

/// Key of a file in `uploads`.
pub(super) fn upload_key(outbox: &Destination, file: &FileId) -> Vec<u8> {
    let mut key = prefix(outbox.as_str());
    key.extend_from_slice(&file.to_bytes());
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
