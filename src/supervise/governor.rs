//! The overload ladder: what the box stops doing, in a stated order, when it has too much to do.
//!
//! One level at a time and only after a while, so that a burst changes nothing; back again only after a
//! longer while in which everything was well below its limit, so that the box does not swing. Recording is
//! not touched before the last level.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Mono;

/// Everything below this share of its limit counts as well.
const WELL_BELOW: f64 = 0.8;

/// What the box does, from everything to the least. Every level includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadLevel {
    /// Everything.
    #[default]
    Normal,
    /// The detector looks half as often.
    HalfRate,
    /// The detector looks a quarter as often.
    QuarterRate,
    /// Cameras that name a lighter model use it.
    LightModel,
    /// No detection; pictures are decoded, and motion is seen.
    MotionOnly,
    /// Nothing is decoded; what is recorded goes on being recorded.
    RecordOnly,
    /// Continuous recording rests; clips of events go on.
    RecordLess,
}

impl LoadLevel {
    const ALL: [Self; 7] = [
        Self::Normal,
        Self::HalfRate,
        Self::QuarterRate,
        Self::LightModel,
        Self::MotionOnly,
        Self::RecordOnly,
        Self::RecordLess,
    ];

    /// 0 to 6.
    pub fn number(self) -> u8 {
        self as u8
    }

    fn of(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::RecordLess)
    }

    fn up(self) -> Self {
        Self::of(self.number().saturating_add(1))
    }

    fn down(self) -> Self {
        Self::of(self.number().saturating_sub(1))
    }

    /// How many times longer the detector's period is.
    pub fn slowness(self) -> u32 {
        match self {
            Self::Normal => 1,
            Self::HalfRate => 2,
            _ => 4,
        }
    }
}

impl fmt::Display for LoadLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "normal",
            Self::HalfRate => "half_rate",
            Self::QuarterRate => "quarter_rate",
            Self::LightModel => "light_model",
            Self::MotionOnly => "motion_only",
            Self::RecordOnly => "record_only",
            Self::RecordLess => "record_less",
        })
    }
}

/// When the box has too much to do. TOML `[load]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether anything is shed at all. Default: true.
    pub enabled: bool,
    /// Share of all cores that the daemon may use, 0 to 1. Default: 0.95.
    pub cpu: f64,
    /// Memory that the daemon may use, in bytes; 0 stands for 60 % of what the box or its control group has. Default: 0.
    #[serde(with = "crate::byte_size")]
    pub memory_bytes: u64,
    /// Hottest sensor, degrees Celsius. Default: 90.
    pub temperature_c: f64,
    /// Folder of the kernel's thermal zones. Default: `/sys/class/thermal`.
    pub thermal_dir: std::path::PathBuf,
    /// How long a packet may wait for the disk. Default: 3s.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub disk_wait: Duration,
    /// How long a packet may wait to be decoded. Default: 3s.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub decode_wait: Duration,
    /// How long a limit must be passed before the next level. Default: 10s.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub rise_after: Duration,
    /// How long everything must be well below its limits before the level before. Default: 30s.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub fall_after: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            cpu: 0.95,
            memory_bytes: 0,
            temperature_c: 90.0,
            thermal_dir: "/sys/class/thermal".into(),
            disk_wait: Duration::from_secs(3),
            decode_wait: Duration::from_secs(3),
            rise_after: Duration::from_secs(10),
            fall_after: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// Checks the values.
    ///
    /// # Errors
    /// A sentence that names the key.
    pub fn validate(&self) -> Result<(), String> {
        if !(self.cpu > 0.0 && self.cpu <= 1.0) {
            return Err(format!("cpu is {}, it must be above 0 and at most 1", self.cpu));
        }
        if !(self.temperature_c > 0.0 && self.temperature_c < 200.0) {
            return Err(format!("temperature_c is {}, it must be between 0 and 200", self.temperature_c));
        }
        let durations = [
            ("disk_wait", self.disk_wait),
            ("decode_wait", self.decode_wait),
            ("rise_after", self.rise_after),
            ("fall_after", self.fall_after),
        ];
        match durations.iter().find(|(_, duration)| duration.is_zero()) {
            Some((key, _)) => Err(format!("{key} must be longer than 0s")),
            None => Ok(()),
        }
    }
}

/// What was measured; `None` where this box cannot measure it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// Share of all cores, 0 to 1.
    pub cpu: Option<f64>,
    /// Bytes in memory.
    pub memory_bytes: Option<u64>,
    /// Degrees Celsius.
    pub temperature_c: Option<f64>,
    /// Longest wait for the disk since the last reading.
    pub disk_wait: Duration,
    /// Longest wait for the decoder since the last reading.
    pub decode_wait: Duration,
}

/// A change of the level.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// From now on.
    pub level: LoadLevel,
    /// What made it so, in words for the operator; empty where everything is well again.
    pub reason: String,
}

/// Moves through the levels.
#[derive(Debug)]
pub struct Governor {
    config: Config,
    memory_limit: u64,
    level: LoadLevel,
    reason: String,
    over_since: Option<Mono>,
    well_since: Option<Mono>,
}

impl Governor {
    /// `memory_bytes` is what the box or its control group has.
    pub fn new(config: Config, memory_bytes: Option<u64>) -> Self {
        let share = |bytes: u64| bytes / 10 * 6;
        let memory_limit = match config.memory_bytes {
            0 => memory_bytes.map_or(u64::MAX, share),
            limit => limit,
        };
        let level = LoadLevel::Normal;
        Self { config, memory_limit, level, reason: String::new(), over_since: None, well_since: None }
    }

    /// What follows from a reading; `None` while nothing changes.
    pub fn judge(&mut self, now: Mono, reading: &Reading) -> Option<Decision> {
        let (worst, reason) = self.worst(reading);
        let level = if worst > 1.0 {
            self.well_since = None;
            let since = *self.over_since.get_or_insert(now);
            if now.since(since) < self.config.rise_after || self.level == LoadLevel::RecordLess {
                return None;
            }
            self.reason = reason;
            self.level.up()
        } else if worst < WELL_BELOW {
            self.over_since = None;
            let since = *self.well_since.get_or_insert(now);
            if now.since(since) < self.config.fall_after || self.level == LoadLevel::Normal {
                return None;
            }
            if self.level.down() == LoadLevel::Normal {
                self.reason.clear();
            }
            self.level.down()
        } else {
            (self.over_since, self.well_since) = (None, None);
            return None;
        };
        // Each level has its own time to show what it is good for.
        (self.over_since, self.well_since) = (None, None);
        self.level = level;
        Some(Decision { level, reason: self.reason.clone() })
    }

    /// The reading that is nearest to or furthest past its limit, as a share of the limit, and in words.
    fn worst(&self, reading: &Reading) -> (f64, String) {
        let config = &self.config;
        let mib = |bytes: u64| bytes >> 20;
        let mut all = Vec::new();
        if let Some(cpu) = reading.cpu {
            all.push((
                cpu / config.cpu,
                format!("processor at {:.0} % of all cores, limit {:.0} %", cpu * 100.0, config.cpu * 100.0),
            ));
        }
        if let Some(bytes) = reading.memory_bytes {
            let share = bytes as f64 / self.memory_limit as f64;
            all.push((share, format!("{} MiB in memory, limit {} MiB", mib(bytes), mib(self.memory_limit))));
        }
        if let Some(celsius) = reading.temperature_c {
            all.push((
                celsius / config.temperature_c,
                format!("{celsius:.0} °C, limit {:.0} °C", config.temperature_c),
            ));
        }
        for (what, wait, limit) in [
            ("the disk", reading.disk_wait, config.disk_wait),
            ("the decoder", reading.decode_wait, config.decode_wait),
        ] {
            let (wait, limit) = (wait.as_secs_f64(), limit.as_secs_f64());
            all.push((wait / limit, format!("pictures wait {wait:.1} s for {what}, limit {limit:.1} s")));
        }
        all.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or_default()
    }
}

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
    use proptest::prelude::*;

    fn at(s: u64) -> Mono {
        Mono(s * 1_000_000_000)
    }

    fn cpu(share: f64) -> Reading {
        Reading { cpu: Some(share), ..Reading::default() }
    }

    /// The levels that a governor goes through, second by second.
    fn levels(governor: &mut Governor, from: u64, until: u64, reading: &Reading) -> Vec<(u64, LoadLevel)> {
        (from..until).filter_map(|s| Some((s, governor.judge(at(s), reading)?.level))).collect()
    }

    #[test]
    fn levels_rise_one_by_one_and_fall_more_slowly() {
        use LoadLevel::*;
        let mut governor = Governor::new(Config::default(), None);
        let rising = levels(&mut governor, 0, 100, &cpu(0.99));
        let expected = [HalfRate, QuarterRate, LightModel, MotionOnly, RecordOnly, RecordLess];
        assert_eq!(rising.iter().map(|(_, level)| *level).collect::<Vec<_>>(), expected);
        assert!(rising.windows(2).all(|pair| pair[1].0 - pair[0].0 == 11), "{rising:?}");
        let falling = levels(&mut governor, 100, 400, &cpu(0.2));
        let expected = [RecordOnly, MotionOnly, LightModel, QuarterRate, HalfRate, Normal];
        assert_eq!(falling.iter().map(|(_, level)| *level).collect::<Vec<_>>(), expected);
        assert!(falling.windows(2).all(|pair| pair[1].0 - pair[0].0 == 31), "{falling:?}");
    }

    #[test]
    fn a_burst_and_a_value_near_its_limit_change_nothing() {
        let mut governor = Governor::new(Config::default(), None);
        for round in 0..20 {
            assert_eq!(levels(&mut governor, round * 12, round * 12 + 9, &cpu(1.0)), []);
            assert_eq!(governor.judge(at(round * 12 + 9), &cpu(0.9)), None);
        }
        levels(&mut governor, 300, 311, &cpu(1.0));
        assert_eq!(levels(&mut governor, 311, 1000, &cpu(0.9)), [], "between the two it stays where it is");
    }

    #[test]
    fn every_limit_counts_and_is_named() {
        let slow = Duration::from_secs(9);
        let cases = [
            (cpu(0.97), "processor at 97 % of all cores, limit 95 %"),
            (Reading { memory_bytes: Some(700 << 20), ..Reading::default() }, "700 MiB in memory, limit 600 MiB"),
            (Reading { temperature_c: Some(95.0), ..Reading::default() }, "95 °C, limit 90 °C"),
            (Reading { disk_wait: slow, ..Reading::default() }, "pictures wait 9.0 s for the disk, limit 3.0 s"),
            (Reading { decode_wait: slow, ..Reading::default() }, "pictures wait 9.0 s for the decoder, limit 3.0 s"),
        ];
        for (reading, reason) in cases {
            let mut governor = Governor::new(Config::default(), Some(1000 << 20));
            assert_eq!(governor.judge(at(0), &reading), None);
            let decision = governor.judge(at(10), &reading).expect(reason);
            assert_eq!((decision.level, decision.reason.as_str()), (LoadLevel::HalfRate, reason));
        }
    }

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

    proptest! {
        #[test]
        fn it_never_jumps_and_is_normal_in_the_end(loads in prop::collection::vec((0.0..2.0f64, 1..60u64), 1..40)) {
            let mut governor = Governor::new(Config::default(), None);
            let (mut now, mut level) = (0, LoadLevel::Normal);
            for (load, seconds) in loads {
                for (_, next) in levels(&mut governor, now, now + seconds, &cpu(load)) {
                    prop_assert_eq!(next.number().abs_diff(level.number()), 1);
                    level = next;
                }
                now += seconds;
            }
            let decisions = levels(&mut governor, now, now + 300, &cpu(0.1));
            prop_assert_eq!(decisions.last().map_or(level, |last| last.1), LoadLevel::Normal);
        }
    }
}
