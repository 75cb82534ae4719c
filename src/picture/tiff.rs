//! The directories of a TIFF, in which cameras put previews and metadata too.

use std::collections::HashSet;

use super::bytes::Bytes;

/// Entries of one directory that are looked at.
const MOST_ENTRIES: u16 = 1000;
/// Directories that are looked at.
const MOST_DIRECTORIES: usize = 32;
/// Numbers of one entry that are looked at.
const MOST_NUMBERS: u64 = 64;

/// Directories below a directory.
const SUB_DIRECTORIES: u16 = 0x14a;

/// An open file.
pub(super) struct Tiff<'a, B: Bytes + ?Sized> {
    bytes: &'a B,
    is_little_endian: bool,
    first: u64,
}

/// A statement of a directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// What it is about.
    pub tag: u16,
    kind: u16,
    count: u64,
    /// Where its value lies.
    at: u64,
}

impl<'a, B: Bytes + ?Sized> Tiff<'a, B> {
    /// One that begins where `bytes` begin; makers have put other numbers in the place of 42.
    pub(super) fn open(bytes: &'a B) -> Option<Self> {
        let head = bytes.read(0, 8)?;
        let is_little_endian = match head.get(..2)? {
            b"II" => true,
            b"MM" => false,
            _ => return None,
        };
        let mut tiff = Self { bytes, is_little_endian, first: 0 };
        tiff.first = tiff.number(&head, 4, 4)?;
        Some(tiff)
    }

    fn number(&self, bytes: &[u8], at: usize, size: usize) -> Option<u64> {
        let digits = bytes.get(at..at.checked_add(size)?)?;
        let shifted = |number: u64, digit: &u8| number << 8 | u64::from(*digit);
        Some(match self.is_little_endian {
            true => digits.iter().rev().fold(0, shifted),
            false => digits.iter().fold(0, shifted),
        })
    }

    /// All directories: the chain of the first, and those below each.
    pub(super) fn directories(&self) -> Vec<Vec<Entry>> {
        let (mut found, mut seen, mut open) = (Vec::new(), HashSet::new(), vec![self.first]);
        while let Some(at) = open.pop() {
            if at == 0 || found.len() == MOST_DIRECTORIES || !seen.insert(at) {
                continue;
            }
            let Some((entries, next)) = self.directory(at) else { continue };
            open.push(next);
            for below in entries.iter().filter(|entry| entry.tag == SUB_DIRECTORIES) {
                open.extend(self.numbers(below));
            }
            found.push(entries);
        }
        found
    }

    /// The first directory.
    pub(super) fn first(&self) -> Option<Vec<Entry>> {
        self.at(self.first)
    }

    /// The directory at a place.
    pub(super) fn at(&self, at: u64) -> Option<Vec<Entry>> {
        self.directory(at).map(|(entries, _)| entries)
    }

    fn directory(&self, at: u64) -> Option<(Vec<Entry>, u64)> {
        let count = u16::try_from(self.number(&self.bytes.read(at, 2)?, 0, 2)?).ok()?;
        let count = usize::from(count.min(MOST_ENTRIES));
        let table = self.bytes.read(at + 2, count * 12)?;
        let entry = |number: usize| {
            let place = number * 12;
            let kind = u16::try_from(self.number(&table, place + 2, 2)?).ok()?;
            let count = self.number(&table, place + 4, 4)?;
            let size = count.checked_mul(size_of(kind)?)?;
            let inside = at + 2 + place as u64 + 8;
            let value_at = if size <= 4 { inside } else { self.number(&table, place + 8, 4)? };
            Some(Entry { tag: u16::try_from(self.number(&table, place, 2)?).ok()?, kind, count, at: value_at })
        };
        let entries = (0..count).filter_map(entry).collect();
        let next = self.bytes.read(at + 2 + count as u64 * 12, 4).and_then(|next| self.number(&next, 0, 4));
        Some((entries, next.unwrap_or(0)))
    }

    /// The bytes of an entry, where there are at most `most`.
    pub(super) fn data(&self, entry: &Entry, most: usize) -> Option<Vec<u8>> {
        let size = usize::try_from(entry.count.checked_mul(size_of(entry.kind)?)?).ok()?;
        if size > most { None } else { self.bytes.read(entry.at, size) }
    }

    /// Where the bytes of an entry lie, and how many there are.
    pub(super) fn place(&self, entry: &Entry) -> (u64, u64) {
        (entry.at, entry.count.saturating_mul(size_of(entry.kind).unwrap_or(1)))
    }

    /// The whole numbers of an entry.
    pub(super) fn numbers(&self, entry: &Entry) -> Vec<u64> {
        let size = match entry.kind {
            3 => 2,
            4 | 13 => 4,
            _ => return Vec::new(),
        };
        let count = usize::try_from(entry.count.min(MOST_NUMBERS)).unwrap_or(0);
        let Some(data) = self.bytes.read(entry.at, count * size) else { return Vec::new() };
        (0..count).filter_map(|number| self.number(&data, number * size, size)).collect()
    }
}

/// Bytes of one value of a kind.
fn size_of(kind: u16) -> Option<u64> {
    match kind {
        1 | 2 | 6 | 7 => Some(1),
        3 | 8 => Some(2),
        4 | 9 | 11 | 13 => Some(4),
        5 | 10 | 12 => Some(8),
        _ => None,
    }
}
