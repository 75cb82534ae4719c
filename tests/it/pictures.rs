//! Pictures that are stored turned, codings that only files bring, pictures that are cut off, and cameras whose
//! packets come to no use.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::broker::{Broker, Subscriber};
use crate::harness::clips::{assert_sound, people_as};
use crate::harness::config::{Config, DEVICE};
use crate::harness::daemon::{Daemon, outpost};
use crate::harness::{Scratch, fixture, repository, seconds, wait_for, wait_until};

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn ffmpeg(input: &Path, options: &str, output: &Path) {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y", "-i"]).arg(input).args(options.split_whitespace()).arg(output);
    assert!(command.status().expect("run ffmpeg").success(), "ffmpeg {options}");
}

/// The clip of people, stored as the filter makes it, with the display matrix `a b c d` that undoes it.
fn stored_turned(scratch: &Scratch, filter: &str, [a, b, c, d]: [i32; 4]) -> PathBuf {
    let path = scratch.path(&format!("{filter}.mp4"));
    let coding = format!("-vf {filter} -c:v libx264 -preset veryfast -g 20 -bf 0 -pix_fmt yuv420p");
    ffmpeg(&fixture("people.mp4"), &coding, &path);
    let mut file = std::fs::read(&path).expect("read");
    let at = file.windows(4).position(|four| four == b"tkhd").expect("a track header") + 44;
    let one = 1 << 16;
    let matrix = [a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30];
    file[at..at + 36].copy_from_slice(&matrix.map(i32::to_be_bytes).concat());
    std::fs::write(&path, file).expect("write");
    path
}

/// What `outpost replay` finds.
fn events_of(clip: &Path) -> usize {
    let models = repository().join("models");
    let arguments = ["replay".as_ref(), clip.as_os_str(), "--labels".as_ref(), "person".as_ref()];
    let output = outpost(&[&arguments[..], &["--model-dir".as_ref(), models.as_os_str()]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    String::from_utf8_lossy(&output.stdout).lines().count()
}

/// Works with: clips | a file that a telephone or a camera mounted on its side stored turned | finds the same people, and its clips play upright
#[test]
fn people_in_a_video_that_is_stored_turned_are_found_and_recorded_upright() {
    let scratch = Scratch::new("turned");
    let upright = events_of(&fixture("people.mp4"));
    let sideways = stored_turned(&scratch, "transpose=clock", [0, -1, 1, 0]);
    let upside_down = stored_turned(&scratch, "vflip", [1, 0, 0, -1]);
    for clip in [&sideways, &upside_down] {
        let found = events_of(clip);
        assert!(found.abs_diff(upright) <= 2 && found >= 5, "{found} instead of {upright}: {}", clip.display());
    }

    let mut daemon = Daemon::start(&scratch, Config::new(&scratch).replay("yard", &sideways));
    let event = filmed(&daemon);
    assert_eq!((event["clip"]["width"].as_u64(), event["clip"]["height"].as_u64()), (Some(640), Some(480)), "{event}");
    let folder = scratch.path("box/archive/yard").join(event["id"].as_str().expect("an id"));
    // It is stored as it came, and shown upright by its matrix.
    assert_eq!((assert_sound(&folder.join("clip.mp4")).width, events_of(&folder.join("clip.mp4")) > 0), (480, true));
    let snapshot = image::open(folder.join("snapshot.jpg")).expect("a snapshot");
    assert_eq!((snapshot.width(), snapshot.height()), (640, 480));
    assert!(daemon.terminate().success());
}

/// The first event that is over and has a clip of its own.
fn filmed(daemon: &Daemon) -> Value {
    wait_for("an event with a clip", seconds(120), || {
        let filmed = daemon.events_in("ended").into_iter().find(|event| event["clip"].is_object());
        filmed.ok_or_else(|| format!("{:#?}", daemon.events()))
    })
}

/// Works with: clips | AV1 video in a replayed file | detects in it, and encodes its clips once to H.264
#[test]
fn a_replayed_av1_file_gives_events_with_clips() {
    let scratch = Scratch::new("av1");
    let daemon = Daemon::start(&scratch, Config::new(&scratch).replay("yard", &people_as("av1")));
    let event = filmed(&daemon);
    assert_eq!(event["clip"]["codec"], "h264", "{event}\n{}", daemon.log());
    let clip = scratch.path("box/archive/yard").join(event["id"].as_str().expect("an id")).join("clip.mp4");
    assert!(assert_sound(&clip).packets > 10);
}

/// Works with: cameras | a camera whose packets come, but do not decode | is shown as degraded with reason and time on page, API, MQTT, metrics and in the log
#[test]
fn a_stream_that_cannot_be_decoded_is_degraded_everywhere_and_logged_once() {
    let scratch = Scratch::new("noise");
    scratch.expect_log(&["pictures do not decode", "camera degraded"]);
    // Sound as a file, but the parameters that its pictures need are noise.
    let noise = scratch.path("noise.mp4");
    let mut file = std::fs::read(fixture("people.mp4")).expect("read");
    let parameters = file.windows(4).position(|four| four == b"avcC").expect("the codec's record") + 13;
    file[parameters..parameters + 10].iter_mut().for_each(|byte| *byte = !*byte);
    std::fs::write(&noise, file).expect("write");
    let broker = Broker::start(&scratch);
    let subscriber = Subscriber::start(&scratch, &broker, "outpost/#");
    let config = Config::new(&scratch).alerts_to(&broker).replay("yard", &noise).replay("gate", &fixture("people.mp4"));
    let mut daemon = Daemon::start(&scratch, config);
    let camera = |status: &Value, name: &str| {
        let cameras = status["cameras"].as_array().cloned().unwrap_or_default();
        cameras.into_iter().find(|camera| camera["name"] == name).unwrap_or_default()
    };
    wait_until("the camera to be degraded", seconds(120), || {
        camera(&daemon.json("/api/v1/status"), "yard")["state"] == "degraded"
    });
    let status = daemon.json("/api/v1/status");
    let (yard, gate) = (camera(&status, "yard"), camera(&status, "gate"));
    assert!(yard["reason"].as_str().is_some_and(|reason| reason.contains("nothing can be decoded")), "{yard}");
    assert!(yard["fps"].as_f64() > Some(0.0) && yard["state_for_s"].as_u64() >= Some(20), "{yard}");
    assert_eq!((&gate["state"], &gate["reason"]), (&"online".into(), &Value::Null), "{gate}");
    let summary = status["summary"]["text"].as_str().unwrap_or_default().to_owned();
    assert!(summary.contains("1 of 2 cameras degraded: packets come, but nothing can be decoded"), "{summary}");

    wait_until("the gauge", seconds(30), || {
        daemon.metric("outpost_camera_degraded{camera=\"yard\",stage=\"decoding\"}") > 0.5
    });
    assert!(daemon.metric("outpost_camera_degraded{camera=\"gate\",stage=\"decoding\"}") < 0.5);
    let topic = format!("outpost/{DEVICE}/camera/yard");
    wait_until("the broker", seconds(30), || {
        subscriber.last(&format!("{topic}/availability")).as_deref() == Some("degraded")
            && subscriber.last(&format!("{topic}/health")).is_some_and(|health| health.contains("\"degraded\""))
    });
    assert_eq!(daemon.log().matches("camera degraded").count(), 1, "{}", daemon.log());
    assert!(daemon.terminate().success());
    // On the command line it is no quiet clip either.
    let models = repository().join("models");
    let output = outpost(&["replay".as_ref(), noise.as_os_str(), "--model-dir".as_ref(), models.as_os_str()]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("none of 160 packets decoded: "), "{}", said(&output));
}

/// Works with: clips | a clip of a single picture | `probe` and `replay` show it
#[test]
fn a_clip_of_one_picture_is_decoded() {
    let scratch = Scratch::new("single");
    let (clip, snapshot) = (scratch.path("one.mp4"), scratch.path("one.jpg"));
    ffmpeg(&fixture("people.mp4"), "-frames:v 1 -c:v libx264 -bf 2 -pix_fmt yuv420p", &clip);
    let argument = format!("--snapshot={}", snapshot.display());
    let output = outpost(&["probe".as_ref(), clip.as_os_str(), argument.as_ref()]);
    assert!(output.status.success() && snapshot.exists(), "{}", said(&output));
    assert!(said(&output).contains("size        640x480"), "{}", said(&output));
    let noise = scratch.path("noise.mp4");
    std::fs::write(&noise, vec![7; 5000]).expect("write");
    let output = outpost(&["probe".as_ref(), noise.as_os_str()]);
    assert!(!output.status.success() && !said(&output).contains("()"), "{}", said(&output));
}

/// Works with: pictures | a JPEG that ends early, given to `detect` | says so and ends with 1
#[test]
fn detect_looks_at_upright_pictures_and_refuses_cut_ones() {
    let scratch = Scratch::new("stills");
    let detect = |path: &Path| {
        let models = repository().join("models");
        outpost(&["detect".as_ref(), path.as_os_str(), "--model-dir".as_ref(), models.as_os_str()])
    };
    let person = repository().join("tests/reference/person.png");
    let labels = |output: &Output| {
        let mut labels: Vec<String> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["label"].to_string())
            .collect();
        labels.sort();
        labels
    };
    let upright = labels(&detect(&person));
    assert!(upright.contains(&"\"person\"".to_owned()), "{upright:?}");
    // Stored turned to the left, with the EXIF orientation that turns it back.
    let turned = scratch.path("turned.jpg");
    ffmpeg(&person, "-vf transpose=cclock -q:v 2", &turned);
    let jpeg = std::fs::read(&turned).expect("read");
    let exif = b"\xff\xe1\0\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    std::fs::write(&turned, [&jpeg[..2], exif, &jpeg[2..]].concat()).expect("write");
    let found = labels(&detect(&turned));
    assert!(upright.iter().all(|label| found.contains(label)), "{found:?} instead of {upright:?}");

    std::fs::write(&turned, &jpeg[..jpeg.len() / 3]).expect("write");
    let output = detect(&turned);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("turned.jpg: the file ends early"), "{}", said(&output));
}
