//! What stages and governor exchange.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use super::LoadLevel;

/// The longest wait since it was last asked for.
#[derive(Clone, Debug, Default)]
pub struct Wait(Arc<AtomicU64>);

impl Wait {
    /// Something had to wait for so long.
    pub fn note(&self, wait: Duration) {
        self.0.fetch_max(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn take(&self) -> Duration {
        Duration::from_nanos(self.0.swap(0, Ordering::Relaxed))
    }
}

/// What stages and governor exchange. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Pressure {
    /// How long packets wait for the recorder.
    pub disk: Wait,
    /// How long packets wait for the decoder.
    pub decoder: Wait,
    level: Arc<AtomicU8>,
}

impl Pressure {
    /// The level in force.
    pub fn level(&self) -> LoadLevel {
        LoadLevel::of(self.level.load(Ordering::Relaxed))
    }

    /// Puts a level in force.
    pub fn set_level(&self, level: LoadLevel) {
        self.level.store(level.number(), Ordering::Relaxed);
    }

    /// The waits since the last call.
    pub fn take_waits(&self) -> (Duration, Duration) {
        (self.disk.take(), self.decoder.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wait_is_reported_once() {
        let pressure = Pressure::default();
        pressure.disk.note(Duration::from_secs(2));
        pressure.disk.note(Duration::from_secs(1));
        assert_eq!(pressure.take_waits(), (Duration::from_secs(2), Duration::ZERO));
        assert_eq!(pressure.take_waits(), (Duration::ZERO, Duration::ZERO));
        pressure.set_level(LoadLevel::MotionOnly);
        assert_eq!(pressure.clone().level(), LoadLevel::MotionOnly);
    }
}
