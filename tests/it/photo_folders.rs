//! Folders that are watched and cards that are imported, by the running daemon.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::{Scratch, fixture, repository, seconds, wait_for};

fn copy(name: &str, to: &Path) {
    std::fs::create_dir_all(to.parent().expect("a folder")).expect("folder");
    std::fs::copy(repository().join("tests/reference").join(name), to).expect("copy");
}

/// Names and ids of all photos.
fn photos(daemon: &Daemon) -> Vec<(String, String)> {
    let page = daemon.json("/api/v1/photos?limit=500");
    let text = |photo: &Value, field: &str| photo[field].as_str().expect("a text").to_owned();
    let mut found: Vec<_> = page["photos"]
        .as_array()
        .expect("photos")
        .iter()
        .map(|photo| (text(photo, "name"), text(photo, "id")))
        .collect();
    found.sort();
    found
}

fn names(daemon: &Daemon) -> Vec<String> {
    photos(daemon).into_iter().map(|(name, _)| name).collect()
}

fn wait_for_names(daemon: &Daemon, names_wanted: &[&str]) {
    wait_for("the photos of the folder", seconds(60), || {
        let now = names(daemon);
        if now == names_wanted { Ok(()) } else { Err(format!("{now:?}: {}", daemon.json("/api/v1/photos/watched"))) }
    });
}

#[test]
fn a_watched_folder_is_taken_in_as_it_is_filled_and_moves_keep_what_was_said() {
    let scratch = Scratch::new("watched");
    let folder = scratch.path("scans");
    copy("dog.png", &folder.join("2024/dog.png"));
    std::fs::write(folder.join("notes.txt"), "no picture").expect("write");
    let watched = format!("[library.watch.scanner]\npath = {folder:?}\nowner = \"box\"\ntags = [\"scanned\"]\n");
    let mut config = Config::new(&scratch).played_once("yard", &fixture("leaves.mp4"), 4.0);
    config.add(&watched);
    let mut daemon = Daemon::start(&scratch, config);
    wait_for_names(&daemon, &["dog.png"]);

    // A file that comes bit by bit is one photo, and a folder that is moved in is looked into.
    let eagle = std::fs::read(repository().join("tests/reference/eagle.png")).expect("read");
    let slow = folder.join("slow.png");
    let mut written = std::fs::File::create(&slow).expect("create");
    for piece in eagle.chunks(eagle.len() / 5 + 1) {
        std::io::Write::write_all(&mut written, piece).expect("write");
        std::thread::sleep(seconds(1));
    }
    drop(written);
    copy("giraffe.png", &scratch.path("outside/new/giraffe.png"));
    std::fs::rename(scratch.path("outside/new"), folder.join("new")).expect("move in");
    wait_for_names(&daemon, &["dog.png", "giraffe.png", "slow.png"]);

    let before = photos(&daemon);
    let dog = format!("/api/v1/photos/{}", before[0].1);
    let said = daemon.send("PATCH", &dog, "", &json!({ "title": "犬" })).expect("an answer");
    assert_eq!(said.status, 200, "{}", String::from_utf8_lossy(&said.body));
    assert_eq!(daemon.json(&dog)["tags"], json!(["scanned"]));

    // Moved within the folder, over a kill: still the same photos.
    std::fs::rename(folder.join("2024/dog.png"), folder.join("new/hund.png")).expect("move");
    copy("person.png", &folder.join("person.png"));
    daemon.crash_and_restart();
    wait_for_names(&daemon, &["dog.png", "giraffe.png", "person.png", "slow.png"]);
    wait_for("the moved file to be looked at", seconds(60), || {
        let watched = daemon.json("/api/v1/photos/watched");
        let folder = &watched["folders"][0];
        let is_done = folder["waiting"] == 0 && folder["state"] == "watching" && folder["files"] == 5;
        if is_done { Ok(()) } else { Err(folder.to_string()) }
    });
    assert_eq!(photos(&daemon)[0], before[0]);
    assert_eq!(daemon.json(&dog)["title"], "犬");

    // What was deleted for good does not come back, though its file is moved once more.
    assert_eq!(daemon.send("DELETE", &dog, "", &json!({})).expect("an answer").status, 204);
    std::fs::rename(folder.join("new/hund.png"), folder.join("again.png")).expect("move");
    copy("dog.png", &folder.join("zz.png"));
    assert!(daemon.terminate().success());
    daemon.start_again();
    wait_for("the folder to be looked through", seconds(60), || {
        let watched = daemon.json("/api/v1/photos/watched");
        let is_done = watched["folders"][0]["waiting"] == 0 && watched["folders"][0]["files"] == 6;
        if is_done { Ok(()) } else { Err(watched.to_string()) }
    });
    assert_eq!(names(&daemon), ["giraffe.png", "person.png", "slow.png"]);
    assert_eq!(std::fs::read(&slow).expect("read"), eagle, "files outside are left as they are");
}

#[test]
fn a_card_is_imported_with_a_report_and_again_without_doubles() {
    let scratch = Scratch::new("import");
    let card = scratch.path("media/EOS_DIGITAL");
    for name in ["dog.png", "eagle.png"] {
        copy(name, &card.join("DCIM/100CANON").join(name));
    }
    copy("eagle.png", &card.join("backup/copy.png"));
    std::fs::write(card.join("DCIM/empty.jpg"), "").expect("write");
    std::fs::write(card.join("AUTORUN.INF"), "no picture").expect("write");
    let from = format!("[library]\nimport_from = [{:?}]\n", scratch.path("media"));
    let mut config = Config::new(&scratch).played_once("yard", &fixture("leaves.mp4"), 4.0);
    config.add(&from);
    let mut daemon = Daemon::start(&scratch, config);
    let import = |daemon: &Daemon| -> Value {
        let wanted = json!({ "path": card, "tags": ["trip"], "private": false });
        let begun = daemon.send("POST", "/api/v1/photos/imports", "", &wanted).expect("an answer");
        assert_eq!(begun.status, 202, "{}", String::from_utf8_lossy(&begun.body));
        let begun: Value = serde_json::from_slice(&begun.body).expect("JSON");
        let path = format!("/api/v1/photos/imports/{}", begun["id"].as_str().expect("an id"));
        wait_for("the import", seconds(60), || {
            let now = daemon.json(&path);
            if now["state"] == "done" { Ok(now) } else { Err(now.to_string()) }
        })
    };
    let done = import(&daemon);
    let counts = |import: &Value| ["added", "known", "other", "refused"].map(|of| import["report"][of].as_u64());
    assert_eq!(counts(&done), [Some(2), Some(1), Some(1), Some(1)], "{done}");
    assert_eq!((&done["files"], &done["looked_at"]), (&json!(5), &json!(5)), "{done}");
    let refused = json!([{ "file": "DCIM/empty.jpg", "reason": "the file is empty" }]);
    assert_eq!(done["report"]["refused_files"], refused);
    assert_eq!(names(&daemon).len(), 2);
    assert_eq!(daemon.json(&format!("/api/v1/photos/{}", photos(&daemon)[0].1))["tags"], json!(["trip"]));

    daemon.crash_and_restart();
    assert_eq!(daemon.json("/api/v1/photos/imports")["imports"][0], done, "the report survives");
    let again = import(&daemon);
    assert_eq!(counts(&again), [Some(0), Some(3), Some(1), Some(1)], "{again}");

    for (path, reason) in [("/etc", "does not lie below"), ("media/none", "cannot be read")] {
        let path = if path.starts_with('/') { path.into() } else { scratch.path(path) };
        let refused = daemon.send("POST", "/api/v1/photos/imports", "", &json!({ "path": path })).expect("an answer");
        let text = String::from_utf8_lossy(&refused.body).into_owned();
        assert!(refused.status == 400 && text.contains(reason), "{}: {text}", refused.status);
    }
    let one = format!("/api/v1/photos/imports/{}", again["id"].as_str().expect("an id"));
    assert_eq!(daemon.send("DELETE", &one, "", &json!({})).expect("an answer").status, 204);
    assert_eq!(daemon.get(&one).expect("an answer").status, 404);
}
