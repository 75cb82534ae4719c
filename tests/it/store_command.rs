//! `outpost store`, as an operator uses it on a box that is stopped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use outpost::archive::{Archive, ArchiveDeps, Config as ArchiveConfig, Layout};
use outpost::clock::SystemClock;
use outpost::destination::Destination;
use outpost::event::{Event, EventId};
use outpost::metrics::Metrics;
use outpost::recovery::recover;
use outpost::store::{Config as StoreConfig, Store};
use serde_json::json;

use crate::harness::Scratch;
use crate::harness::daemon::outpost;

/// A box with three events of one picture each, indexed and queued for one destination.
struct Stopped {
    scratch: Scratch,
    config: PathBuf,
}

impl Stopped {
    fn new() -> Self {
        let scratch = Scratch::new("store");
        let folder = scratch.path("box");
        fs::create_dir(&folder).expect("a folder");
        for n in 1..=3 {
            let picture = format!("picture {n}");
            put(&folder, n, &picture);
        }
        let config = scratch.path("outpost.toml");
        let text = format!(
            "[storage]\npath = \"{}\"\n[upload.cloud]\nurl = \"file://{}\"\n\
             [camera.gate.source]\nurl = \"rtsp://127.0.0.1:9/\"\n",
            folder.display(),
            scratch.path("cloud").display()
        );
        fs::write(&config, text).expect("write");
        let stopped = Self { scratch, config };
        let store = stopped.open();
        let clock = Arc::new(SystemClock::new());
        let (layout, host) = (Layout::new(&stopped.folder()), ArchiveDeps::new("box", clock.clone()));
        let archive = Archive::new(layout, store.clone(), clock, Metrics::new(), ArchiveConfig::default(), host);
        recover(&archive, EventId::from_bytes([0xff; 16]), &mut |_| ()).expect("index");
        drop(archive);
        store.close().expect("close");
        stopped
    }

    fn folder(&self) -> PathBuf {
        self.scratch.path("box")
    }

    fn open(&self) -> Store {
        let config = StoreConfig { path: self.folder(), ..StoreConfig::default() };
        Store::open(&config, &[Destination::upload("cloud")], Arc::new(SystemClock::new())).expect("open")
    }

    fn event(&self, n: u128, file: &str) -> PathBuf {
        self.folder().join("archive/gate").join(id(n).to_string()).join(file)
    }

    /// Takes away what says how to read it.
    fn damage_index(&self) {
        let db = sled::open(self.folder().join("index")).expect("open sled");
        db.open_tree("meta").expect("a tree").remove("version").expect("remove");
        db.flush().expect("flush");
    }

    /// Runs `outpost store`; gives the exit code, standard output and the messages.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let config = self.config.to_str().expect("text");
        said(&outpost(&[&["store"], arguments, &["--config", config]].concat()))
    }
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn id(n: u128) -> EventId {
    EventId::from_bytes(n.to_be_bytes())
}

fn put(folder: &Path, n: u128, picture: &str) {
    let folder = folder.join("archive/gate").join(id(n).to_string());
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("thumb.jpg"), picture).expect("a picture");
    let at = json!({ "wall": "2026-11-22T10:00:00Z", "mono_ns": 5, "boot_id": "b", "time_quality": "synchronised" });
    let measured = outpost::archive::measure(&folder, "thumb.jpg").expect("measure");
    let event: Event = serde_json::from_value(json!({
        "version": 1, "id": id(n), "device": "box", "camera": "gate", "rule": "object", "kind": "object",
        "state": "ended", "label": "person", "score": 0.5, "count": 1, "track": 1, "zones": [], "start": at, "end": at,
        "pictures": [measured],
    }))
    .expect("an event");
    fs::write(folder.join("event.json"), serde_json::to_vec_pretty(&event).expect("JSON")).expect("a sidecar");
}

#[test]
fn check_finds_every_difference_and_changes_nothing() {
    let stopped = Stopped::new();
    let (code, out, err) = stopped.run(&["check", "--deep"]);
    assert_eq!(
        (code, out.as_str(), err.as_str()),
        (Some(0), "3 events, 0 photos, 3 files, 27 bytes: 0 differences\n", "")
    );

    fs::write(stopped.event(1, "thumb.jpg"), "picture !").expect("same size");
    fs::write(stopped.event(2, "thumb.jpg"), "pic").expect("shorter");
    fs::write(stopped.event(2, "notes.txt"), "hello").expect("a stray file");
    fs::remove_dir_all(stopped.event(3, "")).expect("remove an event");
    put(&stopped.folder(), 4, "unknown");
    put(&stopped.folder(), 5, "torn");
    fs::write(stopped.event(5, "event.json"), "{").expect("tear");
    let index = fs::read(stopped.folder().join("index/db")).expect("an index");
    let (code, out, err) = stopped.run(&["check"]);
    let expected = [
        format!("gate/{}/thumb.jpg: 3 bytes, 9 in event.json", id(2)),
        format!("gate/{}/notes.txt: not named in event.json", id(2)),
        format!("gate/{}: not in the index", id(4)),
        format!("gate/{}: event.json is damaged: EOF while parsing an object at line 1 column 1", id(5)),
        format!("gate/{}: in the index, but not on the disk", id(3)),
        "4 events, 0 photos, 3 files, 19 bytes: 5 differences".to_owned(),
    ];
    assert_eq!((code, out.lines().collect::<Vec<_>>()), (Some(1), expected.iter().map(String::as_str).collect()));
    assert!(err.contains("index and disk differ"), "{err}");
    let (_, out, _) = stopped.run(&["check", "--deep"]);
    assert!(out.contains(&format!("gate/{}/thumb.jpg: its SHA-256 is not the one in event.json", id(1))), "{out}");

    // It looked at a copy, and took it away again.
    assert!(fs::read(stopped.folder().join("index/db")).expect("an index") == index);
    assert!(!stopped.folder().join("index.copy").exists());
    assert!(stopped.event(5, "event.json").exists());
}

#[test]
fn check_says_that_the_index_is_damaged_and_leaves_it() {
    let stopped = Stopped::new();
    stopped.damage_index();
    let (code, out, _) = stopped.run(&["check"]);
    assert!(code == Some(1) && out.contains("index: damaged"), "{code:?}: {out}");
    assert!(stopped.folder().join("index").exists() && !stopped.folder().join("index.bad-1").exists());
    let (code, _, err) = stopped.run(&["stats"]);
    assert!(code == Some(1) && err.contains("the index is damaged"), "{err}");
    fs::remove_dir_all(stopped.folder().join("index")).expect("remove");
    let (code, out, _) = stopped.run(&["check"]);
    assert!(code == Some(1) && out.contains("index: there is none"), "{code:?}: {out}");
}

#[test]
fn rebuild_recreates_the_index_and_queues_everything() {
    let stopped = Stopped::new();
    stopped.damage_index();
    put(&stopped.folder(), 4, "unknown");
    let (code, out, err) = stopped.run(&["rebuild"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("4 events are in the index") && out.contains("upload/cloud: 8 items wait"), "{out}");
    assert!(err.contains("4 of 4 events"), "{err}");
    assert!(stopped.folder().join("index.bad-1").exists());
    let (code, out, _) = stopped.run(&["check", "--deep"]);
    assert_eq!((code, out.as_str()), (Some(0), "4 events, 0 photos, 4 files, 34 bytes: 0 differences\n"));
    let (code, out, _) = stopped.run(&["stats"]);
    assert!(code == Some(0) && out.contains("events: 4, of these open: 0"), "{out}");
    assert!(out.contains("upload/cloud: 8 items wait") && !out.contains("incomplete"), "{out}");
}

#[test]
fn rebuild_without_a_configuration_queues_for_the_destinations_of_the_old_index() {
    let stopped = Stopped::new();
    let folder = stopped.folder();
    let arguments = ["store", "rebuild", "--dir", folder.to_str().expect("text")];
    let (code, out, err) = said(&outpost(&arguments));
    assert!(code == Some(0) && out.contains("upload/cloud: 6 items wait"), "{out}{err}");
    fs::remove_dir_all(folder.join("index")).expect("remove");
    let (code, out, _) = said(&outpost(&arguments));
    assert!(code == Some(0) && out.contains("nothing is queued for delivery"), "{out}");
}

#[test]
fn a_store_in_use_a_missing_folder_and_a_newer_index_are_said_in_words() {
    let stopped = Stopped::new();
    let store = stopped.open();
    for command in ["check", "rebuild", "stats"] {
        let (code, _, err) = stopped.run(&[command]);
        assert!(code == Some(1) && err.contains("the daemon is running"), "{command}: {code:?} {err}");
    }
    store.close().expect("close");

    let db = sled::open(stopped.folder().join("index")).expect("open sled");
    db.open_tree("meta").expect("a tree").insert("version", &99u32.to_be_bytes()).expect("insert");
    drop(db);
    for command in ["check", "rebuild", "stats"] {
        let (code, _, err) = stopped.run(&[command]);
        assert!(code == Some(1) && err.contains("schema version 99"), "{command}: {code:?} {err}");
    }
    assert!(!stopped.folder().join("index.bad-1").exists());

    fs::remove_dir_all(stopped.folder()).expect("remove");
    let (code, _, err) = stopped.run(&["rebuild"]);
    assert!(code == Some(1) && err.contains("there is no folder"), "{err}");
    assert!(!stopped.folder().exists());
    let (code, ..) = said(&outpost(&["store", "check", "--dir", "/", "--config", "x"]));
    assert_eq!(code, Some(64));
}
