//! Where the files of one volume lie, and the making of folders there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::volume::Anchor;
use crate::event::EventId;
use crate::volume_folder::VolumeFolder;

/// Where the recordings of one box lie: `<storage.path>/archive/<camera>/<event-id>/` and
/// `<storage.path>/recordings/<camera>/<segment-id>.mp4`.
#[derive(Clone, Debug)]
pub struct Layout {
    storage: PathBuf,
    root: PathBuf,
    recordings: PathBuf,
    volume: VolumeFolder,
    anchor: Option<Anchor>,
}

impl Layout {
    /// The layout below `storage_path`.
    pub fn new(storage_path: &Path) -> Self {
        let below = |name| storage_path.join(name);
        let (root, recordings) = (below("archive"), below("recordings"));
        let volume = VolumeFolder::on(storage_path, None);
        Self { storage: storage_path.to_owned(), root, recordings, volume, anchor: None }
    }

    /// Makes folders only while the volume is the one that `anchor` holds on to.
    pub fn with_anchor(self, anchor: Anchor) -> Self {
        Self { volume: anchor.folder().clone(), anchor: Some(anchor), ..self }
    }

    /// Where the volume was when it was opened; `None` where it is not checked.
    pub fn anchor(&self) -> Option<&Anchor> {
        self.anchor.as_ref()
    }

    /// Whether the storage folder still lies on the volume that it lay on.
    ///
    /// # Errors
    /// When it does not.
    pub fn check_volume(&self) -> Result<()> {
        Ok(self.anchor.as_ref().map_or(Ok(()), Anchor::check)?)
    }

    /// `<storage.path>`.
    pub fn storage(&self) -> &Path {
        &self.storage
    }

    /// `<storage.path>/archive`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of an event.
    pub fn folder(&self, camera: &str, id: EventId) -> PathBuf {
        self.root.join(camera).join(id.to_string())
    }

    /// `<storage.path>/recordings`.
    pub fn recordings_root(&self) -> &Path {
        &self.recordings
    }

    /// The folder of a camera's segments.
    pub fn recordings(&self, camera: &str) -> PathBuf {
        self.recordings.join(camera)
    }

    /// `<storage.path>/coverage`, with a folder for each camera.
    pub fn coverage(&self) -> PathBuf {
        self.storage.join("coverage")
    }

    /// Makes the folder of a camera's segments, durably.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn create_recordings(&self, camera: &str) -> Result<PathBuf> {
        let folder = self.recordings(camera);
        if folder.is_dir() {
            self.check_volume()?;
            return Ok(folder);
        }
        self.create(&folder)
    }

    /// The folder at the top of the volume, for what is made there.
    pub fn volume(&self) -> &VolumeFolder {
        &self.volume
    }

    /// Makes a folder below the storage folder, durably, and only on the volume that lay there at first.
    ///
    /// # Errors
    /// When the volume is away or the file system refuses.
    pub fn create(&self, folder: &Path) -> Result<PathBuf> {
        self.check_volume()?;
        let below = folder.strip_prefix(&self.storage).with_context(|| format!("make {}", folder.display()))?;
        self.volume.folder(below).with_context(|| format!("create folder {}", folder.display()))
    }

    /// Makes an event's folder, durably.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn create_folder(&self, camera: &str, id: EventId) -> Result<PathBuf> {
        self.create(&self.folder(camera, id))
    }
}
