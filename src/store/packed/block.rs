//! Many entries in one value.

use miniz_oxide::deflate::compress_to_vec_zlib;
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;
use sled::IVec;

use super::super::StoreError;

/// The first byte of a block; no value of an entry begins with it, or it would be put into a block of its own.
pub(in crate::store) const MARK: u8 = 0xB1;
/// What a damaged block may make us allocate, in bytes; several times what a whole one takes. It holds for what is
/// inflated, and for the entries made of that: each key can repeat the one before it, so that few bytes could stand
/// for gigabytes.
const MOST: usize = 128 * 1024;
/// The fastest level: rows of one kind resemble each other, so more effort saves little.
const LEVEL: u8 = 1;

/// A key and its value.
pub(in crate::store) type Entry = (IVec, IVec);

/// What the lengths of an entry take in a block, bytes.
const OVERHEAD: usize = 4;

/// What an entry takes in a block, before compression.
pub(super) fn weight((key, value): &Entry) -> usize {
    key.len() + value.len() + OVERHEAD
}

/// What the entries take in a block, before compression.
pub(super) fn weight_of(entries: &[Entry]) -> usize {
    entries.iter().map(weight).sum()
}

/// Whether `value` is a block, or has to become one to be distinguished from one.
pub(super) fn is_block(value: &[u8]) -> bool {
    value.first() == Some(&MARK)
}

/// The entries, which are in the order of their keys, as one value.
pub(in crate::store) fn encode(entries: &[Entry]) -> IVec {
    let mut plain = Vec::with_capacity(weight_of(entries));
    let mut last: &[u8] = &[];
    for (key, value) in entries {
        let shared = last.iter().zip(key.iter()).take_while(|(a, b)| a == b).count();
        let rest = key.get(shared..).unwrap_or_default();
        [shared, rest.len(), value.len()].into_iter().for_each(|length| put_length(&mut plain, length));
        plain.extend_from_slice(rest);
        plain.extend_from_slice(value);
        last = key;
    }
    let mut block = vec![MARK];
    block.append(&mut compress_to_vec_zlib(&plain, LEVEL));
    block.into()
}

/// The entries of a block.
///
/// # Errors
/// [`StoreError::Corrupt`]: a checksum protects the block, so it is damaged and not merely strange.
pub(in crate::store) fn decode(block: &[u8]) -> Result<Vec<Entry>, StoreError> {
    let packed = block.strip_prefix(&[MARK]).unwrap_or_default();
    let plain = decompress_to_vec_zlib_with_limit(packed, MOST).map_err(|_| damaged())?;
    let (mut rest, mut entries, mut weighs) = (plain.as_slice(), Vec::<Entry>::new(), 0);
    while !rest.is_empty() {
        let mut length = || take_length(&mut rest).ok_or_else(damaged);
        let (shared, key_bytes, value_bytes) = (length()?, length()?, length()?);
        let (key_rest, after) = rest.split_at_checked(key_bytes).ok_or_else(damaged)?;
        let (value, after) = after.split_at_checked(value_bytes).ok_or_else(damaged)?;
        let last = entries.last().map_or(&[][..], |(last, _)| last);
        let beginning = last.get(..shared).ok_or_else(damaged)?;
        weighs += shared + key_bytes + value_bytes + OVERHEAD;
        if weighs > MOST {
            return Err(damaged());
        }
        let key = [beginning, key_rest].concat();
        // A scan goes on from the key that it read, and would not end in a block without order.
        if !entries.is_empty() && key.as_slice() <= last {
            return Err(damaged());
        }
        entries.push((IVec::from(key), IVec::from(value)));
        rest = after;
    }
    if entries.is_empty() { Err(damaged()) } else { Ok(entries) }
}

fn damaged() -> StoreError {
    StoreError::Corrupt("a block of rows cannot be read".into())
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn put_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push(0x80 | (length & 0x7f) as u8);
        length >>= 7;
    }
    out.push(length as u8);
}

fn take_length(from: &mut &[u8]) -> Option<usize> {
    let mut length = 0;
    for shift in [0, 7, 14, 21] {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(length);
        }
    }
    None
}
