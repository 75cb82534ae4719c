//! One import: what was asked for, how far it is, and what became of each file. Kept as `imports/<id>.json`.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::asset::AssetId;
use crate::clock::Moment;

/// Identity of an import; from the same source as those of events.
pub type ImportId = AssetId;

/// Version of the written form.
pub(super) const VERSION: u32 = 1;
/// Files that are named because they were refused.
const MOST_NAMED: usize = 200;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewImport {
    /// The folder.
    pub path: PathBuf,
    /// The user whose photos its files become.
    pub owner: Arc<str>,
    /// Whether their owner alone sees them.
    pub private: bool,
    /// Tags that they get.
    pub tags: Vec<String>,
}

/// Where an import stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportState {
    /// Others come first, or the library takes nothing in at present.
    Waiting,
    /// Its files are counted and taken in.
    Running,
    /// All files were looked at.
    Done,
    /// It came to an end before that; `error` says why.
    Failed,
    /// A person ended it.
    Cancelled,
}

/// A file that was not taken in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedFile {
    /// Where it lies in the folder.
    pub file: String,
    /// Why: one sentence.
    pub reason: String,
}

/// What became of the files of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImportReport {
    /// New photos.
    pub added: u64,
    /// Bytes of these.
    pub added_bytes: u64,
    /// Files whose content the user had already.
    pub known: u64,
    /// Files whose content the user deleted for good before.
    pub deleted: u64,
    /// Files that are neither pictures nor videos.
    pub other: u64,
    /// Files that could not be taken in.
    pub refused: u64,
    /// The first of these.
    pub refused_files: Vec<RefusedFile>,
}

impl ImportReport {
    pub(super) fn refuse(&mut self, file: RefusedFile) {
        self.refused += 1;
        if self.refused_files.len() < MOST_NAMED {
            self.refused_files.push(file);
        }
    }
}

/// An import.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Import {
    /// Version of the writer.
    pub version: u32,
    /// Identity.
    pub id: ImportId,
    /// The folder.
    pub path: PathBuf,
    /// The user whose photos its files become.
    pub owner: Arc<str>,
    /// Whether their owner alone sees them.
    pub private: bool,
    /// Tags that they get.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// When it was asked for.
    pub asked: Moment,
    /// Where it stands.
    pub state: ImportState,
    /// Files in the folder.
    #[serde(default)]
    pub files: u64,
    /// Their size.
    #[serde(default)]
    pub bytes: u64,
    /// Files that were looked at.
    #[serde(default)]
    pub looked_at: u64,
    /// Bytes of these.
    #[serde(default)]
    pub looked_at_bytes: u64,
    /// What became of them.
    pub report: ImportReport,
    /// When it came to an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Moment>,
    /// Why it failed, or waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How often it was begun: more than once where the box stopped in the middle of it.
    #[serde(default)]
    pub tries: u32,
}

impl Import {
    pub(super) fn new(id: ImportId, new: NewImport, asked: Moment) -> Self {
        let NewImport { path, owner, private, tags } = new;
        Self {
            version: VERSION,
            id,
            path,
            owner,
            private,
            tags,
            asked,
            state: ImportState::Waiting,
            files: 0,
            bytes: 0,
            looked_at: 0,
            looked_at_bytes: 0,
            report: ImportReport::default(),
            finished: None,
            error: None,
            tries: 0,
        }
    }

    /// Whether it is still to come to its end.
    pub fn is_pending(&self) -> bool {
        matches!(self.state, ImportState::Waiting | ImportState::Running)
    }

    pub(super) fn finish(&mut self, state: ImportState, error: Option<String>, now: Moment) {
        (self.state, self.error, self.finished) = (state, error, Some(now));
    }
}
