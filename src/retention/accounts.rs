//! Accounts of days become too old as events do.

use anyhow::Result;
use jiff::Timestamp;
use tracing::warn;

use crate::archive::Archive;
use crate::archive::sidecar::account_path;
use crate::coverage::midnight_after;

/// Deletes the accounts of days that were over at `before`, except those that a destination is still to get unless
/// `waiting_too`. Returns how many.
///
/// # Errors
/// When the index fails.
pub fn delete_accounts(archive: &Archive, before: Timestamp, waiting_too: bool) -> Result<usize> {
    let mut deleted = 0;
    let cameras = std::fs::read_dir(archive.layout.coverage()).into_iter().flatten().flatten();
    for folder in cameras.map(|camera| camera.path()).filter(|path| path.is_dir()) {
        let Some(camera) = folder.file_name().and_then(|name| name.to_str()) else { continue };
        for file in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = file.file_name();
            let Some(name) = name.to_str() else { continue };
            let day = name.strip_suffix(".json").and_then(|day| day.parse().ok());
            if day.and_then(midnight_after).is_none_or(|end| end > before) {
                continue;
            }
            if !waiting_too && archive.store.awaits(&account_path(camera, name))? {
                continue;
            }
            match std::fs::remove_file(file.path()) {
                Ok(()) => deleted += 1,
                Err(error) => warn!(%error, file = %file.path().display(), "an old account could not be deleted"),
            }
        }
    }
    Ok(deleted)
}
