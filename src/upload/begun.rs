//! Uploads in parts that were begun and have not come to an end: parts left behind cost money.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::path::Path;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tracing::{debug, info, warn};

use super::remote::Remote;
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
    /// Held while the file is written: two writers at once would take each other's temporary file away.
    writing: Arc<Mutex<()>>,
}

impl Begun {
    /// Reads what was kept of destination `name` below `storage`. Blocks on the disk.
    pub(super) fn open(storage: &std::path::Path, name: &str) -> Self {
        let file = storage.join(FOLDER).join(format!("{name}.begun.json"));
        let read = std::fs::read(&file).ok();
        let known = read.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default();
        Self { storage: VolumeFolder::new(storage), file, known: Arc::new(Mutex::new(known)), writing: Arc::default() }
    }

    pub(super) async fn began(&self, upload: &str, key: &str, seq: u64) {
        let begun = Upload { key: key.to_owned(), seq };
        self.change(|known| drop(known.insert(upload.to_owned(), begun))).await;
    }

    pub(super) async fn ended(&self, upload: &str) {
        self.change(|known| drop(known.remove(upload))).await;
    }

    async fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Upload>)) {
        change(&mut self.known.lock());
        let begun = self.clone();
        // Only a panic of the closure fails.
        let _ = tokio::task::spawn_blocking(move || begun.write()).await;
    }

    /// Writes what is known by now. Blocks on the disk.
    fn write(&self) {
        let _writing = self.writing.lock();
        let json = serde_json::to_vec(&*self.known.lock());
        let Ok(json) = json else { return };
        let folder = self.storage.folder(std::path::Path::new(FOLDER));
        if let Err(error) = folder.and_then(|_| durable::replace(&self.file, &json)) {
            warn!(file = %self.file.display(), %error, "an upload that has begun cannot be noted");
        }
    }

    /// Makes the destination forget those whose files are no longer to be sent. Nothing must be on its way.
    pub(super) async fn tidy(&self, destination: &Remote, outbox: &Outbox) {
        let Some(parts) = &destination.parts else { return };
        let known = self.known.lock().clone();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn uploads_that_begin_and_end_at_once_are_all_noted() {
        let dir = tempfile::tempdir().expect("temporary folder");
        std::fs::write(dir.path().join("device-id"), "").expect("write");
        let begun = Begun::open(dir.path(), "cloud");
        let upload = |n: u64| {
            let (begun, storage) = (begun.clone(), dir.path().to_owned());
            async move {
                begun.began(&format!("id-{n}"), "key", n).await;
                // What has returned is on the disk, whatever the others do.
                let noted = Begun::open(&storage, "cloud");
                assert!(noted.known.lock().contains_key(&format!("id-{n}")), "{n}");
                if n % 2 == 1 {
                    begun.ended(&format!("id-{n}")).await;
                }
            }
        };
        let tasks: Vec<_> = (0..64).map(|n| tokio::spawn(upload(n))).collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        assert_eq!(Begun::open(dir.path(), "cloud").known.lock().len(), 32);
    }
}
