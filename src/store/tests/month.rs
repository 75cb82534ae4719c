//! The index of a box with sixteen cameras that recorded all the time for a month: made once, for `make bench-page`.

use std::path::Path;

use super::*;
use crate::clock::{Clock, Moment, TimeQuality};
use crate::coverage::{Span, SpanState};
use crate::event::Annotations;
use crate::segment::{self, Segment, SegmentState, Video};
use crate::store::op::Op;

const CAMERAS: u64 = 16;
const DAYS: u64 = 31;
const LABELS: [&str; 8] = ["person", "person", "person", "person", "car", "car", "bicycle", "dog"];
/// An hour in which a camera was away every so many hours.
const AWAY_EVERY: u64 = 97;
/// Rows that share commits.
const AT_ONCE: usize = 150;

#[test]
#[ignore = "a part of make bench-page, which names the folder"]
fn an_index_of_a_month() {
    let Ok(folder) = std::env::var("OUTPOST_BENCH_MONTH") else { panic!("OUTPOST_BENCH_MONTH names no folder") };
    let events = std::env::var("OUTPOST_BENCH_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    build(Path::new(&folder), events);
}

fn build(path: &Path, events: u64) {
    let month = Duration::from_secs(DAYS * 24 * 3600);
    let clock = Arc::new(SimulatedClock::new(Mono(1_000_000_000), SystemClock::new().wall() - month));
    clock.step_wall(clock.wall(), TimeQuality::Synchronised);
    let ids = IdSource::new(clock.clone(), None);
    let config = Config { path: path.to_owned(), deadline: Duration::from_secs(120), ..Config::default() };
    let store = Store::open(&config, &names(&[]), clock.clone()).expect("open");
    let minutes = DAYS * 24 * 60;
    let (mut recorded, mut ops) = (0, Vec::new());
    for minute in 0..minutes {
        for camera in 0..CAMERAS {
            ops.push(Ok(time_of(camera, minute, &ids, &clock)));
        }
        let due = events * (minute + 1) / minutes - recorded;
        for n in recorded..recorded + due {
            ops.push(Op::record(change(&ended(n, &ids, &clock), Vec::new()), &(clock.clone() as Arc<dyn Clock>)));
        }
        recorded += due;
        if ops.len() >= AT_ONCE || minute + 1 == minutes {
            store.0.write_all(ops.drain(..)).into_iter().for_each(|outcome| outcome.expect("write"));
        }
        clock.advance(Duration::from_secs(60));
    }
    store.close().expect("close");
}

fn camera_name(camera: u64) -> Arc<str> {
    format!("cam{:02}", camera + 1).into()
}

/// `seconds` after `moment`.
fn later(moment: &Moment, seconds: u64) -> Moment {
    let time = Duration::from_secs(seconds);
    let mono_ns = (moment.mono() + time).0;
    Moment { wall: moment.wall + time, mono_ns, ..moment.clone() }
}

/// A minute of recording, or the camera was away.
fn time_of(camera: u64, minute: u64, ids: &IdSource, clock: &SimulatedClock) -> Op {
    let (id, name, start) = (ids.next(), camera_name(camera), clock.now());
    let end = later(&start, 60);
    if (minute / 60 + camera * 7).is_multiple_of(AWAY_EVERY) {
        let reason = Some("no route to host".to_owned());
        return Op::Span(Box::new(Span {
            id,
            camera: name,
            state: SpanState::Offline,
            reason,
            from: start,
            until: end,
        }));
    }
    let media = MediaFile::new(Segment::file_name(id), 15_000_000, "0123456789abcdef".repeat(4));
    Op::Segment(Box::new(Segment {
        version: segment::SCHEMA_VERSION,
        id,
        device: "box".into(),
        camera: name,
        state: SegmentState::Closed,
        start,
        end: Some(end),
        video: Some(Video { media, codec: "h264".to_owned(), width: 1920, height: 1080 }),
    }))
}

/// An event that is over; one in a thousand has a note.
fn ended(n: u64, ids: &IdSource, clock: &SimulatedClock) -> Event {
    let at = |n: u64| usize::try_from(n % 8).expect("small");
    let mut event = fixture::event(ids.next(), &camera_name(n % CAMERAS), clock.now());
    event.label = LABELS[at(n / CAMERAS)].into();
    event.state = EventState::Ended;
    event.end = Some(later(&clock.now(), 12));
    event.filed = Some(clock.wall().strftime("%Y/%m/%d").to_string().into());
    if n.is_multiple_of(1000) {
        let note = format!("courier {n}").into();
        event.annotations =
            Some(Annotations { tags: Vec::new(), note, verdict: None, by: "anna".into(), at: clock.now() });
    }
    event
}
