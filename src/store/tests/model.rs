//! Random calls against a plain model in memory, with restarts in between.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::asset::MediaFile;
use crate::destination::destination;

#[derive(Clone, Debug)]
pub(super) enum Call {
    /// Records event number n: start, update or end, with an upload of a file.
    Record {
        event: usize,
        phase: Phase,
        file: Option<usize>,
        bytes: u64,
    },
    /// Delivers document number n.
    Deliver {
        document: usize,
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

pub(super) fn call() -> impl Strategy<Value = Call> {
    let phase = prop_oneof![Just(Phase::Start), Just(Phase::Update), Just(Phase::End)];
    prop_oneof![
        6 => (0..6usize, phase, proptest::option::of(0..2usize), 1..100u64)
            .prop_map(|(event, phase, file, bytes)| Call::Record { event, phase, file, bytes }),
        2 => (0..2usize, 1..100u64).prop_map(|(document, bytes)| Call::Deliver { document, bytes }),
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

pub(super) const BOXES: [&str; 2] = ["mqtt", "upload/a"];
const FILES: [&str; 2] = ["event.json", "clip.mp4"];
const DOCUMENTS: [&str; 2] = ["coverage/yard/2026-11-22.json", "clip.mp4"];

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Item {
    event: Option<Event>,
    pub item: Delivery,
    pub attempts: u32,
    revision: u64,
    /// Seconds on the model's clock.
    due: u64,
}

#[derive(Clone, Default)]
pub(super) struct Model {
    pub events: BTreeMap<EventId, Event>,
    pub queues: [BTreeMap<u64, Item>; 2],
    pub dead: [BTreeMap<u64, Item>; 2],
    last_seq: u64,
    /// By sequence number: outbox and revision.
    leased: HashMap<u64, (usize, u64)>,
    /// The leases in the caller's hands, in its order.
    held: Vec<u64>,
    now: u64,
}

/// What the store has to do or give.
pub(super) enum Expected {
    /// Whatever the call does.
    Done,
    /// This event with these deliveries is to be recorded.
    Recorded(Box<Event>, Vec<Delivery>),
    /// These items are given out.
    Leases(Vec<(u64, Item, Option<Event>)>),
    /// This dead letter is meant.
    Letter(u64),
    /// There is nothing that the call could be about.
    Nothing,
}

impl Model {
    /// What `call` does to the model.
    pub(super) fn apply(&mut self, events: &mut [Event], call: &Call) -> Expected {
        match call {
            Call::Record { event, phase, file, bytes } => {
                let event = &mut events[*event];
                event.state = if *phase == Phase::End { EventState::Ended } else { EventState::Open };
                event.count += 1;
                let mut deliveries = vec![Delivery::Alert(*phase)];
                deliveries.extend(file.map(|file| upload(FILES[file], *bytes, "00")));
                self.record(event, &deliveries);
                return Expected::Recorded(Box::new(event.clone()), deliveries);
            }
            Call::Deliver { document, bytes } => {
                let item = Delivery::Document(self::document(*document, *bytes));
                self.push(1, Item { event: None, item, attempts: 0, revision: 0, due: 0 });
            }
            Call::Lease { outbox, max } => return Expected::Leases(self.lease(*outbox, *max)),
            Call::Ack(index) => {
                let Some(seq) = self.let_go(index) else { return Expected::Nothing };
                if let Some((outbox, _)) = self.current(seq) {
                    self.queues[outbox].remove(&seq);
                }
            }
            Call::Nack(index, rest) => {
                let Some(seq) = self.let_go(index) else { return Expected::Nothing };
                let due = self.now + rest;
                if let Some((_, item)) = self.current(seq) {
                    (item.attempts, item.due) = (item.attempts + 1, due);
                }
            }
            Call::Release(index) => {
                let Some(seq) = self.let_go(index) else { return Expected::Nothing };
                self.leased.remove(&seq);
            }
            Call::DeadLetter(index) => {
                let Some(seq) = self.let_go(index) else { return Expected::Nothing };
                if let Some((outbox, _)) = self.current(seq) {
                    let mut item = self.queues[outbox].remove(&seq).expect("just seen");
                    item.attempts += 1;
                    self.dead[outbox].insert(seq, item);
                }
            }
            Call::Revive { outbox, letter } => {
                let Some((seq, mut item)) = self.take_letter(*outbox, letter) else { return Expected::Nothing };
                let waits = |waiting: &Item| name_of(waiting) == name_of(&item);
                if name_of(&item).is_none() || !self.queues[*outbox].values().any(waits) {
                    (item.attempts, item.due, item.revision) = (0, 0, item.revision + 1);
                    self.push(*outbox, item);
                }
                return Expected::Letter(seq);
            }
            Call::Discard { outbox, letter } => {
                let letter = self.take_letter(*outbox, letter);
                return letter.map_or(Expected::Nothing, |(seq, _)| Expected::Letter(seq));
            }
            Call::Advance(seconds) => self.now += seconds,
            Call::Reopen { .. } => self.restart(),
        }
        Expected::Done
    }

    /// Leases and rests lie in memory only.
    pub(super) fn restart(&mut self) {
        self.leased.clear();
        self.held.clear();
        self.queues.iter_mut().flat_map(BTreeMap::values_mut).for_each(|item| item.due = 0);
    }

    fn let_go(&mut self, index: &Index) -> Option<u64> {
        (!self.held.is_empty()).then(|| self.held.swap_remove(index.index(self.held.len())))
    }

    fn take_letter(&mut self, outbox: usize, letter: &Index) -> Option<(u64, Item)> {
        let seqs: Vec<u64> = self.dead[outbox].keys().copied().collect();
        if seqs.is_empty() { None } else { self.dead[outbox].remove_entry(letter.get(&seqs)) }
    }

    fn push(&mut self, outbox: usize, mut item: Item) {
        let same = |old: &Item| name_of(old).is_some() && name_of(old) == name_of(&item);
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
            let outbox = usize::from(matches!(delivery, Delivery::Upload(_)));
            let item = Item { event: Some(event.clone()), item: delivery.clone(), attempts: 0, revision: 0, due: 0 };
            self.push(outbox, item);
        }
    }

    fn lease(&mut self, outbox: usize, max: usize) -> Vec<(u64, Item, Option<Event>)> {
        let due = self.in_order(outbox).filter(|(seq, item)| item.due <= self.now && !self.leased.contains_key(seq));
        let taken: Vec<_> = due.take(max).map(|(seq, item)| (*seq, item.clone())).collect();
        let give = |(seq, item): (u64, Item)| {
            self.leased.insert(seq, (outbox, item.revision));
            self.held.push(seq);
            let now = |event: &Event| if outbox == 0 { event.clone() } else { self.events[&event.id].clone() };
            let event = item.event.as_ref().map(now);
            (seq, item, event)
        };
        taken.into_iter().map(give).collect()
    }

    /// The items of an outbox as they go out.
    pub(super) fn in_order(&self, outbox: usize) -> impl Iterator<Item = (&u64, &Item)> {
        let of_kind =
            move |documents| self.queues[outbox].iter().filter(move |(_, item)| item.event.is_none() == documents);
        of_kind(true).chain(of_kind(false))
    }

    /// The item behind a lease, unless it was replaced.
    fn current(&mut self, seq: u64) -> Option<(usize, &mut Item)> {
        let (outbox, revision) = self.leased.remove(&seq)?;
        self.queues[outbox].get_mut(&seq).filter(|item| item.revision == revision).map(|item| (outbox, item))
    }
}

/// What an item replaces another by.
fn name_of(item: &Item) -> Option<(Option<EventId>, &str)> {
    match &item.item {
        Delivery::Upload(MediaFile { file, .. }) => Some((item.event.as_ref().map(|event| event.id), file)),
        Delivery::Document(document) => Some((None, &document.path)),
        Delivery::Alert(_) => None,
    }
}

fn document(n: usize, bytes: u64) -> Document {
    Document::new(DOCUMENTS[n], bytes, "00")
}

/// The store under test, with what a restart takes from it.
pub(super) struct Subject {
    config: Config,
    clock: Arc<SimulatedClock>,
    runtime: tokio::runtime::Runtime,
    pub store: Store,
    leases: Vec<Lease>,
}

impl Subject {
    pub(super) fn new(folder: &Path) -> Self {
        // A handful of events is to meet what thousands do.
        pack_eagerly();
        let config = Config { path: folder.to_owned(), deadline: Duration::from_secs(20), ..Config::default() };
        let clock = simulated();
        let store = Store::open(&config, &names(&BOXES), clock.clone()).expect("open");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        Self { config, clock, runtime, store, leases: Vec::new() }
    }

    fn outbox(&self, outbox: usize) -> Outbox {
        self.store.outboxes().get(&destination(BOXES[outbox])).expect("outbox")
    }

    /// A lease in hand, and its queue.
    fn take_lease(&mut self, index: &Index) -> (Lease, Outbox) {
        let lease = self.leases.swap_remove(index.index(self.leases.len()));
        let outbox = self.outbox(usize::from(!matches!(lease.item, Delivery::Alert(_))));
        (lease, outbox)
    }

    /// Does what `call` says and compares it with what is expected.
    pub(super) fn apply(&mut self, call: &Call, expected: Expected) -> Result<(), TestCaseError> {
        match (call, expected) {
            (_, Expected::Nothing) => {}
            (_, Expected::Recorded(event, deliveries)) => {
                self.store.events().record(change(&event, deliveries)).expect("record");
            }
            (Call::Deliver { document, bytes }, _) => {
                self.store.outboxes().deliver(self::document(*document, *bytes)).expect("deliver");
            }
            (Call::Lease { outbox, max }, Expected::Leases(expected)) => {
                let leases = self.runtime.block_on(self.outbox(*outbox).lease(*max)).expect("lease");
                prop_assert_eq!(leases.len(), expected.len());
                for (lease, (seq, item, event)) in leases.iter().zip(&expected) {
                    prop_assert_eq!((lease.seq, &lease.item, lease.attempts), (*seq, &item.item, item.attempts));
                    prop_assert_eq!(&lease.event, event);
                }
                self.leases.extend(leases);
            }
            (Call::Ack(index), _) => {
                let (lease, outbox) = self.take_lease(index);
                self.runtime.block_on(outbox.ack(&lease)).expect("ack");
            }
            (Call::Nack(index, rest), _) => {
                let (lease, outbox) = self.take_lease(index);
                self.runtime.block_on(outbox.nack(&lease, "no", Duration::from_secs(*rest))).expect("nack");
            }
            (Call::Release(index), _) => {
                let (lease, outbox) = self.take_lease(index);
                outbox.release(&lease);
            }
            (Call::DeadLetter(index), _) => {
                let (lease, outbox) = self.take_lease(index);
                self.runtime.block_on(outbox.dead_letter(&lease, "never")).expect("dead letter");
            }
            (Call::Revive { outbox, .. }, Expected::Letter(seq)) => {
                self.runtime.block_on(self.outbox(*outbox).revive(seq)).expect("revive");
            }
            (Call::Discard { outbox, .. }, Expected::Letter(seq)) => {
                self.runtime.block_on(self.outbox(*outbox).discard(seq)).expect("discard");
            }
            (Call::Advance(seconds), _) => self.clock.advance(Duration::from_secs(*seconds)),
            (Call::Reopen { orderly }, _) => {
                self.leases.clear();
                if *orderly {
                    self.store.clone().close().expect("close");
                }
                // Stand-in while the old one goes away.
                let spare = TempDir::new().expect("temp dir");
                self.store = Store::open(&config(&spare), &[], self.clock.clone()).expect("open");
                self.store = Store::open(&self.config, &names(&BOXES), self.clock.clone()).expect("open again");
            }
            _ => unreachable!("what is expected fits the call"),
        }
        Ok(())
    }
}

/// Whether the index says what the model says.
pub(super) fn compare(store: &Store, model: &Model) -> Result<(), TestCaseError> {
    let stats = store.stats().wait().expect("stats");
    let open: Vec<_> = model.events.values().filter(|e| e.state == EventState::Open).map(|e| e.id).collect();
    prop_assert_eq!((stats.events, stats.open), (model.events.len() as u64, open.len() as u64));
    prop_assert_eq!(store.events().open().expect("read"), open);
    let all = store.events().find(&Query { limit: 500, ..Query::default() }).wait().expect("query");
    prop_assert_eq!(all, model.events.values().rev().cloned().collect::<Vec<_>>());
    for (n, name) in BOXES.iter().enumerate() {
        let bytes = model.queues[n].values().map(|item| item.item.bytes());
        let expected = (model.queues[n].len() as u64, bytes.sum::<u64>(), model.dead[n].len() as u64);
        let found = stats.outboxes.iter().find(|outbox| outbox.name.as_str() == *name);
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
        let mut events: Vec<Event> = (0..6).map(|_| bench.event("yard")).collect();
        let (mut subject, mut model) = (Subject::new(bench.dir.path()), Model::default());
        for call in calls {
            let expected = model.apply(&mut events, &call);
            subject.apply(&call, expected)?;
            compare(&subject.store, &model)?;
        }
    }
}
