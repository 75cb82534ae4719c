//! Few files instead of many, and none that is not needed.
//!
//! Files that wait for the same destinations, of one table and day, become one: the new file is written, then takes
//! the place of the old ones in every queue in one step of the index ([`crate::store::Outboxes::supersede`]), and only
//! then are those deleted. A queue that has sent one of them, or sends one at this moment, keeps the old files.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use tracing::{debug, error, info};

use super::Lake;
use super::folder::Piece;
use super::rows::Rows;
use super::table::Table;
use crate::destination::Destination;
use crate::store::Delivery;

/// A file of this size is not merged with others any more; so much is read at a time.
const FULL: u64 = 1 << 20;
/// Files of a day that is not over are merged once there are so many, so that no row is merged each time.
const MANY: usize = 8;
/// Dead letters of a queue that are looked through for files of the lake; uploaders keep fewer.
const DEAD: usize = 2000;

/// Table, day, and the queues that hold a file.
type Group = (Table, Date, Vec<Destination>);

impl Lake {
    /// Merges what waits, and deletes what does not wait any more.
    pub(super) fn tidy(&mut self) -> Result<()> {
        self.sweep()?;
        self.compact()?;
        self.bound()
    }

    /// Deletes files that every destination has, and those that a stop left before they were queued.
    fn sweep(&mut self) -> Result<()> {
        let mut unwanted = Vec::new();
        for (piece, _) in self.files.pieces() {
            if self.deps.store.outboxes().waits_in(&piece.path())?.is_empty() {
                unwanted.push(piece);
            }
        }
        if unwanted.is_empty() {
            return Ok(());
        }
        let dead = self.dead_letters()?;
        unwanted.iter().filter(|piece| !dead.contains(&piece.path())).try_for_each(|piece| self.files.remove(piece))
    }

    /// Documents that were given up; they may be retried.
    fn dead_letters(&self) -> Result<BTreeSet<String>> {
        let mut paths = BTreeSet::new();
        for outbox in &self.deps.uploads {
            for letter in self.deps.runtime.block_on(outbox.dead_letters(DEAD))? {
                if let Delivery::Document(document) = letter.item {
                    paths.insert(document.path);
                }
            }
        }
        Ok(paths)
    }

    fn compact(&mut self) -> Result<()> {
        let today = self.deps.clock.wall().to_zoned(TimeZone::UTC).date();
        let mut groups = BTreeMap::<Group, Vec<(Piece, u64)>>::new();
        for (piece, bytes) in self.files.pieces().into_iter().filter(|(_, bytes)| *bytes < FULL) {
            let waits_in = self.deps.store.outboxes().waits_in(&piece.path())?;
            if !waits_in.is_empty() {
                groups.entry((piece.table, piece.date, waits_in)).or_default().push((piece, bytes));
            }
        }
        for ((_, date, _), pieces) in groups {
            let enough = if date == today { MANY } else { 2 };
            for run in runs(pieces).into_iter().filter(|run| run.len() >= enough) {
                self.merge(&run)?;
                self.heartbeat.beat();
            }
        }
        Ok(())
    }

    fn merge(&mut self, pieces: &[Piece]) -> Result<()> {
        let Some(first) = pieces.first() else { return Ok(()) };
        let (mut rows, mut merged) = (Rows::new(first.table), Vec::new());
        for piece in pieces {
            match self.files.get(piece).and_then(|more| rows.append(more)) {
                Ok(()) => merged.push(piece.path()),
                // The uploader will find it damaged too, and say so.
                Err(failure) => debug!(error = format!("{failure:#}"), "a file of the lake is not merged"),
            }
        }
        if merged.len() < 2 {
            return Ok(());
        }
        let (files, into) = (merged.len(), Piece { last: self.numbers.next()?, ..first.clone() });
        let document = self.files.put(&into, &rows)?;
        (self.between_steps)()?;
        self.deps.store.outboxes().supersede(merged, Some(document)).context("queue a merged file of the lake")?;
        (self.between_steps)()?;
        info!(table = %into.table, date = %into.date, files, rows = rows.len(), "merged files of the lake that wait");
        self.sweep()
    }

    /// Gives up the least precious files where all together take more than they may.
    fn bound(&mut self) -> Result<()> {
        let mut pieces = self.files.pieces();
        let mut total: u64 = pieces.iter().map(|(_, bytes)| bytes).sum();
        pieces.sort_by_key(|(piece, _)| (std::cmp::Reverse(piece.table), piece.date, piece.first));
        for (piece, bytes) in pieces {
            if total <= self.config.max_bytes {
                break;
            }
            let path = piece.path();
            // Each queue on its own terms; one that sends it at this moment keeps it.
            self.deps.store.outboxes().supersede(vec![path.clone()], None)?;
            if self.deps.store.outboxes().waits_in(&path)?.is_empty() {
                error!(file = path, bytes, "lake.max_bytes is reached: a file that was not delivered is given up");
                self.files.remove(&piece)?;
                total = total.saturating_sub(bytes);
            }
        }
        Ok(())
    }
}

/// What becomes one file: neighbours, up to the size that is enough.
fn runs(pieces: Vec<(Piece, u64)>) -> Vec<Vec<Piece>> {
    let (mut runs, mut total) = (Vec::<Vec<Piece>>::new(), FULL);
    for (piece, bytes) in pieces {
        total += bytes;
        match runs.last_mut().filter(|_| total <= FULL) {
            Some(run) => run.push(piece),
            None => {
                runs.push(vec![piece]);
                total = bytes;
            }
        }
    }
    runs
}
