//! The box's own copy of an original: removed here once the destination has proved that it has it, and brought back.
//!
//! Before the file goes, a note takes its place that says where it is (`<file>.away`); the note goes after the file is back.
//! So a stop in between leaves both, and nothing is lost.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path as FilePath, PathBuf};
use std::time::{Duration, Instant};

use object_store::ObjectStoreExt;
use object_store::path::Path;
use sha2::{Digest, Sha256};
use tracing::info;

use super::key;
use super::link::Failure;
use super::local::blocking;
use super::transfer::{Transfer, WRONG, other_bytes};
use crate::away::{self, Away};
use crate::durable;
use crate::store::Document;

/// Bytes that are fetched at once, at first and at most.
const FIRST_PIECE: u64 = 256 << 10;
const LARGEST_PIECE: u64 = 8 << 20;
/// A piece that takes no longer is followed by one of twice its size.
const QUICK: Duration = Duration::from_secs(2);
/// Bytes that stay free on the volume.
const KEPT_FREE: u64 = 1 << 30;

impl Transfer<'_> {
    /// Removes the local file at once after the destination has said that it has it.
    ///
    /// # Errors
    /// [`Failure::Item`] where it says otherwise, or does not say; the file stays.
    pub(super) async fn release(&self, document: &Document) -> Result<(), Failure> {
        let path = self.uploader.storage.join(&document.path);
        if !is_there(&path).await? {
            return Ok(());
        }
        if self.sealer().is_some() {
            return Err(unproved("what lies there is sealed, and the box cannot open it"));
        }
        self.allowed()?;
        self.destination.check()?;
        let key = key::document(&self.uploader.device, document);
        self.confirm(&key, &path, document.bytes).await?;
        let (outbox, of) = (self.uploader.outbox.clone(), document.path.clone());
        let awaited = blocking(move || outbox.awaits_elsewhere(&of).map_err(io::Error::other));
        if awaited.await? {
            return Err(unproved("another destination has something to do with it"));
        }
        self.still_wanted().await?;
        let note = Away {
            destination: self.uploader.destination.clone(),
            since: self.uploader.clock.now(),
            bytes: document.bytes,
            sha256: document.sha256.clone(),
        };
        blocking(move || {
            durable::replace(&away::note_of(&path), &serde_json::to_vec(&note)?)?;
            std::fs::remove_file(&path)?;
            path.parent().map_or(Ok(()), durable::sync_folder)
        })
        .await?;
        info!(file = document.path, "an original lies at the destination alone from now on");
        Ok(())
    }

    /// Fails where the photo was deleted since the task was leased: nothing is put into its folder any more.
    async fn still_wanted(&self) -> Result<(), Failure> {
        let holds = self.uploader.outbox.holds(self.lease).await.map_err(|error| Failure::Link(error.to_string()))?;
        if holds { Ok(()) } else { Err(Failure::Item("gone", "the photo was deleted meanwhile".to_owned())) }
    }

    async fn confirm(&self, key: &Path, path: &FilePath, bytes: u64) -> Result<(), Failure> {
        let (answer, stated) = self.carry(0, None, self.destination.store.head(key)).await?;
        let kept = match answer {
            Ok(kept) => kept,
            Err(object_store::Error::NotFound { .. }) => return Err(unproved("the destination does not have it")),
            Err(
                error @ (object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }),
            ) => return Err(unproved(&format!("the destination does not say what it has: {error}"))),
            Err(error) => return Err(self.sort(&error)),
        };
        if kept.size != bytes {
            return Err(Failure::Item(WRONG, format!("the destination holds {} bytes of {bytes}", kept.size)));
        }
        let Some(stated) = stated else { return Ok(()) };
        let path = path.to_owned();
        // In how many parts it was sent is not known any more: what is stated of these proves nothing, unless it was one.
        if blocking(move || stated.matches(&path, u64::MAX)).await? { Ok(()) } else { Err(other_bytes()) }
    }

    /// Brings the file back. What has arrived when the link breaks is kept.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(super) async fn fetch(&self, document: &Document) -> Result<(), Failure> {
        let path = self.uploader.storage.join(&document.path);
        if !is_whole(&path, document).await? {
            if self.sealer().is_some() {
                return Err(unproved("what lies there is sealed, and the box cannot open it"));
            }
            self.allowed()?;
            self.destination.check()?;
            let part = away::part_of(&path);
            self.fetch_into(&part, document).await?;
            if let Err(gone) = self.still_wanted().await {
                // The deletion has removed it, or it came after that.
                let _ = blocking(move || std::fs::remove_file(&part)).await;
                return Err(gone);
            }
            let (placed, sha256) = (path.clone(), document.sha256.clone());
            blocking(move || place(&part, &placed, &sha256)).await?;
            info!(file = document.path, "an original is back from the destination");
        }
        blocking(move || {
            match std::fs::remove_file(away::note_of(&path)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            path.parent().map_or(Ok(()), durable::sync_folder)
        })
        .await
    }

    async fn fetch_into(&self, part: &FilePath, document: &Document) -> Result<(), Failure> {
        let Document { bytes, .. } = *document;
        let key = key::document(&self.uploader.device, document);
        let (answer, _) = self.carry(0, None, self.destination.store.head(&key)).await?;
        match answer {
            Ok(kept) if kept.size == bytes => {}
            Ok(kept) => {
                let held = format!("the destination holds {} bytes of {bytes}", kept.size);
                return Err(Failure::Item(WRONG, held));
            }
            Err(object_store::Error::NotFound { .. }) => {
                return Err(Failure::Item(WRONG, "the destination does not have it".to_owned()));
            }
            Err(error) => return Err(self.sort(&error)),
        }
        self.still_wanted().await?;
        let opened = part.to_owned();
        let (mut file, mut at) = blocking(move || begin(&opened, bytes)).await?;
        let mut piece = FIRST_PIECE;
        while at < bytes {
            self.uploader.note_progress(self.lease.seq, key.as_ref(), bytes, at);
            self.allowed()?;
            let end = bytes.min(at + piece);
            if self.destination.folder.is_none() {
                let paid = self.uploader.rules.spend(self.lane, end - at);
                paid.map_err(|exhausted| Failure::TooDear(exhausted.to_string()))?;
            }
            let begun = Instant::now();
            let (data, _) = self.ask(0, None, self.destination.store.get_range(&key, at..end)).await?;
            if data.is_empty() {
                return Err(Failure::Link("the destination sent nothing of what was asked for".to_owned()));
            }
            at += data.len() as u64;
            file = blocking(move || file.write_all(&data).map(|()| file)).await?;
            if begun.elapsed() <= QUICK {
                piece = (piece * 2).min(LARGEST_PIECE);
            }
        }
        Ok(())
    }
}

fn unproved(why: &str) -> Failure {
    Failure::Item("unproved", format!("the original stays on the box: {why}"))
}

async fn is_there(path: &FilePath) -> Result<bool, Failure> {
    let path = path.to_owned();
    blocking(move || path.try_exists()).await
}

/// Whether the file is here, as it was recorded.
async fn is_whole(path: &FilePath, document: &Document) -> Result<bool, Failure> {
    let (path, sha256) = (path.to_owned(), document.sha256.clone());
    blocking(move || match File::open(&path) {
        Ok(file) => Ok(hash_of(file)? == sha256),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    })
    .await
}

fn hash_of(mut file: File) -> io::Result<String> {
    let (mut hash, mut piece) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok(hex::encode(hash.finalize()));
        }
        hash.update(piece.get(..read).unwrap_or_default());
    }
}

/// Opens the file that the rest is written behind, and gives how much there is.
fn begin(part: &FilePath, bytes: u64) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(part)?;
    let at = file.metadata()?.len();
    if at > bytes {
        file.set_len(0)?;
        return begin(part, bytes);
    }
    let folder = part.parent().unwrap_or(part);
    let free = durable::free_bytes(folder)?.unwrap_or(u64::MAX);
    if free < (bytes - at).saturating_add(KEPT_FREE) {
        let reason = format!("there is no room for it: {free} bytes are free, and {KEPT_FREE} stay free");
        return Err(io::Error::new(ErrorKind::StorageFull, reason));
    }
    Ok((file, at))
}

/// Gives what has arrived its place, if it is what was recorded; else it is removed. A damaged file that lies there is kept
/// beside it.
fn place(part: &FilePath, path: &PathBuf, sha256: &str) -> io::Result<()> {
    let file = File::open(part)?;
    if hash_of(file.try_clone()?)? != sha256 {
        std::fs::remove_file(part)?;
        let reason = "what the destination holds is not what was recorded: its SHA-256 differs";
        return Err(io::Error::new(ErrorKind::InvalidData, reason));
    }
    file.sync_all()?;
    if path.try_exists()? {
        std::fs::rename(path, away::damaged_of(path))?;
    }
    std::fs::rename(part, path)?;
    path.parent().map_or(Ok(()), durable::sync_folder)
}
