//! The order of deletion, and what moves a file in it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tempfile::TempDir;

use super::super::tests::{config, event, names, raw_index, simulated, upload};
use super::super::{Change, Store};
use super::*;
use crate::clock::{Clock, SimulatedClock};
use crate::destination::destination;
use crate::event::{EventId, EventState, Phase};

struct Bench {
    dir: TempDir,
    clock: Arc<SimulatedClock>,
}

impl Bench {
    fn new() -> Self {
        Self { dir: TempDir::new().expect("temp dir"), clock: simulated() }
    }

    fn open(&self, outboxes: &[&str]) -> Store {
        Store::open(&config(&self.dir), &names(outboxes), self.clock.clone()).expect("open")
    }

    /// Event number `n` with a clip, a snapshot, a thumbnail and its sidecar, each of 10 bytes, a second after the last.
    fn record(&self, store: &Store, n: u128, score: f32) -> Event {
        self.clock.advance(Duration::from_secs(1));
        let event = Event { score, ..self.ended(n) };
        record(store, &event);
        event
    }

    fn ended(&self, n: u128) -> Event {
        let mut ended = event(EventId::from_bytes(n.to_be_bytes()), "yard", &*self.clock);
        ended.state = EventState::Ended;
        ended.pictures = ["thumb.jpg", "snapshot.jpg", "clip.mp4"].map(media).to_vec();
        ended
    }
}

fn media(file: &str) -> MediaFile {
    MediaFile::new(file, 10, "aa")
}

fn record(store: &Store, event: &Event) {
    let files = event.media().map(|media| upload(&media.file, media.bytes, &media.sha256));
    let deliveries = files.chain([upload("event.json", 10, "aa")]).collect();
    store.events().record(Change { event: event.clone(), deliveries }).expect("record");
}

/// Acknowledges what `outbox` has of `id` and of a file for which `which` holds.
async fn deliver(store: &Store, outbox: &str, id: EventId, which: &str) {
    let outbox = store.outboxes().get(&destination(outbox)).expect("outbox");
    for lease in outbox.lease(100).await.expect("lease") {
        if let Delivery::Upload(MediaFile { file, .. }) = &lease.item
            && lease.event.as_ref().is_some_and(|event| event.id == id)
            && (which.is_empty() || file == which)
        {
            outbox.ack(&lease).await.expect("ack");
        }
    }
}

/// `1 clip.mp4`, ... for each file that may go, in order.
fn order(store: &Store, overdue: &[(Class, Range<u64>)]) -> Vec<String> {
    let sum = |files: &[HeldFile]| files.iter().map(|file| file.media.bytes).sum::<u64>();
    // As much as there is, or metadata would not help.
    let media = store.assets().evictable(u64::MAX, overdue, 1000).expect("plan");
    let metadata = store.stats().wait().expect("stats").held[&Class::Metadata].bytes;
    let files = store.assets().evictable(sum(&media) + metadata, overdue, 1000).expect("plan");
    assert_eq!(files.get(..media.len()), Some(media.as_slice()));
    files.iter().map(|file| format!("{} {}", u128::from_be_bytes(file.asset.to_bytes()), file.media.file)).collect()
}

fn held(store: &Store) -> Vec<(Class, u64, u64)> {
    let held = store.stats().wait().expect("stats").held;
    held.into_iter().map(|(class, held)| (class, held.files, held.bytes)).collect()
}

#[tokio::test]
async fn delivered_goes_first_then_overdue_then_by_value_and_age_and_metadata_last() {
    let bench = Bench::new();
    let store = bench.open(&["upload/a", "upload/b"]);
    let good = bench.record(&store, 1, 0.95);
    let old = bench.record(&store, 2, 0.91);
    let before = bench.clock.wall().as_millisecond() as u64;
    let weak = bench.record(&store, 3, 0.4);
    let same = bench.record(&store, 4, 0.44);
    let sent = bench.record(&store, 5, 0.99);
    let half = bench.record(&store, 6, 0.1);
    let _newest = bench.record(&store, 7, 0.2);
    for outbox in ["upload/a", "upload/b"] {
        deliver(&store, outbox, sent.id, "").await;
    }
    deliver(&store, "upload/a", half.id, "").await;
    let overdue = [(Class::Clips, 0..before), (Class::Metadata, 0..u64::MAX)];
    let expected = [
        "5 clip.mp4",
        "5 snapshot.jpg", // delivered to both
        "1 clip.mp4",     // overdue (2 is as old as the limit)
        "6 clip.mp4",
        "7 clip.mp4",
        "3 clip.mp4",
        "4 clip.mp4",
        "2 clip.mp4", // by tenths of score, then age
        "6 snapshot.jpg",
        "7 snapshot.jpg",
        "3 snapshot.jpg",
        "4 snapshot.jpg",
        "1 snapshot.jpg",
        "2 snapshot.jpg",
        "5 thumb.jpg",
        "5 event.json", // delivered metadata; what others are still to get stays
    ];
    assert_eq!(order(&store, &overdue), expected);
    assert_eq!((good.score, old.score, weak.score, same.score), (0.95, 0.91, 0.4, 0.44));
}

#[tokio::test]
async fn a_mark_counts_only_for_the_content_and_the_destinations_that_it_was_made_for() {
    let bench = Bench::new();
    let store = bench.open(&["upload/a"]);
    let mut one = bench.record(&store, 1, 0.5);
    let _newest = bench.record(&store, 2, 0.6);
    deliver(&store, "upload/a", one.id, "").await;
    let first = |store: &Store| order(store, &[]).first().cloned().unwrap_or_default();
    let is_delivered = |store: &Store, file: &str| {
        store
            .assets()
            .files_of(one.id)
            .expect("read")
            .into_iter()
            .find(|held| held.media.file == file)
            .map(|held| held.delivered)
    };
    assert_eq!((first(&store).as_str(), is_delivered(&store, "clip.mp4")), ("1 clip.mp4", Some(true)));

    // A new content of the same name was not delivered.
    one.pictures[1].sha256 = "bb".into();
    record(&store, &one);
    assert_eq!(is_delivered(&store, "snapshot.jpg"), Some(false));
    // Sent again as it is: it waits again.
    assert_eq!(is_delivered(&store, "clip.mp4"), Some(false));
    deliver(&store, "upload/a", one.id, "clip.mp4").await;
    assert_eq!(is_delivered(&store, "clip.mp4"), Some(true));
    store.close().expect("close");

    // A destination that came later does not have it, and no destination has what there is none for.
    for outboxes in [&["upload/a", "upload/b"][..], &[]] {
        let store = bench.open(outboxes);
        let mut after = store.assets().put_in_place(None).expect("place");
        while after.is_some() {
            after = store.assets().put_in_place(after).expect("place");
        }
        assert_eq!(is_delivered(&store, "clip.mp4"), Some(false), "{outboxes:?}");
        let delivered =
            store.assets().evictable(u64::MAX, &[], 100).expect("plan").iter().filter(|file| file.delivered).count();
        assert_eq!(delivered, 0, "{outboxes:?}");
        store.close().expect("close");
    }
    // The first one alone again: its marks are still there, and the order shows it.
    let store = bench.open(&["upload/a"]);
    assert_eq!(store.assets().put_in_place(None).expect("place"), None);
    assert_eq!((first(&store).as_str(), is_delivered(&store, "clip.mp4")), ("1 clip.mp4", Some(true)));
}

#[tokio::test]
async fn age_alone_deletes_only_what_nothing_waits_for() {
    let bench = Bench::new();
    let store = bench.open(&["upload/a"]);
    let one = bench.record(&store, 1, 0.5);
    let two = bench.record(&store, 2, 0.5);
    let _newest = bench.record(&store, 3, 0.5);
    let far = u64::MAX - 1;
    let expired = |class, waiting_too| -> Vec<String> {
        let (files, next) = store.assets().expired(class, 0..far, waiting_too, None, 100).expect("scan");
        assert_eq!(next, None);
        files.iter().map(|file| format!("{} {}", u128::from_be_bytes(file.asset.to_bytes()), file.media.file)).collect()
    };
    assert_eq!(expired(Class::Clips, false), Vec::<String>::new());
    assert_eq!(expired(Class::Clips, true), ["1 clip.mp4", "2 clip.mp4", "3 clip.mp4"]);
    deliver(&store, "upload/a", two.id, "").await;
    assert_eq!(expired(Class::Clips, false), ["2 clip.mp4"]);
    assert_eq!(expired(Class::Metadata, false), ["2 clip.mp4", "2 event.json", "2 snapshot.jpg", "2 thumb.jpg"]);
    // Its sidecar alone is delivered: the event stays for its clip.
    deliver(&store, "upload/a", one.id, "event.json").await;
    assert_eq!(expired(Class::Metadata, false).len(), 4);

    // What was given up waits for a person, until that person discards it.
    let outbox = store.outboxes().get(&destination("upload/a")).expect("outbox");
    for lease in outbox.lease(100).await.expect("lease") {
        outbox.dead_letter(&lease, "refused").await.expect("give up");
    }
    assert_eq!(expired(Class::Clips, false), ["2 clip.mp4"]);
    for letter in outbox.dead_letters(100).await.expect("list") {
        outbox.discard(letter.seq).await.expect("discard");
    }
    assert_eq!(expired(Class::Clips, false), ["1 clip.mp4", "2 clip.mp4", "3 clip.mp4"]);
    // In pieces it is the same.
    let (mut found, mut after) = (0, None);
    loop {
        let (files, next) = store.assets().expired(Class::Clips, 0..far, false, after, 1).expect("scan");
        found += files.len();
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, 3);
}

#[test]
fn what_was_recorded_without_a_clock_gets_its_age_once_there_is_one() {
    let bench = Bench::new();
    let store = bench.open(&[]);
    let mut lost = bench.ended(1);
    lost.start.wall = jiff::Timestamp::UNIX_EPOCH;
    lost.start.time_quality = TimeQuality::Implausible;
    record(&store, &lost);
    bench.record(&store, 2, 0.5);
    let expired = |before| store.assets().expired(Class::Clips, 0..before, false, None, 100).expect("scan").0.len();
    assert_eq!(expired(1_700_000_000_000), 0, "its age is unknown");
    assert!(!store.assets().date_undated(5000).expect("date"));
    assert_eq!((expired(5000), expired(5001), expired(1_700_000_000_000)), (0, 1, 1), "by run time");
    assert!(!store.assets().settle_dates(8000, 1_900_000_000_000).expect("settle"));
    assert_eq!((expired(1_899_999_997_000), expired(1_899_999_997_001)), (1, 2), "three seconds old");
    // Once and for all.
    assert!(!store.assets().settle_dates(9000, 1_950_000_000_000).expect("settle"));
    assert_eq!(expired(1_899_999_997_001), 2);
}

#[tokio::test]
async fn a_deleted_file_is_not_delivered_and_its_bytes_count_until_it_is_gone() {
    let bench = Bench::new();
    let store = bench.open(&["upload/a", "upload/gone"]);
    let event = bench.record(&store, 1, 0.5);
    let _newest = bench.record(&store, 2, 0.5);
    store.close().expect("close");
    // One of the destinations is no longer configured; what waits for it goes all the same.
    let store = bench.open(&["upload/a"]);
    let outbox = store.outboxes().get(&destination("upload/a")).expect("outbox");
    let leases = outbox.lease(100).await.expect("lease");
    let mine = |file: &str| {
        let is_it = |lease: &&super::super::Lease| {
            lease.event.as_ref().is_some_and(|of| of.id == event.id)
                && matches!(&lease.item, Delivery::Upload(MediaFile { file: name, .. }) if name == file)
        };
        leases.iter().find(is_it).expect("leased")
    };
    outbox.dead_letter(mine("snapshot.jpg"), "refused").await.expect("give up");
    let letter = outbox.dead_letters(10).await.expect("list").remove(0);

    let files: Vec<HeldFile> = store.assets().files_of(event.id).expect("read");
    let media: Vec<HeldFile> = files.into_iter().filter(|file| file.class < Class::Metadata).collect();
    assert_eq!(media.len(), 2);
    store.assets().condemn(&media, EvictReason::Quota).expect("condemn");
    let (condemned, next) = store.assets().condemned(None, 10).expect("list");
    assert_eq!((condemned.len(), next), (2, None));
    assert!(condemned.iter().all(|file| file.condemned == Some(EvictReason::Quota) && !file.delivered));
    assert_eq!(held(&store)[0], (Class::Clips, 2, 20), "it is still there");

    let mut short = event.clone();
    short.pictures.truncate(1);
    let dropped = vec!["clip.mp4".to_owned(), "snapshot.jpg".to_owned()];
    let sidecar = MediaFile::new("event.json", 12, "cc");
    store.assets().amend(vec![Amendment { event: short.clone(), sidecar, dropped }]).expect("amend");
    assert_eq!(store.events().get(event.id).wait().expect("read"), Some(short));
    assert!(!outbox.holds(mine("clip.mp4")).await.expect("look"));
    assert!(outbox.dead_letters(10).await.expect("list").is_empty());
    outbox.revive(letter.seq).await.expect("a letter that is gone is no error");
    outbox.rest(mine("clip.mp4"), Duration::from_secs(5));
    outbox.nack(mine("snapshot.jpg"), "its file is gone", Duration::from_secs(5)).await.expect("no error");
    drop(leases);
    let stats = store.stats().wait().expect("stats");
    let numbers = |name: &str| {
        stats.outboxes.iter().find(|b| b.name.as_str() == name).map(|b| (b.items, b.bytes, b.dead_letters))
    };
    assert_eq!(numbers("upload/a"), Some((6, 62, 0)));
    assert_eq!(numbers("upload/gone"), Some((6, 60, 0)));

    store.assets().gone(&condemned).expect("gone");
    assert_eq!(held(&store), [(Class::Clips, 1, 10), (Class::Snapshots, 1, 10), (Class::Metadata, 4, 42)]);
    assert_eq!(store.assets().condemned(None, 10).expect("list").0, []);
    // The rest of an item that is gone does not wake its outlet again and again.
    bench.clock.advance(Duration::from_secs(60));
    assert_eq!(outbox.lease(100).await.expect("lease").len(), 6);
    outbox.wait().await;
    assert!(outbox.wait().now_or_never().is_none(), "nothing is due, yet it woke up");
}

#[test]
fn open_and_pinned_events_stay_and_recording_an_event_does_not_unpin_it() {
    let bench = Bench::new();
    let store = bench.open(&[]);
    let open = Event { state: EventState::Open, ..bench.ended(1) };
    record(&store, &open);
    let ended = bench.record(&store, 2, 0.5);
    let _newest = bench.record(&store, 3, 0.5);
    let pin = |event: &Event, pinned| {
        store.assets().annotate(Event { pinned, ..event.clone() }).expect("pin");
    };
    pin(&open, true);
    pin(&ended, true);
    assert_eq!(order(&store, &[(Class::Clips, 0..u64::MAX)]), ["3 clip.mp4", "3 snapshot.jpg", "3 thumb.jpg"]);
    let all = store.assets().files_of(ended.id).expect("read");
    store.assets().condemn(&all, EvictReason::Age).expect("condemn");
    assert_eq!(store.assets().condemned(None, 10).expect("list").0, [], "pinned between plan and deed");

    record(&store, &Event { state: EventState::Ended, ..open.clone() });
    assert!(store.events().get(open.id).wait().expect("read").expect("there").pinned);
    assert_eq!(order(&store, &[]).len(), 3);
    pin(&open, false);
    assert_eq!(order(&store, &[])[0], "1 clip.mp4");
}

#[test]
fn a_forgotten_event_leaves_nothing_and_the_newest_is_never_offered() {
    let bench = Bench::new();
    let store = bench.open(&["upload/a"]);
    let event = bench.record(&store, 1, 0.5);
    let newest = bench.record(&store, 2, 0.5);
    let alert = Change { event: newest.clone(), deliveries: vec![Delivery::Alert(Phase::End)] };
    store.events().record(alert).expect("record");
    let whole = store.assets().expired(Class::Metadata, 0..u64::MAX - 1, true, None, 100).expect("scan").0;
    assert!(whole.len() == 4 && whole.iter().all(|file| file.asset == event.id));
    store.assets().condemn(&whole, EvictReason::Age).expect("condemn");
    store.assets().forget(vec![(event.id, None)]).expect("forget");
    store.assets().gone(&whole).expect("gone");
    let stats = store.stats().wait().expect("stats");
    assert_eq!((stats.events, stats.outboxes[0].items, stats.outboxes[0].bytes), (1, 4, 40));
    assert_eq!(
        (store.events().get(event.id).wait().expect("read"), store.newest_id().expect("read")),
        (None, Some(newest.id))
    );
    assert_eq!(held(&store), [(Class::Clips, 1, 10), (Class::Snapshots, 1, 10), (Class::Metadata, 2, 20)]);
}

#[test]
fn a_file_of_no_event_is_the_first_of_what_was_not_delivered() {
    let bench = Bench::new();
    let store = bench.open(&["upload/a"]);
    bench.record(&store, 1, 0.0);
    let id = EventId::from_bytes(9u128.to_be_bytes());
    store.assets().hold(id, "yard", Class::Continuous, media("10/00.mp4"), bench.clock.now()).expect("hold");
    assert_eq!(order(&store, &[])[0], "9 10/00.mp4");
    assert_eq!(held(&store)[0], (Class::Continuous, 1, 10));
}

#[test]
fn an_index_of_version_1_gets_its_catalogue_while_it_is_used() {
    let bench = Bench::new();
    let store = bench.open(&["upload/a"]);
    let events = [bench.record(&store, 1, 0.5), bench.record(&store, 2, 0.6)];
    let open = Event { state: EventState::Open, ..bench.ended(3) };
    record(&store, &open);
    store.close().expect("close");
    // What version 1 had: no catalogue, and no counters of it.
    let db = raw_index(bench.dir.path());
    for tree in ["files", "held", "aged"] {
        db.drop_tree(tree).expect("drop");
    }
    let meta = db.open_tree("meta").expect("tree");
    meta.insert("version", &1u32.to_be_bytes()).expect("insert");
    let counters = meta.get("counters").expect("read").expect("there");
    let mut counters: serde_json::Value = serde_json::from_slice(&counters).expect("JSON");
    counters.as_object_mut().expect("an object").remove("held");
    meta.insert("counters", counters.to_string().as_bytes()).expect("insert");
    drop((meta, db));

    let store = bench.open(&["upload/a"]);
    assert!(!store.was_reset());
    assert_eq!(held(&store), []);
    let mut up_to = None;
    while let Some((some, last)) = store.assets().uncatalogued(2).expect("list") {
        let files = |event: &Event| (event.id, event.media().cloned().chain([media("event.json")]).collect());
        store.assets().adopt(some.iter().map(files).collect(), Some(last)).expect("adopt");
        up_to = Some(last);
    }
    assert_eq!(up_to, Some(open.id));
    store.assets().adopt(Vec::new(), None).expect("adopt");
    assert_eq!(held(&store), [(Class::Clips, 2, 20), (Class::Snapshots, 2, 20), (Class::Metadata, 4, 40)]);
    let files = store.assets().files_of(events[0].id).expect("read");
    assert!(files.iter().all(|file| file.waits && !file.delivered), "still in the outbox: {files:?}");
    assert_eq!(store.assets().uncatalogued(2).expect("list"), None);
    store.close().expect("close");
    assert_eq!(held(&bench.open(&["upload/a"])).len(), 3);
}

#[test]
fn any_number_of_files_without_a_date_is_found_from_both_sides() {
    let bench = Bench::new();
    let store = bench.open(&[]);
    bench.clock.step_wall(bench.clock.wall(), crate::clock::TimeQuality::Unsynchronised);
    for n in 1..=200 {
        bench.record(&store, n, 0.5);
    }
    // On the way from one that has a date to its place before all those, sled went astray.
    bench.clock.step_wall(bench.clock.wall(), crate::clock::TimeQuality::Synchronised);
    bench.record(&store, 201, 0.5);
    assert!(store.assets().evictable(u64::MAX, &[(Class::Clips, 0..u64::MAX)], 10).expect("plan").len() == 10);
    let overdue = store.assets().expired(Class::Clips, 0..u64::MAX, true, None, 10).expect("scan").0;
    assert_eq!(overdue.len(), 1, "what has no date is not overdue");
    while store.assets().date_undated(1).expect("date") {}
    assert_eq!(store.assets().expired(Class::Clips, 0..2, true, None, 1000).expect("scan").0.len(), 200);
}
