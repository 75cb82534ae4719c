//! Bytes of a file, read where they are needed and no further.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// What has bytes at places.
pub(super) trait Bytes {
    /// The `length` bytes at `at`; `None` where there are fewer. Callers bound `length`.
    fn read(&self, at: u64, length: usize) -> Option<Vec<u8>>;

    /// How many there are.
    fn total(&self) -> u64;
}

impl Bytes for File {
    fn read(&self, at: u64, length: usize) -> Option<Vec<u8>> {
        // A length that a damaged file states may be any.
        if at.checked_add(length as u64)? > self.total() {
            return None;
        }
        let mut found = vec![0; length];
        self.read_exact_at(&mut found, at).ok()?;
        Some(found)
    }

    fn total(&self) -> u64 {
        self.metadata().map_or(0, |metadata| metadata.len())
    }
}

impl Bytes for [u8] {
    fn read(&self, at: u64, length: usize) -> Option<Vec<u8>> {
        let at = usize::try_from(at).ok()?;
        Some(self.get(at..at.checked_add(length)?)?.to_vec())
    }

    fn total(&self) -> u64 {
        self.len() as u64
    }
}

/// A big-endian number of up to 8 bytes at `at` of `bytes`.
pub(super) fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let digits = bytes.get(at..at.checked_add(size)?)?;
    Some(digits.iter().fold(0, |number, digit| number << 8 | u64::from(*digit)))
}
