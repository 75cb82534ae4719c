//! Index and archive that are in use.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::archive::Archive;
use crate::store::Store;

/// Index and archive that are in use; replaced when recording moves to another volume. All clones are one.
#[derive(Clone)]
pub struct CurrentVolume(Arc<RwLock<(Archive, Store)>>);

impl CurrentVolume {
    /// What is in use at the start.
    pub fn new(archive: &Archive, store: &Store) -> Self {
        Self(Arc::new(RwLock::new((archive.clone(), store.clone()))))
    }

    /// Makes these the ones in use.
    pub fn set(&self, archive: &Archive, store: &Store) {
        *self.0.write() = (archive.clone(), store.clone());
    }

    /// The archive in use.
    pub fn archive(&self) -> Archive {
        self.0.read().0.clone()
    }

    /// The index in use.
    pub fn store(&self) -> Store {
        self.0.read().1.clone()
    }
}
