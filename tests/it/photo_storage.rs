//! Originals that lie in the cloud alone, and come back over a line that breaks and a box that is killed.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::bucket::S3Server;
use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::process::run;
use crate::harness::proxy::{Proxy, Quality};
use crate::harness::{Scratch, fixture, repository, seconds, wait_for};

/// A video with something behind it that players do not mind.
fn large_video(scratch: &Scratch) -> (PathBuf, Vec<u8>) {
    let mut dice = fastrand::Rng::with_seed(7);
    let mut content = std::fs::read(fixture("leaves.mp4")).expect("read");
    content.extend_from_slice(&(24_u32 << 20).to_be_bytes());
    content.extend_from_slice(b"free");
    content.extend(std::iter::repeat_with(|| dice.u8(..)).take((24 << 20) - 8));
    let path = scratch.path("film.mp4");
    std::fs::write(&path, &content).expect("write");
    (path, content)
}

fn send(daemon: &Daemon, path: &str, status: u16) -> Value {
    let answer = daemon.send("POST", path, "", &json!({})).expect("an answer");
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, status, "{path}: {text}");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn an_original_goes_to_the_cloud_alone_and_comes_back_over_a_broken_line_and_a_kill() {
    let scratch = Scratch::new("photo-storage");
    scratch.expect_log(&["the destination is offline", "a file was not delivered, it will be tried again"]);
    let cloud = S3Server::start(&scratch);
    let line = Proxy::start(cloud.port());
    let config = Config::new(&scratch).uploads_through(&format!("http://127.0.0.1:{}", line.port())).played_once(
        "yard",
        &fixture("leaves.mp4"),
        4.0,
    );
    let mut daemon = Daemon::start(&scratch, config);
    let (file, content) = large_video(&scratch);
    let upload = format!("{}api/v1/photos", daemon.page());
    let text = run(Command::new("curl")
        .args(["--silent", "--show-error", "--form"])
        .arg(format!("file=@{}", file.display()))
        .arg(upload));
    let given: Value = serde_json::from_str(&text).expect("JSON");
    let photo = format!("/api/v1/photos/{}", given["photos"][0]["id"].as_str().expect("an id"));
    let storage = format!("{photo}/storage");
    let until = |daemon: &Daemon, what: &str, is: &dyn Fn(&Value) -> bool| {
        wait_for(what, seconds(120), || {
            let state = daemon.json(&storage);
            if is(&state) { Ok(state) } else { Err(state.to_string()) }
        })
    };
    until(&daemon, "the original to be delivered", &|state| state["waits_in"] == json!([]));
    assert_eq!(send(&daemon, &format!("{photo}/fetch"), 409)["code"], "refused", "it is here");

    send(&daemon, &format!("{photo}/release"), 202);
    let away = until(&daemon, "the original to go", &|state| state["here"] == false && state["waits_in"] == json!([]));
    assert_eq!((&away["away"]["destination"], &away["away"]["bytes"]), (&json!("upload/cloud"), &json!(content.len())));
    let sha256 = away["away"]["sha256"].as_str().expect("a hash").to_owned();
    let local = scratch.path(&format!("box/library/{}/{sha256}/original.mp4", &sha256[..2]));
    assert!(!local.exists());
    let refused = daemon.get(&format!("{photo}/original")).expect("an answer");
    let problem: Value = serde_json::from_slice(&refused.body).expect("JSON");
    assert_eq!((refused.status, &problem["code"]), (409, &json!("original_away")), "{problem}");
    let shown = daemon.get(&format!("{photo}/large.jpg")).expect("an answer");
    assert!(shown.status == 200 && image::load_from_memory(&shown.body).is_ok(), "it is looked at as before");

    // Asked for while there is no link, over a kill; then the line is slow, and the box is killed in the middle of it.
    line.set(Quality::Cut);
    send(&daemon, &format!("{photo}/fetch"), 202);
    daemon.crash_and_restart();
    let waits = until(&daemon, "the wish to be known", &|state| state["fetched_bytes"] == 0);
    assert_eq!(waits["waits_in"], json!(["upload/cloud"]));
    line.set(Quality::SlowBack(1 << 20));
    let part = until(&daemon, "a part of it", &|state| state["fetched_bytes"].as_u64().is_some_and(|bytes| bytes > 0));
    daemon.crash_and_restart();
    let kept = until(&daemon, "what has arrived", &|state| state["fetched_bytes"].is_u64());
    assert!(kept["fetched_bytes"].as_u64() >= part["fetched_bytes"].as_u64(), "{part} {kept}");
    line.set(Quality::Good);
    until(&daemon, "the original to be back", &|state| state["here"] == true && state["waits_in"] == json!([]));
    assert!(std::fs::read(&local).expect("read") == content, "the bytes as they came");
    let original = daemon.get(&format!("{photo}/original")).expect("an answer");
    assert!(original.status == 200 && original.body == content);
}

/// Works with: pictures | exiftool and tar | photos are downloaded as folders with XMP, which says what people said
#[test]
fn photos_are_downloaded_as_folders_that_other_programs_read() {
    let scratch = Scratch::new("photo-export");
    let config = Config::new(&scratch).played_once("yard", &fixture("leaves.mp4"), 4.0);
    let daemon = Daemon::start(&scratch, config);
    let pictures = ["dog.png", "eagle.png", "person.png"].map(|name| repository().join("tests/reference").join(name));
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error"]);
    for picture in &pictures {
        curl.args(["--form", "file_date=2024-03-31T02:30:00"])
            .arg("--form")
            .arg(format!("file=@{}", picture.display()));
    }
    let text = run(curl.arg(format!("{}api/v1/photos", daemon.page())));
    let given: Value = serde_json::from_str(&text).expect("JSON");
    let edit = |n: usize, change: &Value| {
        let path = format!("/api/v1/photos/{}", given["photos"][n]["id"].as_str().expect("an id"));
        assert_eq!(daemon.send("PATCH", &path, "", change).expect("an answer").status, 200);
    };
    let at = json!({ "at": { "local": "2019-07-01T18:00:00", "offset_s": 32400 } });
    edit(0, &json!({ "title": "犬 & <friends>", "note": "At the\ngate", "tags": ["zoo", "犬"], "taken": at }));
    edit(1, &json!({ "tags": ["bird"] }));
    let tar = scratch.path("photos.tar");
    let get = |query: &str| {
        run(Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--output"])
            .arg(&tar)
            .arg(format!("{}api/v1/photos/export.tar{query}", daemon.page())));
        run(Command::new("tar").arg("-tf").arg(&tar))
            .lines()
            .map(str::to_owned)
            .collect::<std::collections::BTreeSet<_>>()
    };
    let both = |name: &str| [name.to_owned(), format!("{name}.xmp")];
    let names = ["2019/2019-07-01/dog.png", "2024/2024-03-31/eagle.png", "2024/2024-03-31/person.png"];
    assert_eq!(get("?q=tag:bird"), both(names[1]).into());
    assert_eq!(get(""), names.iter().flat_map(|name| both(name)).collect());
    run(Command::new("tar").arg("-xf").arg(&tar).arg("-C").arg(scratch.path("")));
    for (name, picture) in names.iter().zip(&pictures) {
        assert_eq!(std::fs::read(scratch.path(name)).expect("read"), std::fs::read(picture).expect("read"), "{name}");
    }
    let read = |name: &str| -> Value {
        let file = scratch.path(&format!("{name}.xmp"));
        let text = run(Command::new("exiftool").args(["-j", "-s"]).arg(&file));
        serde_json::from_str::<Value>(&text).expect("JSON")[0].take()
    };
    let dog = read(names[0]);
    assert_eq!((&dog["Title"], &dog["Description"]), (&json!("犬 & <friends>"), &json!("At the\ngate")), "{dog}");
    assert_eq!(dog["Subject"], json!(["zoo", "犬"]), "{dog}");
    assert_eq!(dog["DateTimeOriginal"], json!("2019:07:01 18:00:00+09:00"), "{dog}");
    assert_eq!((&dog["Warning"], &dog["Error"]), (&Value::Null, &Value::Null), "{dog}");
    assert_eq!(read(names[1])["DateTimeOriginal"], json!("2024:03:31 02:30:00"));
}
