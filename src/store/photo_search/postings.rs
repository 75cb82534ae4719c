//! The lists of the terms, and the times by number, as a commit changes them.
//!
//! Photos have a number, given once. `photo_terms` has for each term and chunk of 2048 numbers a row, which is a list or a
//! bitmap; `photo_times` has for each 128 numbers the times on the wall. So a photo changes a few short rows, and a search
//! reads little, whatever there is.

use std::collections::BTreeSet;

use super::super::StoreError;
use super::super::commit::Group;
use super::super::packed::View;
use super::chunks::{NUMBERS, changed};
use crate::photo::PhotoId;

/// Times of one row.
pub(super) const TIMES: u32 = 128;
/// In place of a time: no photo has the number.
pub(super) const ABSENT: i64 = i64::MIN;
/// Bytes of a key behind its term: a zero, and the chunk.
pub(super) const TAIL: usize = 5;

pub(super) fn term_key(term: &[u8], chunk: u32) -> Vec<u8> {
    [term, &[0], &chunk.to_be_bytes()].concat()
}

fn change(view: &View<'_>, term: &[u8], number: u32, is_in: bool) -> Result<(), StoreError> {
    let key = term_key(term, number / NUMBERS);
    let row = view.get(&key)?;
    match changed(row.as_deref(), number, is_in) {
        Some(row) => view.insert(key, row)?,
        None => view.remove(key)?,
    };
    Ok(())
}

impl Group<'_> {
    /// The number of a photo, where it has one.
    pub(in crate::store) fn photo_number(&self, id: PhotoId) -> Result<Option<u32>, StoreError> {
        let number = self.views.photo_numbers.get(id.to_bytes())?;
        Ok(number.and_then(|bytes| bytes.as_ref().try_into().ok().map(u32::from_be_bytes)))
    }

    /// Gives a photo a number.
    pub(in crate::store) fn number_photo(&mut self, id: PhotoId) -> Result<u32, StoreError> {
        let number = self.counters.photo_numbers;
        self.counters.photo_numbers = number.saturating_add(1);
        self.views.photo_numbers.insert(id.to_bytes(), &number.to_be_bytes())?;
        self.views.photo_ids.insert(number.to_be_bytes(), &id.to_bytes())?;
        Ok(number)
    }

    /// Takes its number from a photo; it is not given again.
    pub(in crate::store) fn unnumber_photo(&self, id: PhotoId, number: u32) -> Result<(), StoreError> {
        self.views.photo_numbers.remove(id.to_bytes())?;
        self.views.photo_ids.remove(number.to_be_bytes())?;
        self.set_photo_time(number, ABSENT)
    }

    /// Changes the lists of the terms that are in one of the two and not in the other.
    pub(in crate::store) fn change_terms(
        &self,
        number: u32,
        old: &BTreeSet<Vec<u8>>,
        new: &BTreeSet<Vec<u8>>,
    ) -> Result<(), StoreError> {
        let view = &self.views.photo_terms;
        old.difference(new).try_for_each(|term| change(view, term, number, false))?;
        new.difference(old).try_for_each(|term| change(view, term, number, true))
    }

    /// Puts a photo into the list of one term, or takes it out.
    pub(in crate::store) fn change_term(&self, term: &[u8], number: u32, is_in: bool) -> Result<(), StoreError> {
        change(&self.views.photo_terms, term, number, is_in)
    }

    /// Notes when a photo was taken, milliseconds on the wall.
    pub(in crate::store) fn set_photo_time(&self, number: u32, wall_ms: i64) -> Result<(), StoreError> {
        let key = (number / TIMES).to_be_bytes();
        let view = &self.views.photo_times;
        let mut row = match view.get(key)? {
            Some(row) if row.len() == TIMES as usize * 8 => row.to_vec(),
            _ => ABSENT.to_be_bytes().repeat(TIMES as usize),
        };
        let at = (number % TIMES) as usize * 8;
        if let Some(place) = row.get_mut(at..at + 8) {
            place.copy_from_slice(&wall_ms.to_be_bytes());
        }
        view.insert(key, row)?;
        Ok(())
    }
}
