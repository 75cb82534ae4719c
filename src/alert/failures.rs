//! Counts the failures of one message, to distinguish a receiver that fails at it alone from one that takes nothing.
//!
//! A refusal, an error of the server or a connection that is closed rarely say which of the two it is. While nothing else
//! is taken, the receiver counts as down and everything waits. A message that fails again and again, with others taken
//! in between, is the cause itself. The outlets differ in how often and for how long that has to be, and in what they
//! count as others: see [`Rule`].

use std::time::Duration;

use tokio::time::Instant;

/// From when on a message, or a topic, counts as the cause of its failures. All have to hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// Failures.
    pub failures: u32,
    /// Failures with others taken since the one before.
    pub among_successes: u32,
    /// Time since the first failure.
    pub lasting: Duration,
}

/// What is the cause of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Not known: nothing else was taken since the failure before, so that the receiver may take nothing at all.
    Unclear,
    /// Most likely the message: the receiver took others since the failure before. It is tried again.
    LikelyMessage,
    /// The message, by the rule.
    Message,
}

/// The failures of one message, or of one topic, since it last succeeded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failures {
    since: Instant,
    count: u32,
    among_successes: u32,
    /// What the receiver had taken at the last failure.
    taken: u64,
}

impl Failures {
    /// None so far. The receiver had `taken` so many others by then; what it takes from then on counts.
    pub(super) fn none(taken: u64, now: Instant) -> Self {
        Self { since: now, count: 0, among_successes: 0, taken }
    }

    /// Counts one at `now`, when the receiver had `taken` so many others.
    pub(super) fn add(&mut self, taken: u64, now: Instant, rule: Rule) -> Cause {
        let others_taken = taken > self.taken;
        (self.count, self.taken) = (self.count.saturating_add(1), taken);
        self.among_successes = self.among_successes.saturating_add(u32::from(others_taken));
        let is_message = self.count >= rule.failures
            && self.among_successes >= rule.among_successes
            && self.lasted(now) >= rule.lasting;
        match () {
            () if is_message => Cause::Message,
            () if others_taken => Cause::LikelyMessage,
            () => Cause::Unclear,
        }
    }

    /// How many there were.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Time since the first.
    pub(super) fn lasted(&self, now: Instant) -> Duration {
        now.duration_since(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule { failures: 4, among_successes: 2, lasting: Duration::from_secs(300) };

    /// Causes of `tries` failures at `at`, of each with the others taken that `taken` gives.
    fn causes(failures: &mut Failures, taken: &mut dyn FnMut() -> u64, tries: u32, at: Instant) -> Vec<Cause> {
        (0..tries).map(|_| failures.add(taken(), at, RULE)).collect()
    }

    #[test]
    fn a_receiver_that_takes_nothing_else_is_down_however_long_that_lasts() {
        let start = Instant::now();
        let mut failures = Failures::none(7, start);
        let down = causes(&mut failures, &mut || 7, 100, start + 10 * RULE.lasting);
        assert!(down.iter().all(|cause| *cause == Cause::Unclear), "{down:?}");
        assert_eq!((failures.count(), failures.lasted(start + RULE.lasting)), (100, RULE.lasting));
    }

    #[test]
    fn a_message_is_the_cause_once_others_were_taken_between_its_failures_often_enough_and_for_long_enough() {
        let start = Instant::now();
        let (mut failures, mut taken) = (Failures::none(0, start), 0);
        let mut others = || {
            taken += 1;
            taken
        };
        let early = causes(&mut failures, &mut others, 20, start + RULE.lasting / 2);
        assert!(early.iter().all(|cause| *cause == Cause::LikelyMessage), "{early:?}");
        assert_eq!(causes(&mut failures, &mut others, 1, start + RULE.lasting), [Cause::Message]);
        // It is, whether others were taken just now or not.
        assert_eq!(causes(&mut failures, &mut || 0, 1, start + RULE.lasting), [Cause::Message]);
    }

    #[test]
    fn too_few_failures_say_nothing() {
        let start = Instant::now();
        let (mut failures, late) = (Failures::none(0, start), start + RULE.lasting);
        let causes: Vec<Cause> = [1, 2, 2, 2].into_iter().map(|taken| failures.add(taken, late, RULE)).collect();
        assert_eq!(causes, [Cause::LikelyMessage, Cause::LikelyMessage, Cause::Unclear, Cause::Message]);
    }
}
