//! Where decoding of H.264 and H.265 can begin.
//!
//! Many encoders send an IDR picture once, when they start, or never again after it: then come recovery points with
//! open GOPs or a gradual refresh, and from old ones plain I pictures. NAL units stand behind lengths or behind start
//! codes; both are read here.

use std::time::Duration;

use crate::clock::Mono;
use crate::frame::Codec;

use super::annexb;

/// I pictures count where nothing better came for this long.
const BETTER_WITHIN: Duration = Duration::from_secs(60);

/// The SEI message that says that decoding can begin here, in both codings (ITU-T H.264 D.1.8, H.265 D.2.8).
const RECOVERY_POINT: u32 = 6;

/// Whether and how decoding can begin with a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    /// The stream says so: an IDR, another IRAP picture, or a recovery point that is whole at once.
    Whole,
    /// A recovery point from which on pictures become whole bit by bit.
    Gradual,
    /// All of it is coded by itself, but later pictures may refer to earlier ones.
    Intra,
    None,
}

/// What a picture is to a decoder that begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Access {
    /// Decoding can begin here.
    pub key_frame: bool,
    /// It gives whole pictures only some time later.
    pub gradual: bool,
}

/// Finds the pictures of one stream that decoding can begin with.
#[derive(Debug, Default)]
pub(super) struct AccessPoints {
    last_stated: Option<Mono>,
}

impl AccessPoints {
    /// What the picture `data` that came at `at` is. `extradata` is the codec's record where NAL units stand behind
    /// lengths. Other codings than H.264 and H.265 have no such pictures.
    pub(super) fn access(&mut self, codec: &Codec, extradata: &[u8], data: &[u8], at: Mono) -> Access {
        let point = point(codec, extradata, data);
        let key_frame = match point {
            Point::Whole | Point::Gradual => {
                self.last_stated = Some(at);
                true
            }
            Point::Intra => self.last_stated.is_none_or(|stated| at.since(stated) > BETTER_WITHIN),
            Point::None => false,
        };
        Access { key_frame, gradual: point == Point::Gradual }
    }
}

fn point(codec: &Codec, extradata: &[u8], data: &[u8]) -> Point {
    let judge: fn(&[u8]) -> Option<Point> = match codec {
        Codec::H264 => h264,
        Codec::H265 => h265,
        _ => return Point::None,
    };
    match length_size(codec, extradata) {
        Some(size) => strongest(length_prefixed(data, size).map(judge)),
        None => strongest(annexb::nal_units(data).map(judge)),
    }
}

/// What the NAL units of a picture say together, the parameters and the like among them nothing.
fn strongest(units: impl Iterator<Item = Option<Point>>) -> Point {
    let (mut picture, mut is_gradual) = (Point::None, false);
    for unit in units {
        match unit {
            Some(Point::Whole) => return Point::Whole,
            Some(Point::Gradual) => is_gradual = true,
            Some(Point::Intra) => picture = Point::Intra,
            // One slice decides.
            Some(Point::None) => {
                picture = Point::None;
                break;
            }
            None => {}
        }
    }
    if is_gradual { Point::Gradual } else { picture }
}

/// How many bytes hold the length of a NAL unit, where the codec's record says so; without one there are start codes.
fn length_size(codec: &Codec, record: &[u8]) -> Option<usize> {
    let at = if *codec == Codec::H265 { 21 } else { 4 };
    (record.first() == Some(&1)).then(|| record.get(at).map_or(4, |byte| usize::from(byte & 3) + 1))
}

fn length_prefixed(data: &[u8], size: usize) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (length, behind) = rest.split_at_checked(size)?;
        let length = length.iter().fold(0usize, |length, byte| length << 8 | usize::from(*byte));
        let (unit, next) = behind.split_at_checked(length)?;
        rest = next;
        Some(unit)
    })
}

fn h264(unit: &[u8]) -> Option<Point> {
    let (header, body) = unit.split_first()?;
    match header & 0x1f {
        5 => Some(Point::Whole),
        // The number of pictures until all is whole.
        6 => recovery_point(body).map(|pictures| if pictures == 0 { Point::Whole } else { Point::Gradual }),
        // Slice types from 5 on say that all slices of the picture are alike.
        1 => Some(if matches!(slice_type(body), Some(2 | 7)) { Point::Intra } else { Point::None }),
        2..=4 => Some(Point::None),
        _ => None,
    }
}

fn h265(unit: &[u8]) -> Option<Point> {
    let header = unit.first()?;
    match (header >> 1) & 0x3f {
        16..=21 => Some(Point::Whole),
        0..=31 => Some(Point::None),
        // A distance with its sign in the last bit: 0, 1, -1, 2, ...
        39 => recovery_point(unit.get(2..)?).map(|code| if code % 2 == 0 { Point::Whole } else { Point::Gradual }),
        _ => None,
    }
}

/// The second number of an H.264 slice header.
fn slice_type(slice: &[u8]) -> Option<u32> {
    let mut bits = Bits { bytes: slice, at: 0 };
    bits.exp_golomb()?;
    bits.exp_golomb()
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn bit(&mut self) -> Option<u32> {
        let bit = self.bytes.get(self.at / 8)? >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(u32::from(bit))
    }

    fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        (0..zeros).try_fold(1u32, |value, _| Some(value << 1 | self.bit()?)).map(|value| value - 1)
    }
}

/// The number that a recovery point among the messages of an SEI unit, without its header, begins with.
fn recovery_point(body: &[u8]) -> Option<u32> {
    let mut bytes = Unescaped { bytes: body.iter(), zeros: 0 };
    loop {
        let kind = sei_number(&mut bytes)?;
        let size = usize::try_from(sei_number(&mut bytes)?).ok()?;
        if kind == RECOVERY_POINT {
            // One that cannot be read is no reason to wait for another.
            let payload: Vec<u8> = bytes.take(size.min(8)).collect();
            return Some(Bits { bytes: &payload, at: 0 }.exp_golomb().unwrap_or(0));
        }
        // What is left may be the end of the unit.
        bytes.by_ref().take(size).for_each(drop);
    }
}

/// A number that grows by 255 with each byte that is full.
fn sei_number(bytes: &mut impl Iterator<Item = u8>) -> Option<u32> {
    let mut number = 0u32;
    loop {
        let byte = bytes.next()?;
        number = number.saturating_add(u32::from(byte));
        if byte != 0xff {
            return Some(number);
        }
    }
}

/// Bytes without those that only keep start codes from appearing.
struct Unescaped<'a> {
    bytes: std::slice::Iter<'a, u8>,
    zeros: u32,
}

impl Iterator for Unescaped<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let mut byte = *self.bytes.next()?;
        if self.zeros >= 2 && byte == 3 {
            self.zeros = 0;
            byte = *self.bytes.next()?;
        }
        self.zeros = if byte == 0 { self.zeros + 1 } else { 0 };
        Some(byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The codec's record, of both codings at once, of a stream with lengths of four bytes.
    const LENGTHS: &[u8] = &[1, 100, 0, 30, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0];
    const START_CODES: &[u8] = &[0, 0, 0, 1, 0x67];

    fn picture(units: &[&[u8]], lengths: bool) -> Vec<u8> {
        let code = |unit: &&[u8]| if lengths { [0, 0, 0, unit.len() as u8] } else { [0, 0, 0, 1] };
        units.iter().flat_map(|unit| [&code(unit)[..], unit].concat()).collect()
    }

    fn access(codec: &Codec, units: &[&[u8]]) -> Access {
        let [long, coded] = [(LENGTHS, true), (START_CODES, false)].map(|(extradata, lengths)| {
            AccessPoints::default().access(codec, extradata, &picture(units, lengths), Mono(0))
        });
        assert_eq!(long, coded, "{units:x?}");
        long
    }

    fn key_frame(codec: &Codec, units: &[&[u8]]) -> bool {
        access(codec, units).key_frame
    }

    // H.264: first macroblock 0, then the slice type.
    const P: &[u8] = &[0x41, 0b1001_1010, 0xff];
    const I: &[u8] = &[0x61, 0b1000_1000, 0xff];
    const IDR: &[u8] = &[0x65, 0b1000_1000, 0xff];
    const RECOVERY: &[u8] = &[6, 6, 1, 0xc4, 0x80];
    /// Unregistered user data of 258 bytes with zeros that are kept apart, then a recovery point.
    const USER_DATA: u8 = 5;

    #[test]
    fn h264_begins_with_idr_pictures_and_recovery_points() {
        assert!(key_frame(&Codec::H264, &[&[9, 0xf0], IDR]));
        assert!(key_frame(&Codec::H264, &[RECOVERY, P]), "gradual refresh");
        assert!(key_frame(&Codec::H264, &[RECOVERY, I, I]), "open GOP");
        let mut behind = vec![6, USER_DATA, 0xff, 3];
        behind.extend([7; 252]);
        behind.extend([0, 0, 3, 1, 0, 0, 3, 2]);
        behind.extend([6, 1, 0xc4, 0x80]);
        let data = picture(&[&behind, P], false);
        assert!(AccessPoints::default().access(&Codec::H264, START_CODES, &data, Mono(0)).key_frame, "behind others");
        for other in [&[&[9, 0xf0][..], P][..], &[&[6, USER_DATA, 2, 6, 1, 0x80], P], &[I, P], &[], &[&[]]] {
            assert!(!key_frame(&Codec::H264, other), "{other:x?}");
        }
    }

    #[test]
    fn h265_begins_with_irap_pictures_and_recovery_points() {
        for kind in 16..=21 {
            assert!(key_frame(&Codec::H265, &[&[35 << 1, 1, 0x50], &[kind << 1, 1, 0xaa]]), "{kind}");
        }
        assert!(key_frame(&Codec::H265, &[&[39 << 1, 1, 6, 1, 0xc0, 0x80], &[1 << 1, 1, 0xaa]]));
        assert!(!key_frame(&Codec::H265, &[&[39 << 1, 1, 5, 1, 0xc0, 0x80], &[1 << 1, 1, 0xaa]]));
        assert!(!key_frame(&Codec::H265, &[&[35 << 1, 1, 0x50], &[1 << 1, 1, 0xaa]]), "a trailing picture");
        assert!(!key_frame(&Codec::Mjpeg, &[IDR]));
    }

    #[test]
    fn a_gradual_refresh_is_distinguished_from_a_whole_picture() {
        // Recovery after 1 picture, 0b010 in Exp-Golomb code, and after none.
        let (later, at_once): (&[u8], &[u8]) = (&[6, 6, 1, 0b0101_0000, 0x80], &[6, 6, 1, 0b1100_0000, 0x80]);
        assert_eq!(access(&Codec::H264, &[later, P]), Access { key_frame: true, gradual: true });
        assert_eq!(access(&Codec::H264, &[at_once, P]), Access { key_frame: true, gradual: false });
        assert_eq!(access(&Codec::H264, &[later, IDR]), Access { key_frame: true, gradual: false });
        let h265 = |code: u8| [39 << 1, 1, 6, 1, code, 0x80];
        // Distances of 1, -1 and 0.
        for (code, gradual) in [(0b0101_0000, true), (0b0111_0000, false), (0b1100_0000, false)] {
            let expected = Access { key_frame: true, gradual };
            assert_eq!(access(&Codec::H265, &[&h265(code), &[1 << 1, 1, 0xaa]]), expected, "{code:b}");
        }
    }

    #[test]
    fn i_pictures_count_where_the_stream_states_nothing() {
        let mut points = AccessPoints::default();
        let mut at = |seconds: u64, units: &[&[u8]]| {
            points.access(&Codec::H264, LENGTHS, &picture(units, true), Mono(seconds * 1_000_000_000)).key_frame
        };
        assert!(at(0, &[I, I]), "nothing better is known");
        assert!(!at(1, &[I, P]), "another slice is not coded by itself");
        assert!(at(2, &[IDR]));
        assert!(!at(3, &[I]), "an IDR picture will come again");
        assert!(at(100, &[I]), "it did not");
    }

    #[test]
    fn a_cut_or_odd_length_is_survived() {
        for data in [&[0, 0, 0, 9, 0x65][..], &[0, 0], &[], &[0xff; 9], &[0, 0, 0, 0]] {
            assert!(!AccessPoints::default().access(&Codec::H264, LENGTHS, data, Mono(0)).key_frame, "{data:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(data in proptest::collection::vec(0u8..8, 0..200), lengths: bool, h265: bool) {
            let (codec, extradata) = (if h265 { Codec::H265 } else { Codec::H264 }, if lengths { LENGTHS } else { &[] });
            AccessPoints::default().access(&codec, extradata, &data, Mono(0));
        }
    }
}
