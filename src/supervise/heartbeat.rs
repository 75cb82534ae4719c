//! Signs of life: every long-lived part beats, and who stopped beating is known by name.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::clock::{Clock, Mono};

#[derive(Debug)]
struct Pulse {
    name: String,
    deadline: Duration,
    critical: bool,
    last: AtomicU64,
    retired: AtomicBool,
}

/// The hand that a part beats with. Dropping it takes the part off the list.
#[derive(Clone, Debug)]
pub struct Heart {
    pulse: Arc<Pulse>,
    clock: Arc<dyn Clock>,
}

impl Heart {
    /// "I am alive, and got further."
    pub fn beat(&self) {
        self.pulse.last.store(self.clock.mono().0, Ordering::Relaxed);
    }

    /// Another has taken this part's place: that it is silent concerns nobody any more.
    pub fn retire(&self) {
        self.pulse.retired.store(true, Ordering::Relaxed);
    }
}

/// A part that missed its deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stalled {
    /// Its name.
    pub name: String,
    /// How long it has been silent.
    pub silent_for: Duration,
    /// Whether the whole daemon is useless without it.
    pub critical: bool,
}

/// All hearts.
#[derive(Clone, Debug)]
pub struct Heartbeats {
    clock: Arc<dyn Clock>,
    pulses: Arc<Mutex<Vec<Weak<Pulse>>>>,
}

impl Heartbeats {
    /// An empty list.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, pulses: Arc::default() }
    }

    /// A heart that must beat at least every `deadline`. It counts as having beaten now.
    pub fn register(&self, name: impl Into<String>, deadline: Duration, critical: bool) -> Heart {
        let last = AtomicU64::new(self.clock.mono().0);
        let pulse = Arc::new(Pulse { name: name.into(), deadline, critical, last, retired: AtomicBool::new(false) });
        let mut pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        pulses.retain(|p| p.strong_count() > 0);
        pulses.push(Arc::downgrade(&pulse));
        Heart { pulse, clock: self.clock.clone() }
    }

    /// Everybody who is late, at this moment.
    pub fn stalled(&self) -> Vec<Stalled> {
        let now = self.clock.mono();
        let pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        pulses
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|pulse| !pulse.retired.load(Ordering::Relaxed))
            .filter_map(|pulse| {
                let silent_for = now.since(Mono(pulse.last.load(Ordering::Relaxed)));
                (silent_for > pulse.deadline).then(|| Stalled {
                    name: pulse.name.clone(),
                    silent_for,
                    critical: pulse.critical,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SimulatedClock;

    #[test]
    fn a_silent_part_is_named_until_it_beats_or_leaves() {
        let clock = Arc::new(SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH));
        let hearts = Heartbeats::new(clock.clone());
        let store = hearts.register("store", Duration::from_secs(10), true);
        let camera = hearts.register("camera yard", Duration::from_secs(10), false);
        clock.advance(Duration::from_secs(11));
        camera.beat();
        let stalled = hearts.stalled();
        assert_eq!(stalled.len(), 1);
        assert_eq!((stalled[0].name.as_str(), stalled[0].critical), ("store", true));
        let replaced = hearts.register("store", Duration::from_secs(10), true);
        store.retire();
        assert_eq!(hearts.stalled(), vec![]);
        clock.advance(Duration::from_secs(5));
        camera.beat();
        drop(replaced);
        assert_eq!(hearts.stalled(), vec![]);
    }
}
