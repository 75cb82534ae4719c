//! The volume that the archive lies on: its identity and its space.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::sidecar::{set_aside, write_durable};

const IDENTITY: &str = "volume.json";

/// What `volume.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Version of this file.
    pub version: u32,
    /// Random identity, made when the volume was first used.
    pub id: String,
}

/// Size and free space of a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Whole size.
    pub size_bytes: u64,
    /// What an unprivileged process may still use.
    pub free_bytes: u64,
}

/// Opens the storage folder, making it and its identity at first use.
///
/// # Errors
/// When the folder cannot be made, written or understood.
pub fn open(storage_path: &Path) -> Result<Volume> {
    fs::create_dir_all(storage_path).with_context(|| {
        format!(
            "create storage.path {}: make it, or let the user that Outpost runs as write there",
            storage_path.display()
        )
    })?;
    let path = storage_path.join(IDENTITY);
    match fs::read(&path) {
        Ok(text) => {
            if let Ok(volume) = serde_json::from_slice(&text) {
                return Ok(volume);
            }
            // An identity is no reason to leave the recordings on this volume alone.
            warn!(file = %path.display(), "the volume's identity is damaged, it gets a new one");
            set_aside(storage_path, IDENTITY)?;
        }
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(e).with_context(|| format!("read {}", path.display())),
    }
    let volume = Volume { version: 1, id: format!("{:032x}", fastrand::u128(..)) };
    write_durable(storage_path, IDENTITY, &serde_json::to_vec_pretty(&volume)?)?;
    Ok(volume)
}

/// Asks the file system that holds `path` for its space.
///
/// # Errors
/// When the path is gone or the file system does not answer.
pub fn space(path: &Path) -> Result<Space> {
    let stat = rustix::fs::statvfs(path).with_context(|| format!("ask for free space at {}", path.display()))?;
    Ok(Space {
        size_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_keeps_its_identity() {
        let dir = tempfile::tempdir().expect("tempdir");
        let first = open(&dir.path().join("new")).expect("create");
        assert_eq!(open(&dir.path().join("new")).expect("open"), first);
    }

    #[test]
    fn a_damaged_identity_is_set_aside() {
        let dir = tempfile::tempdir().expect("tempdir");
        open(dir.path()).expect("create");
        fs::write(dir.path().join(IDENTITY), b"{\"version\": 1, \xff").expect("damage");
        let second = open(dir.path()).expect("open");
        assert_eq!(open(dir.path()).expect("open again"), second);
        assert!(dir.path().join("volume.json.bad").exists());
    }

    #[test]
    fn space_is_plausible_and_a_missing_path_is_named() {
        let space_here = space(Path::new("/")).expect("statvfs");
        assert!(space_here.size_bytes >= space_here.free_bytes && space_here.size_bytes > 0);
        assert!(format!("{:#}", space(Path::new("/no/such")).expect_err("missing")).contains("/no/such"));
    }
}
