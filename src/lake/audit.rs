//! Rows of the audit log: who logged in, changed something, or looked at which pictures.
//!
//! The log lies on the system disk and numbers its entries. The entry that the lake has last is noted in
//! `lake/audit.json`, after its row was queued: a power cut in between gives the same rows once more. A log that is not
//! the one of the note is exported from its beginning.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::rows::{Rows, Value};
use crate::audit::{Audit, Entry};
use crate::clock::{Moment, Mono};
use crate::durable;

/// The note in the lake's folder.
const NOTE: &str = "audit.json";

/// The entry that the lake has last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    seq: u64,
    at: Timestamp,
}

/// The entries that the lake does not have.
#[derive(Debug)]
pub(super) struct Acts {
    log: Audit,
    path: PathBuf,
    noted: Option<Note>,
    /// Since when the first of them is known, and when it was noted.
    oldest: Option<(Mono, Timestamp)>,
}

impl Acts {
    pub(super) fn open(log: Audit, lake: &Path) -> Self {
        let path = lake.join(NOTE);
        let noted = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Self { log, path, noted, oldest: None }
    }

    /// Up to `max` entries, the oldest first, once the first of them has waited for `every`.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub(super) fn due(&mut self, now: &Moment, every: Duration, max: usize) -> Result<Vec<Entry>> {
        let last = self.log.last();
        if self.noted.is_some_and(|noted| noted.seq == last) {
            return Ok(Vec::new());
        }
        if self.oldest.is_none() {
            self.check_note(last)?;
            let first = self.log.after(self.exported(), 1)?;
            self.oldest = first.first().map(|entry| (now.mono(), entry.at));
        }
        // One that an earlier run noted has waited for longer than this run knows.
        let has_waited = self.oldest.is_some_and(|(known, at)| {
            now.mono().since(known) >= every
                || SignedDuration::try_from(every).is_ok_and(|every| now.wall.duration_since(at) >= every)
        });
        if has_waited { self.log.after(self.exported(), max) } else { Ok(Vec::new()) }
    }

    /// Notes that the lake has them up to `entry`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn note(&mut self, entry: &Entry) -> Result<()> {
        let note = Note { seq: entry.seq, at: entry.at };
        let text = serde_json::to_vec(&note).context("encode which entries of the audit log the lake has")?;
        durable::replace(&self.path, &text).with_context(|| format!("write {}", self.path.display()))?;
        (self.noted, self.oldest) = (Some(note), None);
        Ok(())
    }

    fn exported(&self) -> u64 {
        self.noted.map_or(0, |noted| noted.seq)
    }

    /// Forgets the note where the log has another entry in that place: the system disk is another one.
    fn check_note(&mut self, last: u64) -> Result<()> {
        let Some(noted) = self.noted else { return Ok(()) };
        let known = self.log.after(noted.seq.saturating_sub(1), 1)?;
        let is_another = known.first().is_some_and(|entry| entry.seq == noted.seq && entry.at != noted.at);
        if last < noted.seq || is_another {
            self.noted = None;
        }
        Ok(())
    }
}

/// The day, in UTC, on which it was noted.
pub(super) fn date(entry: &Entry) -> Date {
    entry.at.to_zoned(TimeZone::UTC).date()
}

/// Adds an entry.
pub(super) fn push(rows: &mut Rows, recorded: i64, entry: &Entry) -> Result<()> {
    let act = &entry.act;
    rows.push([
        ("recorded", Value::Int(Some(recorded))),
        ("seq", Value::count(entry.seq)),
        ("at", Value::time(entry.at)),
        ("time_quality", Value::word(&entry.time_quality)),
        ("who", Value::non_empty(&act.who)),
        ("kind", Value::non_empty(&act.kind)),
        ("address", Value::Text(act.address.map(|address| address.to_string()))),
        ("action", Value::text(&*act.action)),
        ("target", Value::text(&*act.target)),
        ("status", Value::count(u64::from(act.status))),
    ])
}
