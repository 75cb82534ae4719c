//! Finds an alert that the receiver fails at while it takes others.
//!
//! An answer of 5xx says nothing of whose fault it is. An alert is to blame when it failed again and again over some
//! time, and the receiver took something else between every two of these tries. While nothing else is taken, it is the
//! receiver that is down, and everything waits.

use std::time::Duration;

use tokio::time::Instant;

/// Failures with something else taken since the one before, after which an alert is put aside.
const STRIKES: u32 = 5;

/// Failures in a row after which the next alert of the same camera is tried, where no other camera's was taken for a
/// fifth of the time.
const PROBES_AFTER: u32 = 5;

/// For how long an alert has to fail before it is put aside.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);

/// The failures of the first alert of a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct Blame {
    seq: u64,
    since: Instant,
    failures: u32,
    strikes: u32,
    /// What the receiver had taken at the last failure.
    taken: u64,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is tried again.
    Again,
    /// It is tried again, and the next of its lane is sent at once to see whether the receiver takes anything.
    Probe,
    /// It is to blame.
    Guilty,
}

impl Blame {
    /// Nothing failed yet of the alert or digest that begins with `seq`; the receiver has taken `taken` so far.
    pub(super) fn new(seq: u64, taken: u64, now: Instant) -> Self {
        Self { seq, since: now, failures: 0, strikes: 0, taken }
    }

    /// The alert that is judged.
    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    /// It failed at `now`, when the receiver had taken `taken` others. `patience`: for how long it has to fail.
    pub(super) fn failed(&mut self, taken: u64, now: Instant, patience: Duration) -> Verdict {
        let others_passed = self.failures > 0 && taken > self.taken;
        (self.failures, self.taken) = (self.failures.saturating_add(1), taken);
        self.strikes += u32::from(others_passed);
        let lasted = now.duration_since(self.since);
        match () {
            () if self.strikes >= STRIKES && lasted >= patience => Verdict::Guilty,
            () if self.failures > PROBES_AFTER && !others_passed && lasted >= patience / 5 => Verdict::Probe,
            () => Verdict::Again,
        }
    }

    /// In words for the operator.
    pub(super) fn reason(&self, reason: &str) -> String {
        format!("{reason}, {} times, and took other alerts between them", self.failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_to_blame_only_where_others_are_taken_between_its_tries_and_for_long_enough() {
        let start = Instant::now();
        let mut blame = Blame::new(7, 0, start);
        let verdicts = |blame: &mut Blame, taken: &mut dyn FnMut() -> u64, tries: u32, at: Duration| {
            (0..tries).map(|_| blame.failed(taken(), start + at, PATIENCE)).collect::<Vec<_>>()
        };
        let down = verdicts(&mut blame, &mut || 0, 100, PATIENCE * 10);
        assert!(down[..5].iter().all(|verdict| *verdict == Verdict::Again), "{down:?}");
        assert!(down[5..].iter().all(|verdict| *verdict == Verdict::Probe), "{down:?}");

        let (mut blame, mut count) = (Blame::new(7, 0, start), 0);
        let mut others = || {
            count += 1;
            count
        };
        let early = verdicts(&mut blame, &mut others, 20, PATIENCE / 2);
        assert!(early.iter().all(|verdict| *verdict == Verdict::Again), "{early:?}");
        assert_eq!(verdicts(&mut blame, &mut others, 1, PATIENCE), [Verdict::Guilty]);
    }
}
