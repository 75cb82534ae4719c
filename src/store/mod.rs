//! Make it durable.
//!
//! [`Store`] is the index of events, files and segments, and the durable queues (outboxes) that the outlets drain. A call that
//! returns `Ok` from a write is on the disk: it survives a power cut.
//!
//! # On disk
//! Everything lies in `<storage.path>`:
//!
//! | path | what |
//! |---|---|
//! | `device-id` | identity of the box, made once; outside the index, so that it outlives it |
//! | `index/` | the sled database |
//! | `dropped.jsonl` | what a person took out of the outboxes; outside the index, so that it outlives it |
//! | `index.opening` | how many opens in a row did not come to an end; gone after a good one |
//! | `index.bad` | why the index must not be opened again; the next start sets it aside |
//! | `index.bad-<n>/` | indexes that were set aside, the newest two |
//! | `index.reserve` | room that is given up when the disk is full, so that something can be evicted |
//!
//! Trees of the database (all values but numbers and ids are JSON, none is larger than 4 KiB; 0 is a zero byte). In
//! all but `meta` several entries may share a row of sled, see the module `packed`. An outbox is named by the written form of
//! its destination, an asset is an event or a segment. The module `trees` declares them:
//!
//! | tree | key | value |
//! |---|---|---|
//! | `meta` | `version` | schema version, u32, big endian |
//! | `meta` | `counters` | number of events, items, bytes, ...; next sequence number |
//! | `meta` | `placed_for` | the destinations that the keys in `held` and `aged` were made for |
//! | `meta` | `uncatalogued` | the last event of schema 1 that was taken into `files`; gone when all were |
//! | `meta` | `unpacked` | how far the rows of schemas 1 and 2 were packed; gone when all were |
//! | `meta` | `filled` | nothing; there once the index holds all that the sidecars say |
//! | `events` | event id, 16 bytes | the event |
//! | `open` | event id | nothing; the events that have not ended |
//! | `unfiled` | event id | nothing; events that are over and wait for a day to be filed under |
//! | `by_camera` | camera 0 event id | nothing |
//! | `outbox` | outbox 0 lane, u8; sequence number, u64, big endian | a file of an event, to deliver |
//! | `outbox` | outbox 0 sequence number | an alert; the same of a file since before version 4 |
//! | `uploads` | outbox 0 asset id, file name | lane and sequence number of the item that carries this file |
//! | `uploads` | outbox 0 sixteen zero bytes, path | the same of a document |
//! | `documents` | outbox 0 sequence number | a file of no event, to deliver |
//! | `dead` | outbox 0 sequence number | an item that was given up |
//! | `segments` | camera 0 segment id | a segment of continuous recording |
//! | `open_segments` | camera 0 segment id | nothing; the segments that are being written |
//! | `spans` | camera 0 id | an entry of the coverage ledger |
//! | `files` | asset id, file name | a file on the disk: class, size, which destinations have it |
//! | `held` | tier, value, asset id, file name | nothing; the files in the order in which they may go |
//! | `aged` | lane, class, wall milliseconds, asset id, file name | nothing; the files by age |
//! | `changes` | number, u64, big endian | what happened to an event, u8; event id |
//! | `annotations` | event id | what people say of it; whether `event.json` is still to say so |
//! | `reviewed` | event id | who has looked it through |
//! | `photos` | photo id, 16 bytes | the photo |
//! | `photo_order` | scope (`s`, `p` owner, `t` owner) 0 milliseconds on the wall, photo id | the photo's number |
//! | `photo_contents` | SHA-256, 32 bytes, photo id | nothing; the photos with this content |
//! | `photo_numbers`, `photo_ids` | photo id, or number (4 bytes) | the other of the two |
//! | `photo_terms` | term, 0, chunk of 2048 numbers (4 bytes) | the numbers in it, two bytes each, or a bitmap |
//! | `albums` | album id, 16 bytes | the album without its photos |
//! | `album_photos` | album id, row of 128 (4 bytes) | ids of its photos, 16 bytes each, as they were put |
//! | `photo_times` | chunk of 128 numbers (4 bytes) | milliseconds on the wall, 8 bytes each |
//! | `event_times` | stretch of event ids, u32 | when its events began, earliest and latest, wall milliseconds, i64 each |
//! | `photo_usage` | owner | photos and their bytes, u64 each |
//! | `executions` | execution id | the execution without what it was given and has made |
//! | `open_executions` | execution id | nothing; the executions that are not over |
//! | `execution_keys` | owner 0 `Idempotency-Key` | execution id |
//! | `execution_usage` | `all` | executions, their bytes, and how many are not over, u64 each |
//!
//! # What sled needs
//! sled is used as an index that can be made again from the sidecars, because it does not notice when it is
//! damaged: it panics or never returns. So it runs on two threads of its own, every call has a deadline, and
//! a call that misses it takes the whole store out of service: the index is marked bad on disk, the process has to
//! end ([`Store::poisoned`]), and the next [`Store::open`] starts with an empty one ([`Store::was_reset`]). Waiting
//! would not do: sled has one lock for all databases of a process, and a thread that spins may hold it.
//!
//! sled's own flush ends in `sync_file_range` on Linux, which neither commits the file's size nor reaches
//! through the disk's write cache. Each commit is therefore followed by an fdatasync of ours.

mod delivery;
mod error;

mod packed;
mod place;

mod schema;

mod trees;

mod migrate;

mod reset;

mod process_lock;
mod reply;
mod reserve;
mod settings;

mod dropped;
mod wake;
mod worker;

mod commit;
mod op;

mod annotate;
mod annotations;
mod changes;
mod event_log;
mod event_times;
mod position;
mod search;

mod catalog;

mod queue;
mod queues;

mod lease;
mod outbox;
mod selection;

mod stats;

mod audit;
mod import;
mod supersede;
mod timeline;

mod offline;

mod album_index;
mod albums;
mod events;
mod execution_index;
mod executions;
mod folder_files;
mod folder_index;
mod ledger;
mod outboxes;
mod photo_changes;
mod photo_index;
mod photo_order;
mod photo_scope;
mod photo_search;
mod photo_usage;
mod photos;
mod read;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::destination::Destination;
use crate::event::{Event, EventId};
use schema::FILLED;
use worker::Core;

pub use albums::Albums;
pub use catalog::{AlertCounts, Amendment, Assets, Class, Cursor, HeldFile, RUN_TIME_BELOW};
pub use changes::{ChangeKind, EventChange};
pub use delivery::{Delivery, Document, DocumentTask};
pub use error::StoreError;
pub use event_log::Query;
pub use events::Events;
pub use execution_index::{ExecutionQuery, ExecutionUsage, ExecutionsFound};
pub use executions::Executions;
pub use folder_files::FolderFiles;
pub use import::{DeliveryStatus, GivenUp, MigratedAlert, TakenOver};
pub use lease::{Order, Waiting, Wanted};
pub use ledger::Ledger;
pub use offline::{IndexCopy, set_index_aside};
pub use outbox::{DeadLetter, Outbox};
pub use outboxes::Outboxes;
pub use photo_changes::PhotoChange;
pub use photo_scope::{PhotoPosition, Scope};
pub use photo_search::{PhotoCell, PhotosFound};
pub use photo_usage::PhotoUsage;
pub use photos::Photos;
pub use place::Lane;
pub use position::Position;
pub use process_lock::can_commit;
pub use queue::Lease;
pub use read::Read;
pub use search::{Found, Search};
pub use selection::{ItemKind, QueueState, Selected, Selection};
pub use stats::{HeldStats, OutboxStats, Stats};
pub use timeline::SegmentQuery;

/// Where and how the index is kept: `[storage]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of everything that the box keeps. Default `/var/lib/outpost`.
    pub path: PathBuf,
    /// Memory that the index may use for its cache, in bytes. Default 67108864 (64 MiB).
    #[serde(with = "crate::byte_size")]
    pub cache_bytes: u64,
    /// How long one call to the index may take before the index counts as damaged, e.g. `30s`. Default `30s`.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub deadline: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: PathBuf::from("/var/lib/outpost"),
            cache_bytes: 64 * 1024 * 1024,
            deadline: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A sentence that names the key and what it may be.
    pub fn validate(&self) -> Result<(), String> {
        if !self.path.is_absolute() {
            return Err(format!("storage.path: {} is not an absolute path", self.path.display()));
        }
        if self.cache_bytes < 1024 * 1024 {
            return Err(format!("storage.cache_bytes: {} is less than 1048576 (1 MiB)", self.cache_bytes));
        }
        if self.deadline < Duration::from_secs(1) {
            return Err(format!("storage.deadline: {:?} is less than 1s", self.deadline));
        }
        Ok(())
    }
}

/// What is recorded in one step, all or nothing.
#[derive(Clone, Debug)]
pub struct Change {
    /// The event as it is now; replaces what was recorded under its id before.
    pub event: Event,
    /// What the world has to get because of it.
    pub deliveries: Vec<Delivery>,
}

/// The durable index and its outboxes, by handles: [`Events`], [`Assets`], [`Outboxes`], [`Ledger`], [`Photos`]. Clones are one store.
#[derive(Clone, Debug)]
pub struct Store(Arc<Core>);

impl Store {
    /// Opens the store in `config.path`, or makes it. `outboxes` are the queues that exist now; items of
    /// others stay where they are until those are configured again.
    ///
    /// Takes at most a few times `config.deadline`, and the time that a slow disk takes to read the index. An index that is damaged, was marked bad, or did not
    /// survive three opens in a row is set aside and an empty one made: see [`Store::was_reset`].
    ///
    /// # Errors
    /// [`StoreError::Stalled`] when the index does not open in time: it is marked bad, end the process and
    /// start it again. Else when the folder cannot be used, or belongs to a later version.
    pub fn open(config: &Config, outboxes: &[Destination], clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Core::open(config, outboxes, clock).map(|core| Self(Arc::new(core)))
    }

    /// Whether [`Store::open`] had to start with an empty index in place of one that was there: the caller
    /// should [`Events::record`] again what the sidecars in the archive say.
    pub fn was_reset(&self) -> bool {
        self.0.was_reset
    }

    /// The identity of this box: a random UUID made when the store was first opened.
    pub fn device_id(&self) -> Arc<str> {
        self.0.device_id.clone()
    }

    /// The events, and how far outlets got with them.
    pub fn events(&self) -> Events {
        Events::new(&self.0)
    }

    /// The catalogue of the files that the box holds.
    pub fn assets(&self) -> Assets {
        Assets::new(&self.0)
    }

    /// The queues of the destinations.
    pub fn outboxes(&self) -> Outboxes {
        Outboxes::new(&self.0)
    }

    /// The segments of continuous recording, and the coverage ledger.
    pub fn ledger(&self) -> Ledger {
        Ledger::new(&self.0)
    }

    /// The executions.
    pub fn executions(&self) -> Executions {
        Executions::new(&self.0)
    }

    /// Files in watched folders that were looked at.
    pub fn folder_files(&self) -> FolderFiles {
        FolderFiles::new(&self.0)
    }

    /// The albums.
    pub fn albums(&self) -> Albums {
        Albums::new(&self.0)
    }

    /// The photo library.
    pub fn photos(&self) -> Photos {
        Photos::new(&self.0)
    }

    /// Numbers for the page and the metrics; costs a handful of reads however much is stored.
    pub fn stats(&self) -> Read<Stats> {
        let flushes = self.0.flushes();
        Read::new(&self.0, move |db| stats::read(db, flushes))
    }

    /// The highest id of an event, segment, photo or execution, so that new ids can be greater.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn newest_id(&self) -> Result<Option<EventId>, StoreError> {
        self.0.read(|db| {
            Ok(event_log::newest_id(db)?
                .max(timeline::newest_id(db)?)
                .max(photo_index::newest_id(db)?)
                .max(album_index::newest_id(db)?)
                .max(execution_index::newest_id(db)?))
        })
    }

    /// Whether the index holds all that the sidecars say. It does not when it was begun afresh and no recovery
    /// has come to its end since, over however many starts.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn is_filled(&self) -> Result<bool, StoreError> {
        self.0.read(|db| Ok(db.meta.contains_key(FILLED)?))
    }

    /// Notes durably that the index holds all that the sidecars say.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn note_filled(&self) -> Result<(), StoreError> {
        self.0.note_filled()
    }

    /// Whether the last change was refused because the disk is full.
    pub fn is_full(&self) -> bool {
        self.0.is_full()
    }

    /// Waits until the store is out of service, and says why. The process should then end with a failure,
    /// so that the service manager starts it afresh. Never returns while all is well.
    pub async fn poisoned(&self) -> StoreError {
        self.0.poisoned().await
    }

    /// Finishes what waits, flushes, and waits for the store's threads. Later calls of clones fail.
    ///
    /// # Errors
    /// When the store is out of service, or does not finish within its deadline.
    pub fn close(self) -> Result<(), StoreError> {
        self.0.close()
    }
}
