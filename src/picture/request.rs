//! What the process that reads pictures is asked, and what it answers: JSON, one line each.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Thumbnail;
use crate::photo::PictureFacts;

/// A file to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Where it lies.
    pub path: PathBuf,
    /// Its name as its sender gave it.
    pub name: String,
    /// Where thumbnails are to be written; nowhere where it is none.
    pub folder: Option<PathBuf>,
    /// Whether a copy without what the file says of itself is written there too.
    #[serde(default)]
    pub stripped: bool,
    /// Whether its pixels alone are wanted: a file [`PIXELS`](super::PIXELS) in the folder, and nothing else.
    #[serde(default)]
    pub pixels: bool,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inspected {
    /// What the file says of itself.
    pub facts: PictureFacts,
    /// Thumbnails that were written.
    pub thumbnails: Vec<Thumbnail>,
    /// Why there is no copy of a video without what it says of itself, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unstripped: Option<String>,
    /// Width and height of the pixels that were written, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixels: Option<(u32, u32)>,
}

/// One line of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// It was looked at.
    Inspected(Box<Inspected>),
    /// It is neither a picture nor a video.
    NotAPicture,
    /// It cannot be read from the disk.
    Disk(String),
}
