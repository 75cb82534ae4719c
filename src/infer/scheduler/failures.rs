//! Which failures the log gets: one line a minute for each source.

use std::collections::BTreeMap;
use std::time::Duration;

use super::schedule::SourceId;
use crate::clock::Mono;

/// Between two log lines about one source.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Failures since the last line, and when that was.
#[derive(Debug, Default)]
pub(super) struct FailureLog(BTreeMap<SourceId, (u64, Option<Mono>)>);

impl FailureLog {
    /// Counts one. Gives the number since the last line when it is time for the next.
    pub(super) fn count(&mut self, source: SourceId, now: Mono) -> Option<u64> {
        let (failures, logged_at) = self.0.entry(source).or_default();
        *failures += 1;
        if logged_at.is_some_and(|logged_at| now.since(logged_at) < LOG_EVERY) {
            return None;
        }
        *logged_at = Some(now);
        Some(std::mem::take(failures))
    }

    pub(super) fn forget(&mut self, source: SourceId) {
        self.0.remove(&source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_logged_once_a_minute_with_the_number_of_failures() {
        let (mut log, yard, gate) = (FailureLog::default(), SourceId::Slot(1), SourceId::Slot(2));
        let second = |s: u64| Mono(s * 1_000_000_000);
        assert_eq!(log.count(yard, second(100)), Some(1));
        assert_eq!(log.count(yard, second(101)), None);
        assert_eq!(log.count(gate, second(101)), Some(1), "another camera has lines of its own");
        assert_eq!(log.count(yard, second(159)), None);
        assert_eq!(log.count(yard, second(160)), Some(3));
    }
}
