//! Models as people try them, while cameras go on.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::process::run;
use crate::harness::{Scratch, fixture, installed, repository, seconds, wait_until};

/// Works with: page | a picture that is shown to a model in a browser, by the keyboard and on a phone | boxes, scores and the time it took; what is no picture is refused with the reason
#[test]
fn a_model_is_measured_and_tried_on_a_picture_in_a_browser() {
    let scratch = Scratch::new("models");
    let mut config = Config::new(&scratch).played_once("gate", &fixture("people.mp4"), 4.0);
    // Other tests make the box busy, and a busy box tries no model.
    config.add("[load]\nenabled = false");
    let mut daemon = Daemon::start(&scratch, config);
    let of_camera = || daemon.json("/api/v1/models")["models"][0]["speed"]["runs"].as_u64() > Some(0);
    wait_until("the speed of the runs for the camera", seconds(120), of_camera);
    let before = daemon.metric("outpost_frames_detected_total{camera=\"gate\"}");
    assert!(before > 0.0);

    let text = scratch.path("notes.jpg");
    std::fs::write(&text, "no picture").expect("write");
    let mut node = Command::new("node");
    node.arg(repository().join("tests/browser/models.mjs")).arg(daemon.page());
    node.args([fixture("pictures/person.jpg"), text]);
    let report = run(node.env("OUTPOST_NODE_MODULES", installed("node/node_modules")));
    let seen: Value = serde_json::from_str(&report).expect("the browser's report");
    assert_eq!(seen["errors"], json!([]), "on the console");
    let violations = seen["violations"].as_object().expect("lists");
    assert!(violations.len() == 2 && violations.values().all(|found| *found == json!([])), "axe: {violations:#?}");
    let shifts = seen["shifts"].as_object().expect("numbers");
    assert!(shifts.values().all(|shift| shift.as_f64().is_some_and(|shift| shift < 0.1)), "{}", seen["moved"]);
    let page = daemon.page();
    let requests: Vec<&str> = seen["requests"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(requests.iter().all(|url| url.starts_with(&page)), "{requests:?}");
    let steps = &seen["steps"];
    let says = |step: &str, words: &str| steps[step].as_str().is_some_and(|text| text.contains(words));
    assert!(says("card", "nanodet-g-320") && says("card", "Apache-2.0") && says("card", "gate"), "{steps}");
    assert!(says("refused", "neither a JPEG nor a PNG"), "{steps}");
    let count = |step: &str| steps[step].as_array().map_or(0, Vec::len);
    let is_person = |thing: &Value| thing.as_str().is_some_and(|text| text.starts_with("person "));
    assert!(steps["found"].as_array().is_some_and(|things| things.iter().any(is_person)), "{steps}");
    assert!(says("said", "found in") && says("said", "ms"), "{steps}");
    assert_eq!(steps["boxes"].as_u64().map(|boxes| boxes as usize), Some(count("found")), "{steps}");
    assert!(count("best") < count("found") && count("found") < count("all"), "{steps}");
    assert_eq!(steps["wide"], json!(true), "nothing is wider than the phone");
    assert!(daemon.terminate().success(), "{}", daemon.log());
}
