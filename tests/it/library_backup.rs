//! What is known of the photos as one file, from a box that runs to one that has nothing; and the index of the library
//! made again by hand.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::config::Config;
use crate::harness::daemon::{Daemon, outpost};
use crate::harness::process::run;
use crate::harness::{Scratch, fixture, repository, seconds, wait_for};

const NAMES: [&str; 3] = ["dog.png", "eagle.png", "giraffe.png"];

/// Runs a command with the configuration of the box; gives its exit code, and all that it says.
fn command(config: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let config = ["--config", config.to_str().expect("text")];
    let output = outpost(&[arguments, &config].concat());
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// Photos and albums, as the API says them.
fn library(daemon: &Daemon) -> BTreeMap<String, Value> {
    let photos = daemon.json("/api/v1/photos?limit=500")["photos"].as_array().expect("photos").clone();
    let albums = daemon.json("/api/v1/albums")["albums"].as_array().expect("albums").clone();
    let named = |kind: &str, one: Value| (format!("{kind} {}", one["id"].as_str().expect("an id")), one);
    photos.into_iter().map(|one| named("photo", one)).chain(albums.into_iter().map(|one| named("album", one))).collect()
}

fn given(daemon: &Daemon) -> Vec<Value> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error"]);
    for name in NAMES {
        curl.arg("--form").arg(format!("file=@{}", repository().join("tests/reference").join(name).display()));
    }
    let text = run(curl.arg(format!("{}api/v1/photos", daemon.page())));
    serde_json::from_str::<Value>(&text).expect("JSON")["photos"].as_array().expect("photos").clone()
}

#[test]
fn a_backup_brings_the_library_to_a_box_that_has_nothing() {
    let scratch = Scratch::new("library-backup");
    let configured = || {
        let camera = fixture("leaves.mp4");
        let mut config = Config::new(&scratch).copies_to(&scratch.path("cloud")).played_once("yard", &camera, 4.0);
        config.add("[library]\ndetect = \"off\"\n");
        config
    };
    let mut daemon = Daemon::start(&scratch, configured());
    let (config, backup) = (scratch.path("outpost.toml"), scratch.path("library.tar.gz"));
    let file = backup.to_str().expect("text");
    let photos = given(&daemon);
    let id = photos[0]["id"].as_str().expect("an id");
    let path = format!("/api/v1/photos/{id}");
    let edit = json!({ "title": "犬", "tags": ["dog"], "private": true });
    assert_eq!(daemon.send("PATCH", &path, "", &edit).expect("an answer").status, 200);
    let album = daemon.post("/api/v1/albums", &json!({ "title": "Animals", "add": [photos[1]["id"]] }));
    assert_eq!(album.expect("an answer").status, 201);
    let before = library(&daemon);
    assert_eq!(before.len(), 4, "{before:?}");
    let cloud = scratch.path("cloud");
    wait_for("the originals in the cloud", seconds(60), || {
        let found = run(Command::new("find").arg(&cloud).args(["-name", "original.png"]));
        if found.lines().count() == NAMES.len() { Ok(()) } else { Err(found) }
    });

    let (code, said) = command(&config, &["library", "backup", file]);
    assert!(code == Some(0) && said.contains("3 photos, 1 albums"), "{said}");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&backup).expect("look").permissions());
    assert_eq!(mode & 0o777, 0o600, "it has what is private");
    let (code, said) = command(&config, &["library", "restore", "--dry-run", file]);
    assert!(code == Some(0) && said.contains("photos: 3 as they are here"), "{said}");
    let (code, said) = command(&config, &["library", "restore", file]);
    assert!(code == Some(1) && said.contains("the daemon is running"), "{said}");

    // The index made again by hand has the photos too.
    assert!(daemon.terminate().success());
    let (code, said) = command(&config, &["store", "rebuild"]);
    assert!(code == Some(0) && said.contains("3 photos are in the index"), "{said}");
    let (code, said) = command(&config, &["store", "check", "--deep"]);
    assert!(code == Some(0) && said.contains("3 photos"), "{said}");
    daemon.start_again();
    assert_eq!(library(&daemon), before);

    // The box and its disk are gone; what was delivered and the backup are there.
    assert!(daemon.terminate().success());
    std::fs::remove_dir_all(scratch.path("box")).expect("lose the disk");
    std::fs::create_dir(scratch.path("box")).expect("a new disk");
    let (code, said) = command(&config, &["library", "restore", "--dry-run", file]);
    assert!(code == Some(0) && said.contains("photos: 3 new") && said.contains("at upload/cloud: 3"), "{said}");
    assert_eq!(std::fs::read_dir(scratch.path("box")).expect("read").count(), 0, "nothing is changed");
    let (code, said) = command(&config, &["library", "restore", file]);
    assert!(code == Some(0) && said.contains("photos: 3 new") && said.contains("albums: 1 new"), "{said}");
    daemon.start_again();
    wait_for("the library to be as it was", seconds(60), || {
        let now = library(&daemon);
        if now == before { Ok(()) } else { Err(format!("{now:?}")) }
    });
    // What is away is said, and brought back.
    let storage = format!("{path}/storage");
    assert_eq!(daemon.json(&storage)["away"]["destination"], "upload/cloud");
    assert_eq!(daemon.get(&format!("{path}/small.jpg")).expect("an answer").status, 409, "nothing is made of nothing");
    assert_eq!(daemon.post(&format!("{path}/fetch"), &json!({})).expect("an answer").status, 202);
    wait_for("the original to be back", seconds(60), || {
        let state = daemon.json(&storage);
        if state["here"] == true { Ok(()) } else { Err(state.to_string()) }
    });
    let original = daemon.get(&format!("{path}/original")).expect("an answer").body;
    assert_eq!(original, std::fs::read(repository().join("tests/reference").join(NAMES[0])).expect("read"));
    assert_eq!(daemon.get(&format!("{path}/small.jpg")).expect("an answer").status, 200);
}
