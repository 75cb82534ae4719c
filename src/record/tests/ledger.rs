//! The coverage ledger, as it is written.

use super::*;
use crate::clock::{Clock, TimeQuality};
use crate::coverage::Span;
use crate::coverage::SpanState::{self, Offline, Shed, Watched};
use crate::health::CameraState;
use crate::record::ledger::Ledger;

/// A camera's ledger on a clock that the test moves, and what it wrote: state, seconds from, seconds until.
struct Book {
    _dir: tempfile::TempDir,
    archive: Archive,
    clock: Arc<SimulatedClock>,
    start: Mono,
    ledger: Ledger,
}

impl Book {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let (archive, clock) = archive_and_clock(dir.path());
        let start = clock.mono();
        Self { ledger: Ledger::new("yard".into(), start), _dir: dir, archive, clock, start }
    }

    /// A packet every 100 ms from second `from` to second `until`.
    fn packets(&mut self, from: u64, until: u64) {
        for tenth in from * 10..until * 10 {
            self.at(Duration::from_millis(tenth * 100));
            self.ledger.packet(&self.archive, self.clock.mono(), None, None);
        }
    }

    fn at(&self, at: Duration) {
        let wanted = self.start + at;
        self.clock.advance(wanted.since(self.clock.mono()));
    }

    fn spans(&self) -> Vec<Span> {
        self.archive.store.spans("yard", jiff::Timestamp::MIN, jiff::Timestamp::MAX).expect("spans")
    }

    fn written(&self) -> Vec<(SpanState, u64, u64)> {
        let spans = self.spans();
        let second = |moment: &crate::clock::Moment| (moment.mono().since(self.start).as_secs_f64()).round() as u64;
        spans.iter().map(|span| (span.state, second(&span.from), second(&span.until))).collect()
    }
}

#[test]
fn a_camera_that_comes_and_goes() {
    let mut book = Book::new();
    book.packets(10, 60);
    book.at(Duration::from_secs(62));
    book.ledger.look_after(&book.archive, book.clock.mono());
    assert_eq!(book.written().last().map(|span| span.0), Some(Watched), "two seconds are no loss");
    book.at(Duration::from_secs(65));
    book.ledger.look_after(&book.archive, book.clock.mono());
    book.packets(80, 90);
    book.at(Duration::from_secs(90));
    book.ledger.close(&book.archive, book.clock.mono());
    assert_eq!(book.written(), [(Offline, 0, 10), (Watched, 10, 60), (Offline, 60, 80), (Watched, 80, 90)]);
}

#[test]
fn what_the_disk_was_too_slow_for_is_reported_as_such() {
    let mut book = Book::new();
    book.packets(0, 20);
    book.at(Duration::from_secs(25));
    book.ledger.packet(&book.archive, book.clock.mono(), Some("the disk is too slow"), None);
    book.packets(26, 30);
    book.ledger.close(&book.archive, book.clock.mono());
    assert_eq!(book.written(), [(Watched, 0, 20), (Shed, 20, 25), (Watched, 25, 30)]);
}

#[test]
fn a_power_cut_takes_at_most_half_a_minute_from_the_ledger() {
    let mut book = Book::new();
    book.packets(0, 100);
    let written = book.written();
    assert!(matches!(written[..], [(Watched, 0, until)] if (69..=99).contains(&until)), "{written:?}");
}

#[test]
fn a_camera_that_is_slow_by_nature_is_not_offline_between_its_pictures() {
    let mut book = Book::new();
    let camera: Arc<str> = "yard".into();
    book.archive.health.camera(&camera, |health| health.usual_pause = Duration::from_secs(16));
    for picture in 0..10 {
        book.at(Duration::from_secs(picture * 16));
        book.ledger.packet(&book.archive, book.clock.mono(), None, None);
        book.at(Duration::from_secs(picture * 16 + 15));
        book.ledger.look_after(&book.archive, book.clock.mono());
    }
    book.ledger.close(&book.archive, book.clock.mono());
    let states: Vec<_> = book.written().into_iter().map(|(state, ..)| state).collect();
    assert_eq!(states, [Watched], "{:?}", book.written());
}

#[test]
fn a_file_that_was_played_to_its_end_is_not_offline() {
    let mut book = Book::new();
    book.packets(0, 10);
    book.archive.health.camera(&"yard".into(), |health| health.state = CameraState::Finished);
    for second in [11, 60, 600] {
        book.at(Duration::from_secs(second));
        book.ledger.look_after(&book.archive, book.clock.mono());
    }
    book.ledger.close(&book.archive, book.clock.mono());
    assert_eq!(book.written(), [(Watched, 0, 10)]);
}

#[test]
fn the_first_reason_that_the_feed_gives_is_that_of_the_whole_absence() {
    let mut book = Book::new();
    let camera: Arc<str> = "yard".into();
    let says = |book: &Book, reason: Option<&str>| {
        book.archive.health.camera(&camera, |health| health.reason = reason.map(str::to_owned));
    };
    book.packets(0, 10);
    for (second, reason) in [(15, None), (20, Some("no picture for 10 s")), (25, Some("connection refused"))] {
        book.at(Duration::from_secs(second));
        says(&book, reason);
        book.ledger.look_after(&book.archive, book.clock.mono());
        assert_eq!(book.spans().last().map(|span| span.reason.is_some()), Some(reason.is_some()), "at once");
    }
    says(&book, None);
    book.packets(30, 40);
    book.ledger.close(&book.archive, book.clock.mono());
    assert_eq!(book.written(), [(Watched, 0, 10), (Offline, 10, 30), (Watched, 30, 40)]);
    let reasons: Vec<_> = book.spans().into_iter().map(|span| span.reason).collect();
    assert_eq!(reasons, [None, Some("no picture for 10 s".to_owned()), None]);
}

/// Wall times of a clock that was set, and what it is worth then.
const SET_TO: [(&str, TimeQuality); 5] = [
    ("2026-11-22T10:00:55Z", TimeQuality::Unsynchronised),
    ("2026-11-22T10:00:05Z", TimeQuality::Unsynchronised),
    ("2026-11-22T07:00:00Z", TimeQuality::Unsynchronised),
    ("2036-01-01T00:00:00Z", TimeQuality::Unsynchronised),
    ("1970-01-01T00:00:00Z", TimeQuality::Implausible),
];

#[test]
fn a_clock_that_is_set_tears_the_ledger_where_it_was_set_and_makes_no_second_more_or_less() {
    for before in [TimeQuality::Synchronised, TimeQuality::Unsynchronised] {
        for (wall, quality) in SET_TO {
            let mut book = Book::new();
            book.clock.step_wall(book.clock.wall(), before);
            book.packets(0, 20);
            let said = book.spans();
            book.clock.step_wall(wall.parse().expect("a time"), quality);
            let set_at = book.clock.wall();
            book.packets(20, 70);
            book.ledger.close(&book.archive, book.clock.mono());
            assert_eq!(book.written(), [(Watched, 0, 20), (Watched, 20, 70)], "{before} {wall}");
            let spans = book.spans();
            assert_eq!(spans[0].from, said[0].from, "what was said stays");
            assert!(spans[1].from.wall >= set_at, "{wall}");
            for span in &spans {
                let (wall, mono) =
                    (span.until.wall.duration_since(span.from.wall), span.until.mono().since(span.from.mono()));
                assert!((wall.as_secs_f64() - mono.as_secs_f64()).abs() < 0.01, "{wall}: {span:?}");
            }
        }
    }
}

#[test]
fn a_clock_that_is_put_right_takes_the_entry_in_progress_with_it() {
    let mut book = Book::new();
    book.clock.step_wall("1970-01-01T00:00:09Z".parse().expect("a time"), TimeQuality::Implausible);
    book.packets(0, 20);
    book.clock.step_wall("2026-11-22T10:00:20Z".parse().expect("a time"), TimeQuality::Synchronised);
    book.packets(20, 40);
    // And is set wrong after that: what was known stays known.
    book.clock.step_wall("2036-01-01T00:00:00Z".parse().expect("a time"), TimeQuality::Unsynchronised);
    book.packets(40, 60);
    book.ledger.close(&book.archive, book.clock.mono());
    let begin = |span: &Span| (span.from.wall.as_second() + 2) / 10;
    let time = |text: &str| text.parse::<jiff::Timestamp>().expect("a time").as_second() / 10;
    let begins: Vec<i64> = book.spans().iter().map(begin).collect();
    assert_eq!(begins, [time("2026-11-22T10:00:00Z"), time("2036-01-01T00:00:00Z")], "{:?}", book.spans());
}
