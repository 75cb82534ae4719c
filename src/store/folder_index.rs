//! The index of files in watched folders: what a commit does to it, and how it is read.

use std::ffi::OsStr;
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::StoreError;
use super::commit::Group;
use super::schema::{decode, encode};
use super::trees::Database;
use crate::photo::FolderFile;

/// What is known of a file.
pub(super) fn get(db: &Database, path: &Path) -> Result<Option<FolderFile>, StoreError> {
    db.folder_files.get(path.as_os_str().as_bytes())?.map(|row| decode(&row)).transpose()
}

/// Up to `limit` files below `folder`, by path, behind `after`.
pub(super) fn below(
    db: &Database,
    folder: &Path,
    after: Option<&Path>,
    limit: usize,
) -> Result<Vec<(PathBuf, FolderFile)>, StoreError> {
    let mut prefix = folder.as_os_str().as_bytes().to_vec();
    if !prefix.ends_with(b"/") {
        prefix.push(b'/');
    }
    let from = match after {
        Some(path) => Bound::Excluded(path.as_os_str().as_bytes().to_vec()),
        None => Bound::Included(prefix.clone()),
    };
    let mut found = Vec::new();
    for entry in db.folder_files.range((from, Bound::Unbounded)) {
        let (key, row) = entry?;
        if !key.starts_with(&prefix) || found.len() == limit {
            break;
        }
        found.push((PathBuf::from(OsStr::from_bytes(&key)), decode(&row)?));
    }
    Ok(found)
}

impl Group<'_> {
    pub(super) fn note_folder_files(&self, files: &[(PathBuf, Option<FolderFile>)]) -> Result<(), StoreError> {
        for (path, known) in files {
            let key = path.as_os_str().as_bytes();
            match known {
                Some(known) => drop(self.views.folder_files.insert(key, encode(known)?)?),
                None => drop(self.views.folder_files.remove(key)?),
            }
        }
        Ok(())
    }
}
