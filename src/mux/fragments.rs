//! Fragmented MP4 in memory, for live video: a header, and a fragment for each picture.
//!
//! A fragment says how long its picture is shown, so it can be made when the next picture is known: players take a time
//! that does not follow the one before for a gap, and wait for a key frame then. Times are those of the boot clock, so
//! that fragments of one camera fit together whenever they are made.

use std::sync::Arc;

use bytes::Bytes;

use crate::clock::Mono;
use crate::frame::{Codec, Packet, StreamInfo};

use super::joined::Joined;
use super::output::Header;
use super::params::{Framing, units};
use super::times::TIMESCALE;
use super::{Coded, boxes, differs, start_libav};

/// Lengths of NAL units in what libavformat makes of start codes.
const LENGTH_SIZE: usize = 4;

/// Flags of a sample (ISO 14496-12, 8.8.3.1): decoding can begin here; it depends on others.
const SYNC: u32 = 0x0200_0000;
const NO_SYNC: u32 = 0x0101_0000;

/// What a player needs before the first fragment.
#[derive(Clone, Debug, PartialEq)]
pub struct InitSegment {
    /// As in a `codecs` parameter (RFC 6381), such as `avc1.640028`.
    pub codec: String,
    /// Width in pixels, as it is shown.
    pub width: u32,
    /// Height in pixels, as it is shown.
    pub height: u32,
    /// `ftyp` and `moov`.
    pub data: Bytes,
}

/// One picture as it goes into a fragment.
#[derive(Clone, Debug)]
pub struct LivePicture {
    /// When it is decoded, ticks of the boot clock; grows from picture to picture.
    decoded: i64,
    /// When it is shown, the same.
    shown: i64,
    is_sync: bool,
    /// NAL units behind lengths.
    pub(super) data: Bytes,
}

impl LivePicture {
    /// When the picture is shown, seconds on the boot clock.
    pub fn shown_s(&self) -> f64 {
        self.shown as f64 / f64::from(TIMESCALE)
    }

    /// Whether it is shown before `other`.
    pub fn is_shown_before(&self, other: &LivePicture) -> bool {
        self.shown < other.shown
    }
}

/// Makes fragments of the packets of one camera, from a key frame on and as long as its parameters stay the same.
pub struct Fragmenter {
    stream: Arc<StreamInfo>,
    header: Header,
    init: Arc<InitSegment>,
    joined: Option<Joined>,
    framing: Framing,
    reorders: bool,
    /// When the last picture was decoded, ticks.
    last: Option<i64>,
}

impl Fragmenter {
    /// Begins with a key frame of H.264 or H.265; `None` where it does not bring the parameters, or they cannot be read.
    pub fn new(key_frame: &Packet) -> Option<Self> {
        start_libav();
        let Packet { at, key_frame: key, gradual, .. } = *key_frame;
        let coded = Coded { at, pts: key_frame.pts(), key, gradual, data: key_frame.data.clone() };
        let header = Header::remuxed(&key_frame.stream, &coded, false)?;
        let data = header.alone().ok()?;
        let codec = boxes::codec_string(&data, &header.codec)?;
        let (width, height) = header.upright_size();
        let (stream, framing) = (key_frame.stream.clone(), Framing::of(&header.codec, &header.extradata));
        let init = Arc::new(InitSegment { codec, width, height, data });
        Some(Self { stream, header, init, joined: None, framing, reorders: false, last: None })
    }

    /// The header of these fragments.
    pub fn init(&self) -> &Arc<InitSegment> {
        &self.init
    }

    /// Whether the packet has the parameters of the header.
    pub fn takes(&self, packet: &Packet) -> bool {
        let same = Arc::ptr_eq(&self.stream, &packet.stream) || !differs(&self.stream, &packet.stream);
        same && !(packet.key_frame && self.header.differs_in(&packet.data))
    }

    /// The next picture. All from a key frame on have to come, in the order of decoding.
    pub fn picture(&mut self, packet: &Packet) -> LivePicture {
        if packet.key_frame {
            // A player may begin with any of them.
            self.joined = Joined::of(&self.header.codec, &self.header.extradata);
        }
        let data = self.joined.as_mut().and_then(|joined| joined.mended(&packet.data));
        let data = data.unwrap_or_else(|| packet.data.clone());
        let data = match self.framing {
            Framing::Lengths(_) => data,
            Framing::StartCodes => with_lengths(&data),
        };
        let decoded = ticks(packet.at).max(self.last.map_or(i64::MIN, |last| last.saturating_add(1)));
        self.last = Some(decoded);
        self.reorders |= !packet.offset.is_zero();
        let is_open = || {
            let is_idr = |joined: &Joined| joined.is_idr(&packet.data);
            self.reorders && self.header.codec == Codec::H264 && !self.joined.as_ref().is_some_and(is_idr)
        };
        let is_sync = packet.key_frame && !packet.gradual && !is_open();
        LivePicture { decoded, shown: ticks(packet.pts()).max(decoded), is_sync, data }
    }
}

/// A fragment of these pictures, and where the first of them begins in it. The last one is shown until that of `next`, which
/// follows it, is decoded. A player may begin with the first one where `begins` says so.
pub fn fragment(number: u32, pictures: &[LivePicture], next: Mono, begins: bool) -> (Bytes, usize) {
    let head = moof(number, pictures, next, begins);
    let size: usize = pictures.iter().map(|picture| picture.data.len()).sum();
    let mut out = Vec::with_capacity(head.len() + 8 + size);
    out.extend_from_slice(&head);
    put_box(&mut out, b"mdat", |out| pictures.iter().for_each(|picture| out.extend_from_slice(&picture.data)));
    (out.into(), head.len() + 8)
}

/// The same picture, as part of the fragment that it was written into: it takes no memory of its own then.
pub fn within(picture: &LivePicture, fragment: &Bytes, at: usize) -> LivePicture {
    LivePicture { data: fragment.slice(at.min(fragment.len())..), ..picture.clone() }
}

fn moof(number: u32, pictures: &[LivePicture], next: Mono, begins: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(128 + 16 * pictures.len());
    let first = pictures.first().map_or(0, |picture| picture.decoded);
    let mut offset_at = 0;
    put_box(&mut out, b"moof", |out| {
        put_box(out, b"mfhd", |out| put_numbers(out, &[0, number]));
        put_box(out, b"traf", |out| {
            // The base is the moof; one track.
            put_box(out, b"tfhd", |out| put_numbers(out, &[0x02_0000, 1]));
            put_box(out, b"tfdt", |out| {
                put_numbers(out, &[0x0100_0000]);
                out.extend_from_slice(&u64::try_from(first).unwrap_or(0).to_be_bytes());
            });
            put_box(out, b"trun", |out| {
                // Signed offsets; with the data's offset, and for each duration, size, flags and offset.
                put_numbers(out, &[0x0100_0f01, u32::try_from(pictures.len()).unwrap_or(0)]);
                offset_at = out.len();
                put_numbers(out, &[0]);
                put_samples(out, pictures, next, begins);
            });
        });
    });
    let offset = u32::try_from(out.len() + 8).unwrap_or(0);
    if let Some(place) = out.get_mut(offset_at..offset_at + 4) {
        place.copy_from_slice(&offset.to_be_bytes());
    }
    out
}

fn put_samples(out: &mut Vec<u8>, pictures: &[LivePicture], next: Mono, begins: bool) {
    let followers = pictures.iter().skip(1).map(|picture| picture.decoded).chain([ticks(next)]);
    for (i, (picture, follower)) in pictures.iter().zip(followers).enumerate() {
        let lasts = follower.saturating_sub(picture.decoded).max(1);
        let flags = if picture.is_sync || begins && i == 0 { SYNC } else { NO_SYNC };
        let number = |n: i64| u32::try_from(n).unwrap_or(u32::MAX);
        let size = u32::try_from(picture.data.len()).unwrap_or(0);
        put_numbers(out, &[number(lasts), size, flags, number(picture.shown.saturating_sub(picture.decoded))]);
    }
}

fn put_numbers(out: &mut Vec<u8>, numbers: &[u32]) {
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_be_bytes()));
}

/// A box with what `body` writes.
fn put_box(out: &mut Vec<u8>, kind: &[u8; 4], body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    put_numbers(out, &[0]);
    out.extend_from_slice(kind);
    body(out);
    let size = u32::try_from(out.len() - start).unwrap_or(0);
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&size.to_be_bytes());
    }
}

fn with_lengths(data: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(data.len() + 64);
    for unit in units(Framing::StartCodes, data) {
        Framing::Lengths(LENGTH_SIZE).push(&mut out, unit);
    }
    out.into()
}

fn ticks(at: Mono) -> i64 {
    let ticks = u128::from(at.0) * TIMESCALE.unsigned_abs() as u128 / 1_000_000_000;
    i64::try_from(ticks).unwrap_or(i64::MAX)
}
