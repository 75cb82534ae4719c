//! The content: pieces of 64 KiB, each encrypted and authenticated with its number and with whether it is the last, so
//! that none can be changed, moved, or left out at the end.

use std::io::{self, Read, Write};

use ring::aead::{Aad, LessSafeKey, Nonce};

use super::header::UnsealError;
use super::keys::{cipher, derive};
use super::{FileKey, header};

const PIECE: usize = 64 * 1024;
const TAG: usize = 16;

/// The pieces' key, and the number of the next.
struct Pieces {
    key: LessSafeKey,
    number: u64,
}

impl Pieces {
    fn new(key: &FileKey, nonce: &[u8; 16]) -> Option<Self> {
        Some(Self { key: cipher(&derive(key, nonce, b"payload")?), number: 0 })
    }

    /// Eleven bytes of the number, one that says whether it is the last.
    fn next(&mut self, is_last: bool) -> Nonce {
        let mut nonce = [0; 12];
        if let Some(place) = nonce.get_mut(3..11) {
            place.copy_from_slice(&self.number.to_be_bytes());
        }
        nonce[11] = u8::from(is_last);
        self.number += 1;
        Nonce::assume_unique_for_key(nonce)
    }
}

pub(super) fn seal(key: &FileKey, nonce: &[u8; 16], plain: &mut dyn Read, sealed: &mut dyn Write) -> io::Result<()> {
    let failed = || io::Error::other("the content could not be encrypted");
    let mut pieces = Pieces::new(key, nonce).ok_or_else(failed)?;
    let mut piece = read_piece(plain, PIECE)?;
    loop {
        let next = read_piece(plain, PIECE)?;
        let nonce = pieces.next(next.is_empty());
        pieces.key.seal_in_place_append_tag(nonce, Aad::empty(), &mut piece).map_err(|_| failed())?;
        sealed.write_all(&piece)?;
        if next.is_empty() {
            return Ok(());
        }
        piece = next;
    }
}

pub(super) fn unseal(
    key: &FileKey,
    nonce: &[u8; 16],
    sealed: &mut dyn Read,
    plain: &mut dyn Write,
) -> Result<(), header::UnsealError> {
    let mut pieces = Pieces::new(key, nonce).ok_or(UnsealError::Damaged("its content has no key"))?;
    let mut piece = read_piece(sealed, PIECE + TAG)?;
    loop {
        let next = read_piece(sealed, PIECE + TAG)?;
        let (is_first, nonce) = (pieces.number == 0, pieces.next(next.is_empty()));
        let opened = pieces.key.open_in_place(nonce, Aad::empty(), &mut piece);
        let opened = opened.map_err(|_| UnsealError::Damaged("a part of it is missing or was changed"))?;
        // An empty end would be another way to write the same.
        if opened.is_empty() && !is_first {
            return Err(UnsealError::Damaged("it ends in an empty part"));
        }
        plain.write_all(opened)?;
        if next.is_empty() {
            return Ok(());
        }
        piece = next;
    }
}

/// A whole piece, or what is left.
fn read_piece(from: &mut dyn Read, length: usize) -> io::Result<Vec<u8>> {
    let mut piece = Vec::with_capacity(length + TAG);
    from.take(length as u64).read_to_end(&mut piece)?;
    Ok(piece)
}
