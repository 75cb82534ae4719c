//! Taking in a file: it is written beside, hashed as it comes, looked at, and then gets its place.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tracing::debug;

use super::contents::{photos_in, take_in};
use super::layout::original_name;
use super::{Library, LibraryError};
use crate::archive::{RecordingLevel, write_durable};
use crate::away;
use crate::durable;
use crate::metrics;
use crate::photo::{Photo, PhotoId, PictureFacts, SCHEMA_VERSION, Taken, TakenFrom, plain_name};
use crate::picture::{Inspected, Request};

/// Largest file that is taken in, bytes.
pub(super) const LARGEST: u64 = 64 << 30;

/// What its sender says of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    /// Its name there.
    pub name: String,
    /// The user whose photo it becomes.
    pub owner: Arc<str>,
    /// Whether its owner alone sees it.
    pub private: bool,
    /// When it was changed last there, as that clock showed it.
    pub file_date: Option<DateTime>,
    /// Tags that it gets.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// What became of a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Kept {
    /// It is a new photo.
    New(Photo),
    /// Its owner had it already; nothing was stored again.
    Known(Photo),
}

impl Kept {
    /// The photo.
    pub fn photo(&self) -> &Photo {
        match self {
            Self::New(photo) | Self::Known(photo) => photo,
        }
    }
}

/// A file that is arriving. One that is dropped before it is kept leaves nothing.
#[derive(Debug)]
pub struct Arriving {
    id: PhotoId,
    path: PathBuf,
    file: File,
    hash: Sha256,
    bytes: u64,
}

/// A file that has arrived and lies on the disk.
#[derive(Debug)]
pub(super) struct Whole {
    /// What it becomes the photo of.
    pub(super) id: PhotoId,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// What is noted while a file gets its place: which photo of which content it becomes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) id: PhotoId,
    pub(super) sha256: String,
    pub(super) file: String,
}

impl Note {
    pub(super) fn file_name(id: PhotoId) -> String {
        format!("{id}.json")
    }
}

impl Arriving {
    /// Adds the next bytes.
    ///
    /// # Errors
    /// [`LibraryError::TooLarge`], [`LibraryError::Full`], or when the disk fails.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), LibraryError> {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        if self.bytes > LARGEST {
            return Err(LibraryError::TooLarge { most: LARGEST });
        }
        self.hash.update(bytes);
        self.file.write_all(bytes).await.map_err(|error| unwritten(error, &self.path))
    }

    /// SHA-256 of what arrived, lower-case hex.
    pub(super) fn sha256(&self) -> String {
        hex::encode(self.hash.clone().finalize())
    }

    /// Bytes that arrived.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        // Gone already where it was kept.
        let _ = std::fs::remove_file(&self.path);
    }
}

pub(super) fn unwritten(error: std::io::Error, path: &Path) -> LibraryError {
    if error.kind() == std::io::ErrorKind::StorageFull {
        return LibraryError::Full;
    }
    LibraryError::Failed(anyhow::Error::new(error).context(format!("write {}", path.display())))
}

impl Library {
    /// Begins to take in a file.
    ///
    /// # Errors
    /// [`LibraryError::Away`], [`LibraryError::Full`] while the volume is short of room; else when the disk fails.
    pub async fn begin(&self) -> Result<Arriving, LibraryError> {
        self.check_room()?;
        let (layout, id) = (self.layout.clone(), self.archive.next_id());
        let open = move || -> Result<(PathBuf, std::fs::File)> {
            let path = layout.create(&layout.incoming())?.join(format!("{id}.part"));
            let file = std::fs::File::create_new(&path).with_context(|| format!("create {}", path.display()))?;
            Ok((path, file))
        };
        let (path, file) = blocking(open).await?;
        Ok(Arriving { id, path, file: File::from_std(file), hash: Sha256::new(), bytes: 0 })
    }

    /// Whether the volume is there and has room.
    pub(super) fn check_room(&self) -> Result<(), LibraryError> {
        if self.archive.at_most != RecordingLevel::Full {
            return Err(LibraryError::Away);
        }
        if self.archive.level() != RecordingLevel::Full {
            return Err(LibraryError::Full);
        }
        Ok(())
    }

    /// Keeps what has arrived. When it returns, the photo is durable, and so is its delivery.
    ///
    /// # Errors
    /// [`LibraryError::NotAPicture`], [`LibraryError::Empty`], [`LibraryError::OverQuota`], [`LibraryError::Full`]; else when
    /// index or disk fail.
    pub async fn keep(&self, mut arriving: Arriving, given: Given) -> Result<Kept, LibraryError> {
        if arriving.bytes == 0 {
            return Err(LibraryError::Empty);
        }
        arriving.file.flush().await.map_err(|error| unwritten(error, &arriving.path))?;
        arriving.file.sync_all().await.map_err(|error| unwritten(error, &arriving.path))?;
        let sha256 = hex::encode(std::mem::take(&mut arriving.hash).finalize());
        let whole = Whole { id: arriving.id, path: arriving.path.clone(), bytes: arriving.bytes, sha256 };
        self.keep_whole(whole, given).await
    }

    /// Keeps a file that lies whole on the disk, synced, and gives it its place; where its owner has it already, it stays
    /// where it is.
    pub(super) async fn keep_whole(&self, whole: Whole, given: Given) -> Result<Kept, LibraryError> {
        let (kept, values) = (self.keep_known_or_new(whole, given).await, &self.archive.metrics);
        let outcome = match &kept {
            Ok(Kept::New(photo)) => {
                values.library_added_bytes.inc_by(photo.bytes);
                "added"
            }
            Ok(Kept::Known(_)) => "known",
            Err(_) => "refused",
        };
        values.library_files.get_or_create(&metrics::outcome(outcome)).inc();
        kept
    }

    async fn keep_known_or_new(&self, whole: Whole, given: Given) -> Result<Kept, LibraryError> {
        let photos = self.archive.store().photos();
        // Before the turn: a file that takes long holds up no other.
        let mut seen = None;
        if photos.with_content(&whole.sha256).await?.is_empty() {
            seen = Some(self.look_at(&whole.path, &given.name, &whole.sha256).await?);
        }
        // From here on one at a time: two files with the same content become one.
        let _changing = self.archive.changing_photos.lock().await;
        let known = self.known(&whole.sha256).await?;
        if let Some(own) = known.iter().find(|photo| photo.owner == given.owner) {
            self.bring(&whole, own).await?;
            let own = if own.trashed.is_some() { self.restored(own.clone()).await? } else { own.clone() };
            debug!(photo = %own.id, "a file that is there already");
            return Ok(Kept::Known(own));
        }
        self.check_quota(&given.owner, whole.bytes, 0).await?;
        let facts = match (seen, known.first()) {
            (Some(facts), _) => facts,
            (None, Some(other)) => other.facts.clone(),
            // It went meanwhile.
            (None, None) => self.look_at(&whole.path, &given.name, &whole.sha256).await?,
        };
        let photo = self.photo(&whole, given, facts);
        if let Some(other) = known.first() {
            self.bring(&whole, other).await?;
        }
        self.place(&whole, &photo, known.is_empty()).await?;
        Ok(Kept::New(photo))
    }

    /// All photos with this content. Those that a stop left on the disk and not in the index are taken into that first.
    async fn known(&self, sha256: &str) -> Result<Vec<Photo>, LibraryError> {
        let photos = self.archive.store().photos();
        let known = photos.with_content(sha256).await?;
        let (archive, folder) = (self.archive.clone(), self.layout.content(sha256));
        let ids: Vec<PhotoId> = known.iter().map(|photo| photo.id).collect();
        let found = blocking(move || {
            let mut found = false;
            for (path, photo) in photos_in(&folder)? {
                if photo.is_ok_and(|(photo, _)| !ids.contains(&photo.id)) {
                    found |= take_in(&archive, &folder, &path)?;
                }
            }
            Ok(found)
        });
        if found.await? { Ok(photos.with_content(sha256).await?) } else { Ok(known) }
    }

    /// Gives the original of a known photo back its place where it lay elsewhere alone, or was lost.
    async fn bring(&self, whole: &Whole, known: &Photo) -> Result<(), LibraryError> {
        let (from, to) = (whole.path.clone(), self.original(known));
        blocking(move || {
            if to.is_file() {
                return Ok(());
            }
            std::fs::rename(&from, &to).with_context(|| format!("rename {}", from.display()))?;
            let folder = to.parent().unwrap_or(&to);
            durable::sync_folder(folder).with_context(|| format!("sync {}", folder.display()))?;
            super::layout::remove(&away::note_of(&to))
        })
        .await
    }

    /// Whether `owner` has room for `bytes` beside the photos there are and `begun` bytes of uploads.
    ///
    /// # Errors
    /// [`LibraryError::OverQuota`]; else when the index is out of service.
    pub async fn check_quota(&self, owner: &Arc<str>, bytes: u64, begun: u64) -> Result<(), LibraryError> {
        let Some(quota) = self.config.quota_of(owner) else { return Ok(()) };
        let used = self.archive.store().photos().usage(owner).await?.bytes.saturating_add(begun);
        if used.saturating_add(bytes) <= quota {
            return Ok(());
        }
        Err(LibraryError::OverQuota { owner: owner.clone(), quota, used, bytes })
    }

    fn photo(&self, whole: &Whole, given: Given, facts: PictureFacts) -> Photo {
        let added = self.archive.now();
        let name = plain_name(&given.name);
        let taken = facts
            .taken
            .or_else(|| named_time(&name))
            .or_else(|| given.file_date.map(|local| Taken::local(local, TakenFrom::FileDate)));
        Photo {
            version: SCHEMA_VERSION,
            id: whole.id,
            file: original_name(facts.format),
            sha256: whole.sha256.clone(),
            bytes: whole.bytes,
            name,
            owner: given.owner,
            taken: taken.unwrap_or_else(|| Taken::at(added.wall, 0, TakenFrom::Added)),
            added,
            kept_from: None,
            taken_found: None,
            seen: None,
            facts,
            title: String::new(),
            note: String::new(),
            tags: given.tags,
            favorite_of: Vec::new(),
            private: given.private,
            trashed: None,
        }
    }

    /// What the file is, and thumbnails of it.
    pub(super) async fn look_at(&self, path: &Path, name: &str, sha256: &str) -> Result<PictureFacts, LibraryError> {
        Ok(self.inspect(path, name, sha256, false).await?.facts)
    }

    /// The same; `stripped`: and a copy without what the file says of itself.
    pub(super) async fn inspect(
        &self,
        path: &Path,
        name: &str,
        sha256: &str,
        stripped: bool,
    ) -> Result<Inspected, LibraryError> {
        let (layout, sha256) = (self.layout.clone(), sha256.to_owned());
        let folder = blocking(move || layout.create(&layout.derived(&sha256))).await?;
        let request = Request {
            path: path.to_owned(),
            name: name.to_owned(),
            folder: Some(folder.clone()),
            stripped,
            pixels: false,
        };
        let begun = Instant::now();
        let looked = self.inspector.inspect(request).await;
        self.archive.metrics.library_inspect_seconds.observe(begun.elapsed().as_secs_f64());
        if looked.is_err() {
            // Nothing is derived of what is not kept.
            let _ = tokio::fs::remove_dir_all(&folder).await;
        }
        Ok(looked?)
    }

    /// Gives a file that was looked at its place, and records it.
    async fn place(&self, whole: &Whole, photo: &Photo, is_first: bool) -> Result<(), LibraryError> {
        let (this, from, placed) = (self.clone(), whole.path.clone(), photo.clone());
        let sidecar = blocking(move || {
            let note = Note { id: placed.id, sha256: placed.sha256.clone(), file: placed.file.clone() };
            let text = serde_json::to_vec(&note).context("encode a note")?;
            write_durable(&this.layout.incoming(), &Note::file_name(placed.id), &text)?;
            let folder = this.layout.create(&this.layout.content(&placed.sha256))?;
            if is_first {
                let to = folder.join(&placed.file);
                std::fs::rename(&from, &to).with_context(|| format!("rename {}", from.display()))?;
                durable::sync_folder(&folder).with_context(|| format!("sync {}", folder.display()))?;
            }
            this.write_sidecar(&placed)
        })
        .await?;
        let documents = Self::documents(photo, sidecar, is_first);
        self.archive.store().photos().record(photo, documents).await?;
        let note = self.layout.incoming().join(Note::file_name(photo.id));
        if let Err(error) = tokio::fs::remove_file(&note).await {
            debug!(%error, note = %note.display(), "a note stays until the next start");
        }
        Ok(())
    }
}

/// Runs what waits for the disk beside other tasks.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T, LibraryError> {
    let done = tokio::task::spawn_blocking(work).await.context("work on the library")?;
    done.map_err(|failure| match failure.downcast_ref::<std::io::Error>() {
        Some(error) if error.kind() == std::io::ErrorKind::StorageFull => LibraryError::Full,
        _ => LibraryError::Failed(failure),
    })
}

/// The time in a file's name, as phones and cameras write it: `IMG_20240331_023000.jpg`, `2024-03-31 02.30.00.jpg`.
fn named_time(name: &str) -> Option<Taken> {
    let digits: Vec<&str> = name.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty()).collect();
    let joined = |parts: &[&str]| parts.concat();
    let compact = digits.windows(2).find(|pair| pair[0].len() == 8 && pair[1].len() >= 6);
    let text = match compact {
        Some([day, time]) => joined(&[day, time.get(..6)?]),
        _ => {
            let at =
                digits.windows(6).find(|parts| parts[0].len() == 4 && parts[1..].iter().all(|part| part.len() == 2))?;
            joined(at)
        }
    };
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<i16>().ok();
    let small = |from, to| part(from, to).and_then(|n| i8::try_from(n).ok());
    let year = part(0, 4).filter(|year| (1990..=2100).contains(year))?;
    let local =
        DateTime::new(year, small(4, 6)?, small(6, 8)?, small(8, 10)?, small(10, 12)?, small(12, 14)?, 0).ok()?;
    Some(Taken::local(local, TakenFrom::Name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_from_names_as_phones_write_them() {
        let cases = [
            ("IMG_20240331_023000.jpg", Some("2024-03-31T02:30:00")),
            ("PXL_20240331_023000123.jpg", Some("2024-03-31T02:30:00")),
            ("2024-03-31 02.30.00.jpg", Some("2024-03-31T02:30:00")),
            ("Screenshot_2024-03-31-02-30-00-123.png", Some("2024-03-31T02:30:00")),
            ("IMG_20241331_023000.jpg", None),
            ("IMG_0001.JPG", None),
            ("12345678_123456.jpg", None),
        ];
        for (name, time) in cases {
            assert_eq!(named_time(name).map(|taken| taken.local.to_string()).as_deref(), time, "{name}");
        }
    }
}
