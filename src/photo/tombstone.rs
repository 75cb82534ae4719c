//! What is left of a photo that was deleted.

use serde::{Deserialize, Serialize};

use super::{Photo, PhotoId, SCHEMA_VERSION};
use crate::clock::Moment;

/// Written in place of a photo's sidecar, so that no copy of it brings the photo back. It says nothing of the photo but
/// which content it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Version of the written form.
    pub version: u32,
    /// The photo that was deleted.
    pub id: PhotoId,
    /// SHA-256 of its original, lower-case hex.
    pub sha256: String,
    /// Name of the original in its folder.
    pub file: String,
    /// When it was deleted.
    pub deleted: Moment,
}

impl Tombstone {
    /// Of a photo that is deleted now.
    pub fn of(photo: &Photo, now: Moment) -> Self {
        let (sha256, file) = (photo.sha256.clone(), photo.file.clone());
        Self { version: SCHEMA_VERSION, id: photo.id, sha256, file, deleted: now }
    }
}
