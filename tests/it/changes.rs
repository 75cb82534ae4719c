//! Cameras that change their parameters within a session, from the RTSP connection to the destination.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::Value;

use crate::browser::presented;
use crate::harness::clips::{assert_sound, shown};
use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::process::run;
use crate::harness::scripted_rtsp::{Camera, Manners};
use crate::harness::{Scratch, fixture, seconds, wait_for};

const SIZES: [(u64, u64); 2] = [(640, 480), (320, 240)];

/// The pictures of the people clip in one size, each with its NAL units; a key frame with each tenth.
fn people(scratch: &Scratch, (width, height): (u64, u64)) -> Vec<Vec<Vec<u8>>> {
    let file = scratch.path(&format!("{width}.h264"));
    let options = "keyint=10:min-keyint=10:scenecut=0:bframes=0:aud=1:repeat-headers=1:slices=1";
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-i"]).arg(fixture("people.mp4"));
    command.args(["-vf", &format!("scale={width}:{height}"), "-c:v", "libx264", "-preset", "veryfast"]);
    run(command.args(["-x264-params", options, "-f", "h264"]).arg(&file));
    let bytes = std::fs::read(&file).expect("read");
    let mut starts: Vec<usize> = (0..bytes.len() - 3).filter(|at| bytes[*at..*at + 3] == [0, 0, 1]).collect();
    starts.push(bytes.len());
    let mut pictures: Vec<Vec<Vec<u8>>> = Vec::new();
    for pair in starts.windows(2) {
        let unit = bytes[pair[0] + 3..pair[1]].to_vec();
        // An access unit delimiter.
        match unit[0] & 0x1f {
            9 => pictures.push(Vec::new()),
            _ => pictures.last_mut().expect("a delimiter first").push(unit),
        }
    }
    pictures
}

/// A camera that shows the people clip and changes the size with each so many pictures.
fn changing(sizes: &[Vec<Vec<Vec<u8>>>; 2], every: usize) -> Camera {
    let film = (0..sizes[0].len()).map(|n| sizes[n / every % 2][n].clone()).collect();
    Camera::start(Manners { film: Some(Arc::new(film)), parameters_in_sdp: false, ..Manners::default() })
}

fn ended(daemon: &Daemon, camera: &str, files: usize) -> Value {
    wait_for(&format!("an event of {camera} with {files} files"), seconds(120), || {
        let events = daemon.events_in("ended");
        let has_all = |event: &&Value| event["more_clips"].as_array().is_some_and(|more| more.len() + 1 >= files);
        let found = events.iter().filter(|event| event["camera"] == camera).find(has_all);
        found.cloned().ok_or_else(|| format!("{events:?}"))
    })
}

fn clips(event: &Value) -> Vec<Value> {
    let more = event["more_clips"].as_array().cloned().unwrap_or_default();
    std::iter::once(event["clip"].clone()).chain(more).collect()
}

/// Where a destination has the folder of an event, once its sidecar is there.
fn delivered(folder: &Path, id: &str) -> PathBuf {
    wait_for("the event to be delivered", seconds(60), || {
        let days = walk(folder).into_iter();
        let found = days.into_iter().find(|path| path.ends_with(format!("{id}/event.json")));
        found.map(|path| path.with_file_name("")).ok_or_else(|| "no sidecar".to_owned())
    })
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// Works with: cameras | a size that changes within one RTSP session, parameter sets in-band | the clip is in several files, each of one size; each plays and is delivered. Where changes come every second, the fourth file takes the rest, and the browser plays it
#[test]
fn a_camera_that_changes_its_size_within_a_session_has_whole_clips_that_are_delivered() {
    let scratch = Scratch::new("changes");
    let sizes = SIZES.map(|size| people(&scratch, size));
    let (slow, fast) = (changing(&sizes, 40), changing(&sizes, 10));
    let destination = scratch.path("destination");
    std::fs::create_dir_all(&destination).expect("a folder");
    let mut config = Config::new(&scratch).copies_to(&destination);
    for (name, camera) in [("slow", &slow), ("fast", &fast)] {
        config.add(&format!("[camera.{name}.source]\nurl = \"{}\"", camera.url()));
    }
    let mut daemon = Daemon::start(&scratch, config);
    for (camera, files) in [("slow", 2), ("fast", 4)] {
        let event = ended(&daemon, camera, files);
        let id = event["id"].as_str().expect("an id");
        let (here, there) = (scratch.path("box/archive").join(camera).join(id), delivered(&destination, id));
        let (mut seen, mut until) = (Vec::new(), None);
        for clip in clips(&event) {
            let name = clip["file"].as_str().expect("a name");
            let probe = assert_sound(&here.join(name));
            assert_eq!((clip["width"].as_u64(), clip["height"].as_u64()), (Some(probe.width), Some(probe.height)));
            seen.push((probe.width, probe.height));
            let start = clip["start"]["mono_ns"].as_u64().expect("a time") as f64 / 1e9;
            assert!(until.is_none_or(|until: f64| (start - until).abs() < 0.15), "{name}: {start} after {until:?}");
            until = Some(start + clip["duration_s"].as_f64().expect("seconds"));
            let original = std::fs::read(here.join(name)).expect("read");
            let copy = wait_for("the file at the destination", seconds(60), || {
                std::fs::read(there.join(name)).map_err(|error| error.to_string())
            });
            assert!(copy == original, "{name} differs at the destination");
        }
        assert!(seen.windows(2).all(|pair| pair[0] != pair[1]), "{camera}: {seen:?}");
        assert!(SIZES.iter().all(|size| seen.contains(size)), "{camera}: {seen:?}");
        assert_eq!(event["media_skipped"], Value::Null);
        if camera == "fast" {
            let times: Vec<f64> = shown(&here.join("clip-4.mp4")).into_iter().step_by(4).take(12).collect();
            assert!(times.len() > 4, "it takes what comes after three changes: {times:?}");
            // Back to the first size, too.
            let asked: Vec<f64> = times.iter().chain(times.iter().rev()).copied().collect();
            let played = presented(&format!("{}api/v1/events/{id}/clip-4.mp4", daemon.page()), &asked);
            let mut pictures: Vec<f64> =
                played["times"].as_array().expect("a list").iter().filter_map(Value::as_f64).collect();
            pictures.sort_by(f64::total_cmp);
            let missing = times.iter().find(|time| pictures.iter().all(|seen| (seen - *time).abs() > 0.002));
            assert!(played["error"].is_null() && missing.is_none(), "{played} for {times:?}");
        }
    }
    assert!(daemon.terminate().success());
}
