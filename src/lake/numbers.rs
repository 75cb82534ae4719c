//! Numbers for rows and files, which only grow: over restarts, and also where the volume is a new one.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::clock::{Clock, TimeQuality};
use crate::durable;

/// Numbers that are taken from the disk at a time; what is left of them is lost at a stop.
const BLOCK: i64 = 4096;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    /// Numbers up to this one may have been given out.
    reserved: i64,
}

/// Gives out numbers, each once.
#[derive(Debug)]
pub(super) struct Numbers {
    file: PathBuf,
    given: i64,
    reserved: i64,
}

impl Numbers {
    /// Goes on above what `file` says was given out. On a fresh volume that is nothing, so that numbers also begin above
    /// the microseconds of `clock`, as far as it can be believed.
    pub(super) fn open(file: &Path, clock: &dyn Clock) -> Self {
        let note = std::fs::read(file).ok().and_then(|text| serde_json::from_slice::<Note>(&text).ok());
        let believed = clock.quality() != TimeQuality::Implausible;
        let now = if believed { clock.wall().as_microsecond() } else { 0 };
        let given = note.unwrap_or_default().reserved.max(now);
        Self { file: file.to_owned(), given, reserved: given }
    }

    /// The next number.
    ///
    /// # Errors
    /// When it cannot be noted durably that it is given out.
    pub(super) fn next(&mut self) -> Result<i64> {
        if self.given >= self.reserved {
            let note = Note { reserved: self.given + BLOCK };
            let text = serde_json::to_vec(&note).context("encode a number")?;
            durable::replace(&self.file, &text).with_context(|| format!("write {}", self.file.display()))?;
            self.reserved = note.reserved;
        }
        self.given += 1;
        Ok(self.given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Mono, SimulatedClock};
    use jiff::Timestamp;

    #[test]
    fn numbers_grow_over_restarts_and_volumes_whatever_the_clock_says() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = dir.path().join("numbers.json");
        let clock = SimulatedClock::new(Mono(0), "2026-11-22T10:00:00Z".parse().expect("a time"));
        let mut last = 0;
        for wall in ["2026-11-22T10:00:00Z", "2026-11-22T10:00:00Z", "2026-11-23T10:00:00Z", "2026-11-20T10:00:00Z"] {
            clock.step_wall(wall.parse().expect("a time"), TimeQuality::Synchronised);
            let mut numbers = Numbers::open(&file, &clock);
            for _ in 0..2 * BLOCK + 1 {
                let next = numbers.next().expect("a number");
                assert!(next > last, "{next} after {last}");
                last = next;
            }
        }
        clock.step_wall("2026-12-01T00:00:00Z".parse().expect("a time"), TimeQuality::Unsynchronised);
        let fresh = Numbers::open(&dir.path().join("other.json"), &clock).next().expect("a number");
        assert!(fresh > last, "another volume");
        clock.step_wall(Timestamp::UNIX_EPOCH, TimeQuality::Implausible);
        assert!(Numbers::open(&file, &clock).next().expect("a number") > last);
    }
}
