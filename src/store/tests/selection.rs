//! Many items at a time, and what stays dropped when the index is made again.

use super::*;
use crate::destination::destination;

const NO_LIMIT: Duration = Duration::from_secs(3600);

/// 150 events of two cameras, a minute apart, each with an alert and three files; and two documents.
fn fill(bench: &Bench, store: &Store) -> Vec<Event> {
    let events: Vec<Event> = (0..150)
        .map(|n| {
            bench.clock.advance(Duration::from_secs(60));
            let mut event = bench.event(if n % 3 == 0 { "yard" } else { "gate" });
            event.state = EventState::Ended;
            event
        })
        .collect();
    for event in &events {
        store.events().record(change(event, deliveries(event))).expect("record");
    }
    for path in ["coverage/yard/2026-11-22.json", "lake/events/date=2026-11-22/1_2.parquet"] {
        store.outboxes().deliver(Document::new(path, 5, path)).expect("deliver");
    }
    events
}

fn deliveries(event: &Event) -> Vec<Delivery> {
    let files = ["event.json", "clip.mp4", "snapshot.jpg"].map(|file| upload(file, 10, &format!("{}{file}", event.id)));
    [Delivery::Alert(Phase::End)].into_iter().chain(files).collect()
}

#[tokio::test]
async fn items_are_selected_by_number_camera_kind_age_and_state() {
    let bench = Bench::new();
    let store = bench.open();
    fill(&bench, &store);
    let outbox = store.outboxes().get(&destination("upload/a")).expect("outbox");
    let count = async |selection: Selection| {
        let selected = outbox.count_selected(&selection, NO_LIMIT).await.expect("count");
        assert!(!selected.more);
        (selected.items, selected.bytes)
    };
    let all = Selection::default();
    assert_eq!(count(all.clone()).await, (452, 4510));
    assert_eq!(count(Selection { camera: Some("yard".into()), ..all.clone() }).await, (151, 1505), "and its account");
    let clips = Selection { kind: Some(ItemKind::Clip), ..all.clone() };
    assert_eq!(count(clips.clone()).await, (150, 1500));
    assert_eq!(count(Selection { kind: Some(ItemKind::Document), ..all.clone() }).await, (2, 10));
    assert_eq!(
        count(Selection { kind: Some(ItemKind::Event), camera: Some("gate".into()), ..all.clone() }).await.0,
        100
    );
    // Recorded at once, at the end.
    let now = bench.clock.now().wall;
    assert_eq!(count(Selection { before: Some(now), ..all.clone() }).await.0, 0);
    assert_eq!(count(Selection { before: Some(now + Duration::from_secs(1)), ..all.clone() }).await.0, 452);
    assert_eq!(count(Selection::dead()).await.0, 0);
    let seqs: Vec<u64> = outbox.items(1000).await.expect("items").iter().map(|item| item.seq).collect();
    let (first, last) = (*seqs.iter().min().expect("some"), *seqs.iter().max().expect("some"));
    assert_eq!(
        count(Selection { numbers: vec![(seqs[0], seqs[0]), (last, last), (last + 1, last + 1)], ..all.clone() })
            .await
            .0,
        2
    );
    assert_eq!(count(Selection { numbers: vec![(first, last)], ..clips }).await.0, 150, "a long range");
    let overlapping = vec![(first, first + 4), (first + 2, first + 4), (first, first)];
    let twice = count(Selection { numbers: overlapping, ..all.clone() }).await.0;
    let once = count(Selection { numbers: vec![(first, first + 4)], ..all.clone() }).await.0;
    assert_eq!(twice, once, "ranges that overlap");
    let in_no_time = outbox.count_selected(&all, Duration::ZERO).await.expect("count");
    assert!(in_no_time.more, "a count ends in time, whatever it found");
    let mqtt = store.outboxes().get(&destination("mqtt")).expect("outbox");
    let of_yard = Selection { camera: Some("yard".into()), kind: Some(ItemKind::Alert), ..all };
    assert_eq!(mqtt.count_selected(&of_yard, NO_LIMIT).await.expect("count").items, 50);
}

#[tokio::test]
async fn what_is_on_its_way_is_counted_and_a_batch_goes_on_where_it_ended() {
    let bench = Bench::new();
    let store = bench.open();
    fill(&bench, &store);
    let outbox = store.outboxes().get(&destination("upload/a")).expect("outbox");
    let leases = outbox.lease(7).await.expect("lease");
    let clips = Selection { kind: Some(ItemKind::Clip), ..Selection::default() };
    let mut dropped = Selected { more: true, ..Selected::default() };
    let mut rounds = 0;
    while dropped.more {
        let part = outbox.drop_selected(&clips, Duration::ZERO).await.expect("drop");
        (dropped.items, dropped.sending) = (dropped.items + part.items, dropped.sending + part.sending);
        (dropped.more, rounds) = (part.more, rounds + 1);
    }
    assert!(dropped.items == 150 && rounds > 1, "{dropped:?} in {rounds}");
    assert_eq!(dropped.sending, 2, "of the two oldest events");
    let waiting = Selection { state: Some(QueueState::Waiting), ..Selection::default() };
    let rest = outbox.drop_selected(&waiting, NO_LIMIT).await.expect("drop");
    assert_eq!((rest.items, rest.sending), (302, 5));
    assert_eq!(outbox.waiting().await.expect("count"), 0);
    outbox.ack(&leases[0]).await.expect("what arrives all the same is no error");
}

#[tokio::test]
async fn dead_letters_are_retried_and_dropped_by_selection() {
    let bench = Bench::new();
    let store = bench.open();
    fill(&bench, &store);
    let outbox = store.outboxes().get(&destination("upload/a")).expect("outbox");
    for lease in outbox.lease(1000).await.expect("lease") {
        outbox.dead_letter(&lease, "refused").await.expect("give up");
    }
    let of_gate = Selection { camera: Some("gate".into()), kind: Some(ItemKind::Picture), ..Selection::dead() };
    assert_eq!(outbox.retry_selected(&of_gate).await.expect("retry").items, 100);
    assert_eq!(outbox.waiting().await.expect("count"), 100);
    assert_eq!(outbox.drop_selected(&Selection::dead(), NO_LIMIT).await.expect("drop").items, 352);
    assert!(outbox.dead_letters(1).await.expect("list").is_empty());
    assert_eq!(outbox.waiting().await.expect("count"), 100, "what waits stays");
}

/// Works with: disks | an index that is lost or damaged after files were dropped with `outpost queue drop` | the new index, made from the sidecars, knows them as dropped; a file that changed since waits again
#[tokio::test]
async fn what_was_dropped_stays_dropped_when_the_index_is_made_again() {
    let bench = Bench::new();
    let store = bench.open();
    let events = fill(&bench, &store);
    let outbox = store.outboxes().get(&destination("upload/a")).expect("outbox");
    let all = Selection { state: Some(QueueState::Waiting), ..Selection::default() };
    assert_eq!(outbox.drop_selected(&all, NO_LIMIT).await.expect("drop").items, 452);
    drop(outbox);
    store.close().expect("close");

    assert!(set_index_aside(bench.dir.path(), "lost").expect("set aside"));
    let store = bench.open();
    let mut changes: Vec<Change> = events.iter().map(|event| change(event, deliveries(event))).collect();
    changes[0].deliveries[1] = upload("event.json", 11, "another content");
    store.events().record_all(changes).into_iter().for_each(|recorded| recorded.expect("record"));
    let path = "coverage/yard/2026-11-22.json";
    store.outboxes().deliver(Document::new(path, 5, path)).expect("deliver");
    let waiting = store.outboxes().get(&destination("upload/a")).expect("outbox").items(10).await.expect("items");
    let [only] = waiting.as_slice() else { panic!("{} wait", waiting.len()) };
    assert_eq!((only.event, &only.item), (Some(events[0].id), &upload("event.json", 11, "another content")));
    assert_eq!(
        store.outboxes().get(&destination("upload/b")).expect("outbox").waiting().await.expect("count"),
        451,
        "the other one gets all"
    );
    let states = store
        .events()
        .deliveries(&[Event { filed: Some("2026/11/22".into()), ..events[1].clone() }])
        .wait()
        .expect("read");
    let of_a = states[0].iter().find(|of| of.outlet.as_str() == "upload/a").expect("known");
    assert_eq!(of_a.state, DeliveryState::Dropped);

    // A note that cannot be read costs no more than what it says.
    store.close().expect("close");
    let notes = bench.dir.path().join("dropped.jsonl");
    let text = std::fs::read_to_string(&notes).expect("notes");
    assert_eq!(text.lines().filter(|line| !line.is_empty()).count(), 452);
    let kept: Vec<&str> = text.lines().filter(|line| line.contains("snapshot.jpg")).collect();
    std::fs::write(&notes, kept.join("\n") + "\n{\"outbox\": \"upl").expect("a power cut");
    assert!(set_index_aside(bench.dir.path(), "lost").expect("set aside"));
    let store = bench.open();
    store.events().record(change(&events[1], deliveries(&events[1]))).expect("record");
    let outbox = store.outboxes().get(&destination("upload/a")).expect("outbox");
    assert_eq!(outbox.waiting().await.expect("count"), 2);
    // What is noted behind a torn line is read.
    assert_eq!(outbox.drop_selected(&all, NO_LIMIT).await.expect("drop").items, 2);
    store.close().expect("close");
    assert!(set_index_aside(bench.dir.path(), "lost").expect("set aside"));
    let store = bench.open();
    store.events().record(change(&events[1], deliveries(&events[1]))).expect("record");
    assert_eq!(store.outboxes().get(&destination("upload/a")).expect("outbox").waiting().await.expect("count"), 0);
}
