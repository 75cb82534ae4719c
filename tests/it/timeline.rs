//! Going over what was recorded: pieces, pictures and exports of a camera that records all the time, with a gap and a restart.

use std::collections::BTreeMap;
use std::process::Command;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::harness::clips::{Lamp, assert_sound, shown};
use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::process::run;
use crate::harness::{Scratch, installed, repository, seconds, wait_for, wait_until};

fn time(value: &Value) -> Timestamp {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is not a time"))
}

fn length(piece: &Value) -> f64 {
    time(&piece["until"]).duration_since(time(&piece["from"])).as_secs_f64()
}

fn pieces(daemon: &Daemon, since: Timestamp) -> Vec<Value> {
    let video = daemon.json(&format!("/api/v1/cameras/gate/video?since={since}&until={}", Timestamp::now()));
    video["pieces"].as_array().expect("pieces").clone()
}

fn wait_for_segments(daemon: &Daemon, since: Timestamp, n: usize) -> Vec<Value> {
    wait_for(&format!("{n} segments"), seconds(120), || {
        let found = pieces(daemon, since);
        let segments = found.iter().filter(|piece| piece["kind"] == "segment").count();
        if segments >= n { Ok(found) } else { Err(format!("{segments} are closed")) }
    })
}

fn begin_export(daemon: &Daemon, from: Timestamp, until: Timestamp) -> String {
    let asked = json!({ "camera": "gate", "from": from, "until": until });
    let answer = daemon.post("/api/v1/exports", &asked).expect("an answer");
    assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
    let export: Value = serde_json::from_slice(&answer.body).expect("JSON");
    format!("/api/v1/exports/{}", export["id"].as_str().expect("an id"))
}

fn wait_for_export(daemon: &Daemon, place: &str) -> Value {
    wait_for("the export", seconds(60), || {
        let export = daemon.json(place);
        let is_over = ["done", "failed"].iter().any(|state| export["state"] == *state);
        if is_over { Ok(export) } else { Err(export.to_string()) }
    })
}

#[test]
fn what_was_recorded_is_played_looked_through_and_exported_across_a_restart() {
    let scratch = Scratch::new("timeline");
    let begun = Timestamp::now();
    let config = Config::new(&scratch).lamp("gate", Lamp::Blinking).all_the_time(5);
    let mut daemon = Daemon::start(&scratch, config);
    wait_for_segments(&daemon, begun, 2);
    daemon.crash_and_restart();
    let known = pieces(&daemon, begun).len();
    let found = wait_for_segments(&daemon, begun, known + 2);

    // In order, without an overlap, each file with what it says it holds.
    for pair in found.windows(2) {
        assert!(time(&pair[0]["until"]) <= time(&pair[1]["from"]), "{pair:?}");
    }
    for piece in found.iter().filter(|piece| piece["kind"] == "segment") {
        let file = scratch.path("piece.mp4");
        std::fs::write(&file, daemon.get(piece["url"].as_str().expect("an address")).expect("a file").body)
            .expect("write");
        let (is, said) = (assert_sound(&file).duration_s, piece["file_s"].as_f64().expect("seconds"));
        assert!((is - said).abs() < 0.2, "{piece}: the file has {is} s");
    }
    let (first, last) = (found.first().expect("a piece"), found.last().expect("a piece"));
    let picture =
        daemon.get(&format!("/api/v1/cameras/gate/preview.jpg?at={}", time(&last["from"]))).expect("an answer");
    assert_eq!((picture.status, picture.body.get(..2)), (200, Some(&[0xff, 0xd8][..])));
    let strips = daemon.json(&format!("/api/v1/timeline?since={begun}&until={}&resolution_s=1", Timestamp::now()));
    let spans = strips["cameras"][0]["spans"].as_array().expect("spans");
    assert!(["recorded", "stopped"].iter().all(|state| spans.iter().any(|span| span["state"] == *state)), "{spans:?}");

    // All of it as one file, in which the gap of the restart is closed.
    let (from, until) = (time(&first["from"]), time(&last["until"]));
    let export = wait_for_export(&daemon, &begin_export(&daemon, from, until));
    assert_eq!(export["state"], "done", "{export}");
    let file = scratch.path(export["file"].as_str().expect("a name"));
    std::fs::write(&file, daemon.get(export["url"].as_str().expect("an address")).expect("a file").body)
        .expect("write");
    let probe = assert_sound(&file);
    let held: f64 = found.iter().map(length).sum();
    assert!((probe.duration_s - held).abs() < 1.5, "{} s of {held} s", probe.duration_s);
    let longest = shown(&file).windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!(longest < 1.1, "a picture is shown for {longest} s");
    let parts = export["parts"].as_array().expect("parts");
    assert!(parts.len() >= 4 && parts[0]["at_s"] == 0.0, "{parts:?}");

    // One that a kill interrupts is begun again, or is done already; both have a file then.
    let places: Vec<String> = (0..4).map(|_| begin_export(&daemon, from, until)).collect();
    daemon.crash_and_restart();
    for place in &places {
        let export = wait_for_export(&daemon, place);
        assert_eq!(export["state"], "done", "{export}");
        std::fs::write(&file, daemon.get(export["url"].as_str().expect("an address")).expect("a file").body)
            .expect("write");
        assert_eq!(assert_sound(&file).packets, probe.packets);
    }
    let left = scratch.path("box/exports");
    let partial = || {
        std::fs::read_dir(&left)
            .expect("a folder")
            .any(|entry| entry.expect("an entry").file_name().to_string_lossy().ends_with(".partial"))
    };
    wait_until("no torn file", seconds(30), || !partial());
    assert!(daemon.terminate().success());
}

/// What tests/browser/timeline.mjs saw. `OUTPOST_SCREENSHOTS` names a folder for pictures of the page.
fn go_over_it_in_a_browser(daemon: &Daemon, plan: &Value) -> Value {
    let script = repository().join("tests/browser/timeline.mjs");
    let modules = installed("node/node_modules");
    let mut command = Command::new("node");
    command.arg(script).arg(daemon.page()).arg(plan.to_string()).env("OUTPOST_NODE_MODULES", modules);
    serde_json::from_str(&run(&mut command)).expect("the browser's report")
}

#[test]
fn the_timeline_is_zoomed_played_scrubbed_and_exported_in_a_browser() {
    let scratch = Scratch::new("timeline-page");
    let begun = Timestamp::now();
    let config = Config::new(&scratch).lamp("gate", Lamp::Blinking).all_the_time(5);
    let mut daemon = Daemon::start(&scratch, config);
    wait_for_segments(&daemon, begun, 2);
    daemon.crash_and_restart();
    let known = pieces(&daemon, begun).len();
    let found = wait_for_segments(&daemon, begun, known + 2);
    let at = time(&found[0]["from"]) + jiff::SignedDuration::from_secs(1);
    let plan = json!({ "camera": "gate", "at": at, "folder": scratch.path("") });
    let seen = go_over_it_in_a_browser(&daemon, &plan);
    assert_eq!(seen["errors"], json!([]), "on the console");
    let violations: BTreeMap<String, Vec<String>> = serde_json::from_value(seen["violations"].clone()).expect("lists");
    assert!(violations.len() >= 5 && violations.values().all(Vec::is_empty), "axe: {violations:#?}");
    let shifts: BTreeMap<String, f64> = serde_json::from_value(seen["shifts"].clone()).expect("numbers");
    assert!(shifts.values().all(|shift| *shift < 0.1), "{shifts:?}");
    let page = daemon.page();
    let requests: Vec<&str> = seen["requests"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(requests.iter().all(|url| url.starts_with(&page) || url.starts_with("data:")), "{requests:?}");

    let steps = &seen["steps"];
    let spans: Vec<&str> = steps["spans"].as_array().expect("spans").iter().filter_map(Value::as_str).collect();
    assert!(spans[0] == "6 h" && spans[1] == "3 h" && spans[2] == "6 h" && spans[3] != "6 h", "{spans:?}");
    assert!(steps["words"].as_str().is_some_and(|words| words.contains("recorded: ")), "{}", steps["words"]);
    let played = &steps["played"];
    assert!(played["files"].as_u64() >= Some(4) && played["clocks"].as_u64() > Some(3), "{played}");
    assert!(played["width"].as_u64() > Some(0) && played["paused"] == "Play", "{played}");
    assert!(played["said"].as_str().is_some_and(|said| said.starts_with("Nothing was recorded for")), "{played}");
    let frames: Vec<f64> = serde_json::from_value(steps["frames"].clone()).expect("times");
    assert!(frames[1] < frames[0] && frames[2] > frames[1], "{frames:?}");
    assert!(steps["peek"][0].as_u64() > Some(100), "{}", steps["peek"]);
    assert!(steps["export"]["moved"].as_i64() >= Some(1), "{}", steps["export"]);
    let file = std::path::PathBuf::from(steps["export"]["file"].as_str().expect("a file"));
    assert!(file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("gate_")), "{}", file.display());
    assert_sound(&file);
    assert_eq!((&steps["reload"]["same"], &steps["reload"]["before"]), (&json!(true), &steps["reload"]["after"]));
    assert!(steps["pinch"][0] != steps["pinch"][1], "{}", steps["pinch"]);
    assert_eq!(steps["wide"], json!(390), "nothing is wider than a phone");
    assert!(daemon.terminate().success());
}
