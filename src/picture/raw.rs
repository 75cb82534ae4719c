//! The picture that a camera puts into its raw data, for those who cannot develop it.

use super::bytes::{Bytes, number};
use super::tiff::{Entry, Tiff};

/// Largest preview, bytes.
const LARGEST: u64 = 64 << 20;
/// Where no directory names a preview, it is looked for in so many bytes.
const SEARCHED: u64 = 16 << 20;

/// Tags of a TIFF.
const COMPRESSION: u16 = 0x103;
const STRIP: u16 = 0x111;
const STRIP_BYTES: u16 = 0x117;
const PREVIEW: u16 = 0x201;
const PREVIEW_BYTES: u16 = 0x202;
/// Panasonic's own.
const PANASONIC_PREVIEW: u16 = 0x2e;

/// The largest JPEG in the raw data of a camera that can be shown.
pub(super) fn preview<B: Bytes + ?Sized>(bytes: &B) -> Option<Vec<u8>> {
    let places = fuji(bytes).into_iter().chain(named(bytes));
    let pixels = |jpeg: &Vec<u8>| frame(jpeg).map_or(0, |(width, height)| u64::from(width) * u64::from(height));
    let read = |(at, length): (u64, u64)| bytes.read(at, usize::try_from(length.min(LARGEST)).ok()?);
    let best = places.filter_map(read).filter(|jpeg| frame(jpeg).is_some()).max_by_key(pixels);
    best.or_else(|| {
        let head = bytes.read(0, usize::try_from(bytes.total().min(SEARCHED)).ok()?)?;
        searched(&head).into_iter().max_by_key(pixels)
    })
}

/// Fujifilm: where it lies and how long it is, behind its letters.
fn fuji<B: Bytes + ?Sized>(bytes: &B) -> Option<(u64, u64)> {
    let head = bytes.read(0, 92).filter(|head| head.starts_with(b"FUJIFILMCCD-RAW"))?;
    Some((number(&head, 84, 4)?, number(&head, 88, 4)?))
}

/// Those that directories name.
fn named<B: Bytes + ?Sized>(bytes: &B) -> Vec<(u64, u64)> {
    let Some(tiff) = Tiff::open(bytes) else { return Vec::new() };
    let mut found = Vec::new();
    for directory in tiff.directories() {
        let entry = |tag| directory.iter().find(|entry: &&Entry| entry.tag == tag);
        let one = |tag| entry(tag).map(|entry| tiff.numbers(entry)).filter(|numbers| numbers.len() == 1);
        let pair = |at, length| Some((*one(at)?.first()?, *one(length)?.first()?));
        found.extend(pair(PREVIEW, PREVIEW_BYTES));
        if one(COMPRESSION).is_some_and(|kind| matches!(*kind, [6 | 7])) {
            found.extend(pair(STRIP, STRIP_BYTES));
        }
        found.extend(entry(PANASONIC_PREVIEW).map(|entry| tiff.place(entry)));
    }
    found
}

/// All that begin somewhere in `head`; each goes to the end, since a decoder stops at its own.
fn searched(head: &[u8]) -> Vec<Vec<u8>> {
    const MOST: usize = 32;
    let begins = |at: &usize| head.get(*at..*at + 3) == Some(&[0xff, 0xd8, 0xff]);
    let jpegs = (0..head.len()).filter(begins).take(MOST).filter_map(|at| head.get(at..));
    jpegs.filter(|jpeg| frame(jpeg).is_some()).map(<[u8]>::to_vec).collect()
}

/// Width and height of a JPEG that can be shown: raw data itself may be a lossless one.
fn frame(jpeg: &[u8]) -> Option<(u32, u32)> {
    let mut rest = jpeg.strip_prefix(&[0xff, 0xd8])?;
    while let [0xff, marker, tail @ ..] = rest {
        let length = usize::try_from(number(tail, 0, 2)?).ok()?;
        match marker {
            0xc0..=0xc2 => {
                let side = |at| number(tail, at, 2).and_then(|side| u32::try_from(side).ok()).filter(|side| *side > 0);
                return Some((side(5)?, side(3)?));
            }
            0xc3..=0xcf if !matches!(marker, 0xc4 | 0xcc) => return None,
            0xda | 0xd9 => return None,
            _ => rest = tail.get(length..)?,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::run;
    use crate::photo::{PictureFacts, PictureFormat};

    /// A small JPEG as far as its frame.
    fn jpeg(kind: u8, side: u8) -> Vec<u8> {
        vec![0xff, 0xd8, 0xff, kind, 0, 11, 8, 0, side, 0, side, 1, 1, 0x11, 0, 0xff, 0xd9]
    }

    #[test]
    fn the_largest_preview_is_taken_and_lossless_data_is_none() {
        let raw = [b"IIRO\x08\0\0\0\0\0".as_slice(), &jpeg(0xc0, 16), &jpeg(0xc0, 64), &jpeg(0xc3, 200)].concat();
        let found = preview(raw.as_slice()).expect("a preview");
        assert_eq!(frame(&found), Some((64, 64)));
        assert_eq!(preview(b"IIRO\x08\0\0\0\0\0".as_slice()), None);
    }

    #[test]
    fn raw_data_may_say_anything() {
        let entry = |tag: u16, value: u32| {
            [&tag.to_le_bytes()[..], &4u16.to_le_bytes(), &1u32.to_le_bytes(), &value.to_le_bytes()].concat()
        };
        let picture = jpeg(0xc0, 64);
        let tiff =
            [b"II*\0\x08\0\0\0\x02\0".as_slice(), &entry(PREVIEW, 38), &entry(PREVIEW_BYTES, 17), &[0; 4], &picture];
        let fuji = [&b"FUJIFILMCCD-RAW"[..], &[0; 69], &[0, 0, 0, 92, 0, 0, 0, 17], &picture].concat();
        let seeds = [tiff.concat(), fuji];
        for seed in &seeds {
            assert_eq!(preview(seed.as_slice()).as_ref(), Some(&picture));
        }
        run("raw", &[&seeds[0], &seeds[1]], &["IIRO", "MM\0*"], |input| {
            let mut facts = PictureFacts::unknown(PictureFormat::Raw);
            super::super::raw_exif::read(input, &mut facts);
            format!("{:?} {:?}", facts.device.make.is_some(), preview(input).as_deref().and_then(frame).is_some())
        });
    }
}
