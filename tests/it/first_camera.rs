//! A box that begins without a camera, up to its first recording.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::config::Config;
use crate::harness::daemon::{Daemon, outpost};
use crate::harness::process::run;
use crate::harness::rtsp::{Auth, RtspServer};
use crate::harness::{Scratch, fixture, installed, repository, seconds, wait_for};

/// Works with: page | a box without any camera | runs and says so; the first camera is added in a browser, and records without a restart
#[test]
fn the_first_camera_is_added_on_the_page_and_records_without_a_restart() {
    let scratch = Scratch::new("first-camera");
    let server = RtspServer::start(&scratch, Auth::None, &[("/main", "h264", &fixture("people.mp4"))]);
    let mut daemon = Daemon::start(&scratch, Config::new(&scratch));
    let pid = daemon.process().id();
    let ready = daemon.get("/readyz").expect("an answer");
    assert_eq!((ready.status, ready.body.as_slice()), (200, &b"ready, no camera yet\n"[..]));
    let status = daemon.json("/api/v1/status");
    let concern = &status["concerns"][0];
    assert_eq!((&concern["code"], &concern["remedy"]), (&json!("no_camera"), &json!("add_camera")), "{status}");
    let file = scratch.path("outpost.toml");
    let said = outpost(&["status".as_ref(), "--config".as_ref(), file.as_os_str()]);
    assert!(String::from_utf8_lossy(&said.stdout).contains("No camera yet"), "{said:?}");

    let script = repository().join("tests/browser/first.mjs");
    let mut node = Command::new("node");
    node.arg(script).args([daemon.page(), server.url("/main")]);
    let text = run(node.env("OUTPOST_NODE_MODULES", installed("node/node_modules")));
    let seen: Value = serde_json::from_str(&text).expect("the browser's report");
    assert_eq!(seen["errors"], json!([]), "on the console");
    let violations = seen["violations"].as_object().expect("lists");
    assert!(violations.len() == 3 && violations.values().all(|found| *found == json!([])), "axe: {violations:#?}");
    let shifts = seen["shifts"].as_object().expect("numbers");
    assert!(shifts.values().all(|shift| shift.as_f64().is_some_and(|shift| shift < 0.1)), "{}", seen["moved"]);
    let steps = &seen["steps"];
    let says = |step: &str, words: &str| steps[step].as_str().is_some_and(|text| text.contains(words));
    assert!(says("headline", "No camera yet") && says("empty", "Add the first one"), "{steps}");
    assert!(says("none", "added below") && steps["noneLater"] == false, "{steps}");
    assert!(says("recording", "recording"), "{steps}");

    let clip = wait_for("a clip", seconds(120), || {
        let ended = daemon.events_in("ended").into_iter().find(|event| event["camera"] == "yard");
        ended.map(|event| event["clip"]["file"].clone()).ok_or_else(|| daemon.json("/api/v1/status").to_string())
    });
    assert_eq!(clip, "clip.mp4");
    assert_eq!(daemon.process().id(), pid, "the daemon that was started");
    let (status, said) = {
        let answer = daemon.send("DELETE", "/api/v1/cameras/yard/config", "", &json!({})).expect("an answer");
        (answer.status, String::from_utf8_lossy(&answer.body).into_owned())
    };
    assert!(matches!(status, 200 | 202), "{said}");
    wait_for("no camera again", seconds(60), || {
        let status = daemon.json("/api/v1/status");
        if status["concerns"][0]["code"] == "no_camera" { Ok(()) } else { Err(status.to_string()) }
    });
    assert!(daemon.terminate().success(), "{}", daemon.log());
}
