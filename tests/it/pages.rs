//! Every page at the width of a desktop and of a phone, and what people do on the page of the system, in a real browser.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::clips::Lamp;
use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::process::run;
use crate::harness::{Scratch, installed, repository, seconds, wait_for, wait_until};

fn items(daemon: &Daemon, state: &str) -> Vec<Value> {
    let found = daemon.json(&format!("/api/v1/queue/items?outlet=upload/cloud&state={state}"));
    found["items"].as_array().expect("items").clone()
}

fn order(daemon: &Daemon, action: &str, about: &Value) {
    let answer = daemon.post(&format!("/api/v1/queue/{action}"), about).expect("an answer");
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
}

/// A picture that was given up because its file was lost, and was found again. Gives the event.
fn give_one_up(scratch: &Scratch, daemon: &Daemon) -> String {
    let lost = wait_for("a picture to wait", seconds(120), || {
        let waiting = items(daemon, "waiting").into_iter().find(|item| item["what"] == "snapshot.jpg");
        waiting.ok_or_else(|| "none waits".to_owned())
    });
    let event = lost["event"].as_str().expect("an event").to_owned();
    let file = scratch.path("box/archive/gate").join(&event).join("snapshot.jpg");
    let content = std::fs::read(&file).expect("the picture");
    std::fs::remove_file(&file).expect("lose it");
    order(daemon, "resume", &json!({"outlet": "upload/cloud"}));
    wait_for("it to be given up", seconds(120), || {
        // Its rests after four failures would take minutes.
        let is_lost = |item: &Value| item["seq"] == lost["seq"] && item["state"] == "resting";
        if items(daemon, "waiting").iter().any(is_lost) {
            order(daemon, "retry", &json!({"outlet": "upload/cloud", "seq": lost["seq"]}));
        }
        items(daemon, "dead").pop().ok_or("not yet".to_owned())
    });
    std::fs::write(&file, content).expect("find it again");
    event
}

#[test]
fn every_page_works_on_a_desktop_and_on_a_phone() {
    let scratch = Scratch::new("pages");
    scratch.expect_log(&["a file was not delivered, it will be tried again"]);
    scratch.expect_log(&["a file cannot be delivered, it was moved to the dead letters"]);
    let cloud = scratch.path("cloud");
    let mut daemon = Daemon::start(&scratch, Config::new(&scratch).copies_to(&cloud).lamp("gate", Lamp::Blinking));
    order(&daemon, "pause", &json!({"outlet": "upload/cloud"}));
    let event = give_one_up(&scratch, &daemon);
    let link = wait_for("the set-up link", seconds(30), || {
        let log = daemon.log();
        let link = log.split("link=").nth(1).and_then(|rest| rest.split_whitespace().next());
        link.map(|link| link.trim_matches('"').to_owned()).ok_or(log)
    });
    let script = repository().join("tests/browser/pages.mjs");
    let modules = installed("node/node_modules");
    let text = run(Command::new("node").arg(script).arg(link).arg(&event).env("OUTPOST_NODE_MODULES", modules));
    let seen: Value = serde_json::from_str(&text).expect("the browser's report");

    assert_eq!(seen["errors"], json!([]), "on the console");
    let violations: BTreeMap<String, Vec<String>> = serde_json::from_value(seen["violations"].clone()).expect("lists");
    assert!(violations.len() == 23 && violations.values().all(Vec::is_empty), "axe: {violations:#?}");
    let shifts: BTreeMap<String, f64> = serde_json::from_value(seen["shifts"].clone()).expect("numbers");
    assert!(shifts.len() == 23 && shifts.values().all(|shift| *shift < 0.1), "{shifts:?}: {}", seen["moved"]);
    let page = daemon.page();
    let requests: Vec<&str> = seen["requests"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let is_ours = |url: &&str| url.starts_with(&page) || url.starts_with("data:") || url.starts_with("blob:");
    assert!(requests.iter().all(is_ours), "{requests:?}");
    let steps = &seen["steps"];
    assert_eq!(steps["wide"], json!([]), "nothing is wider than the window");
    assert_eq!(steps["grid"]["tiles"], 1, "live video in each tile: {steps}");
    assert_eq!(steps["logAsked"], 0, "the log is sent, not asked for");
    assert!(steps["dead"].as_str().is_some_and(|text| text.contains("the local file is gone")), "{steps}");
    for step in ["linkHeld", "linkEnds", "linkWithdrawn"] {
        assert_eq!(steps[step], json!(true), "{step}: {steps}");
    }
    assert_eq!(steps["ended"], json!({"closed": 1}), "the live view ends with the session");
    wait_until("what was retried to be at its destination", seconds(60), || {
        walk(&cloud).iter().any(|path| path.ends_with(&format!("{event}/snapshot.jpg")))
    });
    assert!(daemon.terminate().success());
}

/// All files below a folder.
fn walk(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let of = |path: std::path::PathBuf| {
        if path.is_dir() { walk(&path) } else { vec![path.to_string_lossy().into_owned()] }
    };
    entries.flat_map(of).collect()
}

#[test]
fn a_page_that_is_open_while_nothing_happens_takes_little_of_the_link() {
    let scratch = Scratch::new("idle-pages");
    let daemon = Daemon::start(&scratch, Config::new(&scratch).lamp("gate", Lamp::Off));
    wait_until("the camera to be online", seconds(60), || {
        daemon.json("/api/v1/status")["cameras"][0]["state"] == "online"
    });
    let script = repository().join("tests/browser/idle.mjs");
    let mut node = Command::new("node");
    node.arg(script).arg(daemon.page()).args(["/", "/events", "/timeline"]);
    let text = run(node.env("OUTPOST_NODE_MODULES", installed("node/node_modules")));
    let taken: BTreeMap<String, Value> = serde_json::from_str(&text).expect("the browser's report");
    assert_eq!(taken.len(), 3, "{text}");
    for (path, taken) in taken {
        // 100 KB a minute.
        assert!(taken["total"].as_u64().is_some_and(|bytes| bytes < 100_000 / 3), "{path}: {taken}");
    }
}
