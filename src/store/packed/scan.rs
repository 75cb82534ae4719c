//! Entries in the order of their keys, from both ends.

use std::collections::VecDeque;
use std::ops::Bound;

use sled::{IVec, Tree};

use super::super::StoreError;
use super::block::Entry;
use super::entries_of;

/// Entries within bounds. The writer may change the tree meanwhile, also how it is packed: an entry that is there
/// all the time is met exactly once.
#[derive(Debug)]
pub(in crate::store) struct Scan {
    tree: Tree,
    low: Bound<IVec>,
    high: Bound<IVec>,
    /// Entries that were read and lie above `low`, ascending.
    front: VecDeque<Entry>,
    /// Entries that were read and lie below `high`, ascending.
    back: VecDeque<Entry>,
}

impl Scan {
    pub(super) fn new(tree: &Tree, low: Bound<IVec>, high: Bound<IVec>) -> Self {
        Self { tree: tree.clone(), low, high, front: VecDeque::new(), back: VecDeque::new() }
    }

    /// The keys alone.
    pub(in crate::store) fn keys(self) -> impl DoubleEndedIterator<Item = Result<IVec, StoreError>> {
        self.map(|entry| entry.map(|(key, _)| key))
    }

    fn is_above_low(&self, key: &IVec) -> bool {
        match &self.low {
            Bound::Unbounded => true,
            Bound::Included(low) => key >= low,
            Bound::Excluded(low) => key > low,
        }
    }

    fn is_below_high(&self, key: &IVec) -> bool {
        match &self.high {
            Bound::Unbounded => true,
            Bound::Included(high) => key <= high,
            Bound::Excluded(high) => key < high,
        }
    }

    /// Reads the next entries above `low`. `false`: there are none.
    fn read_front(&mut self) -> Result<bool, StoreError> {
        let low = match &self.low {
            Bound::Unbounded => None,
            Bound::Included(low) | Bound::Excluded(low) => Some(low.clone()),
        };
        // What holds `low` may hold more above it, by now also what was elsewhere when `low` was read.
        if let Some(low) = &low
            && let Some(row) = self.tree.range::<&IVec, _>(..=low).next_back()
        {
            let entries = entries_of(row?)?;
            self.front = entries.into_iter().filter(|(key, _)| self.is_above_low(key)).collect();
        }
        if self.front.is_empty() {
            let after = low.map_or(Bound::Unbounded, Bound::Excluded);
            let Some(row) = self.tree.range((after, Bound::Unbounded)).next() else { return Ok(false) };
            self.front = entries_of(row?)?.into();
        }
        Ok(true)
    }

    /// Reads the next entries below `high`. `false`: there are none.
    fn read_back(&mut self) -> Result<bool, StoreError> {
        while let Some(row) = self.tree.range((Bound::Unbounded, self.high.clone())).next_back() {
            let row = row?;
            let at = row.0.clone();
            self.back = entries_of(row)?.into_iter().filter(|(key, _)| self.is_below_high(key)).collect();
            if !self.back.is_empty() {
                return Ok(true);
            }
            self.high = Bound::Excluded(at);
        }
        Ok(false)
    }
}

impl Iterator for Scan {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.front.is_empty() {
            match self.read_front() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        let entry = self.front.pop_front().filter(|(key, _)| self.is_below_high(key))?;
        self.low = Bound::Excluded(entry.0.clone());
        Some(Ok(entry))
    }
}

impl DoubleEndedIterator for Scan {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.back.is_empty() {
            match self.read_back() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
        let entry = self.back.pop_back().filter(|(key, _)| self.is_above_low(key))?;
        self.high = Bound::Excluded(entry.0.clone());
        Some(Ok(entry))
    }
}
