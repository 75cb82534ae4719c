//! How a watched folder is.

use std::collections::VecDeque;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use super::import::RefusedFile;

/// Files that were refused last and are named.
const MOST_NAMED: usize = 20;

/// What is done with a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FolderState {
    /// It is looked through.
    Reading,
    /// Changes are waited for.
    Watching,
    /// It cannot be read.
    Unreadable,
    /// Its files are not taken in at present.
    Paused,
}

/// A watched folder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FolderStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Where it lies.
    pub path: PathBuf,
    /// The user whose photos its files become.
    pub owner: String,
    /// What is done with it.
    pub state: FolderState,
    /// Why, and what to do, where something is wrong: one sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether changes are noticed as they happen; else when the folder is looked through again.
    pub immediate: bool,
    /// Files in it, when it was last looked through.
    pub files: u64,
    /// Files that became photos since the daemon's start.
    pub added: u64,
    /// Files that may still be being written.
    pub waiting: u64,
    /// When it was last looked through, by the wall clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looked_through: Option<Timestamp>,
    /// The files that were refused last.
    pub refused: VecDeque<RefusedFile>,
}

impl FolderStatus {
    /// Of a folder that was not looked at yet.
    pub(in crate::service) fn new(name: &str, path: PathBuf, owner: &str) -> Self {
        Self {
            name: name.to_owned(),
            path,
            owner: owner.to_owned(),
            state: FolderState::Reading,
            error: None,
            immediate: false,
            files: 0,
            added: 0,
            waiting: 0,
            looked_through: None,
            refused: VecDeque::new(),
        }
    }

    /// Names a file that was refused.
    pub(super) fn refuse(&mut self, file: RefusedFile) {
        self.refused.retain(|known| known.file != file.file);
        self.refused.push_back(file);
        if self.refused.len() > MOST_NAMED {
            self.refused.pop_front();
        }
    }
}
