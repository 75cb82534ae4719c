//! What is known of files in watched folders.

use serde::{Deserialize, Serialize};

use super::PhotoId;

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileOutcome {
    /// It is a photo of the library.
    Kept,
    /// It is neither a picture nor a video.
    NotAPicture,
    /// It was deleted from the library for good.
    Deleted,
    /// It is not taken in as it is: too large, or empty.
    Refused,
    /// Its owner had no room for it.
    OverQuota,
}

/// A file as it was when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderFile {
    /// Its size.
    pub bytes: u64,
    /// When it was changed last by the clock of its file system, nanoseconds since 1970.
    pub modified_ns: i64,
    /// What became of it.
    pub outcome: FileOutcome,
    /// The photo that it became.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub photo: Option<PhotoId>,
}
