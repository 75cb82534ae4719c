//! Codec parameters that change while a stream plays, as many cameras do between day and night.

use std::sync::Arc;

use bytes::Bytes;
use ffmpeg_next as ffmpeg;

use crate::frame::{Codec, StreamInfo};
use crate::source::annexb;

/// The parameters in force.
pub(super) struct Parameters {
    stream: Arc<StreamInfo>,
    /// The Annex B parameter sets in force, in the form in which key frames bring them.
    sets: Option<Vec<u8>>,
}

impl Parameters {
    /// Begins with what libavformat found out when it opened the stream.
    pub(super) fn new(stream: StreamInfo) -> Self {
        let sets = annexb::parameter_sets(&stream.codec, &stream.extradata);
        Self { stream: Arc::new(stream), sets }
    }

    pub(super) fn stream(&self) -> &Arc<StreamInfo> {
        &self.stream
    }

    /// Takes over what the packet brings, and says whether that is something new.
    pub(super) fn learn(&mut self, packet: &ffmpeg::Packet, data: &[u8], key_frame: bool) -> bool {
        // FLV and MP4 say it beside the packet.
        let beside = packet.side_data().find(|data| data.kind() == ffmpeg::packet::side_data::Type::NewExtraData);
        if let Some(beside) = beside {
            let extradata = Bytes::copy_from_slice(beside.data());
            return extradata != self.stream.extradata && self.replace(extradata, packet);
        }
        if self.stream.codec == Codec::Mjpeg {
            let size = jpeg_size(data).filter(|size| *size != (self.stream.width, self.stream.height));
            let Some((width, height)) = size else { return false };
            self.stream = Arc::new(StreamInfo { width, height, ..(*self.stream).clone() });
            return true;
        }
        if !key_frame || !matches!(self.stream.codec, Codec::H264 | Codec::H265) || !annexb::has_start_code(data) {
            return false;
        }
        let Some(sets) = annexb::parameter_sets(&self.stream.codec, data) else { return false };
        if self.sets.as_ref() == Some(&sets) {
            return false;
        }
        self.sets = Some(sets.clone());
        self.replace(sets.into(), packet)
    }

    fn replace(&mut self, extradata: Bytes, key_frame: &ffmpeg::Packet) -> bool {
        let mut info = StreamInfo { extradata, ..(*self.stream).clone() };
        (info.width, info.height) = size_in(&info, key_frame).unwrap_or_default();
        self.stream = Arc::new(info);
        true
    }
}

/// The size that the parameter sets in front of the key frame `data` state.
pub(in crate::source) fn coded_size(stream: &StreamInfo, data: &[u8]) -> Option<(u32, u32)> {
    super::stream::prepare();
    size_in(stream, &ffmpeg::Packet::copy(data))
}

/// The size that the parameter sets in the packet or beside it state, which a decoder reads off the first picture.
fn size_in(stream: &StreamInfo, key_frame: &ffmpeg::Packet) -> Option<(u32, u32)> {
    let id = if stream.codec == Codec::H265 { ffmpeg::codec::Id::HEVC } else { ffmpeg::codec::Id::H264 };
    let codec = ffmpeg::codec::decoder::find(id)?;
    let mut decoder = ffmpeg::codec::Context::new_with_codec(codec).decoder();
    // The picture itself is of no interest.
    decoder.skip_loop_filter(ffmpeg::Discard::All);
    decoder.skip_idct(ffmpeg::Discard::All);
    let mut decoder = decoder.open_as(codec).and_then(ffmpeg::codec::decoder::Opened::video).ok()?;
    // An error behind the header leaves the size in place.
    let _ = decoder.send_packet(key_frame);
    let size = (decoder.width(), decoder.height());
    (size.0 > 0 && size.1 > 0).then_some(size)
}

/// Width and height that the header of a JPEG picture states.
fn jpeg_size(picture: &[u8]) -> Option<(u32, u32)> {
    let mut rest = picture.strip_prefix(&[0xff, 0xd8])?;
    loop {
        let (&[first, marker, high, low], behind) = rest.split_first_chunk::<4>()?;
        if first != 0xff {
            return None;
        }
        // Markers may have more than one 0xff in front.
        if marker == 0xff {
            rest = rest.get(1..)?;
            continue;
        }
        if matches!(marker, 0xc0..=0xcf) && !matches!(marker, 0xc4 | 0xc8 | 0xcc) {
            let &[_, y1, y0, x1, x0] = behind.first_chunk::<5>()?;
            return Some((u32::from(u16::from_be_bytes([x1, x0])), u32::from(u16::from_be_bytes([y1, y0]))));
        }
        // The length counts its own two bytes.
        rest = behind.get(usize::from(u16::from_be_bytes([high, low])).checked_sub(2)?..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Rgb;

    #[test]
    fn the_size_of_a_picture_is_read_off_its_header() {
        let jpeg = Rgb { width: 70, height: 20, data: vec![90; 70 * 20 * 3] }.to_jpeg(80).expect("encode");
        assert_eq!(jpeg_size(&jpeg), Some((70, 20)));
        let padded = [&jpeg[..2], &[0xff, 0xff], &jpeg[2..]].concat();
        assert_eq!(jpeg_size(&padded), Some((70, 20)));
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_survived(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)) {
            let _ = jpeg_size(&[&[0xff, 0xd8, 0xff], &bytes[..]].concat());
        }
    }
}
