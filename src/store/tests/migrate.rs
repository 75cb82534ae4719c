//! Indexes of older schemas, which have one row for each entry.

use std::path::Path;

use super::trees::Database;
use super::*;
use crate::destination::destination;
use crate::waiting::until;

/// Writes what is in the index of a closed store as schema 2 kept it.
fn downgrade(folder: &Path) {
    let db = raw_database(folder);
    for (name, tree) in db.packed() {
        let entries: Vec<_> = tree.iter().map(|entry| entry.expect("read")).collect();
        let tree = tree.tree();
        tree.clear().expect("clear");
        for (key, value) in &entries {
            tree.insert(key, value).expect("insert");
        }
        assert_eq!(tree.len(), entries.len(), "{name}");
    }
    db.meta.insert("version", &2u32.to_be_bytes()).expect("insert");
    db.db.flush().expect("flush");
}

fn fill(bench: &Bench, store: &Store) {
    let event = |n: u64| {
        let event = Event { state: EventState::Ended, ..bench.event(["yard", "gate"][(n % 2) as usize]) };
        let deliveries = vec![Delivery::Alert(Phase::End), upload("event.json", n, "aa"), upload("clip.mp4", n, "bb")];
        change(&event, deliveries)
    };
    store.events().record_all((0..600).map(event).collect()).into_iter().for_each(|outcome| outcome.expect("record"));
}

/// Rows of all trees, and whether some are still to be packed.
fn rows(store: &Store) -> (usize, bool) {
    let count = |db: &Database| db.packed().iter().map(|(_, tree)| tree.tree().len()).sum();
    store.0.read(move |db| Ok((count(db), db.meta.contains_key("unpacked")?))).expect("read")
}

/// Every event and every item of an outbox, in order.
async fn content(store: &Store) -> (Vec<Event>, Vec<(u64, Option<EventId>, Delivery)>, Stats) {
    let mut events = Vec::new();
    loop {
        let before = events.last().map(|event: &Event| event.id);
        let page = store.events().find(&Query { before, limit: 500, ..Query::default() }).wait().expect("query");
        if page.is_empty() {
            break;
        }
        events.extend(page);
    }
    let leases =
        store.outboxes().get(&destination("upload/a")).expect("outbox").lease(usize::MAX).await.expect("lease");
    let items = leases.iter().map(|l| (l.seq, l.event.as_ref().map(|event| event.id), l.item.clone())).collect();
    (events, items, Stats { flushes: 0, ..store.stats().wait().expect("stats") })
}

#[tokio::test]
async fn an_index_of_schema_2_serves_at_once_and_is_packed_beside_without_losing_a_row() {
    let bench = Bench::new();
    let store = bench.open();
    fill(&bench, &store);
    store.outboxes().deliver(Document::new("a", 1, "aa")).expect("deliver");
    let before = content(&store).await;
    store.close().expect("close");
    downgrade(bench.dir.path());

    // Starts that end before all is packed go on where the last one stopped.
    let (mut first, mut last, mut starts) = (0, usize::MAX, 0);
    loop {
        let store = bench.open();
        assert!(!store.was_reset());
        assert!(content(&store).await == before, "after {starts} starts");
        starts += 1;
        let (begin, _) = rows(&store);
        assert!(begin < last, "{begin} rows, {last} at the start before");
        (first, last) = (first.max(begin), begin);
        let waits = || {
            let (now, more) = rows(&store);
            now >= begin && more
        };
        until("some rows are packed", || !waits()).await;
        let done = !rows(&store).1;
        store.close().expect("close");
        if done {
            break;
        }
    }
    assert!(starts > 3, "{starts} starts");
    assert!(last < first * 2 / 3, "{last} rows, {first} before");
    // New ones and old ones in one index.
    let store = bench.open();
    fill(&bench, &store);
    let (now, items, stats) = content(&store).await;
    assert_eq!((now.len(), stats.events, items.len()), (1200, 1200, before.1.len() + 1200));
    assert_eq!(now[600..], before.0);
}
