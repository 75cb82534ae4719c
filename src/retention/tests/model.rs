//! Random events, deliveries, pins and quotas, with a crash between any two steps of a deletion.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicI64;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

#[derive(Clone, Debug)]
enum Call {
    Record {
        score: u8,
        bytes: usize,
        open: bool,
    },
    End(Index),
    /// Acknowledges a part of what waits, by the bits of a number.
    Deliver(u64),
    Pin(Index, bool),
    Days(u64),
    /// Makes room, with everything orderly.
    Pass {
        quota: u64,
    },
    /// Makes room until a power cut after so many steps, then starts again, perhaps without the index.
    Crash {
        quota: u64,
        after: i64,
        index_lost: bool,
    },
}

fn call() -> impl Strategy<Value = Call> {
    let quota = || prop_oneof![1 => Just(1u64), 3 => 3_000..60_000u64];
    prop_oneof![
        6 => (0..10u8, 200..9000usize, proptest::bool::weighted(0.2)).prop_map(|(score, bytes, open)| Call::Record { score, bytes, open }),
        1 => any::<Index>().prop_map(Call::End),
        3 => any::<u64>().prop_map(Call::Deliver),
        1 => (any::<Index>(), proptest::bool::weighted(0.7)).prop_map(|(event, pinned)| Call::Pin(event, pinned)),
        1 => (1..4u64).prop_map(Call::Days),
        2 => quota().prop_map(|quota| Call::Pass { quota }),
        3 => (quota(), 0..14i64, proptest::bool::weighted(0.3)).prop_map(|(quota, after, index_lost)| Call::Crash { quota, after, index_lost }),
    ]
}

/// What is known of a file that was made: enough to rank it.
#[derive(Clone, Debug)]
struct Made {
    event: Event,
    files: BTreeSet<String>,
    delivered: BTreeSet<String>,
    /// What was there when it was pinned.
    pinned: Vec<String>,
}

/// What goes first is less: whether it is delivered nowhere, not overdue; class; tenths of score; age.
type Rank = (bool, bool, Class, u8, EventId);

struct Subject {
    bench: Bench,
    archive: Archive,
    runtime: tokio::runtime::Runtime,
    made: BTreeMap<EventId, Made>,
    next: u128,
}

const CLIPS_AGE: u64 = 5;
const DAY: u64 = 24 * 3600;

impl Subject {
    fn new() -> Self {
        let bench = Bench::new();
        let archive = bench.archive(&["upload/cloud"]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        Self { bench, archive, runtime, made: BTreeMap::new(), next: 1 }
    }

    fn retention(&self, quota: u64) -> Retention {
        let age = Age(Duration::from_secs(CLIPS_AGE * DAY));
        self.bench.retention(&self.archive, Config { max_bytes: quota, clips: age, ..Config::default() })
    }

    fn pick(&self, index: &Index, wanted: impl Fn(&Made) -> bool) -> Option<EventId> {
        let ids: Vec<EventId> = self.made.values().filter(|made| wanted(made)).map(|made| made.event.id).collect();
        (!ids.is_empty()).then(|| *index.get(&ids))
    }

    fn record(&mut self, event: Event, bytes: usize) {
        let event = put(&self.archive, event, bytes);
        let files = event.media().map(|media| media.file.clone()).collect();
        self.made.insert(event.id, Made { event, files, delivered: BTreeSet::new(), pinned: Vec::new() });
    }

    fn deliver(&mut self, bits: u64) {
        let outbox = self.archive.store.outbox("upload/cloud").expect("outbox");
        let leases = self.runtime.block_on(outbox.lease(64)).expect("lease");
        for (n, lease) in leases.iter().enumerate().filter(|(n, _)| bits >> n & 1 == 1) {
            let Delivery::Upload { file, .. } = &lease.item else { panic!("item {n} is no file") };
            self.runtime.block_on(outbox.ack(lease)).expect("ack");
            if let Some(made) = lease.event.as_ref().and_then(|event| self.made.get_mut(&event.id)) {
                made.delivered.insert(file.clone());
            }
        }
    }

    /// Makes room until a power cut, if one comes at all; then starts again as the daemon does.
    fn crash(&mut self, quota: u64, after: i64, index_lost: bool) {
        let left = AtomicI64::new(after);
        let cut = move || if left.fetch_sub(1, Ordering::Relaxed) <= 0 { bail!("power cut") } else { Ok(()) };
        let retention = Retention { between_steps: Arc::new(cut), ..self.retention(quota) };
        let _ = retention.pass(&CancellationToken::new());
        drop(retention);
        let spare = TempDir::new().expect("temp dir");
        let stand_in = Bench { dir: spare, clock: self.bench.clock.clone(), free: Arc::default() };
        self.archive = stand_in.archive(&[]);
        if index_lost {
            fs::remove_dir_all(self.bench.dir.path().join("index")).expect("lose the index");
            self.made.values_mut().for_each(|made| made.delivered.clear());
        }
        self.archive = self.bench.archive(&["upload/cloud"]);
        recover(&self.archive, EventId::from_bytes([0xff; 16]), &mut |_| ()).expect("recover");
        for made in self.made.values_mut().filter(|made| made.event.state == EventState::Open) {
            made.event.state = EventState::Interrupted;
        }
    }

    /// Media that may be deleted for space, with their ranks.
    fn ranks(&self) -> BTreeMap<(EventId, String), Rank> {
        let now = self.bench.clock.wall().as_second() as u64;
        let mut ranks = BTreeMap::new();
        for made in self.made.values().filter(|made| !made.event.pinned && made.event.state != EventState::Open) {
            let there = on_disk(&self.archive, &made.event);
            for file in made.files.iter().filter(|file| there.contains(file)) {
                let class = Class::of_event_file(file);
                if class < Class::Metadata {
                    let age = now - made.event.start.wall.as_second() as u64;
                    let is_overdue = class == Class::Clips && age > CLIPS_AGE * DAY;
                    let rank = (
                        !made.delivered.contains(file),
                        !is_overdue,
                        class,
                        (made.event.score * 10.0) as u8,
                        made.event.id,
                    );
                    ranks.insert((made.event.id, file.clone()), rank);
                }
            }
        }
        ranks
    }

    fn check(&self, quota: u64) -> Result<(), TestCaseError> {
        let store = &self.archive.store;
        let mut sums: BTreeMap<Class, u64> = BTreeMap::new();
        for made in self.made.values() {
            let (event, folder) = (&made.event, self.archive.layout.folder("yard", made.event.id));
            let known = store.event(event.id).expect("read");
            prop_assert_eq!(known.is_some(), folder.is_dir(), "{}: the index and the disk disagree", event.id);
            let Some(known) = known else {
                prop_assert!(!event.pinned && event.state != EventState::Open, "{}: kept, yet gone", event.id);
                continue;
            };
            let reported = read_event(&folder).expect("a sidecar");
            prop_assert_eq!(&reported, &known);
            prop_assert_eq!(reported.pinned, event.pinned);
            let there = sizes(&folder);
            for media in reported.media() {
                prop_assert_eq!(there.get(&media.file), Some(&media.bytes), "{} is named", media.file);
            }
            let evicted: BTreeSet<String> = reported.evicted.iter().map(|gone| gone.media.file.clone()).collect();
            let left: BTreeSet<String> = there.keys().filter(|file| *file != SIDECAR).cloned().collect();
            prop_assert_eq!(evicted.len(), reported.evicted.len(), "a second tombstone");
            prop_assert!(left.is_disjoint(&evicted), "{}: {:?} {:?}", event.id, left, evicted);
            prop_assert_eq!(&left | &evicted, made.files.clone(), "{}: without a tombstone", event.id);
            if event.pinned {
                prop_assert!(
                    made.pinned.iter().all(|file| there.contains_key(file)),
                    "{}: pinned, yet deleted",
                    event.id
                );
            }
            if event.state == EventState::Open {
                prop_assert_eq!(&left, &made.files, "{}: open, yet deleted", event.id);
            }
            for (file, bytes) in there.iter().filter(|(file, _)| *file != SIDECAR || event.state != EventState::Open) {
                *sums.entry(Class::of_event_file(file)).or_default() += bytes;
            }
        }
        let stats = store.stats().expect("stats");
        let counted: BTreeMap<Class, u64> = stats
            .held
            .into_iter()
            .filter(|(_, held)| held.files > 0)
            .map(|(class, held)| (class, held.bytes))
            .collect();
        prop_assert_eq!(&counted, &sums, "what is counted is not what is there");
        prop_assert_eq!(store.condemned(None, 10).expect("list").0, []);
        let names = fs::read_dir(self.archive.layout.root().join("yard")).into_iter().flatten().flatten();
        let strange = names.filter(|name| {
            !name.file_name().to_string_lossy().parse::<EventId>().is_ok_and(|id| self.made.contains_key(&id))
        });
        prop_assert_eq!(strange.count(), 0, "something is left over");
        let all: u64 = sums.values().sum();
        let more = store.evictable(all.saturating_sub(quota), &[], 10).expect("plan");
        prop_assert!(all <= quota || more.is_empty(), "{all} held, {quota} allowed, and {more:?} could go");
        Ok(())
    }
}

fn run(calls: Vec<Call>) -> Result<(), TestCaseError> {
    let mut subject = Subject::new();
    for call in calls {
        match call {
            Call::Record { score, bytes, open } => {
                let state = if open { EventState::Open } else { EventState::Ended };
                let event = Event { score: f32::from(score) / 10.0 + 0.05, ..subject.bench.event(subject.next, state) };
                subject.next += 1;
                subject.record(event, bytes);
            }
            Call::End(index) => {
                if let Some(id) = subject.pick(&index, |made| made.event.state == EventState::Open) {
                    let event = Event { state: EventState::Ended, ..subject.made[&id].event.clone() };
                    subject.record(event, 500);
                }
            }
            Call::Deliver(bits) => subject.deliver(bits),
            Call::Pin(index, pinned) => {
                let there = |made: &Made| {
                    made.event.state != EventState::Open && !on_disk(&subject.archive, &made.event).is_empty()
                };
                if let Some(id) = subject.pick(&index, there) {
                    assert!(subject.archive.pin(id, pinned).expect("pin"));
                    let made = subject.made.get_mut(&id).expect("made");
                    made.event.pinned = pinned;
                    made.pinned = on_disk(&subject.archive, &made.event);
                }
            }
            Call::Days(days) => subject.bench.clock.advance(Duration::from_secs(days * DAY)),
            Call::Pass { quota } => {
                // What age deletes goes before; the order is that of what goes for space.
                pass(&subject.retention(0));
                let before = subject.ranks();
                pass(&subject.retention(quota));
                let after = subject.ranks();
                let last_gone =
                    before.iter().filter(|(file, _)| !after.contains_key(*file)).map(|(_, rank)| rank).max();
                let first_left = after.values().min();
                if let (Some(gone), Some(left)) = (last_gone, first_left) {
                    prop_assert!(gone < left, "{gone:?} went, {left:?} stayed");
                }
                subject.check(quota)?;
            }
            Call::Crash { quota, after, index_lost } => {
                subject.crash(quota, after, index_lost);
                pass(&subject.retention(quota));
                subject.check(quota)?;
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_disk_index_and_event_json_agree(calls in proptest::collection::vec(call(), 1..50)) {
        run(calls)?;
    }
}
