//! Several photos of one thing become one: what was said of the others goes to the one that is kept, and they go to the trash.

use super::{Library, LibraryError, PhotoEdit};
use crate::event::MOST_TAGS;
use crate::photo::{AlbumEdit, LONGEST_NOTE, Photo, PhotoId};

/// Photos that are merged at once.
pub const MOST_MERGED: usize = 50;

impl Library {
    /// Keeps `keep` and puts `others` into the trash, of which they can be taken out again. What people said of the others
    /// and `keep` does not have goes to it: title, notes, tags, favourites, and its places in albums. Gives it as it is then.
    ///
    /// A stop in between leaves some of the others where they were; merging again finishes it.
    ///
    /// # Errors
    /// [`LibraryError::Unknown`] where one is gone; else when index or disk fail.
    pub async fn merge(&self, keep: PhotoId, others: &[PhotoId]) -> Result<Photo, LibraryError> {
        let photos = self.archive.store().photos();
        let mut kept = photos.get(keep).await?.ok_or(LibraryError::Unknown)?;
        for id in others.iter().filter(|id| **id != keep) {
            let other = photos.get(*id).await?.ok_or(LibraryError::Unknown)?;
            let edit = with_what_is_said(&kept, &other);
            if edit != PhotoEdit::default() {
                kept = self.edit(keep, edit, None).await?;
            }
            for user in other.favorite_of.iter().filter(|user| !kept.favorite_of.contains(user)) {
                self.set_favorite(keep, user, true).await?;
            }
            self.replace_in_albums(*id, keep).await?;
            self.edit(*id, PhotoEdit { trashed: Some(true), ..PhotoEdit::default() }, None).await?;
        }
        photos.get(keep).await?.ok_or(LibraryError::Unknown)
    }

    /// Puts `keep` into the albums that `other` is in. That stays in them too: out of the trash it is there again.
    async fn replace_in_albums(&self, other: PhotoId, keep: PhotoId) -> Result<(), LibraryError> {
        let albums = self.archive.store().albums();
        for album in albums.all().await? {
            let photos = albums.photos(album.id).await?;
            if photos.contains(&other) && !photos.contains(&keep) {
                self.edit_album(album.id, AlbumEdit { add: Some(vec![keep]), ..AlbumEdit::default() }, None).await?;
            }
        }
        Ok(())
    }
}

/// What is to be changed of `kept`, so that it says what was said of `other` too.
fn with_what_is_said(kept: &Photo, other: &Photo) -> PhotoEdit {
    let mut edit = PhotoEdit::default();
    if kept.title.is_empty() && !other.title.is_empty() {
        edit.title = Some(other.title.clone());
    }
    if !other.note.is_empty() && !kept.note.contains(&other.note) {
        let note = if kept.note.is_empty() { other.note.clone() } else { format!("{}\n{}", kept.note, other.note) };
        // Nothing of what is there is cut off; what has no room stays with the other in the trash.
        edit.note = Some(note).filter(|note| note.len() <= LONGEST_NOTE);
    }
    let mut tags = kept.tags.clone();
    tags.extend(other.tags.iter().filter(|tag| !kept.tags.contains(tag)).cloned());
    tags.truncate(MOST_TAGS);
    if tags != kept.tags {
        edit.tags = Some(tags);
    }
    edit
}
