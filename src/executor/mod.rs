//! Executions on one volume: taken in durably, begun, finished once, kept for a while, removed.
//!
//! # On disk
//! | path below the storage folder | what |
//! |---|---|
//! | `executions/<id>/execution.json` | the execution: what it was given, how far it is, what came of it |
//! | `executions/<id>/input-<name>.<ext>` | a picture that it was given |
//! | `executions/<id>/<output>.<ext>` | a picture that it made |
//! | `executions/incoming/<id>/` | one that is being taken in; moved to its place when it is whole |
//!
//! # Order of durability
//! An execution is written beside its place, then recorded, then its folder gets its place; it is acknowledged after that. What its steps do to the world is done
//! in a way that may be done twice; then the files that it made are written, then `execution.json`, then the index together
//! with what is to be delivered. A stop in between runs its steps again, and leaves one result.

mod config;
mod finish;
mod intake;
mod key;
mod layout;
mod post;
mod recover;
mod removal;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use anyhow::Context;

use crate::archive::{Archive, RecordingLevel};
use crate::execution::{Execution, ExecutionId};
use crate::store::StoreError;

pub use config::Config;
pub use finish::{Finished, MadeFile};
pub use intake::{Accepted, GivenFile, NewExecution, Scratch};
pub use key::Sent;
pub use recover::recover;

/// Why an execution is not taken in, or not changed.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// The volume of the archive is away.
    #[error("the volume of the archive is away: executions are taken in again when it is back")]
    Away,
    /// The volume has too little room.
    #[error("the volume has too little room: nothing is taken in until there is more")]
    Full,
    /// Together they have as many bytes as they may.
    #[error(
        "executions have {bytes} bytes that wait or are not delivered yet, and executions.max_bytes is {most}: send it again \
         when some are done"
    )]
    NoRoom {
        /// How many they would have.
        bytes: u64,
        /// How many they may.
        most: u64,
    },
    /// Too many wait.
    #[error("{waiting} executions wait already, and executions.max_waiting is {most}: try again when some are done")]
    TooMany {
        /// How many wait.
        waiting: u64,
        /// How many may.
        most: u64,
    },
    /// One user has as many waiting as one may.
    #[error(
        "{waiting} executions of {owner} wait already, half of executions.max_waiting: try again when some are done"
    )]
    TooManyOfOne {
        /// Whose.
        owner: Arc<str>,
        /// How many wait.
        waiting: u64,
    },
    /// Too many pictures are being taken in.
    #[error("the box is taking in as many pictures as it can at once: try again in a few seconds")]
    Busy,
    /// The index does not know yet what lies on the disk.
    #[error("the index is being filled after a start: what has an Idempotency-Key is taken in again in a moment")]
    Filling,
    /// The key that it came under belongs to another one.
    #[error("this Idempotency-Key came with another execution before: use a new one")]
    KeyReused,
    /// There is no such execution.
    #[error("there is no execution with this id on this box")]
    Unknown,
    /// It is not in a state in which this can be done.
    #[error("{0}")]
    Refused(String),
    /// The index or the disk fails.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

impl From<StoreError> for ExecutorError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full(_) => Self::Full,
            other => Self::Failed(other.into()),
        }
    }
}

/// The executions on the volume of one archive. Cheap to clone.
#[derive(Clone)]
pub struct ExecutionArchive {
    archive: Archive,
    layout: layout::ExecutionLayout,
    config: Arc<Config>,
}

impl ExecutionArchive {
    /// The executions beside `archive`.
    pub fn new(archive: &Archive, config: Arc<Config>) -> Self {
        let layout = layout::ExecutionLayout::new(archive.layout());
        Self { archive: archive.clone(), layout, config }
    }

    /// An execution, all of it. Blocks.
    ///
    /// # Errors
    /// [`ExecutorError::Unknown`]; else when the disk fails, or its file is damaged.
    pub fn read(&self, id: ExecutionId) -> Result<Execution, ExecutorError> {
        // One that a stop kept from its place lies beside it until the recovery comes to it.
        for folder in [self.layout.folder(id), self.layout.beside(id)] {
            let path = folder.join(crate::asset::EXECUTION_SIDECAR);
            match std::fs::read(&path) {
                Ok(text) => return Ok(layout::checked(&text, id).with_context(|| format!("read {}", path.display()))?),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => Err(error).with_context(|| format!("read {}", path.display()))?,
            }
        }
        Err(ExecutorError::Unknown)
    }

    /// Where a file of an execution lies; `None` for a name that is none of its files'.
    pub fn file(&self, execution: &Execution, name: &str) -> Option<std::path::PathBuf> {
        let mut files = execution.inputs.values().chain(&execution.files);
        let file = files.find(|file| file.file.file == name)?;
        Some(self.layout.folder(execution.id).join(&file.file.file))
    }

    /// Whether the volume is there and has room.
    fn check_room(&self) -> Result<(), ExecutorError> {
        if self.archive.at_most != RecordingLevel::Full {
            return Err(ExecutorError::Away);
        }
        if self.archive.level() != RecordingLevel::Full {
            return Err(ExecutorError::Full);
        }
        Ok(())
    }
}
