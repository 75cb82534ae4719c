//! Load shedding: what the box stops doing, in a stated order, when it has too much to do.
//!
//! One level at a time and only after a while, so that a burst changes nothing; back again only after a
//! longer while in which everything was well below its limit, so that the box does not swing. Recording is
//! not touched before the last level.
//!
//! The gauges are read every second, the governor decides, and the stages read the level from [`Pressure`].

mod gauges;
mod governor;
mod level;
mod pressure;
mod task;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use gauges::{Gauges, hottest, memory_of_the_box, resident_bytes};
pub use governor::{Decision, Governor};
pub use level::LoadLevel;
pub use pressure::{Pressure, Wait};
pub use task::{Finding, govern};

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
