//! Uploads that go on where they stopped: after a broken line, a kill, or a power cut.
//!
//! What has arrived lies in one file, what is known of the upload in another beside it. How far it got is noted there only
//! after the bytes are on the disk: behind that place a power cut may leave anything. An upload has one writer: a client
//! that comes again takes over from its own broken connection.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::intake::{Given, Kept, LARGEST, Whole, blocking, unwritten};
use super::layout::{LibraryLayout, entries, remove};
use super::{Library, LibraryError};
use crate::archive::{Archive, write_durable};
use crate::asset::AssetId;
use crate::clock::TimeQuality;
use crate::photo::PhotoId;

/// Identity of an upload; the photo that it becomes has the same.
pub type UploadId = AssetId;

/// How long an upload may rest before it is removed.
pub const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);
/// Bytes after which the place is noted while more comes, and time, which comes first on a slow line: a stop of the box costs
/// what came since.
const NOTED_EVERY: u64 = 16 << 20;
const NOTED_WITHIN: Duration = Duration::from_secs(5);

/// What files with the bytes of an upload end with.
pub(super) const DATA: &str = "upload";
/// What files that describe an upload end with.
pub(super) const STATE: &str = "resume";

/// An upload as its client sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resumable {
    /// Its identity.
    pub id: UploadId,
    /// Bytes of the whole file.
    pub length: u64,
    /// Bytes that are on the disk.
    pub offset: u64,
    /// What its sender says of it.
    pub given: Given,
    /// Wall time after which it may be removed.
    pub expires: jiff::Timestamp,
    /// The photo that it became.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub photo: Option<PhotoId>,
}

/// The writers of uploads, over all clones.
#[derive(Clone, Debug, Default)]
pub struct Uploads(Arc<Mutex<HashMap<UploadId, Writer>>>);

#[derive(Clone, Debug)]
struct Writer {
    give_way: CancellationToken,
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// The right to write an upload, until it is dropped.
struct Turn {
    id: UploadId,
    uploads: Uploads,
    give_way: CancellationToken,
    _held: tokio::sync::OwnedMutexGuard<()>,
}

impl Uploads {
    /// Waits until the writer of before, which is asked to give way, has ended.
    async fn take(&self, id: UploadId) -> Turn {
        let give_way = CancellationToken::new();
        let turn = {
            let mut writers = self.0.lock();
            let turn = writers.get(&id).map(|before| {
                before.give_way.cancel();
                before.turn.clone()
            });
            let turn = turn.unwrap_or_default();
            writers.insert(id, Writer { give_way: give_way.clone(), turn: turn.clone() });
            turn
        };
        Turn { id, uploads: self.clone(), give_way, _held: turn.lock_owned().await }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut writers = self.uploads.0.lock();
        // Unless another took over.
        if writers.get(&self.id).is_some_and(|writer| Arc::strong_count(&writer.turn) <= 2) {
            writers.remove(&self.id);
        }
    }
}

fn data_path(layout: &LibraryLayout, id: UploadId) -> PathBuf {
    layout.incoming().join(format!("{id}.{DATA}"))
}

fn state_name(id: UploadId) -> String {
    format!("{id}.{STATE}")
}

fn read_state(layout: &LibraryLayout, id: UploadId) -> Result<Option<Resumable>> {
    let path = layout.incoming().join(state_name(id));
    match fs::read(&path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
    }
}

fn write_state(layout: &LibraryLayout, state: &Resumable) -> Result<()> {
    let text = serde_json::to_vec(state).context("encode an upload")?;
    write_durable(&layout.incoming(), &state_name(state.id), &text).map(|_| ())
}

impl Library {
    /// Begins an upload of `length` bytes; it is on the disk when it returns.
    ///
    /// # Errors
    /// As [`Library::begin`]; [`LibraryError::TooLarge`], [`LibraryError::Empty`], [`LibraryError::OverQuota`].
    pub async fn begin_upload(&self, length: u64, given: Given) -> Result<Resumable, LibraryError> {
        self.check_room()?;
        match length {
            0 => return Err(LibraryError::Empty),
            _ if length > LARGEST => return Err(LibraryError::TooLarge { most: LARGEST }),
            _ => {}
        }
        if self.config.quota_of(&given.owner).is_some() {
            let (layout, owner) = (self.layout.clone(), given.owner.clone());
            let begun = blocking(move || begun_bytes(&layout, &owner)).await?;
            self.check_quota(&given.owner, length, begun).await?;
        }
        let (layout, id, archive) = (self.layout.clone(), self.archive.next_id(), self.archive.clone());
        let state = Resumable { id, length, offset: 0, given, expires: self.expiry(), photo: None };
        let begun = state.clone();
        blocking(move || {
            layout.create(&layout.incoming())?;
            remove_expired(&archive, &layout)?;
            let path = data_path(&layout, id);
            fs::File::create_new(&path).with_context(|| format!("create {}", path.display()))?;
            write_state(&layout, &begun)
        })
        .await?;
        Ok(state)
    }

    /// How far the upload `id` of `owner` got. A writer whose client has gone gives way.
    ///
    /// # Errors
    /// [`LibraryError::NoUpload`]; as [`Library::keep`] where all of it is there; else when the disk fails.
    pub async fn upload(&self, id: UploadId, owner: &str) -> Result<Resumable, LibraryError> {
        let _turn = self.uploads.take(id).await;
        let mut state = self.state(id, owner).await?;
        self.finish_if_whole(&mut state).await?;
        Ok(state)
    }

    /// Makes a photo of an upload whose last byte is there, unless it is one: a stop may have come in between, and a client
    /// takes an upload without bytes to send for complete.
    async fn finish_if_whole(&self, state: &mut Resumable) -> Result<(), LibraryError> {
        if state.offset != state.length || state.photo.is_some() {
            return Ok(());
        }
        match self.archive.store().photos().get(state.id).await? {
            Some(photo) => {
                state.photo = Some(photo.id);
                let (layout, done) = (self.layout.clone(), state.clone());
                blocking(move || write_state(&layout, &done)).await
            }
            None => self.finish(state).await,
        }
    }

    async fn state(&self, id: UploadId, owner: &str) -> Result<Resumable, LibraryError> {
        let layout = self.layout.clone();
        let state = blocking(move || read_state(&layout, id)).await?;
        state.filter(|state| *state.given.owner == *owner).ok_or(LibraryError::NoUpload)
    }

    /// Adds bytes to the upload `id` of `owner`, which has `offset` so far. `next` gives them, and `None` at the end; what
    /// came before it failed is kept. With the last byte the file becomes a photo.
    ///
    /// # Errors
    /// [`LibraryError::NoUpload`], [`LibraryError::WrongOffset`], [`LibraryError::TooLarge`] for more than was announced;
    /// as [`Library::keep`] for the last bytes.
    pub async fn resume<N, F, E>(
        &self,
        id: UploadId,
        owner: &str,
        offset: u64,
        next: N,
    ) -> Result<(Resumable, Option<E>), LibraryError>
    where
        N: FnMut() -> F,
        F: Future<Output = Result<Option<bytes::Bytes>, E>>,
    {
        let turn = self.uploads.take(id).await;
        let mut state = self.state(id, owner).await?;
        if state.offset != offset {
            return Err(LibraryError::WrongOffset { offset: state.offset });
        }
        let mut failure = None;
        if state.offset < state.length {
            self.check_room()?;
            failure = self.append(&mut state, &turn.give_way, next).await?;
        }
        self.finish_if_whole(&mut state).await?;
        Ok((state, failure))
    }

    /// Writes what comes; gives what ended it too early.
    async fn append<N, F, E>(
        &self,
        state: &mut Resumable,
        give_way: &CancellationToken,
        mut next: N,
    ) -> Result<Option<E>, LibraryError>
    where
        N: FnMut() -> F,
        F: Future<Output = Result<Option<bytes::Bytes>, E>>,
    {
        let path = data_path(&self.layout, state.id);
        let failed = |error| unwritten(error, &path);
        let mut file = File::options().write(true).open(&path).await.map_err(failed)?;
        // What lies behind the place that was noted is not known to be whole.
        file.set_len(state.offset).await.map_err(failed)?;
        file.seek(SeekFrom::Start(state.offset)).await.map_err(failed)?;
        let (mut at, mut failure, mut noted) = (state.offset, None, self.archive.now().mono());
        loop {
            let chunk = tokio::select! {
                () = give_way.cancelled() => break,
                chunk = next() => chunk,
            };
            let chunk = match chunk {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            };
            if at + chunk.len() as u64 > state.length {
                return Err(LibraryError::TooLarge { most: state.length });
            }
            file.write_all(&chunk).await.map_err(failed)?;
            at += chunk.len() as u64;
            let now = self.archive.now().mono();
            if at - state.offset >= NOTED_EVERY || now.since(noted) >= NOTED_WITHIN {
                self.note_place(state, &mut file, at).await?;
                noted = now;
            }
        }
        if at > state.offset {
            self.note_place(state, &mut file, at).await?;
        }
        Ok(failure)
    }

    async fn note_place(&self, state: &mut Resumable, file: &mut File, at: u64) -> Result<(), LibraryError> {
        let path = data_path(&self.layout, state.id);
        file.flush().await.map_err(|error| unwritten(error, &path))?;
        file.sync_data().await.map_err(|error| unwritten(error, &path))?;
        (state.offset, state.expires) = (at, self.expiry());
        let (layout, noted) = (self.layout.clone(), state.clone());
        blocking(move || write_state(&layout, &noted)).await
    }

    /// Makes a photo of an upload that is complete.
    async fn finish(&self, state: &mut Resumable) -> Result<(), LibraryError> {
        let (path, hashed) = (data_path(&self.layout, state.id), data_path(&self.layout, state.id));
        let sha256 = blocking(move || hash(&hashed)).await?;
        let whole = Whole { id: state.id, path: path.clone(), bytes: state.length, sha256 };
        let kept = match self.keep_whole(whole, state.given.clone()).await {
            Ok(kept) => kept,
            Err(refused @ (LibraryError::NotAPicture(_) | LibraryError::Empty)) => {
                self.drop_upload(state.id).await?;
                return Err(refused);
            }
            Err(error) => return Err(error),
        };
        state.photo = Some(kept.photo().id);
        let (layout, done, is_known) = (self.layout.clone(), state.clone(), matches!(kept, Kept::Known(_)));
        blocking(move || {
            write_state(&layout, &done)?;
            // Another photo has the same bytes: these were not needed.
            if is_known || path.exists() { remove(&path) } else { Ok(()) }
        })
        .await
    }

    /// Ends the upload `id` of `owner`, and removes what arrived of it. A photo that it became stays.
    ///
    /// # Errors
    /// [`LibraryError::NoUpload`]; else when the disk fails.
    pub async fn cancel_upload(&self, id: UploadId, owner: &str) -> Result<(), LibraryError> {
        let _turn = self.uploads.take(id).await;
        self.state(id, owner).await?;
        self.drop_upload(id).await
    }

    async fn drop_upload(&self, id: UploadId) -> Result<(), LibraryError> {
        let layout = self.layout.clone();
        blocking(move || {
            remove(&data_path(&layout, id))?;
            remove(&layout.incoming().join(state_name(id)))
        })
        .await
    }

    fn expiry(&self) -> jiff::Timestamp {
        self.archive.now().wall.checked_add(LIFETIME).unwrap_or(jiff::Timestamp::MAX)
    }
}

fn hash(path: &std::path::Path) -> Result<String> {
    let read = || -> std::io::Result<String> {
        let mut file = fs::File::open(path)?;
        file.rewind()?;
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; 256 << 10]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hex::encode(hash.finalize())),
                n => hash.update(buffer.get(..n).unwrap_or_default()),
            }
        }
    };
    read().with_context(|| format!("read {}", path.display()))
}

/// The uploads that there are; none of those that cannot be read. Blocks.
fn all_states(layout: &LibraryLayout) -> Result<Vec<(PathBuf, UploadId, Option<Resumable>)>> {
    let mut found = Vec::new();
    for path in entries(&layout.incoming())? {
        if path.extension().is_none_or(|extension| extension != STATE) {
            continue;
        }
        let id = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<UploadId>().ok());
        let Some(id) = id else { continue };
        let state = read_state(layout, id).unwrap_or_else(|failure| {
            warn!(file = %path.display(), error = format!("{failure:#}"), "an upload cannot be read");
            None
        });
        found.push((path, id, state));
    }
    Ok(found)
}

/// Bytes of uploads of `owner` that are not complete, all of each. Blocks.
fn begun_bytes(layout: &LibraryLayout, owner: &str) -> Result<u64> {
    let states = all_states(layout)?.into_iter().filter_map(|(.., state)| state);
    Ok(states.filter(|state| *state.given.owner == *owner && state.photo.is_none()).map(|state| state.length).sum())
}

/// Removes uploads that rested for too long, as far as the clock can be trusted. Blocks.
pub(super) fn remove_expired(archive: &Archive, layout: &LibraryLayout) -> Result<()> {
    let now = archive.now();
    if now.time_quality != TimeQuality::Synchronised {
        return Ok(());
    }
    for (path, id, state) in all_states(layout)? {
        if state.is_none_or(|state| state.expires <= now.wall) {
            remove(&data_path(layout, id))?;
            remove(&path)?;
        }
    }
    Ok(())
}
