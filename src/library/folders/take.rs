//! Taking in a file that lies in a folder: read twice, first to know whether there is anything to do.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use anyhow::Context;
use jiff::Timestamp;
use jiff::civil::DateTime;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::walk::Entry;
use crate::library::contents::tombstone;
use crate::library::intake::{Given, Kept, LARGEST, blocking};
use crate::library::layout::entries;
use crate::library::{Library, LibraryError, PhotoEdit};
use crate::photo::{HEAD, Photo, PhotoId, PictureFormat, TakenEdit};
use crate::zone;

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

/// Whose photos the files of a folder become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderSource {
    /// The user.
    pub owner: Arc<str>,
    /// Whether their owner alone sees them.
    pub private: bool,
    /// Tags that they get.
    pub tags: Vec<String>,
}

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileResult {
    /// It is a new photo.
    Added(PhotoId),
    /// Its owner has it already, in the trash maybe.
    Known(PhotoId),
    /// Its owner deleted it for good.
    Deleted,
    /// It is neither a picture nor a video.
    NotAPicture,
    /// It is not as it was when it was found: it is being written, or gone.
    Changing,
    /// It cannot be taken in as it is: one sentence.
    Refused(String),
    /// It cannot be read: one sentence.
    Unreadable(String),
}

/// What a first look at a file says.
enum Look {
    Content { sha256: String, continues: bool },
    Other(FileResult),
}

impl Library {
    /// Takes in the file that `entry` is of. `before` is the photo that an earlier content of this file became: where that
    /// was its beginning only, the new one takes its place.
    ///
    /// # Errors
    /// [`LibraryError::Away`], [`LibraryError::Full`], [`LibraryError::OverQuota`]; else when index or disk fail.
    pub async fn take_file(
        &self,
        entry: &Entry,
        source: &FolderSource,
        before: Option<PhotoId>,
        stop: &CancellationToken,
    ) -> Result<FileResult, LibraryError> {
        let photos = self.archive.store().photos();
        let before = match before {
            Some(id) => photos.get(id).await?.filter(|photo| photo.owner == source.owner && photo.trashed.is_none()),
            None => None,
        };
        let (looked, half, stopped) = (entry.clone(), before.clone(), stop.clone());
        let look = blocking(move || Ok(look_into(&looked, half.as_ref(), &stopped))).await?;
        let (sha256, continues) = match look {
            Look::Content { sha256, continues } => (sha256, continues),
            Look::Other(result) => return Ok(result),
        };
        let known = photos.with_content(&sha256).await?;
        if let Some(own) = known.iter().find(|photo| photo.owner == source.owner) {
            return Ok(FileResult::Known(own.id));
        }
        if self.was_deleted(&sha256).await? {
            return Ok(FileResult::Deleted);
        }
        self.check_room()?;
        self.check_quota(&source.owner, entry.bytes, 0).await?;
        let result = self.copy_in(entry, &sha256, source, stop).await?;
        if let (FileResult::Added(id), Some(half), true) = (&result, before, continues) {
            self.replace_half(&half, *id).await?;
        }
        Ok(result)
    }

    /// Whether a photo of this content was deleted for good.
    async fn was_deleted(&self, sha256: &str) -> Result<bool, LibraryError> {
        let folder = self.layout.content(sha256);
        blocking(move || Ok(entries(&folder)?.iter().any(|path| tombstone(path).is_some()))).await
    }

    async fn copy_in(
        &self,
        entry: &Entry,
        sha256: &str,
        source: &FolderSource,
        stop: &CancellationToken,
    ) -> Result<FileResult, LibraryError> {
        let mut arriving = self.begin().await?;
        let opened = entry.clone();
        let mut file = match blocking(move || Ok(open(&opened))).await? {
            Ok(file) => file,
            Err(result) => return Ok(result),
        };
        loop {
            let piece = blocking(move || {
                let mut piece = Vec::with_capacity(PIECE);
                let read = (&mut file).take(PIECE as u64).read_to_end(&mut piece);
                Ok((file, read.map(|_| piece)))
            });
            let (back, read) = piece.await?;
            file = back;
            match read {
                Ok(piece) if piece.is_empty() => break,
                Ok(piece) => arriving.write(&piece).await?,
                Err(error) => return Ok(unreadable(entry, &error)),
            }
            if stop.is_cancelled() {
                return Ok(FileResult::Changing);
            }
        }
        if arriving.sha256() != sha256 {
            return Ok(FileResult::Changing);
        }
        let given = Given {
            name: entry.path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            owner: source.owner.clone(),
            private: source.private,
            file_date: file_date(entry.modified_ns),
            tags: source.tags.clone(),
        };
        match self.keep(arriving, given).await {
            Ok(Kept::New(photo)) => Ok(FileResult::Added(photo.id)),
            Ok(Kept::Known(photo)) => Ok(FileResult::Known(photo.id)),
            Err(LibraryError::NotAPicture(_)) => Ok(FileResult::NotAPicture),
            Err(error) => Err(error),
        }
    }

    /// What was kept of a file that was still being written goes to the trash; what people said of it stays with the file.
    async fn replace_half(&self, half: &Photo, whole: PhotoId) -> Result<(), LibraryError> {
        let edit = PhotoEdit {
            title: Some(half.title.clone()),
            note: Some(half.note.clone()),
            tags: Some(half.tags.clone()),
            taken: half.taken_found.map(|_| TakenEdit::At { local: half.taken.local, offset_s: half.taken.offset_s }),
            private: Some(half.private),
            trashed: None,
        };
        self.edit(whole, edit, None).await?;
        for user in &half.favorite_of {
            self.set_favorite(whole, user, true).await?;
        }
        match self.edit(half.id, PhotoEdit { trashed: Some(true), ..PhotoEdit::default() }, None).await {
            // It was deleted meanwhile.
            Ok(_) | Err(LibraryError::Unknown) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Opens the file that `entry` is of, as long as it is as it was found. Blocks.
fn open(entry: &Entry) -> Result<File, FileResult> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
    let opened = options.open(&entry.path).and_then(|file| Ok((file.metadata()?, file)));
    match opened {
        Ok((metadata, file)) if Entry::of(&entry.path, &metadata).is_some_and(|now| now.is_as(entry)) => Ok(file),
        Ok(_) => Err(FileResult::Changing),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(FileResult::Changing),
        Err(error) => Err(unreadable(entry, &error)),
    }
}

fn unreadable(entry: &Entry, error: &io::Error) -> FileResult {
    FileResult::Unreadable(format!("{} cannot be read: {error}", entry.path.display()))
}

/// Whether it is a picture or a video, and of which content; `half` is a photo that may be its beginning. Blocks.
fn look_into(entry: &Entry, half: Option<&Photo>, stop: &CancellationToken) -> Look {
    match entry.bytes {
        0 => return Look::Other(FileResult::Refused("the file is empty".to_owned())),
        bytes if bytes > LARGEST => {
            return Look::Other(FileResult::Refused(LibraryError::TooLarge { most: LARGEST }.to_string()));
        }
        _ => {}
    }
    let read = open(entry).and_then(|file| hash(entry, file, half, stop));
    read.unwrap_or_else(Look::Other)
}

fn hash(entry: &Entry, mut file: File, half: Option<&Photo>, stop: &CancellationToken) -> Result<Look, FileResult> {
    let (mut hash, mut piece) = (Sha256::new(), vec![0; PIECE]);
    let (mut bytes, mut continues) = (0_u64, false);
    let half = half.filter(|half| half.bytes > 0 && half.bytes < entry.bytes);
    loop {
        // A piece ends where the half ended, so that the hashes can be compared there.
        let left = half.map(|half| half.bytes.saturating_sub(bytes)).filter(|left| *left > 0);
        let most = left.and_then(|left| usize::try_from(left).ok()).map_or(PIECE, |left| left.min(PIECE));
        let read = file.read(piece.get_mut(..most).unwrap_or_default()).map_err(|error| unreadable(entry, &error))?;
        let read = piece.get(..read).unwrap_or_default();
        if read.is_empty() {
            break;
        }
        if bytes == 0 && PictureFormat::of(read.get(..HEAD).unwrap_or(read), &entry.path.to_string_lossy()).is_none() {
            return Err(FileResult::NotAPicture);
        }
        hash.update(read);
        bytes += read.len() as u64;
        if let Some(half) = half.filter(|half| half.bytes == bytes) {
            continues = hex::encode(hash.clone().finalize()) == half.sha256;
        }
        if stop.is_cancelled() {
            return Err(FileResult::Changing);
        }
    }
    let now = file.metadata().with_context(|| format!("look at {}", entry.path.display()));
    let is_as_it_was = now.is_ok_and(|now| Entry::of(&entry.path, &now).is_some_and(|now| now.is_as(entry)));
    if bytes != entry.bytes || !is_as_it_was {
        return Err(FileResult::Changing);
    }
    Ok(Look::Content { sha256: hex::encode(hash.finalize()), continues })
}

/// When a file was changed last, as the box's wall clock showed it.
fn file_date(modified_ns: i64) -> Option<DateTime> {
    let at = Timestamp::from_nanosecond(i128::from(modified_ns)).ok()?;
    Some(at.to_zoned(zone::local()).datetime())
}
