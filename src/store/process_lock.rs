//! sled has one lock for all databases of a process, and keeps it while it writes.

use std::fs;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use tracing::warn;

use super::error::disk;
use super::{StoreError, settings};
use crate::supervise::spawn_thread;

/// A folder for an index of no use but this, below the one that is given.
const TRIAL: &str = "index.trial";
/// Memory that it may take.
const CACHE: u64 = 1 << 20;

/// Whether an index in `folder` could commit in this process, found by trying that for at most `within`.
///
/// Where the volume of another index hangs while sled writes to it, sled holds a lock that every commit of the process
/// needs; then only another process can record. A trial that fails is not one that hangs: opening an index there
/// gets to know why.
pub fn can_commit(folder: &Path, within: Duration) -> bool {
    let (path, (done, outcome)) = (folder.join(TRIAL), sync_channel(1));
    let trial = move || {
        if let Err(error) = try_commit(&path) {
            warn!(%error, folder = %path.display(), "an index cannot be tried there");
        }
        let _ = done.try_send(());
    };
    match spawn_thread("store-trial", trial) {
        Ok(_) => outcome.recv_timeout(within).is_ok(),
        Err(_) => true,
    }
}

fn try_commit(path: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(path).map_err(disk("create", path))?;
    let db = settings::of(path, CACHE)?.flush_every_ms(None).open()?;
    db.apply_batch(sled::Batch::default())?;
    drop(db);
    fs::remove_dir_all(path).map_err(disk("remove", path))
}
