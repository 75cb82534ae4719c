//! The plan and the budgets against a plain account of what they promise.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::super::budget::{Budget, Limits};
use super::super::plan::{Busy, Plan};
use super::*;
use crate::asset::MediaFile;
use crate::store::{Lane, Order};

/// What happens to a destination.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A file is recorded: event.json, snapshot.jpg, clip.mp4.
    Add(usize),
    /// The line has room for one more.
    Send,
}

const FILES: [(&str, Lane); 3] =
    [("event.json", Lane::Metadata), ("snapshot.jpg", Lane::Stills), ("clip.mp4", Lane::Clips)];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(prop_oneof![3 => (0..FILES.len()).prop_map(Step::Add), 2 => Just(Step::Send)], 1..80)
}

/// Items that wait: number in the outbox, lane, and the turn in which they were recorded.
type Waiting = BTreeMap<u64, Lane>;

/// Gives out one item as the plan wants it, and holds it to what it promises.
async fn send(
    bench: &Bench,
    plan: &mut Plan,
    waiting: &mut Waiting,
    held: &mut Vec<Lease>,
) -> Result<(), TestCaseError> {
    let turn = plan.next(Busy::default(), 1, Lane::Rest).expect("there is room");
    let mut leases = bench.outbox().pick(turn.wanted).await.expect("lease");
    let Some(lease) = leases.pop() else {
        prop_assert!(waiting.is_empty());
        return Ok(());
    };
    plan.took(turn);
    let lane = waiting.remove(&lease.seq).expect("it waits");
    match turn.wanted.order {
        Order::Age => prop_assert!(waiting.keys().all(|seq| *seq > lease.seq), "the oldest"),
        Order::Value => prop_assert!(
            waiting.iter().all(|(seq, other)| (*other, *seq) > (lane, *seq) || *other == lane && *seq < lease.seq),
            "the newest of the most urgent lane"
        ),
    }
    held.push(lease);
    Ok(())
}

async fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let bench = Bench::new();
    let (mut plan, mut waiting, mut held) = (Plan::default(), Waiting::new(), Vec::new());
    // For each that waits: how many older ones there were, and the turns since.
    let (mut turns, mut ages) = (0u64, BTreeMap::<u64, (u64, u64)>::new());
    for (n, step) in steps.into_iter().enumerate() {
        match step {
            Step::Add(index) => {
                let (file, lane) = FILES[index];
                let event = Event {
                    id: crate::event::EventId::from_bytes((n as u128 + 1).to_be_bytes()),
                    ..bench.event.clone()
                };
                let delivery = Delivery::Upload(MediaFile::new(file, 1, "aa"));
                bench.store().events().record(Change { event, deliveries: vec![delivery] }).expect("record");
                let seq = bench.outbox().items(1000).await.expect("items").iter().map(|item| item.seq).max();
                let seq = seq.expect("one waits");
                ages.insert(seq, (waiting.len() as u64, turns));
                waiting.insert(seq, lane);
            }
            Step::Send => {
                send(&bench, &mut plan, &mut waiting, &mut held).await?;
                turns += 1;
            }
        }
    }
    // However much is recorded, everything goes in the end, and no file waits for more than eight turns for each that
    // was there before.
    while !waiting.is_empty() {
        send(&bench, &mut plan, &mut waiting, &mut held).await?;
        turns += 1;
        for seq in waiting.keys() {
            let (older, since) = ages[seq];
            prop_assert!(turns - since <= 8 * (older + 1), "{seq} starves");
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_urgent_goes_first_and_nothing_starves(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(run(steps))?;
    }
}

#[test]
fn what_is_small_has_places_of_its_own() {
    let plan = Plan::default();
    let wanted =
        |express, bulk, places| plan.next(Busy { express, bulk }, places, Lane::Rest).map(|turn| turn.wanted.up_to);
    assert_eq!(wanted(0, 1, 2), Some(Lane::Rest));
    assert_eq!(wanted(0, 2, 2), Some(Lane::Stills), "all places have large files");
    assert_eq!(wanted(3, 2, 2), Some(Lane::Stills));
    assert_eq!(wanted(4, 2, 2), None);
    assert_eq!(wanted(2, 0, 2), Some(Lane::Stills));
    assert_eq!(wanted(4, 0, 2), None);
    // While there is doubt about the link.
    assert_eq!(wanted(0, 0, 1), Some(Lane::Rest));
    assert_eq!(wanted(0, 1, 1), Some(Lane::Stills));
    assert_eq!((wanted(1, 0, 1), wanted(1, 1, 1)), (None, None));
}

proptest! {
    /// However much that is small is new, a large file that waits gets its turn, and never more than the places.
    #[test]
    fn what_is_small_leaves_turns_to_what_is_large(ends in prop::collection::vec(any::<prop::sample::Index>(), 200..300)) {
        const PLACES: usize = 4;
        let (mut plan, mut busy, mut small, mut begun) = (Plan::default(), Busy::default(), 0, 0);
        for end in ends {
            while let Some(turn) = plan.next(busy, PLACES, Lane::Rest) {
                plan.took(turn);
                if turn.wanted.order == Order::Age {
                    busy.bulk += 1;
                    (small, begun) = (0, begun + 1);
                } else {
                    busy.express += 1;
                    small += 1;
                }
                prop_assert!(busy.bulk <= PLACES && busy.express <= 2 * PLACES, "{:?}", busy);
                prop_assert!(small < 8 || busy.bulk == PLACES, "{} small ones in a row", small);
            }
            // One of what is on its way arrives.
            if end.index(busy.express + busy.bulk) < busy.express {
                busy.express -= 1;
            } else {
                busy.bulk -= 1;
                small = 0;
            }
        }
        prop_assert!(begun >= 10, "{}", begun);
    }
}

fn morning() -> Arc<SimulatedClock> {
    Arc::new(SimulatedClock::new(Mono(1), "2026-06-01T10:20:00Z".parse().expect("time")))
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Spend { lane: usize, bytes: u64, sent_percent: u64 },
    Wait(u64),
    Restart,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        6 => (0..Lane::ALL.len(), 0..400_000u64, 0..=100u64).prop_map(|(lane, bytes, sent_percent)| Move::Spend { lane, bytes, sent_percent }),
        2 => (1..5_000u64).prop_map(Move::Wait),
        1 => Just(Move::Restart),
    ];
    prop::collection::vec(one, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever happens, restarts included, no hour and no day of the calendar sees more than its budget, and large
    /// files leave a tenth of it.
    #[test]
    fn no_budget_is_ever_exceeded(moves in moves()) {
        let dir = TempDir::new().expect("temp dir");
        let file = dir.path().join("state/cloud.spent.json");
        let clock = morning();
        let limits = Limits { hour: Some(1_000_000), day: Some(2_500_000), month: None };
        let open = || Budget::open(limits, Some(file.clone()), clock.clone(), || TimeZone::UTC);
        let mut budget = open();
        let (mut hours, mut days) = (BTreeMap::<i64, (u64, u64)>::new(), BTreeMap::<i64, u64>::new());
        for step in moves {
            match step {
                Move::Spend { lane, bytes, sent_percent } => {
                    let lane = Lane::ALL[lane];
                    if budget.spend(lane, bytes).is_ok() {
                        let sent = bytes * sent_percent / 100;
                        budget.refund(bytes - sent);
                        let hour = clock.wall().as_second().div_euclid(3600);
                        let (all, large) = hours.entry(hour).or_default();
                        *all += sent;
                        if lane > Lane::Stills {
                            *large += sent;
                        }
                        *days.entry(hour.div_euclid(24)).or_default() += sent;
                    }
                }
                Move::Wait(seconds) => clock.advance(Duration::from_secs(seconds)),
                Move::Restart => budget = open(),
            }
        }
        prop_assert!(hours.values().all(|(all, large)| *all <= 1_000_000 && *large <= 900_000), "{hours:?}");
        prop_assert!(days.values().all(|sent| *sent <= 2_500_000), "{days:?}");
    }
}

#[test]
fn a_budget_begins_again_with_its_period_and_keeps_some_for_what_matters() {
    let clock = morning();
    let limits = Limits { hour: Some(100_000), ..Limits::default() };
    let mut budget = Budget::open(limits, None, clock.clone(), || TimeZone::UTC);
    assert_eq!(budget.allows(), Ok(Lane::Rest));
    budget.spend(Lane::Clips, 90_000).expect("there is enough");
    assert!(budget.spend(Lane::Clips, 1).is_err());
    assert_eq!(budget.allows(), Ok(Lane::Stills));
    budget.spend(Lane::Metadata, 10_000).expect("that was kept");
    let exhausted = budget.allows().expect_err("spent");
    assert_eq!(exhausted.to_string(), "the budget of this hour is spent (100000 bytes)");
    clock.advance(Duration::from_secs(40 * 60));
    assert_eq!(budget.allows(), Ok(Lane::Rest));
}

#[test]
fn a_period_is_not_cut_short_by_the_time_before_its_first_use() {
    let clock = morning();
    let limits = Limits { hour: Some(100_000), ..Limits::default() };
    let mut budget = Budget::open(limits, None, clock.clone(), || TimeZone::UTC);
    clock.advance(Duration::from_secs(40 * 60));
    budget.spend(Lane::Metadata, 100_000).expect("an hour begins");
    clock.advance(Duration::from_secs(20 * 60));
    assert!(budget.allows().is_err(), "it is not over");
    clock.advance(Duration::from_secs(40 * 60));
    assert_eq!(budget.allows(), Ok(Lane::Rest));
}

#[test]
fn a_clock_that_is_set_back_makes_no_more_of_a_budget_and_one_that_was_ahead_ends_none_for_ever() {
    let clock = morning();
    let limits = Limits { hour: Some(100_000), ..Limits::default() };
    let mut budget = Budget::open(limits, None, clock.clone(), || TimeZone::UTC);
    budget.spend(Lane::Metadata, 100_000).expect("there is enough");
    for wall in ["2026-06-01T09:30:00Z", "1970-01-01T00:00:00Z", "2026-06-01T10:20:00Z"] {
        let quality = if wall.starts_with("1970") { TimeQuality::Implausible } else { TimeQuality::Unsynchronised };
        clock.step_wall(wall.parse().expect("time"), quality);
        assert!(budget.allows().is_err(), "{wall}");
    }
    // A year ahead, spent there, and back: the next hour is the next hour.
    clock.step_wall("2027-06-01T10:20:00Z".parse().expect("time"), TimeQuality::Unsynchronised);
    budget.spend(Lane::Metadata, 100_000).expect("another hour");
    clock.step_wall("2026-06-01T10:25:00Z".parse().expect("time"), TimeQuality::Synchronised);
    assert!(budget.allows().is_err());
    clock.advance(Duration::from_secs(36 * 60));
    assert_eq!(budget.allows(), Ok(Lane::Rest));
}
