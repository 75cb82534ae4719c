//! Which configuration is in use, and what became of the last reload.

use jiff::Timestamp;
use serde::Serialize;

/// Which configuration is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfigState {
    /// The one in the file, as it was read last.
    #[default]
    InUse,
    /// The one in the file; it is undone unless the cameras and destinations that it changed come up.
    Confirming,
    /// The one before: the file was read again, and cannot be used.
    Refused,
    /// The one before: the one in the file was used, and undone.
    RolledBack,
    /// The last one that was good: at the start the file could not be used.
    LastGood,
}

/// One thing that is wrong with the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConfigProblem {
    /// Line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Column in characters, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The key or section, with dots; empty where it is the whole file.
    pub key: String,
    /// What is wrong and what to do, in words.
    pub message: String,
}

/// The configuration of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConfigStatus {
    /// Which one is in use.
    pub state: ConfigState,
    /// The file; absent where the configuration is in none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// When the one in use was read.
    pub read_at: Timestamp,
    /// When the file was read for the last time, whatever came of it.
    pub tried_at: Timestamp,
    /// What the last reload was about: `camera yard`, `upload/cloud`, `mqtt`.
    pub changed: Vec<String>,
    /// Keys whose value in the file holds from the next start on.
    pub needs_restart: Vec<String>,
    /// Why the file is not in use, or what was not seen to work, in words for the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is wrong with the file.
    pub problems: Vec<ConfigProblem>,
}
