//! What the photos of each user take.

use std::collections::BTreeMap;

use serde::Serialize;

use super::StoreError;
use super::commit::Group;
use super::trees::Database;
use crate::photo::Photo;

/// What the photos of one user take, the trash among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PhotoUsage {
    /// How many there are.
    pub photos: u64,
    /// Bytes of their originals.
    pub bytes: u64,
}

impl PhotoUsage {
    fn to_bytes(self) -> [u8; 16] {
        let mut row = [0; 16];
        let (photos, bytes) = row.split_at_mut(8);
        photos.copy_from_slice(&self.photos.to_be_bytes());
        bytes.copy_from_slice(&self.bytes.to_be_bytes());
        row
    }

    fn from_bytes(row: &[u8]) -> Self {
        let mut numbers = row.as_chunks().0.iter().map(|bytes| u64::from_be_bytes(*bytes));
        let mut next = || numbers.next().unwrap_or(0);
        Self { photos: next(), bytes: next() }
    }
}

impl Group<'_> {
    /// Counts a photo that came, or one that went.
    pub(super) fn count_usage(&self, photo: &Photo, came: bool) -> Result<(), StoreError> {
        let (key, view) = (photo.owner.as_bytes(), &self.views.photo_usage);
        let mut usage = view.get(key)?.map(|row| PhotoUsage::from_bytes(&row)).unwrap_or_default();
        if came {
            usage.photos += 1;
            usage.bytes = usage.bytes.saturating_add(photo.bytes);
        } else {
            usage.photos = usage.photos.saturating_sub(1);
            usage.bytes = usage.bytes.saturating_sub(photo.bytes);
        }
        if usage.photos == 0 {
            view.remove(key)?;
        } else {
            view.insert(key, &usage.to_bytes())?;
        }
        Ok(())
    }
}

/// What the photos of `owner` take.
pub(super) fn usage(db: &Database, owner: &str) -> Result<PhotoUsage, StoreError> {
    Ok(db.photo_usage.get(owner.as_bytes())?.map(|row| PhotoUsage::from_bytes(&row)).unwrap_or_default())
}

/// What the photos of each user take, by name.
pub(super) fn usages(db: &Database) -> Result<BTreeMap<String, PhotoUsage>, StoreError> {
    let mut usages = BTreeMap::new();
    for entry in db.photo_usage.iter() {
        let (key, row) = entry?;
        usages.insert(String::from_utf8_lossy(&key).into_owned(), PhotoUsage::from_bytes(&row));
    }
    Ok(usages)
}
