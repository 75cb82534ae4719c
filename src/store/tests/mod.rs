//! Behaviour of the whole store; `model` compares it with a plain model, `crash` kills it meanwhile, `damage`
//! breaks its files, `deliveries` asks how far outlets got, `documents` delivers what belongs to no event, `event_times` searches by time, `full`
//! leaves it no room, `lanes` asks what goes first, `migrate` gives it an index of an older schema, `selection` drops and
//! retries many at a time, `size` measures it, `month` makes a large index, `supersede` replaces documents, `audit` takes rows away, `wake` lets a write
//! fail that is waited for, `configure` has other destinations.

mod audit;
mod changes;
mod configure;
mod crash;
mod damage;
mod deliveries;
mod documents;
mod event_times;
mod folder_files;
mod full;
mod lanes;
mod migrate;
mod model;
mod month;
mod selection;
mod size;
mod supersede;
mod wake;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use tempfile::TempDir;

use super::packed::tests::pack_eagerly;
use super::*;
use crate::asset::MediaFile;
use crate::clock::{Mono, SimulatedClock, SystemClock};
use crate::destination::destination;
use crate::event::{DeliveryState, EventState, IdSource, Phase, fixture};

pub(super) fn simulated() -> Arc<SimulatedClock> {
    Arc::new(SimulatedClock::new(Mono(1_000_000_000), Timestamp::UNIX_EPOCH + Duration::from_secs(1_800_000_000)))
}

pub(super) fn config(dir: &TempDir) -> Config {
    Config { path: dir.path().to_owned(), deadline: Duration::from_secs(20), ..Config::default() }
}

pub(super) fn names(names: &[&str]) -> Vec<Destination> {
    names.iter().map(|name| destination(name)).collect()
}

pub(super) fn event(id: EventId, camera: &str, clock: &dyn Clock) -> Event {
    fixture::event(id, camera, clock.now())
}

pub(super) fn upload(file: &str, bytes: u64, sha256: &str) -> Delivery {
    Delivery::Upload(MediaFile::new(file, bytes, sha256))
}

/// The database of the index below `folder`, without a store. Threads of sled may hold its lock a moment longer than the
/// store that was closed.
pub(super) fn raw_database(folder: &std::path::Path) -> trees::Database {
    reset::open_unlocked(&folder.join("index"), 1 << 20, Duration::from_secs(20)).expect("open")
}

/// The same as sled sees it.
pub(super) fn raw_index(folder: &std::path::Path) -> sled::Db {
    raw_database(folder).db
}

struct Bench {
    dir: TempDir,
    clock: Arc<SimulatedClock>,
    ids: IdSource,
}

impl Bench {
    fn new() -> Self {
        let clock = simulated();
        Self { dir: TempDir::new().expect("temp dir"), ids: IdSource::new(clock.clone(), None), clock }
    }

    fn open(&self) -> Store {
        Store::open(&config(&self.dir), &names(&["mqtt", "upload/a", "upload/b"]), self.clock.clone()).expect("open")
    }

    fn event(&self, camera: &str) -> Event {
        event(self.ids.next(), camera, &*self.clock)
    }
}

fn change(event: &Event, deliveries: Vec<Delivery>) -> Change {
    Change { event: event.clone(), deliveries }
}

#[test]
fn what_was_recorded_is_there_after_a_new_start() {
    let bench = Bench::new();
    let mut one = bench.event("yard");
    let two = bench.event("gate");
    let store = bench.open();
    let device = store.device_id();
    store.events().record(change(&one, vec![Delivery::Alert(Phase::Start)])).expect("record");
    store.events().record(change(&two, vec![])).expect("record");
    one.state = EventState::Ended;
    store
        .events()
        .record(change(&one, vec![Delivery::Alert(Phase::End), upload("event.json", 10, "aa")]))
        .expect("record");
    store.close().expect("close");

    let store = bench.open();
    assert!(!store.was_reset());
    assert_eq!(store.device_id(), device);
    assert_eq!(store.events().get(one.id).wait().expect("read"), Some(one.clone()));
    assert_eq!(store.events().open().expect("read"), vec![two.id]);
    assert_eq!(store.newest_id().expect("read"), Some(two.id));
    let stats = store.stats().wait().expect("stats");
    assert_eq!((stats.events, stats.open), (2, 1));
    let boxes: Vec<_> = stats.outboxes.iter().map(|b| (b.name.as_str(), b.items, b.bytes, b.dead_letters)).collect();
    assert_eq!(boxes, [("mqtt", 2, 0, 0), ("upload/a", 1, 10, 0), ("upload/b", 1, 10, 0)]);
    assert!(stats.outboxes.iter().all(|outbox| outbox.oldest.is_some()));
}

#[test]
fn queries_filter_page_and_go_from_new_to_old() {
    let bench = Bench::new();
    let store = bench.open();
    let events: Vec<Event> = (0..30)
        .map(|n| {
            bench.clock.advance(Duration::from_secs(1));
            let mut event = bench.event(if n % 3 == 0 { "yard" } else { "yard2" });
            event.label = if n % 2 == 0 { "person".into() } else { "car".into() };
            store.events().record(change(&event, vec![])).expect("record");
            event
        })
        .collect();
    let query = |query: &Query| -> Vec<EventId> {
        store.events().find(query).wait().expect("query").iter().map(|e| e.id).collect()
    };
    let expected = |wanted: &dyn Fn(&Event) -> bool| -> Vec<EventId> {
        events.iter().rev().filter(|e| wanted(e)).map(|e| e.id).collect()
    };
    let all = Query { limit: 1000, ..Query::default() };
    assert_eq!(query(&all), expected(&|_| true));
    assert_eq!(query(&Query { camera: Some("yard".into()), ..all.clone() }), expected(&|e| &*e.camera == "yard"));
    assert_eq!(query(&Query { label: Some("car".into()), ..all.clone() }), expected(&|e| &*e.label == "car"));
    assert_eq!(query(&Query { state: Some(EventState::Ended), ..all.clone() }), []);
    let from = events[10].start.wall;
    assert_eq!(query(&Query { since: Some(from), ..all.clone() }), expected(&|e| e.start.wall >= from));
    assert_eq!(query(&Query { until: Some(from), ..all.clone() }), expected(&|e| e.start.wall < from));
    let page = Query { camera: Some("yard".into()), limit: 4, ..Query::default() };
    let first = query(&page);
    let second = query(&Query { before: first.last().copied(), ..page });
    let yard = expected(&|e| &*e.camera == "yard");
    assert_eq!((first.as_slice(), second.as_slice()), (&yard[..4], &yard[4..8]));
    assert_eq!(query(&Query { limit: 0, ..Query::default() }), []);
}

#[tokio::test]
async fn an_item_is_leased_once_and_comes_back_when_the_lease_is_dropped() {
    let bench = Bench::new();
    let store = bench.open();
    let event = bench.event("yard");
    store.events().record(change(&event, vec![Delivery::Alert(Phase::Start)])).expect("record");
    let outbox = store.outboxes().get(&destination("mqtt")).expect("outbox");
    let leases = outbox.lease(10).await.expect("lease");
    assert_eq!((leases.len(), &leases[0].event, leases[0].attempts), (1, &Some(event), 0));
    assert_eq!(outbox.clone().lease(10).await.expect("lease").len(), 0);
    drop(leases);
    let again = outbox.lease(10).await.expect("lease");
    assert_eq!(again.len(), 1);
    outbox.ack(&again[0]).await.expect("ack");
    drop(again);
    assert_eq!(outbox.lease(10).await.expect("lease").len(), 0);
    assert_eq!(outbox.waiting().await.expect("count"), 0);
}

#[tokio::test]
async fn an_alert_reports_the_event_as_it_was_when_recorded() {
    let bench = Bench::new();
    let store = bench.open();
    let mut event = bench.event("yard");
    store.events().record(change(&event, vec![Delivery::Alert(Phase::Start)])).expect("record");
    event.state = EventState::Ended;
    store.events().record(change(&event, vec![Delivery::Alert(Phase::End)])).expect("record");
    let leases = store.outboxes().get(&destination("mqtt")).expect("outbox").lease(10).await.expect("lease");
    let reported: Vec<_> =
        leases.iter().map(|lease| (lease.event.as_ref().map(|event| event.state), &lease.item)).collect();
    let (start, end) = (Delivery::Alert(Phase::Start), Delivery::Alert(Phase::End));
    assert_eq!(reported, [(Some(EventState::Open), &start), (Some(EventState::Ended), &end)]);
}

#[tokio::test]
async fn a_failed_item_rests_and_the_next_one_goes_first() {
    let bench = Bench::new();
    let store = bench.open();
    for _ in 0..2 {
        store.events().record(change(&bench.event("yard"), vec![Delivery::Alert(Phase::Start)])).expect("record");
    }
    let outbox = store.outboxes().get(&destination("mqtt")).expect("outbox");
    let first = outbox.lease(1).await.expect("lease");
    outbox.nack(&first[0], "broken", Duration::from_secs(60)).await.expect("nack");
    let second = outbox.lease(10).await.expect("lease");
    assert_eq!(second.len(), 1);
    assert_ne!(second[0].seq, first[0].seq);
    bench.clock.advance(Duration::from_secs(61));
    tokio::time::timeout(Duration::from_secs(120), outbox.wait()).await.expect("the rest is over");
    let retried = outbox.lease(10).await.expect("lease");
    assert_eq!((retried.len(), retried[0].seq, retried[0].attempts), (1, first[0].seq, 1));
}

#[tokio::test]
async fn waiting_ends_with_a_new_item() {
    let bench = Bench::new();
    let store = bench.open();
    let outbox = store.outboxes().get(&destination("upload/a")).expect("outbox");
    outbox.wait().await;
    assert!(outbox.wait().now_or_never().is_none(), "nothing to do, yet it woke up");
    let waiting = tokio::spawn({
        let outbox = outbox.clone();
        async move { outbox.wait().await }
    });
    store.events().record(change(&bench.event("yard"), vec![upload("clip.mp4", 1, "aa")])).expect("record");
    tokio::time::timeout(Duration::from_secs(120), waiting).await.expect("woken").expect("join");
}

#[tokio::test]
async fn a_file_recorded_again_replaces_the_waiting_item_even_while_it_is_leased() {
    let bench = Bench::new();
    let store = bench.open();
    let event = bench.event("yard");
    let outbox = store.outboxes().get(&destination("upload/a")).expect("outbox");
    store.events().record(change(&event, vec![upload("event.json", 10, "aa")])).expect("record");
    let old = outbox.lease(1).await.expect("lease");
    store.events().record(change(&event, vec![upload("event.json", 12, "bb")])).expect("record");
    assert_eq!(outbox.waiting().await.expect("count"), 1);
    assert_eq!(outbox.lease(1).await.expect("lease").len(), 0, "the same file must not be sent twice at a time");
    outbox.nack(&old[0], "changed", Duration::from_secs(600)).await.expect("nack");
    let new = outbox.lease(1).await.expect("lease");
    assert_eq!((new.len(), &new[0].item, new[0].attempts), (1, &upload("event.json", 12, "bb"), 0));
    outbox.ack(&old[0]).await.expect("a late ack is no error");
    assert_eq!(outbox.waiting().await.expect("count"), 1, "the ack of the old content removed the new one");
    outbox.ack(&new[0]).await.expect("ack");
    store.events().record(change(&event, vec![upload("event.json", 12, "bb")])).expect("record");
    assert_eq!(outbox.waiting().await.expect("count"), 1, "after it was sent it is a new item");
}

#[tokio::test]
async fn progress_outlives_a_restart_and_ends_when_the_file_is_replaced() {
    let bench = Bench::new();
    let event = bench.event("yard");
    let store = bench.open();
    store.events().record(change(&event, vec![upload("clip.mp4", 10, "aa")])).expect("record");
    let outbox = store.outboxes().get(&destination("upload/a")).expect("outbox");
    let lease = outbox.lease(1).await.expect("lease").remove(0);
    outbox.save_progress(&lease, Some("part 3".into())).await.expect("save");
    assert!(outbox.save_progress(&lease, Some("x".repeat(4000))).await.is_err());
    drop((lease, outbox));
    store.close().expect("close");
    let store = bench.open();
    let outbox = store.outboxes().get(&destination("upload/a")).expect("outbox");
    let lease = outbox.lease(1).await.expect("lease").remove(0);
    assert_eq!(lease.progress.as_deref(), Some("part 3"));
    store.events().record(change(&event, vec![upload("clip.mp4", 12, "bb")])).expect("record");
    drop(lease);
    let lease = outbox.lease(1).await.expect("lease").remove(0);
    assert_eq!(lease.progress, None);
    outbox.rest(&lease, Duration::from_secs(5));
    assert_eq!(outbox.lease(1).await.expect("lease").len(), 0);
    bench.clock.advance(Duration::from_secs(5));
    assert_eq!(outbox.lease(1).await.expect("lease")[0].attempts, 0);
}

#[tokio::test]
async fn dead_letters_are_kept_listed_revived_and_discarded() {
    let bench = Bench::new();
    let store = bench.open();
    let event = bench.event("yard");
    let outbox = store.outboxes().get(&destination("upload/a")).expect("outbox");
    let files = vec![upload("clip.mp4", 10, "aa"), upload("thumb.jpg", 5, "bb")];
    store.events().record(change(&event, files.clone())).expect("record");
    for lease in outbox.lease(2).await.expect("lease") {
        outbox.dead_letter(&lease, &"é".repeat(400)).await.expect("dead letter");
    }
    let dead = outbox.dead_letters(10).await.expect("list");
    assert_eq!(dead.iter().map(|letter| letter.item.clone()).collect::<Vec<_>>(), files);
    assert!(dead[0].error.len() <= 300 && dead[0].error.starts_with('é'));
    let numbers = |stats: Stats| {
        let of = stats.outboxes.into_iter().find(|outbox| outbox.name.as_str() == "upload/a").expect("outbox");
        (of.items, of.bytes, of.dead_letters)
    };
    assert_eq!(numbers(store.stats().wait().expect("stats")), (0, 0, 2));
    outbox.revive(dead[0].seq).await.expect("revive");
    outbox.discard(dead[1].seq).await.expect("discard");
    assert_eq!(numbers(store.stats().wait().expect("stats")), (1, 10, 0));
    let again = outbox.lease(10).await.expect("lease");
    assert_eq!((again.len(), &again[0].item, again[0].attempts), (1, &files[0], 0));
}

#[tokio::test]
async fn items_of_an_outbox_that_is_not_configured_wait_for_its_return() {
    let bench = Bench::new();
    let store = bench.open();
    store.events().record(change(&bench.event("yard"), vec![upload("clip.mp4", 1, "aa")])).expect("record");
    store.close().expect("close");
    let without = Store::open(&config(&bench.dir), &names(&["upload/b"]), bench.clock.clone()).expect("open");
    assert!(matches!(without.outboxes().get(&destination("upload/a")), Err(StoreError::NoSuchOutbox(_))));
    without.events().record(change(&bench.event("yard"), vec![upload("clip.mp4", 1, "aa")])).expect("record");
    without.close().expect("close");
    let store = bench.open();
    assert_eq!(
        store.outboxes().get(&destination("upload/a")).expect("outbox").lease(10).await.expect("lease").len(),
        1
    );
    assert_eq!(
        store.outboxes().get(&destination("upload/b")).expect("outbox").lease(10).await.expect("lease").len(),
        2
    );
}

#[tokio::test]
async fn changes_that_wait_together_share_a_flush() {
    let bench = Bench::new();
    let store = bench.open();
    let before = store.stats().await.expect("stats").flushes;
    let burst = (0..1000).map(|_| change(&bench.event("yard"), vec![Delivery::Alert(Phase::Start)]));
    for outcome in store.events().record_all(burst.collect()) {
        outcome.expect("record");
    }
    let stats = store.stats().await.expect("stats");
    assert_eq!(stats.events, 1000);
    let flushes = stats.flushes - before;
    assert!((4..=100).contains(&flushes), "{flushes} flushes for 1000 changes");
}

#[test]
fn an_event_too_large_for_the_index_loses_its_lists_there_or_is_refused() {
    let bench = Bench::new();
    let store = bench.open();
    let mut event = bench.event("yard");
    event.zones = (0..1000).map(|n| format!("zone-{n}").into()).collect();
    store.events().record(change(&event, vec![Delivery::Alert(Phase::Start)])).expect("record");
    let kept = store.events().get(event.id).wait().expect("read").expect("there");
    assert_eq!(kept.zones, event.zones[..8]);
    event.label = "x".repeat(5000).into();
    let refused = store.events().record(change(&event, vec![])).expect_err("too large");
    assert!(matches!(refused, StoreError::TooLarge { .. }), "{refused}");
    store.events().record(change(&bench.event("yard"), vec![])).expect("the store goes on");
}

#[test]
fn a_later_schema_is_refused_and_left_alone() {
    let bench = Bench::new();
    bench.open().close().expect("close");
    for _ in 0..5 {
        let db = raw_index(bench.dir.path());
        db.open_tree("meta").expect("tree").insert("version", &99u32.to_be_bytes()).expect("insert");
        drop(db);
        let refused = Store::open(&config(&bench.dir), &[], bench.clock.clone()).expect_err("newer");
        assert!(matches!(refused, StoreError::NewerSchema { found: 99, known: 5 }), "{refused}");
    }
}

#[test]
fn what_has_no_end_or_cannot_be_read_is_not_settled_whatever_the_lists_say() {
    let bench = Bench::new();
    let (open, mut over, torn) = (bench.event("yard"), bench.event("yard"), bench.event("yard"));
    over.state = EventState::Ended;
    let store = bench.open();
    for event in [&open, &over, &torn] {
        store.events().record(change(event, vec![])).expect("record");
    }
    store.close().expect("close");
    let db = raw_index(bench.dir.path());
    db.open_tree("open").expect("tree").clear().expect("clear");
    db.open_tree("events").expect("tree").insert(torn.id.to_bytes(), b"{").expect("insert");
    drop(db);
    let store = bench.open();
    assert_eq!(store.events().open().expect("read"), vec![]);
    let delivery_statuses =
        store.events().delivery_statuses(vec![open.id, over.id, torn.id, bench.ids.next()]).expect("read");
    assert_eq!(
        delivery_statuses,
        [DeliveryStatus::Waiting, DeliveryStatus::Settled, DeliveryStatus::Waiting, DeliveryStatus::Unknown]
    );
}

#[test]
fn the_config_reads_its_defaults_and_refuses_nonsense() {
    let parsed: Config = toml::from_str("").expect("empty");
    assert_eq!(parsed, Config::default());
    let parsed: Config = toml::from_str("path = \"/data\"\ndeadline = \"45s\"").expect("toml");
    assert_eq!((parsed.path.as_path(), parsed.deadline), (std::path::Path::new("/data"), Duration::from_secs(45)));
    assert!(parsed.validate().is_ok());
    assert!(toml::from_str::<Config>("pth = \"/data\"").is_err());
    assert!(Config { path: "relative".into(), ..Config::default() }.validate().is_err());
    assert!(Config { deadline: Duration::ZERO, ..Config::default() }.validate().is_err());
}

#[tokio::test]
async fn numbers_go_on_from_where_they_are_set_to_and_never_back() {
    let dir = TempDir::new().expect("temp dir");
    let clock = simulated();
    let ids = IdSource::new(clock.clone(), None);
    let store = Store::open(&config(&dir), &names(&["mqtt"]), clock.clone()).expect("open");
    let outbox = store.outboxes().get(&destination("mqtt")).expect("outbox");
    for floor in [0, 1_000_000, 5] {
        store.outboxes().count_on_from(floor).expect("count");
        store
            .events()
            .record(change(&event(ids.next(), "yard", &*clock), vec![Delivery::Alert(Phase::Start)]))
            .expect("record");
    }
    let numbers: Vec<u64> = outbox.lease(10).await.expect("lease").iter().map(|lease| lease.seq).collect();
    assert_eq!(numbers, [1, 1_000_001, 1_000_002]);
}
