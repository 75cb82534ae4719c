//! Searches of a library in motion give what a look at each photo gives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tempfile::TempDir;

use super::*;
use crate::clock::{Clock, SimulatedClock};
use crate::destination::destination;
use crate::detection::BBox;
use crate::event::IdSource;
use crate::photo::fixture::photo;
use crate::photo::{GeoPoint, PhotoObject, Seen, fold};
use crate::store::tests::{config, simulated};
use crate::store::{Config, PhotoUsage, Store};

const WORDS: [&str; 12] =
    ["heron", "herring", "Grey", "gate", "北海道", "海", "Zürich", "river", "2024", "a", "boat barn", "x-ray"];
const LINES: [&str; 28] = [
    "",
    "her",
    "heron",
    "\"heron\"",
    "-heron",
    "grey heron",
    "\"grey heron\"",
    "海道",
    "海",
    "zurich -gate",
    "tag:heron",
    "tag:her*",
    "-tag:river tag:gate",
    "is:favorite",
    "is:private",
    "owner:bea heron",
    "has:place",
    "near:35.1,139.2,30",
    "near:0,179.95,40 -heron",
    "after:2024-01-15 before:2024-02",
    "on:2024-01-20",
    "before:2024-01-20T10:00 heron",
    "after:2024-01-20T10:00:00.001",
    "on:2024-01-20T10:00",
    "after:2024-02 before:2024",
    "camera:canon",
    "label:dog",
    "label:d* -heron",
];

struct Library {
    dir: TempDir,
    store: Store,
    clock: Arc<SimulatedClock>,
    ids: IdSource,
    photos: BTreeMap<PhotoId, Photo>,
    random: fastrand::Rng,
}

impl Library {
    fn new(seed: u64) -> Self {
        let (dir, clock) = (TempDir::new().expect("temp dir"), simulated());
        let store = Store::open(&config(&dir), &[destination("upload/a")], clock.clone()).expect("open");
        let ids = IdSource::new(clock.clone(), None);
        Self { dir, store, clock, ids, photos: BTreeMap::new(), random: fastrand::Rng::with_seed(seed) }
    }

    fn some(&mut self, words: usize) -> Vec<String> {
        (0..self.random.usize(0..=words)).map(|_| (*self.random.choice(WORDS).expect("a word")).to_owned()).collect()
    }

    /// Says something else of a photo.
    fn say(&mut self, photo: &mut Photo) {
        let random = &mut self.random;
        photo.private = random.u8(..) < 60;
        photo.trashed = (random.u8(..) < 30).then(|| photo.added.clone());
        photo.favorite_of = if random.bool() { vec!["anna".into()] } else { Vec::new() };
        let places = [(35.1, 139.2), (35.3, 139.4), (0.1, 179.9), (-0.1, -179.9), (51.5, 0.0)];
        let (latitude, longitude) = random.choice(places).expect("a place");
        photo.facts.place = if random.bool() { GeoPoint::new(latitude, longitude, None) } else { None };
        photo.facts.device.make = random.bool().then(|| "Canon Inc.".to_owned());
        let objects = ["dog", "deer", "Traffic light"].iter().filter(|_| random.bool());
        let object = |label: &&str| PhotoObject { label: (*label).into(), score: 0.9, bbox: BBox::default() };
        let seen = Seen { model: "a".to_owned(), objects: objects.map(object).collect() };
        photo.seen = random.bool().then_some(seen);
        photo.title = self.some(3).join(" ");
        photo.tags = self.some(2);
        photo.tags.dedup();
    }

    fn change(&mut self) {
        let roll = self.random.u8(..);
        let known: Vec<PhotoId> = self.photos.keys().copied().collect();
        let mut next = match self.random.choice(&known) {
            Some(id) if roll < 40 => {
                self.photos.remove(id);
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
                return runtime.block_on(self.store.photos().forget(*id)).expect("forget");
            }
            Some(id) if roll < 120 => self.photos[id].clone(),
            _ => {
                // Few times, so that several are taken in the same millisecond.
                let (owner, local) = (self.random.choice(["anna", "bea"]).expect("one"), self.random.u8(1..29));
                photo(self.ids.next(), owner, &format!("2024-01-{local:02}T10:00:00"), self.clock.now())
            }
        };
        self.say(&mut next);
        self.store.photos().record_blocking(&next, Vec::new()).expect("record");
        self.photos.insert(next.id, next);
    }

    /// By a look at each.
    fn expected(&self, scopes: &[Scope], search: &PhotoSearch) -> Vec<PhotoId> {
        let wall = |at: jiff::civil::DateTime| jiff::tz::Offset::UTC.to_timestamp(at).expect("a time").as_millisecond();
        let is_found = |photo: &Photo| {
            let texts: Vec<Vec<u8>> = keys_of(photo).into_iter().collect();
            let has = |wanted: &Wanted| match wanted {
                Wanted::Term(term) => texts.contains(&term.to_bytes()),
                Wanted::Beginning(term) => texts.iter().any(|key| key.starts_with(&term.to_bytes())),
                Wanted::Any(terms) => terms.iter().any(|term| texts.contains(&term.to_bytes())),
                Wanted::AlbumTitled(_) => false,
            };
            let at = photo.taken.wall_ms();
            scopes.contains(&Scope::of(photo))
                && search.conditions.iter().all(|condition| condition.all.iter().all(has) != condition.negated)
                && search.from.is_none_or(|from| wall(from) <= at)
                && search.until.is_none_or(|until| at < wall(until))
                && search.is_fulfilled(photo)
        };
        let mut found: Vec<PhotoPosition> =
            self.photos.values().filter(|p| is_found(p)).map(PhotoPosition::of).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.into_iter().map(|position| position.id).collect()
    }

    /// By walks, by the times of all, day by day, and by walks that give up.
    fn found(&self, scopes: &[Scope], search: &PhotoSearch, limit: usize) -> Vec<PhotoId> {
        let found = self.found_by(scopes, search, limit, WAYS);
        for (share, few) in [(0, WAYS.few), (2, WAYS.few), (0, 0), (2, 0)] {
            let ways = Ways { share, few };
            assert_eq!(self.found_by(scopes, search, limit, ways), found, "{search:?} {ways:?}");
        }
        found
    }

    fn found_by(&self, scopes: &[Scope], search: &PhotoSearch, limit: usize, ways: Ways) -> Vec<PhotoId> {
        let (mut all, mut before) = (Vec::new(), None);
        loop {
            let (of, wanted) = (scopes.to_vec(), search.clone());
            let page = self.store.photos().ask(move |db| find_by(db, &of, &wanted, before, limit, ways));
            let page = page.wait().expect("find");
            all.extend(page.photos.iter().map(|photo| photo.id));
            assert!(page.photos.len() <= limit);
            if page.next.is_none() {
                return all;
            }
            assert!(!page.photos.is_empty() && page.next > None && page.next != before, "each page goes on");
            before = page.next;
        }
    }

    fn check_usage(&self) {
        let mut expected: BTreeMap<String, PhotoUsage> = BTreeMap::new();
        for photo in self.photos.values() {
            let usage = expected.entry(photo.owner.to_string()).or_default();
            (usage.photos, usage.bytes) = (usage.photos + 1, usage.bytes + photo.bytes);
        }
        assert_eq!(self.store.photos().usages().wait().expect("usages"), expected);
    }

    fn check(&self) {
        self.check_usage();
        let both = [Scope::Shared, Scope::PrivateOf("anna".to_owned())];
        for scopes in [&both[..], &both[..1], &[Scope::TrashOf("bea".to_owned())]] {
            for line in LINES {
                let search = PhotoSearch::read(line, "anna").expect(line);
                let expected = self.expected(scopes, &search);
                assert_eq!(self.found(scopes, &search, 3), expected, "{line:?} {scopes:?}");
                let first = self.store.photos().find(scopes.to_vec(), search.clone(), None, 500).wait().expect("find");
                assert_eq!(first.total.unwrap_or(expected.len() as u64), expected.len() as u64, "{line:?}");
                if !search.needs_look() {
                    let days = self.store.photos().days(scopes.to_vec(), search).wait().expect("days");
                    assert_eq!(days.values().sum::<u64>(), expected.len() as u64, "{line:?}");
                }
            }
        }
    }
}

#[test]
fn searches_give_what_a_look_at_each_photo_gives() {
    for seed in 0..3 {
        let mut library = Library::new(seed);
        for round in 0..120 {
            library.change();
            if round % 40 == 39 {
                library.check();
            }
        }
        // The same after a restart.
        library.store.close().expect("close");
        library.store = Store::open(&config(&library.dir), &[], simulated()).expect("open");
        library.check();
    }
}

#[test]
fn a_day_with_photos_in_several_lists_comes_in_the_order_of_time() {
    let mut library = Library::new(4);
    let taken = |n: u32| format!("2024-01-{:02}T{:02}:{:02}:00", n % 3 + 1, n * 7 % 24, n * 11 % 60);
    let photos: Vec<Photo> =
        (0..2200).map(|n| photo(library.ids.next(), "anna", &taken(n), library.clock.now())).collect();
    library.store.photos().record_all(&photos).expect("record");
    library.photos = photos.into_iter().map(|photo| (photo.id, photo)).collect();
    let (scopes, all) = ([Scope::Shared], PhotoSearch::default());
    assert_eq!(library.found(&scopes, &all, 500), library.expected(&scopes, &all));
}

#[test]
fn tags_are_counted_as_the_viewer_sees_them() {
    let mut library = Library::new(7);
    for _ in 0..80 {
        library.change();
    }
    let scopes = [Scope::Shared, Scope::PrivateOf("anna".to_owned())];
    let tags = library.store.photos().texts(scopes.to_vec(), Term::Tag(String::new()), 100).wait().expect("tags");
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for photo in library.photos.values().filter(|photo| scopes.contains(&Scope::of(photo))) {
        for tag in photo.tags.iter().map(|tag| fold(tag)).collect::<BTreeSet<String>>() {
            *expected.entry(tag).or_default() += 1;
        }
    }
    assert!(tags.is_sorted_by(|a, b| a.1 >= b.1) && tags.len() > 3);
    assert_eq!(tags.into_iter().collect::<BTreeMap<_, _>>(), expected);
}

#[test]
fn places_are_counted_by_square() {
    let mut library = Library::new(8);
    for _ in 0..80 {
        library.change();
    }
    let cells = Cell::cover(-90.0, 90.0, -180.0, 180.0, 0).expect("the whole earth");
    let search = PhotoSearch::read("-heron", "anna").expect("a search");
    let found = library.store.photos().places(vec![Scope::Shared], search.clone(), cells).wait().expect("places");
    let placed = library.expected(&[Scope::Shared], &PhotoSearch::read("-heron has:place", "anna").expect("a search"));
    assert_eq!(found.iter().map(|cell| cell.photos).sum::<u64>(), placed.len() as u64);
    assert!(found.len() > 1 && found.iter().all(|cell| cell.example.is_some_and(|id| placed.contains(&id))));
}

#[test]
fn an_index_without_lists_is_given_them() {
    let mut library = Library::new(9);
    for _ in 0..40 {
        library.change();
    }
    library.store.photos().fill_terms().expect("nothing to do");
    library.store.close().expect("close");
    {
        let db = crate::store::tests::raw_database(library.dir.path());
        for tree in [&db.photo_terms, &db.photo_times, &db.photo_numbers, &db.photo_ids, &db.photo_usage] {
            tree.tree().clear().expect("clear");
        }
        db.meta.insert("photo_terms", &0_u32.to_be_bytes()).expect("write");
    }
    library.store = Store::open(&config(&library.dir), &[], simulated()).expect("open");
    assert_eq!(library.found(&[Scope::Shared], &PhotoSearch::default(), 100), [], "they are gone");
    library.store.photos().fill_terms().expect("fill");
    library.check();
}

#[test]
#[ignore = "a measurement: make bench-library"]
fn searches_of_a_large_library() {
    let many: u64 = std::env::var("OUTPOST_BENCH_PHOTOS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let program = std::env::current_exe().expect("own path");
    let dir = TempDir::new_in(program.parent().expect("a folder")).expect("temp dir");
    let clock = simulated();
    let settings = Config { deadline: std::time::Duration::from_secs(600), ..config(&dir) };
    let store = Store::open(&settings, &[], clock.clone()).expect("open");
    let (ids, mut random) = (IdSource::new(clock.clone(), None), fastrand::Rng::with_seed(1));
    let (start, mut group) = (Instant::now(), Vec::new());
    for n in 0..many {
        let day = jiff::civil::date(2014, 1, 1).to_datetime(jiff::civil::Time::midnight());
        let local = day + jiff::Span::new().minutes(i64::try_from(n * 5).expect("fits"));
        let mut next = photo(ids.next(), if n % 3 == 0 { "bea" } else { "anna" }, &local.to_string(), clock.now());
        next.name = format!("IMG_{n:07}.JPG");
        next.title = format!("{} {}", random.choice(WORDS).expect("a word"), random.choice(WORDS).expect("a word"));
        next.tags = vec![(*random.choice(WORDS).expect("a word")).to_owned(), format!("trip {}", n / 2000)];
        next.private = n % 10 == 0;
        next.facts.place = GeoPoint::new(35.0 + random.f64(), 139.0 + random.f64(), None);
        next.facts.device.make = Some("Canon".to_owned());
        group.push(next);
        if group.len() == 1000 || n + 1 == many {
            store.photos().record_all(&group).expect("record");
            group.clear();
        }
    }
    println!("{many} photos recorded in {:.0} s", start.elapsed().as_secs_f64());
    let scopes = vec![Scope::Shared, Scope::PrivateOf("anna".to_owned())];
    let lines = [
        "",
        "heron",
        "her gate",
        "\"grey heron\"",
        "tag:heron -gate",
        "tag:\"trip 77\"",
        "海道",
        "near:35.5,139.5,3",
        "after:2015 before:2016 river",
        "zz",
    ];
    for line in lines {
        let search = PhotoSearch::read(line, "anna").expect(line);
        let mut took: Vec<f64> = (0..50)
            .map(|_| {
                let start = Instant::now();
                let found = store.photos().find(scopes.clone(), search.clone(), None, 100).wait().expect("find");
                std::hint::black_box(found);
                start.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        took.sort_by(f64::total_cmp);
        println!("{line:<32} p50 {:>8.2} ms  p99 {:>8.2} ms", took[25], took[49]);
    }
    let start = Instant::now();
    let days = store.photos().days(scopes, PhotoSearch::default()).wait().expect("days");
    println!("{} days {:.2} ms", days.len(), start.elapsed().as_secs_f64() * 1e3);
}
