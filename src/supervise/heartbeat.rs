//! Signs of life: every long-lived part beats, and who stopped beating is known by name.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::clock::{Clock, Mono};

/// How often a wait shows that it goes on.
const BEAT_EVERY: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(5) };

#[derive(Debug)]
struct Pulse {
    name: String,
    deadline: Duration,
    critical: AtomicBool,
    retired: AtomicBool,
    last: AtomicU64,
}

/// The hand that a part beats with. Dropping it takes the part off the list.
#[derive(Clone, Debug)]
pub struct Heart {
    pulse: Arc<Pulse>,
    clock: Arc<dyn Clock>,
}

impl Heart {
    /// One that nobody listens to: for a part that is only checked, or run by itself.
    pub fn unheard(clock: Arc<dyn Clock>) -> Self {
        Heartbeats::new(clock).register("", Duration::MAX, false)
    }

    /// "I am alive, and got further."
    pub fn beat(&self) {
        self.pulse.last.store(self.clock.mono().0, Ordering::Relaxed);
    }

    /// Time since the last beat.
    pub fn silent_for(&self) -> Duration {
        self.clock.mono().since(Mono(self.pulse.last.load(Ordering::Relaxed)))
    }

    /// Whether it missed its deadline.
    pub fn is_late(&self) -> bool {
        self.silent_for() > self.pulse.deadline && !self.pulse.retired.load(Ordering::Relaxed)
    }

    /// From now on the whole daemon is useless without this part.
    pub fn make_critical(&self) {
        self.pulse.critical.store(true, Ordering::Relaxed);
    }

    /// Takes the part off the list, whoever else still has a hand on this heart.
    pub fn retire(&self) {
        self.pulse.retired.store(true, Ordering::Relaxed);
    }

    /// Beats for as long as `wait` goes on. For waits with a limit of their own, and for those that may last:
    /// only what nothing else bounds should be silent.
    pub async fn beating<F: Future>(&self, wait: F) -> F::Output {
        let mut wait = pin!(wait);
        loop {
            self.beat();
            tokio::select! {
                outcome = &mut wait => {
                    self.beat();
                    return outcome;
                }
                () = tokio::time::sleep(BEAT_EVERY) => {}
            }
        }
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
        let (last, critical) = (AtomicU64::new(self.clock.mono().0), AtomicBool::new(critical));
        let pulse = Arc::new(Pulse { name: name.into(), deadline, critical, retired: AtomicBool::new(false), last });
        let mut pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        pulses.retain(|p| p.strong_count() > 0);
        pulses.push(Arc::downgrade(&pulse));
        Heart { pulse, clock: self.clock.clone() }
    }

    /// Everybody who is late, at this moment.
    pub fn stalled(&self) -> Vec<Stalled> {
        let pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        let hearts = pulses.iter().filter_map(Weak::upgrade).map(|pulse| Heart { pulse, clock: self.clock.clone() });
        let stalled = |heart: Heart| Stalled {
            name: heart.pulse.name.clone(),
            silent_for: heart.silent_for(),
            critical: heart.pulse.critical.load(Ordering::Relaxed),
        };
        hearts.filter(Heart::is_late).map(stalled).collect()
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

    #[tokio::test]
    async fn a_wait_beats_for_as_long_as_it_goes_on() {
        let clock = Arc::new(SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH));
        let hearts = Heartbeats::new(clock.clone());
        let outlet = hearts.register("outlet", Duration::from_secs(10), false);
        let wait = outlet.beating(async {
            for _ in 0..3 {
                clock.advance(Duration::from_secs(11));
                assert!(outlet.is_late());
                while outlet.is_late() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        });
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it beats");
        clock.advance(Duration::from_secs(11));
        assert_eq!(hearts.stalled().len(), 1, "and no longer");
        outlet.retire();
        assert_eq!(hearts.stalled(), vec![]);
    }
}
