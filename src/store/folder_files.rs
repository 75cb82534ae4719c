//! Files in watched folders that were looked at, so that a file which is as it was is not read again.
//!
//! Only a memory of what was done: without it all files are read once more, and are found to be known.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::StoreError;
use super::folder_index;
use super::op::Op;
use super::read::Read;
use super::worker::Core;
use crate::photo::FolderFile;

/// The files of watched folders. Clones share one index.
#[derive(Clone, Debug)]
pub struct FolderFiles(Arc<Core>);

impl FolderFiles {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        Self(core.clone())
    }

    /// What is known of a file.
    pub fn get(&self, path: &Path) -> Read<Option<FolderFile>> {
        let path = path.to_owned();
        Read::new(&self.0, move |db| folder_index::get(db, &path))
    }

    /// Notes what became of files; forgets those of which nothing is known.
    ///
    /// # Errors
    /// When the disk is full or the store is out of service.
    pub async fn note(&self, files: Vec<(PathBuf, Option<FolderFile>)>) -> Result<(), StoreError> {
        self.0.write_async(Op::FolderFiles(files)).await
    }

    /// Up to `limit` files below `folder`, by path, behind `after`.
    pub fn below(&self, folder: &Path, after: Option<PathBuf>, limit: usize) -> Read<Vec<(PathBuf, FolderFile)>> {
        let folder = folder.to_owned();
        Read::new(&self.0, move |db| folder_index::below(db, &folder, after.as_deref(), limit))
    }
}
