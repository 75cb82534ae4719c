//! Sorted maps that take little room in sled.
//!
//! sled keeps at most sixteen rows in a page, usually half of that, and something of every page in memory for ever.
//! So what a tree costs at a start and in memory follows the number of its rows, not their bytes. Here many entries
//! share a row:
//!
//! - A row of the tree is an entry as it is, or a *block*: entries next to each other, compressed, under a key that is
//!   not above the first of them. All entries of a row lie below the key of the next row.
//! - New entries become rows of their own. When enough of them lie next to each other, all but the newest become
//!   blocks, in the commit that brings the one too many ([`View`]). So what is written for one event stays small, and
//!   a row is compressed once.
//! - An entry in a block is changed there, and the block written again. A block that has become small takes in the
//!   next one.
//!
//! A tree without blocks is a valid one, which is what older schemas left: [`View::repack`] goes through it in
//! short steps.

pub(super) mod block;

mod scan;

mod view;

mod repack;

#[cfg(test)]
pub(super) mod tests;

use std::ops::{Bound, RangeBounds};

use sled::{IVec, Tree};

use super::StoreError;
use block::Entry;

pub(super) use scan::Scan;
pub(super) use view::{Packing, View};

/// A tree whose rows may be blocks, for reading; [`View`] writes.
#[derive(Clone, Debug)]
pub(super) struct Packed(Tree);

impl Packed {
    pub(super) fn new(tree: Tree) -> Self {
        Self(tree)
    }

    /// The rows.
    pub(super) fn tree(&self) -> &Tree {
        &self.0
    }

    /// The value of `key`.
    pub(super) fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<IVec>, StoreError> {
        let Some(row) = self.0.range(..=key.as_ref()).next_back().transpose()? else { return Ok(None) };
        find(row, key.as_ref())
    }

    /// For several look-ups in a row.
    pub(super) fn lookup(&self) -> Lookup<'_> {
        Lookup { packed: self, last: None }
    }

    pub(super) fn contains_key(&self, key: impl AsRef<[u8]>) -> Result<bool, StoreError> {
        Ok(self.get(key)?.is_some())
    }

    /// Entries with keys in `bounds`.
    pub(super) fn range<K: AsRef<[u8]>>(&self, bounds: impl RangeBounds<K>) -> Scan {
        let own = |bound: Bound<&K>| bound.map(|key| IVec::from(key.as_ref()));
        Scan::new(&self.0, own(bounds.start_bound()), own(bounds.end_bound()))
    }

    /// Entries whose keys begin with `prefix`.
    pub(super) fn scan_prefix(&self, prefix: impl AsRef<[u8]>) -> Scan {
        let low = prefix.as_ref();
        let high = low.iter().rposition(|byte| *byte != 0xff).and_then(|last| {
            let mut high = low.get(..=last)?.to_vec();
            *high.last_mut()? += 1;
            Some(high)
        });
        let high = high.map_or(Bound::Unbounded, |high| Bound::Excluded(high.into()));
        Scan::new(&self.0, Bound::Included(low.into()), high)
    }

    /// All entries.
    pub(super) fn iter(&self) -> Scan {
        self.range::<&[u8]>(..)
    }

    pub(super) fn first(&self) -> Result<Option<Entry>, StoreError> {
        self.iter().next().transpose()
    }

    pub(super) fn last(&self) -> Result<Option<Entry>, StoreError> {
        self.iter().next_back().transpose()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The last entry below `key`.
    pub(super) fn get_lt(&self, key: impl AsRef<[u8]>) -> Result<Option<Entry>, StoreError> {
        self.range(..key.as_ref()).next_back().transpose()
    }

    /// The first entry above `key`.
    pub(super) fn get_gt(&self, key: impl AsRef<[u8]>) -> Result<Option<Entry>, StoreError> {
        self.range::<&[u8]>((Bound::Excluded(key.as_ref()), Bound::Unbounded)).next().transpose()
    }
}

/// Looks up one entry after the other: neighbours share the reading of their block.
#[derive(Debug)]
pub(super) struct Lookup<'a> {
    packed: &'a Packed,
    /// The block that was read last, and what it holds.
    last: Option<(Entry, Vec<Entry>)>,
}

impl Lookup<'_> {
    /// The value of `key` as it is now.
    pub(super) fn get(&mut self, key: &[u8]) -> Result<Option<IVec>, StoreError> {
        let Some(row) = self.packed.0.range(..=key).next_back().transpose()? else { return Ok(None) };
        if !block::is_block(&row.1) {
            return find(row, key);
        }
        if self.last.as_ref().is_none_or(|(known, _)| *known != row) {
            let entries = block::decode(&row.1)?;
            self.last = Some((row, entries));
        }
        let entries = self.last.as_ref().map_or(&[][..], |(_, entries)| entries);
        Ok(value_of(entries, key).cloned())
    }
}

fn value_of<'a>(entries: &'a [Entry], key: &[u8]) -> Option<&'a IVec> {
    let index = entries.binary_search_by(|(known, _)| known.as_ref().cmp(key)).ok()?;
    entries.get(index).map(|(_, value)| value)
}

/// What a row holds.
fn entries_of(row: (IVec, IVec)) -> Result<Vec<Entry>, StoreError> {
    if block::is_block(&row.1) { block::decode(&row.1) } else { Ok(vec![row]) }
}

/// The value of `key` in the row that holds it, if any does.
fn find((at, value): (IVec, IVec), key: &[u8]) -> Result<Option<IVec>, StoreError> {
    if !block::is_block(&value) {
        return Ok((at == key).then_some(value));
    }
    Ok(value_of(&block::decode(&value)?, key).cloned())
}
