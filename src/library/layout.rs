//! Where the files of the library lie.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::archive::Layout;
use crate::asset::{LIBRARY, ORIGINAL};
use crate::durable;
use crate::photo::{Medium, Photo, PictureFormat};
use crate::picture::{LARGE, SMALL, STRIPPED, STRIPPED_VIDEO};

/// Folder of what can be made again, below the storage folder.
const DERIVED: &str = "derived";
/// Folder of what is arriving, in that of the library.
const INCOMING: &str = "incoming";

/// Folder of the albums, in that of the library.
pub(super) const ALBUMS: &str = "albums";

/// A size of thumbnails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thumb {
    /// For lists of many: 256 pixels.
    Small,
    /// For one that is looked at: 1440 pixels.
    Large,
    /// All of it, without what its file says: pixels alone, up to 8192, or a video in a new file.
    Stripped,
}

impl Thumb {
    /// Name of its file.
    pub fn file_name(self, photo: &Photo) -> &'static str {
        match self {
            Self::Stripped if photo.facts.format.medium() == Medium::Video => STRIPPED_VIDEO,
            Self::Small => SMALL.name,
            Self::Large => LARGE.name,
            Self::Stripped => STRIPPED.name,
        }
    }
}

/// `<aa>/<sha256>`: where content lies, below the library and below what is derived of it.
pub fn relative(sha256: &str) -> String {
    format!("{}/{sha256}", sha256.get(..2).unwrap_or("00"))
}

/// The name of an original.
pub(super) fn original_name(format: PictureFormat) -> String {
    format!("{ORIGINAL}.{}", format.extension())
}

/// Where the files of one volume's library lie.
#[derive(Clone, Debug)]
pub(super) struct LibraryLayout {
    volume: Layout,
}

impl LibraryLayout {
    pub(super) fn new(volume: &Layout) -> Self {
        Self { volume: volume.clone() }
    }

    /// The folder of all content.
    pub(super) fn root(&self) -> PathBuf {
        self.volume.storage().join(LIBRARY)
    }

    /// The folder of one content.
    pub(super) fn content(&self, sha256: &str) -> PathBuf {
        self.root().join(relative(sha256))
    }

    /// The folder of what was made of one content.
    pub(super) fn derived(&self, sha256: &str) -> PathBuf {
        self.volume.storage().join(DERIVED).join(relative(sha256))
    }

    /// The folder of what is arriving.
    pub(super) fn incoming(&self) -> PathBuf {
        self.root().join(INCOMING)
    }

    /// The folder of the albums.
    pub(super) fn albums(&self) -> PathBuf {
        self.root().join(ALBUMS)
    }

    /// Whether a folder in that of the library is no group of contents.
    pub(super) fn is_special(&self, folder: &Path) -> bool {
        folder == self.incoming() || folder == self.albums()
    }

    /// Makes a folder, durably, and only on the volume that lay there at first. Blocks.
    ///
    /// # Errors
    /// When the volume is away or the file system refuses.
    pub(super) fn create(&self, folder: &Path) -> Result<PathBuf> {
        self.volume.create(folder)
    }
}

/// What lies in a folder; nothing where there is no folder.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => {
            let paths: std::io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
            paths.with_context(|| format!("read folder {}", folder.display()))
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("read folder {}", folder.display())),
    }
}

pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(path.parent().map_or(Ok(()), durable::sync_folder).or_else(|error| match error.kind() {
            ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        })?),
    }
}

/// Whether a file is the sidecar of a photo, or what is left of one.
pub(super) fn is_sidecar(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("photo-") && path.extension().is_some_and(|extension| extension == "json")
}
