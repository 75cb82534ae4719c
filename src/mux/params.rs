//! What a clip's header needs from an H.264 or H.265 stream: parameter sets and the picture size.

use std::ptr;

use bytes::Bytes;
use ffmpeg_next as ffmpeg;
use ffmpeg_next::codec::{Id, decoder};
use ffmpeg_next::ffi;

use crate::frame::{Codec, StreamInfo};

/// Whether `data` consists of NAL units behind start codes (Annex B), not behind lengths.
pub(super) fn is_annex_b(data: &[u8]) -> bool {
    data.starts_with(&[0, 0, 1]) || data.starts_with(&[0, 0, 0, 1])
}

/// The NAL units of an Annex B access unit, without start codes.
fn annex_b_units(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(data);
    std::iter::from_fn(move || {
        let unit = rest?;
        let end = unit.windows(3).position(|w| w == [0, 0, 1]);
        rest = end.and_then(|end| unit.get(end + 3..));
        // The fourth byte of a long start code, and padding, are zeros that no NAL unit ends with.
        let unit = unit.get(..end.unwrap_or(unit.len())).unwrap_or_default();
        let len = unit.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        Some(unit.get(..len).unwrap_or_default())
    })
}

fn after_start_code(data: &[u8]) -> Option<&[u8]> {
    let at = data.windows(3).position(|w| w == [0, 0, 1])?;
    data.get(at + 3..)
}

/// Which part of the header a NAL unit is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sequence,
    OtherParameters,
    Picture,
}

fn kind(codec: &Codec, unit: &[u8]) -> Kind {
    let Some(first) = unit.first() else { return Kind::Picture };
    match codec {
        Codec::H265 => match (first >> 1) & 0x3f {
            33 => Kind::Sequence,
            32 | 34 => Kind::OtherParameters,
            _ => Kind::Picture,
        },
        _ => match first & 0x1f {
            7 => Kind::Sequence,
            8 => Kind::OtherParameters,
            _ => Kind::Picture,
        },
    }
}

/// The parameter sets inside an Annex B access unit, themselves as Annex B; empty when there is no SPS.
pub(super) fn in_band_parameters(codec: &Codec, data: &[u8]) -> Bytes {
    let mut out = Vec::new();
    let mut has_sequence = false;
    for unit in annex_b_units(data) {
        let kind = kind(codec, unit);
        if kind != Kind::Picture {
            has_sequence |= kind == Kind::Sequence;
            out.extend_from_slice(&[0, 0, 0, 1]);
            out.extend_from_slice(unit);
        }
    }
    if has_sequence { out.into() } else { Bytes::new() }
}

/// The parameter sets that hold from a key frame on: those in its `data` where they differ from the `known` ones, which are
/// of the beginning of the stream then.
pub(super) fn current(codec: &Codec, known: &Bytes, data: &[u8]) -> Bytes {
    let in_band = if is_annex_b(data) { in_band_parameters(codec, data) } else { Bytes::new() };
    if known.is_empty() || in_band.is_empty() || !is_annex_b(known) {
        return if known.is_empty() { in_band } else { known.clone() };
    }
    let before = sequences(codec, known);
    if sequences(codec, &in_band).iter().all(|sequence| before.contains(sequence)) {
        return known.clone();
    }
    if annex_b_units(&in_band).any(|unit| kind(codec, unit) == Kind::OtherParameters) {
        return in_band;
    }
    let mut merged = in_band.to_vec();
    for unit in annex_b_units(known).filter(|unit| kind(codec, unit) == Kind::OtherParameters) {
        merged.extend_from_slice(&[0, 0, 0, 1]);
        merged.extend_from_slice(unit);
    }
    merged.into()
}

/// How NAL units stand in a stream's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    StartCodes,
    /// Behind lengths of so many bytes.
    Lengths(usize),
}

impl Framing {
    /// As the parameters of a stream say.
    pub(super) fn of(codec: &Codec, extradata: &[u8]) -> Self {
        let at = if *codec == Codec::H265 { 21 } else { 4 };
        match extradata.get(at) {
            Some(byte) if !is_annex_b(extradata) => Self::Lengths(usize::from(byte & 3) + 1),
            _ => Self::StartCodes,
        }
    }

    /// Adds a NAL unit. One that is too long for its length is left out; none is that came in this framing.
    pub(super) fn push(self, out: &mut Vec<u8>, unit: &[u8]) {
        match self {
            Self::StartCodes => out.extend_from_slice(&[0, 0, 0, 1]),
            Self::Lengths(size) => {
                let length = (unit.len() as u64).to_be_bytes();
                let (unused, length) = length.split_at(length.len().saturating_sub(size));
                if unused.iter().any(|byte| *byte != 0) {
                    return;
                }
                out.extend_from_slice(length);
            }
        }
        out.extend_from_slice(unit);
    }
}

/// The NAL units of a packet, or of what is framed like one.
pub(super) fn units(framing: Framing, data: &[u8]) -> Box<dyn Iterator<Item = &[u8]> + '_> {
    match framing {
        Framing::StartCodes => Box::new(annex_b_units(data).filter(|unit| !unit.is_empty())),
        Framing::Lengths(size) => {
            let mut rest = data;
            Box::new(std::iter::from_fn(move || {
                let (length, behind) = rest.split_at_checked(size)?;
                let length = length.iter().fold(0usize, |length, byte| length << 8 | usize::from(*byte));
                let (unit, next) = behind.split_at_checked(length)?;
                rest = next;
                Some(unit)
            }))
        }
    }
}

/// The parameter sets of `extradata` as they stand in a packet; empty where they cannot be read.
pub(super) fn as_units(codec: &Codec, extradata: &[u8]) -> Bytes {
    match Framing::of(codec, extradata) {
        Framing::StartCodes => Bytes::copy_from_slice(extradata),
        framing @ Framing::Lengths(_) => units_of_record(codec, extradata, framing).unwrap_or_default().into(),
    }
}

/// The parameter sets of an `avcC` or `hvcC` record (ISO 14496-15).
fn units_of_record(codec: &Codec, record: &[u8], framing: Framing) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut copy = |rest: &mut &[u8], count: usize| {
        for _ in 0..count {
            let (length, behind) = rest.split_at_checked(2)?;
            let (unit, next) = behind.split_at_checked(usize::from(u16::from_be_bytes(length.try_into().ok()?)))?;
            framing.push(&mut out, unit);
            *rest = next;
        }
        Some(())
    };
    if *codec == Codec::H265 {
        let (arrays, mut rest) = record.get(22..)?.split_first()?;
        for _ in 0..*arrays {
            let (head, behind) = rest.split_at_checked(3)?;
            rest = behind;
            copy(&mut rest, usize::from(u16::from_be_bytes(head.get(1..)?.try_into().ok()?)))?;
        }
    } else {
        let (sequences, mut rest) = record.get(5..)?.split_first()?;
        copy(&mut rest, usize::from(sequences & 0x1f))?;
        let (pictures, mut rest) = rest.split_first()?;
        copy(&mut rest, usize::from(*pictures))?;
    }
    Some(out)
}

/// The sequence parameter sets among Annex B parameter sets: when they change, a clip cannot go on.
pub(super) fn sequences<'a>(codec: &'a Codec, parameters: &'a [u8]) -> Vec<&'a [u8]> {
    annex_b_units(parameters).filter(|unit| kind(codec, unit) == Kind::Sequence).collect()
}

/// The picture size that the parameter sets themselves state, which is the one that counts.
///
/// The decoder reads it off the first slice; decoding one picture, once a clip, is what that costs.
pub(super) fn coded_size(stream: &StreamInfo, extradata: &[u8], key_frame: &[u8]) -> Option<(u32, u32)> {
    let id = if stream.codec == Codec::H265 { Id::HEVC } else { Id::H264 };
    let codec = decoder::find(id)?;
    let mut context = ffmpeg::codec::Context::new_with_codec(codec);
    set_extradata(&mut context, extradata)?;
    let mut decoder = context.decoder();
    // The picture itself is of no interest.
    decoder.skip_loop_filter(ffmpeg::Discard::All);
    decoder.skip_idct(ffmpeg::Discard::All);
    let mut decoder = decoder.open_as(codec).and_then(decoder::Opened::video).ok()?;
    // An error behind the header leaves the size in place.
    let _ = decoder.send_packet(&ffmpeg::Packet::copy(key_frame));
    let size = (decoder.width(), decoder.height());
    (size.0 > 0 && size.1 > 0).then_some(size)
}

/// Hands codec parameters to a context that is not open yet; `None` when memory is short.
#[allow(unsafe_code)]
pub(super) fn set_extradata(context: &mut ffmpeg::codec::Context, extradata: &[u8]) -> Option<()> {
    if extradata.is_empty() {
        return Some(());
    }
    let (block, size) = padded(extradata)?;
    // SAFETY: the context is ours alone, has no extradata yet, and frees the block with itself.
    unsafe {
        let raw = context.as_mut_ptr().as_mut()?;
        (raw.extradata, raw.extradata_size) = (block, size);
    }
    Some(())
}

/// A copy in libav's memory, with the zeroed padding that its readers need.
#[allow(unsafe_code)]
pub(super) fn padded(data: &[u8]) -> Option<(*mut u8, i32)> {
    let size = i32::try_from(data.len()).ok()?;
    // SAFETY: the block is checked, and large enough for the copy.
    unsafe {
        let block = ffi::av_mallocz(data.len() + ffi::AV_INPUT_BUFFER_PADDING_SIZE as usize).cast::<u8>();
        if block.is_null() {
            return None;
        }
        ptr::copy_nonoverlapping(data.as_ptr(), block, data.len());
        Some((block, size))
    }
}
