//! What a person took out of the outboxes, noted beside the index, so that it stays dropped when the index is rebuilt from
//! the sidecars.
//!
//! The note names the content: a file that changes later is queued like any other. It is written before the index
//! commits the drop. Should only one of the two survive a power cut, it is the note, and the item goes out or is dropped
//! again; it matters only to an index that is rebuilt.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use parking_lot::{Mutex, MutexGuard};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::Delivery;
use super::schema::Row;
use crate::destination::Destination;
use crate::durable;
use crate::event::EventId;
use crate::volume_folder::VolumeFolder;

/// Its name in the storage folder: a JSON object on each line, only ever appended to.
const FILE: &str = "dropped.jsonl";
/// Files of one outbox that are noted at most; those of the oldest events are forgotten first.
const MOST: usize = 100_000;
/// Lines that are read before the file is rewritten, without what is repeated or forgotten.
const LINES: usize = 250_000;
/// Digits of a SHA-256 that distinguish two contents of one file.
const DIGITS: usize = 16;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    outbox: Destination,
    /// `<event id>/<file>`, or the path of a document.
    name: String,
    /// The beginning of the content's SHA-256.
    sha256: String,
}

/// By the names of outboxes, configured or not: names of files, and their content.
type Notes = BTreeMap<Destination, BTreeMap<String, String>>;

/// The notes of one storage folder.
#[derive(Debug)]
pub(super) struct Dropped {
    /// Nothing is written where another volume lies by now.
    folder: VolumeFolder,
    notes: Mutex<Notes>,
    /// Held while the file is written, so that `notes` is free for the store's writer.
    file: Mutex<()>,
}

impl Dropped {
    /// Reads what is noted in `folder`. Lines that cannot be read, such as the last one after a power cut, count as
    /// nothing.
    pub(super) fn read(folder: &Path) -> Self {
        let path = folder.join(FILE);
        let (mut notes, mut lines) = (Notes::new(), 0);
        match fs::read(&path) {
            Ok(content) => {
                for line in content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    lines += 1;
                    if let Ok(line) = serde_json::from_slice(line) {
                        add(&mut notes, line);
                    }
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => warn!(file = %path.display(), %error, "the note of dropped files cannot be read"),
        }
        if lines > LINES
            && let Err(error) = durable::replace(&path, &written(&lines_of(&notes)))
        {
            warn!(file = %path.display(), %error, "the note of dropped files cannot be made shorter");
        }
        Self { folder: VolumeFolder::new(folder), notes: Mutex::new(notes), file: Mutex::default() }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock()
    }

    /// Whether this very content was dropped from `outbox`.
    pub(super) fn holds(&self, outbox: &Destination, row: &Row) -> bool {
        let notes = self.notes();
        let Some(of_outbox) = notes.get(outbox) else { return false };
        note_of(row.asset, &row.item).is_some_and(|(name, sha256)| of_outbox.get(&name) == Some(&sha256))
    }

    /// Notes durably that `items` were dropped from `outbox`; alerts are not noted, since no rebuild queues them. Blocks.
    /// Where that fails they are dropped all the same.
    pub(super) fn note<'a>(&self, outbox: &Destination, items: impl Iterator<Item = (Option<EventId>, &'a Delivery)>) {
        let named = items.filter_map(|(event, item)| note_of(event, item));
        let lines: Vec<Line> = named.map(|(name, sha256)| Line { outbox: outbox.clone(), name, sha256 }).collect();
        if lines.is_empty() {
            return;
        }
        let _writing = self.file.lock();
        if let Err(error) = self.append(&written(&lines)) {
            let path = self.folder.path().join(FILE);
            warn!(file = %path.display(), %error, "dropped files could not be noted: they wait again should the index be rebuilt");
        }
        let mut notes = self.notes();
        let forgotten = lines.into_iter().map(|line| add(&mut notes, line)).filter(|forgotten| *forgotten);
        let forgotten = forgotten.count();
        if forgotten > 0 {
            warn!(
                %outbox,
                forgotten, "more files were dropped than are noted: the oldest wait again should the index be rebuilt"
            );
        }
    }

    fn append(&self, text: &[u8]) -> io::Result<()> {
        let is_new = !self.folder.path().join(FILE).exists();
        let mut file = self.folder.file(FILE, OFlags::WRONLY | OFlags::APPEND)?;
        // What a power cut left of the last line must not spoil this one.
        file.write_all(&[b"\n", text].concat())?;
        file.sync_all()?;
        if is_new { durable::sync_folder(self.folder.path()) } else { Ok(()) }
    }
}

/// Whether another had to be forgotten for it.
fn add(notes: &mut Notes, line: Line) -> bool {
    let of_outbox = notes.entry(line.outbox).or_default();
    of_outbox.insert(line.name, line.sha256);
    of_outbox.len() > MOST && of_outbox.pop_first().is_some()
}

fn lines_of(notes: &Notes) -> Vec<Line> {
    let line = |outbox: &Destination, name: &String, sha256: &String| Line {
        outbox: outbox.clone(),
        name: name.clone(),
        sha256: sha256.clone(),
    };
    let of_one = |(outbox, of): (&Destination, &BTreeMap<String, String>)| -> Vec<Line> {
        of.iter().map(|(name, sha256)| line(outbox, name, sha256)).collect()
    };
    notes.iter().flat_map(of_one).collect()
}

fn written(lines: &[Line]) -> Vec<u8> {
    // Strings alone: they always serialise.
    let lines = lines.iter().filter_map(|line| serde_json::to_string(line).ok());
    lines.flat_map(|line| [line, "\n".to_owned()]).collect::<String>().into_bytes()
}

/// Under which name an item is noted, and what identifies its content.
fn note_of(event: Option<EventId>, item: &Delivery) -> Option<(String, String)> {
    let (name, sha256) = match item {
        Delivery::Alert(_) => return None,
        Delivery::Upload(media) => (format!("{}/{}", event?, media.file), &media.sha256),
        Delivery::Document(document) => (document.path.clone(), &document.sha256),
    };
    Some((name, sha256.get(..DIGITS).unwrap_or(sha256).to_owned()))
}
