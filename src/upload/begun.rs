//! Uploads in parts that were begun and have not come to an end: parts left behind cost money.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use object_store::path::Path;
use serde::{Deserialize, Serialize};
use tracing::{debug, info, warn};

use super::destination::Destination;
use super::transfer::Progress;
use crate::durable;
use crate::store::Outbox;
use crate::volume_folder::VolumeFolder;

/// The folder below the storage folder.
const FOLDER: &str = "uploads";

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Upload {
    key: String,
    /// The item of the outbox that it is for.
    seq: u64,
}

/// Those of one destination, by the id that the service gave them; kept in a file.
#[derive(Clone, Debug)]
pub(super) struct Begun {
    storage: VolumeFolder,
    file: PathBuf,
    known: Arc<Mutex<BTreeMap<String, Upload>>>,
}

impl Begun {
    /// Reads what was kept of destination `name` below `storage`. Blocks on the disk.
    pub(super) fn open(storage: &std::path::Path, name: &str) -> Self {
        let file = storage.join(FOLDER).join(format!("{name}.begun.json"));
        let read = std::fs::read(&file).ok();
        let known = read.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default();
        Self { storage: VolumeFolder::new(storage), file, known: Arc::new(Mutex::new(known)) }
    }

    pub(super) async fn began(&self, upload: &str, key: &str, seq: u64) {
        let begun = Upload { key: key.to_owned(), seq };
        self.change(|known| drop(known.insert(upload.to_owned(), begun))).await;
    }

    pub(super) async fn ended(&self, upload: &str) {
        self.change(|known| drop(known.remove(upload))).await;
    }

    async fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Upload>)) {
        let json = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut known);
            serde_json::to_vec(&*known)
        };
        let (file, storage, Ok(json)) = (self.file.clone(), self.storage.clone(), json) else { return };
        let write = move || {
            if let Err(error) =
                storage.folder(std::path::Path::new(FOLDER)).and_then(|_| durable::replace(&file, &json))
            {
                warn!(file = %file.display(), %error, "an upload that has begun cannot be noted");
            }
        };
        // Only a panic of the closure fails.
        let _ = tokio::task::spawn_blocking(write).await;
    }

    /// Makes the destination forget those whose files are no longer to be sent. Nothing must be on its way.
    pub(super) async fn tidy(&self, destination: &Destination, outbox: &Outbox) {
        let Some(parts) = &destination.parts else { return };
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (id, Upload { key, seq }) in known {
            match outbox.progress(seq).await {
                Ok(note) if Progress::read(note.as_deref()).is_none_or(|progress| progress.upload != id) => {}
                _ => continue,
            }
            match parts.0.abort_multipart(&Path::from(key.as_str()), &id).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {
                    info!(key, "parts that are not needed any more were removed");
                    self.ended(&id).await;
                }
                Err(error) => debug!(key, %error, "parts that are not needed any more could not be removed yet"),
            }
        }
    }
}
