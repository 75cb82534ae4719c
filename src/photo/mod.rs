//! Photos: pictures and short videos of people, and their written form, the sidecar beside the original.
//!
//! The sidecar is the truth; the index is made from it. Its schema is versioned ([`SCHEMA_VERSION`]) and documented in
//! docs/library.md. Fields are only ever added; a reader ignores what it does not know.

mod album;
#[cfg(test)]
pub mod fixture;
mod folder_file;
mod format;
mod search;
mod seen;
mod taken;
mod terms;
mod tombstone;
mod words;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::asset::AssetId;
use crate::clock::Moment;

pub use album::{ALBUM_VERSION, Album, AlbumEdit, AlbumId, AlbumOrder, MOST_IN_ALBUM};
pub use folder_file::{FileOutcome, FolderFile};
pub use format::{HEAD, Medium, PictureFormat};
pub use search::{Condition, LONGEST_SEARCH, PhotoSearch, Wanted};
pub use seen::{MOST_OBJECTS, PhotoObject, Seen};
pub use taken::{Taken, TakenEdit, TakenFrom};
pub use terms::{Cell, TERMS_VERSION, Term, terms_of};
pub use tombstone::Tombstone;
pub use words::{fold, spaced, words_of};

/// Version of the written form.
pub const SCHEMA_VERSION: u32 = 1;

/// Identity of a photo on this box: what one user keeps. Photos with the same content share its file.
pub type PhotoId = AssetId;

/// Longest name of a file as its sender gave it, bytes of UTF-8; the end of a longer one is cut.
pub const LONGEST_NAME: usize = 200;
/// Longest title, bytes of UTF-8.
pub const LONGEST_TITLE: usize = 200;
/// Longest note, bytes of UTF-8.
pub const LONGEST_NOTE: usize = 1000;

/// A place on earth, degrees of WGS 84.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GeoPoint {
    /// -90 to 90, north is positive.
    pub latitude: f64,
    /// -180 to 180, east is positive.
    pub longitude: f64,
    /// Metres above sea level, where the file says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub altitude_m: Option<f64>,
}

impl GeoPoint {
    /// `None` for what is no place: out of range, or no number.
    pub fn new(latitude: f64, longitude: f64, altitude_m: Option<f64>) -> Option<Self> {
        let is_place = latitude.abs() <= 90.0 && longitude.abs() <= 180.0;
        is_place.then(|| Self { latitude, longitude, altitude_m: altitude_m.filter(|metres| metres.is_finite()) })
    }
}

/// What took a photo, as the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Maker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub make: Option<String>,
    /// Model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Lens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lens: Option<String>,
}

impl Device {
    /// Whether nothing is known.
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

/// What a file says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PictureFacts {
    /// Coding of the file, by its content.
    pub format: PictureFormat,
    /// Width of the upright picture in pixels; 0 where it cannot be read.
    pub width: u32,
    /// Height of the upright picture in pixels; 0 where it cannot be read.
    pub height: u32,
    /// How the coded picture is turned and mirrored to be upright: 1 to 8, as in EXIF.
    pub orientation: u8,
    /// Length in seconds of a video.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<f64>,
    /// When it was taken, where the file says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<Taken>,
    /// Where it was taken, where the file says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<GeoPoint>,
    /// What took it.
    #[serde(default, skip_serializing_if = "Device::is_unknown")]
    pub device: Device,
    /// Keywords in the file, none twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keywords: Vec<String>,
    /// Title in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Description in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How good it is by the file, 1 to 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rating: Option<u8>,
    /// What it looks like until it is loaded: a ThumbHash of the upright picture, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placeholder: Option<String>,
    /// What the upright picture looks like, 16 hexadecimal digits: similar pictures differ in few of the 64 bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perceptual: Option<String>,
    /// Why it cannot be shown, where it cannot: one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

impl PictureFacts {
    /// Of a file of which nothing is known but its coding.
    pub fn unknown(format: PictureFormat) -> Self {
        Self {
            format,
            width: 0,
            height: 0,
            orientation: 1,
            duration_s: None,
            taken: None,
            place: None,
            device: Device::default(),
            keywords: Vec::new(),
            title: None,
            description: None,
            rating: None,
            placeholder: None,
            perceptual: None,
            unreadable: None,
        }
    }
}

/// A photo: what one user keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Photo {
    /// Version of the written form.
    pub version: u32,
    /// Its identity.
    pub id: PhotoId,
    /// SHA-256 of the original, lower-case hex; the name of the folder that it lies in.
    pub sha256: String,
    /// Name of the original in that folder.
    pub file: String,
    /// Size of the original in bytes.
    pub bytes: u64,
    /// Name of the file as its sender gave it.
    pub name: String,
    /// The user that it belongs to.
    pub owner: Arc<str>,
    /// When the box took it in.
    pub added: Moment,
    /// From when the term of its original is counted, where the clock of `added` was not to be trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_from: Option<Moment>,
    /// When it was taken: as the file says, else as its name or its sender says, else when it was added.
    pub taken: Taken,
    /// What `taken` was before a person corrected it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_found: Option<Taken>,
    /// What the file says of itself.
    pub facts: PictureFacts,
    /// Title that a person gave it; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub title: String,
    /// What a person says of it; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// In the order in which they were given; none twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Users whose favourite it is, none twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub favorite_of: Vec<Arc<str>>,
    /// What a model sees in it, once one has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
    /// Seen by its owner only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub private: bool,
    /// Since when it lies in the trash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trashed: Option<Moment>,
}

impl Photo {
    /// Name of its sidecar, in the folder of the original.
    pub fn sidecar_name(id: PhotoId) -> String {
        format!("photo-{id}.json")
    }
}

/// The name of a file as its sender gave it, made fit to be shown and stored: its last component, without control
/// characters, at most [`LONGEST_NAME`] bytes.
pub fn plain_name(given: &str) -> String {
    let last = given.rsplit(['/', '\\']).next().unwrap_or_default();
    let visible: String = last.chars().filter(|c| !c.is_control()).collect();
    let cut = visible.get(..visible.floor_char_boundary(LONGEST_NAME)).unwrap_or_default().trim();
    if cut.is_empty() { "photo".to_owned() } else { cut.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_senders_lose_folders_and_control_characters_and_are_bounded() {
        let cases = [
            ("IMG_0001.JPG", "IMG_0001.JPG"),
            ("../../etc/passwd", "passwd"),
            (r"C:\Users\anna\春.jpg", "春.jpg"),
            ("a\u{0}\nb.jpg", "ab.jpg"),
            ("  ", "photo"),
            ("folder/", "photo"),
        ];
        for (given, plain) in cases {
            assert_eq!(plain_name(given), plain, "{given:?}");
        }
        let long = "春".repeat(100);
        assert_eq!(plain_name(&long).len(), 198);
    }

    #[test]
    fn what_lies_nowhere_on_earth_is_no_place() {
        assert!(GeoPoint::new(35.0, 139.5, Some(f64::NAN)).is_some_and(|place| place.altitude_m.is_none()));
        for (latitude, longitude) in [(90.1, 0.0), (0.0, -180.5), (f64::NAN, 0.0), (0.0, f64::INFINITY)] {
            assert_eq!(GeoPoint::new(latitude, longitude, None), None);
        }
    }
}
