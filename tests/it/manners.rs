//! Cameras that are slow, or that keep to the protocol in ways of their own.

use std::time::Duration;

use crate::harness::broker::{Broker, Subscriber};
use crate::harness::config::{Config, DEVICE};
use crate::harness::daemon::{Daemon, outpost};
use crate::harness::scripted_rtsp::{Camera, Manners, Refuses, Ssrc};
use crate::harness::{Scratch, seconds, wait_for, wait_until};

/// What the API says of a camera.
fn status_of(daemon: &Daemon, name: &str) -> serde_json::Value {
    let status = daemon.json("/api/v1/status");
    let mut cameras = status["cameras"].as_array().expect("cameras").iter();
    cameras.find(|camera| camera["name"] == name).expect("the camera").clone()
}

fn status(daemon: &Daemon) -> serde_json::Value {
    status_of(daemon, "slow")
}

fn is_online(daemon: &Daemon) -> bool {
    status(daemon)["state"] == "online"
}

/// With `camera` as `name`, which is recorded all the time and not looked at.
fn with_camera(config: &mut Config<'_>, name: &str, camera: &Camera, more: &str) {
    config.add(&format!("[camera.{name}.source]\nurl = \"{}\"\n{more}", camera.url()));
    config.add(&format!("[camera.{name}.detect]\nenabled = false"));
    config.add(&format!("[camera.{name}.record]\nmode = \"continuous\"\nsegment = \"10s\""));
}

/// A box with one camera, `slow`.
fn recorded<'a>(scratch: &'a Scratch, camera: &Camera, more: &str) -> Config<'a> {
    let mut config = Config::new(scratch);
    with_camera(&mut config, "slow", camera, more);
    config
}

#[test]
fn a_camera_that_takes_its_time_is_reached_and_what_is_waited_for_is_said() {
    let scratch = Scratch::new("slow");
    scratch.expect_log(&["camera offline"]);
    // The parameters are sent with key frames only, and none comes for the time being.
    let camera = Camera::start(Manners { holds_key_frames: true, parameters_in_sdp: false, ..Manners::default() });
    let mut daemon = Daemon::start(&scratch, recorded(&scratch, &camera, ""));
    wait_for("word of a wait that other cameras are not granted", seconds(30), || {
        let status = status(&daemon);
        let reason = status["reason"].as_str().unwrap_or_default();
        let waited = reason.strip_prefix("packets come, the first picture has been awaited for more than ");
        let (waited, why) = waited.and_then(|rest| rest.split_once(" s: ")).unwrap_or_default();
        let is_long = waited.parse::<u64>().is_ok_and(|waited| waited >= 10);
        let says_why = why.starts_with("its H.264 comes without parameter sets");
        if status["state"] == "connecting" && is_long && says_why { Ok(()) } else { Err(status.to_string()) }
    });
    camera.now(|manners| manners.holds_key_frames = false);
    wait_until("the camera to be online", seconds(30), || is_online(&daemon));
    assert_eq!(daemon.reconnects("slow"), 0.0, "it was hung up on");
    assert_eq!(status(&daemon)["reason"], serde_json::Value::Null);
    assert!(daemon.terminate().success());
}

/// Works with: cameras | a recorder that answers DESCRIBE only after it has fetched the stream, for more than 10 s | is waited for longer with each try
#[test]
fn a_recorder_that_holds_its_description_back_is_reached() {
    let scratch = Scratch::new("on-demand");
    scratch.expect_log(&["no answer to DESCRIBE within 10 s"]);
    let camera = Camera::start(Manners { describes_after: seconds(13), ..Manners::default() });
    let mut daemon = Daemon::start(&scratch, recorded(&scratch, &camera, ""));
    wait_until("the camera to be online", seconds(30), || is_online(&daemon));
    assert!(daemon.log().contains("no answer to DESCRIBE within 10 s"), "the first try is over by then");
    assert!(daemon.terminate().success());
}

#[test]
fn patience_from_the_configuration_ends_a_silent_session() {
    let scratch = Scratch::new("impatient");
    scratch.expect_log(&["camera offline"]);
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

/// Works with: cameras | a camera that hangs while its connection stays open | is said to give no pictures before it is given up, is shown with 0 fps and its last picture, and is connected again
#[test]
fn a_camera_that_hangs_is_said_to_be_silent_and_read_again_after_the_same_wait_each_time() {
    let scratch = Scratch::new("hangs");
    scratch.expect_log(&["camera offline", "camera degraded"]);
    let manners = || Manners { hangs_after: Some(20), ..Manners::default() };
    let (hangs, pauses) = (Camera::start(manners()), Camera::start(manners()));
    let broker = Broker::start(&scratch);
    let subscriber = Subscriber::start(&scratch, &broker, "outpost/#");
    let mut config = Config::new(&scratch).alerts_to(&broker);
    with_camera(&mut config, "hangs", &hangs, "");
    with_camera(&mut config, "pauses", &pauses, "max_silence = \"1h\"");
    let mut daemon = Daemon::start(&scratch, config);
    for (name, limit) in [("hangs", 10), ("pauses", 3600)] {
        wait_for(&format!("word of the silence of {name}"), seconds(60), || {
            let status = status_of(&daemon, name);
            let reason = status["reason"].as_str().unwrap_or_default();
            let is_said = reason.starts_with("no pictures for more than ")
                && reason.ends_with(&format!(" s; the connection is kept until {limit} s"))
                && status["stages"] == serde_json::json!(["reception"])
                && status["fps"] == 0.0;
            if status["state"] == "degraded" && is_said { Ok(()) } else { Err(status.to_string()) }
        });
    }
    assert_eq!(daemon.metric("outpost_camera_online{camera=\"pauses\"}"), 0.0);
    assert_eq!(daemon.metric("outpost_camera_degraded{camera=\"pauses\",stage=\"reception\"}"), 1.0);
    let published = |state: &str, stages: serde_json::Value| {
        let kept = subscriber.last(&format!("outpost/{DEVICE}/camera/pauses/health")).unwrap_or_default();
        let health: serde_json::Value = serde_json::from_str(&kept).unwrap_or_default();
        let reason = health["reason"].as_str().unwrap_or_default();
        health["state"] == state
            && health["stages"] == stages
            && reason.starts_with("no pictures") == (state == "degraded")
    };
    wait_until("it to be published", seconds(60), || published("degraded", serde_json::json!(["reception"])));
    // It goes on within its session.
    pauses.now(|manners| manners.hangs_after = None);
    wait_until("pictures again", seconds(60), || {
        let status = status_of(&daemon, "pauses");
        status["state"] == "online" && status["reason"].is_null() && status["fps"].as_f64() > Some(0.0)
    });
    wait_until("that to be published", seconds(60), || published("online", serde_json::json!([])));
    assert_eq!(daemon.metric("outpost_camera_online{camera=\"pauses\"}"), 1.0);
    assert_eq!(daemon.reconnects("pauses"), 0.0);
    let lines = |of: &str, text: &str| {
        let is_one = |line: &&str| line.contains(of) && line.contains(text);
        daemon.log().lines().filter(is_one).count()
    };
    assert_eq!(lines("pauses", "camera degraded"), 1);
    assert_eq!(lines("pauses", "camera works in full again"), 1);

    // The other one hangs in each of its sessions, and is not waited for longer.
    wait_until("three sessions", seconds(120), || daemon.reconnects("hangs") >= 3.0);
    let log = daemon.log();
    assert!(!log.contains("the next wait may take"), "{log}");
    let given_up = lines("hangs", "was lost: no picture for 10 s");
    assert!(given_up >= 3 && given_up == lines("hangs", "camera offline"), "each is said once: {log}");
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
    assert!(said.contains("no packets come: the first picture has been awaited for more than "), "{said}");
    let after = said.split_once("first       after ").and_then(|(_, rest)| rest.split(' ').next()?.parse::<f64>().ok());
    assert!(after.is_some_and(|after| after > 10.0), "{said}");
}

#[test]
fn cameras_that_keep_to_the_protocol_in_ways_of_their_own_stay_online() {
    let scratch = Scratch::new("manners");
    scratch.expect_log(&["camera offline"]);
    let quick = || Manners { interval: Duration::from_millis(50), ..Manners::default() };
    let one_way = Camera::start(Manners { refuses: Refuses::Tcp, ..quick() });
    let uniview = Camera::start(Manners { ssrc: Ssrc::PerGop, ..quick() });
    let both = Camera::start(Manners { ssrc: Ssrc::PerGop, refuses: Refuses::Tcp, ..quick() });
    let mut config = Config::new(&scratch);
    with_camera(&mut config, "one-way", &one_way, "");
    with_camera(&mut config, "uniview", &uniview, "");
    with_camera(&mut config, "both", &both, "");
    let mut daemon = Daemon::start(&scratch, config);
    let expected = [("one-way", "retina"), ("uniview", "libavformat"), ("both", "libavformat")];
    for (name, client) in expected {
        wait_for(&format!("{name} to be read by {client}"), seconds(30), || {
            let status = status_of(&daemon, name);
            if status["state"] == "online" && status["client"] == client { Ok(()) } else { Err(status.to_string()) }
        });
    }
    assert_eq!(status_of(&daemon, "one-way")["transport"], "UDP, as the camera refuses TCP");
    let reason = status_of(&daemon, "uniview")["client_reason"].to_string();
    assert!(reason.contains("synchronisation source"), "{reason}");
    // Many groups of pictures later they are still the same sessions.
    for (name, _) in expected {
        let (packets, reconnects) = (daemon.packets(name), daemon.reconnects(name));
        wait_until(&format!("pictures of {name}"), seconds(30), || daemon.packets(name) >= packets + 100.0);
        assert_eq!(daemon.reconnects(name), reconnects, "{name}");
    }
    let log = daemon.log();
    for line in ["the camera refuses this transport", "libavformat reads it from now on"] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert!(daemon.terminate().success());
}

#[test]
fn a_probe_says_which_transport_a_camera_takes() {
    let scratch = Scratch::new("one-way-probe");
    let camera = Camera::start(Manners { refuses: Refuses::Tcp, ..Manners::default() });
    let snapshot = scratch.path("snapshot.jpg");
    let output = outpost(&["probe".to_owned(), camera.url(), format!("--snapshot={}", snapshot.display())]);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && snapshot.exists(), "{said}");
    assert!(said.contains("transport   UDP, as the camera refuses TCP"), "{said}");
}
