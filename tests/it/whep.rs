//! Cameras that offer WHEP: another box is one.

use crate::harness::clips::assert_sound;
use crate::harness::config::Config;
use crate::harness::daemon::{Daemon, outpost};
use crate::harness::{Scratch, fixture, port, seconds, wait_for, wait_until};

/// A box whose camera `yard` others can play by WHEP.
fn offering(scratch: &Scratch) -> Daemon {
    let mut config = Config::new(scratch).replay("yard", &fixture("people.mp4"));
    config.add(&format!("[webrtc]\nlisten = \"127.0.0.1:{}\"\n[load]\nenabled = false", port::free()));
    Daemon::start(scratch, config)
}

/// Works with: cameras | a camera that offers WHEP, such as another box | events, segments and live video as of any camera; it is connected again after a loss
#[test]
fn a_camera_that_offers_whep_is_recorded_and_survives_the_loss_of_its_box() {
    let (there, here) = (Scratch::new("whep-there"), Scratch::new("whep-here"));
    let mut other = offering(&there);
    let url = format!("whep+{}whep/yard", other.page());
    let mut config = Config::new(&here);
    config.add(&format!(
        "[load]\nenabled = false\n[camera.gate.source]\nurl = \"{url}\"\n\
         [camera.gate.detect]\nlabels = [\"person\"]\nmin_score = 0.4\n\
         [camera.gate.record]\npre_roll = \"2s\"\npost_roll = \"2s\"\nmode = \"continuous\"\nsegment = \"10s\""
    ));
    here.expect_log(&["camera offline", "camera degraded"]);
    let mut daemon = Daemon::start(&here, config);
    let state = |daemon: &Daemon, wanted: &str| {
        wait_for(&format!("the camera to be {wanted}"), seconds(90), || {
            let camera = daemon.json("/api/v1/status")["cameras"][0].clone();
            if camera["state"] == wanted { Ok(camera) } else { Err(camera.to_string()) }
        })
    };
    let camera = state(&daemon, "online");
    assert_eq!((&camera["codec"], &camera["width"]), (&"H.264".into(), &640.into()), "{camera}");
    let event =
        wait_for("an event", seconds(120), || daemon.events().into_iter().next().ok_or_else(|| "none".to_owned()));
    assert_eq!((&event["camera"], &event["label"]), (&"gate".into(), &"person".into()), "{event}");
    wait_until("two segments", seconds(90), || closed(&daemon).len() >= 2);
    let whole = here.path("segment.mp4");
    std::fs::write(&whole, segment(&daemon, &closed(&daemon)[1])).expect("write");
    let probe = assert_sound(&whole);
    // 10 pictures a second; a segment ends with a group of pictures.
    assert!(probe.codec == "h264" && probe.width == 640 && probe.duration_s >= 9.0, "{probe:?}");
    assert!(probe.packets as f64 >= 9.0 * probe.duration_s, "{probe:?}");

    let received = daemon.json("/api/v1/status")["cameras"][0]["webrtc"]["received"].clone();
    assert!(received["packets"].as_u64().is_some_and(|packets| packets > 100), "{received}");
    let sessions = |of: &Daemon, camera: &str, kind: &str| {
        of.metric(&format!("outpost_webrtc_sessions{{camera=\"{camera}\",kind=\"{kind}\"}}"))
    };
    assert_eq!((sessions(&daemon, "gate", "camera"), sessions(&other, "yard", "player")), (1.0, 1.0));
    let played = other.json("/api/v1/status")["cameras"][0]["webrtc"].clone();
    assert_eq!((&played["players"], &played["publisher"]), (&1.into(), &serde_json::Value::Null), "{played}");

    let (before, packets) = (daemon.reconnects("gate"), daemon.packets("gate"));
    other.crash_and_restart();
    wait_until("another connection", seconds(90), || daemon.reconnects("gate") > before);
    state(&daemon, "online");
    wait_until("more pictures", seconds(60), || daemon.packets("gate") > packets + 20.0);

    let snapshot = here.path("snapshot.jpg");
    let output = outpost(&["probe".to_owned(), url, format!("--snapshot={}", snapshot.display())]);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("size        640x480") && snapshot.exists(), "{said}");

    assert!(daemon.terminate().success(), "{}", daemon.log());
    // They are ended there at once, not when they are not heard of any more.
    wait_until("the end of its sessions", seconds(10), || sessions(&other, "yard", "player") == 0.0);
    assert!(!other.log().contains("not heard of"), "{}", other.log());
    assert!(other.terminate().success(), "{}", other.log());
}

/// The ids of closed segments.
fn closed(daemon: &Daemon) -> Vec<String> {
    let timeline = daemon.json("/api/v1/cameras/gate/timeline");
    let segments = timeline["segments"].as_array().expect("segments").iter();
    let closed = segments.filter(|segment| segment["state"] == "closed");
    closed.map(|segment| segment["id"].as_str().expect("an id").to_owned()).collect()
}

fn segment(daemon: &Daemon, id: &str) -> Vec<u8> {
    daemon.get(&format!("/api/v1/cameras/gate/segments/{id}.mp4")).expect("a segment").body
}
