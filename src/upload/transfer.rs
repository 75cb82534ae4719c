//! One file: check, send, verify.

use std::fs::File;
use std::future::Future;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracing::{debug, warn};

use super::destination::{Destination, Parts};
use super::key;
use super::link::{Failure, sort};
use crate::store::{Delivery, Document, Lease, Outbox};
use crate::supervise::Heart;

const MIB: u64 = 1024 * 1024;
/// Where the folders of events lie, below the storage folder.
const ARCHIVE: &str = "archive";
/// Files up to this size are sent in one piece.
const SINGLE: u64 = 8 * MIB;
/// Size of a part; services take no smaller ones.
const PART: u64 = 5 * MIB;
/// Most parts of one file, so that the list of those that arrived fits beside the item in the outbox.
const MAX_PARTS: u64 = 48;
/// What an exchange may take besides its data.
const PATIENCE: Duration = Duration::from_secs(30);
/// The slowest link that is waited for, in bytes a second (128 kbit/s).
const SLOWEST: u64 = 16 * 1024;

/// One lease on its way.
pub(super) struct Transfer<'a> {
    pub destination: &'a Destination,
    pub outbox: &'a Outbox,
    pub lease: &'a Lease,
    /// The folder of everything that the box keeps.
    pub storage: &'a FilePath,
    pub device: &'a str,
    pub heart: &'a Heart,
}

/// A file as it was queued.
struct Queued<'a> {
    source: PathBuf,
    key: Path,
    bytes: u64,
    sha256: &'a str,
}

/// An upload in parts that has begun. Kept in the outbox, so that it goes on after a restart.
#[derive(Debug, Serialize, Deserialize)]
struct Progress {
    upload: String,
    part_bytes: u64,
    /// What the service calls the parts that arrived, in order from the first.
    parts: Vec<String>,
}

impl Transfer<'_> {
    /// Returns once the destination holds the file.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let Some(Queued { source, key, bytes, sha256 }) = self.queued() else {
            return Err(Failure::Item("not a file".to_owned()));
        };
        let content = check_local(&source, bytes, sha256).await?;
        self.destination.check()?;
        match (content, &self.destination.parts) {
            (Some(content), _) => self.put(&key, content).await?,
            (None, Some(parts)) => self.put_parts(parts, &key, &source, bytes).await?,
            (None, None) => self.put_stream(&key, &source, bytes).await?,
        }
        self.verify(&key, bytes).await?;
        self.destination.tidy(&key);
        Ok(())
    }

    /// What is to be sent, from where to where.
    fn queued(&self) -> Option<Queued<'_>> {
        let (source, key, bytes, sha256) = match (&self.lease.item, &self.lease.event) {
            (Delivery::Upload { file, bytes, sha256 }, Some(event)) => {
                let folder = self.storage.join(ARCHIVE).join(&*event.camera).join(event.id.to_string());
                (folder.join(file), key::path(self.device, event, file), *bytes, sha256)
            }
            (Delivery::Document(Document { path, bytes, sha256 }), _) => {
                (self.storage.join(path), key::document(self.device, path), *bytes, sha256)
            }
            _ => return None,
        };
        Some(Queued { source, key, bytes, sha256 })
    }

    async fn put(&self, key: &Path, content: Vec<u8>) -> Result<(), Failure> {
        let bytes = content.len() as u64;
        self.ask(bytes, self.destination.store.put(key, content.into())).await.map(|_| ())
    }

    /// Sends part by part and notes each one that arrived.
    async fn put_parts(&self, Parts(store): &Parts, key: &Path, source: &FilePath, bytes: u64) -> Result<(), Failure> {
        let noted = self.lease.progress.as_deref().and_then(|note| serde_json::from_str::<Progress>(note).ok());
        let resumed = noted.is_some();
        let mut progress = match noted {
            Some(progress) => progress,
            None => self.begin(store.as_ref(), key, bytes).await?,
        };
        let outcome = self.send_parts(store.as_ref(), key, source, bytes, &mut progress).await;
        match outcome {
            Err(Failure::Refused(reason) | Failure::Item(reason)) if resumed => {
                // Services forget uploads that lie idle for days: begin again.
                debug!(reason, "an upload that had begun could not go on, starting it again");
                self.note(None).await;
                if let Err(error) = store.abort_multipart(key, &progress.upload).await {
                    debug!(%error, "abort an upload");
                }
                let mut fresh = self.begin(store.as_ref(), key, bytes).await?;
                self.send_parts(store.as_ref(), key, source, bytes, &mut fresh).await
            }
            other => other,
        }
    }

    async fn begin(&self, store: &dyn MultipartStore, key: &Path, bytes: u64) -> Result<Progress, Failure> {
        let upload = self.ask(0, store.create_multipart(key)).await?;
        let part_bytes = bytes.div_ceil(MAX_PARTS).max(PART).next_multiple_of(MIB);
        Ok(Progress { upload, part_bytes, parts: Vec::new() })
    }

    async fn send_parts(
        &self,
        store: &dyn MultipartStore,
        key: &Path,
        source: &FilePath,
        bytes: u64,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        let size = progress.part_bytes.max(1);
        for index in progress.parts.len()..usize::try_from(bytes.div_ceil(size)).unwrap_or(usize::MAX) {
            let offset = index as u64 * size;
            let data = read_part(source, offset, size.min(bytes - offset)).await?;
            let part = store.put_part(key, &progress.upload, index, data.into());
            let part = self.ask(size, part).await?;
            progress.parts.push(part.content_id);
            self.note(Some(&*progress)).await;
        }
        let parts = progress.parts.iter().map(|id| PartId { content_id: id.clone() }).collect();
        self.ask(0, store.complete_multipart(key, &progress.upload, parts)).await.map(|_| ())
    }

    /// Keeps the progress. Without it only a restart costs more, so that a failure here fails nothing.
    async fn note(&self, progress: Option<&Progress>) {
        let note = progress.and_then(|progress| serde_json::to_string(progress).ok());
        if let Err(error) = self.outbox.save_progress(self.lease, note).await {
            warn!(%error, "the progress of an upload could not be kept");
        }
    }

    /// To a folder: in pieces, because of memory.
    async fn put_stream(&self, key: &Path, source: &FilePath, bytes: u64) -> Result<(), Failure> {
        let mut upload = self.ask(0, self.destination.store.put_multipart(key)).await?;
        let outcome = self.stream(upload.as_mut(), source, bytes).await;
        if outcome.is_err()
            && let Err(error) = upload.abort().await
        {
            debug!(%error, "abort a copy");
        }
        outcome
    }

    async fn stream(&self, upload: &mut dyn MultipartUpload, source: &FilePath, bytes: u64) -> Result<(), Failure> {
        let mut offset = 0;
        while offset < bytes {
            let data: PutPayload = read_part(source, offset, PART.min(bytes - offset)).await?.into();
            offset += data.content_length() as u64;
            self.ask(PART, upload.put_part(data)).await?;
        }
        self.ask(bytes, upload.complete()).await.map(|_| ())
    }

    /// Asks the destination what it has. It was told to keep this very file, so another answer means that
    /// it cannot be relied on for it.
    async fn verify(&self, key: &Path, bytes: u64) -> Result<(), Failure> {
        let store: &dyn ObjectStore = self.destination.store.as_ref();
        let kept = match self.heart.beating(tokio::time::timeout(PATIENCE, store.head(key))).await {
            Err(_) => return Err(too_slow(PATIENCE)),
            Ok(Err(object_store::Error::NotFound { .. })) => {
                return Err(Failure::Item("the destination took the file and does not have it".to_owned()));
            }
            Ok(answer) => answer.map_err(|error| self.sort(&error))?,
        };
        if kept.size != bytes {
            return Err(Failure::Item(format!("the destination holds {} bytes of {bytes}", kept.size)));
        }
        Ok(())
    }

    /// One exchange that carries `bytes`, with a time limit that a slow link can keep.
    async fn ask<T>(
        &self,
        bytes: u64,
        exchange: impl Future<Output = Result<T, object_store::Error>>,
    ) -> Result<T, Failure> {
        let limit = PATIENCE + Duration::from_secs(bytes / SLOWEST);
        match self.heart.beating(tokio::time::timeout(limit, exchange)).await {
            Ok(answer) => answer.map_err(|error| self.sort(&error)),
            Err(_) => Err(too_slow(limit)),
        }
    }

    fn sort(&self, error: &object_store::Error) -> Failure {
        sort(error, self.destination.folder.is_some())
    }
}

fn too_slow(limit: Duration) -> Failure {
    Failure::Link(format!("no answer within {} s", limit.as_secs()))
}

/// Compares the local file with what was recorded. Returns the content of a small one.
async fn check_local(source: &FilePath, bytes: u64, sha256: &str) -> Result<Option<Vec<u8>>, Failure> {
    let (source, sha256) = (source.to_owned(), sha256.to_owned());
    blocking(move || {
        let mut file = File::open(&source)?;
        let length = file.metadata()?.len();
        if length != bytes {
            return Err(changed(format!("it has {length} bytes, {bytes} were recorded")));
        }
        let (content, hash) = if bytes <= SINGLE {
            let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default());
            file.read_to_end(&mut content)?;
            let hash = Sha256::digest(&content);
            (Some(content), hash)
        } else {
            let mut hasher = Sha256::new();
            std::io::copy(&mut file, &mut hasher)?;
            (None, hasher.finalize())
        };
        let hash = crate::event::hex(&hash);
        if hash.eq_ignore_ascii_case(&sha256) { Ok(content) } else { Err(changed("its SHA-256 differs".to_owned())) }
    })
    .await
}

async fn read_part(source: &FilePath, offset: u64, bytes: u64) -> Result<Vec<u8>, Failure> {
    let source = source.to_owned();
    blocking(move || {
        let mut part = vec![0; usize::try_from(bytes).unwrap_or_default()];
        File::open(&source)?.read_exact_at(&mut part, offset)?;
        Ok(part)
    })
    .await
}

fn changed(how: String) -> std::io::Error {
    std::io::Error::new(ErrorKind::InvalidData, format!("the local file is not what was recorded: {how}"))
}

/// Reads on a thread that may block. What goes wrong with a local file is the item's own fault.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if error.kind() == ErrorKind::NotFound => {
            Err(Failure::Item("the local file is gone".to_owned()))
        }
        Ok(Err(error)) if error.kind() == ErrorKind::InvalidData => Err(Failure::Item(error.to_string())),
        Ok(Err(error)) => Err(Failure::Item(format!("the local file cannot be read: {error}"))),
        Err(error) => Err(Failure::Item(format!("the local file cannot be read: {error}"))),
    }
}
