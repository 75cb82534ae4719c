//! Who changed what, who logged in, who looked at which pictures: an append-only log on the system disk.
//!
//! One JSON object a line, numbered without gaps. Files are named by the number of their first entry, and the oldest go
//! when there are more than eight of 8 MiB each.

use std::collections::HashMap;
use std::collections::hash_map;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tracing::{error, warn};

use crate::clock::{Clock, Mono, TimeQuality};
use crate::durable;

/// A file that is as long is followed by another, bytes.
const FILE_BYTES: u64 = 8 << 20;
/// Files that are kept.
const MOST_FILES: usize = 8;
/// A caller that goes on looking at the same thing is noted once in this time.
const LOOK_AGAIN: Duration = Duration::from_secs(10 * 60);
/// Looks that are remembered for that.
const MOST_LOOKS: usize = 10_000;
/// Refused acts of callers that are not known which are noted in this time: of one address, and in all. More would fill the
/// log, and wear out the disk, at the will of a stranger.
const STRANGERS_IN: Duration = Duration::from_secs(10 * 60);
const MOST_OF_STRANGER: u32 = 20;
const MOST_OF_STRANGERS: u32 = 200;
/// Longest text of one field, characters.
const LONGEST_TEXT: usize = 300;

/// What is to be noted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// On whose behalf: the name of a user or key; empty for a caller that is not known.
    pub who: String,
    /// How the caller was recognised: `session`, `key`, `local`, `unprotected`; empty where it was not.
    pub kind: String,
    /// From where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// What was asked for: method and route, such as `PATCH /api/v1/users/{name}`.
    pub action: String,
    /// What it was about.
    pub target: String,
    /// What came of it: an HTTP status.
    pub status: u16,
}

/// An act that was noted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number; each is one higher than the one before.
    pub seq: u64,
    /// When, by the wall clock.
    pub at: Timestamp,
    /// Trust in that clock.
    pub time_quality: TimeQuality,
    /// What.
    #[serde(flatten)]
    pub act: Act,
}

/// Which entries are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Older than this one.
    pub before: Option<u64>,
    /// Of this caller only.
    pub who: Option<String>,
    /// Whose action, target or caller contains this text.
    pub text: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// The log. Cheap to clone; its methods block on the disk.
#[derive(Clone, Debug)]
pub struct Audit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    clock: Arc<dyn Clock>,
    log: Mutex<Log>,
    looks: Mutex<HashMap<(String, String), Mono>>,
    strangers: Mutex<Strangers>,
}

/// Refused acts of callers that are not known.
#[derive(Debug, Default)]
struct Strangers {
    since: Mono,
    noted: u32,
    of: HashMap<IpAddr, u32>,
    left_out: u64,
}

/// The file that is being written.
#[derive(Debug, Default)]
struct Log {
    next: u64,
    file: Option<(File, u64)>,
}

impl Audit {
    /// The log in `folder`, which is made with the first entry. An end that a power cut tore is cut off.
    pub fn open(folder: &Path, clock: Arc<dyn Clock>) -> Self {
        let next = last_seq(folder).unwrap_or_else(|error| {
            error!(folder = %folder.display(), error = format!("{error:#}"), "the audit log cannot be read");
            None
        });
        let log = Log { next: next.map_or(1, |last| last + 1), file: None };
        Self(Arc::new(Shared {
            folder: folder.to_owned(),
            clock,
            log: Mutex::new(log),
            looks: Mutex::default(),
            strangers: Mutex::default(),
        }))
    }

    /// Whether a look at `target` is to be noted, because `who` did not look at it a moment ago.
    pub fn is_new_look(&self, who: &str, target: &str) -> bool {
        let (now, target) = (self.0.clock.mono(), cut(target));
        let mut looks = self.0.looks.lock();
        if looks.len() >= MOST_LOOKS {
            looks.retain(|_, at| now.since(*at) < LOOK_AGAIN);
        }
        if looks.len() >= MOST_LOOKS {
            looks.clear();
        }
        match looks.entry((who.to_owned(), target)) {
            hash_map::Entry::Occupied(known) if now.since(*known.get()) < LOOK_AGAIN => false,
            entry => {
                entry.insert_entry(now);
                true
            }
        }
    }

    /// Whether a refused act of a caller at `address` that is not known is to be noted: only so many are.
    pub fn admits_stranger(&self, address: IpAddr) -> bool {
        let now = self.0.clock.mono();
        let mut strangers = self.0.strangers.lock();
        if now.since(strangers.since) >= STRANGERS_IN {
            let left_out = strangers.left_out;
            *strangers = Strangers { since: now, ..Strangers::default() };
            if left_out > 0 {
                warn!(left_out, "refused requests of callers that are not known were too many for the audit log");
            }
        }
        if strangers.noted >= MOST_OF_STRANGERS || strangers.of.get(&address).is_some_and(|of| *of >= MOST_OF_STRANGER)
        {
            strangers.left_out += 1;
            return false;
        }
        strangers.noted += 1;
        *strangers.of.entry(address).or_default() += 1;
        true
    }

    /// Notes `act`; it is on the disk afterwards. What the disk does not take is in the daemon's log instead.
    pub fn note(&self, act: Act) {
        let act = Act { who: cut(&act.who), action: cut(&act.action), target: cut(&act.target), ..act };
        let mut log = self.0.log.lock();
        let entry = Entry { seq: log.next, at: self.0.clock.wall(), time_quality: self.0.clock.quality(), act };
        match self.append(&mut log, &entry) {
            Ok(()) => log.next += 1,
            Err(error) => {
                // The next entry begins another file, behind whatever was written of this one.
                log.file = None;
                let Act { who, action, target, status, .. } = &entry.act;
                error!(
                    who,
                    action,
                    target,
                    status,
                    error = format!("{error:#}"),
                    "an act could not be noted in the audit log"
                );
            }
        }
    }

    fn append(&self, log: &mut Log, entry: &Entry) -> Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        let is_full = log.file.as_ref().is_some_and(|(_, bytes)| *bytes >= FILE_BYTES);
        if log.file.is_none() || is_full {
            log.file = Some(self.begin(entry.seq)?);
        }
        let Some((file, bytes)) = &mut log.file else { return Ok(()) };
        let before = *bytes;
        let written = file.write_all(&line).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // Half a line would spoil the next one.
            let _ = file.set_len(before);
            return Err(error).context("write the audit log");
        }
        *bytes += line.len() as u64;
        Ok(())
    }

    /// Goes on with the newest file, or begins another one where that is full.
    fn begin(&self, seq: u64) -> Result<(File, u64)> {
        let folder = &self.0.folder;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let known = files(folder)?;
        let newest = known.last().and_then(|path| Some((path.clone(), fs::metadata(path).ok()?.len())));
        let path = match newest {
            Some((path, bytes)) if bytes < FILE_BYTES => path,
            _ => folder.join(format!("audit-{seq:020}.jsonl")),
        };
        let excess = (known.len() + usize::from(!path.exists())).saturating_sub(MOST_FILES);
        for oldest in known.iter().take(excess) {
            if let Err(error) = fs::remove_file(oldest) {
                warn!(file = %oldest.display(), %error, "an old file of the audit log cannot be removed");
            }
        }
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        durable::sync_folder(folder)?;
        let bytes = end_of_lines(&path)?;
        file.set_len(bytes)?;
        Ok((file, bytes))
    }

    /// The number of the last entry; 0 where there is none.
    pub fn last(&self) -> u64 {
        self.0.log.lock().next - 1
    }

    /// Up to `limit` entries behind number `seq`, oldest first.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn after(&self, seq: u64, limit: usize) -> Result<Vec<Entry>> {
        let files = files(&self.0.folder)?;
        // A file whose successor begins at or before the wanted entry holds none that is wanted.
        let passed =
            files.iter().skip(1).take_while(|next| first_of(next).is_some_and(|first| first <= seq + 1)).count();
        let mut found = Vec::new();
        for path in files.iter().skip(passed) {
            let wanted = read(path)?.into_iter().filter(|entry| entry.seq > seq);
            found.extend(wanted.take(limit - found.len()));
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    /// Entries, newest first.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn find(&self, query: &Query) -> Result<Vec<Entry>> {
        let mut found = Vec::new();
        for path in files(&self.0.folder)?.iter().rev() {
            let mut entries = read(path)?;
            entries.retain(|entry| query.wants(entry));
            found.extend(entries.into_iter().rev().take(query.limit - found.len()));
            if found.len() >= query.limit {
                break;
            }
        }
        Ok(found)
    }
}

impl Query {
    fn wants(&self, entry: &Entry) -> bool {
        let Act { who, action, target, .. } = &entry.act;
        let has = |text: &String| [who, action, target].iter().any(|field| field.contains(text.as_str()));
        self.before.is_none_or(|before| entry.seq < before)
            && self.who.as_ref().is_none_or(|of| of == who)
            && self.text.as_ref().is_none_or(has)
    }
}

/// Files of the log, the oldest first.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("read {}", folder.display())),
    };
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("audit-") && path.extension().is_some_and(|of| of == "jsonl")
    };
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_ours).collect();
    found.sort();
    Ok(found)
}

/// The number of a file's first entry, by its name.
fn first_of(path: &Path) -> Option<u64> {
    path.file_stem()?.to_str()?.strip_prefix("audit-")?.parse().ok()
}

/// Whole entries of a file; what is damaged is left out.
fn read(path: &Path) -> Result<Vec<Entry>> {
    let file = File::open(path).with_context(|| format!("read {}", path.display()))?;
    let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
    Ok(lines.filter_map(|line| serde_json::from_slice(&line).ok()).collect())
}

fn last_seq(folder: &Path) -> Result<Option<u64>> {
    for path in files(folder)?.iter().rev() {
        if let Some(last) = read(path)?.iter().map(|entry: &Entry| entry.seq).max() {
            return Ok(Some(last));
        }
    }
    Ok(None)
}

/// Where the last whole line of a file ends.
fn end_of_lines(path: &Path) -> Result<u64> {
    let text = fs::read(path)?;
    Ok(text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at as u64 + 1))
}

fn cut(text: &str) -> String {
    text.chars().take(LONGEST_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SimulatedClock;

    fn log(folder: &Path) -> (Audit, Arc<SimulatedClock>) {
        let clock = Arc::new(SimulatedClock::new(Mono(0), "2026-11-28T10:00:00Z".parse().expect("a time")));
        (Audit::open(&folder.join("audit"), clock.clone()), clock)
    }

    fn act(who: &str, target: &str) -> Act {
        let (who, target) = (who.to_owned(), target.to_owned());
        Act { who, kind: "session".into(), action: "POST /x".into(), target, status: 200, ..Act::default() }
    }

    fn targets(log: &Audit, query: Query) -> Vec<String> {
        log.find(&query).expect("read").into_iter().map(|entry| entry.act.target).collect()
    }

    #[test]
    fn acts_are_numbered_found_and_outlive_a_restart_and_a_torn_end() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (audit, _) = log(dir.path());
        assert!(targets(&audit, Query { limit: 9, ..Query::default() }).is_empty());
        for n in 0..5 {
            audit.note(act(if n % 2 == 0 { "anna" } else { "ben" }, &format!("t{n}")));
        }
        let path = files(&dir.path().join("audit")).expect("files").pop().expect("one file");
        let mut file = OpenOptions::new().append(true).open(&path).expect("open");
        file.write_all(b"{\"seq\": 6, \"torn").expect("half a line");
        let (audit, _) = log(dir.path());
        audit.note(act("anna", "after"));
        let all = audit.find(&Query { limit: 99, ..Query::default() }).expect("read");
        assert_eq!(all.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [6, 5, 4, 3, 2, 1]);
        assert_eq!(targets(&audit, Query { limit: 2, before: Some(6), ..Query::default() }), ["t4", "t3"]);
        assert_eq!(targets(&audit, Query { limit: 9, who: Some("ben".into()), ..Query::default() }), ["t3", "t1"]);
        assert_eq!(targets(&audit, Query { limit: 9, text: Some("aft".into()), ..Query::default() }), ["after"]);
        let after = |seq, limit| {
            let found = audit.after(seq, limit).expect("read");
            found.into_iter().map(|entry| entry.seq).collect::<Vec<_>>()
        };
        assert_eq!((after(0, 2), after(4, 9), after(6, 9), audit.last()), (vec![1, 2], vec![5, 6], vec![], 6));
    }

    #[test]
    fn old_files_go_and_numbers_go_on() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (audit, _) = log(dir.path());
        audit.note(act("anna", "first"));
        let folder = dir.path().join("audit");
        for _ in 0..MOST_FILES + 2 {
            let newest = files(&folder).expect("files").pop().expect("a file");
            // As after very many entries.
            let mut file = OpenOptions::new().append(true).open(newest).expect("open");
            file.write_all(&vec![b'\n'; FILE_BYTES as usize]).expect("fill");
            let (audit, _) = log(dir.path());
            audit.note(act("anna", "next"));
        }
        assert_eq!(files(&folder).expect("files").len(), MOST_FILES);
        let (audit, _) = log(dir.path());
        audit.note(act("anna", "last"));
        let newest = audit.find(&Query { limit: 1, ..Query::default() }).expect("read").pop().expect("an entry");
        assert_eq!((newest.seq, newest.act.target.as_str()), (MOST_FILES as u64 + 4, "last"));
        let numbers = |seq, limit| {
            let found = audit.after(seq, limit).expect("read");
            found.into_iter().map(|entry| entry.seq).collect::<Vec<_>>()
        };
        let all = numbers(0, 99);
        assert!(all.len() > 2 && all.last() == Some(&newest.seq), "{all:?}");
        for (at, seq) in all.iter().enumerate() {
            assert_eq!(numbers(*seq, 2), all[at + 1..].iter().take(2).copied().collect::<Vec<_>>(), "behind {seq}");
        }
    }

    #[test]
    fn a_look_that_goes_on_is_noted_once_in_a_while() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (audit, clock) = log(dir.path());
        assert!(audit.is_new_look("anna", "clip"));
        for _ in 0..20 {
            clock.advance(Duration::from_secs(20));
            assert!(!audit.is_new_look("anna", "clip"));
        }
        assert!(audit.is_new_look("ben", "clip") && audit.is_new_look("anna", "another"));
        clock.advance(LOOK_AGAIN);
        assert!(audit.is_new_look("anna", "clip"));
    }

    #[test]
    fn strangers_do_not_fill_the_log() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (audit, clock) = log(dir.path());
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        let noted = |of: u32| (0..100).filter(|_| audit.admits_stranger(address(of))).count();
        assert_eq!((noted(1), noted(1), noted(2)), (20, 0, 20));
        assert_eq!((3..1000).map(noted).sum::<usize>(), 160, "many addresses are no way around");
        clock.advance(STRANGERS_IN);
        assert_eq!(noted(1), 20);
    }

    #[test]
    fn a_disk_that_refuses_leaves_the_numbers_without_a_gap() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (audit, _) = log(dir.path());
        fs::write(dir.path().join("audit"), b"a file where the folder should be").expect("an obstacle");
        audit.note(act("anna", "lost"));
        fs::remove_file(dir.path().join("audit")).expect("out of the way");
        audit.note(act("anna", "kept"));
        let all = audit.find(&Query { limit: 9, ..Query::default() }).expect("read");
        assert_eq!(all.iter().map(|entry| (entry.seq, entry.act.target.as_str())).collect::<Vec<_>>(), [(1, "kept")]);
    }
}
