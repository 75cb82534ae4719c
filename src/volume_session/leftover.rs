//! A spool that waits to be taken into the archive.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tracing::{info, warn};

use crate::archive::{Archive, Layout, RecordingLevel};
use crate::clock::Clock;
use crate::config::Config;
use crate::record::Moving;
use crate::recovery::merge;
use crate::store::{self, Store};

/// How long recorders may take to close what they have open in the spool; what is not closed by then waits for a
/// later try.
const SETTLES_WITHIN: Duration = Duration::from_secs(30);

/// What lies in the spool, and what still uses it.
pub(super) struct Leftover {
    pub folder: PathBuf,
    pub config: Arc<Config>,
    pub clock: Arc<dyn Clock>,
    pub runtime: Handle,
    /// Recorders that are just leaving it.
    pub leaving: Mutex<Vec<Moving>>,
    /// Their index, until they have left: a fresh one begins with every alert due again.
    pub store: Mutex<Option<Store>>,
}

impl Leftover {
    /// Takes everything into `archive`, and deletes the spool.
    ///
    /// # Errors
    /// When something is left; another try goes on.
    pub(super) fn merge(&self, archive: &Archive, is_stopped: &dyn Fn() -> bool) -> Result<()> {
        let leaving = std::mem::take(&mut *self.leaving.lock());
        if !leaving.iter().all(|recorder| recorder.wait(SETTLES_WITHIN)) {
            warn!("a recorder has not closed its events in the spool in time");
        }
        if let Some(store) = self.store.lock().take() {
            store.close().context("close the spool's index")?;
        }
        let storage = store::Config { path: self.folder.clone(), ..self.config.storage.clone() };
        let store =
            Store::open(&storage, &self.config.outboxes(), self.clock.clone()).context("open the spool's index")?;
        let layout = Layout::new(&self.folder);
        let spool = archive.moved_to(layout, store.clone(), RecordingLevel::NoContinuous);
        let cameras: Vec<String> = self.config.camera.keys().cloned().collect();
        let outcome = merge(&spool, archive, &cameras, &self.runtime, is_stopped);
        drop(spool);
        store.close().context("close the spool's index")?;
        let left = outcome?.left;
        archive.set_incomplete(false);
        if left == 0 {
            clear_spool(&self.folder);
        }
        Ok(())
    }
}

/// Deletes what is left of the spool; all of it is in the archive.
fn clear_spool(folder: &Path) {
    match std::fs::remove_dir_all(folder) {
        Ok(()) => info!(folder = %folder.display(), "the spool is empty"),
        Err(error) => warn!(folder = %folder.display(), %error, "the spool cannot be deleted"),
    }
}
