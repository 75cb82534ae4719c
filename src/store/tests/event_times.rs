//! Searches by time find what a look at each event finds, whatever the clock showed, and look at little.

use std::collections::BTreeMap;

use super::trees::Database;
use super::*;
use crate::clock::Moment;

/// Milliseconds of ids that share a note, and a little more.
const STRETCH_MS: u64 = 1 << 22;
const DAY: i64 = 86_400_000;
const BEGIN: u64 = 1_790_000_000_000;

fn id(ms: u64, n: u8) -> EventId {
    let mut bytes = [n; 16];
    bytes[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    EventId::from_bytes(bytes)
}

fn at(ms: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(ms).expect("a time")
}

struct Indexed {
    _dir: TempDir,
    store: Store,
    clock: Arc<SimulatedClock>,
    events: BTreeMap<EventId, Event>,
}

impl Indexed {
    fn new() -> Self {
        let (dir, clock) = (TempDir::new().expect("temp dir"), simulated());
        let config = Config { path: dir.path().to_owned(), deadline: Duration::from_secs(120), ..Config::default() };
        let store = Store::open(&config, &names(&["mqtt"]), clock.clone()).expect("open");
        Self { _dir: dir, store, clock, events: BTreeMap::new() }
    }

    fn record(&mut self, id: EventId, camera: &str, start: i64) {
        let event = event(id, camera, &*self.clock);
        let event = Event { start: Moment { wall: at(start), ..event.start.clone() }, ..event };
        self.store.events().record(change(&event, Vec::new())).expect("record");
        self.events.insert(id, event);
    }

    fn expected(&self, camera: Option<&str>, since: i64, until: i64) -> Vec<EventId> {
        let within = |event: &&Event| (at(since)..at(until)).contains(&event.start.wall);
        let of_camera = |event: &&Event| camera.is_none_or(|camera| camera == &*event.camera);
        self.events.values().rev().filter(within).filter(of_camera).map(|event| event.id).collect()
    }

    fn check(&self, since: i64, until: i64) -> usize {
        let mut rows = 0;
        for camera in [None, Some("yard")] {
            let expected = self.expected(camera, since, until);
            let cameras = camera.iter().map(|&camera| camera.to_owned()).collect();
            let (from, to) = (Some(at(since)), Some(at(until)));
            let search = Search { cameras, since: from, until: to, limit: 1000, rows: 10_000, ..Search::default() };
            let found = self.store.events().search(search).wait().expect("search");
            assert_eq!(found.events.iter().map(|event| event.id).collect::<Vec<_>>(), expected, "{since}..{until}");
            rows += found.rows;
            let camera = camera.map(str::to_owned);
            let query = Query { camera, since: from, until: to, limit: 500, ..Query::default() };
            let found = self.store.events().find(&query).wait().expect("find");
            assert_eq!(found.iter().map(|event| event.id).collect::<Vec<_>>(), expected, "{since}..{until}");
        }
        rows
    }
}

#[test]
fn searches_by_time_find_what_a_look_at_each_event_finds() {
    for seed in 0..4 {
        let (mut indexed, mut random) = (Indexed::new(), fastrand::Rng::with_seed(seed));
        let mut ms = BEGIN;
        for n in 0..150_u8 {
            ms += random.u64(0..STRETCH_MS);
            // Mostly when it was recorded; now and then by a clock that was wrong by days or years.
            let wrong = match random.u8(..) {
                0..20 => random.i64(-900 * DAY..900 * DAY),
                20..40 => random.i64(-3 * DAY..3 * DAY),
                _ => random.i64(-60_000..0),
            };
            indexed.record(id(ms, n), ["yard", "gate"][usize::from(n % 2)], ms as i64 + wrong);
            let known: Vec<EventId> = indexed.events.keys().copied().collect();
            let other = *random.choice(&known).expect("one");
            match random.u8(..) {
                // Its time is put right.
                0..20 => {
                    let camera = indexed.events[&other].camera.clone();
                    indexed.record(other, &camera, ms as i64);
                }
                20..30 => {
                    indexed.store.assets().forget(vec![(other, None)]).expect("forget");
                    indexed.events.remove(&other);
                }
                _ => {}
            }
        }
        if seed == 3 {
            // The index of an older version: of its events nothing is noted.
            let half = id(BEGIN + (ms - BEGIN) / 2, 0);
            let downgrade = move |db: &Database, _: &std::fs::File| {
                db.event_times.tree().clear()?;
                let (key, from) = crate::store::event_times::begin_after(Some(half));
                Ok(db.meta.insert(key, &from).map(drop)?)
            };
            indexed.store.0.on_writer(downgrade).expect("downgrade");
            let later: Vec<Event> = indexed.events.values().filter(|event| event.id > half).cloned().collect();
            for event in later {
                indexed.record(event.id, &event.camera, event.start.wall.as_millisecond());
            }
        }
        let end = ms as i64;
        for _ in 0..40 {
            let since = random.i64(BEGIN as i64 - 2 * DAY..end + DAY);
            indexed.check(since, since + random.i64(0..DAY));
        }
        indexed.check(at(i64::MIN / 2_000_000).as_millisecond(), end + 900 * DAY);
    }
}

#[test]
fn a_search_far_back_begins_there_and_one_of_today_ends_with_it() {
    let mut indexed = Indexed::new();
    let step = STRETCH_MS / 4;
    for n in 0..200_u8 {
        let ms = BEGIN + u64::from(n) * step;
        indexed.record(id(ms, n), "yard", ms as i64);
    }
    let day = |n: i64| BEGIN as i64 + n * DAY;
    assert!(indexed.expected(None, day(0), day(2)).len() > 150);
    for (since, until) in [(day(0), day(0) + DAY / 24), (day(2) - DAY / 24, day(2)), (day(1), day(1) + DAY / 24)] {
        let wanted = 2 * indexed.expected(None, since, until).len();
        let rows = indexed.check(since, until);
        assert!(rows <= wanted + 16, "{rows} rows for {wanted} events");
    }
}
