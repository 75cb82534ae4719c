//! H.264 pictures of cameras as WebRTC packs them: NAL units behind start codes, parameter sets in front of key frames.

use std::sync::Arc;

use crate::frame::{Codec, Packet};

const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// The picture in `packet`; `None` where it is not H.264, or not in the form that its parameters state.
pub(super) fn access_unit(packet: &Packet) -> Option<Arc<[u8]>> {
    if packet.stream.codec != Codec::H264 {
        return None;
    }
    let record = &packet.stream.extradata;
    let mut out = Vec::with_capacity(packet.data.len() + 256);
    // The record of MP4 begins with its version; a byte stream begins with zeros.
    if record.first() != Some(&1) {
        if packet.key_frame {
            out.extend_from_slice(record);
        }
        out.extend_from_slice(&packet.data);
        return Some(out.into());
    }
    if packet.key_frame {
        parameter_sets(record, &mut out)?;
    }
    let size = usize::from(record.get(4)? & 3) + 1;
    let mut rest: &[u8] = &packet.data;
    while !rest.is_empty() {
        let unit;
        (unit, rest) = length_prefixed(rest, size)?;
        append(unit, &mut out);
    }
    Some(out.into())
}

/// Those of an `avcC` record (ISO/IEC 14496-15, 5.3.3.1).
fn parameter_sets(record: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (count, mut rest) = record.get(5..)?.split_first()?;
    for _ in 0..count & 0x1f {
        let set;
        (set, rest) = length_prefixed(rest, 2)?;
        append(set, out);
    }
    let (count, mut rest) = rest.split_first()?;
    for _ in 0..*count {
        let set;
        (set, rest) = length_prefixed(rest, 2)?;
        append(set, out);
    }
    Some(())
}

fn append(unit: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&START_CODE);
    out.extend_from_slice(unit);
}

fn length_prefixed(data: &[u8], size: usize) -> Option<(&[u8], &[u8])> {
    let (length, behind) = data.split_at_checked(size)?;
    let length = length.iter().fold(0usize, |length, byte| length << 8 | usize::from(*byte));
    behind.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::clock::Mono;
    use crate::frame::{Orientation, StreamInfo};

    fn packet(codec: Codec, extradata: &[u8], key_frame: bool, data: &[u8]) -> Packet {
        let extradata = Bytes::copy_from_slice(extradata);
        let orientation = Orientation::default();
        let stream = StreamInfo { codec, width: 4, height: 4, extradata, fps: None, orientation };
        Packet::new(Arc::new(stream), Mono(0), key_frame, Bytes::copy_from_slice(data))
    }

    /// Lengths of four bytes, an SPS of two and a PPS of one.
    const RECORD: &[u8] = &[1, 100, 0, 30, 0xff, 0xe1, 0, 2, 0x67, 7, 1, 0, 1, 0x68];

    #[test]
    fn lengths_become_start_codes_and_key_frames_bring_their_parameters() {
        let data = [0, 0, 0, 2, 0x65, 9, 0, 0, 0, 1, 0x65];
        let key = access_unit(&packet(Codec::H264, RECORD, true, &data)).expect("picture");
        let units: [&[u8]; 4] = [&[0x67, 7], &[0x68], &[0x65, 9], &[0x65]];
        let coded =
            |units: &[&[u8]]| units.iter().flat_map(|unit| [&START_CODE[..], unit].concat()).collect::<Vec<_>>();
        assert_eq!(key.to_vec(), coded(&units));
        let other = access_unit(&packet(Codec::H264, RECORD, false, &data)).expect("picture");
        assert_eq!(other.to_vec(), coded(&units[2..]));
        let stream = [0, 0, 0, 1, 0x67, 7];
        let key = access_unit(&packet(Codec::H264, &stream, true, &[0, 0, 0, 1, 0x65])).expect("picture");
        assert_eq!(key.to_vec(), coded(&[&[0x67, 7], &[0x65]]));
    }

    #[test]
    fn what_is_cut_or_of_another_coding_is_left_out() {
        for data in [&[0, 0, 0, 9, 0x65][..], &[0, 0], &[0xff; 8]] {
            assert_eq!(access_unit(&packet(Codec::H264, RECORD, false, data)), None, "{data:?}");
        }
        for record in [&RECORD[..4], &RECORD[..8], &[1, 100, 0, 30, 0xff, 0xff]] {
            assert_eq!(access_unit(&packet(Codec::H264, record, true, &[0, 0, 0, 1, 0x65])), None, "{record:?}");
        }
        assert_eq!(access_unit(&packet(Codec::H265, RECORD, true, &[0, 0, 0, 1, 0x65])), None);
    }
}
