//! What people change of a photo.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::intake::blocking;
use super::{Library, LibraryError};
use crate::event::{MOST_TAGS, check_tag};
use crate::photo::{LONGEST_NOTE, LONGEST_TITLE, Photo, PhotoId, Seen, TakenEdit};

/// Most users whose favourite one photo is.
const MOST_FAVORITES: usize = 50;

/// What is to be changed; what is not named stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PhotoEdit {
    /// Its title; empty for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What is said of it; empty for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Its tags, all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// When it was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken: Option<TakenEdit>,
    /// Whether its owner alone sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private: Option<bool>,
    /// Whether it lies in the trash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trashed: Option<bool>,
}

impl PhotoEdit {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn check(&self) -> Result<(), String> {
        if *self == Self::default() {
            return Err("nothing is to be changed: give title, note, tags, taken, private or trashed".to_owned());
        }
        let is_text = |text: &str, lines: bool| !text.chars().any(|c| c.is_control() && !(lines && c == '\n'));
        if self.title.as_deref().is_some_and(|title| title.len() > LONGEST_TITLE || !is_text(title, false)) {
            return Err(format!("a title has {LONGEST_TITLE} bytes at most, on one line"));
        }
        if self.note.as_deref().is_some_and(|note| note.len() > LONGEST_NOTE || !is_text(note, true)) {
            return Err(format!("a note has {LONGEST_NOTE} bytes at most, and no control characters but line breaks"));
        }
        let tags = self.tags.as_deref().unwrap_or_default();
        if tags.len() > MOST_TAGS {
            return Err(format!("a photo has {MOST_TAGS} tags at most"));
        }
        tags.iter().try_for_each(|tag| check_tag(tag))
    }

    fn apply(self, photo: &mut Photo, now: crate::clock::Moment) -> Result<(), LibraryError> {
        let Self { title, note, tags, taken, private, trashed } = self;
        if let Some(taken) = taken {
            let found = photo.taken_found.unwrap_or(photo.taken);
            photo.taken = taken.applied(photo.taken, photo.taken_found).map_err(LibraryError::BadEdit)?;
            photo.taken_found = Some(found).filter(|found| *found != photo.taken);
        }
        if let Some(title) = title {
            photo.title = title;
        }
        if let Some(note) = note {
            photo.note = note;
        }
        if let Some(tags) = tags {
            photo.tags.clear();
            for tag in tags {
                if !photo.tags.contains(&tag) {
                    photo.tags.push(tag);
                }
            }
        }
        if let Some(private) = private {
            photo.private = private;
        }
        match trashed {
            Some(true) => {
                photo.trashed.get_or_insert(now);
            }
            Some(false) => photo.trashed = None,
            None => {}
        }
        Ok(())
    }
}

impl Library {
    /// Changes a photo; durable when it returns. Gives it as it is then. Where the caller names what it `expects`, the
    /// photo is changed only if it still is that.
    ///
    /// # Errors
    /// [`LibraryError::Unknown`], [`LibraryError::Changed`], [`LibraryError::BadEdit`]; else when index or disk fail.
    pub async fn edit(&self, id: PhotoId, edit: PhotoEdit, expects: Option<&Photo>) -> Result<Photo, LibraryError> {
        let _changing = self.archive.changing_photos.lock().await;
        let known = self.archive.store().photos().get(id).await?.ok_or(LibraryError::Unknown)?;
        if expects.is_some_and(|expected| *expected != known) {
            return Err(LibraryError::Changed);
        }
        let mut photo = known.clone();
        edit.apply(&mut photo, self.archive.now())?;
        if photo == known {
            return Ok(known);
        }
        self.record(photo).await
    }

    /// Makes a photo a favourite of `user`, or no favourite; durable when it returns.
    ///
    /// # Errors
    /// [`LibraryError::Unknown`], [`LibraryError::TooManyFavorites`]; else when index or disk fail.
    pub async fn set_favorite(&self, id: PhotoId, user: &str, is_favorite: bool) -> Result<Photo, LibraryError> {
        let _changing = self.archive.changing_photos.lock().await;
        let known = self.archive.store().photos().get(id).await?.ok_or(LibraryError::Unknown)?;
        let mut photo = known.clone();
        photo.favorite_of.retain(|name| **name != *user);
        if is_favorite {
            photo.favorite_of.push(user.into());
        }
        if photo.favorite_of.len() > MOST_FAVORITES {
            return Err(LibraryError::TooManyFavorites { most: MOST_FAVORITES });
        }
        if photo.favorite_of.len() == known.favorite_of.len() {
            return Ok(known);
        }
        self.record(photo).await
    }

    /// Notes what a model sees in a photo; durable when it returns.
    ///
    /// # Errors
    /// [`LibraryError::Unknown`]; else when index or disk fail.
    pub async fn set_seen(&self, id: PhotoId, seen: Seen) -> Result<(), LibraryError> {
        let _changing = self.archive.changing_photos.lock().await;
        let known = self.archive.store().photos().get(id).await?.ok_or(LibraryError::Unknown)?;
        self.record(Photo { seen: Some(seen), ..known }).await.map(|_| ())
    }

    /// Takes a photo out of the trash. The caller holds what changes are guarded by.
    pub(super) async fn restored(&self, mut photo: Photo) -> Result<Photo, LibraryError> {
        photo.trashed = None;
        self.record(photo).await
    }

    pub(super) async fn record(&self, photo: Photo) -> Result<Photo, LibraryError> {
        let (this, mut written) = (self.clone(), photo.clone());
        let sidecar = blocking(move || {
            // The index may have less of what a file says of itself, which no edit changes.
            if let Ok(known) = this.read_sidecar(&written) {
                written.facts = known.facts;
                let model = |photo: &Photo| photo.seen.as_ref().map(|seen| seen.model.clone());
                if model(&written) == known.seen.as_ref().map(|seen| seen.model.clone()) {
                    written.seen = known.seen;
                }
            }
            this.write_sidecar(&written)
        })
        .await?;
        self.archive.store().photos().record(&photo, Self::documents(&photo, sidecar, false)).await?;
        Ok(photo)
    }
}
