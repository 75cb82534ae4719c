//! A wall clock that a test sets, for one process alone; the clocks that count from boot stay as they are.

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};

use super::Scratch;

/// Where Debian puts the library; the loader knows what `$LIB` is on this machine.
const LIBRARY: &str = "/usr/$LIB/faketime/libfaketimeMT.so.1";

/// The wall clock of a process that is started by [`WallClock::command`].
#[derive(Debug)]
pub struct WallClock {
    file: PathBuf,
    ahead: SignedDuration,
}

impl WallClock {
    /// A clock that shows `time` now.
    pub fn new(scratch: &Scratch, time: Timestamp) -> Self {
        let mut clock = Self { file: scratch.path("wall-clock"), ahead: SignedDuration::ZERO };
        clock.set(time);
        clock
    }

    /// Sets it to `time`, at once for all readers.
    pub fn set(&mut self, time: Timestamp) {
        self.ahead = time.duration_since(Timestamp::now());
        let half = self.file.with_extension("half");
        std::fs::write(&half, format!("{:+.3}\n", self.ahead.as_secs_f64())).expect("write a time");
        std::fs::rename(half, &self.file).expect("set the clock");
    }

    /// What it shows.
    pub fn now(&self) -> Timestamp {
        Timestamp::now() + self.ahead
    }

    /// The beginning of a command line that gives a process this clock, and UTC as local time.
    pub fn command(&self) -> Vec<String> {
        let file = self.file.display();
        ["env", "TZ=UTC", &format!("LD_PRELOAD={LIBRARY}"), &format!("FAKETIME_TIMESTAMP_FILE={file}")]
            .into_iter()
            .chain(["FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1"])
            .map(str::to_owned)
            .collect()
    }
}

#[test]
fn a_process_sees_the_wall_clock_that_is_set_and_the_boot_clock_as_it_is() {
    let scratch = Scratch::new("wall-clock");
    let mut clock = WallClock::new(&scratch, "2036-05-05T10:00:00Z".parse().expect("a time"));
    let read = |clock: &WallClock| {
        let asks = "import time; print(int(time.time()), time.clock_gettime(time.CLOCK_BOOTTIME), time.monotonic())";
        let words: Vec<String> =
            clock.command().into_iter().chain(["python3", "-c", asks].map(str::to_owned)).collect();
        let answer = super::process::run(std::process::Command::new(&words[0]).args(&words[1..]));
        let numbers: Vec<f64> = answer.split_whitespace().map(|number| number.parse().expect("a number")).collect();
        (numbers[0] - clock.now().as_second() as f64, numbers[1], numbers[2])
    };
    let (deviation, boot, monotonic) = read(&clock);
    assert!(deviation.abs() < 60.0, "{deviation}: is libfaketime there? `make setup` installs it");
    clock.set("1970-01-02T00:00:00Z".parse().expect("a time"));
    let (deviation, later_boot, later_monotonic) = read(&clock);
    assert!(deviation.abs() < 60.0, "{deviation}");
    assert!((0.0..60.0).contains(&(later_boot - boot)) && (0.0..60.0).contains(&(later_monotonic - monotonic)));
}
