//! One document in place of several, and what the lake's own queue holds.

use super::*;
use crate::destination::destination;

fn document(path: &str) -> Document {
    Document::new(path, 7, "aa")
}

fn paths(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|path| (*path).to_owned()).collect()
}

async fn waiting(store: &Store, outbox: &str) -> Vec<String> {
    let items = store.outboxes().get(&destination(outbox)).expect("outbox").items(100).await.expect("items");
    let path = |item: Waiting| match item.item {
        Delivery::Document(document) => document.path,
        other => panic!("{other:?}"),
    };
    items.into_iter().map(path).collect()
}

#[tokio::test]
async fn a_document_takes_the_place_of_those_that_wait_wherever_all_of_them_do() {
    let bench = Bench::new();
    let store = bench.open();
    for path in ["lake/1", "lake/2", "other"] {
        store.outboxes().deliver(document(path)).expect("deliver");
    }
    let (a, b) = (
        store.outboxes().get(&destination("upload/a")).expect("outbox"),
        store.outboxes().get(&destination("upload/b")).expect("outbox"),
    );
    let sent = b.lease(1).await.expect("lease");
    b.ack(&sent[0]).await.expect("ack");
    assert_eq!(store.outboxes().waits_in("lake/1").expect("look"), [destination("upload/a")]);
    // The one that is gone comes last.
    store.outboxes().supersede(paths(&["lake/2", "lake/1"]), Some(document("lake/both"))).expect("supersede");
    assert_eq!(waiting(&store, "upload/a").await, ["other", "lake/both"]);
    assert_eq!(waiting(&store, "upload/b").await, ["lake/2", "other"], "it has one of them already");
    store.close().expect("close");
    let store = bench.open();
    assert_eq!(waiting(&store, "upload/a").await, ["other", "lake/both"]);
    for name in ["upload/a", "upload/b"] {
        assert_eq!(store.outboxes().count_items(&destination(name)).expect("count"), 2);
    }
    let stats = store.stats().wait().expect("stats");
    assert!(stats.outboxes.iter().all(|queue| (queue.items, queue.bytes) == (2, 14)), "{stats:?}");
    drop(a);
}

#[tokio::test]
async fn what_is_on_its_way_is_left_alone() {
    let bench = Bench::new();
    let store = bench.open();
    store.outboxes().deliver(document("lake/1")).expect("deliver");
    store.outboxes().deliver(document("lake/2")).expect("deliver");
    let a = store.outboxes().get(&destination("upload/a")).expect("outbox");
    let on_its_way = a.lease(1).await.expect("lease");
    store.outboxes().supersede(paths(&["lake/1", "lake/2"]), Some(document("lake/both"))).expect("supersede");
    assert_eq!(waiting(&store, "upload/a").await, ["lake/1", "lake/2"]);
    assert_eq!(waiting(&store, "upload/b").await, ["lake/both"]);
    drop(on_its_way);
    store.outboxes().supersede(paths(&["lake/1", "lake/2"]), None).expect("supersede");
    assert_eq!(waiting(&store, "upload/a").await, Vec::<String>::new());
    assert_eq!(waiting(&store, "upload/b").await, ["lake/both"]);
}

#[tokio::test]
async fn the_lakes_queue_holds_each_event_once_and_as_it_is_now_and_does_not_count_as_a_destination() {
    let bench = Bench::new();
    let store =
        Store::open(&config(&bench.dir), &names(&["lake", "upload/a"]), bench.clock.clone()).expect("open the store");
    let mut event = bench.event("yard");
    let clip = upload("clip.mp4", 10, "aa");
    store
        .events()
        .record(change(&event, vec![clip, upload("event.json", 5, "bb"), Delivery::Alert(Phase::End)]))
        .expect("record");
    event.count = 2;
    store.events().record(change(&event, vec![upload("event.json", 6, "cc")])).expect("record");
    store.outboxes().deliver(document("coverage/x.json")).expect("deliver");
    let lake = store.outboxes().get(&destination("lake")).expect("outbox");
    let leases = lake.lease(10).await.expect("lease");
    assert_eq!(leases.len(), 1, "{leases:?}");
    assert_eq!(leases[0].event.as_ref().map(|event| event.count), Some(2));
    let outlets = store.events().deliveries(std::slice::from_ref(&event)).wait().expect("deliveries").remove(0);
    assert_eq!(outlets.iter().map(|outlet| outlet.outlet.as_str()).collect::<Vec<_>>(), ["upload/a"]);
    let a = store.outboxes().get(&destination("upload/a")).expect("outbox");
    for lease in a.lease(10).await.expect("lease") {
        a.ack(&lease).await.expect("ack");
    }
    assert!(store.assets().files_of(event.id).expect("files").iter().all(|file| file.delivered));
    lake.ack(&leases[0]).await.expect("ack");
    assert_eq!(store.outboxes().count_items(&destination("lake")).expect("count"), 0);
}
