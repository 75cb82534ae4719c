//! What is to be delivered: alerts of an event, its files, and files of the box that belong to no event.

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::schema::MAX_FILE;
use crate::asset::{MediaFile, MediaKind};
use crate::event::Phase;

/// Longest path of a document, in bytes.
const MAX_PATH: usize = 200;

/// Something to be delivered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// A message that reports the event as it is now; goes to every destination of alerts.
    Alert(Phase),
    /// A file of the event's folder; goes to every upload, an `event.json` also to the lake. A file that
    /// still waits there is replaced, so that only its latest state is delivered.
    Upload(MediaFile),
    /// A file that belongs to no event; see [`super::Outboxes::deliver`].
    Document(Document),
}

impl Delivery {
    /// The size of what is sent, in bytes; 0 for an alert and where nothing is sent.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Upload(MediaFile { bytes, .. })
            | Self::Document(Document { bytes, task: DocumentTask::Send, .. }) => *bytes,
            Self::Alert(_) | Self::Document(_) => 0,
        }
    }

    /// Whether it belongs to no event.
    pub(super) fn is_document(&self) -> bool {
        matches!(self, Self::Document(_))
    }

    /// Whether it goes before all else: documents but for originals of the photo library and files of
    /// executions, which may be large.
    pub(super) fn goes_first(&self) -> bool {
        matches!(self, Self::Document(document) if !matches!(document.kind, MediaKind::Original | MediaKind::ExecutionFile))
    }

    /// Whether the index takes it.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let longest = match self {
            Self::Alert(_) => 0,
            Self::Upload(media) => media.file.len().max(media.sha256.len()),
            Self::Document(document) => {
                document.check()?;
                document.sha256.len()
            }
        };
        if longest > MAX_FILE {
            return Err(StoreError::TooLarge { what: "the name or hash of a file", bytes: longest, limit: MAX_FILE });
        }
        Ok(())
    }
}

/// A file of the box that belongs to no event. Its JSON has no kind: that is given by the path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Document {
    /// Below the storage folder, and in the cloud below `<prefix>/<device>/`: `coverage/yard/2026-11-22.json`.
    pub path: String,
    /// What it is.
    pub kind: MediaKind,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 of the content, lower-case hex; empty for a removal.
    pub sha256: String,
    /// What is to be done.
    pub task: DocumentTask,
}

/// What is to be done with a document and a destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DocumentTask {
    /// The destination gets it.
    #[default]
    Send,
    /// The destination removes it.
    Remove,
    /// It is removed here, once the destination says that it has it.
    Release,
    /// It is brought back from the destination.
    Fetch,
}

/// A document as it is written.
#[derive(Serialize, Deserialize)]
struct Written {
    path: String,
    bytes: u64,
    sha256: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    removed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    task: Option<DocumentTask>,
}

impl From<Written> for Document {
    fn from(Written { path, bytes, sha256, removed, task }: Written) -> Self {
        let task = task.unwrap_or(if removed { DocumentTask::Remove } else { DocumentTask::Send });
        Self { kind: MediaKind::of_document(&path), path, bytes, sha256, task }
    }
}

impl From<Document> for Written {
    fn from(Document { path, bytes, sha256, task, .. }: Document) -> Self {
        let is_here = matches!(task, DocumentTask::Release | DocumentTask::Fetch);
        Self { path, bytes, sha256, removed: task == DocumentTask::Remove, task: is_here.then_some(task) }
    }
}

impl Document {
    /// The document at `path`, of `bytes` with the hash `sha256` (lower-case hex).
    pub fn new(path: impl Into<String>, bytes: u64, sha256: impl Into<String>) -> Self {
        let (path, sha256) = (path.into(), sha256.into());
        Self { kind: MediaKind::of_document(&path), path, bytes, sha256, task: DocumentTask::Send }
    }

    /// What was at `path` is to be removed wherever it was delivered.
    pub fn removal(path: impl Into<String>) -> Self {
        Self { task: DocumentTask::Remove, ..Self::new(path, 0, String::new()) }
    }

    /// The same document with another task.
    #[must_use]
    pub fn with_task(self, task: DocumentTask) -> Self {
        Self { task, ..self }
    }

    /// The camera that it is of, where it is of one.
    pub(super) fn camera(&self) -> Option<&str> {
        self.path.split('/').nth(1).filter(|_| self.kind == MediaKind::CoverageAccount)
    }

    /// Whether its path names a file below the storage folder, and nothing else.
    fn check(&self) -> Result<(), StoreError> {
        let bytes = self.path.len();
        if bytes > MAX_PATH {
            return Err(StoreError::TooLarge { what: "the path of a document", bytes, limit: MAX_PATH });
        }
        let reason = match () {
            () if self.path.starts_with('/') => "it has to be relative to the storage folder",
            () if self.path.chars().any(char::is_control) => "it has control characters",
            () if self.path.split('/').any(str::is_empty) => "one of its components is empty",
            () if self.path.split('/').any(|part| matches!(part, "." | "..")) => "`.` and `..` are no names of files",
            () => return Ok(()),
        };
        Err(StoreError::BadPath { path: self.path.clone(), reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_are_stored_as_before_files_had_kinds() {
        let stored = [
            (r#"{"alert":"start"}"#, Delivery::Alert(Phase::Start), None),
            (
                r#"{"upload":{"file":"clip-2.mp4","bytes":5,"sha256":"aa"}}"#,
                Delivery::Upload(MediaFile::new("clip-2.mp4", 5, "aa")),
                Some(MediaKind::Clip),
            ),
            (
                r#"{"document":{"path":"coverage/yard/2026-11-22.json","bytes":6,"sha256":"bb"}}"#,
                Delivery::Document(Document::new("coverage/yard/2026-11-22.json", 6, "bb")),
                Some(MediaKind::CoverageAccount),
            ),
            (
                r#"{"document":{"path":"library/aa/bb/original.jpg","bytes":0,"sha256":"","removed":true}}"#,
                Delivery::Document(Document::removal("library/aa/bb/original.jpg")),
                Some(MediaKind::Original),
            ),
            (
                r#"{"document":{"path":"library/aa/bb/original.jpg","bytes":7,"sha256":"bb","task":"fetch"}}"#,
                Delivery::Document(Document::new("library/aa/bb/original.jpg", 7, "bb").with_task(DocumentTask::Fetch)),
                Some(MediaKind::Original),
            ),
        ];
        for (text, delivery, kind) in stored {
            assert_eq!(serde_json::to_string(&delivery).expect("write"), text);
            let read: Delivery = serde_json::from_str(text).expect("read");
            let of = match &read {
                Delivery::Alert(_) => None,
                Delivery::Upload(media) => Some(media.kind),
                Delivery::Document(document) => Some(document.kind),
            };
            assert_eq!((&read, of), (&delivery, kind));
        }
    }

    #[test]
    fn an_account_is_of_the_camera_that_its_path_names() {
        assert_eq!(Document::new("coverage/yard/2026-11-22.json", 6, "bb").camera(), Some("yard"));
        assert_eq!(Document::new("lake/events/date=2026-11-22/1_2.parquet", 6, "bb").camera(), None);
    }
}
