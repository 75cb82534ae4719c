//! Rows that an older schema left one by one.

use std::ops::Bound;

use sled::IVec;

use super::super::StoreError;
use super::block::{self, Entry};
use super::view::View;

/// Rows that one step looks at.
const ROWS: usize = 512;
impl View<'_> {
    /// Makes blocks of the plain rows above `after`, as far as one short step gets. Returns the key to go on after;
    /// `None` at the end of the tree. Only for a view without changes.
    pub(in crate::store) fn repack(&self, after: Option<&[u8]>) -> Result<Option<IVec>, StoreError> {
        let Some(packing) = self.packing() else { return Ok(None) };
        let above = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let (mut run, mut last, mut seen) = (Vec::<Entry>::new(), None, 0);
        for row in self.tree().range::<&[u8], _>(above).take(ROWS) {
            let (key, value) = row?;
            seen += 1;
            last = Some(key.clone());
            if block::is_block(&value) {
                self.pack(std::mem::take(&mut run), packing);
            } else {
                run.push((key, value));
            }
        }
        if seen < ROWS {
            run.truncate(run.len().saturating_sub(packing.left));
            last = None;
        }
        self.pack(run, packing);
        Ok(last)
    }
}
