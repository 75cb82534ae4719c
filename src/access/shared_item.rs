//! What a link leads to.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::users::User;

/// What a link leads to. In JSON the field `event`, `photo` or `album` says which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SharedItem {
    /// A file of an event.
    File(SharedFile),
    /// A photo of the library.
    Photo(SharedPhoto),
    /// An album of the library, with the photos that are in it when it is looked at.
    Album(SharedAlbum),
}

/// A file of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedFile {
    /// Id of the event.
    pub event: String,
    /// Name of its file.
    pub file: String,
    /// The event's camera.
    pub camera: String,
    /// When the event began.
    pub at: Timestamp,
}

/// A photo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedPhoto {
    /// Its id.
    pub photo: String,
    /// Encoded again, without what the file says of itself.
    pub stripped: bool,
}

/// An album.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedAlbum {
    /// Its id.
    pub album: String,
    /// Its photos are encoded again, without what their files say of themselves.
    pub stripped: bool,
}

impl SharedItem {
    /// What the audit log names.
    pub fn subject(&self) -> &str {
        match self {
            Self::File(file) => &file.event,
            Self::Photo(photo) => &photo.photo,
            Self::Album(album) => &album.album,
        }
    }

    /// Whether the user who made a link to it may still see it.
    pub(super) fn is_seen_by(&self, maker: &User) -> bool {
        match self {
            Self::File(SharedFile { camera, at, .. }) => maker.may_share(camera, *at),
            Self::Photo(_) | Self::Album(_) => maker.may_share_all(),
        }
    }
}
