//! What a store may fail of.

use std::sync::Arc;
use std::time::Duration;

use crate::destination::Destination;

/// Why the store did not do what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// No answer within the deadline. The store is out of service and its index is marked bad.
    #[error("the index gave no answer within {0:?}; it is marked bad, the next start makes a new one")]
    Stalled(Duration),
    /// The index is damaged. The store is out of service and its index is marked bad.
    #[error("the index is damaged ({0}); it is marked bad, the next start makes a new one")]
    Corrupt(Arc<str>),
    /// A value was read that this version does not understand. Only the call that met it fails.
    #[error("a value in the index cannot be read: {0}")]
    Unreadable(Arc<str>),
    /// There is no room for it. Try again when something was removed.
    #[error("no space left for the index: {0}")]
    Full(Arc<str>),
    /// The disk does not do what it should (read-only, failing). The store is out of service.
    #[error("the index cannot be used: {0}")]
    Disk(Arc<str>),
    /// The wall clock shows a time before 1970. Nothing is wrong with the index; try again when the clock was set.
    #[error("the system clock shows a time before 1970, at which the index cannot be opened: set the clock")]
    NoTime,
    /// An earlier failure took the store out of service.
    #[error("the store is out of service since an earlier failure: {0}")]
    Poisoned(Arc<str>),
    /// Thousands of calls wait already; try again later.
    #[error("the store has too many calls waiting")]
    Busy,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// A value that does not belong into an index.
    #[error("{what} takes {bytes} bytes, the index keeps at most {limit}")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A path that does not name a file below the storage folder.
    #[error("{path:?} cannot be delivered: {reason}")]
    BadPath {
        /// The path.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Written by a later version of this software.
    #[error(
        "the index has schema version {found}, this version of outpost knows up to {known}; install the later version again, or move the folder `index` away"
    )]
    NewerSchema {
        /// On disk.
        found: u32,
        /// Known here.
        known: u32,
    },
    /// Another process has the index open.
    #[error("{0} is in use by another process; stop it first")]
    InUse(Arc<str>),
    /// This destination is not configured, or its name is too long.
    #[error("{0:?} is not an outbox of this store")]
    NoSuchOutbox(Destination),
}

impl StoreError {
    /// Whether the same call may succeed later, in this process.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy | Self::Full(_) | Self::NoTime)
    }
}
