//! The photos: what a commit does to them, and how they are found again.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::StoreError;
use super::commit::Group;
use super::photo_changes::PhotoChange;
use super::photo_order::{Walk, order_key};
use super::photo_scope::{MAX_LIMIT, PhotoPosition, Scope};
use super::photo_search::keys_of;
use super::schema::{decode, encode, id_of, shorten};
use super::trees::Database;
use crate::photo::{Photo, PhotoId};

/// Largest photo in the index, bytes of JSON.
const MAX_PHOTO: usize = 3 * 1024;
/// What is left of each long text of a file where they are too long together, bytes.
const SHORT: usize = 400;

/// Objects that are left of a photo that has too long texts.
const FEW_OBJECTS: usize = 4;

fn content_key(photo: &Photo) -> Vec<u8> {
    [hex::decode(&photo.sha256).unwrap_or_default().as_slice(), &photo.id.to_bytes()].concat()
}

/// The photo as the index keeps it: the sidecar has all of what its file says.
pub(super) fn index_form(photo: &Photo) -> Result<Vec<u8>, StoreError> {
    let json = encode(photo)?;
    if json.len() <= MAX_PHOTO {
        return Ok(json);
    }
    let (mut short, facts) = (photo.clone(), &photo.facts);
    short.facts.description = facts.description.as_deref().map(|text| shorten(text, SHORT).to_owned());
    short.facts.keywords = facts.keywords.iter().take(SHORT / 20).map(|word| shorten(word, 20).to_owned()).collect();
    if let Some(seen) = &mut short.seen {
        seen.objects.truncate(FEW_OBJECTS);
    }
    let json = encode(&short)?;
    if json.len() <= MAX_PHOTO {
        return Ok(json);
    }
    Err(StoreError::TooLarge { what: "a photo", bytes: json.len(), limit: MAX_PHOTO })
}

impl Group<'_> {
    /// Puts a photo into the index, or a newer state in place of the older.
    pub(super) fn put_photo(&mut self, photo: &Photo, json: &[u8]) -> Result<(), StoreError> {
        // Found is what is in the index, which may be less than the sidecar has.
        let Photo { facts, seen, .. } = decode(json)?;
        let photo = &Photo { facts, seen, ..photo.clone() };
        let id = photo.id.to_bytes();
        let mut had = BTreeSet::new();
        let number = self.photo_number(photo.id)?;
        let old: Option<Photo> = self.views.photos.insert(id, json)?.map(|old| decode(&old)).transpose()?;
        self.photos.extend(PhotoChange::between(old.as_ref(), Some(photo)));
        match old {
            Some(old) => {
                self.views.photo_order.remove(place_of(&old))?;
                self.views.photo_contents.remove(content_key(&old))?;
                // A photo without a number is in no list, and not counted.
                if number.is_some() {
                    had = keys_of(&old);
                    self.count_usage(&old, false)?;
                }
            }
            None => self.counters.photos += 1,
        }
        let number = number.map_or_else(|| self.number_photo(photo.id), Ok)?;
        self.views.photo_order.insert(place_of(photo), &number.to_be_bytes())?;
        self.views.photo_contents.insert(content_key(photo), &[])?;
        self.count_usage(photo, true)?;
        self.change_terms(number, &had, &keys_of(photo))?;
        self.set_photo_time(number, photo.taken.wall_ms())
    }

    /// Puts a photo into the lists of its terms, whatever is in them.
    pub(super) fn fill_photo_lists(&mut self, id: PhotoId) -> Result<(), StoreError> {
        let Some(json) = self.views.photos.get(id.to_bytes())? else { return Ok(()) };
        self.put_photo(&decode(&json)?, &json)
    }

    /// Takes a photo out of the index, where it is in it.
    pub(super) fn forget_photo(&mut self, id: PhotoId) -> Result<(), StoreError> {
        let Some(old) = self.views.photos.remove(id.to_bytes())? else { return Ok(()) };
        let old: Photo = decode(&old)?;
        self.photos.extend(PhotoChange::between(Some(&old), None));
        self.views.photo_order.remove(place_of(&old))?;
        self.views.photo_contents.remove(content_key(&old))?;
        self.counters.photos = self.counters.photos.saturating_sub(1);
        if let Some(number) = self.photo_number(id)? {
            self.count_usage(&old, false)?;
            self.change_terms(number, &keys_of(&old), &BTreeSet::new())?;
            self.unnumber_photo(id, number)?;
        }
        Ok(())
    }
}

/// The highest id of a photo.
pub(super) fn newest_id(db: &Database) -> Result<Option<PhotoId>, StoreError> {
    Ok(db.photos.last()?.and_then(|(key, _)| id_of(&key)))
}

/// The first `limit` photos behind `after`, by id.
pub(super) fn by_id(db: &Database, after: Option<PhotoId>, limit: usize) -> Result<Vec<Photo>, StoreError> {
    let from = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.to_bytes()));
    db.photos.range((from, Bound::Unbounded)).take(limit).map(|entry| decode(&entry?.1)).collect()
}

/// One photo.
pub(super) fn get(db: &Database, id: PhotoId) -> Result<Option<Photo>, StoreError> {
    db.photos.get(id.to_bytes())?.map(|json| decode(&json)).transpose()
}

/// All photos with the content `sha256`, of whomever they are.
pub(super) fn with_content(db: &Database, sha256: &str) -> Result<Vec<Photo>, StoreError> {
    let Ok(prefix) = hex::decode(sha256) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for key in db.photo_contents.scan_prefix(prefix).keys() {
        if let Some(id) = id_of(&key?) {
            found.extend(get(db, id)?);
        }
    }
    Ok(found)
}

/// Photos in the trash of any user, behind `after`.
pub(super) fn trashed(db: &Database, after: Option<&Photo>, limit: usize) -> Result<Vec<Photo>, StoreError> {
    let trash = Scope::ANY_TRASH.to_vec();
    let past = trash.iter().map(|byte| byte + 1).collect::<Vec<u8>>();
    let from = after.map_or(Bound::Included(trash), |photo| Bound::Excluded(place_of(photo)));
    let (mut found, mut rows) = (Vec::new(), db.photos.lookup());
    for key in db.photo_order.range((from, Bound::Excluded(past))).keys().take(limit) {
        let id = id_of(&key?).map(PhotoId::to_bytes);
        if let Some(json) = id.map(|id| rows.get(&id)).transpose()?.flatten() {
            found.push(decode(&json)?);
        }
    }
    Ok(found)
}

fn place_of(photo: &Photo) -> Vec<u8> {
    order_key(&Scope::of(photo), PhotoPosition::of(photo))
}

/// Photos of `scopes` together, those that were taken last first; `before` is where the page before ended.
pub(super) fn newest(
    db: &Database,
    scopes: &[Scope],
    before: Option<PhotoPosition>,
    limit: usize,
) -> Result<Vec<Photo>, StoreError> {
    let (mut found, mut rows, mut walk) = (Vec::new(), db.photos.lookup(), Walk::new(db, scopes, before)?);
    while found.len() < limit.min(MAX_LIMIT) {
        let Some((position, _)) = walk.next()? else { break };
        if let Some(json) = rows.get(&position.id.to_bytes())? {
            found.push(decode(&json)?);
        }
    }
    Ok(found)
}
