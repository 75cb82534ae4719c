//! How long to wait before the next try.

use std::time::Duration;

/// A ladder of growing pauses with jitter. A run that was stable for long enough starts it again at the bottom.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    stable_after: Duration,
    step: u32,
}

impl Backoff {
    /// Pauses double from `min` to `max`; a run of at least `stable_after` resets them.
    pub fn new(min: Duration, max: Duration, stable_after: Duration) -> Self {
        Self { min, max, stable_after, step: 0 }
    }

    /// For cameras and connections: 1 s to 60 s, reset after 60 s of stable running.
    pub fn for_connections() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(60), Duration::from_secs(60))
    }

    /// The pause after a run that lasted `ran_for`: between half and the whole of the present step, so that
    /// a site full of boxes does not knock in step after a power cut.
    pub fn next_pause(&mut self, ran_for: Duration) -> Duration {
        if ran_for >= self.stable_after {
            self.step = 0;
        }
        let full = self.min.saturating_mul(1u32.checked_shl(self.step).unwrap_or(u32::MAX)).min(self.max);
        if full < self.max {
            self.step += 1;
        }
        full.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Back to the first step.
    pub fn reset(&mut self) {
        self.step = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_climb_to_the_top_stay_there_and_start_again_after_a_stable_run() {
        let mut backoff = Backoff::for_connections();
        for full in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            let pause = backoff.next_pause(Duration::from_secs(3)).as_secs_f64();
            assert!((f64::from(full) / 2.0..=f64::from(full)).contains(&pause), "{pause} is not within {full}");
        }
        assert!(backoff.next_pause(Duration::from_secs(61)) <= Duration::from_secs(1));
    }

    #[test]
    fn a_hundred_thousand_failures_do_not_overflow() {
        let mut backoff = Backoff::for_connections();
        for _ in 0..100_000 {
            assert!(backoff.next_pause(Duration::ZERO) <= Duration::from_secs(60));
        }
    }
}
