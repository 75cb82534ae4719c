//! Files of other folders that become photos: folders that are watched, and cards that are imported.

mod changes;
mod import;
mod imports;
mod mounts;
mod state;
mod watch;

pub use import::{Import, ImportId, ImportState, NewImport, RefusedFile};
pub use imports::ImportRefusal;
pub use mounts::ImportSource;
pub use state::{FolderState, FolderStatus};

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::library::LibraryService;
use super::playback::MOST_LOAD;
use crate::library::{Entry, files_below};
use imports::Imports;

/// How often work that waits for the load to fall looks at it.
const LOAD_EVERY: Duration = Duration::from_millis(500);

/// Files that are found ahead of those that are taken in.
const AHEAD: usize = 256;

/// Takes in the files of folders.
#[derive(Clone)]
pub struct FolderService {
    context: Arc<Context>,
    library: LibraryService,
    watched: Arc<Mutex<BTreeMap<String, FolderStatus>>>,
    imports: Arc<Mutex<Imports>>,
    /// An import is to be carried out.
    due: Arc<Notify>,
}

/// The files below a folder, found on a thread that waits for the disk.
fn found_below(folder: &Path) -> mpsc::Receiver<io::Result<Entry>> {
    let (sender, found) = mpsc::channel(AHEAD);
    let folder = folder.to_owned();
    tokio::task::spawn_blocking(move || {
        for entry in files_below(&folder) {
            if sender.blocking_send(entry).is_err() {
                return;
            }
        }
    });
    found
}

impl FolderService {
    pub(super) fn new(context: Arc<Context>, library: LibraryService) -> Self {
        Self { context, library, watched: Arc::default(), imports: Arc::default(), due: Arc::default() }
    }

    /// The folders that are watched, by name.
    pub fn watched(&self) -> Vec<FolderStatus> {
        self.watched.lock().values().cloned().collect()
    }

    /// Watches folders and carries out imports, until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::join!(self.run_watches(&stop), self.run_imports(&stop));
    }

    async fn run_watches(&self, stop: &CancellationToken) {
        let mut configured = self.context.configured.clone();
        while !stop.is_cancelled() {
            let folders = configured.borrow_and_update().library.watch.clone();
            self.watched.lock().retain(|name, _| folders.contains_key(name));
            let watching = stop.child_token();
            let watches = folders.iter().map(|(name, folder)| self.watch(name, folder, &watching));
            let mut watches = std::pin::pin!(join_all(watches));
            loop {
                tokio::select! {
                    _ = &mut watches => break,
                    changed = configured.changed() => {
                        if changed.is_err() || configured.borrow_and_update().library.watch != folders {
                            watching.cancel();
                            watches.await;
                            break;
                        }
                    }
                }
            }
            if folders.is_empty() && !stop.is_cancelled() {
                tokio::select! {
                    changed = configured.changed() => if changed.is_err() { return },
                    () = stop.cancelled() => return,
                }
            }
        }
    }

    /// Waits while the box has too much to do with its cameras.
    async fn wait_for_load(&self, stop: &CancellationToken) {
        while self.context.volume.archive().pressure.level() > MOST_LOAD {
            tokio::select! {
                () = tokio::time::sleep(LOAD_EVERY) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}
