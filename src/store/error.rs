//! What a store may fail of.

use std::io::ErrorKind;
use std::path::Path;
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
    /// A search that reads too much.
    #[error("too many {0}")]
    TooMany(&'static str),
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

/// What to make of an error of the disk while `what` was done to `path`.
pub(super) fn disk(what: &str, path: &Path) -> impl Fn(std::io::Error) -> StoreError {
    let place = path.display().to_string();
    let what = what.to_owned();
    move |error| {
        let text = format!("{what} {place}: {error}").into();
        let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        if full { StoreError::Full(text) } else { StoreError::Disk(text) }
    }
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> Self {
        store_error(&error, Path::new("index"))
    }
}

/// Sorts sled's errors: a disk that is full or read-only is no reason to throw the index away, everything
/// else that comes out of reading one's own files is.
pub(super) fn store_error(error: &sled::Error, index: &Path) -> StoreError {
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
