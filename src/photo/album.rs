//! Albums: photos that people put together, in an order of their own or by time.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{LONGEST_NOTE, LONGEST_TITLE, PhotoId};
use crate::asset::AssetId;
use crate::clock::Moment;

/// Version of the written form.
pub const ALBUM_VERSION: u32 = 1;
/// Most photos of one album.
pub const MOST_IN_ALBUM: usize = 10_000;
/// Most users that an album is shared with by name.
pub const MOST_SHARED_WITH: usize = 50;

/// Identity of an album on this box.
pub type AlbumId = AssetId;

/// In which order an album is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlbumOrder {
    /// What was taken last first.
    #[default]
    Taken,
    /// As its photos were put.
    Given,
}

/// An album.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Album {
    /// Version of the written form.
    pub version: u32,
    /// Its identity.
    pub id: AlbumId,
    /// Its title, never empty.
    pub title: String,
    /// What is said of it; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// The user that it belongs to.
    pub owner: Arc<str>,
    /// When it was made.
    pub created: Moment,
    /// Every user who sees all cameras sees it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub everyone: bool,
    /// Users who see it, none twice; also its photos, though they do not see all cameras.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared_with: Vec<Arc<str>>,
    /// The photo that stands for it; none: the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cover: Option<PhotoId>,
    /// In which order it is shown.
    #[serde(default)]
    pub order: AlbumOrder,
    /// Its photos as they were put, none twice. Those that are gone from the library are not shown.
    pub photos: Vec<PhotoId>,
    /// When it was deleted. Such an album says nothing else, so that no copy brings it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Moment>,
}

impl Album {
    /// Name of its file.
    pub fn file_name(id: AlbumId) -> String {
        format!("{id}.json")
    }

    /// Whether a user sees it. `sees_all`: the user sees all cameras; others see what was shared with them by name, and
    /// nothing by an album of their own.
    pub fn is_seen(&self, user: &str, sees_all: bool) -> bool {
        sees_all && (self.everyone || *self.owner == *user) || self.shared_with.iter().any(|name| **name == *user)
    }
}

/// What is to be changed of an album; what is not named stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlbumEdit {
    /// Its title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What is said of it; empty for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Whether all see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub everyone: Option<bool>,
    /// Users who see it, all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_with: Option<Vec<Arc<str>>>,
    /// The photo that stands for it, one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cover: Option<PhotoId>,
    /// In which order it is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<AlbumOrder>,
    /// Photos that are put at its end; those that are in it stay where they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add: Option<Vec<PhotoId>>,
    /// Photos that are taken out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove: Option<Vec<PhotoId>>,
    /// Its photos in the order that they are to have: those that are not named follow as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrange: Option<Vec<PhotoId>>,
}

impl AlbumEdit {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn check(&self) -> Result<(), String> {
        if *self == Self::default() {
            return Err("nothing is to be changed".to_owned());
        }
        let is_line = |text: &String| {
            !text.trim().is_empty() && text.len() <= LONGEST_TITLE && !text.chars().any(char::is_control)
        };
        if self.title.as_ref().is_some_and(|title| !is_line(title)) {
            return Err(format!("the title of an album has 1 to {LONGEST_TITLE} bytes on one line"));
        }
        let is_text = |text: &String| text.len() <= LONGEST_NOTE && !text.chars().any(|c| c.is_control() && c != '\n');
        if self.note.as_ref().is_some_and(|note| !is_text(note)) {
            return Err(format!("a note has {LONGEST_NOTE} bytes at most, and no control characters but line breaks"));
        }
        if self.shared_with.as_ref().is_some_and(|users| users.len() > MOST_SHARED_WITH) {
            return Err(format!("an album is shared with {MOST_SHARED_WITH} users at most; share it with everyone"));
        }
        let lists = [&self.add, &self.remove, &self.arrange];
        if lists.into_iter().flatten().any(|ids| ids.len() > MOST_IN_ALBUM) {
            return Err(too_many());
        }
        Ok(())
    }

    /// Changes `album`.
    ///
    /// # Errors
    /// A sentence, where it has too many photos then, or the cover is none of them.
    pub fn apply(self, album: &mut Album) -> Result<(), String> {
        let Self { title, note, everyone, shared_with, cover, order, add, remove, arrange } = self;
        album.title = title.unwrap_or_else(|| std::mem::take(&mut album.title)).trim().to_owned();
        album.note = note.unwrap_or_else(|| std::mem::take(&mut album.note));
        album.everyone = everyone.unwrap_or(album.everyone);
        album.order = order.unwrap_or(album.order);
        if let Some(users) = shared_with {
            album.shared_with = distinct(users);
        }
        if let Some(gone) = remove {
            let gone: std::collections::HashSet<PhotoId> = gone.into_iter().collect();
            album.photos.retain(|id| !gone.contains(id));
        }
        if let Some(more) = add {
            album.photos = distinct(std::mem::take(&mut album.photos).into_iter().chain(more));
        }
        if let Some(first) = arrange {
            let known: std::collections::HashSet<PhotoId> = album.photos.iter().copied().collect();
            let first = first.into_iter().filter(|id| known.contains(id));
            album.photos = distinct(first.chain(std::mem::take(&mut album.photos)).collect::<Vec<_>>());
        }
        if album.photos.len() > MOST_IN_ALBUM {
            return Err(too_many());
        }
        if let Some(cover) = cover {
            if !album.photos.contains(&cover) {
                return Err("the photo that stands for an album is one of its own: add it first".to_owned());
            }
            album.cover = Some(cover);
        }
        album.cover = album.cover.filter(|cover| album.photos.contains(cover));
        Ok(())
    }
}

fn too_many() -> String {
    format!("an album has {MOST_IN_ALBUM} photos at most")
}

fn distinct<T: Clone + Eq + std::hash::Hash>(all: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut seen = std::collections::HashSet::new();
    all.into_iter().filter(|one| seen.insert(one.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Mono, SimulatedClock};

    fn album(photos: &[PhotoId]) -> Album {
        let clock = SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH);
        Album {
            version: ALBUM_VERSION,
            id: id(99),
            title: "Herons".to_owned(),
            note: String::new(),
            owner: "anna".into(),
            created: clock.now(),
            everyone: false,
            shared_with: Vec::new(),
            cover: None,
            order: AlbumOrder::Given,
            photos: photos.to_vec(),
            deleted: None,
        }
    }

    fn id(n: u8) -> PhotoId {
        PhotoId::from_bytes([n; 16])
    }

    #[test]
    fn photos_are_added_arranged_and_removed_and_never_twice() {
        let mut album = album(&[id(1), id(2)]);
        let edit = AlbumEdit { add: Some(vec![id(2), id(3), id(4), id(3)]), ..AlbumEdit::default() };
        edit.apply(&mut album).expect("added");
        assert_eq!(album.photos, [id(1), id(2), id(3), id(4)]);
        let arrange = Some(vec![id(4), id(9), id(2), id(4)]);
        AlbumEdit { arrange, cover: Some(id(2)), ..AlbumEdit::default() }.apply(&mut album).expect("arranged");
        assert_eq!((&*album.photos, album.cover), (&[id(4), id(2), id(1), id(3)][..], Some(id(2))));
        AlbumEdit { remove: Some(vec![id(2)]), ..AlbumEdit::default() }.apply(&mut album).expect("removed");
        assert_eq!((&*album.photos, album.cover), (&[id(4), id(1), id(3)][..], None), "its cover went");
        let cover = AlbumEdit { cover: Some(id(2)), ..AlbumEdit::default() };
        assert!(cover.apply(&mut album).expect_err("no photo of it").contains("its own"));
    }

    #[test]
    fn what_no_album_can_be_is_refused() {
        let edit = |edit: AlbumEdit| edit.check().expect_err("refused");
        edit(AlbumEdit::default());
        edit(AlbumEdit { title: Some("  ".to_owned()), ..AlbumEdit::default() });
        edit(AlbumEdit { title: Some("a\nb".to_owned()), ..AlbumEdit::default() });
        edit(AlbumEdit { note: Some("x".repeat(1001)), ..AlbumEdit::default() });
        edit(AlbumEdit { shared_with: Some(vec!["x".into(); 51]), ..AlbumEdit::default() });
        edit(AlbumEdit { add: Some(vec![id(1); 10_001]), ..AlbumEdit::default() });
    }

    #[test]
    fn an_album_is_seen_by_its_owner_and_by_those_it_is_shared_with() {
        let mut album = album(&[]);
        assert!(album.is_seen("anna", true) && !album.is_seen("anna", false) && !album.is_seen("bea", true));
        album.shared_with = vec!["bea".into()];
        assert!(album.is_seen("bea", false) && !album.is_seen("cy", true));
        album.everyone = true;
        assert!(album.is_seen("cy", true) && !album.is_seen("cy", false), "not those who see some cameras alone");
    }
}
