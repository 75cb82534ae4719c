//! The coverage ledger, as it is written.

use super::*;
use crate::archive::ledger::Ledger;
use crate::clock::Clock;
use crate::coverage::SpanState::{self, Offline, Shed, Watched};

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

    fn written(&self) -> Vec<(SpanState, u64, u64)> {
        let (since, until) = (jiff::Timestamp::MIN, jiff::Timestamp::MAX);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let spans = runtime.block_on(self.archive.store.spans_async("yard", since, until)).expect("spans");
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
fn what_the_disk_was_too_slow_for_is_told_as_such() {
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
