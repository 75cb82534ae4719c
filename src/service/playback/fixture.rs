//! Real recordings on a box of the tests.

use std::time::Duration;

use super::super::fixture::{Bench, id};
use crate::clock::{Clock, Mono};
use crate::frame::Packet;
use crate::mux::{self, ClipFacts, ClipWriter};
use crate::segment::{SCHEMA_VERSION, Segment, SegmentState, Video};

/// Two key frames a second and 30 pictures in all, ten a second, some of them reordered.
pub(crate) const REORDERED: &str =
    "size=160x96 -t 3 -c:v libx264 -preset veryfast -g 5 -bf 2 -x264-params b-adapt=0:scenecut=0 -pix_fmt yuv420p";

/// Writes `packets` to `path`.
pub(crate) fn write(path: &std::path::Path, packets: &[Packet]) -> ClipFacts {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("make the folder");
    let mut writer = ClipWriter::create(path, &mux::Config::default()).expect("create");
    packets.iter().for_each(|packet| writer.write(packet).expect("write"));
    writer.finish().expect("finish")
}

/// Records a segment of `packets` that begins at `at` on the box's clock.
pub(crate) fn segment(bench: &Bench, n: u64, camera: &str, at: Mono, packets: &[Packet]) -> Segment {
    let name = Segment::file_name(id(n));
    let facts = write(&bench.archive.layout().recordings(camera).join(&name), packets);
    let clock = &*bench.clock;
    let segment = Segment {
        version: SCHEMA_VERSION,
        id: id(n),
        device: "box-7".into(),
        camera: camera.into(),
        state: SegmentState::Closed,
        start: clock.moment(at),
        end: Some(clock.moment(at + facts.duration)),
        video: Some(Video {
            media: crate::event::MediaFile::new(name, facts.bytes, "00".repeat(32)),
            codec: facts.codec,
            width: facts.width,
            height: facts.height,
        }),
    };
    bench.store.ledger().record_segment(segment.clone()).expect("record");
    segment
}

/// Three segments of 3 s on camera `yard`: two without a gap, and one 5 s later; all before now. Gives when the first begins.
pub(crate) fn three_segments(bench: &Bench, coding: &str) -> jiff::Timestamp {
    bench.clock.advance(Duration::from_secs(60));
    let packets = mux::tests::packets(coding, "a.mp4");
    let begin = Mono(bench.clock.mono().0 - 30_000_000_000);
    for (n, after) in [(100, 0), (101, 3), (102, 11)] {
        segment(bench, n, "yard", begin + Duration::from_secs(after), &packets);
    }
    bench.clock.moment(begin).wall
}
