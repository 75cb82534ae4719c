//! How much is recorded, measured by what the box holds and what was deleted of that.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::clock::Mono;
use crate::health::Pace;
use crate::store::Class;

/// The time that is looked back.
const SPAN: Duration = Duration::from_secs(24 * 3600);
/// Between two marks.
const STEP: Duration = Duration::from_secs(600);

type Bytes = BTreeMap<Class, u64>;

/// Measures how much is recorded. What people delete counts as if it had not been recorded.
#[derive(Debug, Default)]
pub(super) struct PaceMeter {
    held: Option<Bytes>,
    /// Deleted since `held`.
    deleted: Bytes,
    /// Recorded since the beginning.
    written: Bytes,
    marks: VecDeque<(Mono, Bytes)>,
}

impl PaceMeter {
    /// Files of `class` were deleted to make room.
    pub(super) fn deleted(&mut self, class: Class, bytes: u64) {
        *self.deleted.entry(class).or_default() += bytes;
    }

    /// What the box holds at `now`.
    pub(super) fn note(&mut self, now: Mono, held: Bytes) {
        let before = self.held.replace(held.clone());
        let deleted = std::mem::take(&mut self.deleted);
        if let Some(before) = before {
            for class in Class::ALL {
                let of = |bytes: &Bytes| bytes.get(&class).copied().unwrap_or_default();
                let more = of(&held).saturating_add(of(&deleted)).saturating_sub(of(&before));
                *self.written.entry(class).or_default() += more;
            }
        }
        if self.marks.back().is_none_or(|(last, _)| now.since(*last) >= STEP) {
            self.marks.push_back((now, self.written.clone()));
        }
        // The first mark is as old as the span, or younger where there is none.
        while self.marks.get(1).is_some_and(|(at, _)| now.since(*at) >= SPAN) {
            self.marks.pop_front();
        }
    }

    /// Begins again: what the box holds is another thing now.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// What was recorded in the time that is looked back, until `now`.
    pub(super) fn pace(&self, now: Mono) -> Pace {
        let Some((since, before)) = self.marks.front() else { return Pace::default() };
        let written = self.written.iter().map(|(class, bytes)| {
            (class.as_str(), bytes.saturating_sub(before.get(class).copied().unwrap_or_default()))
        });
        Pace { over: now.since(*since), written: written.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn clips(bytes: u64) -> Bytes {
        BTreeMap::from([(Class::Clips, bytes)])
    }

    #[test]
    fn what_is_recorded_counts_although_as_much_is_deleted() {
        let (mut meter, mut now) = (PaceMeter::default(), Mono::default());
        assert_eq!(meter.pace(now), Pace::default());
        meter.note(now, clips(1000));
        for _ in 0..6 {
            now = now + HOUR;
            meter.deleted(Class::Clips, 50);
            meter.note(now, clips(1000));
        }
        let pace = meter.pace(now);
        assert_eq!((pace.over, pace.written["clips"], pace.written["continuous"]), (6 * HOUR, 300, 0));
        // What a person deletes is no recording that is undone.
        meter.note(now, clips(400));
        assert_eq!(meter.pace(now).written["clips"], 300);
        meter.reset();
        assert_eq!(meter.pace(now), Pace::default());
    }

    #[test]
    fn a_day_is_looked_back_and_no_more() {
        let (mut meter, mut now) = (PaceMeter::default(), Mono::default());
        for hour in 0..100 {
            meter.note(now, clips(hour * if hour < 70 { 1000 } else { 1 }));
            now = now + HOUR;
        }
        let pace = meter.pace(now);
        assert!((24 * HOUR..=26 * HOUR).contains(&pace.over), "{pace:?}");
        assert!(pace.written["clips"] <= 26 && meter.marks.len() <= 26, "{pace:?}");
    }
}
