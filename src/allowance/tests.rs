//! Budgets against a plain account of what they promise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use tempfile::TempDir;

use super::{Budget, Limits, Share};
use crate::clock::{Clock, Mono, SimulatedClock, TimeQuality};

fn morning() -> Arc<SimulatedClock> {
    Arc::new(SimulatedClock::new(Mono(1), "2026-06-01T10:20:00Z".parse().expect("time")))
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Spend { is_important: bool, bytes: u64, sent_percent: u64 },
    Wait(u64),
    Restart,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        6 => (any::<bool>(), 0..400_000u64, 0..=100u64).prop_map(|(is_important, bytes, sent_percent)| Move::Spend { is_important, bytes, sent_percent }),
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
                Move::Spend { is_important, bytes, sent_percent } => {
                    let share = if is_important { Share::Important } else { Share::Rest };
                    if budget.spend(share, bytes).is_ok() {
                        let sent = bytes * sent_percent / 100;
                        budget.refund(bytes - sent);
                        let hour = clock.wall().as_second().div_euclid(3600);
                        let (all, large) = hours.entry(hour).or_default();
                        *all += sent;
                        if share == Share::Rest {
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
    assert_eq!(budget.allows(), Ok(Share::Rest));
    budget.spend(Share::Rest, 90_000).expect("there is enough");
    assert!(budget.spend(Share::Rest, 1).is_err());
    assert_eq!(budget.allows(), Ok(Share::Important));
    budget.spend(Share::Important, 10_000).expect("that was kept");
    let exhausted = budget.allows().expect_err("spent");
    assert_eq!(exhausted.to_string(), "the budget of this hour is spent (100000 bytes)");
    clock.advance(Duration::from_secs(40 * 60));
    assert_eq!(budget.allows(), Ok(Share::Rest));
}

#[test]
fn a_period_is_not_cut_short_by_the_time_before_its_first_use() {
    let clock = morning();
    let limits = Limits { hour: Some(100_000), ..Limits::default() };
    let mut budget = Budget::open(limits, None, clock.clone(), || TimeZone::UTC);
    clock.advance(Duration::from_secs(40 * 60));
    budget.spend(Share::Important, 100_000).expect("an hour begins");
    clock.advance(Duration::from_secs(20 * 60));
    assert!(budget.allows().is_err(), "it is not over");
    clock.advance(Duration::from_secs(40 * 60));
    assert_eq!(budget.allows(), Ok(Share::Rest));
}

#[test]
fn a_clock_that_is_set_back_makes_no_more_of_a_budget_and_one_that_was_ahead_ends_none_for_ever() {
    let clock = morning();
    let limits = Limits { hour: Some(100_000), ..Limits::default() };
    let mut budget = Budget::open(limits, None, clock.clone(), || TimeZone::UTC);
    budget.spend(Share::Important, 100_000).expect("there is enough");
    for wall in ["2026-06-01T09:30:00Z", "1970-01-01T00:00:00Z", "2026-06-01T10:20:00Z"] {
        let quality = if wall.starts_with("1970") { TimeQuality::Implausible } else { TimeQuality::Unsynchronised };
        clock.step_wall(wall.parse().expect("time"), quality);
        assert!(budget.allows().is_err(), "{wall}");
    }
    // A year ahead, spent there, and back: the next hour is the next hour.
    clock.step_wall("2027-06-01T10:20:00Z".parse().expect("time"), TimeQuality::Unsynchronised);
    budget.spend(Share::Important, 100_000).expect("another hour");
    clock.step_wall("2026-06-01T10:25:00Z".parse().expect("time"), TimeQuality::Synchronised);
    assert!(budget.allows().is_err());
    clock.advance(Duration::from_secs(36 * 60));
    assert_eq!(budget.allows(), Ok(Share::Rest));
}

#[test]
fn a_day_of_twenty_five_hours_has_one_budget() {
    let zone = || TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone");
    let midnight = "2026-10-24T22:00:00Z".parse().expect("time");
    let clock = Arc::new(SimulatedClock::new(Mono(1), midnight));
    let limits = Limits { day: Some(100_000), ..Limits::default() };
    let mut budget = Budget::open(limits, None, clock.clone(), zone);
    budget.spend(Share::Important, 100_000).expect("there is enough");
    clock.advance(Duration::from_secs(24 * 3600));
    assert!(budget.allows().is_err(), "it is 23:00 there");
    clock.advance(Duration::from_secs(3600));
    assert_eq!(budget.allows(), Ok(Share::Rest));
}

#[test]
fn a_clock_that_is_set_back_by_half_a_day_makes_no_second_budget_of_the_day() {
    let clock = morning();
    let limits = Limits { day: Some(100_000), ..Limits::default() };
    let mut budget = Budget::open(limits, None, clock.clone(), || TimeZone::UTC);
    budget.spend(Share::Important, 100_000).expect("there is enough");
    clock.step_wall("2026-05-31T22:20:00Z".parse().expect("time"), TimeQuality::Synchronised);
    clock.advance(Duration::from_secs(25 * 3600));
    assert!(budget.allows().is_err(), "it is 23:20 on the same day");
    clock.advance(Duration::from_secs(3600));
    assert_eq!(budget.allows(), Ok(Share::Rest));
}

#[test]
fn a_box_without_a_clock_begins_again_when_it_has_run_for_a_day() {
    let clock = morning();
    let limits = Limits { day: Some(100_000), ..Limits::default() };
    let mut budget = Budget::open(limits, None, clock.clone(), || TimeZone::UTC);
    budget.spend(Share::Important, 100_000).expect("there is enough");
    clock.step_wall("1970-01-01T00:00:00Z".parse().expect("time"), TimeQuality::Implausible);
    clock.advance(Duration::from_secs(24 * 3600));
    assert!(budget.allows().is_err(), "days may be longer");
    clock.advance(Duration::from_secs(3600));
    assert_eq!(budget.allows(), Ok(Share::Rest));
}
