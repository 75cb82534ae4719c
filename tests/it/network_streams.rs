//! Cameras that libavformat reads: those that speak no RTSP, and those whose RTSP is not to retina's liking.

use std::fs;
use std::net::TcpListener;

use serde_json::Value;

use crate::harness::clips::assert_sound;
use crate::harness::config::Config;
use crate::harness::daemon::{Daemon, outpost};
use crate::harness::mjpeg::MjpegCamera;
use crate::harness::scripted_rtsp::{Camera, Manners};
use crate::harness::{Scratch, fixture, seconds, wait_for, wait_until};

/// A camera whose description lacks its first line.
fn odd_camera() -> Camera {
    let sdp = Manners::default().sdp.replace("v=0\r\n", "");
    Camera::start(Manners { sdp, ..Manners::default() })
}

#[test]
fn cameras_that_libavformat_reads_give_events_and_are_reported_on_page_and_log() {
    let scratch = Scratch::new("libavformat");
    let (http, odd) = (MjpegCamera::start(&scratch, &fixture("people.mp4")), odd_camera());
    let mut config = Config::new(&scratch);
    config.add(&format!("[camera.door.source]\nurl = \"ffmpeg:{}\"", http.url()));
    config.add("[camera.door.detect]\nlabels = [\"person\"]\nmin_score = 0.4");
    config.add(&format!("[camera.odd.source]\nurl = \"{}\"", odd.url()));
    config.add("[camera.odd.detect]\nenabled = false\n[camera.odd.record]\nmode = \"continuous\"\nsegment = \"10s\"");
    let mut daemon = Daemon::start(&scratch, config);
    wait_for("both cameras with what reads them", seconds(60), || {
        let cameras = daemon.json("/api/v1/status")["cameras"].clone();
        let [door, odd] = [&cameras[0], &cameras[1]];
        let reason = odd["client_reason"].as_str().unwrap_or_default();
        let well = door["state"] == "online"
            && (&door["client"], &door["codec"], &door["width"])
                == (&"libavformat".into(), &"MJPEG".into(), &640.into())
            && odd["state"] == "online"
            && (&odd["client"], &odd["codec"], &odd["width"]) == (&"libavformat".into(), &"H.264".into(), &96.into())
            && door["client_reason"].is_null()
            && reason.contains("No version line");
        if well { Ok(()) } else { Err(cameras.to_string()) }
    });
    let log = daemon.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("libavformat reads it from now on")).collect();
    assert!(lines.len() == 1 && lines[0].contains("No version line"), "{log}");
    let event = wait_for("an event of the HTTP camera", seconds(120), || {
        let is_filmed = |event: &Value| event["camera"] == "door" && event["clip"].is_object();
        daemon.events_in("ended").into_iter().find(is_filmed).ok_or_else(|| "none".to_owned())
    });
    let folder = scratch.path("box/archive/door").join(event["id"].as_str().expect("an id"));
    assert_eq!(assert_sound(&folder.join("clip.mp4")).codec, "h264");
    let segments = scratch.path("box/recordings/odd");
    wait_until("a segment of the odd camera", seconds(60), || {
        let files = fs::read_dir(&segments).into_iter().flatten().flatten().map(|entry| entry.path());
        files.filter(|path| path.extension().is_some_and(|extension| extension == "json")).count() > 0
    });
    assert!(daemon.terminate().success());
}

/// Works with: cameras | an HTTP or RTMP camera that accepts the connection and never answers | is reported as silent, and never holds up the stop of the daemon
#[test]
fn a_camera_that_never_answers_does_not_hold_up_the_end() {
    let scratch = Scratch::new("libavformat-mute");
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let mut config = Config::new(&scratch);
    for scheme in ["http", "rtmp"] {
        let address = listener.local_addr().expect("an address");
        config.add(&format!("[camera.{scheme}.source]\nurl = \"ffmpeg:{scheme}://{address}/live\""));
        config.add(&format!("[camera.{scheme}.detect]\nenabled = false"));
    }
    let mut daemon = Daemon::start(&scratch, config);
    let connections: Vec<_> = (0..2).map(|_| listener.accept().expect("a connection of each camera")).collect();
    assert!(daemon.terminate().success());
    assert!(!daemon.log().contains("left behind"), "{}", daemon.log());
    drop(connections);
}

#[test]
fn a_probe_says_what_reads_a_camera_and_why() {
    let scratch = Scratch::new("libavformat-probe");
    let (http, odd) = (MjpegCamera::start(&scratch, &fixture("people.mp4")), odd_camera());
    let probe = |url: String| {
        let snapshot = scratch.path("snapshot.jpg");
        let output = outpost(&["probe".to_owned(), url, format!("--snapshot={}", snapshot.display())]);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && snapshot.exists(), "{said}");
        said
    };
    let said = probe(format!("ffmpeg:{}", http.url()));
    for line in ["read        by libavformat ", "coding      MJPEG", "size        640x480", "frame rate  "] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let said = probe(odd.url());
    for line in ["read        by libavformat ", "because retina refuses it: DESCRIBE failed", "size        96x64"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let camera = Camera::start(Manners::default());
    let said = probe(format!("ffmpeg:{}", camera.url()));
    assert!(said.contains("read        by libavformat ") && !said.contains("refuses"), "{said}");
    let said = probe(camera.url());
    assert!(said.contains("read        by retina\n"), "{said}");
}
