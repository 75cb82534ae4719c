//! One file: check, send (going on where an earlier run stopped), verify.

use std::future::Future;
use std::path::{Path as FilePath, PathBuf};

use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{GetOptions, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};

use super::Uploader;
use super::config::Checksum;
use super::config::is_sealed;
use super::key;
use super::limiter::{Priority, TransferRequest};
use super::link::{Failure, is_bad_request, lacks_etag, refuses_question, sort};
use super::local::{Content, blocking, check, read_part};
use super::proof::Stated;
use super::remote::{Parts, Remote, Whole};
use super::sealed::Sealer;
use crate::asset::MediaFile;
use crate::store::{Delivery, Document, DocumentTask, Lane, Lease};

const MIB: u64 = 1024 * 1024;
/// Where the folders of events lie, below the storage folder.
const ARCHIVE: &str = "archive";
/// Largest piece that is held in memory, but for parts of files so large that there would be too many of them. A larger
/// one would be no faster, and more of it would be lost when the link breaks.
const LARGEST_PART: u64 = 8 * MIB;
/// How long a part should take on the line as it is, in seconds: no more is lost when it breaks.
const PART_SECONDS: f64 = 30.0;
/// Most parts of one file, so that the list of those that arrived fits beside the item in the outbox.
const MAX_PARTS: u64 = 48;
/// What a request costs besides its body, in bytes: names, signatures, the way back.
const OVERHEAD: u64 = 1024;

/// What to expect of credentials that may write and not read.
pub(super) const UNREAD: &str =
    "the credentials may not read there: what it answers to an upload is the only proof of it";
/// What to expect of a service that cannot be asked for an object.
pub(super) const UNASKED: &str =
    "it does not answer questions about files (HEAD): what it answers to an upload is the only proof of it";

/// The same of one that answers 400 and gives no reason, although uploads work.
const REFUSED_TO_SAY: &str = "it refuses questions about files (HTTP 400 to HEAD) and gives no reason: if uploads fail too, the session \
     token may have expired, the box's clock be off, or the bucket lie in another region; what it answers to an upload is \
     the only proof of it";

/// Class of dead letters that a destination took and does not have.
pub(super) const WRONG: &str = "wrong_answer";

/// One lease on its way.
pub(super) struct Transfer<'a> {
    pub uploader: &'a Uploader,
    pub destination: &'a Remote,
    pub lease: &'a Lease,
    pub lane: Lane,
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
pub(super) struct Progress {
    pub upload: String,
    part_bytes: u64,
    /// What the service calls the parts that arrived, in order from the first.
    parts: Vec<String>,
}

/// What the answer to a put was worth.
enum Proof {
    Given,
    Wanted,
}

/// What came of asking the destination for a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// It has the file.
    Compared,
    /// It does not answer that: what it answered to the upload has to do.
    Unknown,
}

impl Progress {
    pub(super) fn read(note: Option<&str>) -> Option<Self> {
        serde_json::from_str(note?).ok()
    }

    /// Whether all parts arrived, and only their completion is left.
    fn is_whole(&self, bytes: u64) -> bool {
        self.done(bytes) == bytes
    }

    fn done(&self, bytes: u64) -> u64 {
        (self.parts.len() as u64).saturating_mul(self.part_bytes).min(bytes)
    }
}

impl Transfer<'_> {
    /// Returns once the destination holds the file, and has said so.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let outcome = self.deliver().await;
        if let Some(sealer) = self.sealer() {
            sealer.settle(self.lease.seq, outcome.is_ok(), &self.uploader.outbox).await;
        }
        outcome
    }

    async fn deliver(&self) -> Result<(), Failure> {
        if let Delivery::Document(document) = &self.lease.item {
            match document.task {
                DocumentTask::Send => {}
                DocumentTask::Remove => return self.remove(document).await,
                DocumentTask::Release => return self.release(document).await,
                DocumentTask::Fetch => return self.fetch(document).await,
            }
        }
        let Some(Queued { mut source, key, mut bytes, sha256 }) = self.queued() else {
            return Err(Failure::Item("rejected", "not a file".to_owned()));
        };
        self.allowed()?;
        self.uploader.note_progress(self.lease.seq, key.as_ref(), bytes, 0);
        // Before the file is read: a clip that costs too much today is looked at every hour.
        let first = bytes.min(self.largest_piece(bytes)) + OVERHEAD;
        let is_remote = self.destination.folder.is_none();
        let affords = self.uploader.rules.affords(self.lane, if is_remote { first } else { 0 });
        affords.map_err(|exhausted| Failure::TooDear(exhausted.to_string()))?;
        let (sealer, has_begun) = (self.sealer(), Progress::read(self.lease.progress.as_deref()).is_some());
        let in_one = |bytes, has_begun: bool| bytes <= self.largest_piece(bytes) && !has_begun;
        let keep = sealer.is_none() && in_one(bytes, has_begun);
        let mut content = check(&source, bytes, sha256, keep).await?;
        self.destination.check()?;
        let mut resumes = true;
        if let Some(sealer) = sealer {
            let copy = sealer.copy(self.lease.seq, &source, sha256).await?;
            (source, bytes, resumes) = (copy.path, copy.bytes, !copy.is_fresh);
            if in_one(bytes, resumes && has_begun) {
                content = Some(Content::read(&source, bytes).await?);
            }
        }
        let part_bytes = match (content, &self.destination.parts) {
            (Some(content), _) => match self.put(&key, content).await? {
                Proof::Given => return Ok(()),
                Proof::Wanted => bytes,
            },
            (None, Some(parts)) => self.put_parts(parts, &key, &source, bytes, resumes).await?,
            (None, None) if self.destination.whole == Whole::Request => self.put_file(&key, &source, bytes).await?,
            (None, None) => self.put_stream(&key, &source, bytes).await?,
        };
        self.verify(&key, &source, bytes, part_bytes).await?;
        self.destination.tidy(&key);
        Ok(())
    }

    /// Seals what is to be sent, where that is to be.
    pub(super) fn sealer(&self) -> Option<&Sealer> {
        let kind = match &self.lease.item {
            Delivery::Alert(_) => return None,
            Delivery::Upload(media) => media.kind,
            Delivery::Document(document) => document.kind,
        };
        self.uploader.sealer.as_ref().filter(|_| is_sealed(kind))
    }

    /// What is to be sent, from where to where.
    fn queued(&self) -> Option<Queued<'_>> {
        let (storage, device) = (&self.uploader.storage, &self.uploader.device);
        let (source, key, bytes, sha256) = match (&self.lease.item, &self.lease.event) {
            (Delivery::Upload(MediaFile { file, kind, bytes, sha256 }), Some(event)) => {
                let folder = storage.join(ARCHIVE).join(&*event.camera).join(event.id.to_string());
                let suffix = self.uploader.config.key_suffix(*kind);
                (folder.join(file), key::path(device, event, &(file.clone() + suffix)), *bytes, sha256)
            }
            (Delivery::Document(document), _) => {
                let suffix = self.uploader.config.key_suffix(document.kind);
                let named = Document { path: document.path.clone() + suffix, ..document.clone() };
                let key = key::document(device, &named);
                (storage.join(&document.path), key, document.bytes, &document.sha256)
            }
            _ => return None,
        };
        Some(Queued { source, key, bytes, sha256 })
    }

    /// Whether the rules still let it go.
    pub(super) fn allowed(&self) -> Result<(), Failure> {
        self.uploader.rules.allows(self.lane).map_err(Failure::Held)
    }

    /// As one request. A service that answers with the MD5 of what it has need not be asked again.
    async fn put(&self, key: &Path, content: Content) -> Result<Proof, Failure> {
        let put = self.destination.store.put(key, content.bytes.clone().into());
        let (answer, stated) = self.carry(content.bytes.len() as u64, None, put).await?;
        match answer {
            Err(error) if lacks_etag(&error) => return Ok(Proof::Wanted),
            Err(error) => return Err(self.sort(&error)),
            Ok(_) => {}
        }
        match stated.and_then(|stated| stated.is_md5(&content.md5)) {
            Some(true) => Ok(Proof::Given),
            Some(false) => Err(other_bytes()),
            None => Ok(Proof::Wanted),
        }
    }

    /// As one request, whose body is read from the disk on the way. Like the others below, gives the size of the pieces
    /// in which it was sent.
    async fn put_file(&self, key: &Path, source: &FilePath, bytes: u64) -> Result<u64, Failure> {
        let put = self.destination.store.put(key, PutPayload::default());
        self.ask(bytes, Some(source.to_owned()), put).await?;
        Ok(bytes)
    }

    /// Sends part by part and notes each one that arrived. `resumes`: the bytes are those of an upload that has begun.
    async fn put_parts(
        &self,
        Parts(store): &Parts,
        key: &Path,
        source: &FilePath,
        bytes: u64,
        resumes: bool,
    ) -> Result<u64, Failure> {
        let noted = Progress::read(self.lease.progress.as_deref()).filter(|_| resumes);
        let resumed = noted.is_some();
        let mut progress = match noted {
            Some(progress) => progress,
            None => self.begin(store.as_ref(), key, bytes).await?,
        };
        let mut outcome = self.send_parts(store.as_ref(), key, source, bytes, &mut progress).await;
        if matches!(outcome, Err(Failure::Refused(_) | Failure::Item(..)))
            && progress.is_whole(bytes)
            && matches!(self.verify(key, source, bytes, progress.part_bytes).await, Ok(Kept::Compared))
        {
            // It was completed before, and that answer did not come through.
            outcome = Ok(());
        }
        if resumed && let Err(Failure::Refused(reason) | Failure::Item(_, reason)) = &outcome {
            // Services forget uploads that lie idle for days: begin again.
            debug!(reason, "an upload that had begun could not go on, starting it again");
            self.note(None).await;
            self.abandon(store.as_ref(), key, &progress.upload).await;
            progress = self.begin(store.as_ref(), key, bytes).await?;
            outcome = self.send_parts(store.as_ref(), key, source, bytes, &mut progress).await;
        }
        match outcome {
            Ok(()) => self.uploader.begun.ended(&progress.upload).await,
            // It is given up or begun afresh: these parts are not used again.
            Err(Failure::Item(..)) => {
                self.note(None).await;
                self.abandon(store.as_ref(), key, &progress.upload).await;
            }
            Err(_) => {}
        }
        outcome.map(|()| progress.part_bytes)
    }

    async fn abandon(&self, store: &dyn MultipartStore, key: &Path, upload: &str) {
        let id = upload.to_owned();
        match self.carry(0, None, store.abort_multipart(key, &id)).await {
            Ok((Ok(()) | Err(object_store::Error::NotFound { .. }), _)) => self.uploader.begun.ended(upload).await,
            // It is tried again with the next connection.
            Ok((Err(error), _)) => debug!(%error, "abort an upload"),
            Err(reason) => debug!(%reason, "abort an upload"),
        }
    }

    async fn begin(&self, store: &dyn MultipartStore, key: &Path, bytes: u64) -> Result<Progress, Failure> {
        let (upload, _) = self.ask(0, None, store.create_multipart(key)).await?;
        self.uploader.begun.began(&upload, key.as_ref(), self.lease.seq).await;
        Ok(Progress { upload, part_bytes: self.part_bytes(bytes), parts: Vec::new() })
    }

    /// Of files up to this size, in bytes, all is sent at once.
    fn largest_piece(&self, bytes: u64) -> u64 {
        if self.destination.parts.is_some() { self.part_bytes(bytes) } else { LARGEST_PART }
    }

    /// What the line carries in half a minute, within what the service takes and the note of progress holds.
    fn part_bytes(&self, bytes: u64) -> u64 {
        let smallest = bytes.div_ceil(MAX_PARTS).max(self.destination.smallest_part).next_multiple_of(MIB);
        let fitting = self.destination.limiter.speed().unwrap_or_default() * PART_SECONDS;
        (fitting as u64 / MIB * MIB).clamp(smallest, smallest.max(LARGEST_PART))
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
            self.uploader.note_progress(self.lease.seq, key.as_ref(), bytes, progress.done(bytes));
            self.allowed()?;
            let offset = index as u64 * size;
            let data = read_part(source, offset, size.min(bytes - offset)).await?;
            let length = data.len() as u64;
            let (part, _) = self.ask(length, None, store.put_part(key, &progress.upload, index, data.into())).await?;
            progress.parts.push(part.content_id);
            self.note(Some(&*progress)).await;
        }
        let parts = progress.parts.iter().map(|id| PartId { content_id: id.clone() }).collect();
        let (answer, _) = self.carry(0, None, store.complete_multipart(key, &progress.upload, parts)).await?;
        match answer {
            // The file is asked for next.
            Err(error) if !lacks_etag(&error) => Err(self.sort(&error)),
            _ => Ok(()),
        }
    }

    /// Keeps the progress. Without it only a restart costs more, so that a failure here fails nothing.
    async fn note(&self, progress: Option<&Progress>) {
        let note = progress.and_then(|progress| serde_json::to_string(progress).ok());
        if let Err(error) = self.uploader.outbox.save_progress(self.lease, note).await {
            warn!(%error, "the progress of an upload could not be kept");
        }
    }

    /// To a folder: in pieces, because of memory.
    async fn put_stream(&self, key: &Path, source: &FilePath, bytes: u64) -> Result<u64, Failure> {
        let (mut upload, _) = self.ask(0, None, self.destination.store.put_multipart(key)).await?;
        let outcome = self.stream(upload.as_mut(), source, bytes).await;
        if outcome.is_err()
            && let Err(error) = upload.abort().await
        {
            debug!(%error, "abort a copy");
        }
        outcome.map(|()| bytes)
    }

    async fn stream(&self, upload: &mut dyn MultipartUpload, source: &FilePath, bytes: u64) -> Result<(), Failure> {
        let mut offset = 0;
        while offset < bytes {
            let data: PutPayload = read_part(source, offset, (5 * MIB).min(bytes - offset)).await?.into();
            let length = data.content_length() as u64;
            offset += length;
            self.ask(length, None, upload.put_part(data)).await?;
        }
        self.ask(0, None, upload.complete()).await.map(|_| ())
    }

    /// Asks the destination what it has. It was asked to keep this very file, so another answer means that
    /// it cannot be relied on for it.
    async fn verify(&self, key: &Path, source: &FilePath, bytes: u64, part_bytes: u64) -> Result<Kept, Failure> {
        let head = self.destination.store.head(key);
        let (kept, stated) = match self.carry(0, None, head).await? {
            (Err(object_store::Error::NotFound { .. }), _) => {
                return Err(Failure::Item(WRONG, "the destination took the file and does not have it".to_owned()));
            }
            (Err(object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }), _) => {
                // It took the file with the same credentials.
                self.uploader.remark(UNREAD);
                return Ok(Kept::Unknown);
            }
            (Err(error), _) if refuses_question(&error) => {
                self.uploader.remark(UNASKED);
                return Ok(Kept::Unknown);
            }
            (Err(error), _) if is_bad_request(&error) => match self.ask_for_reason(key).await? {
                Some(kept) => (kept, None),
                None => return Ok(Kept::Unknown),
            },
            (answer, stated) => (answer.map_err(|error| self.sort(&error))?, stated),
        };
        if kept.size != bytes {
            return Err(Failure::Item(WRONG, format!("the destination holds {} bytes of {bytes}", kept.size)));
        }
        let Some(stated) = stated.filter(Stated::is_comparable) else { return Ok(Kept::Compared) };
        let source = source.to_owned();
        if blocking(move || stated.matches(&source, part_bytes)).await? {
            return Ok(Kept::Compared);
        }
        Err(other_bytes())
    }

    /// HEAD is refused as wrong: asks for the first byte, since the answer to that has a body with the reason. Gives what
    /// the destination has, none where it does not say that either.
    async fn ask_for_reason(&self, key: &Path) -> Result<Option<ObjectMeta>, Failure> {
        let first = GetOptions { range: Some((0..1).into()), ..GetOptions::default() };
        let error = match self.carry(1, None, self.destination.store.get_opts(key, first)).await?.0 {
            Ok(found) => return Ok(Some(found.meta)),
            Err(error) => error,
        };
        match self.sort(&error) {
            Failure::Refused(reason) => {
                Err(Failure::Refused(format!("it refuses to say what it holds (HTTP 400 to HEAD): {reason}")))
            }
            Failure::Item(..) | Failure::Checksum(_) => {
                self.uploader.remark(REFUSED_TO_SAY);
                Ok(None)
            }
            other => Err(other),
        }
    }

    /// One request that carries `bytes`, paid from the budgets, for as long as the line moves.
    pub(super) async fn ask<T>(
        &self,
        bytes: u64,
        file: Option<PathBuf>,
        request: impl Future<Output = Result<T, object_store::Error>>,
    ) -> Result<(T, Option<Stated>), Failure> {
        let (answer, stated) = self.carry(bytes, file, request).await?;
        Ok((answer.map_err(|error| self.sort(&error))?, stated))
    }

    pub(super) async fn carry<T>(
        &self,
        bytes: u64,
        file: Option<PathBuf>,
        request: impl Future<Output = Result<T, object_store::Error>>,
    ) -> Result<(Result<T, object_store::Error>, Option<Stated>), Failure> {
        let (rules, is_remote) = (&self.uploader.rules, self.destination.folder.is_none());
        let cost = if is_remote { bytes + OVERHEAD } else { 0 };
        rules.spend(self.lane, cost).map_err(|exhausted| Failure::TooDear(exhausted.to_string()))?;
        let priority = if self.lane <= Lane::Stills { Priority::High } else { Priority::Low };
        let carried = self
            .destination
            .limiter
            .carry(TransferRequest { priority, bytes, file }, &self.uploader.heartbeat, request)
            .await;
        // What was on its way when it fell silent stays paid.
        let carried = carried.map_err(|silent| Failure::Link(silent.to_string()))?;
        if is_remote {
            rules.settle(self.lane, cost, carried.sent + OVERHEAD);
        }
        Ok((carried.answer, carried.stated))
    }

    pub(super) fn sort(&self, error: &object_store::Error) -> Failure {
        let uploader = self.uploader;
        match sort(error, self.destination.kind()) {
            Failure::Checksum(reason) if uploader.config.checksum == Checksum::Sha256 => {
                Failure::Refused(format!("it takes no checksums, set checksum = \"auto\": {reason}"))
            }
            // It was sent without one, so it is something else that is refused.
            Failure::Checksum(reason) if !self.destination.checksums => Failure::Item("rejected", reason),
            other => other,
        }
    }
}

pub(super) fn other_bytes() -> Failure {
    Failure::Item(WRONG, "the destination holds other bytes: its MD5 differs".to_owned())
}
