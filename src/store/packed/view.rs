//! A tree as one commit changes it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound;

use sled::{IVec, Tree};

use super::super::StoreError;
use super::block::{self, Entry, weight, weight_of};
use super::find;

/// When rows become blocks.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Packing {
    /// The newest entries of a run, which stay rows of their own: they are the ones that change.
    pub left: usize,
    /// Entries of a run, besides those, that are packed however small they are.
    pub many: usize,
    /// Bytes of entries that a block is made of; a quarter of it to twice of it while it is changed.
    pub full: usize,
    /// One insertion in so many looks for a run.
    pub looks: u64,
}

/// What serves a box: few rows, and little to compress for one change.
const USUAL: Packing = Packing { left: 16, many: 64, full: 8 * 1024, looks: 16 };

impl Packing {
    pub(in crate::store) fn chosen() -> Self {
        #[cfg(test)]
        if let Some(chosen) = super::tests::chosen() {
            return chosen;
        }
        USUAL
    }
}

/// Rows that are looked at for a run.
const LONGEST: usize = 256;
/// Most bytes of a block once it is compressed: sled puts a page of more than 128 KiB into a file of its own, which it
/// would not fsync, and up to seventeen rows share a page.
const LARGEST: usize = 6 * 1024;
/// A tree with the changes that are to be committed.
#[derive(Debug)]
pub(in crate::store) struct View<'a> {
    tree: &'a Tree,
    /// `None`: none of its rows is a block.
    packing: Option<Packing>,
    rows: RefCell<BTreeMap<IVec, Row>>,
}

/// A row as it will be.
#[derive(Debug)]
enum Row {
    Gone,
    Plain(IVec),
    /// Never empty.
    Block {
        entries: Vec<Entry>,
        changed: bool,
    },
}

impl Row {
    /// From what the tree has.
    fn read(value: IVec) -> Result<Self, StoreError> {
        if !block::is_block(&value) {
            return Ok(Self::Plain(value));
        }
        Ok(Self::Block { entries: block::decode(&value)?, changed: false })
    }
}

impl<'a> View<'a> {
    /// Of a tree whose rows may be blocks.
    pub(in crate::store) fn packed(tree: &'a Tree, packing: Packing) -> Self {
        Self { tree, packing: Some(packing), rows: RefCell::default() }
    }

    /// Of a tree that has one row for each entry.
    pub(in crate::store) fn plain(tree: &'a Tree) -> Self {
        Self { tree, packing: None, rows: RefCell::default() }
    }

    /// The value of `key`.
    pub(in crate::store) fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<IVec>, StoreError> {
        let key = key.as_ref();
        if self.packing.is_none() {
            return match self.rows.borrow().get(key) {
                Some(Row::Plain(value)) => Ok(Some(value.clone())),
                Some(_) => Ok(None),
                None => Ok(self.tree.get(key)?),
            };
        }
        let Some((at, read)) = self.row_of(key)? else { return Ok(None) };
        if let Some(value) = read {
            return find((at, value), key);
        }
        Ok(match self.rows.borrow().get(&at) {
            Some(Row::Plain(value)) if at == key => Some(value.clone()),
            Some(Row::Block { entries, .. }) => {
                position(entries, key).ok().and_then(|index| entries.get(index)).map(|(_, value)| value.clone())
            }
            _ => None,
        })
    }

    /// Puts an entry in place. Returns the value that it had.
    pub(in crate::store) fn insert(
        &self,
        key: impl AsRef<[u8]>,
        value: impl Into<IVec>,
    ) -> Result<Option<IVec>, StoreError> {
        let (key, value) = (IVec::from(key.as_ref()), value.into());
        let Some(packing) = self.packing else {
            let old = self.get(&key)?;
            self.rows.borrow_mut().insert(key, Row::Plain(value));
            return Ok(old);
        };
        let at = self.load(&key)?;
        let mut rows = self.rows.borrow_mut();
        match at.and_then(|at| rows.get_mut(&at).filter(|row| at == key || matches!(row, Row::Block { .. }))) {
            Some(Row::Plain(old)) => return Ok(Some(std::mem::replace(old, value))),
            Some(Row::Block { entries, changed }) if entries.last().is_some_and(|(last, _)| *last >= key) => {
                *changed = true;
                return match position(entries, &key) {
                    Ok(index) => Ok(entries.get_mut(index).map(|(_, old)| std::mem::replace(old, value))),
                    Err(index) => {
                        entries.insert(index, (key, value));
                        if weight_of(entries) > 2 * packing.full {
                            let upper = entries.split_off(entries.len() / 2);
                            let first = upper.first().map(|(first, _)| first.clone());
                            rows.extend(first.map(|first| (first, Row::Block { entries: upper, changed: true })));
                        }
                        Ok(None)
                    }
                };
            }
            _ => {}
        }
        rows.insert(key.clone(), Row::Plain(value));
        drop(rows);
        if looks(&key, packing) {
            self.pack_before(&key, packing)?;
        }
        Ok(None)
    }

    /// Takes an entry out. Returns the value that it had.
    pub(in crate::store) fn remove(&self, key: impl AsRef<[u8]>) -> Result<Option<IVec>, StoreError> {
        let key = IVec::from(key.as_ref());
        let Some(packing) = self.packing else {
            let old = self.get(&key)?;
            self.rows.borrow_mut().insert(key, Row::Gone);
            return Ok(old);
        };
        let Some(at) = self.load(&key)? else { return Ok(None) };
        let mut rows = self.rows.borrow_mut();
        let Some(row) = rows.get_mut(&at) else { return Ok(None) };
        let (old, left) = match row {
            Row::Plain(old) if at == key => (Some(old.clone()), 0),
            Row::Block { entries, changed } => {
                let Ok(index) = position(entries, &key) else { return Ok(None) };
                *changed = true;
                (Some(entries.remove(index).1), weight_of(entries))
            }
            Row::Plain(_) | Row::Gone => return Ok(None),
        };
        if left == 0 {
            *row = Row::Gone;
        } else if left < packing.full / 4 {
            drop(rows);
            self.take_in_next(&at, packing)?;
        }
        Ok(old)
    }

    /// The rows that change; `None` for one that goes.
    pub(in crate::store) fn changes(self) -> BTreeMap<IVec, Option<IVec>> {
        let packs = self.packing.is_some();
        let (mut changes, mut blocks) = (BTreeMap::new(), Vec::new());
        for (key, row) in self.rows.into_inner() {
            match row {
                Row::Block { changed: false, .. } => {}
                Row::Block { entries, .. } => blocks.push((key, entries)),
                Row::Plain(value) if packs && block::is_block(&value) => blocks.push((key.clone(), vec![(key, value)])),
                Row::Plain(value) => drop(changes.insert(key, Some(value))),
                Row::Gone => drop(changes.insert(key, None)),
            }
        }
        while let Some((key, mut entries)) = blocks.pop() {
            let value = block::encode(&entries);
            if value.len() > LARGEST && entries.len() > 1 {
                let upper = entries.split_off(entries.len() / 2);
                blocks.extend(upper.first().map(|(first, _)| first.clone()).map(|first| (first, upper)));
                blocks.push((key, entries));
            } else {
                changes.insert(key, Some(value));
            }
        }
        changes
    }

    /// The rows as they are without the changes.
    pub(super) fn tree(&self) -> &Tree {
        self.tree
    }

    pub(super) fn packing(&self) -> Option<Packing> {
        self.packing
    }

    /// Makes blocks of the plain rows that lie before `key` next to each other, where there are enough.
    fn pack_before(&self, key: &[u8], packing: Packing) -> Result<(), StoreError> {
        let mut run = self.run_before(key)?;
        run.truncate(run.len().saturating_sub(packing.left));
        if run.len() >= packing.many || weight_of(&run) >= packing.full {
            self.pack(run, packing);
        }
        Ok(())
    }

    /// Makes blocks of `run`, plain rows next to each other; what does not fill one stays as it is.
    pub(super) fn pack(&self, run: Vec<Entry>, packing: Packing) {
        let mut rows = self.rows.borrow_mut();
        let mut entries = Vec::new();
        let mut weighs = 0;
        for entry in run {
            if weighs + weight(&entry) > packing.full && !entries.is_empty() {
                put_block(&mut rows, std::mem::take(&mut entries));
                weighs = 0;
            }
            weighs += weight(&entry);
            entries.push(entry);
        }
        if weighs >= packing.full / 2 || entries.len() >= packing.many {
            put_block(&mut rows, entries);
        }
    }

    /// The plain rows that end with the one at `key`, or before it, and that nothing else lies between, ascending.
    fn run_before(&self, key: &[u8]) -> Result<Vec<Entry>, StoreError> {
        let rows = self.rows.borrow();
        let mut changed = rows.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).rev().peekable();
        let mut known = self.tree.range(..=key).rev().peekable();
        let mut run = Vec::new();
        while run.len() < LONGEST {
            if let (Some(Ok((there, _))), Some((at, _))) = (known.peek(), changed.peek())
                && there == *at
            {
                known.next();
                continue;
            }
            let newer = match (known.peek(), changed.peek()) {
                (Some(Ok((there, _))), Some((at, _))) => *at > there,
                (Some(_), _) => false,
                (None, Some(_)) => true,
                (None, None) => break,
            };
            if newer {
                match changed.next() {
                    Some((at, Row::Plain(value))) => run.push((at.clone(), value.clone())),
                    Some((_, Row::Gone)) => {}
                    _ => break,
                }
            } else {
                match known.next().transpose()? {
                    Some((at, value)) if !block::is_block(&value) => run.push((at, value)),
                    _ => break,
                }
            }
        }
        run.reverse();
        Ok(run)
    }

    /// Puts the entries of the next row, if that is a block too and small enough, into the block at `at`.
    fn take_in_next(&self, at: &IVec, packing: Packing) -> Result<(), StoreError> {
        let Some(next) = self.next_row(at)? else { return Ok(()) };
        self.load(&next)?;
        let mut rows = self.rows.borrow_mut();
        let Some(Row::Block { entries: small, .. }) = rows.get(at) else { return Ok(()) };
        let weighs = weight_of(small);
        let Some(row) = rows.get_mut(&next) else { return Ok(()) };
        let Row::Block { entries, .. } = row else { return Ok(()) };
        if weighs + weight_of(entries) > packing.full {
            return Ok(());
        }
        let taken = std::mem::take(entries);
        *row = Row::Gone;
        if let Some(Row::Block { entries, changed }) = rows.get_mut(at) {
            entries.extend(taken);
            *changed = true;
        }
        Ok(())
    }

    /// The key of the first row above `at`.
    fn next_row(&self, at: &IVec) -> Result<Option<IVec>, StoreError> {
        let rows = self.rows.borrow();
        let above = (Bound::Excluded(at.clone()), Bound::Unbounded);
        let changed = rows.range(above.clone()).find(|(_, row)| !matches!(row, Row::Gone)).map(|(key, _)| key.clone());
        for row in self.tree.range(above) {
            let (key, _) = row?;
            if !rows.contains_key(&key) {
                return Ok(Some(changed.map_or_else(|| key.clone(), |changed| changed.min(key.clone()))));
            }
        }
        Ok(changed)
    }

    /// The key of the row that holds `key`, if any does, and its value where the row is not among the changed ones.
    fn row_of(&self, key: &[u8]) -> Result<Option<(IVec, Option<IVec>)>, StoreError> {
        let rows = self.rows.borrow();
        let changed = rows
            .range::<[u8], _>((Bound::Unbounded, Bound::Included(key)))
            .rev()
            .find(|(_, row)| !matches!(row, Row::Gone));
        for row in self.tree.range(..=key).rev() {
            let (at, value) = row?;
            if changed.is_some_and(|(changed, _)| *changed >= at) {
                break;
            }
            if !rows.contains_key(&at) {
                return Ok(Some((at, Some(value))));
            }
        }
        Ok(changed.map(|(at, _)| (at.clone(), None)))
    }

    /// Takes the row that holds `key`, if any does, among the changed ones.
    fn load(&self, key: &[u8]) -> Result<Option<IVec>, StoreError> {
        let Some((at, read)) = self.row_of(key)? else { return Ok(None) };
        if let Some(value) = read
            && (at == key || block::is_block(&value))
        {
            self.rows.borrow_mut().insert(at.clone(), Row::read(value)?);
        }
        Ok(Some(at))
    }
}

fn position(entries: &[Entry], key: &[u8]) -> Result<usize, usize> {
    entries.binary_search_by(|(known, _)| known.as_ref().cmp(key))
}

/// Puts `entries`, which are in order, under the key of the first; the rows that they had go.
fn put_block(rows: &mut BTreeMap<IVec, Row>, entries: Vec<Entry>) {
    for (key, _) in &entries {
        rows.insert(key.clone(), Row::Gone);
    }
    if let Some((first, _)) = entries.first() {
        rows.insert(first.clone(), Row::Block { entries, changed: true });
    }
}

/// Whether the insertion of `key` looks for a run: no order of keys evades it, and a test can be run again.
fn looks(key: &[u8], packing: Packing) -> bool {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish().is_multiple_of(packing.looks)
}
