//! Too much to do: the box does less in the stated order, recording last of all, and more again by itself.

use std::path::Path;

use jiff::Timestamp;

use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::{Scratch, fixture, seconds, wait_until};

const RECORD_ONLY: f64 = 5.0;
const RECORD_LESS: f64 = 6.0;

fn heat(zone: &Path, celsius: u32) {
    std::fs::write(zone.join("temp"), format!("{celsius}000\n")).expect("write a temperature");
}

fn level(daemon: &Daemon) -> f64 {
    daemon.metric("outpost_load_level")
}

fn counted(daemon: &Daemon, what: &str) -> f64 {
    daemon.metric(&format!("outpost_{what}_total{{camera=\"gate\"}}"))
}

/// Whether a counter stands still while the camera gives two seconds of pictures.
fn stands_still(daemon: &Daemon, what: &str) -> bool {
    let (packets, before) = (daemon.packets("gate"), counted(daemon, what));
    wait_until("pictures", seconds(30), || daemon.packets("gate") >= packets + 20.0);
    counted(daemon, what) == before
}

#[test]
fn a_hot_box_does_less_and_less_and_then_everything_again() {
    let scratch = Scratch::new("overload");
    let zone = scratch.path("thermal/thermal_zone0");
    std::fs::create_dir_all(&zone).expect("make a thermal zone");
    heat(&zone, 45);
    let begun = Timestamp::now();
    let config = Config::new(&scratch).sheds_quickly(&scratch.path("thermal"));
    let mut daemon = Daemon::start(&scratch, config.recorded_all_the_time("gate", &fixture("people.mp4"), 5));
    wait_until("looks", seconds(60), || counted(&daemon, "frames_detected") > 5.0);
    assert_eq!(level(&daemon), 0.0);

    heat(&zone, 97);
    wait_until("nothing to be decoded", seconds(90), || level(&daemon) >= RECORD_ONLY);
    assert!(stands_still(&daemon, "frames_detected") && stands_still(&daemon, "frames_decoded"));
    wait_until("the last level", seconds(30), || level(&daemon) >= RECORD_LESS);
    let status = daemon.json("/api/v1/status");
    assert_eq!(
        (&status["load"]["level"], &status["load"]["reason"]),
        (&"record_less".into(), &"97 °C, limit 90 °C".into())
    );
    assert_eq!(status["summary"]["level"], "attention");
    // Without detection nothing is known to go on; an event is over when its post-roll is.
    wait_until("the last event to be over", seconds(30), || daemon.events_in("open").is_empty());
    // Recording rests only now: so far no second of it is missing.
    let packets = daemon.packets("gate");
    wait_until("some seconds in which it rests", seconds(30), || daemon.packets("gate") >= packets + 30.0);

    heat(&zone, 45);
    wait_until("everything again", seconds(90), || level(&daemon) == 0.0);
    let looks = counted(&daemon, "frames_detected");
    wait_until("looks again", seconds(60), || counted(&daemon, "frames_detected") > looks + 5.0);
    let timeline = daemon.json(&format!("/api/v1/cameras/gate/timeline?since={begun}"));
    let coverage = timeline["coverage"].as_array().expect("coverage");
    let shed: Vec<_> = coverage.iter().filter(|interval| interval["state"] == "shed").collect();
    assert!(!shed.is_empty() && shed.iter().all(|interval| interval["reason"] == "too much to do"), "{coverage:?}");
    let states: Vec<_> = coverage.iter().filter_map(|interval| interval["state"].as_str()).collect();
    let first_shed = states.iter().position(|state| *state == "shed").expect("a shed interval");
    assert_eq!(
        states[..first_shed].iter().filter(|state| **state == "recorded").count(),
        1,
        "one unbroken recording: {states:?}"
    );
    assert_eq!(states.last(), Some(&"recorded"), "{states:?}");
    let log = daemon.log();
    for name in ["half_rate", "quarter_rate", "light_model", "motion_only", "record_only", "record_less"] {
        assert!(log.contains(name), "the log does not say of {name}");
    }
    assert!(daemon.terminate().success());
}
