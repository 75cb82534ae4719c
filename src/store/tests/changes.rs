//! The sequence of changes, over restarts, and the search by many conditions.

use super::*;
use crate::store::catalog::Change as CatalogChange;
use crate::store::schema::{Counters, encode};
use crate::store::trees::Database;

fn after(store: &Store, position: Position) -> Option<Vec<(EventId, ChangeKind)>> {
    let changes = store.events().changes(position, 10_000).wait().expect("read")?;
    Some(changes.into_iter().map(|change| (change.id, change.kind)).collect())
}

fn last(store: &Store) -> Position {
    *store.events().changed().borrow()
}

#[test]
fn changes_are_known_after_a_restart_and_belong_to_one_index() {
    let (dir, clock) = (TempDir::new().expect("temp dir"), simulated());
    let config = Config { path: dir.path().to_owned(), deadline: Duration::from_secs(120), ..Config::default() };
    let open = || Store::open(&config, &names(&["mqtt"]), clock.clone()).expect("open");
    let store = open();
    let beginning = last(&store);
    let mut event = event(EventId::from_bytes([7; 16]), "yard", &*clock);
    event.state = EventState::Open;
    let record = |store: &Store, event: &Event| store.events().record(change(event, Vec::new())).expect("record");
    record(&store, &event);
    let started = last(&store);
    record(&store, &event);
    event.state = EventState::Ended;
    record(&store, &event);
    use ChangeKind::{Delete, End, Start, Update};
    let kinds = |kinds: &[ChangeKind]| Some(kinds.iter().map(|kind| (event.id, *kind)).collect::<Vec<_>>());
    assert_eq!(after(&store, beginning), kinds(&[Start, Update, End]), "also to who came before the first");
    let ended = last(&store);
    store.close().expect("close");
    let store = open();
    assert_eq!((after(&store, started), after(&store, last(&store))), (kinds(&[Update, End]), kinds(&[])));
    assert_eq!(last(&store), ended);
    record(&store, &event);
    let forget = CatalogChange::Forget { id: event.id, files: Vec::new(), last: None, now: clock.now() };
    store.0.write(crate::store::op::Op::Catalog(vec![forget])).expect("forget");
    assert_eq!(after(&store, ended), kinds(&[Update, Delete]));
    let other = Position { epoch: ended.epoch.wrapping_add(1), ..ended };
    assert_eq!((after(&store, other), after(&store, Position { seq: ended.seq + 9, ..ended })), (None, None));
    let text = ended.to_string();
    assert_eq!((text.parse(), "x".parse::<Position>(), "1-".parse::<Position>()), (Ok(ended), Err(()), Err(())));
}

#[test]
fn the_sequence_keeps_a_bounded_tail() {
    let (dir, clock) = (TempDir::new().expect("temp dir"), simulated());
    let config = Config { path: dir.path().to_owned(), deadline: Duration::from_secs(120), ..Config::default() };
    let store = Store::open(&config, &names(&["mqtt"]), clock.clone()).expect("open");
    let event = event(EventId::from_bytes([7; 16]), "yard", &*clock);
    for _ in 0..46 {
        let changes = (0..100).map(|_| change(&event, Vec::new())).collect();
        assert!(store.events().record_all(changes).iter().all(Result::is_ok));
    }
    let last = last(&store);
    let at = |seq| Position { seq, ..last };
    assert_eq!((last.seq, after(&store, at(1)), after(&store, at(255))), (4600, None, None));
    assert_eq!(after(&store, at(256)).map(|changes| changes.len()), Some(4600 - 256));
    let kept = store.0.read(|db| Ok(db.changes.iter().count())).expect("read");
    assert_eq!(kept, 4600 - 256);
}

#[test]
fn an_index_that_an_older_version_wrote_in_begins_another_sequence() {
    let (dir, clock) = (TempDir::new().expect("temp dir"), simulated());
    let config = Config { path: dir.path().to_owned(), deadline: Duration::from_secs(120), ..Config::default() };
    let store = Store::open(&config, &names(&["mqtt"]), clock.clone()).expect("open");
    let event = event(EventId::from_bytes([7; 16]), "yard", &*clock);
    for _ in 0..3 {
        store.events().record(change(&event, Vec::new())).expect("record");
    }
    let known = last(&store);
    // It keeps of the counters what it knows.
    let forget = |db: &Database, _: &std::fs::File| {
        let counters = Counters { changes: Default::default(), ..db.counters()? };
        Ok(db.meta.insert("counters", encode(&counters)?).map(drop)?)
    };
    store.0.on_writer(forget).expect("forget");
    store.events().record(change(&event, Vec::new())).expect("record");
    let fresh = last(&store);
    assert!(fresh.epoch != known.epoch && fresh.seq == 1, "{fresh}");
    assert_eq!(after(&store, known), None);
    assert_eq!(store.0.read(|db| Ok(db.changes.iter().count())).expect("read"), 1);
}

#[test]
fn a_search_goes_on_where_the_last_look_ended() {
    let (dir, clock) = (TempDir::new().expect("temp dir"), simulated());
    let config = Config { path: dir.path().to_owned(), deadline: Duration::from_secs(120), ..Config::default() };
    let store = Store::open(&config, &names(&["mqtt"]), clock.clone()).expect("open");
    let id = |n: u8| EventId::from_bytes([[0; 15].as_slice(), &[n]].concat().try_into().expect("16 bytes"));
    for n in 1..=30 {
        let camera = ["yard", "gate", "hall"][usize::from(n % 3)];
        store.events().record(change(&event(id(n), camera, &*clock), Vec::new())).expect("record");
    }
    for cameras in [vec![], vec!["gate".to_owned(), "hall".to_owned()], vec!["yard".to_owned()]] {
        let is_wanted = |n: &u8| {
            cameras.is_empty() || cameras.iter().any(|camera| camera == ["yard", "gate", "hall"][usize::from(n % 3)])
        };
        let expected: Vec<EventId> = (1..=30).rev().filter(is_wanted).map(id).collect();
        let (mut found, mut before, mut looks) = (Vec::new(), None, 0);
        loop {
            let search = Search { cameras: cameras.clone(), before, limit: 3, rows: 4, ..Search::default() };
            let look = store.events().search(search).wait().expect("search");
            assert!(look.rows <= 4 && look.events.len() <= 3);
            found.extend(look.events.iter().map(|event| event.id));
            looks += 1;
            match look.last {
                Some(last) => before = Some(last),
                None => break,
            }
        }
        assert_eq!((found, looks > 3), (expected, true), "{cameras:?}");
        let nothing = Search { labels: vec!["bear".to_owned()], cameras, limit: 3, rows: 5, ..Search::default() };
        let look = store.events().search(nothing).wait().expect("search");
        assert_eq!((look.events.len(), look.rows), (0, 5));
        assert!(look.last.is_some() && look.back_to.is_some());
    }
}
