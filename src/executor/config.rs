//! Bounds of executions: `[executions]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::age_limit::Age;

/// More at once are a slip of the finger.
const MOST_AT_ONCE: usize = 64;

/// Executions: pictures that people and programs send through pipelines. TOML `[executions]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// For how long one that is over stays, with its pictures. 0d: until max_bytes. Default: 7d.
    pub keep: Age,
    /// Bytes that all of them may take; the oldest that are over go first, once all destinations have what was kept of them.
    /// Default: 2 GiB.
    #[serde(with = "crate::byte_size")]
    pub max_bytes: u64,
    /// How many may wait; a further one is refused. Default: 20000.
    pub max_waiting: u64,
    /// Largest file that is taken, bytes. Default: 32 MiB.
    #[serde(with = "crate::byte_size")]
    pub max_file: u64,
    /// How many run at once; their models share the threads of `[infer]` all the same. Default: 2.
    pub at_once: usize,
    /// How long one may run. Default: 60s.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub max_time: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            keep: Age(Duration::from_secs(7 * 24 * 3600)),
            max_bytes: 2 << 30,
            max_waiting: 20_000,
            max_file: 32 << 20,
            at_once: 2,
            max_time: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// Checks the values.
    ///
    /// # Errors
    /// A sentence that names the key.
    pub fn validate(&self) -> Result<(), String> {
        if !(1..=MOST_AT_ONCE).contains(&self.at_once) {
            return Err(format!("at_once is {}, it goes from 1 to {MOST_AT_ONCE}", self.at_once));
        }
        if self.max_waiting == 0 {
            return Err("max_waiting is 0: nothing would be taken in".to_owned());
        }
        if self.max_file < 1024 {
            return Err(format!("max_file is {}: no picture is that small, write 1 MiB or more", self.max_file));
        }
        if self.max_bytes < self.max_file {
            return Err(format!("max_bytes is {}, and one file may have {} (max_file)", self.max_bytes, self.max_file));
        }
        if self.max_time < Duration::from_secs(1) {
            return Err(format!("max_time is {:?}, it is at least 1s", self.max_time));
        }
        Ok(())
    }

    /// For how long one that is over stays, where there is a limit.
    pub fn keep(&self) -> Option<Duration> {
        (!self.keep.0.is_zero()).then_some(self.keep.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_cannot_work_are_refused_by_name() {
        assert_eq!(Config::default().validate(), Ok(()));
        let wrong = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.validate().expect_err("refused")
        };
        assert!(wrong(|config| config.at_once = 0).starts_with("at_once is 0"));
        assert!(wrong(|config| config.max_waiting = 0).starts_with("max_waiting"));
        assert!(wrong(|config| config.max_file = 1).starts_with("max_file"));
        assert!(wrong(|config| config.max_bytes = 2048).starts_with("max_bytes"));
        assert!(wrong(|config| config.max_time = Duration::ZERO).starts_with("max_time"));
    }
}
