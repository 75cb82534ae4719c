//! The gallery of a library of thousands of photos in a browser.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use jiff::ToSpan;
use jiff::civil::{DateTime, date};
use serde_json::{Value, json};

use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::process::run;
use crate::harness::{Scratch, fixture, installed, repository, seconds, wait_for};

const PHOTOS: u32 = 6000;
/// 2023 and 2024, one photo every three hours.
fn taken(n: u32) -> DateTime {
    date(2024, 12, 31).at(21, 0, 0, 0).checked_sub((i64::from(n) * 3).hours()).expect("a time")
}

/// Writes what the library has on the disk of a photo whose original lies at a destination alone.
fn put(storage: &Path, thumb: &Path, n: u32) {
    let sha256 = format!("{n:064x}").chars().rev().collect::<String>();
    let id = format!("01J{n:023}");
    let place = format!("{}/{sha256}", &sha256[..2]);
    let (folder, derived) = (storage.join("library").join(&place), storage.join("derived").join(&place));
    fs::create_dir_all(&folder).expect("a folder");
    fs::create_dir_all(&derived).expect("a folder");
    for size in ["small.jpg", "large.jpg"] {
        fs::hard_link(thumb, derived.join(size)).expect("a thumbnail");
    }
    let added = json!({ "wall": "2026-11-22T10:00:00Z", "mono_ns": 1, "boot_id": "b", "time_quality": "synchronised" });
    let photo = json!({
        "version": 1, "id": id, "sha256": sha256, "file": "original.jpg", "bytes": 1000,
        "name": format!("IMG_{n:04}.JPG"), "owner": "anna", "added": added,
        "title": if n.is_multiple_of(2) { "A grey heron" } else { "" },
        "taken": { "local": taken(n), "from": "original" },
        "facts": { "format": "jpeg", "width": 640, "height": 480, "orientation": 1 },
    });
    fs::write(folder.join(format!("photo-{id}.json")), photo.to_string()).expect("a sidecar");
    let away = json!({ "destination": "upload/cloud", "since": added, "bytes": 1000, "sha256": sha256 });
    fs::write(folder.join("original.jpg.away"), away.to_string()).expect("a note");
}

#[test]
fn thousands_of_photos_are_gone_through_by_what_is_on_the_screen() {
    let scratch = Scratch::new("gallery");
    let mut config = Config::new(&scratch).played_once("yard", &fixture("people.mp4"), 4.0);
    config.add("[library]\ndetect = \"off\"\n");
    let thumb = scratch.path("box/thumb.jpg");
    fs::copy(fixture("pictures").join("dog.jpg"), &thumb).expect("copy");
    (0..PHOTOS).for_each(|n| put(&scratch.path("box"), &thumb, n));
    let daemon = Daemon::start(&scratch, config);
    wait_for("the library to be in the index", seconds(120), || {
        let days = daemon.json("/api/v1/photos/days");
        let photos: u64 = days["days"].as_array().into_iter().flatten().filter_map(|day| day["photos"].as_u64()).sum();
        if photos == u64::from(PHOTOS) && days["exact"] == true { Ok(()) } else { Err(photos.to_string()) }
    });
    wait_for("an event", seconds(60), || if daemon.events().is_empty() { Err("none".to_owned()) } else { Ok(()) });

    let mut node = Command::new("node");
    node.arg(repository().join("tests/browser/gallery.mjs")).arg(daemon.page());
    let report = run(node.env("OUTPOST_NODE_MODULES", installed("node/node_modules")));
    let seen: Value = serde_json::from_str(&report).expect("the browser's report");
    assert_eq!(seen["errors"], json!([]), "on the console");
    let violations: BTreeMap<String, Vec<String>> = serde_json::from_value(seen["violations"].clone()).expect("lists");
    assert!(violations.len() == 4 && violations.values().all(Vec::is_empty), "axe: {violations:#?}");
    let shifts: BTreeMap<String, f64> = serde_json::from_value(seen["shifts"].clone()).expect("numbers");
    assert!(shifts.values().all(|shift| *shift < 0.1), "layout shifts: {shifts:?}: {}", seen["moved"]);
    let steps = &seen["steps"];
    let text = |name: &str| steps[name].as_str().unwrap_or_else(|| panic!("{name}: {steps}")).to_owned();
    let number = |name: &str| steps[name].as_u64().unwrap_or_else(|| panic!("{name}: {steps}"));
    assert!(text("newest").starts_with("A grey heron, 31 December 2024 at 21:00"), "{steps}");
    assert!(number("height") > 750 * 150, "as high as all days are: {steps}");
    // 8 of each day.
    assert!(text("june").contains("30 June 2024") && text("heading").contains("30 June 2024"), "{steps}");
    assert!(text("onPhone").contains("30 June 2024"), "{steps}");
    assert!(text("oldest").starts_with(&format!("IMG_{}.JPG", PHOTOS - 1)), "{steps}");
    assert_eq!((&steps["afterLast"], &steps["movedUp"]), (&json!(false), &json!(true)), "{steps}");
    assert_eq!(text("again"), text("newest"));
    assert!(number("most") < 600, "tiles are taken out again: {steps}");
    assert!(number("lists") < 30, "what is passed over is not asked for: {steps}");
    assert!(number("grown") > 1000 && text("herons").starts_with("A grey heron"), "{steps}");
    assert!(text("event").contains("person, yard"), "{steps}");
}
