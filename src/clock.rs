//! Time, honestly: a clock that never runs backwards for order, wall time with its trust for people.
//!
//! Boxes boot without a clock, so nothing is ever ordered or identified by wall time. Everything the
//! pipeline computes with is a [`Mono`]; wall time is attached once, together with a [`TimeQuality`].

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// An instant on the boot clock (`CLOCK_BOOTTIME`), in nanoseconds since boot.
///
/// It goes on counting while the box sleeps and never steps, but means nothing after a reboot:
/// store it together with [`Clock::boot_id`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mono(pub u64);

impl Mono {
    /// Time since `earlier`; zero when `earlier` is later.
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Seconds since boot, for logs and arithmetic that does not need nanoseconds.
    pub fn as_secs_f64(self) -> f64 {
        Duration::from_nanos(self.0).as_secs_f64()
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;
    fn add(self, rhs: Duration) -> Mono {
        Mono(self.0.saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Mono {
    type Output = Mono;
    /// Saturates at boot.
    fn sub(self, rhs: Duration) -> Mono {
        Mono(self.0.saturating_sub(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// How far a wall-clock time can be trusted; the best is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeQuality {
    /// The kernel says that the clock is disciplined (NTP, PTP, GPS).
    Synchronised,
    /// Plausible, but not synchronised.
    Unsynchronised,
    /// Before this software was made: the box booted without a clock.
    Implausible,
}

impl fmt::Display for TimeQuality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Synchronised => "synchronised",
            Self::Unsynchronised => "unsynchronised",
            Self::Implausible => "implausible",
        })
    }
}

/// One instant as it is written into sidecars and alerts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Wall time, RFC 3339, UTC.
    pub wall: Timestamp,
    /// Nanoseconds since boot `boot_id`.
    pub mono_ns: u64,
    /// The boot that `mono_ns` counts from.
    pub boot_id: Arc<str>,
    /// Trust in `wall`.
    pub time_quality: TimeQuality,
}

impl Moment {
    /// The boot-clock part.
    pub fn mono(&self) -> Mono {
        Mono(self.mono_ns)
    }
}

/// A source of time. Components take it as `Arc<dyn Clock>`, so tests drive time by hand.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Now, on the clock that never runs backwards.
    fn mono(&self) -> Mono;
    /// Now, on the wall.
    fn wall(&self) -> Timestamp;
    /// Trust in [`Clock::wall`].
    fn quality(&self) -> TimeQuality;
    /// Identity of this boot.
    fn boot_id(&self) -> Arc<str>;

    /// The boot-clock instant `at` with the wall time that it has by today's knowledge.
    fn moment(&self, at: Mono) -> Moment {
        let (mono, wall) = (self.mono(), self.wall());
        let offset_ns = i128::from(at.0) - i128::from(mono.0);
        let nanos = wall.as_nanosecond().saturating_add(offset_ns);
        Moment {
            wall: Timestamp::from_nanosecond(nanos).unwrap_or(wall),
            mono_ns: at.0,
            boot_id: self.boot_id(),
            time_quality: self.quality(),
        }
    }

    /// Now, as it is written down.
    fn now(&self) -> Moment {
        self.moment(self.mono())
    }
}

/// Before this instant no Outpost existed: a clock that shows less was never set. 2026-01-01T00:00:00Z, in seconds.
pub const EARLIEST_PLAUSIBLE_S: i64 = 1_767_225_600;

/// The box's own clocks.
#[derive(Debug)]
pub struct SystemClock {
    boot_id: Arc<str>,
}

impl SystemClock {
    /// Reads the boot id; a kernel without one gets a fresh random id, which is as good for distinguishing boots.
    pub fn new() -> Self {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|id| id.trim().to_owned())
            .unwrap_or_else(|_| format!("{:032x}", fastrand::u128(..)));
        Self { boot_id: boot_id.into() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn mono(&self) -> Mono {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let secs = u64::try_from(t.tv_sec).unwrap_or_default();
        Mono(secs * 1_000_000_000 + u64::try_from(t.tv_nsec).unwrap_or_default())
    }

    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    fn quality(&self) -> TimeQuality {
        if self.wall().as_second() < EARLIEST_PLAUSIBLE_S {
            TimeQuality::Implausible
        } else if kernel_clock_is_synchronised() {
            TimeQuality::Synchronised
        } else {
            TimeQuality::Unsynchronised
        }
    }

    fn boot_id(&self) -> Arc<str> {
        self.boot_id.clone()
    }
}

/// Asks the kernel (adjtimex) whether the clock is disciplined.
#[allow(unsafe_code)]
fn kernel_clock_is_synchronised() -> bool {
    // SAFETY: timex is plain old data; modes = 0 makes adjtimex read only and write into our own struct.
    let (state, status) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&mut timex), timex.status)
    };
    state >= 0 && state != libc::TIME_ERROR && status & libc::STA_UNSYNC == 0
}

/// A clock that moves only when advanced.
#[derive(Debug)]
pub struct SimulatedClock {
    state: Mutex<(Mono, Timestamp, TimeQuality)>,
    boots: AtomicU32,
}

impl SimulatedClock {
    /// Starts at `mono` since boot and `wall`, synchronised.
    pub fn new(mono: Mono, wall: Timestamp) -> Self {
        Self { state: Mutex::new((mono, wall, TimeQuality::Synchronised)), boots: AtomicU32::new(0) }
    }

    /// Lets both clocks run for `by`.
    pub fn advance(&self, by: Duration) {
        let mut state = self.state.lock();
        state.0 = state.0 + by;
        state.1 += by;
    }

    /// Steps the wall clock only, as NTP or a person does.
    pub fn step_wall(&self, to: Timestamp, quality: TimeQuality) {
        let mut state = self.state.lock();
        state.1 = to;
        state.2 = quality;
    }

    /// Another boot, which begins with the wall clock at `wall`, not synchronised.
    pub fn reboot(&self, wall: Timestamp) {
        *self.state.lock() = (Mono(0), wall, TimeQuality::Unsynchronised);
        self.boots.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> (Mono, Timestamp, TimeQuality) {
        *self.state.lock()
    }
}

impl Clock for SimulatedClock {
    fn mono(&self) -> Mono {
        self.read().0
    }
    fn wall(&self) -> Timestamp {
        self.read().1
    }
    fn quality(&self) -> TimeQuality {
        self.read().2
    }
    fn boot_id(&self) -> Arc<str> {
        match self.boots.load(Ordering::Relaxed) {
            0 => "simulated-boot".into(),
            n => format!("simulated-boot-{n}").into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_in_the_past_gets_the_wall_time_it_had() {
        let clock = SimulatedClock::new(Mono(50_000_000_000), Timestamp::UNIX_EPOCH + Duration::from_secs(1000));
        let moment = clock.moment(Mono(48_500_000_000));
        assert_eq!(moment.wall.as_millisecond(), 998_500);
        assert_eq!(moment.mono(), Mono(48_500_000_000));
    }

    #[test]
    fn a_wall_step_moves_wall_time_and_leaves_the_boot_clock() {
        let clock = SimulatedClock::new(Mono(7), Timestamp::UNIX_EPOCH);
        clock.step_wall(Timestamp::UNIX_EPOCH + Duration::from_secs(86_400), TimeQuality::Synchronised);
        assert_eq!(clock.mono(), Mono(7));
        assert_eq!(clock.wall().as_second(), 86_400);
    }

    #[test]
    fn the_system_boot_clock_moves_forward_and_knows_its_boot() {
        let clock = SystemClock::new();
        let first = clock.mono();
        assert!(clock.mono() >= first);
        assert!(!clock.boot_id().is_empty());
    }
}
