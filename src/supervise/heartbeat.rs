//! Signs of life: every long-lived part beats, and a part that stops is known by name.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Clock, Mono};

/// How often a wait shows that it goes on.
const BEAT_EVERY: Duration = if cfg!(test) { Duration::from_millis(20) } else { Duration::from_secs(5) };

#[derive(Debug)]
struct Registration {
    name: String,
    deadline: Duration,
    critical: AtomicBool,
    retired: AtomicBool,
    last: AtomicU64,
}

/// Heartbeat handle; dropping it unregisters the component.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    registration: Arc<Registration>,
    clock: Arc<dyn Clock>,
}

impl Heartbeat {
    /// A detached handle, for a part that is only checked, or run by itself.
    pub fn detached(clock: Arc<dyn Clock>) -> Self {
        Heartbeats::new(clock).register("", Duration::MAX, false)
    }

    /// Notes that the component made progress.
    pub fn beat(&self) {
        self.registration.last.store(self.clock.mono().0, Ordering::Relaxed);
    }

    /// Time since the last beat.
    pub fn silent_for(&self) -> Duration {
        self.clock.mono().since(Mono(self.registration.last.load(Ordering::Relaxed)))
    }

    /// Whether it missed its deadline.
    pub fn is_late(&self) -> bool {
        self.silent_for() > self.registration.deadline && !self.registration.retired.load(Ordering::Relaxed)
    }

    /// From now on the whole daemon is useless without this part.
    pub fn make_critical(&self) {
        self.registration.critical.store(true, Ordering::Relaxed);
    }

    /// Takes the part off the list, even while other handles exist.
    pub fn retire(&self) {
        self.registration.retired.store(true, Ordering::Relaxed);
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

/// A part, and when it was heard of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartLife {
    /// Its name.
    pub name: String,
    /// Time since its last beat.
    pub silent_for: Duration,
    /// Whether it missed its deadline.
    pub is_late: bool,
    /// Whether the whole daemon is useless without it.
    pub critical: bool,
}

/// All heartbeats.
#[derive(Clone, Debug)]
pub struct Heartbeats {
    clock: Arc<dyn Clock>,
    registrations: Arc<Mutex<Vec<Weak<Registration>>>>,
}

impl Heartbeats {
    /// An empty list.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, registrations: Arc::default() }
    }

    /// A heartbeat that is due at least every `deadline`. It counts as having beaten now.
    pub fn register(&self, name: impl Into<String>, deadline: Duration, critical: bool) -> Heartbeat {
        let (last, critical) = (AtomicU64::new(self.clock.mono().0), AtomicBool::new(critical));
        let registration =
            Arc::new(Registration { name: name.into(), deadline, critical, retired: AtomicBool::new(false), last });
        let mut registrations = self.registrations.lock();
        registrations.retain(|p| p.strong_count() > 0);
        registrations.push(Arc::downgrade(&registration));
        Heartbeat { registration, clock: self.clock.clone() }
    }

    /// A heartbeat that is never due and not on the list, for a part that has limits of its own.
    pub fn detached(&self) -> Heartbeat {
        Heartbeat::detached(self.clock.clone())
    }

    /// All parts that are to beat, at this moment.
    pub fn parts(&self) -> Vec<PartLife> {
        let registrations = self.registrations.lock();
        let known = registrations.iter().filter_map(Weak::upgrade);
        let known = known.filter(|part| !part.name.is_empty() && !part.retired.load(Ordering::Relaxed));
        let heartbeats = known.map(|registration| Heartbeat { registration, clock: self.clock.clone() });
        let life = |heartbeat: Heartbeat| PartLife {
            name: heartbeat.registration.name.clone(),
            silent_for: heartbeat.silent_for(),
            is_late: heartbeat.is_late(),
            critical: heartbeat.registration.critical.load(Ordering::Relaxed),
        };
        heartbeats.map(life).collect()
    }

    /// All parts that are late, at this moment.
    pub fn stalled(&self) -> Vec<Stalled> {
        let registrations = self.registrations.lock();
        let heartbeats = registrations
            .iter()
            .filter_map(Weak::upgrade)
            .map(|registration| Heartbeat { registration, clock: self.clock.clone() });
        let stalled = |heartbeat: Heartbeat| Stalled {
            name: heartbeat.registration.name.clone(),
            silent_for: heartbeat.silent_for(),
            critical: heartbeat.registration.critical.load(Ordering::Relaxed),
        };
        heartbeats.filter(Heartbeat::is_late).map(stalled).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SimulatedClock;

    #[test]
    fn a_silent_part_is_named_until_it_beats_or_leaves() {
        let clock = Arc::new(SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH));
        let heartbeats = Heartbeats::new(clock.clone());
        let store = heartbeats.register("store", Duration::from_secs(10), true);
        let camera = heartbeats.register("camera yard", Duration::from_secs(10), false);
        clock.advance(Duration::from_secs(11));
        camera.beat();
        let stalled = heartbeats.stalled();
        assert_eq!(stalled.len(), 1);
        let late: Vec<bool> = heartbeats.parts().iter().map(|part| part.is_late).collect();
        assert_eq!(late, [true, false]);
        assert_eq!((stalled[0].name.as_str(), stalled[0].critical), ("store", true));
        let replaced = heartbeats.register("store", Duration::from_secs(10), true);
        store.retire();
        assert_eq!(heartbeats.stalled(), vec![]);
        clock.advance(Duration::from_secs(5));
        camera.beat();
        drop(replaced);
        assert_eq!(heartbeats.stalled(), vec![]);
    }

    #[tokio::test]
    async fn a_wait_beats_for_as_long_as_it_goes_on() {
        let clock = Arc::new(SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH));
        let heartbeats = Heartbeats::new(clock.clone());
        let outlet = heartbeats.register("outlet", Duration::from_secs(10), false);
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
        assert_eq!(heartbeats.stalled().len(), 1, "and no longer");
        outlet.retire();
        assert_eq!(heartbeats.stalled(), vec![]);
    }
}
