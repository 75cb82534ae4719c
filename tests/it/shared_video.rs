//! Videos behind links.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::photos::{open_share, save_shared};
use crate::harness::process::run;
use crate::harness::{Scratch, fixture};

/// A video of a phone: turned, with sound, and with a place, names and times in all fields that players know, in a track of its
/// own, and between its pictures.
fn full_video(scratch: &Scratch) -> std::path::PathBuf {
    let path = scratch.path("VID_4711.mov");
    let subtitles = scratch.path("secret.srt");
    std::fs::write(&subtitles, "1\n00:00:00,000 --> 00:00:02,000\nAnna Secret at home\n").expect("write");
    run(Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(fixture("people.mp4"))
        .args(["-f", "lavfi", "-i", "sine=frequency=440", "-i"])
        .arg(&subtitles)
        .args(["-t", "3", "-map", "0:v", "-map", "1:a", "-map", "2", "-c:v", "copy", "-c:a", "aac", "-c:s", "mov_text"])
        .args(["-bsf:v", "h264_metadata=sei_user_data=086f3693-b7b3-4f2c-9653-21492feee5b8+AnnaSecretPlace"])
        .args([
            "-metadata",
            "title=Anna Secret",
            "-metadata",
            "location=+35.6800+139.7700/",
            "-metadata",
            "make=SecretCam",
        ])
        .args(["-metadata", "creation_time=2024-03-31T02:30:00Z", "-metadata:s:v", "handler_name=SecretHandler"])
        .args(["-metadata:s:v", "rotate=90", "-movflags", "use_metadata_tags"])
        .arg(&path));
    path
}

fn probe(file: &Path) -> Value {
    let text =
        run(Command::new("ffprobe").args(["-v", "error", "-show_format", "-show_streams", "-of", "json"]).arg(file));
    serde_json::from_str(&text).expect("JSON")
}

/// What all pictures of a file come out as.
fn pictures(file: &Path) -> String {
    run(Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(file).args(["-map", "0:v", "-f", "framehash", "-"]))
}

/// Works with: pictures | a video that is shared by a link without what its file says | no place, title, device, time or text between pictures is in it; every picture, the sound and the turn are as they were
#[test]
fn a_stripped_link_gives_the_video_and_nothing_of_what_its_file_says() {
    let scratch = Scratch::new("stripped-video");
    let video = full_video(&scratch);
    let daemon = Daemon::start(&scratch, Config::new(&scratch).played_once("yard", &fixture("leaves.mp4"), 4.0));
    let text = run(Command::new("curl")
        .args(["--silent", "--show-error", "--form"])
        .arg(format!("file=@{}", video.display()))
        .arg(format!("{}api/v1/photos", daemon.page())));
    let kept: Value = serde_json::from_str(&text).expect("JSON");
    let id = &kept["photos"][0]["id"];
    let shared = |stripped: bool, name: &str| {
        let opened = open_share(&daemon, id, stripped);
        assert_eq!(opened["name"], name, "{opened}");
        let path = scratch.path(&format!("shared-{name}"));
        let headers = save_shared(&daemon, opened["url"].as_str().expect("a path"), &path);
        assert!(!headers.contains("4711") && headers.contains(&format!("filename=\"{name}\"")), "{headers}");
        assert!(headers.contains("video/"), "{headers}");
        path
    };
    let secrets = |path: &Path| -> Vec<&str> {
        let bytes = std::fs::read(path).expect("read");
        let all = ["Secret", "+35.6", "AnnaSecretPlace", "4711"];
        all.into_iter().filter(|text| bytes.windows(text.len()).any(|part| part == text.as_bytes())).collect()
    };
    let (given, stripped) = (shared(false, "video.mov"), shared(true, "video.mp4"));
    assert_eq!(secrets(&given), ["Secret", "+35.6", "AnnaSecretPlace"], "as it came, where that is wanted");
    assert_eq!(secrets(&stripped), Vec::<&str>::new());
    let (before, after) = (probe(&given), probe(&stripped));
    let kinds = |probed: &Value| {
        let streams = probed["streams"].as_array().expect("streams").iter();
        streams.map(|stream| stream["codec_name"].as_str().expect("a coding").to_owned()).collect::<Vec<_>>()
    };
    assert!(kinds(&before).len() >= 3 && kinds(&after) == ["h264", "aac"], "{before} {after}");
    let turn = |probed: &Value| probed["streams"][0]["side_data_list"][0]["rotation"].clone();
    assert_eq!((turn(&after), turn(&after).is_null()), (turn(&before), false));
    assert!(after["format"]["tags"]["creation_time"].is_null(), "{after}");
    assert_eq!(pictures(&stripped), pictures(&given), "picture for picture");
}
