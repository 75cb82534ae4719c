//! What the kernel says about the daemon's use of the box.

use std::fs;
use std::path::Path;

use super::{Config, Pressure, Reading};
use crate::clock::Mono;

/// Takes readings; each is about the time since the one before.
#[derive(Debug)]
pub struct Gauges {
    config: Config,
    cores: f64,
    ticks_per_second: f64,
    last: Option<(Mono, u64)>,
}

impl Gauges {
    /// For this process.
    pub fn new(config: Config) -> Self {
        let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
        Self { config, cores, ticks_per_second: rustix::param::clock_ticks_per_second() as f64, last: None }
    }

    /// Reads everything now.
    pub fn read(&mut self, now: Mono, pressure: &Pressure) -> Reading {
        let (disk_wait, decode_wait) = pressure.take_waits();
        Reading {
            cpu: self.cpu(now),
            memory_bytes: resident_bytes(),
            temperature_c: hottest(&self.config.thermal_dir),
            disk_wait,
            decode_wait,
        }
    }

    fn cpu(&mut self, now: Mono) -> Option<f64> {
        let ticks = ticks_used(&fs::read_to_string("/proc/self/stat").ok()?)?;
        let (then, before) = self.last.replace((now, ticks))?;
        let seconds = now.since(then).as_secs_f64();
        if seconds < 0.1 {
            return None;
        }
        Some(ticks.saturating_sub(before) as f64 / self.ticks_per_second / seconds / self.cores)
    }
}

/// User and system time in `/proc/<pid>/stat`, clock ticks. The name in brackets may hold anything.
fn ticks_used(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The value of a line such as `VmRSS:  1234 kB`, in bytes.
fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(number * 1024)
}

/// Memory that the daemon has, in bytes.
pub fn resident_bytes() -> Option<u64> {
    kilobytes(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// Memory of the box, or of the control group where that has less.
pub fn memory_of_the_box() -> Option<u64> {
    let box_bytes = kilobytes(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")?;
    Some(group_limit().unwrap_or(u64::MAX).min(box_bytes))
}

/// `memory.max` of the daemon's own control group (version 2); `None` where there is no limit.
fn group_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    fs::read_to_string(Path::new("/sys/fs/cgroup").join(group).join("memory.max")).ok()?.trim().parse().ok()
}

/// The hottest sensor, degrees Celsius. Sensors that are asleep or absurd do not count.
pub fn hottest(thermal_dir: &Path) -> Option<f64> {
    let zones = fs::read_dir(thermal_dir).ok()?.flatten();
    let zones = zones.filter(|zone| zone.file_name().to_string_lossy().starts_with("thermal_zone"));
    let celsius = zones.filter_map(|zone| {
        let text = fs::read_to_string(zone.path().join("temp")).ok()?;
        let milli: f64 = text.trim().parse().ok()?;
        Some(milli / 1000.0).filter(|celsius| (-50.0..200.0).contains(celsius))
    });
    celsius.max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_cannot_confuse_its_times() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 70 5 0 0 20 0 1";
        assert_eq!(ticks_used(stat), Some(75));
        assert_eq!(ticks_used("42 (x) S 1"), None);
    }

    #[test]
    fn the_hottest_zone_counts_and_broken_ones_do_not() {
        let dir = tempfile::tempdir().expect("tempdir");
        for (zone, text) in [
            ("thermal_zone0", "41500\n"),
            ("thermal_zone1", "67250\n"),
            ("thermal_zone2", "none"),
            ("cooling_device0", "99000"),
        ] {
            fs::create_dir(dir.path().join(zone)).expect("a zone");
            fs::write(dir.path().join(zone).join("temp"), text).expect("its file");
        }
        assert_eq!(hottest(dir.path()), Some(67.25));
        assert_eq!(hottest(Path::new("/no/such")), None);
    }

    #[test]
    fn this_process_has_memory_and_uses_the_processor() {
        let mut gauges = Gauges::new(Config::default());
        let pressure = Pressure::default();
        let first = gauges.read(Mono(0), &pressure);
        assert_eq!(first.cpu, None, "one look is no rate");
        assert!(first.memory_bytes.is_some_and(|bytes| bytes > 1 << 20));
        let until = std::time::Instant::now() + std::time::Duration::from_millis(120);
        let mut sum = 0u64;
        while std::time::Instant::now() < until {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        // By the test's own clock a second has passed.
        let second = gauges.read(Mono(1_000_000_000), &pressure);
        assert!(second.cpu.is_some_and(|cpu| cpu > 0.0 && cpu < 1.0), "{second:?}");
        assert!(memory_of_the_box().is_some_and(|bytes| bytes > 64 << 20));
    }
}
