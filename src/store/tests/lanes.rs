//! What goes first: by value or by age.

use super::place::Place;
use super::*;
use crate::asset::MediaFile;
use crate::destination::destination;

const FILES: [&str; 4] = ["clip.mp4", "snapshot.jpg", "event.json", "notes.txt"];

/// Three events with four files each, and a document.
fn fill(bench: &Bench, store: &Store) -> Vec<EventId> {
    let events: Vec<Event> = (0..3).map(|_| Event { state: EventState::Ended, ..bench.event("yard") }).collect();
    for event in &events {
        let files = FILES.map(|file| upload(file, 10, "aa"));
        store.events().record(change(event, files.to_vec())).expect("record");
    }
    store.outboxes().deliver(Document::new("coverage/day.json", 1, "aa")).expect("deliver");
    events.iter().map(|event| event.id).collect()
}

/// What the leases are about: the number of the event, and the file.
fn about(leases: &[Lease], ids: &[EventId]) -> Vec<String> {
    let name = |lease: &Lease| match (&lease.item, &lease.event) {
        (Delivery::Upload(MediaFile { file, .. }), Some(event)) => {
            format!("{} {file}", ids.iter().position(|id| *id == event.id).expect("known"))
        }
        (Delivery::Document(document), _) => document.path.clone(),
        other => panic!("{other:?}"),
    };
    leases.iter().map(name).collect()
}

fn by_value(max: usize) -> Wanted {
    Wanted { max, up_to: Lane::Rest, order: Order::Value }
}

#[tokio::test]
async fn by_value_the_small_and_important_goes_first_and_of_each_kind_the_newest() {
    let bench = Bench::new();
    let store = bench.open();
    let ids = fill(&bench, &store);
    let outbox = store.outboxes().get(&destination("upload/a")).expect("outbox");
    let all = about(&outbox.pick(by_value(100)).await.expect("lease"), &ids);
    let files = ["event.json", "snapshot.jpg", "clip.mp4", "notes.txt"];
    let lanes = files.iter().flat_map(|file| [2, 1, 0].map(|event| format!("{event} {file}")));
    assert_eq!(all, ["coverage/day.json".to_owned()].into_iter().chain(lanes).collect::<Vec<_>>());
    let up_to = Wanted { up_to: Lane::Stills, ..by_value(100) };
    assert_eq!(about(&outbox.pick(up_to).await.expect("lease"), &ids), all[..7]);
}

#[tokio::test]
async fn by_age_every_lane_is_one_queue() {
    let bench = Bench::new();
    let store = bench.open();
    let ids = fill(&bench, &store);
    let outbox = store.outboxes().get(&destination("upload/a")).expect("outbox");
    let held = outbox.pick(by_value(2)).await.expect("lease");
    assert_eq!(about(&held, &ids), ["coverage/day.json", "2 event.json"]);
    let rest = about(&outbox.lease(100).await.expect("lease"), &ids);
    let all = (0..3).flat_map(|event| FILES.map(|file| format!("{event} {file}")));
    assert_eq!(rest, all.filter(|item| item != "2 event.json").collect::<Vec<_>>());
}

#[tokio::test]
async fn a_file_keeps_its_place_and_what_waits_is_shown_and_dropped() {
    let bench = Bench::new();
    let store = bench.open();
    let ids = fill(&bench, &store);
    let outbox = store.outboxes().get(&destination("upload/a")).expect("outbox");
    let event = store.events().get(ids[0]).wait().expect("read").expect("known");
    store.events().record(change(&event, vec![upload("clip.mp4", 99, "bb")])).expect("record");
    let held = outbox.pick(by_value(1)).await.expect("lease");
    let shown = outbox.items(100).await.expect("items");
    assert_eq!((shown.len(), shown[0].leased, shown[1].leased), (13, true, false));
    let clip = shown.iter().find(|item| item.event == Some(ids[0]) && item.lane == Lane::Clips).expect("the clip");
    assert_eq!(
        (&clip.item, clip.seq),
        (&upload("clip.mp4", 99, "bb"), shown.iter().map(|i| i.seq).min().expect("some"))
    );
    assert!(outbox.drop_item(clip.seq).await.expect("drop") && !outbox.drop_item(clip.seq).await.expect("drop"));
    assert_eq!(outbox.waiting().await.expect("count"), 12);
    // Dropped for one destination: no other loses it, and it is queued again once it has changed.
    assert_eq!(store.outboxes().get(&destination("upload/b")).expect("outbox").waiting().await.expect("count"), 13);
    store.events().record(change(&event, vec![upload("clip.mp4", 99, "bb")])).expect("record");
    assert_eq!(outbox.waiting().await.expect("count"), 12);
    store.events().record(change(&event, vec![upload("clip.mp4", 99, "cc")])).expect("record");
    assert_eq!(outbox.waiting().await.expect("count"), 13);
    drop(held);
}

#[tokio::test]
async fn what_an_index_without_lanes_has_left_is_delivered_too() {
    let bench = Bench::new();
    let store = bench.open();
    let ids = fill(&bench, &store);
    store.close().expect("close");
    let db = raw_database(bench.dir.path());
    // As schema 3 had it: no lane in either tree.
    for (tree, is_key) in [(&db.outbox, true), (&db.uploads, false)] {
        let entries: Vec<_> = tree.iter().map(|entry| entry.expect("read")).collect();
        tree.tree().clear().expect("clear");
        for (key, value) in entries {
            let head = key.iter().position(|byte| *byte == 0).expect("a name") + 1;
            let without = |bytes: &[u8]| Place { lane: None, ..Place::from_bytes(bytes).expect("a place") }.to_bytes();
            let (key, value) = match is_key {
                true => ([&key[..head], &without(&key[head..])].concat(), value.to_vec()),
                false if value.len() == 9 => (key.to_vec(), without(&value)),
                false => (key.to_vec(), value.to_vec()),
            };
            tree.tree().insert(key, value).expect("insert");
        }
    }
    db.meta.insert("version", &3u32.to_be_bytes()).expect("insert");
    db.db.flush().expect("flush");
    drop(db);
    let store = bench.open();
    let newer = Event { state: EventState::Ended, ..bench.event("yard") };
    store.events().record(change(&newer, vec![upload("clip.mp4", 10, "aa")])).expect("record");
    let outbox = store.outboxes().get(&destination("upload/a")).expect("outbox");
    let ids: Vec<EventId> = ids.into_iter().chain([newer.id]).collect();
    let leases = outbox.pick(by_value(100)).await.expect("lease");
    let old = (0..3).flat_map(|event| FILES.map(|file| format!("{event} {file}")));
    let expected: Vec<String> = ["coverage/day.json", "3 clip.mp4"].map(str::to_owned).into_iter().chain(old).collect();
    assert_eq!(about(&leases, &ids), expected);
    for lease in &leases {
        outbox.ack(lease).await.expect("ack");
    }
    assert_eq!(outbox.waiting().await.expect("count"), 0);
    assert_eq!(store.outboxes().get(&destination("upload/b")).expect("outbox").waiting().await.expect("count"), 14);
}
