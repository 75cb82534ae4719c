//! Cameras that are slow, or that keep to the protocol in ways of their own.

use std::time::Duration;

use crate::harness::config::Config;
use crate::harness::daemon::{Daemon, outpost};
use crate::harness::scripted_rtsp::{Camera, Manners};
use crate::harness::{Scratch, seconds, wait_for, wait_until};

/// What the API says of the only camera.
fn status(daemon: &Daemon) -> serde_json::Value {
    daemon.json("/api/v1/status")["cameras"][0].clone()
}

fn is_online(daemon: &Daemon) -> bool {
    status(daemon)["state"] == "online"
}

/// A box with `camera`, which is recorded all the time and not looked at.
fn recorded<'a>(scratch: &'a Scratch, camera: &Camera, more: &str) -> Config<'a> {
    let mut config = Config::new(scratch);
    config.add(&format!("[camera.slow.source]\nurl = \"{}\"\n{more}", camera.url()));
    config.add("[camera.slow.detect]\nenabled = false\n[camera.slow.record]\nmode = \"continuous\"\nsegment = \"10s\"");
    config
}

#[test]
fn a_camera_that_takes_its_time_is_reached_and_what_is_waited_for_is_said() {
    let scratch = Scratch::new("slow");
    // The rest of a group of pictures cannot be decoded; the next one comes after 13 s.
    let camera = Camera::start(Manners {
        interval: Duration::from_millis(500),
        gop: 32,
        begins_with: 6,
        parameters_in_sdp: false,
        ..Manners::default()
    });
    let mut daemon = Daemon::start(&scratch, recorded(&scratch, &camera, ""));
    wait_for("word of the wait", seconds(20), || {
        let status = status(&daemon);
        let reason = status["reason"].as_str().unwrap_or_default();
        let says = reason.starts_with("packets come, the first picture has been awaited for more than 5 s: its H.264");
        if status["state"] == "connecting" && says { Ok(()) } else { Err(status.to_string()) }
    });
    wait_until("the camera to be online", seconds(30), || is_online(&daemon));
    assert_eq!(daemon.reconnects("slow"), 0.0, "it was hung up on");
    assert_eq!(status(&daemon)["reason"], serde_json::Value::Null);
    assert!(daemon.terminate().success());
}

#[test]
fn patience_from_the_configuration_ends_a_silent_session() {
    let scratch = Scratch::new("impatient");
    let camera = Camera::start(Manners { first_picture: seconds(3600), ..Manners::default() });
    let mut daemon = Daemon::start(&scratch, recorded(&scratch, &camera, "max_silence = \"1s\""));
    wait_until("the reason", seconds(20), || {
        status(&daemon)["reason"].as_str().is_some_and(|reason| reason.ends_with("no picture for 1 s"))
    });
    // Its pictures come from now on.
    camera.now(|manners| manners.first_picture = Duration::ZERO);
    wait_until("the camera to be online", seconds(30), || is_online(&daemon));
    assert!(daemon.terminate().success());
}

#[test]
fn a_probe_waits_for_a_slow_camera_and_says_how_slow_it_is() {
    let scratch = Scratch::new("slow-probe");
    let camera = Camera::start(Manners { first_picture: seconds(11), ..Manners::default() });
    let snapshot = scratch.path("snapshot.jpg");
    let output = outpost(&["probe".to_owned(), camera.url(), format!("--snapshot={}", snapshot.display())]);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && snapshot.exists(), "{said}");
    assert!(said.contains("no packets come: the first picture has been awaited for more than 5 s"), "{said}");
    assert!(said.contains("first       after 11"), "{said}");
}
