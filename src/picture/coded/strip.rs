//! A video without what its file says of itself: its pictures and its sound as they were coded, in a new file.

use std::path::Path;
use std::ptr;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::codec::Id;
use ffmpeg_next::media::Type;
use ffmpeg_next::{Packet, ffi};

use super::video::open;

/// Writes the video at `path` to `to`, which is replaced: one track of pictures, one of sound where there is one, and
/// nothing else. Tracks of data, chapters, titles, dates and places are left out, and so are the free texts that encoders
/// and cameras put between pictures.
///
/// # Errors
/// A sentence that says why it cannot be done.
pub(in crate::picture) fn strip(path: &Path, to: &Path) -> Result<(), String> {
    let failed = |error: ffmpeg::Error| format!("the video cannot be written without what its file says: {error}");
    let mut input = open(path)?;
    let mut output = ffmpeg::format::output_as(to, "mp4").map_err(failed)?;
    let mut tracks: Vec<Option<Track>> = (0..input.nb_streams()).map(|_| None).collect();
    for kind in [Type::Video, Type::Audio] {
        let Some(stream) = input.streams().best(kind) else { continue };
        let id = stream.parameters().id();
        if !is_held(&output, id) {
            if kind == Type::Video {
                let name = format!("{id:?}").to_lowercase();
                return Err(format!("a video coded as {name} cannot be written without what its file says"));
            }
            continue;
        }
        let made = add(&mut output, &stream, id).map_err(failed)?;
        if let Some(track) = tracks.get_mut(stream.index()) {
            *track = Some(made);
        }
    }
    let mut options = ffmpeg::Dictionary::new();
    options.set("fflags", "bitexact");
    options.set("movflags", "faststart");
    output.write_header_with(options).map_err(failed)?;
    for (stream, mut packet) in input.packets() {
        let Some(Some(track)) = tracks.get(stream.index()) else { continue };
        if let Some(units) = &track.units
            && let Some(kept) = packet.data().and_then(|data| units.without_texts(data))
        {
            packet = copied(&packet, &kept);
        }
        let Some(target) = output.stream(track.at).map(|stream| stream.time_base()) else { continue };
        packet.rescale_ts(stream.time_base(), target);
        packet.set_stream(track.at);
        packet.set_position(-1);
        // A damaged time costs its picture.
        let _ = packet.write_interleaved(&mut output);
    }
    output.write_trailer().map_err(failed)
}

/// A track of the new file.
struct Track {
    at: usize,
    units: Option<Units>,
}

/// A packet with other data and the same times.
fn copied(packet: &Packet, data: &[u8]) -> Packet {
    let mut copy = Packet::copy(data);
    copy.set_pts(packet.pts());
    copy.set_dts(packet.dts());
    copy.set_duration(packet.duration());
    copy.set_flags(packet.flags());
    copy
}

/// Whether the new file may hold this coding.
#[allow(unsafe_code)]
fn is_held(output: &ffmpeg::format::context::Output, id: Id) -> bool {
    // SAFETY: the context was just made with its format, which libav never frees.
    unsafe { ffi::avformat_query_codec((*output.as_ptr()).oformat, id.into(), ffi::FF_COMPLIANCE_NORMAL) == 1 }
}

/// Adds a track with the parameters of `stream`, turned as that is.
#[allow(unsafe_code)]
fn add(
    output: &mut ffmpeg::format::context::Output,
    stream: &ffmpeg::Stream<'_>,
    id: Id,
) -> Result<Track, ffmpeg::Error> {
    let units = Units::of(&stream.parameters(), id);
    let matrix = stream.side_data().find(|data| data.kind() == ffmpeg::packet::side_data::Type::DisplayMatrix);
    let matrix = matrix.map(|matrix| matrix.data().to_vec()).unwrap_or_default();
    let mut made = output.add_stream(None::<ffmpeg::Codec>)?;
    made.set_parameters(stream.parameters());
    made.set_time_base(stream.time_base());
    let at = made.index();
    // SAFETY: the stream was just made and belongs to `output`; the block that libav gives is checked for null and has the
    // size that was asked for.
    unsafe {
        let raw = (*made.as_mut_ptr()).codecpar.as_mut().ok_or(ffmpeg::Error::Bug)?;
        // The tag of the other container may mean nothing in this one. Browsers refuse the usual one of HEVC.
        raw.codec_tag = if id == Id::HEVC { u32::from_le_bytes(*b"hvc1") } else { 0 };
        if !matrix.is_empty() {
            let kind = ffi::AVPacketSideDataType::AV_PKT_DATA_DISPLAYMATRIX;
            let block = ffi::av_stream_new_side_data(made.as_mut_ptr(), kind, matrix.len());
            if block.is_null() {
                return Err(ffmpeg::Error::Other { errno: ffmpeg::error::ENOMEM });
            }
            ptr::copy_nonoverlapping(matrix.as_ptr(), block, matrix.len());
        }
    }
    Ok(Track { at, units })
}

/// How the units of H.264 and H.265 lie in a packet.
#[derive(Clone, Copy)]
struct Units {
    is_hevc: bool,
    /// Bytes of the length before each.
    length: usize,
}

impl Units {
    /// `None` for other codings.
    #[allow(unsafe_code)]
    fn of(parameters: &ffmpeg::codec::Parameters, id: Id) -> Option<Self> {
        let (is_hevc, place) = match id {
            Id::H264 => (false, 4),
            Id::HEVC => (true, 21),
            _ => return None,
        };
        // SAFETY: libav says how long its block is; it is read while `parameters` holds it.
        let configuration = unsafe {
            let raw = parameters.as_ptr();
            let length = usize::try_from((*raw).extradata_size).unwrap_or(0);
            if (*raw).extradata.is_null() { &[][..] } else { std::slice::from_raw_parts((*raw).extradata, length) }
        };
        // Other files have start codes between the units.
        if configuration.first() != Some(&1) {
            return None;
        }
        Some(Self { is_hevc, length: usize::from(configuration.get(place)? & 3) + 1 })
    }

    /// The packet without units of free text; `None` where it has none.
    fn without_texts(self, data: &[u8]) -> Option<Vec<u8>> {
        let (mut kept, mut rest, mut is_changed) = (Vec::with_capacity(data.len()), data, false);
        while let Some((length, behind)) = rest.split_at_checked(self.length) {
            let bytes = length.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte));
            let Some((unit, next)) = behind.split_at_checked(bytes) else { break };
            if self.is_text(unit) {
                is_changed = true;
            } else {
                kept.extend_from_slice(length);
                kept.extend_from_slice(unit);
            }
            rest = next;
        }
        kept.extend_from_slice(rest);
        is_changed.then_some(kept)
    }

    /// Whether a unit is supplemental information that begins with a message of the user's own (type 5).
    fn is_text(self, unit: &[u8]) -> bool {
        let first = unit.first().copied().unwrap_or(0);
        let (is_supplement, head) =
            if self.is_hevc { (matches!(first >> 1 & 63, 39 | 40), 2) } else { (first & 31 == 6, 1) };
        is_supplement && unit.get(head) == Some(&5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_of_free_text_are_left_out_and_nothing_else() {
        let h264 = Units { is_hevc: false, length: 4 };
        let unit = |bytes: &[u8]| [&u32::try_from(bytes.len()).expect("small").to_be_bytes()[..], bytes].concat();
        let (text, timing, slice) =
            (unit(&[0x06, 5, 3, 1, 2, 3, 0x80]), unit(&[0x06, 1, 1, 0, 0x80]), unit(&[0x65, 9, 9]));
        let packet = [&timing[..], &text, &slice].concat();
        assert_eq!(h264.without_texts(&packet), Some([&timing[..], &slice].concat()));
        assert_eq!(h264.without_texts(&[&timing[..], &slice].concat()), None);
        assert_eq!(
            h264.without_texts(&packet[..packet.len() - 2]).map(|kept| kept.len()),
            Some(timing.len() + slice.len() - 2)
        );
        let hevc = Units { is_hevc: true, length: 2 };
        let packet = [0, 4, 39 << 1, 1, 5, 7, 0, 3, 19 << 1, 1, 8];
        assert_eq!(hevc.without_texts(&packet), Some(packet[6..].to_vec()));
        assert_eq!(hevc.without_texts(&[]), None);
    }
}
