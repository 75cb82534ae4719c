//! What happens in a folder, as the kernel says. Shares of other hosts say nothing: these are looked through from time to
//! time.

use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{ErrorKind, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Changes that wait to be looked at; with more than these the whole folder is looked through.
const MOST_WAITING: usize = 4096;

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FolderChange {
    /// There may be something new here.
    At(PathBuf),
    /// Changes were missed.
    Anywhere,
}

/// Hears of changes as long as it is there.
pub(super) struct Changes {
    _watcher: notify::RecommendedWatcher,
    changes: mpsc::Receiver<FolderChange>,
    missed: std::sync::Arc<tokio::sync::Notify>,
}

impl Changes {
    /// Watches `folder` and all in it. Blocks.
    ///
    /// # Errors
    /// One sentence: why changes are not noticed as they happen.
    pub(super) fn of(folder: &Path) -> Result<Self, String> {
        let (sender, changes) = mpsc::channel(MOST_WAITING);
        let missed = std::sync::Arc::new(tokio::sync::Notify::new());
        let noted = missed.clone();
        let note = move |happened: notify::Result<notify::Event>| {
            let is_all_sent = happened.is_ok_and(|event| {
                !event.need_rescan()
                    && (!is_change(event.kind)
                        || event.paths.into_iter().all(|path| sender.try_send(FolderChange::At(path)).is_ok()))
            });
            if !is_all_sent {
                noted.notify_one();
            }
        };
        let watching = notify::recommended_watcher(note).and_then(|mut watcher| {
            watcher.watch(folder, RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        match watching {
            Ok(watcher) => Ok(Self { _watcher: watcher, changes, missed }),
            Err(error) if matches!(error.kind, ErrorKind::MaxFilesWatch) => {
                Err("too many folders for fs.inotify.max_user_watches: raise it with sysctl".to_owned())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// The next change.
    pub(super) async fn next(&mut self) -> FolderChange {
        tokio::select! {
            Some(change) = self.changes.recv() => change,
            () = self.missed.notified() => FolderChange::Anywhere,
        }
    }
}

/// Whether there may be something to take in after it.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Create(_) | EventKind::Modify(_) | EventKind::Any | EventKind::Other => true,
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        EventKind::Remove(_) => false,
    }
}
