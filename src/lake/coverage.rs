//! Rows of the accounts of days: what `coverage/<camera>/<yyyy-mm-dd>.json` says, each time that it says something new.
//!
//! Which accounts the lake has is noted in `lake/coverage.json`, after their rows were queued: a power cut in between
//! gives the same rows once more.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::rows::{Rows, Value};
use crate::coverage::Account;
use crate::durable;

/// The note in the lake's folder.
const NOTE: &str = "coverage.json";

/// By account (`<camera>/<yyyy-mm-dd>.json`): when it was written, as the lake has it.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Exported(BTreeMap<String, String>);

/// An account that the lake does not have as it is.
#[derive(Debug)]
pub(super) struct Unexported {
    name: String,
    pub account: Account,
}

/// The accounts on the box.
#[derive(Debug)]
pub(super) struct Accounts {
    folder: PathBuf,
    note: PathBuf,
    exported: Exported,
    /// Files that the lake has, as they were when they were read: they need not be read again.
    seen: BTreeMap<String, (SystemTime, u64)>,
}

impl Accounts {
    pub(super) fn open(storage: &Path, lake: &Path) -> Self {
        let note = lake.join(NOTE);
        let exported = fs::read(&note).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Self { folder: storage.join("coverage"), note, exported, seen: BTreeMap::new() }
    }

    /// Those that say something new, at most `max`.
    pub(super) fn unexported(&mut self, max: usize) -> Vec<Unexported> {
        let mut unexported = Vec::new();
        for (name, path) in self.files() {
            if unexported.len() >= max {
                break;
            }
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let state = (metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len());
            if self.seen.get(&name) == Some(&state) {
                continue;
            }
            let account = fs::read(&path).map_err(anyhow::Error::from);
            match account.and_then(|text| Ok(serde_json::from_slice::<Account>(&text)?)) {
                Ok(account) if self.exported.0.get(&name) != Some(&stamp(&account)) => {
                    unexported.push(Unexported { name, account })
                }
                Ok(_) => drop(self.seen.insert(name, state)),
                Err(error) => {
                    warn!(%error, file = %path.display(), "an account of a day cannot be read and is not in the lake");
                    self.seen.insert(name, state);
                }
            }
        }
        unexported
    }

    /// Notes that the lake has these, and forgets accounts that are no longer there.
    pub(super) fn note(&mut self, unexported: &[Unexported]) -> Result<()> {
        let files: BTreeMap<String, PathBuf> = self.files().into_iter().collect();
        self.exported.0.extend(unexported.iter().map(|one| (one.name.clone(), stamp(&one.account))));
        self.exported.0.retain(|name, _| files.contains_key(name));
        self.seen.retain(|name, _| files.contains_key(name));
        let text = serde_json::to_vec(&self.exported).context("encode which accounts the lake has")?;
        durable::replace(&self.note, &text).with_context(|| format!("write {}", self.note.display()))
    }

    fn files(&self) -> Vec<(String, PathBuf)> {
        let mut files = Vec::new();
        for camera in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            for file in fs::read_dir(camera.path()).into_iter().flatten().flatten() {
                let path = file.path();
                if path.extension().is_some_and(|extension| extension == "json") {
                    let name = [camera.file_name(), file.file_name()].map(|part| part.to_string_lossy().into_owned());
                    files.push((name.join("/"), path));
                }
            }
        }
        files.sort();
        files
    }
}

fn stamp(account: &Account) -> String {
    format!("{} {}", account.written.boot_id, account.written.mono_ns)
}

/// Adds the intervals of a day. All have the number `recorded`: the highest of a day has all of it.
pub(super) fn push(rows: &mut Rows, recorded: i64, account: &Account) -> Result<()> {
    for interval in &account.intervals {
        rows.push([
            ("recorded", Value::Int(Some(recorded))),
            ("camera", Value::text(&*account.camera)),
            ("from_at", Value::time(interval.from)),
            ("until_at", Value::time(interval.until)),
            ("state", Value::word(&interval.state)),
            ("reason", Value::Text(interval.reason.clone())),
            ("complete", Value::flag(account.complete)),
            ("written_at", Value::time(account.written.wall)),
            ("time_quality", Value::word(&account.written.time_quality)),
        ])?;
    }
    Ok(())
}
