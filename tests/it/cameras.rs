//! Every way in which a network camera may want to be asked, and what it may answer with.

use std::path::Path;
use std::process::Command;
use std::thread;

use serde_json::Value;

use crate::browser::presented;
use crate::harness::clips::{self, Lamp, assert_sound, decode_errors, lamp, lamp_of_main_stream, people_as};
use crate::harness::config::Config;
use crate::harness::daemon::{Daemon, outpost};
use crate::harness::rtsp::{self, Auth, RtspServer};
use crate::harness::{Scratch, fixture, seconds, wait_for, wait_until};

/// Asks a camera with `outpost probe`; gives whether it went well, and what was said.
fn probe(scratch: &Scratch, server: &RtspServer, mount: &str, auth: Auth, password: &str, udp: bool) -> (bool, String) {
    let secret = scratch.secret(&format!("probe-{auth}-{udp}{}", mount.replace('/', "-")), password);
    let snapshot = secret.with_extension("jpg");
    let mut arguments = vec!["probe".to_owned(), server.url(mount), format!("--snapshot={}", snapshot.display())];
    if auth != Auth::None {
        arguments.extend([format!("--username={}", rtsp::USER), format!("--password-file={}", secret.display())]);
    }
    if udp {
        arguments.push("--udp".to_owned());
    }
    let output = outpost(&arguments);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success() && snapshot.exists(), said)
}

#[test]
fn every_coding_transport_and_kind_of_login_gives_pictures() {
    let scratch = Scratch::new("matrix");
    let (h264, h265, mjpeg) = (fixture("people.mp4"), people_as("h265"), people_as("mjpeg"));
    let mounts = [("/h264", "h264", h264.as_path()), ("/h265", "h265", &h265), ("/mjpeg", "mjpeg", &mjpeg)];
    let servers =
        [Auth::None, Auth::Basic, Auth::Digest].map(|auth| (auth, RtspServer::start(&scratch, auth, &mounts)));
    let codings = [("/h264", "H.264"), ("/h265", "H.265"), ("/mjpeg", "MJPEG")];
    for (auth, server) in &servers {
        thread::scope(|scope| {
            for (mount, coding) in codings {
                for udp in [false, true] {
                    let scratch = &scratch;
                    scope.spawn(move || {
                        let (well, said) = probe(scratch, server, mount, *auth, rtsp::PASSWORD, udp);
                        let context = format!("{mount}, login {auth}, udp {udp}: {said}");
                        assert!(well, "{context}");
                        assert!(said.contains(&format!("coding      {coding}")), "{context}");
                        assert!(said.contains("size        640x480"), "{context}");
                    });
                }
            }
        });
    }
    for (auth, server) in &servers[1..] {
        let (well, said) = probe(&scratch, server, "/h264", *auth, "wrong-password", false);
        assert!(!well && said.contains("refuses access"), "login {auth}: {said}");
        assert!(!said.contains("wrong-password"), "a password is not repeated: {said}");
    }
    let (well, said) = probe(&scratch, &servers[0].1, "/nowhere", Auth::None, "", false);
    assert!(!well && said.contains("not found"), "{said}");
}

#[test]
fn a_motion_jpeg_camera_and_one_with_a_substream_give_events_with_clips() {
    let scratch = Scratch::new("kinds");
    let (people, mjpeg) = (fixture("people.mp4"), people_as("mjpeg"));
    let h265 = people_as("h265");
    let mounts = [("/main", "h265", h265.as_path()), ("/sub", "h264", &people), ("/mjpeg", "mjpeg", &mjpeg)];
    let server = RtspServer::start(&scratch, Auth::None, &mounts);
    let config = Config::new(&scratch)
        .camera("old", &server, "/mjpeg", Auth::None)
        .camera_with_substream("new", &server, "/main", "/sub");
    let mut daemon = Daemon::start(&scratch, config);
    // An old camera's clip is encoded once; a new one's is its main stream, though detection saw the other.
    for (camera, codec) in [("old", "h264"), ("new", "hevc")] {
        wait_until(&format!("an event of {camera}"), seconds(90), || {
            daemon.events_in("ended").iter().any(|event| event["camera"] == camera && event["clip"].is_object())
        });
        let events = daemon.events_in("ended");
        let is_filmed = |event: &&Value| event["camera"] == camera && event["clip"].is_object();
        let event = events.iter().find(is_filmed).expect("just seen");
        let id = event["id"].as_str().expect("an id");
        let clip = scratch.path("box/archive").join(camera).join(id).join("clip.mp4");
        assert_eq!(assert_sound(&clip).codec, codec, "{camera}");
        assert_eq!((event["clip"]["width"].as_u64(), event["clip"]["height"].as_u64()), (Some(640), Some(480)));
    }
    assert!(daemon.terminate().success());
}

/// The pictures of a file, grey, 160x120.
fn grey(file: &Path) -> Vec<Vec<u8>> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-i"]).arg(file).args(["-vf", "scale=160:120,format=gray"]);
    let output = command.args(["-vsync", "passthrough", "-f", "rawvideo", "-"]).output().expect("run ffmpeg");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout.chunks_exact(160 * 120).map(<[u8]>::to_vec).collect()
}

/// How much two pictures differ, from 0 to 255.
fn difference(a: &[u8], b: &[u8]) -> f64 {
    let sum: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.len() as f64
}

/// Works with: cameras | a main stream beside the substream that is looked at | snapshots are the main stream's picture of the time of the look, in its size
#[test]
fn snapshots_of_a_camera_with_a_substream_are_pictures_of_its_main_stream() {
    let scratch = Scratch::new("large-stills");
    let (main, sub) = (lamp_of_main_stream(), lamp(Lamp::Blinking));
    let server = RtspServer::start(&scratch, Auth::None, &[("/main", "h264", &main), ("/sub", "h264", &sub)]);
    let config = Config::new(&scratch).lamp_camera_with_substream("yard", &server, "/main", "/sub");
    let mut daemon = Daemon::start(&scratch, config);
    for event in daemon.wait_for_ended(2, seconds(90)).iter().take(2) {
        let folder = scratch.path("box/archive/yard").join(event["id"].as_str().expect("an id"));
        let size = |name: &str| {
            let probe = clips::probe(&folder.join(name));
            (probe.width, probe.height)
        };
        assert_eq!([size("snapshot.jpg"), size("snapshot-boxes.jpg")], [(1280, 960); 2], "{event}");
        // The clip is of the main stream: the snapshot is its picture of that time, and of no other.
        let clip = folder.join("clip.mp4");
        let ns = |moment: &Value| moment["mono_ns"].as_f64().expect("nanoseconds");
        let looked_at = (ns(&event["best"]["at"]) - ns(&event["clip"]["start"])) / 1e9;
        let (pictures, times) = (grey(&clip), clips::shown(&clip));
        let snapshot = grey(&folder.join("snapshot.jpg")).remove(0);
        let (place, least) = pictures.iter().map(|picture| difference(picture, &snapshot)).enumerate().fold(
            (0, f64::MAX),
            |best, (place, difference)| if difference < best.1 { (place, difference) } else { best },
        );
        let off = (times[place] - times[0] - looked_at).abs();
        // JPEG has another range of greys.
        assert!(least < 6.0 && off < 0.06, "picture {place} of {times:?}, {least} different, for {looked_at}: {event}");
        // What was looked at is in it: the lamp burns.
        let light = snapshot.iter().map(|pixel| f64::from(*pixel)).sum::<f64>() / snapshot.len() as f64;
        assert!(light > 100.0, "{light}: {event}");
    }
    assert!(daemon.terminate().success());
}

/// Works with: cameras | H.264 without IDR pictures after the join (open GOP, gradual refresh, plain I pictures) | looked at and recorded from the first recovery point or I picture on; Chromium plays the clips
#[test]
fn cameras_that_send_no_idr_pictures_give_events_with_clips() {
    let scratch = Scratch::new("no-idr");
    let kinds = ["gradual", "open-gop", "i-pictures"];
    let clips = kinds.map(|kind| people_as(&format!("h264-{kind}")));
    let paths = kinds.map(|kind| format!("/{kind}"));
    let mounts: Vec<_> = paths.iter().zip(&clips).map(|(path, clip)| (path.as_str(), "h264", clip.as_path())).collect();
    let server = RtspServer::start(&scratch, Auth::None, &mounts);
    let config = kinds
        .iter()
        .fold(Config::new(&scratch), |config, kind| config.camera(kind, &server, &format!("/{kind}"), Auth::None));
    let mut daemon = Daemon::start(&scratch, config);
    for kind in kinds {
        // Where another event's clip ends, one may go on in a short one of its own.
        let is_filmed = |event: &Value| event["camera"] == kind && event["clip"]["duration_s"].as_f64() > Some(5.0);
        let event = wait_for(&format!("an event of {kind}"), seconds(90), || {
            daemon.events_in("ended").into_iter().find(is_filmed).ok_or_else(|| "none".to_owned())
        });
        let id = event["id"].as_str().expect("an id");
        let clip = scratch.path("box/archive").join(kind).join(id).join("clip.mp4");
        assert_eq!(decode_errors(&clip), "", "{kind}");
        let times: Vec<f64> = clips::shown(&clip).into_iter().take(40).collect();
        assert_eq!(times.len(), 40, "{kind}");
        let seen = presented(&format!("{}api/v1/events/{id}/clip.mp4", daemon.page()), &times);
        let seen_times = seen["times"].as_array().expect("a list").iter().filter_map(Value::as_f64);
        let mut pictures: Vec<f64> = seen_times.collect();
        pictures.sort_by(f64::total_cmp);
        pictures.dedup();
        // A gradual refresh takes 20 pictures to be complete, and the rest must be there.
        let least = if kind == "gradual" { 20 } else { 35 };
        assert!(pictures.len() >= least && seen["error"].is_null(), "{kind}: {seen} for {times:?}");
    }
    assert!(daemon.terminate().success());
}
