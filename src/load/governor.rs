//! Decides when to do less, and when to do more again.

use super::{Config, LoadLevel, Reading};
use crate::clock::Mono;

/// Everything below this share of its limit counts as well.
const WELL_BELOW: f64 = 0.8;

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

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
