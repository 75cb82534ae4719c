//! An archive in a temp folder, for the tests of all that works on one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::sidecar::{SIDECAR, write_event};
use super::{Archive, ArchiveDeps, Config, Layout};
use crate::clock::{Mono, SimulatedClock};
use crate::destination::destination;
use crate::event::{Event, EventId};
use crate::metrics::Metrics;
use crate::store::{self, Store};

pub(crate) const OUTBOXES: [&str; 4] = ["mqtt", "upload/cloud", "webhook/office", "lake"];

pub(crate) fn id(n: u128) -> EventId {
    EventId::from_bytes(n.to_be_bytes())
}

pub(crate) fn event(n: u128, state: &str) -> Event {
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
pub(crate) fn archive(path: &Path) -> Archive {
    archive_and_clock(path).0
}

pub(crate) fn archive_and_clock(path: &Path) -> (Archive, Arc<SimulatedClock>) {
    let clock = Arc::new(SimulatedClock::new(Mono(9_000_000_000), "2026-11-22T10:00:04Z".parse().expect("a time")));
    let config = store::Config { path: path.to_owned(), deadline: Duration::from_secs(20), ..store::Config::default() };
    let store = Store::open(&config, &OUTBOXES.map(destination), clock.clone()).expect("open the store");
    let deps = ArchiveDeps::new("box", clock.clone());
    let archive = Archive::new(Layout::new(path), store, clock.clone(), Metrics::new(), Config::default(), deps);
    (archive, clock)
}

pub(crate) fn put_sidecar(archive: &Archive, event: &Event) {
    let folder = archive.layout.create_folder(&event.camera, event.id).expect("a folder");
    write_event(&folder, event).expect("a sidecar");
}

/// What `event.json` says, whatever folder it lies in.
pub(crate) fn read_event(folder: &Path) -> anyhow::Result<Event> {
    Ok(serde_json::from_slice(&std::fs::read(folder.join(SIDECAR))?)?)
}

pub(crate) fn queued(archive: &Archive, outbox: &str) -> u64 {
    let stats = archive.store.stats().wait().expect("stats");
    stats.outboxes.iter().find(|queue| queue.name.as_str() == outbox).map_or(0, |queue| queue.items)
}
