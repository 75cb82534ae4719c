//! Other destinations while the store is open.

use super::*;

#[tokio::test]
async fn a_new_destination_gets_what_comes_and_one_that_is_gone_keeps_what_waits() {
    let bench = Bench::new();
    let store = bench.open();
    let record = |n: u64| {
        let event = Event { state: EventState::Ended, ..bench.event("yard") };
        store.events().record(change(&event, vec![upload("clip.mp4", n, "aa")])).expect("record");
    };
    record(1);
    let stays = store.outboxes().get(&destination("upload/b")).expect("outbox");
    let leased = stays.lease(1).await.expect("lease");
    store.outboxes().configure(&names(&["upload/b", "upload/c"])).expect("configure");
    let gone = store.outboxes().get(&destination("upload/a")).expect_err("not configured");
    assert!(matches!(gone, StoreError::NoSuchOutbox(_)), "{gone}");
    record(2);
    let sizes = async |name: &str| -> Vec<u64> {
        let outbox = store.outboxes().get(&destination(name)).expect("outbox");
        let leases = outbox.lease(9).await.expect("lease");
        leases.iter().map(|lease| if let Delivery::Upload(media) = &lease.item { media.bytes } else { 0 }).collect()
    };
    assert_eq!(sizes("upload/c").await, [2], "what comes from now on");
    assert_eq!(sizes("upload/b").await, [2], "the first one is still leased");
    drop(leased);
    assert_eq!(sizes("upload/b").await, [1, 2], "and free again, by the handle of before");
    store.outboxes().configure(&names(&["mqtt", "upload/a", "upload/b"])).expect("configure");
    assert_eq!(sizes("upload/a").await, [1], "what waited when it went");
    let bad = store.outboxes().configure(&names(&[&format!("upload/{}", "x".repeat(100))])).expect_err("too long");
    assert!(matches!(bad, StoreError::NoSuchOutbox(_)), "{bad}");
    assert_eq!(sizes("upload/a").await, [1], "nothing was changed");
}
