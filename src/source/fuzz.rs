//! Fuzz targets: access units as cameras send them.

use super::access_point::AccessPoints;
use super::annexb;
use crate::clock::Mono;
use crate::frame::Codec;

const FILE: &[u8] = include_bytes!("../../tests/fixtures/gop.h264");

#[test]
fn any_access_unit_is_a_beginning_or_not() {
    let avcc = b"\0\x01\x0a\x01\x4d\x40\x1e\xff\xe1\0\x04\x67\x4d\0\x1e\x01\0\x02\x68\xee\0\0\0\x02\x65\x88\0\0\0\x03\x41\x9a\x02";
    let words = ["\0\0\0\x01", "\0\0\x01", "\x67", "\x68", "\x65", "\x06\x06\x01", "\0\0\x03", "\x26\x01", "\x42\x01"];
    let seeds: [&[u8]; 3] = [&[&[0, 0, 0], FILE].concat(), &[&[1, 0, 0], FILE].concat(), avcc];
    crate::fuzz::run("access", &seeds, &words, |input| {
        let [codec, high, low, rest @ ..] = input else { return "too short".to_owned() };
        let codec = if codec & 1 == 1 { Codec::H265 } else { Codec::H264 };
        let (record, data) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])).min(rest.len()));
        let access = AccessPoints::default().access(&codec, record, data, Mono(0));
        let sets = annexb::parameter_sets(&codec, data).map(|sets| annexb::nal_units(&sets).count());
        format!("{access:?} {sets:?} {}", annexb::has_start_code(data))
    });
}
