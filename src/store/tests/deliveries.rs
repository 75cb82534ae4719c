//! How far each outlet got with an event: in the end what was done to it, whatever was done.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;
use tokio::runtime::Runtime;

use super::*;
use crate::destination::destination;
use crate::event::{EvictReason, Evicted, MediaFile};
use DeliveryState::{Delivered, Dropped, Failed, NotWanted, Waiting};

const FILES: [&str; 3] = ["event.json", "clip.mp4", "snapshot.jpg"];
const ALERT: usize = 3;

/// What is done, and to which of the files or (`ALERT`) to alerts.
#[derive(Clone, Debug)]
enum Call {
    Queue { what: usize, new_content: bool },
    Settle { outlet: usize, what: usize, how: How },
    Letter { outlet: usize, letter: Index, revive: bool },
    Evict { what: usize },
    Reopen { both: bool },
}

#[derive(Clone, Copy, Debug)]
enum How {
    Deliver,
    Drop,
    GiveUp,
}

fn call() -> impl Strategy<Value = Call> {
    let how = prop_oneof![Just(How::Deliver), Just(How::Drop), Just(How::GiveUp)];
    prop_oneof![
        3 => (0..4usize, any::<bool>()).prop_map(|(what, new_content)| Call::Queue { what, new_content }),
        8 => (0..3usize, 0..4usize, how).prop_map(|(outlet, what, how)| Call::Settle { outlet, what, how }),
        3 => (0..3usize, any::<Index>(), any::<bool>())
            .prop_map(|(outlet, letter, revive)| Call::Letter { outlet, letter, revive }),
        1 => (1..3usize).prop_map(|what| Call::Evict { what }),
        1 => any::<bool>().prop_map(|both| Call::Reopen { both }),
    ]
}

const OUTLETS: [&str; 3] = ["mqtt", "upload/a", "upload/b"];

/// One event as the test knows it.
struct Known {
    event: Event,
    outlets: usize,
    files: [MediaFile; 3],
    /// By outlet and file: the state, and of a failed file its letter.
    states: BTreeMap<(usize, usize), (DeliveryState, u64)>,
    /// By outlet and file: contents that a person dropped.
    noted: BTreeSet<(usize, usize, String)>,
    /// Of the alerts, by number.
    alerts: BTreeMap<u64, DeliveryState>,
}

impl Known {
    fn new(mut event: Event) -> Self {
        let files = FILES.map(|file| MediaFile::new(file, 10, "aa"));
        (event.state, event.filed) = (EventState::Ended, Some("2026/11/22".into()));
        event.pictures = files[1..].to_vec();
        let states = (0..3).flat_map(|what| [((1, what), (Waiting, 0)), ((2, what), (NotWanted, 0))]).collect();
        Self { event, outlets: 2, files, states, noted: BTreeSet::new(), alerts: BTreeMap::new() }
    }

    fn is_evicted(&self, what: usize) -> bool {
        FILES.get(what).is_some_and(|file| self.event.evicted.iter().any(|gone| gone.media.file == *file))
    }

    fn item(&self, what: usize) -> Delivery {
        let Some(media) = self.files.get(what) else { return Delivery::Alert(Phase::Update) };
        upload(&media.file, media.bytes, &media.sha256)
    }

    /// A file is queued, maybe with a content that no destination has.
    fn is_queued(&mut self, what: usize, new_content: bool) {
        for outlet in 1..3 {
            let state = self.states.get_mut(&(outlet, what)).expect("known");
            let is_noted = self.noted.contains(&(outlet, what, self.files[what].sha256.clone()));
            if outlet < self.outlets {
                *state = (if is_noted && state.0 != Waiting { Dropped } else { Waiting }, 0);
            } else if new_content && state.0 == Delivered {
                *state = (NotWanted, 0);
            }
        }
    }

    /// What the index has to say.
    fn expected(&self) -> Vec<(String, DeliveryState, Vec<DeliveryState>)> {
        let files = |outlet| -> Vec<DeliveryState> {
            let (there, gone): (Vec<_>, Vec<_>) = (0..3).partition(|what| !self.is_evicted(*what));
            let evicted = self.event.evicted.iter().map(|of| gone.iter().find(|what| FILES[**what] == of.media.file));
            let order = there.iter().chain(evicted.map(|what| what.expect("evicted")));
            order.map(|what| self.states[&(outlet, *what)].0).collect()
        };
        let alerts = self.alerts.values().min().copied().unwrap_or(NotWanted);
        let uploads = (1..self.outlets).map(|outlet| {
            let files = files(outlet);
            (OUTLETS[outlet].to_owned(), files.iter().min().copied().expect("files"), files)
        });
        [("mqtt".to_owned(), alerts, Vec::new())].into_iter().chain(uploads).collect()
    }
}

fn said(store: &Store, event: &Event) -> Vec<(String, DeliveryState, Vec<DeliveryState>)> {
    let outlets = store.events().deliveries(std::slice::from_ref(event)).wait().expect("deliveries").remove(0);
    outlets
        .into_iter()
        .map(|of| (of.outlet.into(), of.state, of.files.iter().map(|file| file.state).collect()))
        .collect()
}

fn open(bench: &Bench, outlets: usize) -> Store {
    Store::open(&config(&bench.dir), &names(&OUTLETS[..outlets]), bench.clock.clone()).expect("open")
}

/// The event with a tombstone for a file, in its index and catalogue, as retention leaves it.
fn evict(store: &Store, clock: &dyn Clock, event: &mut Event, file: &str, sidecar: &MediaFile) {
    let held: Vec<HeldFile> = store.assets().files_of(event.id).expect("read");
    let held: Vec<HeldFile> = held.into_iter().filter(|held| held.media.file == file).collect();
    store.assets().condemn(&held, EvictReason::Quota).expect("condemn");
    let held: Vec<HeldFile> = store.assets().files_of(event.id).expect("read");
    let held: Vec<HeldFile> = held.into_iter().filter(|held| held.media.file == file).collect();
    event.pictures.retain(|media| media.file != file);
    event.evicted.push(Evicted {
        media: held[0].media.clone(),
        at: clock.now(),
        reason: EvictReason::Quota,
        delivered: held[0].delivered,
    });
    let dropped = vec![file.to_owned()];
    store.assets().amend(vec![Amendment { event: event.clone(), sidecar: sidecar.clone(), dropped }]).expect("amend");
    store.assets().gone(&held).expect("gone");
}

/// Another content.
fn renew(media: &mut MediaFile) {
    media.bytes += 1;
    media.sha256 = format!("{:064x}", media.bytes).chars().rev().collect();
}

/// Does it to the store and notes what that means.
async fn carry_out(bench: &Bench, store: &Store, known: &mut Known, call: &Call) {
    match call {
        Call::Queue { what, .. } if known.is_evicted(*what) => {}
        Call::Queue { what, new_content } => {
            if let Some(media) = known.files.get_mut(*what) {
                if *new_content {
                    renew(media);
                }
                known.event.pictures.iter_mut().filter(|of| of.file == media.file).for_each(|of| of.clone_from(media));
            }
            store.events().record(change(&known.event, vec![known.item(*what)])).expect("record");
            if *what == ALERT {
                let queued =
                    store.outboxes().get(&destination("mqtt")).expect("outbox").items(1000).await.expect("items");
                known.alerts.extend(queued.iter().map(|item| (item.seq, Waiting)));
            } else {
                known.is_queued(*what, *new_content);
            }
        }
        Call::Settle { outlet, what, how } => {
            let Some(outbox) = OUTLETS[..known.outlets].get(*outlet) else { return };
            let outbox = store.outboxes().get(&destination(outbox)).expect("outbox");
            let leases = outbox.lease(1000).await.expect("lease");
            let is_it = |lease: &&Lease| match &lease.item {
                Delivery::Upload(MediaFile { file, .. }) => FILES.get(*what) == Some(&file.as_str()),
                _ => *what == ALERT,
            };
            let Some(lease) = leases.iter().find(is_it) else { return };
            let done = match how {
                How::Deliver => outbox.ack(lease).await.map(|()| Delivered),
                How::GiveUp => outbox.dead_letter(lease, "refused").await.map(|()| Failed),
                How::Drop => outbox.drop_item(lease.seq).await.map(|_| Dropped),
            };
            let state = done.expect("settle");
            if *what == ALERT {
                known.alerts.insert(lease.seq, state);
            } else {
                known.states.insert((*outlet, *what), (state, lease.seq));
                if state == Dropped {
                    known.noted.insert((*outlet, *what, known.files[*what].sha256.clone()));
                }
            }
        }
        Call::Letter { outlet, letter, revive } => {
            let Some(name) = OUTLETS[..known.outlets].get(*outlet) else { return };
            let outbox = store.outboxes().get(&destination(name)).expect("outbox");
            let letters = outbox.dead_letters(1000).await.expect("list");
            let Some(letter) = letters.get(letter.index(letters.len().max(1))) else { return };
            if *revive { outbox.revive(letter.seq).await } else { outbox.discard(letter.seq).await }.expect("change");
            let Delivery::Upload(MediaFile { file, .. }) = &letter.item else {
                known.alerts.insert(letter.seq, Dropped);
                if *revive {
                    known.alerts.remove(&letter.seq);
                    let queued = outbox.items(1000).await.expect("items");
                    known.alerts.extend(queued.iter().map(|item| (item.seq, Waiting)));
                }
                return;
            };
            let what = FILES.iter().position(|of| of == file).expect("a file");
            let (is_evicted, state) = (known.is_evicted(what), known.states.get_mut(&(*outlet, what)).expect("known"));
            match (is_evicted, *revive) {
                (false, true) => *state = (Waiting, 0),
                // A letter of before the file was queued again changes nothing.
                _ if *state == (Failed, letter.seq) => *state = (Dropped, 0),
                _ => {}
            }
        }
        Call::Evict { what } if known.is_evicted(*what) => {}
        Call::Evict { what } => {
            renew(&mut known.files[0]);
            evict(store, &*bench.clock, &mut known.event, FILES[*what], &known.files[0]);
            for outlet in 1..3 {
                let state = known.states.get_mut(&(outlet, *what)).expect("known");
                if matches!(state.0, Waiting | Failed) {
                    *state = (Dropped, 0);
                }
            }
            known.is_queued(0, true);
        }
        Call::Reopen { .. } => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_done_to_a_file_or_an_alert_its_state_says_it(calls in prop::collection::vec(call(), 1..30)) {
        let (bench, runtime) = (Bench::new(), Runtime::new().expect("runtime"));
        let mut known = Known::new(bench.event("yard"));
        let mut store = open(&bench, 2);
        let all = (0..4).map(|what| known.item(what)).collect();
        store.events().record(change(&known.event, all)).expect("record");
        let queued = runtime.block_on(async { store.outboxes().get(&destination("mqtt")).expect("outbox").items(10).await.expect("items") });
        known.alerts.extend(queued.iter().map(|item| (item.seq, Waiting)));
        for call in &calls {
            if let Call::Reopen { both } = call {
                store.close().expect("close");
                known.outlets = 2 + usize::from(*both);
                store = open(&bench, known.outlets);
            }
            runtime.block_on(carry_out(&bench, &store, &mut known, call));
            prop_assert_eq!(said(&store, &known.event), known.expected(), "after {:?}", call);
        }
    }
}

#[test]
fn an_event_that_goes_on_or_has_no_day_yet_waits_and_one_deleted_before_it_was_queued_was_dropped() {
    let bench = Bench::new();
    let store = open(&bench, 2);
    let Known { mut event, files, .. } = Known::new(bench.event("yard"));
    (event.state, event.filed) = (EventState::Open, None);
    store.events().record(change(&event, vec![Delivery::Alert(Phase::Start)])).expect("record");
    let waits = |files: usize| {
        let uploads = ("upload/a".to_owned(), Waiting, vec![Waiting; files]);
        vec![("mqtt".to_owned(), Waiting, Vec::new()), uploads]
    };
    assert_eq!(said(&store, &event), waits(3));
    event.state = EventState::Ended;
    store.events().record(change(&event, vec![])).expect("record");
    assert_eq!(said(&store, &event), waits(3));
    evict(&store, &*bench.clock, &mut event, "clip.mp4", &files[0]);
    assert_eq!(said(&store, &event)[1], ("upload/a".to_owned(), Waiting, vec![Waiting, Waiting, Dropped]));
}

#[tokio::test]
async fn a_letter_of_a_file_that_is_being_deleted_is_discarded_when_it_is_revived() {
    let bench = Bench::new();
    let store = open(&bench, 2);
    let mut known = Known::new(bench.event("yard"));
    store.events().record(change(&known.event, vec![known.item(1)])).expect("record");
    let outbox = store.outboxes().get(&destination("upload/a")).expect("outbox");
    let lease = outbox.lease(1).await.expect("lease").remove(0);
    outbox.dead_letter(&lease, "refused").await.expect("give up");
    // A power cut came between the tombstone in the sidecar, which recovery has read since, and the index.
    let media = known.event.pictures.remove(0);
    let gone = Evicted { media, at: bench.clock.now(), reason: EvictReason::Quota, delivered: false };
    let held = store.assets().files_of(known.event.id).expect("read");
    store.assets().condemn(&held, EvictReason::Quota).expect("condemn");
    known.event.evicted.push(gone);
    store.events().record(change(&known.event, vec![])).expect("record");
    let state = || said(&store, &known.event).last().and_then(|(.., files)| files.last().copied());
    assert_eq!(state(), Some(Failed));
    outbox.revive(lease.seq).await.expect("revive");
    assert_eq!((state(), outbox.waiting().await.expect("count")), (Some(Dropped), 0));
}

/// An index of before alerts were counted, and of before files that were deleted or dropped were remembered.
#[tokio::test]
async fn an_older_index_says_what_it_knows_and_no_more() {
    let bench = Bench::new();
    let store = open(&bench, 2);
    let Known { mut event, files, .. } = Known::new(bench.event("yard"));
    let ended = |_| Event { state: EventState::Ended, ..bench.event("yard") };
    let [reported, queued, dropped] = [0; 3].map(ended);
    let all = files.iter().map(|media| upload(&media.file, media.bytes, &media.sha256)).collect();
    store.events().record(change(&event, all)).expect("record");
    store.events().record(change(&reported, vec![Delivery::Alert(Phase::End)])).expect("record");
    for (outbox, max) in [("mqtt", 1), ("upload/a", 3)] {
        let outbox = store.outboxes().get(&destination(outbox)).expect("outbox");
        for lease in outbox.lease(max).await.expect("lease") {
            outbox.ack(&lease).await.expect("ack");
        }
    }
    for event in [&queued, &dropped] {
        store
            .events()
            .record(change(event, vec![Delivery::Alert(Phase::Start), Delivery::Alert(Phase::End)]))
            .expect("record");
    }
    for file in &FILES[1..] {
        evict(&store, &*bench.clock, &mut event, file, &files[0]);
    }
    event.evicted[1].delivered = false;
    store.events().record(change(&event, vec![])).expect("record");
    store.close().expect("close");
    let db = raw_database(bench.dir.path());
    let views = trees::Views::new(&db);
    for entry in db.files.iter() {
        let (key, row) = entry.expect("read");
        let mut row: serde_json::Value = serde_json::from_slice(&row).expect("JSON");
        let fields = row.as_object_mut().expect("an object");
        assert!(fields.remove("gone").is_some() == (fields["class"] == "metadata"));
        views.files.insert(key, row.to_string().as_bytes()).expect("insert");
    }
    for key in db.alerts.iter().keys() {
        views.alerts.remove(key.expect("read")).expect("remove");
    }
    views.commit(&db).expect("commit");
    drop(db);

    let store = open(&bench, 3);
    // Its alerts were not queued, or by a version that did not count them.
    let a = ("upload/a".to_owned(), Waiting, vec![Waiting, Delivered, Dropped]);
    assert_eq!(said(&store, &event), [a, ("upload/b".to_owned(), NotWanted, vec![NotWanted; 3])]);
    assert_eq!(said(&store, &reported).iter().filter(|(name, ..)| name == "mqtt").count(), 0);
    assert_eq!(said(&store, &queued)[0], ("mqtt".to_owned(), Waiting, Vec::new()));
    // What happens from now on is known.
    let mqtt = store.outboxes().get(&destination("mqtt")).expect("outbox");
    let items = mqtt.items(10).await.expect("items");
    let mut seqs = items.iter().filter(|item| item.event == Some(dropped.id)).map(|item| item.seq);
    let state = |event: &Event| said(&store, event)[0].1;
    assert!(mqtt.drop_item(seqs.next().expect("the start")).await.expect("drop"));
    assert_eq!(state(&dropped), Waiting, "its end");
    assert!(mqtt.drop_item(seqs.next().expect("the end")).await.expect("drop"));
    for lease in mqtt.lease(1).await.expect("lease") {
        mqtt.ack(&lease).await.expect("ack");
    }
    assert_eq!((state(&dropped), state(&queued)), (Dropped, Waiting));
    for lease in mqtt.lease(1).await.expect("lease") {
        mqtt.ack(&lease).await.expect("ack");
    }
    assert_eq!((state(&queued), said(&store, &reported).len()), (Delivered, 2));
}

#[test]
fn what_is_known_of_alerts_goes_with_the_event_and_the_marks_of_many_files_stay_small() {
    let bench = Bench::new();
    let store = open(&bench, 3);
    let mut known = Known::new(bench.event("yard"));
    known.event.pictures =
        (0..60).map(|n| MediaFile { file: format!("{n:0>60}.jpg"), ..known.files[1].clone() }).collect();
    let files = known.event.media().map(|media| upload(&media.file, media.bytes, &media.sha256));
    let all = files.chain([known.item(0), known.item(ALERT)]).collect();
    store.events().record(change(&known.event, all)).expect("record");
    let held = store.assets().files_of(known.event.id).expect("read");
    let pictures: Vec<HeldFile> = held.into_iter().filter(|held| held.media.file != "event.json").collect();
    store.assets().condemn(&pictures, EvictReason::Age).expect("condemn");
    store.assets().gone(&pictures).expect("gone");
    let rows = |store: &Store| {
        let sizes = |db: &trees::Database| {
            let files = db.files.iter().map(|entry| entry.expect("read").1.len()).collect::<Vec<_>>();
            Ok((files, db.alerts.iter().count()))
        };
        store.0.read(sizes).expect("read")
    };
    let (files, alerts) = rows(&store);
    assert!(files.len() == 1 && files[0] < 3000 && alerts == 1, "{files:?} {alerts}");
    store.assets().forget(vec![(known.event.id, None)]).expect("forget");
    assert_eq!(rows(&store).1, 0);
}
