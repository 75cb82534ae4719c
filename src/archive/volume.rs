//! The volume that the archive lies on: its identity, whether it is still the one, and its space.
//!
//! `volume.json` names the volume. A mount point whose volume is not mounted looks like any empty folder, so what
//! is remembered off the volume ([`Remembered`]) decides whether a folder without an identity is a new volume or a
//! missing one. While the daemon runs, [`Anchor`] checks whether the path still leads where it led.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::sidecar::{set_aside, write_durable};
use crate::durable;
use crate::volume_folder::VolumeFolder;

const IDENTITY: &str = "volume.json";
/// Written to find out whether the volume takes writes.
const PROBE: &str = "probe";

/// What `volume.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Version of this file.
    pub version: u32,
    /// Random identity, made when the volume was first used.
    pub id: String,
}

/// What is known of the archive's volume while it is away; kept on the system disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// `storage.path` when this was noted; another path is another volume.
    pub path: PathBuf,
    /// Its identity.
    pub id: String,
}

/// Why a volume cannot be used at present.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// The path does not lead to the volume that lay there before.
    #[error("the volume of {} is not mounted: {reason}; mount it", path.display())]
    Absent {
        /// `storage.path`.
        path: PathBuf,
        /// What was found instead.
        reason: String,
    },
    /// Another box's volume, or an earlier one of this box.
    #[error(
        "{} holds another volume ({found}) than before ({expected}); mount the right one, or run `outpost store adopt` to go on with this one", path.display()
    )]
    Swapped {
        /// `storage.path`.
        path: PathBuf,
        /// The identity that was expected.
        expected: String,
        /// The identity that was found.
        found: String,
    },
    /// The file system refuses: read-only, failing, no permission.
    #[error("{} cannot be used: {source}", path.display())]
    Unusable {
        /// What it was tried on.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
}

/// Size and free space of a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Whole size; 0: the file system does not know it, nor what is free.
    pub size_bytes: u64,
    /// What an unprivileged process may still use.
    pub free_bytes: u64,
    /// Files that it can have; 0: it makes room for them as they come.
    pub files: u64,
    /// Files that can still be made.
    pub free_files: u64,
}

impl Space {
    /// The same, as something that only a quota can fill where the file system does not know its size.
    pub(crate) fn or_boundless(self) -> Self {
        if self.size_bytes > 0 { self } else { Self { free_bytes: u64::MAX, ..Self::default() } }
    }
}

/// Opens the storage folder, making it and its identity at first use. With `remembered`, only the volume that is
/// remembered will do, or a new, empty one on a file system other than `system`'s.
///
/// # Errors
/// [`VolumeError::Absent`] and [`VolumeError::Swapped`] by what is remembered; else when the folder cannot be made,
/// written or understood.
pub fn open(storage: &Path, remembered: Option<&Remembered>, system: &Path) -> Result<Volume> {
    if let Some(remembered) = remembered.filter(|remembered| remembered.path == storage) {
        expect(storage, remembered, system)?;
    }
    fs::create_dir_all(storage).with_context(|| uncreated(storage))?;
    if let Some(volume) = identity(storage).with_context(|| format!("read {}", storage.join(IDENTITY).display()))? {
        return Ok(volume);
    }
    let volume = Volume { version: 1, id: format!("{:032x}", fastrand::u128(..)) };
    write_durable(storage, IDENTITY, &serde_json::to_vec_pretty(&volume)?)?;
    Ok(volume)
}

/// Why a folder cannot be made, and what to do.
fn uncreated(storage: &Path) -> String {
    let there = storage.ancestors().find(|folder| fs::symlink_metadata(folder).is_ok());
    match there.filter(|there| !there.is_dir()) {
        Some(file) if file == storage => format!("storage.path {} is no folder: name another one", storage.display()),
        Some(file) => format!(
            "storage.path {} lies below {}, which is no folder: name another one",
            storage.display(),
            file.display()
        ),
        None => format!(
            "create storage.path {}: make it, or let the user that Outpost runs as write there, or name another one",
            storage.display()
        ),
    }
}

/// Compares what lies at `storage` with what is remembered of it.
fn expect(storage: &Path, remembered: &Remembered, system: &Path) -> Result<(), VolumeError> {
    let unusable = |source| VolumeError::Unusable { path: storage.to_owned(), source };
    let absent = |reason: &str| Err(VolumeError::Absent { path: storage.to_owned(), reason: reason.to_owned() });
    match identity(storage).map_err(unusable)? {
        Some(found) if found.id == remembered.id => Ok(()),
        Some(found) => {
            let (expected, found) = (remembered.id.clone(), found.id);
            Err(VolumeError::Swapped { path: storage.to_owned(), expected, found })
        }
        None if !storage.is_dir() => absent("there is no such folder"),
        None if device(storage).map_err(unusable)? == device(system).map_err(unusable)? => {
            absent("the folder lies on the system disk")
        }
        None => {
            info!(path = %storage.display(), "a new volume takes the place of the one before");
            Ok(())
        }
    }
}

/// The identity at `storage`, if there is one. A damaged one is set aside: it is no reason to leave the recordings
/// on this volume alone.
fn identity(storage: &Path) -> std::io::Result<Option<Volume>> {
    let path = storage.join(IDENTITY);
    match fs::read(&path) {
        Ok(text) => {
            if let Ok(volume) = serde_json::from_slice(&text) {
                return Ok(Some(volume));
            }
            warn!(file = %path.display(), "the volume's identity is damaged, it gets a new one");
            set_aside(storage, IDENTITY).map_err(std::io::Error::other)?;
            Ok(None)
        }
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(e),
    }
}

/// What `file` says of its volume; damaged content is `InvalidData`.
fn named(file: &Path) -> std::io::Result<Volume> {
    serde_json::from_slice(&fs::read(file)?).map_err(|error| std::io::Error::new(ErrorKind::InvalidData, error))
}

/// Number of the file system that holds `path`.
///
/// # Errors
/// When the path is gone.
pub fn device(path: &Path) -> std::io::Result<u64> {
    fs::metadata(path).map(|about| about.dev())
}

/// Whether `folder` lies on another file system than the folder that holds it.
fn is_mount_point(folder: &Path) -> bool {
    let of = |path: &Path| device(path).ok();
    folder.parent().is_some_and(|above| of(folder).is_some_and(|device| of(above) != Some(device)))
}

/// Where a path led when it was opened: the mounted file system, and the volume by its name in `volume.json`. The
/// number of that file says nothing by itself: exFAT, FAT, FUSE and network shares give a file another one whenever
/// the kernel forgot it.
#[derive(Clone, Debug)]
pub struct Anchor {
    storage: PathBuf,
    /// Its top folder, by the device of the folder itself: on an overlay files have others.
    folder: VolumeFolder,
    device: u64,
    /// Something was mounted at the path itself, not above it.
    is_mount_point: bool,
    id: Arc<str>,
    /// The number that the file had when its content was read last.
    inode: Arc<AtomicU64>,
}

impl Anchor {
    /// Remembers where `storage` leads now.
    ///
    /// # Errors
    /// When it has no identity.
    pub fn new(storage: &Path) -> std::io::Result<Self> {
        let about = fs::metadata(storage.join(IDENTITY))?;
        let Volume { id, .. } = named(&storage.join(IDENTITY))?;
        let inode = Arc::new(AtomicU64::new(about.ino()));
        let folder = VolumeFolder::new(storage);
        let (storage, device, is_mount_point) = (storage.to_owned(), about.dev(), is_mount_point(storage));
        Ok(Self { storage, folder, device, is_mount_point, id: id.into(), inode })
    }

    /// The folder at the top of the volume, for what is made there.
    pub fn folder(&self) -> &VolumeFolder {
        &self.folder
    }

    /// Whether the path still leads there. Costs one look at a name, and a read of a small file where that has another
    /// number than before.
    ///
    /// # Errors
    /// [`VolumeError::Absent`] when it leads elsewhere, so that nothing is ever written under an unmounted volume.
    pub fn check(&self) -> Result<(), VolumeError> {
        let absent = |reason: &str| Err(VolumeError::Absent { path: self.storage.clone(), reason: reason.to_owned() });
        let file = self.storage.join(IDENTITY);
        let look = || -> std::io::Result<(u64, u64, Option<Volume>)> {
            let about = fs::metadata(&file)?;
            let is_known = about.dev() != self.device || about.ino() == self.inode.load(Ordering::Relaxed);
            Ok((about.dev(), about.ino(), if is_known { None } else { Some(named(&file)?) }))
        };
        match look() {
            Ok((device, ..)) if device != self.device => absent("another file system lies there now"),
            Ok((_, _, None)) => Ok(()),
            Ok((_, inode, Some(volume))) if volume.id == *self.id => {
                self.inode.store(inode, Ordering::Relaxed);
                Ok(())
            }
            Ok((_, _, Some(Volume { id, .. }))) => absent(&format!("{IDENTITY} names another volume there now, {id}")),
            Err(error) if error.kind() == ErrorKind::NotFound => absent(&format!("{IDENTITY} is gone")),
            Err(error) if error.kind() == ErrorKind::InvalidData => absent(&format!("{IDENTITY} is damaged")),
            Err(source) => Err(VolumeError::Unusable { path: self.storage.clone(), source }),
        }
    }

    /// Whether something may be opened at the path again, read only: the volume came back as another device, or another
    /// one was mounted in its place. An empty mount point on the file system of `system` is neither.
    ///
    /// # Errors
    /// [`VolumeError::Absent`] when nothing is mounted there.
    pub fn has_successor(&self, system: &Path) -> Result<(), VolumeError> {
        if device(system).is_ok_and(|system| system == self.device) {
            // It never was a volume of its own.
            return Ok(());
        }
        if self.is_mount_point && !is_mount_point(&self.storage) {
            let reason = "nothing is mounted there".to_owned();
            return Err(VolumeError::Absent { path: self.storage.clone(), reason });
        }
        let known = Remembered { path: self.storage.clone(), id: self.id.to_string() };
        match expect(&self.storage, &known, system) {
            Err(VolumeError::Swapped { .. }) => Ok(()),
            outcome => outcome,
        }
    }

    /// Whether the volume still is there and takes a write, all the way to the disk. A full one does.
    ///
    /// # Errors
    /// Why it does not.
    pub fn probe(&self) -> Result<(), VolumeError> {
        self.check()?;
        let path = self.storage.join(PROBE);
        let write = || -> std::io::Result<()> {
            let file = self.folder.file(PROBE, OFlags::WRONLY)?;
            // In place, so that it needs no room after the first time.
            file.write_all_at(&fastrand::u64(..).to_le_bytes(), 0)?;
            file.sync_data()
        };
        match write() {
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => Ok(()),
            Err(source) => Err(VolumeError::Unusable { path, source }),
            Ok(()) => Ok(()),
        }
    }
}

/// Reads what is remembered in `file`. One that is damaged or missing says nothing.
pub fn recall(file: &Path) -> Option<Remembered> {
    let text = fs::read(file).ok()?;
    serde_json::from_slice(&text)
        .inspect_err(|error| warn!(file = %file.display(), %error, "cannot be understood"))
        .ok()
}

/// Notes durably in `file` which volume lies at a path.
///
/// # Errors
/// When the system disk refuses.
pub fn remember(file: &Path, remembered: &Remembered) -> Result<()> {
    if recall(file).as_ref() == Some(remembered) {
        return Ok(());
    }
    let json = serde_json::to_vec_pretty(remembered).context("encode the identity of a volume")?;
    durable::replace(file, &json).with_context(|| format!("write {}", file.display()))
}

/// Asks the file system that holds `path` for its space.
///
/// # Errors
/// When the path is gone or the file system does not answer.
pub fn space(path: &Path) -> Result<Space> {
    let stat = rustix::fs::statvfs(path).with_context(|| format!("ask for free space at {}", path.display()))?;
    Ok(Space {
        size_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        files: stat.f_files,
        free_files: stat.f_favail,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_first(storage: &Path) -> Result<Volume> {
        open(storage, None, Path::new("/"))
    }

    #[test]
    fn a_volume_keeps_its_identity() {
        let dir = tempfile::tempdir().expect("tempdir");
        let first = open_first(&dir.path().join("new")).expect("create");
        assert_eq!(open_first(&dir.path().join("new")).expect("open"), first);
    }

    #[test]
    fn a_damaged_identity_is_set_aside() {
        let dir = tempfile::tempdir().expect("tempdir");
        open_first(dir.path()).expect("create");
        fs::write(dir.path().join(IDENTITY), b"{\"version\": 1, \xff").expect("damage");
        let second = open_first(dir.path()).expect("open");
        assert_eq!(open_first(dir.path()).expect("open again"), second);
        assert!(dir.path().join("volume.json.bad").exists());
    }

    #[test]
    fn a_volume_that_is_not_mounted_is_missed_and_never_written_to() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (storage, note) = (dir.path().join("mnt"), dir.path().join("volume"));
        let volume = open_first(&storage).expect("create");
        let known = Remembered { path: storage.clone(), id: volume.id.clone() };
        remember(&note, &known).expect("note");
        assert_eq!(recall(&note), Some(known.clone()));
        let open = || open(&storage, recall(&note).as_ref(), dir.path());
        assert_eq!(open().expect("the one that was remembered"), volume);

        fs::remove_file(storage.join(IDENTITY)).expect("unmount, as far as the daemon can see");
        let absent = open().expect_err("an empty folder on the system disk");
        assert!(matches!(absent.downcast_ref(), Some(VolumeError::Absent { .. })), "{absent:#}");
        fs::remove_dir(&storage).expect("not even a folder");
        assert!(matches!(open().expect_err("nothing").downcast_ref(), Some(VolumeError::Absent { .. })));
        assert!(!storage.exists());
        open_first(&storage).expect("a volume of another box");
        let swapped = open().expect_err("another one");
        assert!(matches!(swapped.downcast_ref(), Some(VolumeError::Swapped { .. })), "{swapped:#}");
        assert!(swapped.to_string().contains(&volume.id), "{swapped:#}");
    }

    #[test]
    fn an_anchor_holds_until_the_path_leads_elsewhere() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (storage, away) = (dir.path().join("mnt"), dir.path().join("away"));
        let volume = open_first(&storage).expect("create");
        let anchor = Anchor::new(&storage).expect("an identity");
        anchor.probe().expect("it takes writes");
        fs::rename(&storage, &away).expect("unmount");
        assert!(matches!(anchor.check(), Err(VolumeError::Absent { .. })));
        fs::create_dir(&storage).expect("the mount point");
        assert!(matches!(anchor.probe(), Err(VolumeError::Absent { .. })));
        assert_eq!(fs::read_dir(&storage).expect("list").count(), 0, "nothing was written there");
        let other = Volume { id: "another".into(), ..volume };
        fs::write(storage.join(IDENTITY), serde_json::to_vec(&other).expect("JSON")).expect("another volume");
        assert!(matches!(anchor.check(), Err(VolumeError::Absent { .. })), "another volume of the same file system");
        fs::write(storage.join(IDENTITY), "{").expect("damage");
        assert!(matches!(anchor.check(), Err(VolumeError::Absent { .. })), "one that cannot be identified");
        fs::remove_dir_all(&storage).expect("clear");
        fs::rename(&away, &storage).expect("mount");
        anchor.probe().expect("back");
    }

    /// Works with: disks | exFAT, FAT, FUSE and network shares, whose inode numbers change | one volume, by its device and the id in volume.json
    #[test]
    fn a_volume_stays_the_same_when_its_files_get_other_numbers() {
        let dir = tempfile::tempdir().expect("tempdir");
        open_first(dir.path()).expect("create");
        let anchor = Anchor::new(dir.path()).expect("an identity");
        let (file, copy) = (dir.path().join(IDENTITY), dir.path().join("copy"));
        fs::copy(&file, &copy).expect("copy");
        let before = fs::metadata(&file).expect("look").ino();
        fs::rename(&copy, &file).expect("replace");
        assert_ne!(fs::metadata(&file).expect("look").ino(), before);
        anchor.probe().expect("the same volume");
        anchor.clone().check().expect("and again");
    }

    #[test]
    fn space_is_plausible_and_a_missing_path_is_named() {
        let space_here = space(Path::new("/")).expect("statvfs");
        assert!(space_here.size_bytes >= space_here.free_bytes && space_here.size_bytes > 0);
        assert!(format!("{:#}", space(Path::new("/no/such")).expect_err("missing")).contains("/no/such"));
    }
}
