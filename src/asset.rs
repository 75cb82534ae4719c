//! Assets: what owns files on the box and is kept, evicted, delivered and recovered as one, and the kinds of their files.
//!
//! What a file is decides its lane, its class and whether it is sealed. Stored JSON and the keys of the index have names
//! alone, so a kind is made out of a name where one is read: by [`MediaKind::of_file`] and [`MediaKind::of_document`],
//! and nowhere else.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::clock::Clock;

/// The sidecar's name in an event's folder.
pub const SIDECAR: &str = "event.json";
/// The thumbnail's name in an event's folder.
pub const THUMBNAIL: &str = "thumb.jpg";
/// Name of the still without boxes in an event's folder.
pub const SNAPSHOT: &str = "snapshot.jpg";
/// Name of the still with boxes in an event's folder.
pub const SNAPSHOT_BOXES: &str = "snapshot-boxes.jpg";

/// Folder of the accounts of days below the storage folder, and the beginning of their paths.
pub const COVERAGE: &str = "coverage";
/// Folder of the photo library below the storage folder, and the beginning of its paths.
pub const LIBRARY: &str = "library";
/// Name of a photo's original, without its extension.
pub const ORIGINAL: &str = "original";

/// Folder of the executions below the storage folder, and the beginning of their paths.
pub const EXECUTIONS: &str = "executions";
/// Name of what an execution says of itself, in its folder.
pub const EXECUTION_SIDECAR: &str = "execution.json";

/// Folder of the tables below the storage folder, and the beginning of their paths.
pub const LAKE: &str = "lake";

/// What owns files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// An event; its files lie in a folder of its own.
    Event,
    /// A segment of continuous recording.
    Segment,
    /// A file of the box that stands for itself, known by its path.
    Document,
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MediaKind {
    /// `event.json`: what an event was.
    EventSidecar,
    /// Video of an event.
    Clip,
    /// A still of an event, as the camera gave it.
    Snapshot,
    /// A still with the box around the object.
    SnapshotBoxes,
    /// A small still around the object.
    Thumbnail,
    /// Continuous video.
    SegmentVideo,
    /// What a segment was.
    SegmentSidecar,
    /// What became of every second of a camera's day.
    CoverageAccount,
    /// A file of a table.
    LakeTable,
    /// A photo or video of the library, as it came.
    Original,
    /// What a photo is.
    PhotoSidecar,
    /// What an execution was.
    ExecutionSidecar,
    /// A file that an execution was given or has made.
    ExecutionFile,
    /// Any other file.
    Other,
}

impl MediaKind {
    /// Of a file of an event or of a segment, by its name.
    pub fn of_file(name: &str) -> Self {
        let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        let is_segment = || AssetId::from_str(stem).is_ok();
        match (name, extension) {
            (SIDECAR, _) => Self::EventSidecar,
            (THUMBNAIL, _) => Self::Thumbnail,
            (SNAPSHOT_BOXES, _) => Self::SnapshotBoxes,
            (_, "jpg") => Self::Snapshot,
            (_, "mp4") if is_segment() => Self::SegmentVideo,
            (_, "mp4") => Self::Clip,
            (_, "json") if is_segment() => Self::SegmentSidecar,
            _ => Self::Other,
        }
    }

    /// Of a document, by its path below the storage folder.
    pub fn of_document(path: &str) -> Self {
        let parts: Vec<&str> = path.split('/').collect();
        match parts.as_slice() {
            [COVERAGE, _, ..] => Self::CoverageAccount,
            [LAKE, _, _, ..] => Self::LakeTable,
            [LIBRARY, _, _, file] if file.split('.').next() == Some(ORIGINAL) => Self::Original,
            [LIBRARY, _, _, _] => Self::PhotoSidecar,
            [EXECUTIONS, _, EXECUTION_SIDECAR] => Self::ExecutionSidecar,
            [EXECUTIONS, _, _] => Self::ExecutionFile,
            _ => Self::Other,
        }
    }

    /// Whether files are found by it: what says what others are.
    pub fn is_account(self) -> bool {
        matches!(
            self,
            Self::EventSidecar
                | Self::SegmentSidecar
                | Self::CoverageAccount
                | Self::PhotoSidecar
                | Self::ExecutionSidecar
        )
    }

    /// Whether it is moving video.
    pub fn is_video(self) -> bool {
        matches!(self, Self::Clip | Self::SegmentVideo)
    }

    /// What owns such a file. Any other file lies in the folder of an event.
    pub fn owner(self) -> Owner {
        match self {
            Self::SegmentVideo | Self::SegmentSidecar => Owner::Segment,
            Self::CoverageAccount
            | Self::LakeTable
            | Self::Original
            | Self::PhotoSidecar
            | Self::ExecutionSidecar
            | Self::ExecutionFile => Owner::Document,
            _ => Owner::Event,
        }
    }
}

/// Which file of which asset: what the catalogue, the outboxes and retention know a file by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    /// What owns it.
    pub asset: AssetId,
    /// Its name.
    pub name: String,
}

impl FileId {
    /// The file `name` of `asset`.
    pub fn new(asset: AssetId, name: impl Into<String>) -> Self {
        Self { asset, name: name.into() }
    }

    /// What it is.
    pub fn kind(&self) -> MediaKind {
        MediaKind::of_file(&self.name)
    }

    /// The sidecar of the same event.
    #[must_use]
    pub fn sidecar(&self) -> Self {
        Self::new(self.asset, SIDECAR)
    }

    /// Sorted by asset, then by name.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.asset.to_bytes(), self.name.as_bytes()].concat()
    }

    /// The inverse of [`FileId::to_bytes`]; `None` for bytes that are none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (asset, name) = bytes.split_first_chunk()?;
        Some(Self::new(AssetId::from_bytes(*asset), std::str::from_utf8(name).ok()?))
    }
}

/// One file of an asset. Its JSON has no kind: that is given by the name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct MediaFile {
    /// File name in the asset's folder.
    pub file: String,
    /// What it is.
    #[serde(skip_serializing)]
    pub kind: MediaKind,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256, lower-case hex.
    pub sha256: String,
}

impl MediaFile {
    /// The file `name`, of `bytes` with the hash `sha256` (lower-case hex).
    pub fn new(name: impl Into<String>, bytes: u64, sha256: impl Into<String>) -> Self {
        Written { file: name.into(), bytes, sha256: sha256.into() }.into()
    }
}

/// A file as it is written.
#[derive(Deserialize)]
struct Written {
    file: String,
    bytes: u64,
    sha256: String,
}

impl From<Written> for MediaFile {
    fn from(Written { file, bytes, sha256 }: Written) -> Self {
        Self { kind: MediaKind::of_file(&file), file, bytes, sha256 }
    }
}

/// Identity of an asset: a ULID whose time part never runs backwards on one box.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AssetId(Ulid);

impl AssetId {
    /// Sixteen bytes whose order is the order of creation.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_bytes()
    }

    /// The wall time that the box believed when it made the id; later than that where the clock was set back.
    pub fn made_at(self) -> jiff::Timestamp {
        let ms = i64::try_from(self.0.timestamp_ms()).unwrap_or(i64::MAX);
        jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX)
    }

    /// The inverse of [`AssetId::to_bytes`].
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Ulid::from_bytes(bytes))
    }
}

impl fmt::Display for AssetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for AssetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that is no identity.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an event id (26 characters of Crockford base 32)")]
pub struct BadAssetId(String);

impl FromStr for AssetId {
    type Err = BadAssetId;
    fn from_str(text: &str) -> Result<Self, BadAssetId> {
        Ulid::from_string(text).map(Self).map_err(|_| BadAssetId(text.to_owned()))
    }
}

impl TryFrom<String> for AssetId {
    type Error = BadAssetId;
    fn try_from(text: String) -> Result<Self, BadAssetId> {
        text.parse()
    }
}

impl From<AssetId> for String {
    fn from(id: AssetId) -> String {
        id.to_string()
    }
}

/// Makes identities: wall milliseconds where the clock allows, one more than the last id where it does not.
#[derive(Debug)]
pub struct IdSource {
    clock: Arc<dyn Clock>,
    last: Mutex<Ulid>,
}

impl IdSource {
    /// `newest` is the highest id already on the box, so that a clock that was set back cannot collide with it.
    pub fn new(clock: Arc<dyn Clock>, newest: Option<AssetId>) -> Self {
        Self { clock, last: Mutex::new(newest.map_or(Ulid::nil(), |id| id.0)) }
    }

    /// Ids from now on are greater than `known`, an id found on a volume that came late.
    pub fn go_beyond(&self, known: AssetId) {
        let mut last = self.last.lock();
        *last = (*last).max(known.0);
    }

    /// The next id; greater than every id before it.
    pub fn next(&self) -> AssetId {
        let now_ms = u64::try_from(self.clock.wall().as_millisecond()).unwrap_or(0);
        let mut last = self.last.lock();
        let next = if now_ms > last.timestamp_ms() {
            Ulid::from_parts(now_ms, fastrand::u128(..))
        } else {
            // Same or earlier millisecond: count up, carrying into the time part when the random part is full.
            Ulid::from(u128::from(*last).saturating_add(1 + u128::from(fastrand::u32(..))))
        };
        *last = next;
        AssetId(next)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use std::time::Duration;

    use super::*;
    use crate::clock::{Mono, SimulatedClock, TimeQuality};

    #[test]
    fn ids_grow_even_when_the_clock_is_set_back() {
        let clock = Arc::new(SimulatedClock::new(Mono(0), Timestamp::UNIX_EPOCH + Duration::from_secs(2_000_000_000)));
        let ids = IdSource::new(clock.clone(), None);
        let first = ids.next();
        clock.step_wall(Timestamp::UNIX_EPOCH, TimeQuality::Implausible);
        let second = ids.next();
        let restarted = IdSource::new(clock, Some(second));
        let third = restarted.next();
        assert!(first < second && second < third, "{first} {second} {third}");
    }

    #[test]
    fn an_id_survives_text_and_bytes() {
        let clock = Arc::new(SimulatedClock::new(Mono(0), Timestamp::UNIX_EPOCH));
        let id = IdSource::new(clock, None).next();
        assert_eq!(id.to_string().parse::<AssetId>().expect("parse"), id);
        assert_eq!(AssetId::from_bytes(id.to_bytes()), id);
        assert!("not an id".parse::<AssetId>().is_err());
    }

    #[test]
    fn the_kind_of_a_file_is_given_by_its_name() {
        use MediaKind::*;
        let files = [
            ("event.json", EventSidecar, Owner::Event),
            ("clip.mp4", Clip, Owner::Event),
            ("clip-4.mp4", Clip, Owner::Event),
            ("snapshot.jpg", Snapshot, Owner::Event),
            ("snapshot-boxes.jpg", SnapshotBoxes, Owner::Event),
            ("thumb.jpg", Thumbnail, Owner::Event),
            ("another.jpg", Snapshot, Owner::Event),
            ("01JD0000000000000000000000.mp4", SegmentVideo, Owner::Segment),
            ("01JD0000000000000000000000.json", SegmentSidecar, Owner::Segment),
            ("notes.json", Other, Owner::Event),
            ("event.json.bad", Other, Owner::Event),
            ("mp4", Other, Owner::Event),
            ("", Other, Owner::Event),
        ];
        for (name, kind, owner) in files {
            assert_eq!((MediaKind::of_file(name), kind.owner()), (kind, owner), "{name}");
        }
        let documents = [
            ("coverage/yard/2026-11-22.json", CoverageAccount),
            ("lake/events/date=2026-11-22/1_2.parquet", LakeTable),
            ("lake/events", Other),
            ("library/ab/abcd/original.jpg", Original),
            ("library/ab/abcd/photo-01JD0000000000000000000000.json", PhotoSidecar),
            ("library/ab/original.jpg", Other),
            ("coverage", Other),
            ("notes/a.json", Other),
        ];
        for (path, kind) in documents {
            assert_eq!(MediaKind::of_document(path), kind, "{path}");
        }
    }

    #[test]
    fn which_file_it_is_survives_bytes() {
        let file = FileId::new(AssetId::from_bytes([7; 16]), "clip.mp4");
        assert_eq!(FileId::from_bytes(&file.to_bytes()), Some(file.clone()));
        assert_eq!((file.kind(), file.sidecar().kind()), (MediaKind::Clip, MediaKind::EventSidecar));
        assert_eq!(FileId::from_bytes(&[7; 15]), None);
        assert_eq!(FileId::from_bytes(&[0xff; 17]), None, "no text");
    }

    #[test]
    fn a_file_is_written_without_its_kind_and_read_with_it() {
        let file = MediaFile::new("thumb.jpg", 7, "ab");
        let text = serde_json::to_string(&file).expect("write");
        assert_eq!(text, r#"{"file":"thumb.jpg","bytes":7,"sha256":"ab"}"#);
        let read: MediaFile = serde_json::from_str(&text).expect("read");
        assert_eq!((read.kind, &read), (MediaKind::Thumbnail, &file));
    }
}
