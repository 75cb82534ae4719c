//! What the directories of raw data say, where makers have put their own numbers into the container: the few facts that
//! a photo is found by.

use jiff::civil::DateTime;

use super::bytes::Bytes;
use super::metadata::{local_time_of, nanoseconds, offset, plain};
use super::tiff::{Entry, Tiff};
use crate::photo::{PictureFacts, Taken, TakenFrom};

/// Longest text that is read, bytes.
const LONGEST: usize = 200;

const MAKE: u16 = 0x10f;
const MODEL: u16 = 0x110;
const ORIENTATION: u16 = 0x112;
const EXIF: u16 = 0x8769;
const LENS: u16 = 0xa434;

/// Time, its fractions, the zone that belongs to it.
const TIMES: [(TakenFrom, u16, u16, u16); 2] =
    [(TakenFrom::Original, 0x9003, 0x9291, 0x9011), (TakenFrom::Digitized, 0x9004, 0x9292, 0x9012)];

/// Fills in what is not known yet.
pub(super) fn read<B: Bytes + ?Sized>(bytes: &B, facts: &mut PictureFacts) {
    let Some(tiff) = Tiff::open(bytes) else { return };
    let mut entries: Vec<Entry> = tiff.first().unwrap_or_default();
    let exif = entries.iter().find(|entry| entry.tag == EXIF).and_then(|entry| tiff.numbers(entry).first().copied());
    entries.extend(exif.and_then(|at| tiff.at(at)).unwrap_or_default());
    let entry = |tag: u16| entries.iter().find(|entry| entry.tag == tag);
    let text = |tag: u16| {
        let data = tiff.data(entry(tag)?, LONGEST)?;
        plain(String::from_utf8_lossy(&data).trim_end_matches('\0'), LONGEST)
    };
    let device = &mut facts.device;
    device.make = device.make.take().or_else(|| text(MAKE));
    device.model = device.model.take().or_else(|| text(MODEL));
    device.lens = device.lens.take().or_else(|| text(LENS));
    if facts.orientation == 1 {
        let turned = entry(ORIENTATION).and_then(|entry| u8::try_from(*tiff.numbers(entry).first()?).ok());
        facts.orientation = turned.filter(|turned| (1..=8).contains(turned)).unwrap_or(1);
    }
    let time = |(from, tag, fraction, zone): &(TakenFrom, u16, u16, u16)| {
        let local: DateTime = local_time_of(&text(*tag)?)?;
        let ns = text(*fraction).map_or(0, |digits| nanoseconds(&digits));
        let local = local.with().subsec_nanosecond(ns).build().unwrap_or(local);
        Some(Taken::with_offset(local, text(*zone).and_then(|zone| offset(&zone)), *from))
    };
    facts.taken = facts.taken.or_else(|| TIMES.iter().find_map(time));
}
