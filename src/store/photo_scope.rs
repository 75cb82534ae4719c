//! Which photos a caller sees, and where a photo stands in the order of time.

use crate::photo::{Photo, PhotoId};

/// Most photos that one query returns.
pub(super) const MAX_LIMIT: usize = 500;
/// What is added to milliseconds on the wall, so that keys are sorted like times before 1970 too.
const EPOCH: i64 = 1 << 50;

/// Whose photos.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those that all users see.
    Shared,
    /// Those that this user alone sees.
    PrivateOf(String),
    /// Those that lie in this user's trash.
    TrashOf(String),
}

impl Scope {
    /// How the prefixes of the trash of all users begin.
    pub(super) const ANY_TRASH: &[u8] = b"t";

    /// That of one photo.
    pub(super) fn of(photo: &Photo) -> Self {
        match (&photo.trashed, photo.private) {
            (Some(_), _) => Self::TrashOf(photo.owner.to_string()),
            (None, true) => Self::PrivateOf(photo.owner.to_string()),
            (None, false) => Self::Shared,
        }
    }

    pub(super) fn prefix(&self) -> Vec<u8> {
        let (letter, owner) = match self {
            Self::Shared => (b's', ""),
            Self::PrivateOf(owner) => (b'p', owner.as_str()),
            Self::TrashOf(owner) => (b't', owner.as_str()),
        };
        [&[letter], owner.as_bytes(), &[0]].concat()
    }
}

/// A photo's place in the order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PhotoPosition {
    /// Milliseconds on the wall when it was taken.
    pub wall_ms: i64,
    /// Its identity.
    pub id: PhotoId,
}

impl PhotoPosition {
    /// Where `photo` stands.
    pub fn of(photo: &Photo) -> Self {
        Self { wall_ms: photo.taken.wall_ms(), id: photo.id }
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let wall = self.wall_ms.saturating_add(EPOCH).max(0).cast_unsigned();
        [wall.to_be_bytes().as_slice(), &self.id.to_bytes()].concat()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (wall, rest) = bytes.split_first_chunk()?;
        let wall_ms = i64::try_from(u64::from_be_bytes(*wall)).ok()? - EPOCH;
        Some(Self { wall_ms, id: PhotoId::from_bytes(rest.try_into().ok()?) })
    }
}
