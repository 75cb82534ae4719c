//! Hashes of what photos look like, in memory.

use std::path::PathBuf;
use std::sync::Arc;

use crate::photo::PhotoId;

/// Hashes of photos.
#[derive(Debug, Default)]
pub(super) struct Hashes {
    /// All photos up to this one were read.
    pub(super) after: Option<PhotoId>,
    /// The storage folder of the index that they were read of.
    pub(super) storage: PathBuf,
    /// Those of photos that have one.
    pub(super) known: Vec<(PhotoId, u64)>,
}

/// One for all that ask.
pub(super) type SharedHashes = Arc<tokio::sync::Mutex<Hashes>>;
