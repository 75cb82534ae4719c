//! Files that belong to no event.

use super::*;
use crate::destination::destination;

fn document(path: &str, bytes: u64) -> Document {
    Document::new(path, bytes, "aa")
}

fn path(lease: &Lease) -> &str {
    let Delivery::Document(document) = &lease.item else { panic!("no document: {:?}", lease.item) };
    &document.path
}

fn paths(leases: &[Lease]) -> Vec<&str> {
    leases.iter().map(path).collect()
}

#[tokio::test]
async fn documents_go_before_the_files_of_events_to_every_destination_and_survive_a_restart() {
    let bench = Bench::new();
    let store = bench.open();
    let event = bench.event("yard");
    let deliveries = vec![upload("clip.mp4", 10, "aa"), Delivery::Alert(Phase::Start)];
    store.events().record(change(&event, deliveries)).expect("record");
    store.outboxes().deliver(document("coverage/yard/2026-11-21.json", 5)).expect("deliver");
    store.outboxes().deliver(document("coverage/gate/2026-11-21.json", 6)).expect("deliver");
    store.close().expect("close");
    let store = bench.open();
    for name in ["upload/a", "upload/b"] {
        let outbox = store.outboxes().get(&destination(name)).expect("outbox");
        let leases = outbox.lease(2).await.expect("lease");
        assert_eq!(paths(&leases), ["coverage/yard/2026-11-21.json", "coverage/gate/2026-11-21.json"]);
        assert!(leases.iter().all(|lease| lease.event.is_none()));
        let files = outbox.lease(10).await.expect("lease");
        assert_eq!((files.len(), files[0].event.as_ref()), (1, Some(&event)));
        assert_eq!(
            (outbox.waiting().await.expect("count"), store.outboxes().count_items(&destination(name)).expect("count")),
            (3, 3)
        );
    }
    assert_eq!(store.outboxes().count_items(&destination("mqtt")).expect("count"), 1);
    let stats = store.stats().wait().expect("stats");
    let numbers: Vec<_> = stats.outboxes.iter().map(|b| (b.name.as_str(), b.items, b.bytes)).collect();
    assert_eq!(numbers, [("mqtt", 1, 0), ("upload/a", 3, 21), ("upload/b", 3, 21)]);
    let outlets = store.events().deliveries(std::slice::from_ref(&event)).wait().expect("deliveries").remove(0);
    let states: Vec<_> = outlets.iter().map(|of| (of.outlet.as_str(), of.state)).collect();
    assert_eq!(states, ["mqtt", "upload/a", "upload/b"].map(|name| (name, DeliveryState::Waiting)));
}

#[tokio::test]
async fn a_document_that_waits_is_replaced_in_its_place() {
    let bench = Bench::new();
    let store = bench.open();
    let outbox = store.outboxes().get(&destination("upload/a")).expect("outbox");
    bench.clock.advance(Duration::from_secs(5));
    store.outboxes().deliver(document("a", 5)).expect("deliver");
    let first = store.stats().wait().expect("stats").outboxes[0].oldest.clone();
    store.outboxes().deliver(document("b", 5)).expect("deliver");
    let old = outbox.lease(1).await.expect("lease");
    bench.clock.advance(Duration::from_secs(5));
    store.outboxes().deliver(document("a", 7)).expect("deliver");
    assert!(!outbox.holds(&old[0]).await.expect("look"), "it was replaced since the lease");
    outbox.ack(&old[0]).await.expect("a late ack is no error");
    drop(old);
    let leases = outbox.lease(10).await.expect("lease");
    assert_eq!(paths(&leases), ["a", "b"]);
    assert_eq!((&leases[0].item, leases[0].attempts), (&Delivery::Document(document("a", 7)), 0));
    assert!(outbox.holds(&leases[0]).await.expect("look"));
    let stats = store.stats().wait().expect("stats").outboxes.remove(0);
    assert_eq!((stats.items, stats.bytes, stats.oldest), (2, 12, first));
    for lease in &leases {
        outbox.ack(lease).await.expect("ack");
    }
    assert_eq!(outbox.waiting().await.expect("count"), 0);
    store.outboxes().deliver(document("a", 7)).expect("deliver");
    assert_eq!(outbox.waiting().await.expect("count"), 1, "after it was sent it is a new item");
}

#[tokio::test]
async fn a_document_keeps_its_progress_rests_and_can_be_given_up_and_revived() {
    let bench = Bench::new();
    let store = bench.open();
    let outbox = store.outboxes().get(&destination("upload/a")).expect("outbox");
    store.outboxes().deliver(document("export.parquet", 5)).expect("deliver");
    let lease = outbox.lease(1).await.expect("lease").remove(0);
    outbox.save_progress(&lease, Some("part 3".into())).await.expect("save");
    outbox.nack(&lease, "no", Duration::from_secs(5)).await.expect("nack");
    assert_eq!(outbox.lease(1).await.expect("lease").len(), 0);
    bench.clock.advance(Duration::from_secs(5));
    let lease = outbox.lease(1).await.expect("lease").remove(0);
    assert_eq!((lease.attempts, lease.progress.as_deref()), (1, Some("part 3")));
    outbox.dead_letter(&lease, "never").await.expect("give up");
    let letter = outbox.dead_letters(10).await.expect("list").remove(0);
    assert_eq!((letter.event, &letter.item), (None, &lease.item));
    outbox.revive(letter.seq).await.expect("revive");
    let again = outbox.lease(10).await.expect("lease");
    assert_eq!((again.len(), &again[0].item, again[0].attempts, &again[0].progress), (1, &lease.item, 0, &None));
}

#[test]
fn only_paths_below_the_storage_folder_are_delivered() {
    let bench = Bench::new();
    let store = bench.open();
    for bad in ["", "/etc/passwd", "a//b", "a/", "../a", "a/../b", "a/./b", "a\0b", "a\nb"] {
        let refused = store.outboxes().deliver(document(bad, 1)).expect_err(bad);
        assert!(matches!(&refused, StoreError::BadPath { path, .. } if path == bad), "{refused}");
    }
    let refused = store.outboxes().deliver(document(&"x".repeat(201), 1)).expect_err("too long");
    assert!(matches!(refused, StoreError::TooLarge { .. }), "{refused}");
    let refused = store.events().record(change(&bench.event("yard"), vec![Delivery::Document(document("..", 1))]));
    assert!(matches!(refused, Err(StoreError::BadPath { .. })));
    store.outboxes().deliver(document(&"x".repeat(200), 1)).expect("long enough");
    store.outboxes().deliver(document("coverage/..yard/2026-11-22.json", 1)).expect("a name may begin with dots");
    assert_eq!(store.stats().wait().expect("stats").outboxes[0].items, 2);
}
