//! Removing files, and what an interrupted removal left.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use tracing::{debug, warn};

use super::sidecar::SIDECAR;
use crate::event::Event;

/// The extension that an event's folder gets while it is being removed.
pub const GONE: &str = "gone";

/// Removes what a start without an index must not take in: files that `event` says were deleted, whose
/// deletion a power cut interrupted.
pub fn remove_evicted(folder: &Path, event: &Event) {
    for gone in &event.evicted {
        let name = &gone.media.file;
        if !event.media().any(|media| media.file == *name) && name != SIDECAR {
            let path = folder.join(name);
            if let Err(error) = removed(fs::remove_file(&path)) {
                warn!(%error, file = %path.display(), "a file could not be deleted");
            }
        }
    }
}

/// Removes a folder whose event is gone already.
pub fn remove_gone(folder: &Path) {
    match fs::remove_dir_all(folder) {
        Ok(()) => debug!(folder = %folder.display(), "removed what was left of an event"),
        Err(error) => warn!(%error, folder = %folder.display(), "a folder could not be deleted"),
    }
}

/// What is not there need not be removed.
pub fn removed(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
