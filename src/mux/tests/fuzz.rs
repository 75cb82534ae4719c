//! Fuzz targets: H.264 and H.265 as packets and records hold them, and MP4 files that are to be repaired.

use super::super::joined::Joined;
use super::params::{Framing, as_units, coded_size, current, in_band_parameters, sequences, units};
use super::*;

/// What a stream's first packets are, in one input: the codec, the length of the record, the record, the packet.
fn stream(packets: &[Packet]) -> Vec<u8> {
    let first = &packets[0];
    let codec = u8::from(first.stream.codec == Codec::H265);
    let length = u16::try_from(first.stream.extradata.len()).expect("small").to_be_bytes();
    [&[codec], &length[..], &first.stream.extradata, &first.data].concat()
}

#[test]
fn any_packet_behind_any_parameters_is_survived() {
    let seeds: Vec<Vec<u8>> = [X264, X265]
        .into_iter()
        .flat_map(|coding| ["a.mp4", "a.ts"].map(|file| packets(&format!("size=96x64 -t 0.5 {coding}"), file)))
        .map(|packets| stream(&packets))
        .collect();
    let words = ["\0\0\0\x01", "\0\0\x01", "\x67", "\x68", "\x65", "\x06\x06\x01\0\u{80}", "\0\0\x03"];
    crate::fuzz::run("nal", &seeds.iter().map(Vec::as_slice).collect::<Vec<_>>(), &words, |input| {
        let [codec, high, low, rest @ ..] = input else { return "too short".to_owned() };
        let codec = if codec & 1 == 1 { Codec::H265 } else { Codec::H264 };
        let (record, data) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])).min(rest.len()));
        let framing = Framing::of(&codec, record);
        let parameters = as_units(&codec, record);
        let in_band = in_band_parameters(&codec, data);
        let merged = current(&codec, &parameters, data);
        let mut joined = Joined::of(&codec, record);
        let mended =
            joined.as_mut().map(|joined| (joined.is_idr(data), joined.mended(data).is_some(), joined.mended(data)));
        let stream = StreamInfo {
            codec: codec.clone(),
            extradata: Bytes::copy_from_slice(record),
            ..h264()[0].stream.as_ref().clone()
        };
        let size = coded_size(&stream, record, data);
        let whole = [1, 2, 4].map(|length| boxes::is_whole_sample(data, length));
        let counts =
            [units(framing, data).count(), sequences(&codec, &parameters).len(), sequences(&codec, &merged).len()];
        format!(
            "{framing:?} {counts:?} {} {:?} {} {whole:?}",
            in_band.is_empty(),
            mended.map(|m| (m.0, m.1)),
            size.is_some()
        )
    });
}

#[test]
fn any_file_that_is_repaired_ends_as_a_clip_that_is_not_repaired_again() {
    let clip = Clip::new();
    clip.write(h264());
    let finished = std::fs::read(&clip.path).expect("read");
    let torn = std::fs::read(&killed(h264()).path).expect("read");
    let words =
        ["moov", "moof", "mdat", "trun", "tfhd", "tfdt", "stsd", "avc1", "avcC", "mvhd", "mvex", "free", "uuid"];
    let seeds: [&[u8]; 3] = [&finished, &torn, b"\0\0\0\x08ftyp\0\0\0\x08moov"];
    crate::fuzz::run("mp4", &seeds, &words, |input| {
        std::fs::write(&clip.path, input).expect("write");
        let facts = match repair(&clip.path) {
            Ok(Some(facts)) => facts,
            Ok(None) => {
                assert_eq!(std::fs::read(&clip.path).expect("read"), input, "a file that is no clip is not touched");
                return "no clip".to_owned();
            }
            Err(error) => return crate::fuzz::kind(&error.to_string()),
        };
        assert_eq!(facts.bytes, clip.bytes());
        let again = repair(&clip.path).expect("repair");
        assert_eq!(again.as_ref(), Some(&facts), "a repaired clip is one");
        format!("{} {}x{} {}", facts.codec, facts.width, facts.height, facts.frames)
    });
}
