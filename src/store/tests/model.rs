//! Random calls against a plain model in memory, with restarts in between.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

#[derive(Clone, Debug)]
enum Call {
    /// Records event number n: start, update or end, with an upload of a file.
    Record {
        event: usize,
        phase: Phase,
        file: Option<usize>,
        bytes: u64,
    },
    Lease {
        outbox: usize,
        max: usize,
    },
    Ack(Index),
    Nack(Index, u64),
    Release(Index),
    DeadLetter(Index),
    Revive {
        outbox: usize,
        letter: Index,
    },
    Discard {
        outbox: usize,
        letter: Index,
    },
    Advance(u64),
    Reopen {
        orderly: bool,
    },
}

fn call() -> impl Strategy<Value = Call> {
    let phase = prop_oneof![Just(Phase::Start), Just(Phase::Update), Just(Phase::End)];
    prop_oneof![
        6 => (0..6usize, phase, proptest::option::of(0..2usize), 1..100u64)
            .prop_map(|(event, phase, file, bytes)| Call::Record { event, phase, file, bytes }),
        4 => (0..2usize, 1..4usize).prop_map(|(outbox, max)| Call::Lease { outbox, max }),
        3 => any::<Index>().prop_map(Call::Ack),
        2 => (any::<Index>(), 0..20u64).prop_map(|(lease, rest)| Call::Nack(lease, rest)),
        1 => any::<Index>().prop_map(Call::Release),
        2 => any::<Index>().prop_map(Call::DeadLetter),
        1 => (0..2usize, any::<Index>()).prop_map(|(outbox, letter)| Call::Revive { outbox, letter }),
        1 => (0..2usize, any::<Index>()).prop_map(|(outbox, letter)| Call::Discard { outbox, letter }),
        1 => (1..15u64).prop_map(Call::Advance),
        1 => any::<bool>().prop_map(|orderly| Call::Reopen { orderly }),
    ]
}

const BOXES: [&str; 2] = ["mqtt", "upload/a"];
const FILES: [&str; 2] = ["event.json", "clip.mp4"];

#[derive(Clone, Debug, PartialEq)]
struct Item {
    event: Event,
    item: Delivery,
    attempts: u32,
    revision: u64,
    /// Seconds on the model's clock.
    due: u64,
}

#[derive(Default)]
struct Model {
    events: BTreeMap<EventId, Event>,
    queues: [BTreeMap<u64, Item>; 2],
    dead: [BTreeMap<u64, Item>; 2],
    last_seq: u64,
    leased: HashMap<u64, (usize, u64)>,
    now: u64,
}

impl Model {
    fn push(&mut self, outbox: usize, mut item: Item) {
        let same = |old: &Item| match (&old.item, &item.item) {
            (Delivery::Upload { file: a, .. }, Delivery::Upload { file: b, .. }) => {
                a == b && old.event.id == item.event.id
            }
            _ => false,
        };
        let replaced = self.queues[outbox].iter().find(|(_, old)| same(old)).map(|(seq, old)| (*seq, old.revision));
        let seq = replaced.map_or_else(
            || {
                self.last_seq += 1;
                self.last_seq
            },
            |(seq, revision)| {
                item.revision = revision + 1;
                seq
            },
        );
        self.queues[outbox].insert(seq, item);
    }

    fn record(&mut self, event: &Event, deliveries: &[Delivery]) {
        self.events.insert(event.id, event.clone());
        for delivery in deliveries {
            let outbox = usize::from(matches!(delivery, Delivery::Upload { .. }));
            let item = Item { event: event.clone(), item: delivery.clone(), attempts: 0, revision: 0, due: 0 };
            self.push(outbox, item);
        }
    }

    fn lease(&mut self, outbox: usize, max: usize) -> Vec<(u64, Item)> {
        let due =
            self.queues[outbox].iter().filter(|(seq, item)| item.due <= self.now && !self.leased.contains_key(seq));
        let taken: Vec<_> = due.take(max).map(|(seq, item)| (*seq, item.clone())).collect();
        for (seq, item) in &taken {
            self.leased.insert(*seq, (outbox, item.revision));
        }
        taken
    }

    /// The item behind a lease, unless it was replaced.
    fn current(&mut self, seq: u64) -> Option<(usize, &mut Item)> {
        let (outbox, revision) = self.leased.remove(&seq)?;
        self.queues[outbox].get_mut(&seq).filter(|item| item.revision == revision).map(|item| (outbox, item))
    }
}

/// The store under test, with what a restart takes from it.
struct Subject {
    bench: Bench,
    runtime: tokio::runtime::Runtime,
    store: Store,
    leases: Vec<Lease>,
}

impl Subject {
    fn outbox(&self, outbox: usize) -> Outbox {
        self.store.outbox(BOXES[outbox]).expect("outbox")
    }

    fn outbox_of(&self, lease: &Lease) -> Outbox {
        self.outbox(usize::from(matches!(lease.item, Delivery::Upload { .. })))
    }

    fn take_lease(&mut self, index: &Index) -> Option<Lease> {
        (!self.leases.is_empty()).then(|| self.leases.swap_remove(index.index(self.leases.len())))
    }
}

fn step(subject: &mut Subject, model: &mut Model, events: &mut [Event], call: Call) -> Result<(), TestCaseError> {
    match call {
        Call::Record { event, phase, file, bytes } => {
            let event = &mut events[event];
            event.state = if phase == Phase::End { EventState::Ended } else { EventState::Open };
            event.count += 1;
            let mut deliveries = vec![Delivery::Alert(phase)];
            deliveries.extend(file.map(|file| upload(FILES[file], bytes, "00")));
            model.record(event, &deliveries);
            subject.store.record(change(event, deliveries)).expect("record");
        }
        Call::Lease { outbox, max } => {
            let leases = subject.runtime.block_on(subject.outbox(outbox).lease(max)).expect("lease");
            let expected = model.lease(outbox, max);
            prop_assert_eq!(leases.len(), expected.len());
            for (lease, (seq, item)) in leases.iter().zip(&expected) {
                prop_assert_eq!((lease.seq, &lease.item, lease.attempts), (*seq, &item.item, item.attempts));
                let event = if outbox == 0 { &item.event } else { &model.events[&item.event.id] };
                prop_assert_eq!(&lease.event, event);
            }
            subject.leases.extend(leases);
        }
        Call::Ack(index) => {
            let Some(lease) = subject.take_lease(&index) else { return Ok(()) };
            subject.runtime.block_on(subject.outbox_of(&lease).ack(&lease)).expect("ack");
            if let Some((outbox, _)) = model.current(lease.seq) {
                model.queues[outbox].remove(&lease.seq);
            }
        }
        Call::Nack(index, rest) => {
            let Some(lease) = subject.take_lease(&index) else { return Ok(()) };
            let outbox = subject.outbox_of(&lease);
            subject.runtime.block_on(outbox.nack(&lease, "no", Duration::from_secs(rest))).expect("nack");
            let due = model.now + rest;
            if let Some((_, item)) = model.current(lease.seq) {
                (item.attempts, item.due) = (item.attempts + 1, due);
            }
        }
        Call::Release(index) => {
            let Some(lease) = subject.take_lease(&index) else { return Ok(()) };
            subject.outbox_of(&lease).release(&lease);
            model.leased.remove(&lease.seq);
        }
        Call::DeadLetter(index) => {
            let Some(lease) = subject.take_lease(&index) else { return Ok(()) };
            subject.runtime.block_on(subject.outbox_of(&lease).dead_letter(&lease, "never")).expect("dead letter");
            if let Some((outbox, _)) = model.current(lease.seq) {
                let mut item = model.queues[outbox].remove(&lease.seq).expect("just seen");
                item.attempts += 1;
                model.dead[outbox].insert(lease.seq, item);
            }
        }
        Call::Revive { outbox, letter } => {
            if model.dead[outbox].is_empty() {
                return Ok(());
            }
            let seq = *letter.get(&model.dead[outbox].keys().copied().collect::<Vec<_>>());
            subject.runtime.block_on(subject.outbox(outbox).revive(seq)).expect("revive");
            let mut item = model.dead[outbox].remove(&seq).expect("just seen");
            let file = |item: &Item| match &item.item {
                Delivery::Upload { file, .. } => Some((item.event.id, file.clone())),
                Delivery::Alert(_) => None,
            };
            if file(&item).is_none() || !model.queues[outbox].values().any(|waiting| file(waiting) == file(&item)) {
                (item.attempts, item.due, item.revision) = (0, 0, item.revision + 1);
                model.push(outbox, item);
            }
        }
        Call::Discard { outbox, letter } => {
            if model.dead[outbox].is_empty() {
                return Ok(());
            }
            let seq = *letter.get(&model.dead[outbox].keys().copied().collect::<Vec<_>>());
            subject.runtime.block_on(subject.outbox(outbox).discard(seq)).expect("discard");
            model.dead[outbox].remove(&seq);
        }
        Call::Advance(seconds) => {
            subject.bench.clock.advance(Duration::from_secs(seconds));
            model.now += seconds;
        }
        Call::Reopen { orderly } => {
            subject.leases.clear();
            if orderly {
                subject.store.clone().close().expect("close");
            }
            // Stand-in while the old one goes away.
            let spare = TempDir::new().expect("temp dir");
            subject.store = Store::open(&config(&spare), &[], subject.bench.clock.clone()).expect("open");
            subject.store = Store::open(&config(&subject.bench.dir), &names(&BOXES), subject.bench.clock.clone())
                .expect("open again");
            model.leased.clear();
            model.queues.iter_mut().flat_map(BTreeMap::values_mut).for_each(|item| item.due = 0);
        }
    }
    Ok(())
}

fn compare(subject: &Subject, model: &Model) -> Result<(), TestCaseError> {
    let stats = subject.store.stats().expect("stats");
    let open: Vec<_> = model.events.values().filter(|e| e.state == EventState::Open).map(|e| e.id).collect();
    prop_assert_eq!((stats.events, stats.open), (model.events.len() as u64, open.len() as u64));
    prop_assert_eq!(subject.store.open_events().expect("read"), open);
    let all = subject.store.events(&Query { limit: 500, ..Query::default() }).expect("query");
    prop_assert_eq!(all, model.events.values().rev().cloned().collect::<Vec<_>>());
    for (n, name) in BOXES.iter().enumerate() {
        let bytes = model.queues[n].values().map(|item| match &item.item {
            Delivery::Upload { bytes, .. } => *bytes,
            Delivery::Alert(_) => 0,
        });
        let expected = (model.queues[n].len() as u64, bytes.sum::<u64>(), model.dead[n].len() as u64);
        let found = stats.outboxes.iter().find(|outbox| outbox.name == *name);
        let found = found.map_or((0, 0, 0), |outbox| (outbox.items, outbox.bytes, outbox.dead_letters));
        prop_assert_eq!(found, expected, "{}", name);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_does(calls in proptest::collection::vec(call(), 1..60)) {
        let bench = Bench::new();
        let store = Store::open(&config(&bench.dir), &names(&BOXES), bench.clock.clone()).expect("open");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        let mut events: Vec<Event> = (0..6).map(|_| bench.event("yard")).collect();
        let mut subject = Subject { bench, runtime, store, leases: Vec::new() };
        let mut model = Model::default();
        for call in calls {
            step(&mut subject, &mut model, &mut events, call)?;
            compare(&subject, &model)?;
        }
    }
}
