//! Where the files of executions lie.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::ExecutorError;
use crate::archive::Layout;
use crate::asset::EXECUTIONS;
use crate::execution::{Execution, ExecutionId, SCHEMA_VERSION};

/// Folder of what is being taken in, in that of the executions.
const INCOMING: &str = "incoming";

/// Where the executions of one volume lie.
#[derive(Clone, Debug)]
pub(super) struct ExecutionLayout {
    volume: Layout,
}

impl ExecutionLayout {
    pub(super) fn new(volume: &Layout) -> Self {
        Self { volume: volume.clone() }
    }

    /// The folder of all.
    pub(super) fn root(&self) -> PathBuf {
        self.volume.storage().join(EXECUTIONS)
    }

    /// The folder of one.
    pub(super) fn folder(&self, id: ExecutionId) -> PathBuf {
        self.root().join(id.to_string())
    }

    /// The folder of what is being taken in.
    pub(super) fn incoming(&self) -> PathBuf {
        self.root().join(INCOMING)
    }

    /// Where one lies before it has its place, and after it has lost it.
    pub(super) fn beside(&self, id: ExecutionId) -> PathBuf {
        self.incoming().join(id.to_string())
    }

    /// Makes a folder, durably, and only on the volume that lay there at first.
    ///
    /// # Errors
    /// When the volume is away or the file system refuses.
    pub(super) fn create(&self, folder: &Path) -> Result<PathBuf> {
        self.volume.create(folder)
    }
}

/// The path of a file below the storage folder.
pub(super) fn document_path(id: ExecutionId, name: &str) -> String {
    format!("{EXECUTIONS}/{id}/{name}")
}

/// Writes a new file, and waits until it lies on the disk.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().with_context(|| format!("write {}", path.display()))
}

/// An execution as it is written.
pub(super) fn written(execution: &Execution) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(execution).context("encode an execution")?;
    text.push(b'\n');
    Ok(text)
}

/// The execution that `text` says, if it belongs into the folder of `id`.
pub(super) fn checked(text: &[u8], id: ExecutionId) -> Result<Execution> {
    let execution: Execution = serde_json::from_slice(text)?;
    ensure!(execution.version <= SCHEMA_VERSION, "it was written by a later version");
    ensure!(execution.id == id, "it does not agree with its place");
    let mut names = execution.inputs.values().chain(&execution.files).map(|file| &file.file.file);
    let is_plain = |name: &str| !name.starts_with('.') && !name.contains('/') && !name.is_empty();
    ensure!(names.all(|name| is_plain(name)), "it names files of other folders");
    Ok(execution)
}

/// Removes a folder with all that lies in it, where there is one.
pub(super) fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// What a failure to write means to who sends an execution.
pub(super) fn unwritten(failure: anyhow::Error) -> ExecutorError {
    match failure.downcast_ref::<std::io::Error>() {
        Some(error) if error.kind() == std::io::ErrorKind::StorageFull => ExecutorError::Full,
        _ => ExecutorError::Failed(failure),
    }
}
