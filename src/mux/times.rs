//! How long a clip is, read off its fragments: the same for one that was finished and one that was repaired.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// Ticks a second in the fragments of our files.
pub(super) const TIMESCALE: i32 = 90_000;

/// A `moof` of ours has 16 bytes for each picture of a second.
const MAX_MOOF: u64 = 1 << 20;

/// And no second has more pictures.
const MOST_PICTURES: u32 = 1 << 16;

// Which fields a box has (ISO 14496-12, 8.8.7 and 8.8.8).
const BASE_DATA_OFFSET: u32 = 0x1;
const DESCRIPTION_INDEX: u32 = 0x2;
const DEFAULT_DURATION: u32 = 0x8;
const DATA_OFFSET: u32 = 0x1;
const FIRST_FLAGS: u32 = 0x4;
const DURATION: u32 = 0x100;
const SIZE: u32 = 0x200;
const FLAGS: u32 = 0x400;
const OFFSET: u32 = 0x800;

/// When the pictures of the file are shown, in ticks.
#[derive(Default)]
struct Shown {
    first: Option<i64>,
    until: i64,
}

impl Shown {
    fn add(&mut self, at: i64, lasts: i64) {
        self.first.get_or_insert(at);
        self.until = self.until.max(at.saturating_add(lasts));
    }
}

/// How long these fragments are, each a `moof` with its `mdat`: from the first picture to the end of the one that is
/// shown last. Ends before a fragment whose times cannot be read; the number is of those before it.
pub(super) fn duration(file: &File, fragments: &[(u64, u64)]) -> io::Result<(usize, Duration)> {
    let (mut shown, mut readable) = (Shown::default(), 0);
    for (start, end) in fragments {
        if read_moof(file, *start, *end)?.and_then(|moof| add_fragment(&moof, &mut shown)).is_none() {
            break;
        }
        readable += 1;
    }
    let ticks = shown.first.map_or(0, |first| shown.until.saturating_sub(first));
    let nanos = u128::try_from(ticks).unwrap_or(0) * 1_000_000_000 / u128::from(TIMESCALE.unsigned_abs());
    Ok((readable, Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))))
}

/// `None` where its size is damaged.
fn read_moof(file: &File, start: u64, end: u64) -> io::Result<Option<Vec<u8>>> {
    let mut size = [0; 4];
    file.read_exact_at(&mut size, start)?;
    let size = u64::from(u32::from_be_bytes(size));
    if size > MAX_MOOF || start.saturating_add(size) > end {
        return Ok(None);
    }
    let mut moof = vec![0; usize::try_from(size).unwrap_or(0)];
    file.read_exact_at(&mut moof, start)?;
    Ok(Some(moof))
}

/// The track of the pictures; audio is the second one.
const VIDEO_TRACK: u32 = 1;

/// The pictures of a fragment, which may hold audio alone.
fn add_fragment(moof: &[u8], shown: &mut Shown) -> Option<()> {
    let mut tracks = boxes(moof, 8..moof.len()).filter(|(kind, _)| kind == b"traf").map(|(_, body)| body).peekable();
    tracks.peek()?;
    let id_of = |track: &Range<usize>| {
        let header = boxes(moof, track.clone()).find(|(kind, _)| kind == b"tfhd").map(|(_, body)| body)?;
        number(moof.get(header)?, 4)
    };
    let Some(track) = tracks.find(|track| id_of(track).is_none_or(|id| id == VIDEO_TRACK)) else { return Some(()) };
    let part = |wanted: &[u8; 4]| boxes(moof, track.clone()).find(|(kind, _)| kind == wanted).map(|(_, body)| body);
    let default = default_duration(moof.get(part(b"tfhd")?)?)?;
    let mut decoded = base_time(moof.get(part(b"tfdt")?)?)?;
    for (kind, body) in boxes(moof, track.clone()) {
        if &kind == b"trun" {
            add_run(moof.get(body)?, default, &mut decoded, shown)?;
        }
    }
    Some(())
}

/// The boxes in a range, each with its kind and where its body lies.
fn boxes(data: &[u8], within: Range<usize>) -> impl Iterator<Item = ([u8; 4], Range<usize>)> {
    let mut at = within.start;
    std::iter::from_fn(move || {
        let head = data.get(at..at.checked_add(8)?)?;
        let end = at.checked_add(usize::try_from(number(head, 0)?).ok()?)?;
        let kind = head.get(4..)?.try_into().ok()?;
        let body = at + 8..end;
        (end <= within.end && body.start <= body.end).then(|| {
            at = end;
            (kind, body)
        })
    })
}

fn default_duration(tfhd: &[u8]) -> Option<i64> {
    let flags = number(tfhd, 0)?;
    let mut at = 8;
    at += if flags & BASE_DATA_OFFSET != 0 { 8 } else { 0 };
    at += if flags & DESCRIPTION_INDEX != 0 { 4 } else { 0 };
    if flags & DEFAULT_DURATION == 0 { Some(0) } else { number(tfhd, at).map(i64::from) }
}

fn base_time(tfdt: &[u8]) -> Option<i64> {
    match tfdt.first()? {
        0 => number(tfdt, 4).map(i64::from),
        _ => i64::try_from(u64::from_be_bytes(tfdt.get(4..12)?.try_into().ok()?)).ok(),
    }
}

fn add_run(trun: &[u8], default: i64, decoded: &mut i64, shown: &mut Shown) -> Option<()> {
    let (flags, pictures) = (number(trun, 0)?, number(trun, 4)?);
    // A damaged number would be counted through.
    if pictures > MOST_PICTURES {
        return None;
    }
    let mut at = 8;
    at += if flags & DATA_OFFSET != 0 { 4 } else { 0 };
    at += if flags & FIRST_FLAGS != 0 { 4 } else { 0 };
    for _ in 0..pictures {
        let mut field = |which: u32| {
            let here = at;
            at += if flags & which == 0 { 0 } else { 4 };
            (flags & which != 0).then(|| number(trun, here))
        };
        let lasts = field(DURATION).map_or(Some(default), |lasts| lasts.map(i64::from))?;
        let _ = (field(SIZE), field(FLAGS));
        // It has a sign in version 1; in version 0 none is that large.
        let offset = field(OFFSET).map_or(Some(0), |offset| offset.map(|offset| i64::from(offset.cast_signed())))?;
        shown.add(decoded.saturating_add(offset), lasts);
        *decoded = decoded.saturating_add(lasts);
    }
    Some(())
}

fn number(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(data.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_number_of_pictures_is_not_counted_through() {
        let run = |pictures: u32| [[0; 4], pictures.to_be_bytes()].concat();
        let mut shown = Shown::default();
        assert_eq!(add_run(&run(3), 90_000, &mut 0, &mut shown), Some(()));
        assert_eq!((shown.first, shown.until), (Some(0), 270_000));
        assert_eq!(add_run(&run(u32::MAX), 90_000, &mut 0, &mut shown), None);
    }
}
