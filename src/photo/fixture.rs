//! A photo to test with.

use super::{Photo, PhotoId, PictureFacts, PictureFormat, SCHEMA_VERSION, Taken, TakenFrom};
use crate::clock::Moment;

/// A picture of `owner` that was taken at `local`, such as `2024-03-31T02:30:00`; its content is as its id is.
pub fn photo(id: PhotoId, owner: &str, local: &str, added: Moment) -> Photo {
    Photo {
        version: SCHEMA_VERSION,
        id,
        sha256: hex::encode([id.to_bytes(), id.to_bytes()].concat()),
        file: "original.jpg".to_owned(),
        bytes: 1000,
        name: "DSC.JPG".to_owned(),
        owner: owner.into(),
        added,
        taken: Taken::local(local.parse().expect("a time"), TakenFrom::Original),
        facts: PictureFacts::unknown(PictureFormat::Jpeg),
        title: String::new(),
        note: String::new(),
        tags: Vec::new(),
        favorite_of: Vec::new(),
        private: false,
        kept_from: None,
        taken_found: None,
        seen: None,
        trashed: None,
    }
}
