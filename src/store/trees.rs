//! The trees of the index, declared once, and what is done with all of them: open, change in one commit, flush.

use std::fs::File;
use std::path::Path;
use std::sync::mpsc::Receiver;

use sled::transaction::TransactionError;
use sled::{Db, Transactional, Tree};

use super::error::{disk, store_error};
use super::packed::{Packed, Packing, View};
use super::schema::{Counters, decode};
use super::{StoreError, settings, wake};

/// How often sled's own thread looks for fragmented segments to clean. It also syncs the file each time, so
/// a short period would keep an idle disk awake.
const CLEAN_EVERY_MS: u64 = 5_000;

/// Makes the database and its views of the list of trees. The list is in the order in which an older index is packed;
/// new trees go to its end.
macro_rules! trees {
    ($($(#[$doc:meta])* $tree:ident,)+) => {
        const TREES: usize = [$(stringify!($tree)),+].len();

        /// The open database.
        #[derive(Clone, Debug)]
        pub(super) struct Database {
            pub db: Db,
            /// With these it was opened; sled keeps the failure of a write in them.
            settings: sled::Config,
            pub packing: Packing,
            /// Single values: the version, the counters.
            pub meta: Tree,
            $($(#[$doc])* pub $tree: Packed,)+
        }

        /// The same trees as one commit changes them.
        pub(super) struct Views<'a> {
            pub meta: View<'a>,
            $(pub $tree: View<'a>,)+
        }

        impl Database {
            fn with_trees(db: Db, settings: sled::Config, index: &Path) -> Result<Self, StoreError> {
                let tree = |name: &str| db.open_tree(name).map_err(|e| store_error(&e, index));
                Ok(Self {
                    packing: Packing::chosen(),
                    meta: tree("meta")?,
                    $($tree: Packed::new(tree(stringify!($tree))?),)+
                    db,
                    settings,
                })
            }

            /// All trees but `meta`, with their names.
            pub(super) fn packed(&self) -> [(&'static str, &Packed); TREES] {
                [$((stringify!($tree), &self.$tree)),+]
            }
        }

        impl<'a> Views<'a> {
            pub(super) fn new(db: &'a Database) -> Self {
                Self { meta: View::plain(&db.meta), $($tree: View::packed(db.$tree.tree(), db.packing),)+ }
            }

            /// All but `meta`, in the order of [`Database::packed`].
            pub(super) fn packed(&self) -> [&View<'a>; TREES] {
                [$(&self.$tree),+]
            }

            /// `meta`, then all others in that order.
            fn into_all(self) -> impl Iterator<Item = View<'a>> {
                [self.meta, $(self.$tree),+].into_iter()
            }
        }
    };
}

trees! {
    /// Events, by id.
    events,
    /// The events that have not ended.
    open,
    /// Events by camera and id.
    by_camera,
    /// What waits for a destination: files of events, and alerts.
    outbox,
    /// Files of no event that wait for a destination.
    documents,
    /// Where the item lies that carries a file to a destination.
    uploads,
    /// Items that were given up.
    dead,
    /// Segments of continuous recording, by camera and id.
    segments,
    /// The segments that are being written.
    open_segments,
    /// The coverage ledger, by camera and id.
    spans,
    /// Events that are over and wait for a day to be filed under.
    unfiled,
    /// The files on the disk, by asset and name.
    files,
    /// The same files in the order in which they may go.
    held,
    /// The same files by age.
    aged,
    /// How far outlets of alerts got, by event. An index of before it has none of its events here.
    alerts,
    /// The last changes of events, by number.
    changes,
    /// What people say of events, by id.
    annotations,
    /// Who has looked events through, by id.
    reviewed,
    /// Photos, by id.
    photos,
    /// Photos by scope and time.
    photo_order,
    /// Photos by the hash of their content.
    photo_contents,
    /// Numbers of photos, by id.
    photo_numbers,
    /// Ids of photos, by number.
    photo_ids,
    /// Numbers of photos that have a term, by term and chunk.
    photo_terms,
    /// When photos were taken, by chunk of numbers.
    photo_times,
    /// Albums, by id.
    albums,
    /// The photos of albums, by album and row.
    album_photos,
    /// What the photos of each user take, by name.
    photo_usage,
    /// When events began at the earliest and at the latest, by stretches of their ids.
    event_times,
    /// Files in watched folders that were looked at, by path.
    folder_files,
    /// Executions, by id.
    executions,
    /// The executions that are not over, by id.
    open_executions,
    /// Executions by their owners and the keys that they were sent under.
    execution_keys,
    /// What the executions take.
    execution_usage,
}

impl Database {
    /// Opens or makes the database in the folder `index`.
    pub(super) fn open(index: &Path, cache_bytes: u64) -> Result<Self, StoreError> {
        let settings = settings::of(index, cache_bytes)?.flush_every_ms(Some(CLEAN_EVERY_MS));
        let db = settings.open().map_err(|e| store_error(&e, index))?;
        Self::with_trees(db, settings, index)
    }

    /// Touches the counters and both ends of every tree: most damage that makes an index unusable shows here already.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if let Err(error) = self.counters() {
            return Err(StoreError::Corrupt(error.to_string().into()));
        }
        for (_, tree) in self.packed() {
            tree.first()?;
            tree.last()?;
        }
        Ok(())
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
        data.sync_data().map_err(disk("fsync", Path::new("index")))
    }
}

impl Views<'_> {
    /// Writes the changes, all or nothing.
    pub(super) fn commit(self, db: &Database) -> Result<(), StoreError> {
        let trees = [&db.meta].into_iter().chain(db.packed().map(|(_, tree)| tree.tree()));
        let changed = trees.zip(self.into_all()).map(|(tree, view)| (tree, view.changes()));
        let (trees, changes): (Vec<&Tree>, Vec<_>) = changed.filter(|(_, rows)| !rows.is_empty()).unzip();
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
