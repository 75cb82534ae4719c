//! Wakes the threads that wait inside sled for a write that failed.
//!
//! sled 0.34 notes the failure of a write, but where the last of several writers to a buffer wrote it
//! (`Log::exit_reservation`) it does not wake the waiters for that buffer to reach the disk. Such a caller waits for ever
//! and holds a lock that every commit of the process needs, also those to another index: recording could not go on in
//! the spool. Any attempt to write afterwards finds the failure noted, writes nothing and wakes all.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tracing::debug;

/// How often it is looked for a failure, while the index works: one read of an atomic.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Name of a tree that is never made: a failed index refuses it before anything is written.
const NO_TREE: &str = "wake";

/// Looks for a failed write until `stop` is disconnected. `config` are the settings that `db` was opened with.
pub(super) fn watch(config: &sled::Config, db: &sled::Db, stop: &Receiver<()>) {
    while stop.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
        if let Err(failure) = config.global_error() {
            let refused = db.open_tree(NO_TREE).err();
            debug!(%failure, ?refused, "woke the waiters of the index");
            return;
        }
    }
}
