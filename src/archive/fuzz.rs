//! Fuzz targets: the JSON files beside what they describe.

use std::fs;

use super::sidecar::look_at_segment;
use super::{SIDECAR, Sidecar, look_at_event};
use crate::event::Event;
use crate::segment::Segment;

const EVENT: &[u8] = include_bytes!("../../tests/fixtures/json/event.json");
const SEGMENT: &[u8] = include_bytes!("../../tests/fixtures/json/segment.json");

#[test]
fn any_sidecar_is_one_or_is_called_damaged() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let event: Event = serde_json::from_slice(EVENT).expect("an event");
    let words =
        ["null", "1e999", "\"\\ud800\"", "../clip.mp4", "9999-12-31T23:59:59.999999999Z", "{", "[[[[[[[[", "tombstone"];
    crate::fuzz::run("sidecar", &[EVENT], &words, |input| {
        fs::write(dir.path().join(SIDECAR), input).expect("write");
        match look_at_event(dir.path(), &event.camera, event.id) {
            Ok(Sidecar::Good(read)) => {
                // What was taken is written again, with its boxes rounded, and must be the same from then on.
                let written = serde_json::to_vec(&read).expect("serialise");
                let again: Event = serde_json::from_slice(&written).expect("what was written is read");
                let again = serde_json::to_vec(&again).expect("serialise");
                assert_eq!(String::from_utf8_lossy(&again), String::from_utf8_lossy(&written));
                assert!(read.media().all(|media| !media.file.contains('/')), "leaves its folder");
                format!("good, {:?}, {} files", read.state, read.media().count())
            }
            Ok(Sidecar::Damaged(reason)) => crate::fuzz::kind(&reason),
            Ok(Sidecar::Missing) => "missing".to_owned(),
            Err(error) => crate::fuzz::kind(&format!("{error:#}")),
        }
    });
}

#[test]
fn any_segment_sidecar_is_one_or_is_called_damaged() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let segment: Segment = serde_json::from_slice(SEGMENT).expect("a segment");
    let words = ["null", "1e999", "\"\\ud800\"", "../x.mp4", "-009999-01-01T00:00:00Z", "[[[["];
    crate::fuzz::run("segment", &[SEGMENT], &words, |input| {
        fs::write(dir.path().join(Segment::sidecar_name(segment.id)), input).expect("write");
        match look_at_segment(dir.path(), &segment.camera, segment.id) {
            Ok(Sidecar::Good(read)) => {
                let again: Segment =
                    serde_json::from_slice(&serde_json::to_vec(&read).expect("serialise")).expect("read");
                assert_eq!(again, *read);
                assert_eq!((read.id, &read.camera), (segment.id, &segment.camera));
                let own = Segment::file_name(segment.id);
                assert!(read.video.iter().all(|video| video.media.file == own), "names another file");
                format!("good, {:?} {}", read.state, read.video.is_some())
            }
            Ok(Sidecar::Damaged(reason)) => crate::fuzz::kind(&reason),
            Ok(Sidecar::Missing) => "missing".to_owned(),
            Err(error) => crate::fuzz::kind(&format!("{error:#}")),
        }
    });
}
