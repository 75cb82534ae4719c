//! The sound of cameras, in clips and segments.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::end_to_end::on_disk;
use crate::harness::clips::{Lamp, assert_sound, lamp};
use crate::harness::config::{Config, lamp_sections};
use crate::harness::daemon::{Daemon, outpost};
use crate::harness::process::run;
use crate::harness::rtsp::{Auth, RtspServer};
use crate::harness::{Scratch, repository, seconds, wait_for, wait_until};

/// The audio of a file: its coding and its length in seconds, all of which decodes. `None` of a silent file.
fn heard(file: &Path) -> Option<(String, f64)> {
    let text = run(Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-select_streams",
            "a",
            "-of",
            "json",
            "-show_packets",
            "-show_entries",
            "stream=codec_name",
        ])
        .args(["-show_entries", "packet=pts_time"])
        .arg(file));
    let said: Value = serde_json::from_str(&text).expect("ffprobe speaks JSON");
    let codec = said["streams"][0]["codec_name"].as_str()?.to_owned();
    let errors =
        run(Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(file).args(["-map", "0:a", "-f", "null", "-"]));
    assert_eq!(errors, "", "{}", file.display());
    let packets = said["packets"].as_array().expect("packets");
    let time = |packet: &Value| packet["pts_time"].as_str().and_then(|text| text.parse::<f64>().ok());
    let (first, last) = (packets.first().and_then(time)?, packets.last().and_then(time)?);
    Some((codec, last - first))
}

/// Fails the test unless the clip has pictures and this audio, which are as long as each other.
fn assert_heard(clip: &Path, codec: &str) {
    let (pictures, sound) = (assert_sound(clip), heard(clip));
    let (coded, length) = sound.unwrap_or_else(|| panic!("{}: no sound", clip.display()));
    assert_eq!(coded, codec, "{}", clip.display());
    assert!((pictures.duration_s - length).abs() < 1.0, "{}: {length} s of sound for {pictures:?}", clip.display());
}

/// A camera of a server that looks for a lamp.
fn section(name: &str, server: &RtspServer, mount: &str, more: &str) -> String {
    format!("{}{more}", lamp_sections(name, &format!("url = \"{}\"\ntransport = \"tcp\"", server.url(mount))))
}

fn start(scratch: &Scratch, sections: &[String]) -> Daemon {
    let mut config = Config::new(scratch).models_in(&repository().join("tests/vm/models"));
    sections.iter().for_each(|section| config.add(section));
    Daemon::start(scratch, config)
}

/// The clip of the first event of a camera that is over.
fn clip_of(scratch: &Scratch, daemon: &Daemon, camera: &str) -> PathBuf {
    wait_for("an event that is over", seconds(60), || {
        let events = daemon.events();
        let is_over =
            |event: &&Value| event["camera"] == camera && event["state"] != "open" && event["clip"].is_object();
        let event = events.iter().find(is_over).ok_or_else(|| format!("{} events", events.len()))?;
        Ok(on_disk(scratch, event, "clip.mp4"))
    })
}

fn camera(daemon: &Daemon, name: &str) -> Value {
    let status = daemon.json("/api/v1/status");
    let cameras = status["cameras"].as_array().expect("cameras");
    cameras.iter().find(|camera| camera["name"] == name).expect("the camera").clone()
}

/// Works with: cameras | H.264 with AAC or Opus over RTSP | clips have the sound, from the pre-roll on, as long as the pictures
#[test]
fn the_sound_of_a_camera_is_in_its_clips() {
    let scratch = Scratch::new("sound");
    let film = lamp(Lamp::Blinking);
    let server = RtspServer::start(&scratch, Auth::None, &[("/aac", "h264+aac", &film), ("/opus", "h264+opus", &film)]);
    let daemon = start(&scratch, &[section("door", &server, "/aac", ""), section("yard", &server, "/opus", "")]);
    for (name, codec, shown, client) in [("door", "aac", "AAC", "retina"), ("yard", "opus", "Opus", "libavformat")] {
        assert_heard(&clip_of(&scratch, &daemon, name), codec);
        let camera = camera(&daemon, name);
        assert_eq!((&camera["audio"], &camera["client"]), (&shown.into(), &client.into()), "{camera}");
        assert!(camera["audio_note"].is_null(), "{camera}");
    }
}

/// Works with: cameras | H.264 with G.711 over RTSP | clips have the pictures; page, API, probe and log say that the sound is not recorded, and what to choose
#[test]
fn sound_that_clips_do_not_hold_is_said_to_be_missing() {
    let scratch = Scratch::new("sound-unfit");
    let film = lamp(Lamp::Blinking);
    // A mount that is watched for its pictures alone has no room for another viewer, which is this server's manner.
    let mounts = ["/mu", "/probe"].map(|mount| (mount, "h264+pcmu", film.as_path()));
    let server = RtspServer::start(&scratch, Auth::None, &[mounts[0], mounts[1], ("/a", "h264+pcma", &film)]);
    let daemon = start(&scratch, &[section("door", &server, "/mu", ""), section("yard", &server, "/a", "")]);
    for (name, coding) in [("door", "G.711 (PCMU)"), ("yard", "G.711 (PCMA)")] {
        let clip = clip_of(&scratch, &daemon, name);
        assert_sound(&clip);
        assert_eq!(heard(&clip), None, "{}", clip.display());
        let camera = camera(&daemon, name);
        let note = camera["audio_note"].as_str().expect("a note");
        assert!(note.contains(coding) && note.contains("AAC") && camera["audio"].is_null(), "{camera}");
    }
    assert_eq!(daemon.log().matches("no sound is recorded").count(), 2, "once for each camera");
    assert!(server.setups().iter().all(|stream| stream.ends_with("stream=0")), "{:?}", server.setups());
    let snapshot = format!("--snapshot={}", scratch.path("snapshot.jpg").display());
    let probed = outpost(&["probe".to_owned(), server.url("/probe"), snapshot]);
    let said = String::from_utf8_lossy(&probed.stdout).into_owned();
    assert!(said.contains("sound       its sound is G.711 (PCMU), which is not recorded: choose AAC"), "{said}");
}

/// Works with: cameras | `record.audio = false` | the camera is not even asked for its sound, and clips have none
#[test]
fn a_camera_whose_sound_must_not_be_recorded_is_not_asked_for_it() {
    let scratch = Scratch::new("sound-forbidden");
    let film = lamp(Lamp::Blinking);
    let server = RtspServer::start(&scratch, Auth::None, &[("/aac", "h264+aac", &film), ("/opus", "h264+opus", &film)]);
    let silent = "audio = false\n";
    let daemon =
        start(&scratch, &[section("door", &server, "/aac", silent), section("yard", &server, "/opus", silent)]);
    for name in ["door", "yard"] {
        let clip = clip_of(&scratch, &daemon, name);
        assert_sound(&clip);
        assert_eq!(heard(&clip), None, "{}", clip.display());
        assert_eq!(camera(&daemon, name)["client"], "retina");
    }
    let asked = server.setups();
    assert!(!asked.is_empty() && asked.iter().all(|stream| stream.ends_with("stream=0")), "{asked:?}");
}

/// Works with: clips | kill -9 while a clip with sound is written | the repaired clip has pictures and sound
#[test]
fn a_clip_that_a_crash_cuts_short_has_its_sound() {
    let scratch = Scratch::new("sound-crash");
    let server = RtspServer::start(&scratch, Auth::None, &[("/aac", "h264+aac", &lamp(Lamp::OnceLarge))]);
    let mut daemon = start(&scratch, &[section("door", &server, "/aac", "")]);
    let open = wait_for("an event", seconds(60), || {
        daemon.events_in("open").into_iter().next().ok_or_else(|| "none".to_owned())
    });
    let clip = on_disk(&scratch, &open, "clip.mp4");
    wait_until("three seconds of it", seconds(30), || {
        std::fs::metadata(&clip).is_ok_and(|file| file.len() > 8_000_000)
    });
    daemon.crash_and_restart();
    wait_until("the event to be over", seconds(60), || {
        daemon.events().iter().any(|event| event["id"] == open["id"] && event["clip"].is_object())
    });
    assert_heard(&clip, "aac");
}

/// Works with: clips | a file with sound that is played in the role of a camera, recorded all the time | each segment has its sound
#[test]
fn segments_of_a_file_have_its_sound() {
    let scratch = Scratch::new("sound-segments");
    let film = scratch.path("film.mp4");
    run(Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(lamp(Lamp::Blinking))
        .args(["-f", "lavfi", "-i", "sine=frequency=440", "-map", "0:v", "-map", "1:a", "-shortest", "-c:v", "copy"])
        .args(["-c:a", "aac"])
        .arg(&film));
    let mut config = Config::new(&scratch).models_in(&repository().join("tests/vm/models"));
    config.add(&format!(
        "[camera.door.source]\nurl = \"replay:{}\"\nrepeat = true\n[camera.door.detect]\nenabled = false\n\
         [camera.door.record]\nmode = \"continuous\"\nsegment = \"5s\"",
        film.display()
    ));
    let _daemon = Daemon::start(&scratch, config);
    let segments = wait_for("three segments", seconds(60), || {
        let folder = std::fs::read_dir(scratch.path("box/recordings/door")).map_err(|e| e.to_string())?;
        let complete = folder.flatten().map(|entry| entry.path());
        let complete: Vec<_> = complete.filter(|path| path.extension().is_some_and(|kind| kind == "json")).collect();
        if complete.len() < 3 { Err(format!("{} segments", complete.len())) } else { Ok(complete) }
    });
    for segment in segments {
        assert_heard(&segment.with_extension("mp4"), "aac");
    }
}
