//! Continuous recording: all of a camera's video, and an answer for every second.

use std::collections::BTreeSet;
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::Value;

use crate::harness::clips::{Lamp, assert_sound, probe};
use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::{Scratch, fixture, seconds, wait_for, wait_until};

fn time(value: &Value) -> Timestamp {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is not a time"))
}

fn seconds_between(from: &Value, until: &Value) -> f64 {
    time(until).duration_since(time(from)).as_secs_f64()
}

fn timeline(daemon: &Daemon, since: Timestamp) -> Value {
    daemon.json(&format!("/api/v1/cameras/gate/timeline?since={since}"))
}

fn segments_that_are<'a>(timeline: &'a Value, states: &[&str]) -> Vec<&'a Value> {
    let all = timeline["segments"].as_array().expect("segments");
    all.iter().filter(|segment| states.iter().any(|state| segment["state"] == *state)).collect()
}

fn wait_for_closed(daemon: &Daemon, since: Timestamp, n: usize) -> Value {
    wait_for(&format!("{n} closed segments"), seconds(120), || {
        let timeline = timeline(daemon, since);
        let closed = segments_that_are(&timeline, &["closed"]).len();
        if closed >= n { Ok(timeline) } else { Err(format!("{closed} are closed")) }
    })
}

fn file_of(scratch: &Scratch, segment: &Value) -> PathBuf {
    scratch.path("box/recordings/gate").join(segment["video"]["file"].as_str().expect("a file"))
}

/// No gap, no overlap, from the first to the last.
fn assert_whole(timeline: &Value) {
    let coverage = timeline["coverage"].as_array().expect("coverage");
    for pair in coverage.windows(2) {
        assert_eq!(pair[0]["until"], pair[1]["from"], "{pair:?}");
    }
    let reported: f64 = coverage.iter().map(|interval| seconds_between(&interval["from"], &interval["until"])).sum();
    let first = coverage.first().expect("some coverage");
    let last = coverage.last().expect("some coverage");
    assert!((reported - seconds_between(&first["from"], &last["until"])).abs() < 1e-6);
    assert_eq!(time(&first["from"]), time(&timeline["since"]));
}

#[test]
fn everything_is_recorded_and_every_second_has_an_answer() {
    let scratch = Scratch::new("continuous");
    let begun = Timestamp::now();
    let config = Config::new(&scratch).lamp("gate", Lamp::Blinking).all_the_time(5);
    let mut daemon = Daemon::start(&scratch, config);
    let before = wait_for_closed(&daemon, begun, 2);
    // In the middle of a segment: what is not a second old yet may be gone.
    let packets = daemon.packets("gate");
    wait_until("three seconds more", seconds(60), || daemon.packets("gate") >= packets + 30.0);
    daemon.crash_and_restart();
    let known = segments_that_are(&before, &["closed"]).len();
    wait_for_closed(&daemon, begun, known + 2);
    let event = wait_for("an event with its segments", seconds(90), || {
        let ended = daemon.events_in("ended");
        let is_whole = |event: &Value| event["segments"].is_object() && event["clip"].is_object();
        ended.into_iter().find(is_whole).ok_or_else(|| "none".to_owned())
    });
    let timeline = timeline(&daemon, begun);
    assert_whole(&timeline);

    let finished = segments_that_are(&timeline, &["closed", "interrupted"]);
    assert_eq!(segments_that_are(&timeline, &["interrupted"]).len(), 1, "the one that the kill cut short");
    for segment in &finished {
        let file = file_of(&scratch, segment);
        assert_sound(&file);
        let (said, is) = (seconds_between(&segment["start"]["wall"], &segment["end"]["wall"]), probe(&file).duration_s);
        assert!((said - is).abs() < 0.2, "{segment}: the file has {is} s");
        let served =
            daemon.get(&format!("/api/v1/cameras/gate/segments/{}.mp4", segment["id"].as_str().expect("an id")));
        assert_eq!(served.expect("an answer").body, std::fs::read(&file).expect("the file"));
    }
    let mut gaps = Vec::new();
    for pair in finished.windows(2) {
        let gap = seconds_between(&pair[0]["end"]["wall"], &pair[1]["start"]["wall"]);
        assert!(gap > -0.2, "segments overlap: {pair:?}");
        gaps.push(gap);
    }
    // One gap for the kill; between all others not even a picture is missing.
    assert!(gaps.iter().filter(|gap| **gap > 0.2).count() <= 1, "{gaps:?}");

    let states: BTreeSet<&str> =
        timeline["coverage"].as_array().expect("coverage").iter().filter_map(|i| i["state"].as_str()).collect();
    assert!(states.contains("recorded") && states.contains("stopped"), "{states:?}");
    let recorded = timeline["seconds"]["recorded"].as_f64().expect("seconds");
    let held: f64 = finished.iter().map(|s| seconds_between(&s["start"]["wall"], &s["end"]["wall"])).sum();
    assert!(recorded >= held - 0.2, "{recorded} s are reported, {held} s are there");

    let (first, last) = (&event["segments"]["first"], &event["segments"]["last"]);
    let find = |id: &Value| finished.iter().find(|segment| segment["id"] == *id).copied();
    let first = find(first).unwrap_or_else(|| panic!("{event}: its first segment is not there"));
    assert!(time(&first["start"]["wall"]) <= time(&event["clip"]["start"]["wall"]) || finished[0]["id"] == first["id"]);
    assert!(last.as_str() >= first["id"].as_str());
    assert!(daemon.terminate().success());
}

#[test]
fn segments_are_found_again_when_the_index_is_lost() {
    let scratch = Scratch::new("recordings");
    let begun = Timestamp::now();
    let config = || Config::new(&scratch).recorded_all_the_time("gate", &fixture("leaves.mp4"), 5);
    let mut daemon = Daemon::start(&scratch, config());
    wait_for_closed(&daemon, begun, 2);
    assert!(daemon.terminate().success());
    let ids = |timeline: &Value| -> BTreeSet<String> {
        let finished = segments_that_are(timeline, &["closed", "interrupted"]);
        finished.iter().filter_map(|segment| segment["id"].as_str()).map(str::to_owned).collect()
    };
    let on_disk: BTreeSet<String> = std::fs::read_dir(scratch.path("box/recordings/gate"))
        .expect("the folder")
        .filter_map(|file| file.expect("a file").file_name().to_str()?.strip_suffix(".mp4").map(str::to_owned))
        .collect();
    std::fs::remove_dir_all(scratch.path("box/index")).expect("lose the index");
    // One has lost its sidecar as well: the file itself reports enough.
    let orphan = on_disk.first().expect("a segment");
    std::fs::remove_file(scratch.path("box/recordings/gate").join(format!("{orphan}.json"))).expect("lose a sidecar");

    let mut daemon = Daemon::start(&scratch, config());
    wait_for("all segments", seconds(60), || {
        let known = ids(&timeline(&daemon, begun));
        if known.is_superset(&on_disk) { Ok(()) } else { Err(format!("{known:?} of {on_disk:?}")) }
    });
    assert!(daemon.terminate().success());
}

#[test]
fn a_quota_keeps_the_newest_segments_and_the_ledger_remembers_the_others() {
    let scratch = Scratch::new("quota");
    let begun = Timestamp::now();
    let config = Config::new(&scratch).keeps_at_most(800_000);
    let mut daemon = Daemon::start(&scratch, config.recorded_all_the_time("gate", &fixture("leaves.mp4"), 5));
    let evicted = "outpost_evicted_files_total{class=\"continuous\",reason=\"quota\"}";
    wait_until("two deleted segments", seconds(240), || daemon.metric(evicted) >= 2.0);
    assert!(daemon.terminate().success());
    let folder = scratch.path("box/recordings/gate");
    let names: BTreeSet<String> = std::fs::read_dir(&folder)
        .expect("the folder")
        .map(|file| file.expect("a file").file_name().to_string_lossy().into_owned())
        .collect();
    let ids =
        |extension: &str| -> BTreeSet<&str> { names.iter().filter_map(|name| name.strip_suffix(extension)).collect() };
    assert_eq!(ids(".mp4"), ids(".json"), "each has its sidecar, and what is gone has none");

    let mut daemon =
        Daemon::start(&scratch, Config::new(&scratch).recorded_all_the_time("gate", &fixture("leaves.mp4"), 5));
    let timeline = timeline(&daemon, begun);
    assert_whole(&timeline);
    let finished = segments_that_are(&timeline, &["closed", "interrupted"]);
    let known: BTreeSet<&str> = finished.iter().filter_map(|segment| segment["id"].as_str()).collect();
    assert!(known.is_superset(&ids(".mp4")), "{known:?} {names:?}");
    let coverage = timeline["coverage"].as_array().expect("coverage");
    let states: Vec<&str> = coverage.iter().filter_map(|interval| interval["state"].as_str()).collect();
    let first = states.iter().position(|state| *state == "evicted").expect("an evicted interval");
    assert!(states[first..].contains(&"recorded"), "the newest are there: {states:?}");
    assert_eq!(states.iter().filter(|state| **state == "evicted").count(), 1, "one stretch: {states:?}");
    assert!(daemon.terminate().success());
}
