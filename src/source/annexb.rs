//! H.264 and H.265 as a byte stream with start codes (Annex B of ITU-T H.264 and H.265): what V4L2 cameras, MPEG-TS
//! and libavformat's RTSP client give.

use crate::frame::Codec;

const NAL_IDR: u8 = 5;
const NAL_SPS: u8 = 7;
const NAL_PPS: u8 = 8;

/// Of H.265; the kinds below are slices of pictures.
const HEVC_VPS: u8 = 32;
const HEVC_SPS: u8 = 33;
const HEVC_PPS: u8 = 34;

/// The NAL units of an access unit, without start codes and padding.
pub(super) fn nal_units(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(data);
    std::iter::from_fn(move || {
        let unit = rest?;
        let end = unit.windows(3).position(|w| matches!(w, [0, 0, 0 | 1])).unwrap_or(unit.len());
        let (nal, tail) = unit.split_at(end);
        rest = after_start_code(tail);
        Some(nal)
    })
    .filter(|nal| !nal.is_empty())
}

fn after_start_code(data: &[u8]) -> Option<&[u8]> {
    let start = data.windows(3).position(|w| w == [0, 0, 1])?;
    data.get(start + 3..)
}

fn kind(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |header| header & 0x1f)
}

/// Whether this is a byte stream at all: it begins with zeros and a one.
pub(super) fn has_start_code(data: &[u8]) -> bool {
    let zeros = data.iter().take_while(|b| **b == 0).count();
    zeros >= 2 && data.get(zeros) == Some(&1)
}

/// What a NAL unit is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Picture,
    Sps,
    Pps,
    Vps,
    Other,
}

fn purpose(codec: &Codec, nal: &[u8]) -> Purpose {
    let header = nal.first().copied().unwrap_or_default();
    if *codec == Codec::H265 {
        return match (header >> 1) & 0x3f {
            0..HEVC_VPS => Purpose::Picture,
            HEVC_VPS => Purpose::Vps,
            HEVC_SPS => Purpose::Sps,
            HEVC_PPS => Purpose::Pps,
            _ => Purpose::Other,
        };
    }
    match kind(nal) {
        1..=NAL_IDR => Purpose::Picture,
        NAL_SPS => Purpose::Sps,
        NAL_PPS => Purpose::Pps,
        _ => Purpose::Other,
    }
}

/// The parameter sets of an access unit with start codes, where it carries all that its codec needs: SPS and PPS,
/// for H.265 a VPS too.
pub(super) fn parameter_sets(codec: &Codec, data: &[u8]) -> Option<Vec<u8>> {
    let mut sets = Vec::new();
    let (mut sps, mut pps, mut vps) = (false, false, *codec != Codec::H265);
    // Parameter sets precede the picture, so the large picture itself is not searched.
    for nal in nal_units(data).take_while(|nal| purpose(codec, nal) != Purpose::Picture) {
        match purpose(codec, nal) {
            Purpose::Sps => sps = true,
            Purpose::Pps => pps = true,
            Purpose::Vps => vps = true,
            Purpose::Picture | Purpose::Other => continue,
        }
        sets.extend_from_slice(&[0, 0, 0, 1]);
        sets.extend_from_slice(nal);
    }
    (sps && pps && vps).then_some(sets)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &[u8] = &[0, 0, 0, 1, 0x09, 0xf0, 0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 0, 1, 0x65, 0, 4, 5];

    #[test]
    fn parameter_sets_are_taken_from_a_key_frame() {
        assert_eq!(parameter_sets(&Codec::H264, KEY), Some(vec![0, 0, 0, 1, 0x67, 1, 2, 0, 0, 0, 1, 0x68, 3]));
        assert!(has_start_code(KEY));
    }

    #[test]
    fn h265_needs_three_kinds_of_parameter_sets() {
        let unit = |kind: u8| [0, 0, 0, 1, kind << 1, 1, 0xaa];
        let units = |kinds: &[u8]| kinds.iter().flat_map(|kind| unit(*kind)).collect::<Vec<_>>();
        let sets = parameter_sets(&Codec::H265, &units(&[35, 32, 33, 34, 39, 19, 34]));
        assert_eq!(sets, Some(units(&[32, 33, 34])));
        assert_eq!(parameter_sets(&Codec::H265, &units(&[33, 34, 19])), None);
    }

    #[test]
    fn other_pictures_and_garbage_have_none() {
        for data in [&[0, 0, 1, 0x41, 9, 9][..], &[0, 0, 0, 1, 0x67, 1], &[0; 32], &[0, 0, 1], &[1, 2, 3], &[]] {
            assert_eq!(parameter_sets(&Codec::H264, data), None, "{data:?}");
        }
        assert!(!has_start_code(&[0; 32]) && !has_start_code(&[0xff, 0xd8]) && !has_start_code(&[0, 1]));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(data in proptest::collection::vec(0u8..4, 0..200)) {
            let _ = (parameter_sets(&Codec::H264, &data), parameter_sets(&Codec::H265, &data), has_start_code(&data));
        }
    }
}
