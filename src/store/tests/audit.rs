//! Rows that are gone although the index opens and reads without an error.

use std::path::Path;

use super::*;
use crate::destination::destination;
use crate::supervise::spawn_thread;

const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn open(path: &Path, clock: &Arc<SimulatedClock>) -> Result<Store, StoreError> {
    let config = Config { path: path.to_owned(), deadline: Duration::from_secs(10), ..Config::default() };
    Store::open(&config, &names(&["mqtt", "upload/a"]), clock.clone())
}

/// Records `events` that are over, with all that waits because of them.
fn fill(bench: &Bench, store: &Store, events: usize) {
    for _ in 0..events {
        let mut event = bench.event("yard");
        event.state = EventState::Ended;
        let files = [("event.json", 900), ("clip.mp4", 90_000), ("snapshot.jpg", 9_000), ("thumb.jpg", 900)];
        let uploads = files.into_iter().map(|(file, bytes)| upload(file, bytes, HASH));
        let deliveries = [Delivery::Alert(Phase::End)].into_iter().chain(uploads).collect();
        store.events().record(change(&event, deliveries)).expect("record");
    }
}

#[tokio::test]
async fn a_row_that_is_gone_from_any_list_is_missed() {
    for list in ["outbox", "uploads", "documents", "dead", "open", "events", "by_camera", "files", "held", "aged"] {
        let bench = Bench::new();
        let store = open(bench.dir.path(), &bench.clock).expect("open");
        fill(&bench, &store, 50);
        store.events().record(change(&bench.event("gate"), vec![])).expect("record an event that goes on");
        let outbox = store.outboxes().get(&destination("upload/a")).expect("an outbox");
        outbox.dead_letter(&outbox.lease(1).await.expect("lease")[0], "refused").await.expect("give up");
        store.outboxes().deliver(Document::new("coverage/yard.json", 9, HASH)).expect("queue a document");
        assert_eq!(store.differences().expect("audit"), Vec::<String>::new());
        store.audit().expect("a sound index");
        store.close().expect("close");

        let db = raw_index(bench.dir.path());
        let tree = db.open_tree(list).expect("tree");
        let (key, _) = tree.last().expect("read").unwrap_or_else(|| panic!("{list} has no row"));
        tree.remove(key).expect("remove");
        drop((tree, db));

        let store = open(bench.dir.path(), &bench.clock).expect("open");
        assert!(!store.was_reset(), "{list}");
        let lost = store.audit().expect_err("a row is gone");
        assert!(matches!(&lost, StoreError::Corrupt(why) if why.contains("was lost")), "{list}: {lost}");
        drop(store);
        assert!(open(bench.dir.path(), &bench.clock).expect("open").was_reset(), "{list}");
    }
}

#[test]
fn changes_while_it_is_counted_are_not_taken_for_losses() {
    let bench = Bench::new();
    let store = open(bench.dir.path(), &bench.clock).expect("open");
    fill(&bench, &store, 100);
    let (writer, clock) = (store.clone(), bench.clock.clone());
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let ids = IdSource::new(clock.clone(), store.newest_id().expect("read"));
    let thread = spawn_thread("changes", move || {
        while matches!(stopped.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty)) {
            let event = event(ids.next(), "yard", &*clock);
            let deliveries = vec![Delivery::Alert(Phase::Start), upload("clip.mp4", 9, HASH)];
            writer.events().record(change(&event, deliveries)).expect("record");
        }
    });
    let thread = thread.expect("a thread");
    let before = store.stats().wait().expect("stats").events;
    let mut audits = 0;
    while audits < 20 || store.stats().wait().expect("stats").events < before + 50 {
        store.audit().expect("nothing is lost");
        audits += 1;
    }
    drop(stop);
    thread.join().expect("no panic");
}
