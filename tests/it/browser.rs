//! The page in a real browser.

use std::process::Command;

use serde_json::Value;

use crate::harness::clips::{assert_sound, people_as, shown};
use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::process::run;
use crate::harness::rtsp::{Auth, RtspServer};
use crate::harness::scripted_rtsp::{Camera, Manners};
use crate::harness::{Scratch, fixture, installed, repository, seconds, wait_for, wait_until};

/// What a person's browser saw of a page; see tests/browser/look.mjs. `OUTPOST_SCREENSHOT` names a PNG to write.
pub fn look(url: &str) -> Value {
    let script = repository().join("tests/browser/look.mjs");
    let text =
        run(Command::new("node").arg(script).arg(url).env("OUTPOST_NODE_MODULES", installed("node/node_modules")));
    serde_json::from_str(&text).expect("the browser's report")
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().map(|item| item.as_str().expect("text")).collect()
}

#[test]
fn the_page_shows_events_without_errors_and_asks_no_other_host() {
    let scratch = Scratch::new("browser");
    let people = fixture("people.mp4");
    let daemon = Daemon::start(&scratch, Config::new(&scratch).replay("gate", &people));
    daemon.wait_for_ended(3, seconds(90));

    let seen = look(&daemon.page());
    assert_eq!(strings(&seen["errors"]), Vec::<&str>::new(), "on the console");
    assert_eq!(strings(&seen["failed"]), Vec::<&str>::new(), "answers");
    let page = daemon.page();
    let elsewhere: Vec<&str> = strings(&seen["requests"])
        .into_iter()
        .filter(|url| !url.starts_with(&page) && !url.starts_with("data:") && !url.starts_with("blob:"))
        .collect();
    assert!(elsewhere.is_empty(), "asked of others: {elsewhere:?}");
    let images = seen["images"].as_array().expect("a list");
    let thumbnails: Vec<&Value> =
        images.iter().filter(|image| image["src"].as_str().is_some_and(|src| src.contains("thumb"))).collect();
    assert!(thumbnails.len() >= 3, "{images:?}");
    assert!(thumbnails.iter().all(|image| image["width"].as_u64() > Some(0)), "not loaded: {thumbnails:?}");
    assert!(seen["title"].as_str().is_some_and(|title| title.contains("Outpost")), "{}", seen["title"]);
    let words = seen["text"].as_str().expect("text");
    assert!(words.contains("gate") && words.contains("Person"), "{words}");
    assert!(words.contains("Last 24 h:") && words.contains("recorded"), "{words}");
}

/// Whether a camera's last day has time of this state.
fn has_coverage(daemon: &Daemon, camera: &str, state: &str) -> bool {
    let timeline = daemon.json(&format!("/api/v1/cameras/{camera}/timeline"));
    timeline["coverage"].as_array().expect("a list").iter().any(|piece| piece["state"] == state)
}

/// Works with: cameras | a file that was played to its end | is finished and no fault: page, API, metrics, MQTT and coverage do not count it as offline
#[test]
fn the_page_says_what_is_true_of_cameras_that_give_no_pictures_any_more() {
    let scratch = Scratch::new("no-pictures");
    scratch.expect_log(&["camera offline", "camera degraded", "task failed, trying again"]);
    let lost = Camera::start(Manners::default());
    let silent = Camera::start(Manners { hangs_after: Some(20), ..Manners::default() });
    let mut config = Config::new(&scratch).played_once("film", &fixture("people.mp4"), 4.0);
    config.add(&format!("[camera.lost.source]\nurl = \"{}\"\n[camera.lost.detect]\nenabled = false", lost.url()));
    config.add(&format!("[camera.silent.source]\nurl = \"{}\"\nmax_silence = \"1h\"", silent.url()));
    config.add("[camera.silent.detect]\nenabled = false");
    config.add("[camera.never.source]\nurl = \"rtsp://127.0.0.1:9/live\"");
    let daemon = Daemon::start(&scratch, config);
    daemon.wait_for_ended(1, seconds(90));
    let is = |name: &str, state: &str| {
        let status = daemon.json("/api/v1/status");
        let cameras = status["cameras"].as_array().expect("cameras");
        let is_so = cameras.iter().any(|camera| camera["name"] == name && camera["state"] == state);
        if is_so { Ok(()) } else { Err(status.to_string()) }
    };
    let has_frame = || daemon.get("/api/v1/cameras/lost/frame.jpg").is_ok_and(|answer| answer.status == 200);
    wait_until("a picture", seconds(60), has_frame);
    drop(lost);
    for (name, state) in [("film", "finished"), ("lost", "offline"), ("never", "offline"), ("silent", "degraded")] {
        wait_for(&format!("{name} to be {state}"), seconds(60), || is(name, state));
    }
    wait_until("the loss in the coverage", seconds(60), || has_coverage(&daemon, "lost", "offline"));
    assert!(!has_coverage(&daemon, "film", "offline"));
    let summary = daemon.json("/api/v1/status")["summary"]["text"].to_string();
    assert!(summary.contains("2 of 4 cameras offline; 1 of 4 cameras degraded: no pictures for more"), "{summary}");
    let metrics = String::from_utf8(daemon.get("/metrics").expect("metrics").body).expect("text");
    let online = |name: &str| metrics.contains(&format!("outpost_camera_online{{camera=\"{name}\"}} 0"));
    assert!(online("lost") && !metrics.contains("outpost_camera_online{camera=\"film\"}"), "{metrics}");

    let seen = look(&daemon.page());
    assert_eq!(strings(&seen["failed"]), Vec::<&str>::new(), "answers");
    let images = seen["images"].as_array().expect("a list");
    let last = |name: &str| {
        let of = |image: &&Value| image["src"].as_str().is_some_and(|src| src.contains(&format!("{name}/last.jpg")));
        images.iter().find(of).is_some_and(|image| image["width"].as_u64() > Some(0))
    };
    assert!(last("film") && last("lost") && last("silent") && !last("never"), "{images:?}");
    let words = seen["text"].as_str().expect("text");
    let expected = [
        "the file was played to its end",
        "last picture",
        "No picture since Outpost started",
        "no pictures for more than",
    ];
    for expected in expected {
        assert!(words.to_lowercase().contains(&expected.to_lowercase()), "{expected}: {words}");
    }
    assert!(!words.contains("No picture yet") && !words.contains(" fps"), "{words}");
}

/// Which pictures a browser presents of the clip at `url` when it is asked for those of `times`, in seconds; see
/// tests/browser/play.mjs.
pub fn presented(url: &str, times: &[f64]) -> Value {
    let script = repository().join("tests/browser/play.mjs");
    let times = serde_json::to_string(times).expect("numbers");
    let mut command = Command::new("node");
    command.arg(script).arg(url).arg(times).env("OUTPOST_NODE_MODULES", installed("node/node_modules"));
    serde_json::from_str(&run(&mut command)).expect("the browser's report")
}

/// Works with: clips | B-frames in files and over RTSP | the browser presents every picture of a clip, at its time
#[test]
fn a_browser_presents_every_picture_of_a_clip_with_b_frames() {
    let scratch = Scratch::new("b-frames");
    let people = people_as("h264-b-frames");
    let server = RtspServer::start(&scratch, Auth::None, &[("/people", "h264", &people)]);
    let config = Config::new(&scratch).replay("file", &people).camera("net", &server, "/people", Auth::None);
    let daemon = Daemon::start(&scratch, config);
    for camera in ["file", "net"] {
        let event = wait_for(&format!("an event of {camera}"), seconds(90), || {
            let ended = daemon.events_in("ended");
            let is_filmed = |event: &Value| event["camera"] == camera && event["clip"].is_object();
            ended.into_iter().find(is_filmed).ok_or_else(|| "none ended".to_owned())
        });
        let id = event["id"].as_str().expect("an id");
        let clip = scratch.path("box/archive").join(camera).join(id).join("clip.mp4");
        let probe = assert_sound(&clip);
        let expected = shown(&clip);
        assert_eq!((expected.len() as u64, expected[0]), (probe.packets, 0.0), "{camera}");
        let asked = &expected[..expected.len().min(80)];
        let seen = presented(&format!("{}api/v1/events/{id}/clip.mp4", daemon.page()), asked);
        assert_eq!(seen["error"], Value::Null, "{camera}");
        let mut times: Vec<f64> = seen["times"].as_array().expect("a list").iter().filter_map(Value::as_f64).collect();
        times.sort_by(f64::total_cmp);
        times.dedup_by(|a, b| (*a - *b).abs() < 0.002);
        times.retain(|time| *time < asked[asked.len() - 1] + 0.002);
        assert_eq!(times.len(), asked.len(), "{camera}: {times:?}");
        let differ = times.iter().zip(asked).find(|(time, expected)| (*time - *expected).abs() > 0.002);
        assert_eq!(differ, None, "{camera}: {times:?}");
    }
}

/// Works with: clips | a clip in several files, because the camera changed its parameters | the page lists all of them and plays one after the other
#[test]
fn the_page_plays_the_files_of_a_clip_one_after_the_other() {
    let scratch = Scratch::new("two-files");
    let config = Config::new(&scratch).played_once("gate", &fixture("people.mp4"), 4.0);
    let mut daemon = Daemon::start(&scratch, config);
    let event = wait_for("an event with a clip", seconds(90), || {
        let filmed = daemon.events_in("ended").into_iter().find(|event| event["clip"].is_object());
        filmed.ok_or_else(|| "none".to_owned())
    });
    let id = event["id"].as_str().expect("an id").to_owned();
    assert!(daemon.terminate().success());
    // As a camera that changed its parameters leaves it.
    let folder = scratch.path("box/archive/gate").join(&id);
    let sidecar = folder.join("event.json");
    let mut event: Value = serde_json::from_slice(&std::fs::read(&sidecar).expect("a sidecar")).expect("JSON");
    std::fs::copy(folder.join("clip.mp4"), folder.join("clip-2.mp4")).expect("copy");
    let mut second = event["clip"].clone();
    second["file"] = "clip-2.mp4".into();
    event["more_clips"] = vec![second].into();
    std::fs::write(&sidecar, event.to_string()).expect("write");
    // An index that is lost is filled from the sidecars.
    std::fs::remove_dir_all(scratch.path("box/index")).expect("remove the index");
    daemon.start_again();
    wait_for("the second file to be known", seconds(60), || {
        let known = daemon.events().into_iter().find(|event| event["id"] == *id).unwrap_or_default();
        if known["more_clips"][0]["file"] == "clip-2.mp4" { Ok(()) } else { Err(known.to_string()) }
    });

    let script = repository().join("tests/browser/follow.mjs");
    let mut command = Command::new("node");
    command.arg(script).arg(format!("{}#{id}", daemon.page()));
    command.env("OUTPOST_NODE_MODULES", installed("node/node_modules"));
    let seen: Value = serde_json::from_str(&run(&mut command)).expect("the browser's report");
    let ends_with = |name: &str, file: &str| seen[name].as_str().is_some_and(|url| url.ends_with(file));
    assert!(ends_with("first", "/clip.mp4") && ends_with("next", "/clip-2.mp4"), "{seen}");
    let says = |name: &str, words: &str| seen[name].as_str().is_some_and(|text| text.contains(words));
    assert!(says("files", "clip.mp4") && says("files", "clip-2.mp4") && says("facts", "2 files"), "{seen}");
    assert_eq!(strings(&seen["errors"]), Vec::<&str>::new());
}
