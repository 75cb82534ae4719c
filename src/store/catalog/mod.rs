//! The catalogue: every file that the box holds, in the order in which it may go.
//!
//! Nothing here scans all files: what goes next is the beginning of a range, what is held is a counter. So
//! neither start nor memory grow with the number of events. Rows change in the transaction of what changes
//! them: an event's record, an acknowledged upload, a deletion.
//!
//! Whether a destination has a file is an explicit mark in its row. A file that was recorded before the
//! destination was configured, or on a box without any, has none and so is never taken for delivered.
//! [`states`] is the one place that says what marks mean.

mod calls;

mod marks;

mod states;

mod plan;

mod write;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Delivery;
use crate::asset::{AssetId, FileId, MediaKind, Owner};
use crate::clock::{EARLIEST_PLAUSIBLE_S, Moment, TimeQuality};
use crate::destination::Destination;
use crate::event::{DeliveryState, Event, EvictReason, MediaFile};

pub use calls::Assets;
pub use marks::AlertCounts;
pub use plan::Cursor;
pub(super) use states::deliveries;
pub(super) use write::{Change, UNCATALOGUED};

/// What a file is, by its worth: the lowest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Video that belongs to no event.
    Continuous,
    /// Video of an event.
    Clips,
    /// Full pictures of an event.
    Snapshots,
    /// `event.json` and the thumbnail, which outlive the rest of an event.
    Metadata,
}

impl Class {
    /// All classes, the least worthy first.
    pub const ALL: [Self; 4] = [Self::Continuous, Self::Clips, Self::Snapshots, Self::Metadata];

    /// The name used in the configuration, in metrics and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Continuous => "continuous",
            Self::Clips => "clips",
            Self::Snapshots => "snapshots",
            Self::Metadata => "metadata",
        }
    }

    /// The class of a kind of files.
    pub fn of(kind: MediaKind) -> Self {
        match kind {
            MediaKind::SegmentVideo | MediaKind::SegmentSidecar => Self::Continuous,
            MediaKind::Clip => Self::Clips,
            MediaKind::EventSidecar
            | MediaKind::Thumbnail
            | MediaKind::CoverageAccount
            | MediaKind::LakeTable
            | MediaKind::PhotoSidecar
            | MediaKind::ExecutionSidecar => Self::Metadata,
            MediaKind::Snapshot
            | MediaKind::SnapshotBoxes
            | MediaKind::Original
            | MediaKind::ExecutionFile
            | MediaKind::Other => Self::Snapshots,
        }
    }
}

/// A file of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldFile {
    /// What it belongs to: an event; for continuous video a segment.
    pub asset: AssetId,
    /// What it is.
    pub media: MediaFile,
    /// The camera that it is of.
    pub camera: Arc<str>,
    /// Its class.
    pub class: Class,
    /// Whether every configured destination confirmed it; of a condemned file: when it was condemned.
    pub delivered: bool,
    /// Whether a configured destination is still to get it.
    pub waits: bool,
    /// Why it is to be deleted, once it is condemned.
    pub condemned: Option<EvictReason>,
}

impl HeldFile {
    /// Which file it is.
    pub fn id(&self) -> FileId {
        FileId::new(self.asset, &*self.media.file)
    }

    /// What it belongs to.
    pub fn owner(&self) -> Owner {
        if self.class == Class::Continuous { Owner::Segment } else { Owner::Event }
    }
}

/// An event whose files changed after its end, as it is to be recorded.
#[derive(Clone, Debug)]
pub struct Amendment {
    /// The event as it is now.
    pub event: Event,
    /// Its `event.json` as it is now.
    pub sidecar: MediaFile,
    /// Condemned files that it does not name any more: nothing delivers them from now on.
    pub dropped: Vec<String>,
}

/// The date of a file without one, in a key: after all dates. Not the highest number: before a page that begins after
/// keys with four bytes 0xff in a row, sled does not find the page before.
const UNDATED: u64 = 1 << 56;
/// A date below this is no wall time in milliseconds but counts how long the box has run.
pub const RUN_TIME_BELOW: u64 = EARLIEST_PLAUSIBLE_S.unsigned_abs() * 1000;

/// The first byte of a key in `held`: groups of files, in the order in which they go.
mod tier {
    /// Media that every configured destination has.
    pub const DELIVERED: u8 = 0;
    /// Media that are nowhere else, as far as the box knows.
    pub const UNDELIVERED: u8 = 1;
    /// Metadata that every configured destination has.
    pub const METADATA_DELIVERED: u8 = 2;
    /// Metadata that are nowhere else, and that no destination waits for.
    pub const METADATA_FREE: u8 = 3;
    /// Metadata that a destination is still to get: never deleted for space.
    pub const METADATA_WAITING: u8 = 4;
    /// Condemned: the deletion has begun.
    pub const CONDEMNED: u8 = 7;
    /// Of an event that has not ended.
    pub const OPEN: u8 = 8;
    /// Of an event that is to be kept.
    pub const PINNED: u8 = 9;
}

/// The first byte of a key in `aged`: whether age alone may delete the file.
mod hold {
    /// Nothing waits for it.
    pub const FREE: u8 = 0;
    /// A configured destination is still to get it.
    pub const WAITING: u8 = 1;
    /// Never: open, pinned, or being deleted already.
    pub const NEVER: u8 = 9;
}

/// How far a destination got with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mark {
    /// In its outbox.
    Waiting,
    /// Confirmed.
    Delivered,
    /// Given up; the sequence number of the dead letter.
    Dead(u64),
}

/// A deletion that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Condemned {
    reason: EvictReason,
    delivered: bool,
}

/// What is left of the row of a file that was deleted from the box. Fields as in [`Row`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Marks {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    to: BTreeMap<Destination, Mark>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    dropped: BTreeSet<Destination>,
}

/// Where a row stands in the two orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    tier: u8,
    value: u8,
    lane: u8,
    /// As in [`Row`]; the highest number while there is no date.
    since: u64,
}

/// The value in `files`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    camera: Arc<str>,
    class: Class,
    bytes: u64,
    sha256: String,
    /// The event's score in tenths. Not finer: detectors are not, and age would never count.
    score: u8,
    /// When it was recorded: milliseconds of synchronised wall time, or of the box's run time, which is below
    /// [`RUN_TIME_BELOW`]. `None` until it is known.
    since: Option<u64>,
    /// How far destinations got.
    to: BTreeMap<Destination, Mark>,
    /// Destinations that do not get it although it was queued for them. Not a [`Mark`], which a program of before it
    /// could not read.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    dropped: BTreeSet<Destination>,
    /// In the row of `event.json` alone: the marks of the event's files that were deleted from the box, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    gone: BTreeMap<String, Marks>,
    pinned: bool,
    open: bool,
    condemned: Option<Condemned>,
    /// Where it was put, so that it is found there again whatever is configured by then.
    place: Place,
}

impl Row {
    fn new(event: &Event, media: &MediaFile) -> Self {
        Self {
            camera: event.camera.clone(),
            class: Class::of(media.kind),
            bytes: media.bytes,
            sha256: media.sha256.clone(),
            score: tenths(event.score),
            since: known_ms(&event.start),
            to: BTreeMap::new(),
            dropped: BTreeSet::new(),
            gone: BTreeMap::new(),
            pinned: event.pinned,
            open: event.state == crate::event::EventState::Open,
            condemned: None,
            place: Place { tier: 0, value: 0, lane: 0, since: 0 },
        }
    }

    fn is_delivered(&self, destinations: &[&Destination]) -> bool {
        !destinations.is_empty() && destinations.iter().all(|name| self.state(name) == DeliveryState::Delivered)
    }

    fn waits(&self, destinations: &[&Destination]) -> bool {
        let waits = |state| matches!(state, DeliveryState::Waiting | DeliveryState::Failed);
        destinations.iter().any(|name| waits(self.state(name)))
    }

    /// Where it belongs while `destinations` are configured.
    fn belongs(&self, kind: MediaKind, destinations: &[&Destination]) -> Place {
        let (delivered, waits) = (self.is_delivered(destinations), self.waits(destinations));
        let tier = match self {
            Self { condemned: Some(_), .. } => tier::CONDEMNED,
            Self { open: true, .. } => tier::OPEN,
            Self { pinned: true, .. } => tier::PINNED,
            Self { class: Class::Metadata, .. } if delivered => tier::METADATA_DELIVERED,
            Self { class: Class::Metadata, .. } if waits => tier::METADATA_WAITING,
            Self { class: Class::Metadata, .. } => tier::METADATA_FREE,
            _ if delivered => tier::DELIVERED,
            _ => tier::UNDELIVERED,
        };
        let lane = match tier {
            tier::CONDEMNED | tier::OPEN | tier::PINNED => hold::NEVER,
            _ if waits => hold::WAITING,
            _ => hold::FREE,
        };
        let worth = match self.class {
            // The files of an event beside each other.
            _ if tier == tier::CONDEMNED => return Place { tier, value: 0, lane, since: 0 },
            Class::Continuous => 0,
            Class::Clips => 20,
            Class::Snapshots => 40,
            // The sidecar after its thumbnail: with it goes the event.
            Class::Metadata if kind != MediaKind::EventSidecar => 60,
            Class::Metadata => 80,
        };
        Place { tier, value: worth + self.score, lane, since: self.since.unwrap_or(UNDATED) }
    }

    fn held(self, file: &FileId, destinations: &[&Destination]) -> HeldFile {
        HeldFile {
            asset: file.asset,
            delivered: self.condemned.map_or_else(|| self.is_delivered(destinations), |c| c.delivered),
            waits: self.waits(destinations),
            media: MediaFile::new(&*file.name, self.bytes, self.sha256),
            camera: self.camera,
            class: self.class,
            condemned: self.condemned.map(|c| c.reason),
        }
    }
}

fn tenths(score: f32) -> u8 {
    (score.clamp(0.0, 1.0) * 10.0) as u8
}

/// Wall milliseconds, where they are synchronised.
fn known_ms(at: &Moment) -> Option<u64> {
    let ms = u64::try_from(at.wall.as_millisecond()).ok()?;
    (at.time_quality == TimeQuality::Synchronised && ms >= RUN_TIME_BELOW).then_some(ms)
}

/// Those that files go to.
fn uploads<'a>(destinations: impl Iterator<Item = &'a Destination>) -> Vec<Destination> {
    destinations.filter(|destination| destination.takes_files()).cloned().collect()
}

fn held_key(place: Place, file: &FileId) -> Vec<u8> {
    [[place.tier, place.value].as_slice(), &file.to_bytes()].concat()
}

fn aged_key(place: Place, class: Class, file: &FileId) -> Vec<u8> {
    [[place.lane, class as u8].as_slice(), &place.since.to_be_bytes(), &file.to_bytes()].concat()
}

/// The file at the end of a key, after `skip` bytes.
fn file_of(key: &[u8], skip: usize) -> Option<FileId> {
    key.get(skip..).and_then(FileId::from_bytes)
}

/// The file that `delivery` sends, if it sends one.
fn sent(delivery: &Delivery) -> Option<MediaFile> {
    match delivery {
        Delivery::Alert(_) | Delivery::Document(_) => None,
        Delivery::Upload(media) => Some(media.clone()),
    }
}
