//! The page of a box on which something is wrong: it loads, says first what is wrong, and shows what there is.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::volume::Disk;
use crate::harness::{Scratch, fixture, installed, repository, seconds, wait_for, wait_until};

/// Events of the box whose index is filled again while one looks.
const MANY: usize = 10_000;

/// A browser that goes through all pages, as soon as there is one.
fn look(url: &str, name: &str) -> Child {
    let mut node = Command::new("node");
    node.arg(repository().join("tests/browser/degraded.mjs")).args([url, name]);
    node.env("OUTPOST_NODE_MODULES", installed("node/node_modules")).stdout(Stdio::piped());
    node.spawn().expect("start a browser")
}

/// What it saw. All pages show what they have, without an error and nothing that a reader with less sight would miss.
fn seen(browser: Child) -> Value {
    let output = browser.wait_with_output().expect("the browser's report");
    let report = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{report}");
    let seen: Value = serde_json::from_str(&report).expect("the browser's report");
    assert_eq!(seen["errors"], json!([]), "on the console");
    let violations = seen["violations"].as_object().expect("lists");
    assert!(violations.len() == 7 && violations.values().all(|found| *found == json!([])), "axe: {violations:#?}");
    let steps = &seen["steps"];
    let missing: Vec<&String> =
        steps.as_object().expect("steps").keys().filter(|step| step.ends_with("-missing")).collect();
    assert!(missing.is_empty(), "{missing:?}: {steps:#}");
    assert_eq!((&steps["top"], &steps["wide"]), (&json!(true), &json!(true)), "{steps:#}");
    seen
}

fn concerns(seen: &Value, language: &str) -> String {
    seen["steps"][language].to_string()
}

/// Works with: page | a box whose cameras are all down and whose disk is full | says so first, in the reader's language, and all pages show what there is
#[test]
fn with_all_cameras_down_and_a_full_disk_the_page_says_so_first() {
    let scratch = Scratch::new("degraded");
    scratch.expect_log(&[
        "camera offline",
        "task failed, trying again",
        "for lack of space",
        "nothing left that may be",
    ]);
    let mut config = Config::new(&scratch);
    for name in ["gate", "yard"] {
        config.add(&format!("[camera.{name}.source]\nurl = \"rtsp://127.0.0.1:9/{name}\""));
    }
    config.add("[retention]\nmin_free = \"1000 TiB\"");
    let mut daemon = Daemon::start(&scratch, config);
    wait_for("both cameras to be offline, and the disk full", seconds(60), || {
        let status = daemon.json("/api/v1/status");
        let cameras = status["cameras"].as_array().expect("cameras");
        let are_down = cameras.iter().all(|camera| camera["state"] == "offline");
        if are_down && status["disk"]["left_out"].is_string() { Ok(()) } else { Err(status.to_string()) }
    });
    let seen = seen(look(&daemon.page(), "down"));
    let steps = &seen["steps"];
    assert_eq!((&steps["level"], &steps["first"]), (&json!("problem"), &json!("problem")));
    let said = concerns(&seen, "concerns");
    assert!(said.contains("gate is offline") && said.contains("yard is offline"), "{said}");
    assert!(said.contains("recorded for lack of space"), "{said}");
    let said = concerns(&seen, "japanese");
    assert!(said.contains("到達できません") && said.contains("空き容量が足りないため"), "{said}");
    assert!(daemon.terminate().success(), "{}", daemon.log());
}

/// Works with: page | a box that records into its spool | says first what is wrong with the disk, and all pages show what there is
#[test]
fn while_the_spool_is_in_use_the_page_says_why() {
    let scratch = Scratch::new("degraded-spool");
    scratch.expect_any_log("what fails first when a disk goes away is chance");
    let storage = scratch.path("box");
    let disk = Disk::mount(&scratch, "disk.ext4", 128, &storage);
    let config = Config::new(&scratch).spools_to(&scratch.path("spool")).replay("gate", &fixture("people.mp4"));
    let mut daemon = Daemon::start(&scratch, config);
    daemon.wait_for_ended(1, seconds(120));
    disk.pull();
    wait_until("the spool to stand in", seconds(90), || {
        let answer = daemon.get_soon("/api/v1/status").ok().filter(|answer| answer.status == 200);
        let status = answer.and_then(|answer| serde_json::from_slice::<Value>(&answer.body).ok());
        status.is_some_and(|status| status["disk"]["spooling"] == true)
    });
    let seen = seen(look(&daemon.page(), "spool"));
    assert_eq!(seen["steps"]["level"], "problem");
    let said = concerns(&seen, "concerns");
    assert!(said.contains("disk has trouble") && said.contains("not mounted"), "{said}");
    assert!(concerns(&seen, "japanese").contains("マウントされていません"), "{}", seen["steps"]);
    let listed = &seen["steps"]["events"];
    assert!(listed.as_str().is_some_and(|text| text.contains("They are listed when it is back")), "{listed}");
    disk.plug_in();
    assert!(daemon.terminate().success(), "{}", daemon.log());
}

/// Copies what is left of an event `n` times, each with an id of its own.
fn multiply(folder: &Path, n: usize) {
    let text = std::fs::read_to_string(folder.join("event.json")).expect("a sidecar");
    let event: Value = serde_json::from_str(&text).expect("JSON");
    let id = event["id"].as_str().expect("an id");
    for number in 0..n {
        // Earlier ones: the last of an id are digits of chance.
        let other = format!("{}{number:010}", &id[..16].replace(&id[8..10], "00"));
        let copy = folder.with_file_name(&other);
        std::fs::create_dir(&copy).expect("make a folder");
        std::fs::write(copy.join("event.json"), text.replace(id, &other)).expect("write");
    }
}

/// Works with: page | an index that is filled again from the archive while one looks | the overview says how far it is, and all pages show what is there already
#[test]
fn while_the_index_is_filled_again_the_page_says_how_far_it_is() {
    let scratch = Scratch::new("degraded-index");
    scratch.expect_any_log("copies of events have no files");
    let config = Config::new(&scratch).replay("gate", &fixture("people.mp4"));
    let mut daemon = Daemon::start(&scratch, config);
    let event = daemon.wait_for_ended(1, seconds(120)).remove(0);
    assert!(daemon.terminate().success(), "{}", daemon.log());
    multiply(&scratch.path("box/archive/gate").join(event["id"].as_str().expect("an id")), MANY);
    std::fs::remove_dir_all(scratch.path("box/index")).expect("remove the index");
    let browser = look(&daemon.page(), "index");
    daemon.start_again();
    let seen = seen(browser);
    assert_eq!(seen["steps"]["level"], "attention", "{}", seen["steps"]);
    assert!(concerns(&seen, "concerns").contains("being rebuilt"), "{}", seen["steps"]);
    assert!(daemon.terminate().success(), "{}", daemon.log());
}
