//! Recovery after a stop that nobody asked for.

mod ledger;
mod timekeeper;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::sidecar::{read_event, write_event};
use super::*;
use crate::clock::{Mono, SimulatedClock};
use crate::event::{EventId, EventState};
use crate::store;

const OUTBOXES: [&str; 2] = ["mqtt", "upload/cloud"];

fn id(n: u128) -> EventId {
    EventId::from_bytes(n.to_be_bytes())
}

fn event(n: u128, state: &str) -> Event {
    let moment = r#"{"wall":"2026-11-22T10:00:00Z","mono_ns":5000000000,"boot_id":"b","time_quality":"synchronised"}"#;
    let end = if state == "open" { String::new() } else { format!(r#""end":{moment},"#) };
    let text = format!(
        r#"{{"version":1,"id":"{}","device":"box","camera":"yard","rule":"object","kind":"object","state":"{state}",{end}
            "label":"person","score":0.8,"count":1,"track":1,"zones":[],"start":{moment}}}"#,
        id(n)
    );
    serde_json::from_str(&text).expect("an event")
}

/// A box whose storage is `path`.
fn archive(path: &Path) -> Archive {
    archive_and_clock(path).0
}

fn archive_and_clock(path: &Path) -> (Archive, Arc<SimulatedClock>) {
    let clock = Arc::new(SimulatedClock::new(Mono(9_000_000_000), "2026-11-22T10:00:04Z".parse().expect("a time")));
    let config = store::Config { path: path.to_owned(), deadline: Duration::from_secs(20), ..store::Config::default() };
    let store = Store::open(&config, &OUTBOXES.map(str::to_owned), clock.clone()).expect("open the store");
    let ids = Arc::new(IdSource::new(clock.clone(), None));
    let host = Host { device: "box".into(), ids, pressure: Pressure::default() };
    let archive = Archive::new(Layout::new(path), store, clock.clone(), Metrics::new(), Config::default(), host);
    (archive, clock)
}

fn put_sidecar(archive: &Archive, event: &Event) {
    let folder = archive.layout.create_folder(&event.camera, event.id).expect("a folder");
    write_event(&folder, event).expect("a sidecar");
}

fn queued(archive: &Archive, outbox: &str) -> u64 {
    let stats = archive.store.stats().expect("stats");
    stats.outboxes.iter().find(|queue| queue.name == outbox).map_or(0, |queue| queue.items)
}

#[test]
fn an_event_that_was_left_open_is_closed_on_disk_and_in_the_index_and_queued() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    let open = event(1, "open");
    put_sidecar(&archive, &open);
    archive.store.record(store::Change { event: open.clone(), deliveries: Vec::new() }).expect("record");
    let folder = archive.layout.folder("yard", open.id);
    fs::write(folder.join("thumb.jpg"), b"jpeg").expect("a picture");
    fs::write(folder.join("clip.mp4"), b"torn before anything was playable").expect("a clip");

    let found = recover(&archive, Some(id(1)), id(10), false).expect("recover");
    assert_eq!(found, Recovered { interrupted: 1, ..Recovered::default() });
    let closed = archive.store.event(open.id).expect("read").expect("there");
    assert_eq!((closed.state, closed.end.is_some(), closed.clip.is_some()), (EventState::Interrupted, true, false));
    assert_eq!(closed.pictures.len(), 1);
    assert_eq!(read_event(&folder).expect("a sidecar"), closed, "disk and index say the same");
    assert!(!folder.join("clip.mp4").exists(), "what cannot be played is not kept as a clip");
    assert_eq!(
        (queued(&archive, "mqtt"), queued(&archive, "upload/cloud")),
        (1, 2),
        "end told; sidecar and thumb sent"
    );
    assert_eq!(recover(&archive, Some(id(1)), id(10), false).expect("again"), Recovered::default());
}

#[test]
fn a_fresh_index_is_filled_from_the_sidecars_and_bad_ones_are_left_in_place() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    put_sidecar(&archive, &event(1, "ended"));
    put_sidecar(&archive, &event(2, "interrupted"));
    put_sidecar(&archive, &event(3, "open"));
    let bad = archive.layout.create_folder("yard", id(4)).expect("a folder");
    fs::write(bad.join(SIDECAR), b"{ torn").expect("a torn sidecar");
    fs::create_dir_all(archive.layout.root().join("yard/holiday pictures")).expect("somebody else's folder");

    // The index knows something newer already, as when the first filling was cut short.
    let found = recover(&archive, Some(id(9)), id(10), true).expect("recover");
    assert_eq!(found, Recovered { interrupted: 1, reindexed: 2, unreadable: 1, ..Recovered::default() });
    assert_eq!(archive.store.events(&store::Query { limit: 10, ..Default::default() }).expect("events").len(), 3);
    assert_eq!(queued(&archive, "upload/cloud"), 3, "every sidecar is sent again, for the cloud may lack it");
    assert_eq!(queued(&archive, "mqtt"), 1, "only what was open is news");
    assert!(bad.join(SIDECAR).exists());
}

#[test]
fn events_of_this_run_and_those_that_the_index_has_passed_are_not_touched() {
    let dir = tempfile::tempdir().expect("tempdir");
    let archive = archive(dir.path());
    put_sidecar(&archive, &event(3, "ended"));
    put_sidecar(&archive, &event(12, "open"));
    archive.store.record(store::Change { event: event(12, "open"), deliveries: Vec::new() }).expect("record");
    let found = recover(&archive, Some(id(5)), id(10), false).expect("recover");
    assert_eq!(found, Recovered::default());
    assert_eq!(archive.store.event(id(12)).expect("read").expect("there").state, EventState::Open);
}
