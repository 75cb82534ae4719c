//! The plan against a plain account of what it promises.

use std::collections::BTreeMap;

use proptest::prelude::*;

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
