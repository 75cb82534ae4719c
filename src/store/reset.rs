//! Opening an index that may be damaged: markers on disk, setting aside, and the box's identity.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::error::disk;
use super::trees::Database;
use super::{StoreError, migrate};
use crate::durable;
use crate::volume_folder::VolumeFolder;

/// Opens in a row that may fail to come to an end (the process was killed or aborted meanwhile) before the
/// index is taken for the reason: within one boot, where nothing but the index comes to mind, and over boots,
/// where the power may have failed at a bad moment.
const MAX_OPENINGS: Openings = Openings { this_boot: 2, all: 5 };
/// Bytes a second that the slowest disk reads.
const SLOWEST_READ: u64 = 16 << 20;
/// Indexes that were set aside and are kept.
const KEEP_BAD: usize = 2;

pub(super) fn index_path(path: &Path) -> PathBuf {
    path.join("index")
}

const BAD: &str = "index.bad";
const OPENING: &str = "index.opening";

fn bad_marker(path: &Path) -> PathBuf {
    path.join(BAD)
}

fn opening_marker(path: &Path) -> PathBuf {
    path.join(OPENING)
}

/// Makes the folder and reads the box's identity, or makes one.
pub(super) fn prepare(path: &Path) -> Result<Arc<str>, StoreError> {
    fs::create_dir_all(path).map_err(disk("create", path))?;
    let file = path.join("device-id");
    match fs::read(&file) {
        Ok(bytes) => {
            // Damaged bytes need not be text.
            let text = String::from_utf8_lossy(&bytes);
            if is_uuid(text.trim()) {
                return Ok(text.trim().into());
            }
            warn!(file = %file.display(), "the box's identity is damaged");
            make_device_id(&file)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => make_device_id(&file),
        Err(error) => Err(disk("read", &file)(error)),
    }
}

fn make_device_id(file: &Path) -> Result<Arc<str>, StoreError> {
    // The kernel's generator: boxes flashed with one image boot alike, and must not get one id.
    let source = Path::new("/proc/sys/kernel/random/uuid");
    let id = fs::read_to_string(source).map_err(disk("read", source))?.trim().to_owned();
    write_durably(file, id.as_bytes())?;
    info!(device = id, "the box has a new identity");
    Ok(id.into())
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

/// Notes that the index must not be opened again. Where there is no room for the note, the index is set aside
/// at once; it may still be open, but nothing more is written to it. Where the volume is away lies no index, and nothing
/// is done.
pub(super) fn mark_bad(folder: &VolumeFolder, reason: &str) -> Result<(), StoreError> {
    match folder.replace(BAD, reason.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(_) => set_aside(folder.path(), reason).map(|_| ()),
        Ok(()) => Ok(()),
    }
}

/// Sets the index aside when it was marked bad, or when too many opens in a row did not come to an end.
pub(super) fn set_aside_if_bad(path: &Path) -> Result<bool, StoreError> {
    let marker = bad_marker(path);
    let reason = match fs::read(&marker) {
        Ok(reason) => String::from_utf8_lossy(&reason).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let before = openings(path);
            if before.this_boot < MAX_OPENINGS.this_boot && before.all < MAX_OPENINGS.all {
                return Ok(false);
            }
            "several starts in a row ended while it was being opened".to_owned()
        }
        Err(error) => return Err(disk("read", &marker)(error)),
    };
    set_aside(path, &reason)
}

/// Moves the index out of the way, so that the next open makes a new one. Returns whether there was one.
pub(super) fn set_aside(path: &Path, reason: &str) -> Result<bool, StoreError> {
    let index = index_path(path);
    let existed = index.exists();
    if existed {
        let kept = kept_bad(path)?;
        let number = kept.last().map_or(0, |(number, _)| *number).saturating_add(1);
        let aside = path.join(format!("index.bad-{number}"));
        fs::rename(&index, &aside).map_err(disk("set aside", &index))?;
        warn!(reason, kept_as = %aside.display(), "the index is bad and was set aside");
        for (_, old) in kept.iter().rev().skip(KEEP_BAD - 1) {
            if let Err(error) = fs::remove_dir_all(old) {
                warn!(%error, folder = %old.display(), "an index set aside earlier could not be removed");
            }
        }
    }
    remove(&bad_marker(path))?;
    remove(&opening_marker(path))?;
    sync_folder(path)?;
    Ok(existed)
}

/// Removes the indexes that were set aside: on a full disk they are worth less than a start. Whether there were any.
pub(super) fn forget_bad(path: &Path) -> bool {
    let kept = kept_bad(path).unwrap_or_default();
    kept.iter().filter(|(_, old)| fs::remove_dir_all(old).is_ok()).count() > 0
}

/// Indexes that were set aside before, oldest first.
fn kept_bad(path: &Path) -> Result<Vec<(u32, PathBuf)>, StoreError> {
    let mut kept = Vec::new();
    for entry in fs::read_dir(path).map_err(disk("read", path))? {
        let entry = entry.map_err(disk("read", path))?;
        let number = entry.file_name().to_str().and_then(|name| name.strip_prefix("index.bad-")?.parse().ok());
        kept.extend(number.map(|number| (number, entry.path())));
    }
    kept.sort_unstable();
    Ok(kept)
}

/// Opens that did not come to an end.
#[derive(Clone, Copy, Debug, Default)]
struct Openings {
    this_boot: u32,
    all: u32,
}

/// What the marker says: boot, opens within it, opens in all.
fn openings(path: &Path) -> Openings {
    let text = fs::read(opening_marker(path)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut words = text.split_whitespace();
    let same_boot = words.next() == Some(&*boot_id());
    let mut number = || words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
    let (this_boot, all) = (number(), number());
    Openings { this_boot: if same_boot { this_boot } else { 0 }, all }
}

fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    // A word in any case, or the numbers after it would be read as the boot.
    if id.trim().is_empty() { "-".to_owned() } else { id.trim().to_owned() }
}

/// Notes that an open begins: an index can also kill the process (by asking for absurd amounts of memory).
pub(super) fn begin_opening(folder: &VolumeFolder) -> Result<(), StoreError> {
    let before = openings(folder.path());
    let (this_boot, all) = (before.this_boot.saturating_add(1), before.all.saturating_add(1));
    let note = format!("{} {this_boot} {all}", boot_id());
    folder.replace(OPENING, note.as_bytes()).map_err(disk("write", &opening_marker(folder.path())))
}

/// Notes that the open came to an end.
pub(super) fn end_opening(path: &Path) -> Result<(), StoreError> {
    remove(&opening_marker(path))
}

/// How long a slow disk may take to read the whole index.
pub(super) fn reading_time(path: &Path) -> Duration {
    let bytes = fs::metadata(index_path(path).join("db")).map_or(0, |about| about.len());
    Duration::from_secs(bytes / SLOWEST_READ)
}

/// Opens the database as it is; where its lock is held, waits up to `patience` for a process that is just ending, or for
/// threads of sled that outlive their database by a moment.
pub(super) fn open_unlocked(index: &Path, cache_bytes: u64, patience: Duration) -> Result<Database, StoreError> {
    let until = Instant::now() + patience;
    loop {
        match Database::open(index, cache_bytes) {
            Err(StoreError::InUse(_)) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            outcome => return outcome,
        }
    }
}

/// Opens the database, brings it to the present schema and makes its files durable. Also returns a handle of sled's data
/// file for fsync.
pub(super) fn open_current(index: &Path, cache_bytes: u64, deadline: Duration) -> Result<(Database, File), StoreError> {
    let db = open_unlocked(index, cache_bytes, deadline / 2)?;
    migrate::begin(&db)?;
    db.check()?;
    let file = index.join("db");
    let data = File::options().write(true).open(&file).map_err(disk("open", &file))?;
    db.flush(&data)?;
    // sled makes its files without syncing the folders that name them.
    for entry in [index.join("conf"), index.join("blobs"), index.to_owned()] {
        sync_folder(&entry)?;
    }
    index.parent().map_or(Ok(()), sync_folder)?;
    Ok((db, data))
}

fn write_durably(file: &Path, content: &[u8]) -> Result<(), StoreError> {
    durable::replace(file, content).map_err(disk("write", file))
}

fn remove(file: &Path) -> Result<(), StoreError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(disk("remove", file)(error)),
        _ => Ok(()),
    }
}

pub(super) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    durable::sync_folder(path).map_err(disk("fsync", path))
}
