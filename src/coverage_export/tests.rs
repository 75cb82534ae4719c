//! The accounts of days, as they are written and queued.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::Export;
use crate::archive::Archive;
use crate::archive::bench::{archive_and_clock, queued};
use crate::clock::{Clock, Moment, SimulatedClock, TimeQuality};
use crate::coverage::{Account, Coverage, Span, SpanState};
use crate::retention::delete_accounts;
use crate::timekeeper::Timekeeper;

const HOUR: Duration = Duration::from_secs(3600);

/// A box with a camera whose ledger the test writes.
struct Exporter {
    dir: tempfile::TempDir,
    archive: Archive,
    clock: Arc<SimulatedClock>,
    keeper: Timekeeper,
    export: Export,
}

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

impl Exporter {
    fn new(wall: &str, quality: TimeQuality) -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let (archive, clock) = archive_and_clock(dir.path());
        clock.step_wall(time(wall), quality);
        let (keeper, export) = parts(&archive);
        Self { dir, archive, clock, keeper, export }
    }

    /// Lets the timekeeper work until it has nothing more to do. Returns how many files are queued.
    fn work(&mut self) -> u64 {
        for _ in 0..100 {
            self.keeper.look().expect("look");
            self.export.step(self.keeper.is_corrected()).expect("export");
        }
        queued(&self.archive, "upload/cloud")
    }

    /// The camera gave pictures from now on for so long.
    fn watch(&self, length: Duration) {
        let from = self.clock.now();
        self.clock.advance(length);
        self.put(SpanState::Watched, from, self.clock.now());
    }

    fn put(&self, state: SpanState, from: Moment, until: Moment) {
        let id = self.archive.ids.next();
        self.archive
            .store
            .record_span(Span { id, camera: "yard".into(), state, reason: None, from, until })
            .expect("record");
    }

    fn days(&self) -> Vec<String> {
        let Ok(files) = fs::read_dir(self.dir.path().join("coverage/yard")) else { return Vec::new() };
        let mut days: Vec<String> =
            files.flatten().map(|file| file.file_name().to_string_lossy().into_owned()).collect();
        days.sort();
        days
    }

    fn account(&self, day: &str) -> Account {
        let text = fs::read(self.dir.path().join(format!("coverage/yard/{day}.json"))).expect("an account");
        let account: Account = serde_json::from_slice(&text).expect("JSON");
        let mut reached = account.from;
        for interval in &account.intervals {
            assert_eq!(interval.from, reached, "{account:?}");
            reached = interval.until;
        }
        assert_eq!((reached, account.from), (account.until, time(&format!("{day}T00:00:00Z"))), "{account:?}");
        account
    }

    /// Another boot that shows `wall`, and a daemon that knows what the disk says.
    fn reboot(&mut self, wall: &str, quality: TimeQuality) {
        self.clock.reboot(time(wall));
        self.clock.step_wall(time(wall), quality);
        (self.keeper, self.export) = parts(&self.archive);
    }
}

fn parts(archive: &Archive) -> (Timekeeper, Export) {
    let cameras = vec!["yard".to_owned()];
    let keeper = Timekeeper::new(archive.clone(), cameras.clone(), archive.ids.next());
    (keeper, Export::new(archive.clone(), cameras))
}

/// Hours by state.
fn hours(account: &Account) -> Vec<(Coverage, f64)> {
    let hours = |from: Timestamp, until: Timestamp| until.duration_since(from).as_secs_f64() / 3600.0;
    account.intervals.iter().map(|i| (i.state, (hours(i.from, i.until) * 100.0).round() / 100.0)).collect()
}

use Coverage::{Stopped, Watched};

#[test]
fn a_day_is_exported_every_six_hours_and_once_more_when_it_is_over() {
    let mut exporter = Exporter::new("2026-11-22T00:00:00Z", TimeQuality::Synchronised);
    assert_eq!((exporter.work(), exporter.days()), (0, Vec::new()), "nothing to export yet");
    exporter.watch(HOUR * 6);
    assert_eq!((exporter.work(), exporter.days()), (1, vec!["2026-11-22.json".to_owned()]));
    let account = exporter.account("2026-11-22");
    assert_eq!((hours(&account), account.complete), (vec![(Watched, 6.0)], false));
    exporter.watch(HOUR * 5);
    exporter.work();
    assert_eq!(exporter.account("2026-11-22"), account, "it is not time yet");
    exporter.watch(HOUR * 13);
    exporter.work();
    assert_eq!(exporter.days().len(), 1);
    exporter.clock.advance(Duration::from_secs(600));
    assert_eq!(exporter.work(), 1, "the file that waits was replaced");
    let account = exporter.account("2026-11-22");
    assert_eq!((hours(&account), account.complete), (vec![(Watched, 24.0)], true));
    // That was the last word.
    let written = account.written.clone();
    exporter.watch(HOUR * 5);
    exporter.work();
    assert_eq!(exporter.account("2026-11-22").written, written);
}

#[test]
fn days_that_the_box_missed_are_exported_when_it_is_back() {
    let mut exporter = Exporter::new("2026-11-22T00:00:00Z", TimeQuality::Synchronised);
    exporter.watch(HOUR * 3);
    exporter.work();
    exporter.reboot("2026-11-25T06:00:00Z", TimeQuality::Synchronised);
    assert_eq!(exporter.work(), 3);
    assert_eq!(exporter.days(), ["2026-11-22.json", "2026-11-23.json", "2026-11-24.json"]);
    assert_eq!(hours(&exporter.account("2026-11-22")), [(Watched, 3.0), (Stopped, 21.0)]);
    for day in ["2026-11-23", "2026-11-24"] {
        assert_eq!(hours(&exporter.account(day)), [(Stopped, 24.0)]);
    }
}

#[test]
fn years_of_absence_are_exported_as_a_month_alone() {
    let mut exporter = Exporter::new("2026-11-22T00:00:00Z", TimeQuality::Synchronised);
    exporter.work();
    exporter.reboot("2032-11-25T06:00:00Z", TimeQuality::Synchronised);
    exporter.work();
    let days = exporter.days();
    assert_eq!((days.len(), days[0].as_str(), days[1].as_str()), (32, "2026-11-22.json", "2032-10-25.json"));
}

#[test]
fn nothing_is_exported_while_the_time_may_still_come_and_a_correction_is_exported() {
    let mut exporter = Exporter::new("1970-01-01T23:00:00Z", TimeQuality::Implausible);
    let begin = exporter.clock.now();
    exporter.clock.advance(Duration::from_secs(300));
    exporter.put(SpanState::Watched, begin, exporter.clock.now());
    assert_eq!(exporter.work(), 0);
    // The wait is over before the time comes: the wrong day is exported, as the first day of a box without a clock.
    exporter.clock.advance(exporter.archive.config.time_hold);
    exporter.work();
    exporter.clock.advance(HOUR * 2);
    assert_eq!((exporter.work(), exporter.days()), (1, vec!["1970-01-01.json".to_owned()]));
    let account = exporter.account("1970-01-01");
    assert_eq!(
        (hours(&account), account.written.time_quality),
        (vec![(Stopped, 23.0), (Watched, 0.08), (Stopped, 0.92)], TimeQuality::Implausible)
    );

    exporter.clock.step_wall(time("2026-11-23T01:00:00Z"), TimeQuality::Synchronised);
    exporter.work();
    assert_eq!(hours(&exporter.account("1970-01-01")), [(Stopped, 24.0)], "it was another day");
    exporter.clock.advance(HOUR * 24);
    exporter.work();
    assert_eq!(exporter.days(), ["1970-01-01.json", "2026-11-23.json"]);
}

#[test]
fn a_day_that_a_clock_ahead_exported_is_taken_back() {
    let mut exporter = Exporter::new("2036-05-05T12:00:00Z", TimeQuality::Unsynchronised);
    exporter.clock.advance(exporter.archive.config.time_hold);
    exporter.work();
    exporter.watch(HOUR * 7);
    exporter.work();
    let wrong = exporter.account("2036-05-05");
    assert!(hours(&wrong).contains(&(Watched, 7.0)), "{wrong:?}");
    exporter.clock.step_wall(time("2026-11-22T09:00:00Z"), TimeQuality::Synchronised);
    exporter.work();
    assert_eq!(exporter.account("2036-05-05").intervals, [], "nothing is known of a day that has not come");
    exporter.clock.advance(HOUR * 24);
    exporter.work();
    let right = exporter.account("2026-11-22");
    assert_eq!(hours(&right), [(Stopped, 2.0), (Watched, 7.0), (Stopped, 15.0)]);
}

#[test]
fn a_power_cut_in_the_middle_of_a_day_leaves_the_account_of_it_to_the_next_boot() {
    let mut exporter = Exporter::new("2026-11-22T20:00:00Z", TimeQuality::Synchronised);
    exporter.work();
    exporter.watch(HOUR);
    // It is back on the next day, and does not know that at first.
    exporter.reboot("2026-11-22T21:00:00Z", TimeQuality::Unsynchronised);
    assert_eq!(exporter.work(), 0);
    exporter.watch(HOUR / 10);
    exporter.clock.step_wall(time("2026-11-23T05:00:00Z"), TimeQuality::Synchronised);
    exporter.work();
    let account = exporter.account("2026-11-22");
    assert_eq!((hours(&account), account.complete), (vec![(Stopped, 20.0), (Watched, 1.0), (Stopped, 3.0)], true));
    assert_eq!(exporter.days(), ["2026-11-22.json"], "today has time");
}

#[test]
fn old_accounts_are_deleted_by_their_day_and_not_before_they_were_delivered() {
    let mut exporter = Exporter::new("2026-11-22T00:00:00Z", TimeQuality::Synchronised);
    exporter.work();
    exporter.reboot("2026-11-25T06:00:00Z", TimeQuality::Synchronised);
    assert_eq!(exporter.work(), 3);
    let delete = |exporter: &Exporter, before: &str, waiting_too| {
        let deleted = delete_accounts(&exporter.archive, time(before), waiting_too).expect("delete");
        (deleted, exporter.days().len())
    };
    assert_eq!(delete(&exporter, "2026-11-24T00:00:00Z", false), (0, 3));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let outbox = exporter.archive.store.outbox("upload/cloud").expect("outbox");
        for lease in outbox.lease(2).await.expect("lease") {
            outbox.ack(&lease).await.expect("ack");
        }
    });
    assert_eq!(delete(&exporter, "2026-11-23T23:59:59Z", false), (1, 2), "22 is over, 23 is not");
    assert_eq!(delete(&exporter, "2026-11-25T00:00:00Z", false), (1, 1), "24 waits");
    assert_eq!(delete(&exporter, "2026-11-25T00:00:00Z", true), (1, 0));
    assert!(exporter.dir.path().join("coverage/open.json").is_file());
}

#[test]
fn no_day_is_exported_before_all_of_it_is_taken_in() {
    let mut exporter = Exporter::new("2026-11-22T00:00:00Z", TimeQuality::Synchronised);
    exporter.work();
    exporter.archive.set_incomplete(true);
    exporter.watch(HOUR * 6);
    assert_eq!((exporter.work(), exporter.days()), (0, Vec::new()));
    exporter.archive.set_incomplete(false);
    assert_eq!((exporter.work(), exporter.days()), (1, vec!["2026-11-22.json".to_owned()]));
}
