//! An archive and an index as version 0.1.0 left them, with a spool beside them: this version opens both, takes the spool
//! in, delivers every file that waits once, and loses nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use outpost::archive::{Archive, ArchiveDeps, Config as ArchiveConfig, Layout, measure};
use outpost::asset::SIDECAR;
use outpost::clock::SystemClock;
use outpost::destination::Destination;
use outpost::event::{DeliveryState, Event, EventId, EventState, OutletDelivery};
use outpost::metrics::Metrics;
use outpost::recovery::{merge, recover};
use outpost::store::{Config as StoreConfig, Delivery, Query, SegmentQuery, Store};

use crate::harness::process::run;
use crate::harness::{Scratch, repository, seconds};

const CAMERAS: [&str; 2] = ["gate", "yard"];

/// A file of an event on its way to a destination.
type Item = (Destination, EventId, String);

/// The fixture, with another folder than it had; gives its configuration.
pub fn unpack(scratch: &Scratch) -> PathBuf {
    let archive = repository().join("tests/fixtures/archive-0.1.0.tar.xz");
    run(Command::new("tar").arg("xJf").arg(archive).arg("-C").arg(scratch.path("")));
    let config = scratch.path("config.toml");
    let text = std::fs::read_to_string(&config).expect("the configuration");
    let root = scratch.path("").display().to_string();
    let text = text.replace("@ROOT@", root.trim_end_matches('/'));
    std::fs::write(&config, text.replace("@REPO@", &repository().display().to_string())).expect("write");
    config
}

fn uploads() -> Vec<Destination> {
    ["away", "cloud", "sealed", "strict"].map(Destination::upload).to_vec()
}

fn open(path: &Path) -> Store {
    let outboxes: Vec<_> = uploads().into_iter().chain([Destination::Lake, Destination::Mqtt]).collect();
    let config = StoreConfig { path: path.to_owned(), ..StoreConfig::default() };
    let store = Store::open(&config, &outboxes, Arc::new(SystemClock::new())).expect("open");
    assert!(!store.was_reset(), "the index is used as it is");
    store
}

fn known(store: &Store) -> Vec<(Event, Vec<OutletDelivery>)> {
    let events = store.events().find(&Query { limit: 500, ..Query::default() }).wait().expect("events");
    let deliveries = store.events().deliveries(&events).wait().expect("deliveries");
    events.into_iter().zip(deliveries).collect()
}

/// Every file of `events` at every upload, with how far it got.
fn files(events: &[(Event, Vec<OutletDelivery>)]) -> BTreeMap<Item, DeliveryState> {
    let of_outlet = |id, outlet: &OutletDelivery| -> Vec<(Item, DeliveryState)> {
        outlet.files.iter().map(|of| ((outlet.outlet.clone(), id, of.file.clone()), of.state)).collect()
    };
    events.iter().flat_map(|(event, outlets)| outlets.iter().flat_map(|of| of_outlet(event.id, of))).collect()
}

/// Delivers all that waits, as an uploader does: only what is as it was recorded.
async fn deliver(archive: &Archive, store: &Store) -> Vec<Item> {
    let mut delivered = Vec::new();
    for destination in uploads() {
        let outbox = store.outboxes().get(&destination).expect("an outbox");
        loop {
            let leases = outbox.lease(50).await.expect("lease");
            if leases.is_empty() {
                break;
            }
            for lease in &leases {
                if let Delivery::Upload(media) = &lease.item {
                    let event = lease.event.as_ref().expect("of an event");
                    let folder = archive.layout().folder(&event.camera, event.id);
                    assert_eq!(&measure(&folder, &media.file).expect("a file"), media, "{}", event.id);
                    delivered.push((destination.clone(), event.id, media.file.clone()));
                }
                outbox.ack(lease).await.expect("acknowledge");
            }
        }
        assert_eq!(outbox.waiting().await.expect("count"), 0);
    }
    delivered
}

/// Alerts that wait for the broker, by event, number and phase.
async fn alerts(store: &Store) -> BTreeSet<(EventId, String)> {
    let leases = store.outboxes().get(&Destination::Mqtt).expect("an outbox").lease(10_000).await.expect("lease");
    let alert = |lease: &outpost::store::Lease| {
        let Delivery::Alert(phase) = &lease.item else { panic!("{:?} is no alert", lease.item) };
        (lease.event.as_ref().expect("an event").id, phase.as_str().to_owned())
    };
    leases.iter().map(alert).collect()
}

/// Works with: system | an update from version 0.1.0 with full queues, dead letters and a spool | everything is taken over, and delivered once
#[test]
fn an_archive_of_version_0_1_opens_and_every_file_that_waits_is_delivered_once() {
    let scratch = Scratch::new("older-archive");
    unpack(&scratch);
    let clock = Arc::new(SystemClock::new());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (store, spooled) = (open(&scratch.path("box")), open(&scratch.path("spool/box")));
    let (before, in_spool) = (known(&store), known(&spooled));
    assert!(before.len() > 10 && !in_spool.is_empty(), "{} and {}", before.len(), in_spool.len());
    let mut published = runtime.block_on(alerts(&store));
    published.extend(runtime.block_on(alerts(&spooled)));
    assert!(published.len() > 10, "{published:?}");

    let config = ArchiveConfig { time_hold: seconds(0), ..ArchiveConfig::default() };
    let new = |path: PathBuf, store: &Store| {
        let deps = ArchiveDeps::new("box1", clock.clone());
        Archive::new(Layout::new(&path), store.clone(), clock.clone(), Metrics::new(), config.clone(), deps)
    };
    let (archive, spool) = (new(scratch.path("box"), &store), new(scratch.path("spool/box"), &spooled));
    // A sidecar that was changed by hand while the box was off: all its files are queued again.
    let is_changed = |event: &Event| {
        let folder = archive.layout().folder(&event.camera, event.id);
        let text = std::fs::read(folder.join(SIDECAR)).expect("a sidecar");
        serde_json::from_slice::<Event>(&text).expect("an event") != *event
    };
    let changed: BTreeSet<EventId> =
        before.iter().map(|(event, _)| event).filter(|e| is_changed(e)).map(|e| e.id).collect();
    assert!(changed.len() < before.len() / 2, "{changed:?}");
    recover(&archive, EventId::from_bytes([0xff; 16]), &mut |_| ()).expect("recover");
    let merged = merge(&spool, &archive, &CAMERAS.map(str::to_owned), runtime.handle(), &|| false).expect("merge");
    assert_eq!(merged.left, 0, "nothing is left in the spool");

    let delivered = runtime.block_on(deliver(&archive, &store));
    let mut times = BTreeMap::new();
    delivered.iter().for_each(|item| *times.entry(item.clone()).or_insert(0) += 1);
    assert_eq!(times.values().copied().max(), Some(1), "each once");

    let now = known(&store);
    let is_there = |id: EventId| now.iter().any(|(event, _)| event.id == id && event.state != EventState::Open);
    for (event, _) in before.iter().chain(&in_spool) {
        assert!(is_there(event.id), "{} is known, and over", event.id);
    }
    for (item, was) in files(&before) {
        match was {
            DeliveryState::Waiting => assert_eq!(times.get(&item), Some(&1), "{item:?} waited"),
            DeliveryState::Delivered if !changed.contains(&item.1) => assert_eq!(times.get(&item), None, "{item:?}"),
            _ => {}
        }
    }
    for (item, state) in files(&now) {
        let is_given_up = item.0 == Destination::upload("strict") && item.2 == "clip.mp4";
        let expected = if is_given_up && state != DeliveryState::Delivered {
            DeliveryState::Failed
        } else {
            DeliveryState::Delivered
        };
        assert_eq!(state, expected, "{item:?}");
    }
    let waits = runtime.block_on(alerts(&store));
    assert!(published.is_subset(&waits), "{:?}", published.difference(&waits));
    for camera in CAMERAS {
        let query = SegmentQuery { camera: camera.to_owned(), since: None, until: None, before: None, limit: 1000 };
        for segment in store.ledger().segments(&query).wait().expect("segments") {
            let video = segment.video.expect("it is closed");
            let file = archive.layout().recordings(camera).join(&video.media.file);
            assert_eq!(file.metadata().expect("a file").len(), video.media.bytes, "{}", file.display());
        }
    }
}
