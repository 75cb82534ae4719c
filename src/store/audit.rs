//! Whether the index has lost rows.
//!
//! sled reads what was written since its last snapshot segment by segment. Where a message in the middle of it is
//! damaged, it goes on with the next segment: what the rest of that segment said is missing, and what came later is
//! there. Nothing fails then, and no page is damaged, but rows are gone: a clip that waits for its upload is in no
//! queue any more. The counters are written with every change, so they still count what is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::{Duration, Instant};

use tracing::info;

use super::packed::Packed;
use super::schema::{BoxCounters, Counters};
use super::trees::Database;
use super::worker::Core;
use super::{Store, StoreError};
use crate::destination::Destination;

/// Keys that are counted in one call of the reader, between which it serves others.
const AT_ONCE: usize = 10_000;
/// How often a part is counted beside changes before they have to wait for a count.
const TRIES: usize = 3;
/// How long changes may wait for it. An event that begins meanwhile is recorded that much later.
const HOLDS_UP: Duration = Duration::from_secs(3);

impl Store {
    /// Compares the numbers that are kept with what there is, and says where they differ. Takes its time beside
    /// other calls; those that change the index wait only where a difference has to be distinguished from a change.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn differences(&self) -> Result<Vec<String>, StoreError> {
        let mut found = Vec::new();
        for part in Part::ALL {
            found.extend(self.0.differences(part)?);
        }
        Ok(found)
    }

    /// Takes the store out of service when it has lost rows, and has the next start make a new index.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when it has; else when the store is out of service.
    pub fn audit(&self) -> Result<(), StoreError> {
        let found = self.differences()?;
        if found.is_empty() {
            return Ok(());
        }
        let reason = format!("a part of the index was lost: {}", found.join(", "));
        self.0.read(move |_| Err(StoreError::Corrupt(reason.into())))
    }
}

impl Core {
    fn differences(&self, part: Part) -> Result<Vec<String>, StoreError> {
        for _ in 0..TRIES {
            let before = self.read(|db| db.counters())?;
            let mut count = Count::new(part);
            while !count.is_done() {
                count = self.read(move |db| count.step(db, AT_ONCE))?;
            }
            let after = self.read(|db| db.counters())?;
            if count.differences(&before).is_empty() || count.differences(&after).is_empty() {
                return Ok(Vec::new());
            }
        }
        // Something may have changed while it was counted. On the writer's thread nothing does.
        self.on_writer(move |db, _| {
            let (begun, mut count) = (Instant::now(), Count::new(part));
            while !count.is_done() {
                if begun.elapsed() >= HOLDS_UP {
                    info!(?part, "a part of the index is too large to be compared with its counters while it changes");
                    return Ok(Vec::new());
                }
                count = count.step(db, AT_ONCE)?;
            }
            Ok(count.differences(&db.counters()?))
        })
    }
}

/// What is counted together, because one change changes all of it.
#[derive(Clone, Copy, Debug)]
enum Part {
    Queues,
    Events,
    Files,
    FilesByWorth,
    FilesByAge,
    Photos,
}

impl Part {
    const ALL: [Self; 6] =
        [Self::Queues, Self::Events, Self::Files, Self::FilesByWorth, Self::FilesByAge, Self::Photos];

    fn trees(self, db: &Database) -> Vec<&Packed> {
        match self {
            Self::Queues => vec![&db.outbox, &db.documents, &db.uploads, &db.dead],
            Self::Events => vec![&db.open, &db.events, &db.by_camera],
            Self::Files => vec![&db.files],
            Self::FilesByWorth => vec![&db.held],
            Self::FilesByAge => vec![&db.aged],
            Self::Photos => vec![&db.photos, &db.photo_order, &db.photo_contents],
        }
    }
}

/// Rows of one tree: of queues by the outbox, of others all under one name.
type Rows = BTreeMap<String, u64>;

/// A part as far as it was counted.
struct Count {
    part: Part,
    /// Of the trees that were counted, and the one that is being counted.
    rows: Vec<Rows>,
    /// The last key that was counted of the current tree.
    at: Option<sled::IVec>,
    done: bool,
}

impl Count {
    fn new(part: Part) -> Self {
        Self { part, rows: vec![Rows::new()], at: None, done: false }
    }

    fn is_done(&self) -> bool {
        self.done
    }

    /// Counts up to `most` keys more.
    fn step(mut self, db: &Database, most: usize) -> Result<Self, StoreError> {
        let trees = self.part.trees(db);
        let mut left = most;
        while let (Some(tree), Some(rows)) = (trees.get(self.rows.len() - 1), self.rows.last_mut()) {
            let from = self.at.take().map_or(Bound::Unbounded, Bound::Excluded);
            for key in tree.range((from, Bound::Unbounded)).keys() {
                let key = key?;
                let outbox = match self.part {
                    Part::Queues => key.split(|byte| *byte == 0).next().unwrap_or_default(),
                    _ => &[],
                };
                let outbox = std::str::from_utf8(outbox).unwrap_or("?");
                match rows.get_mut(outbox) {
                    Some(rows) => *rows += 1,
                    None => drop(rows.insert(outbox.to_owned(), 1)),
                }
                left -= 1;
                if left == 0 {
                    self.at = Some(key);
                    return Ok(self);
                }
            }
            if self.rows.len() == trees.len() {
                break;
            }
            self.rows.push(Rows::new());
        }
        self.done = true;
        Ok(self)
    }

    /// Where `counters` say something else.
    fn differences(&self, counters: &Counters) -> Vec<String> {
        let all = |rows: &Rows| rows.values().sum::<u64>();
        let files = counters.held.values().map(|held| held.files).sum();
        match (self.part, &*self.rows) {
            (Part::Queues, [outbox, documents, uploads, dead]) => {
                in_queues(counters, [outbox, documents, uploads, dead])
            }
            (Part::Events, [open, events, by_camera]) => [
                difference("open events", counters.open, all(open)),
                difference("events", counters.events, all(events)),
                difference("events by camera", counters.events, all(by_camera)),
            ]
            .into_iter()
            .flatten()
            .collect(),
            (Part::Files, [rows]) => difference("files", files, all(rows)).into_iter().collect(),
            (Part::FilesByWorth, [rows]) => difference("files by worth", files, all(rows)).into_iter().collect(),
            (Part::FilesByAge, [rows]) => difference("files by age", files, all(rows)).into_iter().collect(),
            (Part::Photos, [photos, by_time, by_content]) => [
                difference("photos", counters.photos, all(photos)),
                difference("photos by time", counters.photos, all(by_time)),
                difference("photos by content", counters.photos, all(by_content)),
            ]
            .into_iter()
            .flatten()
            .collect(),
            _ => Vec::new(),
        }
    }
}

fn in_queues(counters: &Counters, [items, documents, uploads, dead]: [&Rows; 4]) -> Vec<String> {
    let of = |rows: &Rows, outbox: &str| rows.get(outbox).copied().unwrap_or_default();
    let mut found = Vec::new();
    let none = BoxCounters::default();
    let uncounted = [items, documents, dead].into_iter().flat_map(Rows::keys);
    let counted = counters.outboxes.keys().map(Destination::as_str);
    let names: BTreeSet<&str> = counted.chain(uncounted.map(String::as_str)).collect();
    for outbox in names {
        let counted = counters.outboxes.get(outbox).unwrap_or(&none);
        let there = of(items, outbox) + of(documents, outbox);
        found.extend(difference(&format!("items of {outbox}"), counted.items, there));
        found.extend(difference(&format!("dead letters of {outbox}"), counted.dead, of(dead, outbox)));
        // The lake also has items of events that are gone, which have no file.
        if outbox.parse().is_ok_and(|to: Destination| to.takes_files()) {
            found.extend(difference(&format!("files queued for {outbox}"), counted.items, of(uploads, outbox)));
        }
    }
    found
}

fn difference(what: &str, counted: u64, found: u64) -> Option<String> {
    (counted != found).then(|| format!("it counts {counted} {what}, but has {found}"))
}
