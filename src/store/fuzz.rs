//! Fuzz targets: rows of the index, and blocks of rows.

use miniz_oxide::deflate::compress_to_vec_zlib;

use super::packed::block;
use super::schema::{Row, decode};
use crate::event::Event;
use crate::segment::Segment;

const EVENT: &[u8] = include_bytes!("../../tests/fixtures/json/event.json");
const SEGMENT: &[u8] = include_bytes!("../../tests/fixtures/json/segment.json");
const UPLOAD: &[u8] = br#"{"id":"01M8G917K8Z5HWK319BWSQQQ1Z","item":{"upload":{"file":"clip.mp4","bytes":10130,"sha256":"7e3a"}},
"revision":1,"attempts":2,"created":{"wall":"2026-11-28T05:11:18Z","mono_ns":2432228651493,"boot_id":"bbaa","time_quality":"synchronised"},
"error":"timeout","class":"refused","progress":"{}"}"#;

#[test]
fn any_row_is_understood_or_unreadable() {
    let alert = [br#"{"event":"#, EVENT, br#","item":{"alert":"start"},"#, &UPLOAD[UPLOAD.len() - 220..]].concat();
    let words =
        ["null", "1e999", "\"\\ud800\"", "{\"alert\":\"end\"}", "{\"document\":{", "[[[[", "18446744073709551616"];
    crate::fuzz::run("row", &[UPLOAD, &alert, EVENT, SEGMENT], &words, |input| {
        let row = decode::<Row>(input).map(|row| format!("{:?}", std::mem::discriminant(&row.item)));
        let row = row.unwrap_or_else(|error| crate::fuzz::kind(&error.to_string()));
        let (event, segment) = (decode::<Event>(input).is_ok(), decode::<Segment>(input).is_ok());
        format!("{row} {event} {segment}")
    });
}

#[test]
fn any_block_is_read_or_damaged() {
    let entry =
        |n: u8, value: &[u8]| (sled::IVec::from([b"camera/yard/".as_slice(), &[n]].concat()), sled::IVec::from(value));
    let entries = [entry(1, UPLOAD), entry(2, UPLOAD), entry(3, b"short"), entry(9, b"")];
    let encoded = block::encode(&entries);
    let plain = miniz_oxide::inflate::decompress_to_vec_zlib(&encoded[1..]).expect("a block");
    // A long key that others repeat.
    let long = [b"\0\xe0\xd4\x03\0".as_slice(), &[b'k'; 60_000], b"\xe0\xd4\x03\x01\0k"].concat();
    let words = ["\u{ff}\u{ff}\x7f", "\0\0\0", "\x7f\x01\0"];
    crate::fuzz::run("block", &[&encoded, &plain, &long], &words, |input| {
        // As it stands, and as what a block holds.
        let packed = [&[block::MARK][..], &compress_to_vec_zlib(input, 1)].concat();
        [input, &packed]
            .map(|block| match block::decode(block) {
                Ok(entries) => {
                    let again = block::decode(&block::encode(&entries)).expect("what was written is read");
                    assert_eq!(again, entries);
                    let bytes: usize = entries.iter().map(|(key, value)| key.len() + value.len()).sum();
                    assert!(bytes <= 128 << 10, "{} bytes of input became {bytes}", input.len());
                    assert!(entries.is_sorted_by(|a, b| a.0 < b.0), "a scan would not end");
                    format!("{} entries", entries.len().min(8))
                }
                Err(error) => crate::fuzz::kind(&error.to_string()),
            })
            .join(", ")
    });
}
