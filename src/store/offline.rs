//! The index of a daemon that does not run: looking at a copy of it, and setting it aside.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::StoreError;
use super::error::disk;
use super::reset::{self, index_path};

/// A copy of an index, in the form of a storage folder of its own, for commands that only look: opening an
/// index writes to it, and one that is damaged would be set aside. Goes away with this value.
#[derive(Debug)]
pub struct IndexCopy {
    folder: PathBuf,
}

impl IndexCopy {
    /// Copies the index in `path`, beside it.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while a daemon runs on it; else when there is no index, or no room for the copy.
    pub fn new(path: &Path) -> Result<Self, StoreError> {
        let index = index_path(path);
        let _lock = lock(&index)?;
        let folder = path.join("index.copy");
        // What a killed command left.
        remove(&folder)?;
        let copy = Self { folder };
        let target = index_path(&copy.folder);
        copy_folder(&index, &target)?;
        Ok(copy)
    }

    /// The folder to open a store in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for IndexCopy {
    fn drop(&mut self) {
        let _ = remove(&self.folder);
    }
}

/// Sets the index in `path` aside, so that the next open makes a new one. Returns whether there was one.
///
/// # Errors
/// [`StoreError::InUse`] while a daemon runs on it; else when the folder cannot be changed.
pub fn set_index_aside(path: &Path, reason: &str) -> Result<bool, StoreError> {
    // Held until the folder has its new name; sled's lock lies on the file, not on the name.
    let _lock = if index_path(path).join("db").exists() { Some(lock(&index_path(path))?) } else { None };
    reset::set_aside(path, reason)
}

/// Takes sled's lock, as long as the file is held.
fn lock(index: &Path) -> Result<File, StoreError> {
    let data = index.join("db");
    let file = File::open(&data).map_err(disk("open", &data))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| StoreError::InUse(index.display().to_string().into()))?;
    Ok(file)
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(to).map_err(disk("create", to))?;
    for entry in fs::read_dir(from).map_err(disk("read", from))? {
        let entry = entry.map_err(disk("read", from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().map_err(disk("read", &source))?.is_dir() {
            copy_folder(&source, &target)?;
        } else {
            fs::copy(&source, &target).map_err(disk("copy", &source))?;
        }
    }
    Ok(())
}

fn remove(folder: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(disk("remove", folder)(error)),
        _ => Ok(()),
    }
}
