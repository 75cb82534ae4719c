//! What ages are measured by: never more than the time that has passed.
//!
//! An unsynchronised clock may show any year, and an age reckoned from it would delete everything. So
//! ages are measured by two clocks that cannot run ahead. A file whose own wall time was synchronised is
//! compared with the synchronised wall time; while there is none, with the last one plus the time that the box
//! has run since. All other files are dated by the box's run time, counted over all boots, and are compared
//! with that; once the wall clock is synchronised they get wall times that make them as old as they are by run
//! time.
//!
//! Run time lacks the time in which the box was off, and what passed between the last note in `run-time.json`
//! and a power cut. Both let a file stay for longer, never for shorter.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::clock::{Clock, Mono, TimeQuality};
use crate::store::RUN_TIME_BELOW;
use crate::volume_folder::VolumeFolder;

/// The note's name in the storage folder.
const FILE: &str = "run-time.json";
/// How often it is written: what a power cut takes from the run time at most, and what flash has to bear.
const WRITE_EVERY: Duration = Duration::from_secs(600);

/// The run time as it is written down.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Note {
    /// The boot that `mono_ns` counts from.
    boot_id: Arc<str>,
    /// The boot clock when this was noted.
    mono_ns: u64,
    /// For how long the box had run by then, in milliseconds.
    run_ms: u64,
    /// The last synchronised wall time.
    #[serde(skip_serializing_if = "Option::is_none")]
    known: Option<Known>,
}

/// A wall time that was synchronised, in milliseconds, and the run time then.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Known {
    wall_ms: u64,
    run_ms: u64,
}

/// What can be said of the time now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// For how long the box has run at least, in milliseconds.
    pub run_ms: u64,
    /// Wall time in milliseconds: not before this; `None` where it was never known.
    pub wall_ms: Option<u64>,
    /// The wall clock is synchronised now, so that `wall_ms` is what it shows.
    pub synchronised: bool,
}

impl Reading {
    /// The dates, in the two measures, of files that are older than `age`.
    pub(super) fn older_than(&self, age: Duration) -> impl Iterator<Item = Range<u64>> + use<> {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let wall = self.wall_ms.map(|now| RUN_TIME_BELOW..now.saturating_sub(age));
        let run = 0..self.run_ms.saturating_sub(age).min(RUN_TIME_BELOW);
        wall.into_iter().chain([run]).filter(|dates| !dates.is_empty())
    }
}

/// Counts the run time. One for a box.
#[derive(Debug)]
pub(super) struct Ages {
    clock: Arc<dyn Clock>,
    storage: VolumeFolder,
    state: Mutex<Option<State>>,
}

#[derive(Debug)]
struct State {
    note: Note,
    written: Option<Mono>,
}

impl Ages {
    /// Goes on counting where the note in the folder `storage` ends.
    pub(super) fn new(clock: Arc<dyn Clock>, storage: &Path) -> Self {
        Self { clock, storage: VolumeFolder::new(storage), state: Mutex::default() }
    }

    /// What can be said now.
    pub(super) fn read(&self) -> Reading {
        let mut state = self.state.lock();
        let State { note, written } =
            state.get_or_insert_with(|| State { note: read_note(self.storage.path()), written: None });
        let (now, boot_id) = (self.clock.mono(), self.clock.boot_id());
        // Of a boot that the note does not know all has passed since: it was noted before that boot began.
        let passed = if note.boot_id == boot_id { now.since(Mono(note.mono_ns)) } else { now.since(Mono::default()) };
        note.run_ms = note.run_ms.saturating_add(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX));
        // Whole milliseconds alone were counted.
        let left_over = Duration::from_nanos(u64::from(passed.subsec_nanos()) % 1_000_000);
        (note.boot_id, note.mono_ns) = (boot_id, (now - left_over).0);
        let run_ms = note.run_ms;
        let shown = u64::try_from(self.clock.wall().as_millisecond()).unwrap_or(0);
        let synchronised = self.clock.quality() == TimeQuality::Synchronised && shown >= RUN_TIME_BELOW;
        let first_known = synchronised && note.known.is_none();
        if synchronised {
            note.known = Some(Known { wall_ms: shown, run_ms });
        }
        let wall_ms = note.known.map(|known| known.wall_ms.saturating_add(run_ms.saturating_sub(known.run_ms)));
        if first_known || written.is_none_or(|written| now.since(written) >= WRITE_EVERY) {
            *written = Some(now);
            self.write(note);
        }
        Reading { run_ms, wall_ms, synchronised }
    }

    fn write(&self, note: &Note) {
        let written = serde_json::to_vec(note).map_err(Into::into).and_then(|text| self.storage.replace(FILE, &text));
        if let Err(error) = written {
            warn!(%error, file = FILE, "the run time could not be noted: ages count from the note before");
        }
    }
}

fn read_note(storage: &Path) -> Note {
    let path = storage.join(FILE);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Note::default(),
        Err(error) => {
            warn!(%error, file = %path.display(), "cannot be read: run time is counted from zero, files stay for longer");
            return Note::default();
        }
    };
    serde_json::from_slice(&text).unwrap_or_else(|error| {
        warn!(%error, file = %path.display(), "is damaged: run time is counted from zero, files stay for longer");
        Note::default()
    })
}
