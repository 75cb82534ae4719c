//! Where an item stands in its outbox: what goes first when the link is back.

use serde::{Deserialize, Serialize};

use super::schema::prefix;
use super::{Delivery, Document, DocumentTask};
use crate::asset::MediaKind;
use crate::destination::Destination;

/// Lanes of an outbox, the most urgent first. Alerts have no lanes: they go in the order of recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// What an event was, and what became of every second: `event.json` and documents.
    Metadata = 1,
    /// Pictures of events, and originals that a person wants back.
    Stills = 2,
    /// Clips of events.
    Clips = 3,
    /// Everything else, originals of the photo library among it; also what an index of before lanes has left.
    Rest = 4,
}

impl Lane {
    /// All lanes, the most urgent first.
    pub const ALL: [Self; 4] = [Self::Metadata, Self::Stills, Self::Clips, Self::Rest];

    /// Where a delivery belongs.
    pub fn of(item: &Delivery) -> Self {
        match item {
            // A person waits for it.
            Delivery::Document(Document { task: DocumentTask::Fetch, .. }) => Self::Stills,
            Delivery::Document(Document { kind: MediaKind::Original, .. }) => Self::Rest,
            Delivery::Document(Document { kind: MediaKind::ExecutionFile, .. }) => Self::Stills,
            Delivery::Document(_) | Delivery::Alert(_) => Self::Metadata,
            Delivery::Upload(media) => match media.kind {
                MediaKind::EventSidecar | MediaKind::PhotoSidecar | MediaKind::ExecutionSidecar => Self::Metadata,
                MediaKind::Snapshot | MediaKind::SnapshotBoxes | MediaKind::Thumbnail => Self::Stills,
                MediaKind::Clip | MediaKind::SegmentVideo => Self::Clips,
                MediaKind::SegmentSidecar
                | MediaKind::CoverageAccount
                | MediaKind::LakeTable
                | MediaKind::Original
                | MediaKind::ExecutionFile
                | MediaKind::Other => Self::Rest,
            },
        }
    }

    /// The name on the page, in metrics and in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Stills => "stills",
            Self::Clips => "clips",
            Self::Rest => "rest",
        }
    }
}

/// Key of an item within its outbox. Items of alerts and of documents that go first, and uploads of older schemas, have no
/// lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub lane: Option<Lane>,
    pub seq: u64,
}

impl Place {
    /// Of an item that has none yet.
    pub(super) fn new(item: &Delivery, seq: u64) -> Self {
        let has_lane = !matches!(item, Delivery::Alert(_)) && !item.goes_first();
        let lane = has_lane.then(|| Lane::of(item));
        Self { lane, seq }
    }

    /// `outbox 0 [lane] seq`. A sequence number begins with a zero byte, a lane does not.
    pub(super) fn key(self, outbox: &Destination) -> Vec<u8> {
        let mut key = prefix(outbox.as_str());
        key.extend_from_slice(&self.to_bytes());
        key
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let lane = self.lane.map(|lane| lane as u8);
        lane.into_iter().chain(self.seq.to_be_bytes()).collect()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let seq = bytes.last_chunk().map(|seq| u64::from_be_bytes(*seq))?;
        let lane = match bytes.len() {
            8 => None,
            9 => Some(Lane::ALL.into_iter().find(|lane| Some(&(*lane as u8)) == bytes.first())?),
            _ => return None,
        };
        Some(Self { lane, seq })
    }
}

/// What keys of one lane begin with; those without a lane begin with a zero.
pub(super) fn lane_prefix(outbox: &Destination, lane: Option<Lane>) -> Vec<u8> {
    let mut key = prefix(outbox.as_str());
    key.push(lane.map_or(0, |lane| lane as u8));
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written_and_lanes_do_not_mix() {
        for lane in [None].into_iter().chain(Lane::ALL.map(Some)) {
            let outbox = Destination::upload("a");
            // Microseconds of the far future: numbers of alerts.
            for seq in [0, 1, 1 << 55] {
                let place = Place { lane, seq };
                assert_eq!(Place::from_bytes(&place.to_bytes()), Some(place));
                let key = place.key(&outbox);
                for other in [None].into_iter().chain(Lane::ALL.map(Some)) {
                    assert_eq!(key.starts_with(&lane_prefix(&outbox, other)), other == lane);
                }
            }
        }
        assert_eq!(Place::from_bytes(&[9, 0, 0, 0, 0, 0, 0, 0, 1]), None);
    }
}
