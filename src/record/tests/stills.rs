//! Stills of cameras with a substream: made of the main stream, where that is possible.

use tokio_util::sync::CancellationToken;

use super::super::main_still::{self, StillOrders};
use super::super::{StillQueue, StillTurn};
use super::*;
use crate::asset::{SNAPSHOT, SNAPSHOT_BOXES, THUMBNAIL};
use crate::decode::{self, Decoder};
use crate::detection::BBox;
use crate::event::Event;
use crate::frame::{Frame, Packet, Rgb};
use crate::load::LoadLevel;
use crate::reception::Reception;
use crate::supervise::{Context, OwnedThread, Spec};
use crate::waiting::block_until;

const MS: u64 = 1_000_000;
/// The picture that detection looks at.
const SMALL: (u32, u32) = (64, 36);
const MAIN: (u32, u32) = (320, 192);

fn at(ms: u64) -> Mono {
    Mono(ms * MS)
}

fn look(ms: u64) -> Look {
    let (width, height) = SMALL;
    let data = vec![90; 3 * (width * height) as usize];
    let frame = Frame { at: at(ms), picture: Arc::new(Rgb { width, height, data }) };
    Look { frame, bbox: BBox { x: 0.4, y: 0.4, w: 0.2, h: 0.4 }, score: 0.8 }
}

fn better(look: Look) -> Change {
    Change { label: "person".into(), score: 0.9, count: 1, labels: Vec::new(), zones: Vec::new(), look: Some(look) }
}

/// Pictures from 0 on, 100 ms apart, with a key frame each 2 s.
fn main_stream(pictures: u32, coding: &str) -> Vec<Packet> {
    let coded = format!("size=320x192 -frames:v {pictures} -c:v libx264 -g 20 -pix_fmt yuv420p {coding}");
    let times = (0..).map(|n| at(n * 100));
    packets(&coded, "a.mp4").into_iter().zip(times).map(|(packet, at)| Packet { at, ..packet }).collect()
}

/// A box with one camera that has a substream.
struct Bench {
    dir: tempfile::TempDir,
    archive: Archive,
    recorder: Recorder,
    open: Event,
    /// Makes the stills, where there is one.
    maker: Option<(OwnedThread<StillOrders>, Context<StillOrders>)>,
}

impl Bench {
    fn new(capacity: usize, has_maker: bool) -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let archive = archive(dir.path());
        let (queue, orders) = StillQueue::new(capacity);
        let camera: Arc<str> = "yard".into();
        let (pressure, clock) = (archive.pressure.clone(), archive.clock.clone());
        let mut runs = main_still::runs(&camera, StillTurn::default(), pressure, clock);
        let part = Context::new(CancellationToken::new(), Spec::new("stills").register(&archive.heartbeats), orders);
        let maker = has_maker.then(|| {
            let thread = OwnedThread::start("sti-yard", &part, runs().expect("work")).expect("a thread");
            (thread, part.clone())
        });
        let config = RecordConfig { post_roll: Duration::from_secs(2), ..RecordConfig::default() };
        let recorder =
            Recorder::start_with(archive.clone(), camera, config, Reception::unknown(), Some(queue)).expect("recorder");
        // A queue without a thread stays open, as one whose thread is busy.
        std::mem::forget(part);
        Self { dir, archive, recorder, open: event(1, "open"), maker }
    }

    fn size(&self) -> Option<(u32, u32)> {
        image::image_dimensions(self.archive.layout.folder("yard", self.open.id).join(SNAPSHOT)).ok()
    }

    /// The event once it is over, and its folder.
    fn over(self) -> (Event, std::path::PathBuf, tempfile::TempDir) {
        let known = || self.archive.store.events().get(self.open.id).wait().expect("events");
        block_until("the event is over", || known().is_some_and(|event| event.state == EventState::Ended));
        let event = known().expect("just seen");
        self.recorder.stop();
        if let Some((thread, part)) = self.maker {
            part.stop().cancel();
            thread.join().expect("no panic");
        }
        (event, self.archive.layout.folder("yard", self.open.id), self.dir)
    }
}

/// Which picture of `stream` the still shows, by what is in it.
fn shown(still: &std::path::Path, stream: &[Packet]) -> Mono {
    let still = image::open(still).expect("a still").into_rgb8();
    let mut decoder = Decoder::new(decode::Config::default());
    let mut frames: Vec<Frame> = stream.iter().flat_map(|packet| decoder.decode(packet).expect("decode")).collect();
    frames.extend(decoder.flush());
    let difference = |frame: &Frame| -> u64 {
        let rgb = frame.picture.rgb(still.width(), still.height()).expect("convert");
        rgb.data.iter().zip(still.as_raw()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum()
    };
    frames.iter().min_by_key(|frame| difference(frame)).expect("pictures").at
}

/// Works with: cameras | a substream that detection looks at | the stills of an event are the main stream's picture nearest to the look, in its size
#[test]
fn stills_are_the_picture_of_the_main_stream_nearest_to_the_look() {
    for coding in ["-bf 0", "-bf 2 -x264-params b-adapt=0:open-gop=1"] {
        let stream = main_stream(130, coding);
        let bench = Bench::new(2, true);
        for packet in &stream {
            match packet.at {
                now if now == at(5000) => bench.recorder.begin(bench.open.clone(), look(4910)),
                now if now == at(6000) => {
                    block_until("the event in progress has a large snapshot", || bench.size() == Some(MAIN));
                    let folder = bench.archive.layout.folder("yard", bench.open.id);
                    assert_eq!(shown(&folder.join(SNAPSHOT), &stream).0.abs_diff(at(4900).0) / MS, 0, "{coding}");
                }
                // Two better looks, of which the second is the best; its picture comes later than it.
                now if now == at(7000) => bench.recorder.update(bench.open.id, better(look(6500))),
                now if now == at(8100) => bench.recorder.update(bench.open.id, better(look(8340))),
                now if now == at(10_000) => bench.recorder.end(bench.open.id, now),
                _ => {}
            }
            bench.recorder.packet(packet);
        }
        let (ended, folder, _dir) = bench.over();
        assert_eq!(shown(&folder.join(SNAPSHOT), &stream).0.abs_diff(at(8300).0) / MS, 0, "{coding}");
        assert_eq!(image::image_dimensions(folder.join(SNAPSHOT_BOXES)).ok(), Some(MAIN));
        // The files are those that sidecar and index name.
        assert_eq!(read_event(&folder).expect("a sidecar"), ended);
        let names: Vec<_> = ended.pictures.iter().map(|picture| picture.file.as_str()).collect();
        assert_eq!(names, [THUMBNAIL, SNAPSHOT, SNAPSHOT_BOXES]);
        for picture in &ended.pictures {
            assert_eq!(&measure(&folder, &picture.file).expect("measure"), picture);
        }
    }
}

/// An event that begins and has its only look at these times, in milliseconds, keeps the pictures of the substream.
fn assert_small_stands<'a>(bench: Bench, stream: impl IntoIterator<Item = &'a Packet>, (begin, seen): (u64, u64)) {
    for packet in stream {
        match packet.at {
            now if now == at(begin) => bench.recorder.begin(bench.open.clone(), look(seen)),
            now if now == at(10_000) => bench.recorder.end(bench.open.id, now),
            _ => {}
        }
        bench.recorder.packet(packet);
    }
    let (ended, folder, _dir) = bench.over();
    assert_eq!((image::image_dimensions(folder.join(SNAPSHOT)).ok(), ended.pictures.len()), (Some(SMALL), 3));
}

#[test]
fn the_small_picture_stands_where_the_ring_has_none_of_that_time() {
    let stream = main_stream(130, "-bf 0");
    let bench = Bench::new(2, true);
    // The stream comes back at 5 s; the event's only look was before.
    assert_small_stands(bench, stream.iter().filter(|packet| packet.at >= at(6000)), (6500, 5000));
}

#[test]
fn a_box_with_too_much_to_do_decodes_nothing_for_stills() {
    let bench = Bench::new(2, true);
    bench.archive.pressure.set_level(LoadLevel::LightModel);
    assert_small_stands(bench, &main_stream(130, "-bf 0"), (5000, 4910));
}

#[test]
fn an_order_for_which_there_is_no_room_is_counted_and_the_event_ends() {
    let bench = Bench::new(0, false);
    let metrics = bench.archive.metrics.clone();
    for packet in &main_stream(130, "-bf 0") {
        match packet.at {
            now if now == at(5000) => bench.recorder.begin(bench.open.clone(), look(4910)),
            now if now == at(10_000) => bench.recorder.end(bench.open.id, now),
            _ => {}
        }
        bench.recorder.packet(packet);
    }
    let (ended, folder, _dir) = bench.over();
    assert_eq!((image::image_dimensions(folder.join(SNAPSHOT)).ok(), ended.pictures.len()), (Some(SMALL), 3));
    assert_eq!(metrics.dropped.get_or_create(&crate::metrics::dropped("yard", "stills_queue")).get(), 1);
}
