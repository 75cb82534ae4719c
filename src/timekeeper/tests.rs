//! Boxes that boot without a clock.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::archive::bench::{archive_and_clock, event, id, put_sidecar, queued, read_event};
use crate::clock::{Clock, Mono, SimulatedClock, TimeQuality};
use crate::recovery::recover;
use crate::segment::{Segment, SegmentState};
use crate::store::SegmentQuery;

const HOUR: Duration = Duration::from_secs(3600);

fn time(text: &str) -> jiff::Timestamp {
    text.parse().expect("a time")
}

/// A box that booted a few seconds ago and shows `wall`, which is not synchronised.
fn booted_at(path: &Path, wall: &str, quality: TimeQuality) -> (Archive, Arc<SimulatedClock>) {
    let (archive, clock) = archive_and_clock(path);
    clock.step_wall(time(wall), quality);
    (archive, clock)
}

fn keeper(archive: &Archive) -> Timekeeper {
    Timekeeper::new(archive.clone(), vec!["yard".to_owned()], id(1000))
}

/// An event of this boot that is over; recorded as the recorder does it.
fn finished(archive: &Archive, n: u128) -> Event {
    let mut open = event(n, "open");
    open.start = archive.clock.now();
    put_sidecar(archive, &open);
    archive.store.events().record(store::Change { event: open, deliveries: Vec::new() }).expect("record");
    recover(archive, id(1000), &mut |_| ()).expect("finish it");
    known(archive, n)
}

fn known(archive: &Archive, n: u128) -> Event {
    let event = archive.store.events().get(id(n)).wait().expect("read").expect("there");
    let folder = archive.layout.folder("yard", event.id);
    assert_eq!(read_event(&folder).expect("a sidecar"), event, "disk and index say the same");
    event
}

fn files_queued(archive: &Archive) -> u64 {
    queued(archive, "upload/cloud")
}

#[test]
fn files_wait_for_the_clock_and_go_under_the_right_day() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (archive, clock) = booted_at(dir.path(), "1970-01-01T00:00:07Z", TimeQuality::Implausible);
    let mut keeper = keeper(&archive);
    let event = finished(&archive, 1);
    assert_eq!((event.filed, files_queued(&archive), queued(&archive, "mqtt")), (None, 0, 1), "only alerts go at once");
    keeper.look().expect("look");
    assert_eq!(files_queued(&archive), 0);

    clock.advance(Duration::from_secs(60));
    clock.step_wall(time("2026-11-22T00:00:30Z"), TimeQuality::Synchronised);
    keeper.look().expect("look");
    let event = known(&archive, 1);
    assert_eq!(event.start.wall, time("2026-11-21T23:59:30Z"), "a minute before the clock was set");
    assert_eq!(event.start.time_quality, TimeQuality::Synchronised);
    assert_eq!(event.filed.as_deref(), Some("2026/11/21"));
    assert_eq!(files_queued(&archive), 1);
    // Once and for all.
    keeper.look().expect("look");
    assert_eq!((known(&archive, 1), files_queued(&archive)), (event, 1));
}

#[test]
fn the_wait_is_bounded_and_the_day_never_changes_afterwards() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (archive, clock) = booted_at(dir.path(), "2026-03-01T12:00:00Z", TimeQuality::Unsynchronised);
    let mut keeper = keeper(&archive);
    finished(&archive, 1);
    clock.advance(archive.config.time_hold);
    keeper.look().expect("look");
    let event = known(&archive, 1);
    assert_eq!((event.filed.as_deref(), files_queued(&archive)), (Some("2026/03/01"), 1));
    assert_eq!(event.start.time_quality, TimeQuality::Unsynchronised);
    // What ends now is filed at once.
    assert_eq!(finished(&archive, 2).filed.as_deref(), Some("2026/03/01"));

    // The network comes back after hours and reports that it is November.
    clock.advance(HOUR);
    clock.step_wall(time("2026-11-22T10:00:00Z"), TimeQuality::Synchronised);
    keeper.look().expect("look");
    let event = known(&archive, 1);
    assert_eq!(event.start.wall, time("2026-11-22T08:50:00Z"));
    assert_eq!(event.filed.as_deref(), Some("2026/03/01"), "its objects stay where they are");
    assert_eq!(files_queued(&archive), 2, "the corrected sidecars take the places of the old ones");
}

#[test]
fn a_power_cut_between_sidecar_and_index_keeps_no_file_from_its_delivery() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (archive, clock) = booted_at(dir.path(), "1970-01-01T00:00:07Z", TimeQuality::Implausible);
    let event = finished(&archive, 1);
    clock.step_wall(time("2026-11-22T10:00:00Z"), TimeQuality::Synchronised);
    let mut written = event.clone();
    crate::archive::times::correct_event(&*archive.clock, &mut written);
    written.filed = Some("2026/11/22".into());
    put_sidecar(&archive, &written);
    keeper(&archive).look().expect("look");
    assert_eq!((known(&archive, 1), files_queued(&archive)), (written, 1));
    assert_eq!(archive.store.events().unfiled().expect("read"), []);
}

#[test]
fn clocks_that_step_move_times_and_nothing_else() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (archive, clock) = booted_at(dir.path(), "2026-11-22T10:00:00Z", TimeQuality::Synchronised);
    let steps = ["2026-11-22T10:00:03Z", "2026-11-22T08:00:00Z", "2031-01-01T00:00:00Z", "1970-01-01T00:00:00Z"];
    let mut ids = vec![archive.ids.next()];
    let mut monos = vec![archive.clock.now().mono()];
    for step in steps {
        clock.step_wall(time(step), TimeQuality::Unsynchronised);
        clock.advance(Duration::from_millis(1));
        ids.push(archive.ids.next());
        monos.push(archive.clock.now().mono());
    }
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    assert!(monos.is_sorted_by(|a, b| a < b));
}

#[test]
fn what_an_earlier_boot_left_is_filed_by_what_it_knew() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (archive, _clock) = booted_at(dir.path(), "2026-11-22T10:00:00Z", TimeQuality::Unsynchronised);
    let ended = event(1, "ended");
    put_sidecar(&archive, &ended);
    archive.store.events().record(store::Change { event: ended.clone(), deliveries: Vec::new() }).expect("record");
    keeper(&archive).look().expect("look");
    let filed = known(&archive, 1);
    assert_eq!((filed.filed.as_deref(), files_queued(&archive)), (Some("2026/11/22"), 1));
    assert_eq!(filed.start, ended.start, "its clock cannot be asked any more");
}

#[test]
fn segments_and_ledger_are_corrected_too() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (archive, clock) = booted_at(dir.path(), "1970-01-01T00:00:07Z", TimeQuality::Implausible);
    let mut keeper = keeper(&archive);
    archive.layout.create_recordings("yard").expect("a folder");
    let segment = Segment {
        version: 1,
        id: id(1),
        device: "box".into(),
        camera: "yard".into(),
        state: SegmentState::Closed,
        start: clock.now(),
        end: Some(clock.now()),
        video: None,
    };
    archive.store.ledger().record_segment(segment).expect("record");
    clock.advance(HOUR);
    clock.step_wall(time("2026-11-22T10:00:00Z"), TimeQuality::Synchronised);
    keeper.look().expect("look");
    let all = SegmentQuery { camera: "yard".to_owned(), since: None, until: None, before: None, limit: 10 };
    let segments = archive.store.ledger().segments(&all).wait().expect("read");
    assert_eq!(segments[0].start.wall, time("2026-11-22T09:00:00Z"));
    let sidecar = fs::read(archive.layout.recordings("yard").join(Segment::sidecar_name(id(1)))).expect("a sidecar");
    assert_eq!(serde_json::from_slice::<Segment>(&sidecar).expect("JSON"), segments[0]);
}

#[test]
fn an_event_in_whose_middle_the_clock_is_set_is_as_long_as_it_was() {
    for quality in [TimeQuality::Synchronised, TimeQuality::Unsynchronised] {
        for set_to in ["2026-11-22T09:00:00Z", "2036-01-01T00:00:00Z", "1970-01-01T00:00:00Z"] {
            let clock = SimulatedClock::new(Mono(9_000_000_000), time("2026-11-22T10:00:00Z"));
            clock.step_wall(clock.wall(), quality);
            let mut event = event(1, "ended");
            event.start = clock.now();
            clock.advance(HOUR);
            let lost = if set_to < "2026" { TimeQuality::Implausible } else { TimeQuality::Unsynchronised };
            clock.step_wall(time(set_to), lost);
            clock.advance(HOUR);
            event.end = Some(clock.now());
            crate::archive::times::correct_event(&clock, &mut event);
            let walls = |event: &Event| (event.start.wall, event.end.as_ref().expect("an end").wall);
            let expected = (time("2026-11-22T10:00:00Z"), time("2026-11-22T12:00:00Z"));
            assert_eq!(walls(&event), expected, "{quality} {set_to}");
            // And the time that comes in the end holds for all of it.
            clock.step_wall(time("2026-11-23T12:00:00Z"), TimeQuality::Synchronised);
            assert!(crate::archive::times::correct_event(&clock, &mut event));
            assert_eq!(walls(&event), (time("2026-11-23T10:00:00Z"), time("2026-11-23T12:00:00Z")));
        }
    }
}

#[test]
fn a_time_that_is_lost_and_found_again_corrects_what_was_recorded_in_between() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (archive, clock) = booted_at(dir.path(), "2026-11-22T10:00:00Z", TimeQuality::Synchronised);
    let mut keeper = keeper(&archive);
    let before = finished(&archive, 1);
    keeper.look().expect("look");
    clock.step_wall(time("2036-01-01T00:00:00Z"), TimeQuality::Unsynchronised);
    keeper.look().expect("look");
    assert_eq!(known(&archive, 1), before, "an unsynchronised clock corrects nothing");
    clock.advance(archive.config.time_hold);
    let during = finished(&archive, 2);
    let filed = during.filed.as_deref();
    assert_eq!((during.start.wall, filed), (time("2036-01-01T00:10:00Z"), Some("2036/01/01")));
    clock.advance(HOUR);
    clock.step_wall(time("2026-11-22T11:00:00Z"), TimeQuality::Synchronised);
    keeper.look().expect("look");
    assert_eq!(known(&archive, 2).start.wall, time("2026-11-22T10:00:00Z"));
}
