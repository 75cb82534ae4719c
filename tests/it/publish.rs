//! Phones and browsers as cameras: what people do on the page, with a browser's fake camera.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::clips::probe;
use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::process::run;
use crate::harness::{Scratch, fixture, installed, port, repository};

const TOKEN: &str = "a-token-of-the-phone";

/// Works with: cameras | a phone or browser that publishes by WHIP, H.264 or VP8 (shown with Chromium), and a player by WHEP | events, segments and live video as of any camera; the second one is refused; it ends when it is ended there
#[test]
fn a_browser_publishes_its_camera_and_another_one_plays_it() {
    let scratch = Scratch::new("publish");
    let token = scratch.secret("phone.token", TOKEN);
    let film = scratch.path("people.y4m");
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-nostdin", "-v", "error", "-i"]).arg(fixture("people.mp4"));
    run(ffmpeg.args(["-pix_fmt", "yuv420p"]).arg(&film));
    let mut config = Config::new(&scratch);
    config.add(&format!(
        "[webrtc]\nlisten = \"127.0.0.1:{}\"\n[load]\nenabled = false\n\
         [camera.phone.source]\nurl = \"whip:\"\npassword_file = \"{}\"\n\
         [camera.phone.detect]\nlabels = [\"person\"]\nmin_score = 0.4\n\
         [camera.phone.record]\npre_roll = \"2s\"\npost_roll = \"2s\"\nmode = \"continuous\"\nsegment = \"10s\"",
        port::free(),
        token.display()
    ));
    let mut daemon = Daemon::start(&scratch, config);
    let mut node = Command::new("node");
    node.arg(repository().join("tests/browser/publish.mjs")).arg(daemon.page()).arg(TOKEN).arg(&film);
    let report = run(node.env("OUTPOST_NODE_MODULES", installed("node/node_modules")));
    let seen: Value = serde_json::from_str(&report).expect("the browser's report");
    assert_eq!(seen["errors"], json!([]), "on the console");
    let violations = seen["violations"].as_object().expect("lists");
    assert!(violations.len() == 3 && violations.values().all(|found| *found == json!([])), "axe: {violations:#?}");
    let steps = &seen["steps"];
    let says = |step: &str, words: &str| steps[step].as_str().is_some_and(|text| text.contains(words));
    assert_eq!(steps["wide"], json!(true), "nothing is wider than the phone");
    assert!(
        says("live", "takes the pictures") && says("taken", "Another phone") && says("wrongToken", "may not publish"),
        "{steps}"
    );
    assert_eq!(steps["codec"], "H.264", "{steps}");
    let publisher = &steps["publisher"];
    assert_eq!(
        (&publisher["by"], &publisher["from"]),
        (&json!("key publisher of phone"), &json!("127.0.0.1")),
        "{steps}"
    );
    assert_eq!(steps["early"], json!(["publish.ended", 200, "publish.ended"]), "{steps}");
    assert_eq!((&steps["moved"], &steps["sessions"]), (&json!(200), &json!(1)), "the session goes on: {steps}");
    assert_eq!((&steps["again"], &steps["awake"]), (&json!(2), &json!(3)), "{steps}");
    assert!(steps["liveView"].as_u64().is_some_and(|width| width > 0), "{steps}");
    assert!(says("facts", "published by key publisher of phone"), "{steps}");
    assert_eq!(steps["cause"], json!(["publisher_ended", "ended_there"]), "{steps}");
    let played = &steps["played"];
    assert_eq!((&played["status"], &played["deleted"]), (&json!(201), &json!(200)), "{steps}");
    assert!(played["time"].as_f64().is_some_and(|time| time >= 2.0) && played["size"][0] != 0, "{steps}");
    assert_eq!(steps["event"], "person", "{steps}");
    assert!(says("away", "it was ended there"), "{steps}");

    assert_eq!(steps["vp8"], 201, "{steps}");
    assert_eq!(steps["vp8Played"], json!([409, "no_video"]), "{steps}");
    assert_eq!(steps["vp8Ended"], 200, "{steps}");
    assert_eq!((&steps["level"], &steps["tablet"]), (&json!("ok"), &json!(2)), "{steps}");
    assert!(says("headline", "A camera waits for a phone or browser"), "{steps}");
    assert_eq!(steps["adding"], json!(["whip:", true, false, true]), "{steps}");

    let timeline = daemon.json("/api/v1/cameras/phone/timeline");
    let segments = timeline["segments"].as_array().expect("segments").iter();
    let closed: Vec<&Value> = segments.filter(|segment| segment["state"] == "closed").collect();
    let mut packets = Vec::new();
    // Those of H.264 as they came, those of VP8 encoded.
    for segment in closed {
        let id = segment["id"].as_str().expect("an id");
        let video = daemon.get(&format!("/api/v1/cameras/phone/segments/{id}.mp4")).expect("a segment");
        let file = scratch.path("segment.mp4");
        std::fs::write(&file, video.body).expect("write");
        let probe = probe(&file);
        assert!(probe.codec == "h264" && probe.starts_with_key_frame, "{probe:?}");
        packets.push(probe.packets);
    }
    assert!(packets.iter().filter(|packets| **packets >= 10).count() >= 2, "{packets:?}");
    assert!(daemon.terminate().success(), "{}", daemon.log());
}
