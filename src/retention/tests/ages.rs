//! Ages while the clock is wrong: nothing goes before its time, whatever year is shown.

use super::*;
use crate::clock::TimeQuality;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Years ahead, never set, and everything between.
const SHOWN: [&str; 4] =
    ["2036-11-22T10:00:00Z", "1970-01-01T00:00:09Z", "2026-10-01T00:00:00Z", "2026-11-22T12:00:00Z"];

fn time(text: &str) -> jiff::Timestamp {
    text.parse().expect("a time")
}

/// Clips go after 30 days.
fn retention(bench: &Bench, archive: &Archive) -> Retention {
    bench.retention(archive, Config { clips: Age(30 * DAY), ..Config::default() })
}

fn shows(bench: &Bench, wall: &str) {
    let quality = if wall < "2026" { TimeQuality::Implausible } else { TimeQuality::Unsynchronised };
    bench.clock.step_wall(time(wall), quality);
}

fn has_clip(archive: &Archive, event: &Event) -> bool {
    on_disk(archive, event).contains(&"clip.mp4".to_owned())
}

/// Lets days pass, an hour at a time, since ages are looked at every minute at most and noted every ten.
fn run_for(bench: &Bench, retention: &Retention, days: u32) {
    for _ in 0..24 * days {
        bench.clock.advance(DAY / 24);
        pass(retention);
    }
}

#[test]
fn a_clock_that_is_not_synchronised_makes_nothing_older_than_the_box_ran() {
    for shown in SHOWN {
        let bench = Bench::new();
        let archive = bench.archive(&[]);
        let retention = retention(&bench, &archive);
        let known = put(&archive, bench.event(1, EventState::Ended), 100);
        run_for(&bench, &retention, 5);
        shows(&bench, shown);
        let doubtful = put(&archive, bench.event(2, EventState::Ended), 100);
        run_for(&bench, &retention, 24);
        assert!(has_clip(&archive, &known) && has_clip(&archive, &doubtful), "{shown}: 29 days");
        // And back and forth.
        SHOWN.iter().for_each(|shown| {
            shows(&bench, shown);
            bench.clock.advance(AGES_EVERY);
            pass(&retention);
        });
        assert!(has_clip(&archive, &known), "{shown}");
        run_for(&bench, &retention, 2);
        assert_eq!((has_clip(&archive, &known), has_clip(&archive, &doubtful)), (false, true), "{shown}: 31 days");
        run_for(&bench, &retention, 5);
        assert!(!has_clip(&archive, &doubtful), "{shown}: its own 31 days");
    }
}

#[test]
fn a_box_that_never_heard_the_time_counts_by_its_run_time_over_boots() {
    for shown in SHOWN {
        let bench = Bench::new();
        shows(&bench, shown);
        let archive = bench.archive(&[]);
        let event = put(&archive, bench.event(1, EventState::Ended), 100);
        run_for(&bench, &retention(&bench, &archive), 10);
        // Off for as long as the clock says, which is not trusted; each boot runs for ten days.
        for year in ["2030", "2040"] {
            assert!(has_clip(&archive, &event), "{shown} {year}");
            bench.clock.reboot(time(&format!("{year}-01-01T00:00:00Z")));
            run_for(&bench, &retention(&bench, &archive), 10);
        }
        assert!(has_clip(&archive, &event), "{shown}: at 30 days less what was not noted");
        run_for(&bench, &retention(&bench, &archive), 1);
        assert!(!has_clip(&archive, &event), "{shown}");
    }
}

#[test]
fn what_was_recorded_without_the_time_is_as_old_as_the_box_ran_when_the_time_comes() {
    for shown in SHOWN {
        let bench = Bench::new();
        shows(&bench, shown);
        let archive = bench.archive(&[]);
        let retention = retention(&bench, &archive);
        let event = put(&archive, bench.event(1, EventState::Ended), 100);
        run_for(&bench, &retention, 10);
        bench.clock.step_wall(time("2028-02-01T00:00:00Z"), TimeQuality::Synchronised);
        run_for(&bench, &retention, 19);
        assert!(has_clip(&archive, &event), "{shown}: 29 days");
        // From now on the time that it is off counts as well.
        bench.clock.reboot(time("2028-02-23T00:00:00Z"));
        bench.clock.step_wall(time("2028-02-23T00:00:00Z"), TimeQuality::Synchronised);
        pass(&self::retention(&bench, &archive));
        assert!(!has_clip(&archive, &event), "{shown}: 32 days by the calendar");
    }
}

#[test]
fn the_last_known_time_counts_on_while_the_box_runs_and_is_not_a_day_ahead() {
    let bench = Bench::new();
    let archive = bench.archive(&[]);
    let event = put(&archive, bench.event(1, EventState::Ended), 100);
    run_for(&bench, &retention(&bench, &archive), 20);
    bench.clock.reboot(time("2050-01-01T00:00:00Z"));
    run_for(&bench, &retention(&bench, &archive), 9);
    assert!(has_clip(&archive, &event), "29 days that are certain");
    run_for(&bench, &retention(&bench, &archive), 2);
    assert!(!has_clip(&archive, &event));
}

#[test]
fn a_damaged_note_of_the_run_time_keeps_files_for_longer_and_stops_nothing() {
    let bench = Bench::new();
    shows(&bench, "2026-11-22T12:00:00Z");
    let archive = bench.archive(&[]);
    let event = put(&archive, bench.event(1, EventState::Ended), 100);
    run_for(&bench, &retention(&bench, &archive), 20);
    bench.clock.reboot(time("2050-01-01T00:00:00Z"));
    fs::write(archive.layout.storage().join("run-time.json"), "{").expect("damage it");
    run_for(&bench, &retention(&bench, &archive), 29);
    assert!(has_clip(&archive, &event));
    run_for(&bench, &retention(&bench, &archive), 2);
    assert!(!has_clip(&archive, &event), "bounded all the same");
}
