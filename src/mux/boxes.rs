//! The outermost structure of an MP4 file, by hand: what is complete, and where the durations stand.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use bytes::Bytes;

use crate::frame::Codec;

/// A `moov` of ours has under 2 KiB; anything far larger is damage.
const MAX_MOOV: u64 = 1 << 20;

/// One complete box at the outermost level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TopBox {
    pub kind: [u8; 4],
    pub start: u64,
    pub end: u64,
}

/// The complete boxes from the start of the file up to the first one that is torn or no box at all.
pub(super) fn complete_boxes(file: &File) -> io::Result<Vec<TopBox>> {
    let len = file.metadata()?.len();
    let mut boxes = Vec::new();
    let mut start = 0;
    while let Some(found) = read_box(file, start, len)? {
        start = found.end;
        boxes.push(found);
    }
    Ok(boxes)
}

fn read_box(file: &File, start: u64, len: u64) -> io::Result<Option<TopBox>> {
    let mut head = [0; 16];
    let got = usize::try_from(len.saturating_sub(start)).unwrap_or(usize::MAX).min(head.len());
    if got < 8 {
        return Ok(None);
    }
    file.read_exact_at(head.get_mut(..got).unwrap_or_default(), start)?;
    let kind = [head[4], head[5], head[6], head[7]];
    let size = match be32(&head, 0) {
        Some(1) if got == 16 => {
            u64::from_be_bytes([head[8], head[9], head[10], head[11], head[12], head[13], head[14], head[15]])
        }
        size => u64::from(size.unwrap_or(0)),
    };
    let end = start.saturating_add(size);
    // Size 0 would mean "up to the end of the file", which we never write: it is a hole left by a power cut.
    let complete = size >= 8 && end <= len && kind.iter().all(u8::is_ascii_alphanumeric);
    Ok(complete.then_some(TopBox { kind, start, end }))
}

/// Where a file's playable part lies.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub moov: TopBox,
    /// Start and end of each `moof` with the `mdat` that follows it.
    pub fragments: Vec<(u64, u64)>,
    /// Whether the file goes on with nothing but the index that a finished file has at its end.
    pub finished: bool,
}

/// Finds the header and the complete fragments; `None` when there is no header.
pub(super) fn layout(file: &File) -> io::Result<Option<Layout>> {
    let boxes = complete_boxes(file)?;
    let Some(at) = boxes.iter().position(|b| &b.kind == b"moov") else { return Ok(None) };
    let Some((moov, mut rest)) = boxes.get(at..).and_then(<[_]>::split_first) else { return Ok(None) };
    let mut fragments = Vec::new();
    while let [moof, mdat, more @ ..] = rest {
        if &moof.kind != b"moof" || &mdat.kind != b"mdat" {
            break;
        }
        fragments.push((moof.start, mdat.end));
        rest = more;
    }
    let len = file.metadata()?.len();
    let finished = matches!(rest, [index] if &index.kind == b"mfra" && index.end == len);
    Ok(Some(Layout { moov: *moov, fragments, finished }))
}

/// Reads the whole `moov`.
pub(super) fn read_moov(file: &File, moov: TopBox) -> io::Result<Vec<u8>> {
    let size = moov.end - moov.start;
    if size > MAX_MOOV {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a header of {size} bytes")));
    }
    let mut data = vec![0; usize::try_from(size).unwrap_or(0)];
    file.read_exact_at(&mut data, moov.start)?;
    Ok(data)
}

/// Writes the clip's duration into the header, where it stands as 0 while the clip is being written:
/// players that do not read a file to its end, browsers among them, have it from nowhere else.
pub(super) fn set_duration(file: &File, moov: TopBox, duration: Duration) -> io::Result<()> {
    let data = with_duration(read_moov(file, moov)?, duration);
    file.write_all_at(&data, moov.start)
}

/// The same header with a duration.
pub(super) fn with_duration(mut moov: Vec<u8>, duration: Duration) -> Vec<u8> {
    for (at, wide, timescale) in duration_fields(&moov) {
        let ticks = duration.as_nanos() * u128::from(timescale) / 1_000_000_000;
        let (long, short) = (u64::try_from(ticks).unwrap_or(0), u32::try_from(ticks).unwrap_or(0));
        let bytes = if wide { long.to_be_bytes().to_vec() } else { short.to_be_bytes().to_vec() };
        if let Some(field) = moov.get_mut(at..at + bytes.len()) {
            field.copy_from_slice(&bytes);
        }
    }
    moov
}

/// Each duration field as offset in `moov`, whether it has 8 bytes instead of 4, and ticks a second.
fn duration_fields(moov: &[u8]) -> Vec<(usize, bool, u32)> {
    let mut fields = Vec::new();
    let Some(header) = child(moov, 8, b"mvhd") else { return fields };
    let movie_timescale = timescale(moov, header);
    // A full box has version and flags, then two times; tkhd has id and reserved before the duration,
    // the others have the time scale.
    let mut field = |body: usize, before: usize, timescale: Option<u32>| {
        let wide = moov.get(body) == Some(&1);
        let at = body + 4 + if wide { 16 } else { 8 } + before;
        let fits = at + if wide { 8 } else { 4 } <= moov.len();
        if let (Some(timescale), true) = (timescale, fits) {
            fields.push((at, wide, timescale));
        }
    };
    field(header, 4, movie_timescale);
    let mut next = child(moov, 8, b"trak");
    while let Some(track) = next {
        next = sibling(moov, track, b"trak");
        if let Some(body) = child(moov, track, b"tkhd") {
            field(body, 8, movie_timescale);
        }
        if let Some(body) = child(moov, track, b"mdia").and_then(|media| child(moov, media, b"mdhd")) {
            field(body, 4, timescale(moov, body));
        }
    }
    fields
}

fn timescale(moov: &[u8], body: usize) -> Option<u32> {
    let wide = moov.get(body) == Some(&1);
    be32(moov, body + 4 + if wide { 16 } else { 8 })
}

/// The offset of the body of the first child called `kind` in a box whose body starts at `body`.
///
/// The parent's own end is not looked at: our headers have each of these boxes once, in this order.
fn child(data: &[u8], body: usize, kind: &[u8; 4]) -> Option<usize> {
    let mut at = body;
    loop {
        let size = usize::try_from(be32(data, at)?).ok()?;
        if data.get(at + 4..at + 8)? == kind {
            return Some(at + 8);
        }
        if size < 8 {
            return None;
        }
        at = at.checked_add(size)?;
    }
}

/// The offset of the body of the next box called `kind` behind the one whose body is at `body`, in the same parent.
fn sibling(data: &[u8], body: usize, kind: &[u8; 4]) -> Option<usize> {
    let start = body.checked_sub(8)?;
    let size = usize::try_from(be32(data, start)?).ok()?;
    if size < 8 { None } else { child(data, start.checked_add(size)?, kind) }
}

/// How many bytes hold the length of each NAL unit, according to the codec's record in `moov`.
pub(super) fn nal_length_size(moov: &[u8], codec: &Codec) -> Option<usize> {
    let (name, offset): (&[u8; 4], usize) = match codec {
        Codec::H264 => (b"avcC", 4),
        Codec::H265 => (b"hvcC", 21),
        _ => return None,
    };
    let at = moov.windows(4).position(|w| w == name)?;
    moov.get(at + 4 + offset).map(|byte| usize::from(byte & 3) + 1)
}

/// The codec's record in `moov`: its parameter sets, and how they are framed.
pub(super) fn codec_record(moov: &[u8], codec: &Codec) -> Option<Bytes> {
    let name: &[u8; 4] = if *codec == Codec::H265 { b"hvcC" } else { b"avcC" };
    let at = moov.windows(4).position(|w| w == name)?;
    let size = usize::try_from(be32(moov, at.checked_sub(4)?)?).ok()?;
    moov.get(at + 4..(at - 4).checked_add(size)?).map(Bytes::copy_from_slice)
}

/// What the `codecs` parameter of a media type says of a header (RFC 6381; ISO 14496-15, annex E).
pub(super) fn codec_string(header: &[u8], codec: &Codec) -> Option<String> {
    let name: &[u8; 4] = if *codec == Codec::H265 { b"hvcC" } else { b"avcC" };
    let at = header.windows(4).position(|w| w == name)? + 4;
    if *codec == Codec::H264 {
        let profile = header.get(at + 1..at + 4)?;
        return Some(format!("avc1.{}", hex::encode_upper(profile)));
    }
    let record: &[u8; 13] = header.get(at..at + 13)?.try_into().ok()?;
    let space = ["", "A", "B", "C"].get(usize::from(record[1] >> 6))?;
    let tier = if record[1] & 0x20 == 0 { 'L' } else { 'H' };
    // In reverse order of bits; zeros at the end of the constraints are left out.
    let compatible = be32(record, 2)?.reverse_bits();
    let (profile, level) = (record[1] & 0x1f, record[12]);
    let constraints = record.get(6..12)?;
    let used = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let constraints: String = constraints.iter().take(used).map(|byte| format!(".{byte:X}")).collect();
    Some(format!("hvc1.{space}{profile}.{compatible:X}.{tier}{level}{constraints}"))
}

/// As many zeros in a row are a block that never reached the disk: coded pictures have no three by themselves,
/// but some cameras pad.
const HOLE: usize = 512;

/// Whether a sample is made of NAL units that fill it exactly, without a hole.
pub(super) fn is_whole_sample(sample: &[u8], length_size: usize) -> bool {
    let mut rest = sample;
    while !rest.is_empty() {
        let Some((length, after)) = rest.split_at_checked(length_size) else { return false };
        let length = length.iter().fold(0usize, |sum, byte| (sum << 8) | usize::from(*byte));
        match after.get(length..) {
            Some(next) if length > 0 => rest = next,
            _ => return false,
        }
    }
    !sample.is_empty() && !has_hole(sample)
}

fn has_hole(sample: &[u8]) -> bool {
    let mut run = 0;
    sample.iter().any(|byte| {
        run = if *byte == 0 { run + 1 } else { 0 };
        run >= HOLE
    })
}

fn be32(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}
