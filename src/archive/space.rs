//! Room on the volume: what is recorded while there is little, and a reserve for the worst.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::fs::{FallocateFlags, OFlags};
use tokio::sync::Notify;
use tracing::{info, warn};

use super::sidecar::sync_folder;
use super::volume::{self, Space};
use crate::volume_folder::VolumeFolder;

/// What the box itself needs to run and to delete: index, sidecars, logs of it all.
const FLOOR: [u64; 2] = [1 << 20, 8 << 20];
/// Files that can still be made: some events at once, on whatever volume.
const FILES: [u64; 2] = [32, 4096];
/// Name of the file that keeps room back.
const RESERVE: &str = "reserve";
/// What stays free when nothing is configured, unless the volume is small.
const KEEP_FREE: u64 = 1 << 30;

/// What is recorded, depending on the room that is left. Each level leaves out more than the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordingLevel {
    /// Everything.
    #[default]
    Full,
    /// No continuous video.
    NoContinuous,
    /// No clips either: events with their pictures.
    Snapshots,
    /// No pictures either: events.
    Metadata,
    /// Not even events.
    Nothing,
}

impl RecordingLevel {
    const ALL: [Self; 5] = [Self::Full, Self::NoContinuous, Self::Snapshots, Self::Metadata, Self::Nothing];

    fn from_u8(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or_default()
    }

    /// What is left out, in words for the operator; nothing at the best level.
    pub fn left_out(self) -> Option<&'static str> {
        match self {
            Self::Full => None,
            Self::NoContinuous => Some("no continuous video is recorded for lack of space"),
            Self::Snapshots => Some("no video is recorded for lack of space"),
            Self::Metadata => Some("neither video nor pictures are recorded for lack of space"),
            Self::Nothing => Some("nothing is recorded for lack of space"),
        }
    }

    /// Whether continuous video is recorded.
    pub fn has_continuous(self) -> bool {
        self < Self::NoContinuous
    }

    /// Whether clips are recorded.
    pub fn has_clips(self) -> bool {
        self < Self::Snapshots
    }

    /// Whether pictures are recorded.
    pub fn has_stills(self) -> bool {
        self < Self::Metadata
    }

    /// Whether events are recorded.
    pub fn has_events(self) -> bool {
        self < Self::Nothing
    }
}

/// The marks on one volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    /// What the box itself needs: below half of this nothing is recorded.
    pub floor: u64,
    /// Below this files are deleted.
    pub keep: u64,
}

impl Marks {
    pub(crate) fn new(volume_bytes: u64, min_free: Option<u64>) -> Self {
        let floor = (volume_bytes / 16).clamp(FLOOR[0], FLOOR[1]);
        let keep = min_free.unwrap_or_else(|| KEEP_FREE.min(volume_bytes / 20));
        Self { floor, keep: keep.max(2 * floor) }
    }

    /// The room that is left on a volume, as bytes: where files run out first, as much less than [`Marks::keep`].
    pub(crate) fn room(&self, space: &Space) -> u64 {
        let wanted = wanted_files(space);
        if wanted == 0 || space.free_files >= wanted {
            return space.free_bytes;
        }
        let share = u128::from(self.keep) * u128::from(space.free_files) / u128::from(wanted);
        space.free_bytes.min(u64::try_from(share).unwrap_or(u64::MAX))
    }

    /// The level with `free` bytes left, after `now`. It gets better only when there is clearly more room than
    /// where it got worse, or recording would begin and stop all the time.
    pub(crate) fn level(&self, now: RecordingLevel, free: u64) -> RecordingLevel {
        let span = self.keep - self.floor;
        let (worst, best) = (self.level_at(free), self.level_at(free.saturating_sub(span / 8)));
        if worst > now { worst } else { best.min(now) }
    }

    /// Four equal steps from `keep` down to `floor`: deleting has the first of them for itself. Events are small,
    /// so they are recorded for longer.
    fn level_at(&self, free: u64) -> RecordingLevel {
        let span = self.keep - self.floor;
        let lacking = (1..=3).filter(|step| free < self.floor + span / 4 * step).count();
        let nothing_left = usize::from(free < self.floor / 2);
        RecordingLevel::from_u8(u8::try_from(lacking + nothing_left).unwrap_or(u8::MAX))
    }
}

/// How many files a volume should still take: below that some are deleted.
pub(crate) fn wanted_files(space: &Space) -> u64 {
    if space.files == 0 { 0 } else { (space.files / 20).clamp(FILES[0], FILES[1]) }
}

/// What recorders and retention exchange. One for all of them.
#[derive(Debug)]
pub(crate) struct Room {
    level: AtomicU8,
    /// A write met a full volume, or wrote much.
    pub low: Notify,
    pub reserve: Reserve,
}

impl Room {
    pub(crate) fn new(storage: &Path) -> Self {
        Self { level: AtomicU8::default(), low: Notify::new(), reserve: Reserve::new(storage) }
    }

    pub(crate) fn level(&self) -> RecordingLevel {
        RecordingLevel::from_u8(self.level.load(Ordering::Relaxed))
    }

    pub(crate) fn set_level(&self, level: RecordingLevel) {
        self.level.store(level as u8, Ordering::Relaxed);
    }
}

/// Space that is taken in good times, so that there is some when the volume is full: deleting needs a little
/// itself, for the new `event.json` and for the index.
#[derive(Debug)]
pub(crate) struct Reserve {
    folder: VolumeFolder,
}

impl Reserve {
    fn new(storage: &Path) -> Self {
        Self { folder: VolumeFolder::new(storage) }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(RESERVE)
    }

    pub(crate) fn is_there(&self) -> bool {
        self.path().is_file()
    }

    pub(crate) fn make(&self, bytes: u64) -> io::Result<()> {
        let take = || {
            let file = self.folder.file(RESERVE, OFlags::WRONLY | OFlags::TRUNC)?;
            rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
            file.sync_all()
        };
        take().inspect_err(|_| {
            // Half a reserve would count as one.
            let _ = fs::remove_file(self.path());
        })
    }

    /// Gives the reserve up. Returns whether there was one.
    pub(crate) fn release(&self) -> bool {
        let released = fs::remove_file(self.path()).is_ok();
        if released {
            // Some file systems count the space as free only then.
            let _ = sync_folder(self.folder.path());
            warn!("the volume is full, using the reserve");
        }
        released
    }
}

/// Before the index is opened: it cannot be on a full volume, and then nothing could be deleted ever again.
pub fn make_room(storage: &Path) {
    let Ok(Space { size_bytes, free_bytes, .. }) = volume::space(storage).map(Space::or_boundless) else { return };
    if free_bytes < Marks::new(size_bytes, None).floor && Reserve::new(storage).release() {
        info!("opening the index on a full volume");
    }
}

/// Whether a failure means that the volume, or the quota on it, is full.
pub(crate) fn is_full(failure: &anyhow::Error) -> bool {
    let full = |io: &io::Error| matches!(io.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    failure.chain().any(|cause| cause.downcast_ref::<io::Error>().is_some_and(full))
}
