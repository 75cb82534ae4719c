//! The photo library: pictures and videos that people give to the box, kept, delivered and recovered as events are.
//!
//! # On disk
//! | path below the storage folder | what |
//! |---|---|
//! | `library/<aa>/<sha256>/original.<ext>` | the file as it came; `aa` are the first two digits of its hash |
//! | `library/<aa>/<sha256>/photo-<id>.json` | a photo: what one user keeps. Photos with the same content share a folder |
//! | `library/albums/<id>.json` | an album: what it says, and which photos are in it |
//! | the same, of a deleted photo | a tombstone, so that no copy of the sidecar brings it back |
//! | `library/incoming/` | files that are arriving, uploads that go on after a break, and notes of files that are being taken in |
//! | `derived/<aa>/<sha256>/` | thumbnails; they may go and are made again |
//! | `library/<aa>/<sha256>/original.<ext>.away` | in place of an original that lies at a destination alone: where it is |
//! | `library/<aa>/<sha256>/original.<ext>.fetched`, `.damaged` | what has come back of it; a damaged one that was replaced |
//! | `checks/originals.json` | how far the check of originals is |
//!
//! # Order of durability
//! The original, then the sidecar, then the index together with what is to be delivered. A photo is acknowledged only
//! after that. A note in `incoming` is written before and removed after: what a stop leaves in between is found by it,
//! without a walk over the library.

mod albums;
mod backup;
mod change;
mod check;
mod compare;
mod config;
mod contents;
mod folders;
mod intake;
mod layout;
mod merge;
mod recover;
mod release;
mod removal;
mod restore;
mod resumable;
#[cfg(test)]
mod tests;
mod trash;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::archive::{Archive, write_durable};
use crate::asset::{LIBRARY, MediaFile};
use crate::byte_size;
use crate::photo::Photo;
use crate::picture::{Inspector, LARGEST_STRIPPED, PictureError};
use crate::store::{Document, StoreError};

pub use backup::{BackupCounts, BackupOf, write_backup};
pub use change::PhotoEdit;
pub use check::{CheckReport, CheckRound, DamagedOriginal};
pub use compare::{Compared, compare};
pub use config::{Config, Quota, WatchedFolder};
pub use folders::{Entry, FileResult, FolderSource, SETTLE, Seen, Settling, files_below, is_wanted_below, look_at};
pub use intake::{Arriving, Given, Kept};
pub use layout::{Thumb, relative};
pub use merge::MOST_MERGED;
pub use recover::recover;
pub use release::OriginalState;
pub use restore::{Outcomes, RestoreReport, Restored, compare_backup, restore_backup};
pub use resumable::{LIFETIME, Resumable, UploadId, Uploads};

/// Why a photo is not taken in, or not changed.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// The volume of the archive is away; the spool is too small for libraries.
    #[error("the volume of the archive is away: photos are taken in again when it is back")]
    Away,
    /// The volume has too little room.
    #[error("the volume has too little room: nothing is taken in until there is more")]
    Full,
    /// The photos of its owner would take more than they may.
    #[error(
        "the photos of {owner} take {} of {}, and this file has {}: delete some for good, or ask an admin for a larger quota",
        byte_size::text(*used),
        byte_size::text(*quota),
        byte_size::text(*bytes)
    )]
    OverQuota {
        /// Whose photos.
        owner: Arc<str>,
        /// Bytes that they may take.
        quota: u64,
        /// Bytes that they take, and those of uploads that have begun.
        used: u64,
        /// Bytes of the file.
        bytes: u64,
    },
    /// The file is larger than the box takes.
    #[error("the file is larger than {most} bytes")]
    TooLarge {
        /// Most bytes of one file.
        most: u64,
    },
    /// It has no content.
    #[error("the file is empty")]
    Empty,
    /// It is neither a picture nor a video.
    #[error("{0}")]
    NotAPicture(String),
    /// There is no such upload, or not any more.
    #[error("there is no upload with this id, or it is over: begin it again")]
    NoUpload,
    /// The next bytes do not follow on those that are there.
    #[error("the upload goes on at byte {offset}")]
    WrongOffset {
        /// Bytes that are there.
        offset: u64,
    },
    /// The photo is not any more as the caller knows it.
    #[error("the photo was changed meanwhile: get it again")]
    Changed,
    /// There is no such photo.
    #[error("there is no photo with this id on this box")]
    Unknown,
    /// Its original is on this box, or nowhere.
    #[error("the original is not kept elsewhere alone: there is nothing to bring back")]
    NotAway,
    /// Its original is to stay on this box.
    #[error("{0}")]
    NotReleased(String),
    /// A photo cannot be like that.
    #[error("{0}")]
    BadEdit(String),
    /// It is the favourite of too many users.
    #[error("a photo is the favourite of {most} users at most")]
    TooManyFavorites {
        /// Most users.
        most: usize,
    },
    /// There is no such album.
    #[error("there is no album with this id on this box")]
    NoAlbum,
    /// An album cannot be like that.
    #[error("{0}")]
    BadAlbum(String),
    /// The index or the disk fails.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

impl From<StoreError> for LibraryError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full(_) => Self::Full,
            other => Self::Failed(other.into()),
        }
    }
}

impl From<PictureError> for LibraryError {
    fn from(error: PictureError) -> Self {
        match error {
            PictureError::NotAPicture => Self::NotAPicture(error.to_string()),
            other => Self::Failed(anyhow::Error::new(other)),
        }
    }
}

/// The library on the volume of one archive. Cheap to clone.
#[derive(Clone)]
pub struct Library {
    archive: Archive,
    inspector: Inspector,
    layout: layout::LibraryLayout,
    uploads: Uploads,
    released: release::Released,
    config: Arc<Config>,
}

/// What is shared by all that change photos, whatever the volume.
#[derive(Clone, Debug, Default)]
pub struct LibraryShared {
    /// What looks at files.
    pub inspector: Inspector,
    uploads: Uploads,
    released: release::Released,
}

impl Library {
    /// The library beside `archive`.
    pub fn new(archive: &Archive, shared: &LibraryShared, config: Arc<Config>) -> Self {
        let layout = layout::LibraryLayout::new(archive.layout());
        let LibraryShared { inspector, uploads, released } = shared.clone();
        Self { archive: archive.clone(), inspector, layout, uploads, released, config }
    }

    /// Where the original of a photo lies.
    pub fn original(&self, photo: &Photo) -> PathBuf {
        self.layout.content(&photo.sha256).join(&photo.file)
    }

    /// Where a thumbnail of a photo lies; it is made again where it went. `None` where the photo cannot be shown, or there
    /// is no thumbnail and the original is not here.
    ///
    /// # Errors
    /// When the original cannot be read, or the disk fails.
    pub async fn thumbnail(&self, photo: &Photo, size: Thumb) -> Result<Option<PathBuf>, LibraryError> {
        let path = self.layout.derived(&photo.sha256).join(size.file_name(photo));
        if photo.facts.unreadable.is_some() {
            return Ok(None);
        }
        if !tokio::fs::try_exists(&path).await.unwrap_or(false) {
            let original = self.original(photo);
            if !tokio::fs::try_exists(&original).await.unwrap_or(false) {
                return Ok(None);
            }
            self.inspect(&original, &photo.name, &photo.sha256, size == Thumb::Stripped).await?;
        }
        Ok(tokio::fs::try_exists(&path).await.unwrap_or(false).then_some(path))
    }

    /// Makes the copy of a video without what its file says of itself, where there is none yet. Gives why it cannot be made,
    /// where it cannot.
    ///
    /// # Errors
    /// [`LibraryError::Full`] while the volume is short of room; else when the original cannot be read, or the disk fails.
    pub async fn strip_video(&self, photo: &Photo) -> Result<Option<String>, LibraryError> {
        let path = self.layout.derived(&photo.sha256).join(Thumb::Stripped.file_name(photo));
        if tokio::fs::try_exists(&path).await.unwrap_or(false) {
            return Ok(None);
        }
        if photo.bytes > LARGEST_STRIPPED {
            let most = byte_size::text(LARGEST_STRIPPED);
            return Ok(Some(format!("a video of more than {most} is not written again without what its file says")));
        }
        if !tokio::fs::try_exists(self.original(photo)).await.unwrap_or(false) {
            return Ok(Some("the original is not on this box".to_owned()));
        }
        self.check_room()?;
        Ok(self.inspect(&self.original(photo), &photo.name, &photo.sha256, true).await?.unstripped)
    }

    /// Writes the sidecar of a photo, which is the truth about it, durably. Blocks.
    fn write_sidecar(&self, photo: &Photo) -> Result<MediaFile> {
        let mut text = serde_json::to_vec_pretty(photo).context("encode the photo's sidecar")?;
        text.push(b'\n');
        write_durable(&self.layout.content(&photo.sha256), &Photo::sidecar_name(photo.id), &text)
    }

    /// The sidecar of `photo` as it lies on the disk. Blocks.
    fn read_sidecar(&self, photo: &Photo) -> Result<Photo> {
        let path = self.layout.content(&photo.sha256).join(Photo::sidecar_name(photo.id));
        let text = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))
    }

    /// What destinations get of a photo: its original, where it is new, and its sidecar.
    fn documents(photo: &Photo, sidecar: MediaFile, with_original: bool) -> Vec<Document> {
        let folder = layout::relative(&photo.sha256);
        let path = |file: &str| format!("{LIBRARY}/{folder}/{file}");
        let sidecar = Document::new(path(&sidecar.file), sidecar.bytes, sidecar.sha256);
        let original = with_original.then(|| Document::new(path(&photo.file), photo.bytes, photo.sha256.clone()));
        original.into_iter().chain([sidecar]).collect()
    }
}
