//! Room kept back for the index: a file that is given up when the disk is full.
//!
//! sled cannot go on after a write that found no room: the process would have to end, and the next one could
//! not open the index either. So the writer looks at the free space before it commits. While the reserve is
//! there, everything is committed. When the room gets short, the reserve is given up, and from then on only
//! what helps is committed (ends of events, acknowledgements, evictions) until there is room for a new one.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FallocateFlags, OFlags, fallocate, statvfs};
use tracing::{debug, info, warn};

use crate::durable;
use crate::volume_folder::VolumeFolder;

const NAME: &str = "index.reserve";
/// Size of the reserve, unless the volume is small.
const SIZE: u64 = 8 << 20;
/// The part of a small volume that it takes at most: one in so many bytes.
const SHARE: u64 = 16;

/// Files that must be possible beside those of the index.
const FILES: u64 = 16;

/// What may be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Room {
    /// Nothing: sled might meet the end of the disk.
    None,
    /// What lets the box get out of its want of room.
    Short,
    /// Everything.
    Enough,
}

/// What distinguishes a folder from another at the same path: the file system that it lies on. Its number there may change.
pub(super) fn device(folder: &Path) -> Option<u64> {
    fs::metadata(folder).ok().map(|about| about.dev())
}

/// The reserve of one volume.
#[derive(Debug)]
pub(super) struct Reserve {
    file: PathBuf,
    size: u64,
    folder: VolumeFolder,
    /// This volume takes no reserve for reasons other than room; the free space alone decides then.
    impossible: AtomicBool,
}

impl Reserve {
    pub(super) fn new(folder: &Path) -> Self {
        // A size of zero is one that the file system does not know.
        let size = statvfs(folder).map_or(0, |stat| stat.f_blocks.saturating_mul(stat.f_frsize));
        let volume = if size == 0 { u64::MAX } else { size };
        let (file, folder) = (folder.join(NAME), VolumeFolder::new(folder));
        Self { file, size: SIZE.min(volume / SHARE), folder, impossible: AtomicBool::new(false) }
    }

    /// The folder of the store, on the file system that it lay on at first.
    pub(super) fn folder(&self) -> &VolumeFolder {
        &self.folder
    }

    /// The least free space with which sled is let near the disk: a full group of changes and a segment.
    fn floor(&self) -> u64 {
        self.size / 4
    }

    /// What may be committed now. Recreates the reserve, or gives it up, as the free space demands.
    pub(super) fn room(&self) -> Room {
        if device(self.folder.path()) != self.folder.device() {
            // The space there is not the index's; sled's files are open and stay where they are.
            return Room::Enough;
        }
        // A file system that does not say is taken to have room; sled will say if not.
        let free = || self.free().unwrap_or(u64::MAX);
        if self.file.exists() {
            if free() >= self.floor() {
                // Bytes that are given up make no room for names.
                return if self.lacks_files() { Room::Short } else { Room::Enough };
            }
            self.give_up();
        }
        match free() {
            found if found < self.floor() => Room::None,
            found if found < self.size.saturating_mul(2) || self.lacks_files() => Room::Short,
            _ => {
                self.make();
                Room::Enough
            }
        }
    }

    /// Whether a large group of changes might take all that is left.
    pub(super) fn is_tight(&self) -> bool {
        self.free().is_some_and(|free| free < self.size.saturating_mul(4))
    }

    fn free(&self) -> Option<u64> {
        durable::free_bytes(self.file.parent()?).ok()?
    }

    /// Whether hardly a file can be made any more, however many bytes there are; sled makes one now and then.
    fn lacks_files(&self) -> bool {
        let stat = self.file.parent().and_then(|folder| statvfs(folder).ok());
        stat.is_some_and(|stat| stat.f_files > 0 && stat.f_favail < FILES)
    }

    fn make(&self) {
        if self.impossible.load(Ordering::Relaxed) {
            return;
        }
        match self.write() {
            Ok(()) => debug!(bytes = self.size, "room is kept back for the index"),
            Err(error) => {
                warn!(%error, "no room can be kept back for the index");
                self.impossible.store(true, Ordering::Relaxed);
                let _ = fs::remove_file(&self.file);
            }
        }
    }

    fn write(&self) -> std::io::Result<()> {
        let mut file = self.folder.file(NAME, OFlags::WRONLY | OFlags::TRUNC)?;
        if fallocate(&file, FallocateFlags::empty(), 0, self.size).is_err() {
            // A file system without preallocation. Copy-on-write ones that compress would keep nothing of zeros.
            let block: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(64 << 10).collect();
            for _ in 0..self.size.div_ceil(64 << 10) {
                file.write_all(&block)?;
            }
        }
        file.sync_all()
    }

    /// Frees the room. Returns whether there was some to free.
    pub(super) fn give_up(&self) -> bool {
        let given_up = fs::remove_file(&self.file).is_ok();
        if given_up {
            info!(bytes = self.size, "the disk is full, the room kept back for the index was given up");
        }
        given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_gets_another_number_on_its_file_system_keeps_its_reserve() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (folder, old) = (dir.path().join("store"), dir.path().join("old"));
        fs::create_dir(&folder).expect("a folder");
        let reserve = Reserve::new(&folder);
        fs::rename(&folder, old).expect("take the number");
        fs::create_dir(&folder).expect("another number");
        assert_eq!(reserve.room(), Room::Enough);
        assert!(folder.join("index.reserve").exists(), "the free space was looked at");
    }
}
