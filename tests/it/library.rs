//! The photo library of the running daemon: what was acknowledged survives a kill and a lost index, and is delivered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::photos::{open_share, save_shared};
use crate::harness::process::run;
use crate::harness::{Scratch, fixture, installed, repository, seconds, wait_for};

/// Sends files as a program would; gives the status and the answer.
fn upload(daemon: &Daemon, fields: &[&str], files: &[PathBuf]) -> (u16, Value) {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--write-out", "\n%{http_code}"]);
    for field in fields {
        curl.args(["--form", field]);
    }
    for file in files {
        curl.arg("--form").arg(format!("file=@{}", file.display()));
    }
    let text = run(curl.arg(format!("{}api/v1/photos", daemon.page())));
    let (body, status) = text.rsplit_once('\n').expect("a status");
    (status.trim().parse().expect("a number"), serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {body}")))
}

fn pictures() -> Vec<PathBuf> {
    let names = ["dog.png", "eagle.png", "giraffe.png", "person.png"];
    names.iter().map(|name| repository().join("tests/reference").join(name)).collect()
}

/// What `daemon` has, without what differs from one index to the next.
fn library(daemon: &Daemon) -> BTreeMap<String, Value> {
    let page = daemon.json("/api/v1/photos?limit=500");
    let photos = page["photos"].as_array().expect("photos").iter();
    photos.map(|photo| (photo["name"].as_str().expect("a name").to_owned(), photo.clone())).collect()
}

/// All files below `folder`, by path.
fn files(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            if entry.path().is_dir() { folders.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found
}

#[test]
fn photos_survive_a_kill_and_a_lost_index_and_reach_the_cloud_as_they_came() {
    let scratch = Scratch::new("library");
    let config =
        Config::new(&scratch).copies_to(&scratch.path("cloud")).played_once("yard", &fixture("leaves.mp4"), 4.0);
    let mut daemon = Daemon::start(&scratch, config);
    let text = scratch.path("notes.txt");
    std::fs::write(&text, "no picture").expect("write");
    let (status, answer) = upload(&daemon, &[], &[pictures(), vec![text]].concat());
    assert_eq!(status, 201, "{answer}");
    let outcomes: Vec<&str> =
        answer["photos"].as_array().expect("outcomes").iter().filter_map(|photo| photo["outcome"].as_str()).collect();
    assert_eq!((status, outcomes), (201, vec!["added", "added", "added", "added", "refused"]), "{answer}");
    assert!(answer["photos"][4]["detail"].as_str().is_some_and(|why| why.contains("neither a picture nor a video")));
    // A person says something of one.
    let id = answer["photos"][0]["id"].as_str().expect("an id").to_owned();
    let path = format!("/api/v1/photos/{id}");
    let edited = daemon.send("PATCH", &path, "", &json!({ "title": "犬", "tags": ["dog", "car"] })).expect("an answer");
    assert_eq!(edited.status, 200, "{}", String::from_utf8_lossy(&edited.body));
    daemon.crash_and_restart();

    let before = wait_for("the model to have looked at all", seconds(120), || {
        let now = library(&daemon);
        if now.values().all(|photo| photo["seen"].is_object()) { Ok(now) } else { Err(format!("{now:?}")) }
    });
    let found = daemon.json("/api/v1/photos?q=label:giraffe");
    let found: Vec<_> = found["photos"].as_array().expect("photos").iter().map(|photo| &photo["name"]).collect();
    assert_eq!(found, ["giraffe.png"], "{:?}", before["giraffe.png"]["seen"]);
    assert_eq!(before.len(), 4, "{before:?}");
    assert_eq!((&before["dog.png"]["title"], &before["dog.png"]["tags"]), (&json!("犬"), &json!(["dog", "car"])));
    let (status, again) = upload(&daemon, &[], &pictures()[..1]);
    assert_eq!((status, &again["photos"][0]["outcome"], &again["photos"][0]["id"]), (200, &json!("known"), &json!(id)));
    for (name, size) in [("small.jpg", 256), ("large.jpg", 1440)] {
        let answer = daemon.get(&format!("{path}/{name}")).expect("an answer");
        let picture = image::load_from_memory(&answer.body).expect("a JPEG");
        assert!(answer.status == 200 && picture.width().max(picture.height()) <= size, "{name}");
    }
    let original = daemon.get(&format!("{path}/original")).expect("an answer");
    assert_eq!(original.body, std::fs::read(&pictures()[0]).expect("read"), "the bytes as they came");

    // The index is lost: the sidecars have all of it.
    assert!(daemon.terminate().success());
    std::fs::remove_dir_all(scratch.path("box/index")).expect("lose the index");
    scratch.expect_log(&["the index was begun afresh"]);
    daemon.start_again();
    wait_for("the photos to be back", seconds(60), || {
        let now = library(&daemon);
        if now == before { Ok(()) } else { Err(format!("{now:?}")) }
    });

    let delivered = wait_for("originals and sidecars in the cloud", seconds(60), || {
        let all = files(&scratch.path("cloud"));
        let photos: Vec<PathBuf> =
            all.into_iter().filter(|path| path.to_string_lossy().contains("/library/")).collect();
        if photos.len() == 8 { Ok(photos) } else { Err(format!("{photos:?}")) }
    });
    for (name, photo) in &before {
        let hash = photo["sha256"].as_str().expect("a hash");
        let of_it = |path: &&PathBuf| path.to_string_lossy().contains(hash);
        let original =
            delivered.iter().filter(of_it).find(|path| path.ends_with("original.png")).expect("the original");
        let sent = repository().join("tests/reference").join(name);
        assert_eq!(std::fs::read(original).expect("read"), std::fs::read(sent).expect("read"), "{name}");
    }

    // What is deleted for good goes in the cloud too, and a tombstone takes the place of what was said of it.
    let deleted = daemon.send("DELETE", &path, "", &json!({})).expect("an answer");
    assert_eq!(deleted.status, 204, "{}", String::from_utf8_lossy(&deleted.body));
    let hash = before["dog.png"]["sha256"].as_str().expect("a hash");
    wait_for("the original to go in the cloud", seconds(60), || {
        let left: Vec<PathBuf> =
            files(&scratch.path("cloud")).into_iter().filter(|path| path.to_string_lossy().contains(hash)).collect();
        let texts: Vec<String> = left.iter().map(|path| std::fs::read_to_string(path).unwrap_or_default()).collect();
        let is_done = texts.len() == 1 && texts[0].contains("deleted") && !texts[0].contains("dog");
        if is_done { Ok(()) } else { Err(format!("{left:?}")) }
    });
    assert_eq!(daemon.get(&path).expect("an answer").status, 404);
}

#[test]
fn hostile_files_cost_no_more_than_themselves() {
    let scratch = Scratch::new("hostile");
    let config = Config::new(&scratch).played_once("yard", &fixture("leaves.mp4"), 4.0);
    let daemon = Daemon::start(&scratch, config);
    let file = |name: &str, content: &[u8]| {
        let path = scratch.path(name);
        std::fs::write(&path, content).expect("write");
        path
    };
    let jpeg = std::fs::read(fixture("pictures").join("dog.jpg")).expect("a picture");
    let torn = file("torn.png", b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\xff\xff\0\0\xff\xff\x08\x02\0\0\0");
    let heic = file("a.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic and no more");
    let huge = file("huge.gif", b"GIF89a\xff\xff\xff\xff\0\0\0;");
    let video = file("a.mp4", b"\0\0\0\x14ftypisom\0\0\0\0isom\xff\xff\xff\xffmoov");
    let cut = file("cut.jpg", &jpeg[..jpeg.len() / 2]);
    let (status, answer) = upload(&daemon, &["private=true"], &[torn, heic, huge, video, cut]);
    assert_eq!(status, 201, "{answer}");
    for photo in answer["photos"].as_array().expect("outcomes") {
        assert_eq!((&photo["outcome"], &photo["private"]), (&json!("added"), &json!(true)), "kept as it came: {photo}");
        // Half of a JPEG shows its half.
        let is_said = photo["facts"]["unreadable"].as_str().is_some_and(|why| !why.is_empty());
        assert_eq!(is_said, photo["name"] != "cut.jpg", "it says why: {photo}");
    }
    let (_, whole) = upload(&daemon, &[], &pictures()[..1]);
    assert_eq!(whole["photos"][0]["outcome"], "added", "the next one is read: {whole}");
    assert_eq!(daemon.json("/api/v1/photos")["photos"].as_array().map(Vec::len), Some(6));
}

#[test]
fn people_add_look_at_and_describe_photos_in_a_browser() {
    let scratch = Scratch::new("photos-page");
    let mut config = Config::new(&scratch).played_once("yard", &fixture("leaves.mp4"), 4.0);
    config.add(&format!("[library]\nimport_from = [{:?}]\n", scratch.path("media")));
    let daemon = Daemon::start(&scratch, config);
    let card = scratch.path("media/EOS");
    std::fs::create_dir_all(&card).expect("make the card");
    std::fs::copy(&pictures()[0], card.join("IMG_1.PNG")).expect("copy");
    std::fs::write(card.join("empty.jpg"), "").expect("write");
    let script = repository().join("tests/browser/photos.mjs");
    let mut node = Command::new("node");
    let alike = scratch.path("small-dog.jpg");
    image::open(&pictures()[0]).expect("a picture").thumbnail(400, 400).to_rgb8().save(&alike).expect("write");
    let place = ["-GPSLatitude=35.6812", "-GPSLatitudeRef=N", "-GPSLongitude=139.7671", "-GPSLongitudeRef=E"];
    run(Command::new("exiftool").arg("-overwrite_original").args(place).arg(&alike));
    node.env("OUTPOST_CARD", &card)
        .env("OUTPOST_ALIKE", &alike)
        .arg(script)
        .arg(daemon.page())
        .args(pictures())
        .env("OUTPOST_NODE_MODULES", installed("node/node_modules"));
    let seen: Value = serde_json::from_str(&run(&mut node)).expect("the browser's report");
    assert_eq!(seen["errors"], json!([]), "on the console");
    let violations: BTreeMap<String, Vec<String>> = serde_json::from_value(seen["violations"].clone()).expect("lists");
    assert!(violations.len() >= 3 && violations.values().all(Vec::is_empty), "axe: {violations:#?}");
    let shifts: BTreeMap<String, f64> = serde_json::from_value(seen["shifts"].clone()).expect("numbers");
    assert!(shifts.values().all(|shift| *shift < 0.1), "layout shifts: {shifts:?}: {}", seen["moved"]);
    let steps = &seen["steps"];
    assert_eq!((&steps["shown"], &steps["titled"]), (&json!(4), &json!("The giraffe")), "{steps}");
    assert_eq!((&steps["left"], &steps["inTrash"], &steps["restored"]), (&json!(3), &json!(1), &json!(4)), "{steps}");
    assert_eq!((&steps["found"], &steps["selected"]), (&json!("Photos found: 1"), &json!("Selected: 2")), "{steps}");
    assert_eq!(steps["foundNone"], json!("No photo was found."), "{steps}");
    assert!(steps["wrong"].as_str().is_some_and(|text| text.contains("is no time")), "{steps}");
    assert!(steps["favorite"].as_str().is_some_and(|label| label.starts_with("The giraffe")), "{steps}");
    assert_eq!((&steps["album"], &steps["months"]), (&json!("Best ones"), &json!(2)), "{steps}");
    assert_eq!(steps["takenBack"], json!(true), "{steps}");
    assert!(steps["noShift"].as_str().is_some_and(|text| text.contains("an hour")), "{steps}");
    assert_eq!(steps["days"][1], json!("Saturday, January 1, 2000"), "{steps}");
    assert!(steps["importRefused"].as_str().is_some_and(|text| text.contains("does not lie below")), "{steps}");
    let imported = steps["imported"].as_str().expect("a text");
    let says = ["done, 0 new, 1 already there", "1 file was not taken in", "empty.jpg: the file is empty"];
    assert!(says.iter().all(|part| imported.contains(part)), "{imported}");
    assert_eq!(steps["others"], json!(true), "the page is not loaded again, and the focus stays: {steps}");
    assert_eq!(steps["near"], json!("near:35.6850,139.7650,1"), "{steps}");
    assert_eq!(steps["alike"], json!(1), "{steps}");
    assert_eq!(steps["wide"], json!(true), "nothing is wider than the phone");
    assert_eq!(steps["sharedAlbum"], json!({ "title": "The best", "saved": "picture.jpg" }), "{steps}");
    let photos = library(&daemon);
    assert_eq!((&steps["deleted"], photos.contains_key("eagle.png")), (&json!(true), false), "{steps}");
    assert_eq!(
        (&photos["giraffe.png"]["title"], &photos["giraffe.png"]["tags"]),
        (&json!("The giraffe"), &json!(["zoo", "tall"]))
    );
    assert_eq!(photos["giraffe.png"]["taken"]["from"], "file_date", "as the browser says");
}

/// What `exiftool` and a look at the bytes find of a file that was shared.
fn says(path: &Path) -> (bool, Vec<String>) {
    let bytes = std::fs::read(path).expect("read");
    let has = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    let secrets = ["SecretCam", "Anna Secret", "IMG_4711", "secret maker note", "35.68"];
    let text = run(Command::new("exiftool").args(["-G1", "-s", "-a", "-u"]).arg(path));
    let found = secrets.iter().filter(|secret| has(secret) || text.contains(**secret));
    (
        text.contains("GPSLatitude") || text.contains("[IFD0]") || text.contains("[XMP"),
        found.map(|s| (*s).to_owned()).collect(),
    )
}

/// Works with: pictures | a photo that is shared by a link without what its file says | no place, device, name, time or maker note is in it, in whatever field
#[test]
fn a_stripped_link_gives_the_picture_and_nothing_of_what_its_file_says() {
    let scratch = Scratch::new("stripped");
    let photo = scratch.path("IMG_4711.jpg");
    std::fs::copy(fixture("pictures/dog.jpg"), &photo).expect("copy");
    run(Command::new("exiftool")
        .args(["-q", "-overwrite_original", "-Make=SecretCam", "-Artist=Anna Secret", "-XMP:Creator=Anna Secret"])
        .args(["-IPTC:By-line=Anna Secret", "-UserComment=secret maker note", "-Comment=IMG_4711", "-Orientation#=6"])
        .args(["-GPSLatitude=35.68", "-GPSLatitudeRef=N", "-GPSLongitude=139.77", "-GPSLongitudeRef=E"])
        .arg(&photo));
    let daemon = Daemon::start(&scratch, Config::new(&scratch).played_once("yard", &fixture("leaves.mp4"), 4.0));
    let (status, kept) = upload(&daemon, &[], std::slice::from_ref(&photo));
    assert_eq!(status, 201, "{kept}");
    let id = &kept["photos"][0]["id"];
    let shared = |stripped: bool, name: &str| {
        let opened = open_share(&daemon, id, stripped);
        assert_eq!(opened["name"], "picture.jpg", "{opened}");
        let url = opened["url"].as_str().expect("a path").replace("picture.jpg", name);
        let path = scratch.path(&format!("shared-{stripped}-{name}"));
        let headers = save_shared(&daemon, &url, &path);
        assert!(!headers.contains("4711") && headers.contains(&format!("filename=\"{name}\"")), "{headers}");
        path
    };
    for name in ["picture.jpg", "large.jpg"] {
        assert_eq!(says(&shared(true, name)), (false, Vec::new()), "{name}");
    }
    let (has_facts, secrets) = says(&shared(false, "picture.jpg"));
    assert!(has_facts && secrets.len() >= 4, "as it came, where that is wanted: {secrets:?}");
    let size = |path: &Path| run(Command::new("exiftool").args(["-s3", "-ImageSize"]).arg(path)).trim().to_owned();
    let (upright, coded) = (size(&shared(true, "picture.jpg")), size(&photo));
    let turned = coded.split_once('x').map(|(width, height)| format!("{height}x{width}"));
    assert_eq!(Some(upright), turned, "in full, and upright");
}
