//! How old an alert is, and whether that is too old to be published by itself.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Moment, TimeQuality};

use super::{Item, RuleAges};

/// An alert that waited for longer than this is marked as late.
const LATE_AFTER: Duration = Duration::from_secs(10);

/// What an outlet lets alerts grow to before it publishes them in a digest.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// For every rule without an age of its own; zero: no limit.
    pub max_age: Duration,
    pub rules: Arc<RuleAges>,
}

impl Limits {
    /// Whether `item` is too old at `now` to be published by itself.
    pub(super) fn is_overdue(&self, item: &Item, now: &Moment) -> bool {
        let rule = (item.event.camera.clone(), item.event.rule.clone());
        let limit = self.rules.get(&rule).copied().unwrap_or(self.max_age);
        !limit.is_zero() && age(&item.created, now).is_none_or(|age| age > limit)
    }
}

/// How long ago `created` was, by the boot clock where it can. `None`: unknown, since the box was
/// started meanwhile and one of the two times is no time.
fn age(created: &Moment, now: &Moment) -> Option<Duration> {
    if created.boot_id == now.boot_id {
        return Some(now.mono().since(created.mono()));
    }
    let believed = |moment: &Moment| moment.time_quality != TimeQuality::Implausible;
    let passed = now.wall.duration_since(created.wall);
    (believed(created) && believed(now)).then(|| Duration::try_from(passed).unwrap_or_default())
}

/// Whether the alert waited for the link. One from before the last boot is late by nature.
pub(super) fn is_late(created: &Moment, now: &Moment) -> bool {
    created.boot_id != now.boot_id || now.mono().since(created.mono()) > LATE_AFTER
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::clock::{Clock, Mono, SimulatedClock};
    use crate::event::Phase;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn the_boot_clock_decides_within_a_boot_and_the_wall_between_boots() {
        let start: jiff::Timestamp = "2026-11-22T06:00:00Z".parse().expect("a time");
        let clock = SimulatedClock::new(Mono(0), start);
        let item = fixture::item(&clock, 1, Phase::Start);
        let limits = Limits { max_age: HOUR, rules: Arc::default() };
        clock.advance(HOUR);
        assert!(!limits.is_overdue(&item, &clock.now()));
        // A clock that jumps makes nothing older.
        clock.step_wall(start + jiff::SignedDuration::from_hours(90), TimeQuality::Synchronised);
        assert!(!limits.is_overdue(&item, &clock.now()));
        clock.advance(Duration::from_secs(1));
        assert!(limits.is_overdue(&item, &clock.now()));

        let short = fixture::item(&clock, 2, Phase::Start);
        clock.reboot(clock.wall() + jiff::SignedDuration::from_mins(59));
        clock.step_wall(clock.wall(), TimeQuality::Synchronised);
        assert!(!limits.is_overdue(&short, &clock.now()), "59 minutes between boots, by the wall");
        clock.step_wall(clock.wall() + jiff::SignedDuration::from_mins(2), TimeQuality::Synchronised);
        assert!(limits.is_overdue(&short, &clock.now()));
    }

    #[test]
    fn an_unknown_age_is_too_old_and_a_rule_may_have_its_own() {
        let clock = SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH);
        let item = fixture::item(&clock, 1, Phase::Start);
        let limits = |max_age| Limits { max_age, rules: Arc::default() };
        let earlier = Item { created: Moment { boot_id: "an-earlier-boot".into(), ..clock.now() }, ..item.clone() };
        clock.step_wall(jiff::Timestamp::UNIX_EPOCH, TimeQuality::Implausible);
        assert!(limits(HOUR).is_overdue(&earlier, &clock.now()));
        assert!(!limits(Duration::ZERO).is_overdue(&earlier, &clock.now()), "zero is no limit");
        let own = [((item.event.camera.clone(), item.event.rule.clone()), Duration::from_secs(60))];
        let own = Limits { max_age: HOUR, rules: Arc::new(own.into()) };
        clock.advance(Duration::from_secs(61));
        assert!(own.is_overdue(&item, &clock.now()) && !limits(HOUR).is_overdue(&item, &clock.now()));
    }
}
