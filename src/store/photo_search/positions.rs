//! What a search left, in the order of time.
//!
//! There are three ways, of which each is the shortest somewhere: through all photos in that order where many are wanted, by
//! the times of the wanted where they are few, and else day by day, by the lists of the days, with the times of the wanted
//! of one day after the other.

use super::super::StoreError;
use super::super::photo_order::Walk;
use super::super::photo_scope::{PhotoPosition, Scope};
use super::super::schema::id_of;
use super::super::trees::Database;
use super::chunks::Numbers;
use super::{days_between, timed};

/// When which way is taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ways {
    /// Of so many photos in the order of time, at least one has to be wanted for a walk to be the shortest way.
    pub(super) share: u64,
    /// So many wanted photos are few.
    pub(super) few: u64,
}

/// As measured with a million photos.
pub(super) const WAYS: Ways = Ways { share: 64, few: 500 };

/// Where the wanted photos stand, those that were taken last first.
pub(super) struct Positions<'a> {
    db: &'a Database,
    numbers: Numbers,
    before: Option<PhotoPosition>,
    few: u64,
    way: Way<'a>,
}

enum Way<'a> {
    /// Through all photos, of which many are wanted; so many steps are left.
    Walk(Walk, u64),
    /// By their times.
    Timed(Timed<'a>),
}

/// Photos by their times, of which not all need be known yet.
struct Timed<'a> {
    /// The days whose photos are to come, the last first.
    days: Option<Days<'a>>,
    /// Times and numbers, sorted by time; the next is at the end.
    next: Vec<(i64, u32)>,
    /// Those of one millisecond, in the order of their ids; the next is at the end.
    same: Vec<PhotoPosition>,
}

/// The rows of the lists of days, the last day first.
struct Days<'a> {
    rows: Box<dyn Iterator<Item = Result<(i32, u32, sled::IVec), StoreError>> + 'a>,
    row: Option<(i32, u32, sled::IVec)>,
}

impl<'a> Positions<'a> {
    /// Those of `numbers` below `before`, which are all of `scopes`. At most about `count` are asked for.
    pub(super) fn new(
        db: &'a Database,
        scopes: &[Scope],
        numbers: Numbers,
        before: Option<PhotoPosition>,
        count: usize,
        ways: Ways,
    ) -> Result<Self, StoreError> {
        let Ways { share, few } = ways;
        let photos = db.counters()?.photos;
        let way = if numbers.len().saturating_mul(share) > photos {
            // Twice what it takes where the wanted lie scattered; where they lie far back, another way is better.
            Way::Walk(Walk::new(db, scopes, before)?, 2 * share * count as u64)
        } else {
            Way::Timed(Timed::new(db, &numbers, before, few)?)
        };
        Ok(Self { db, numbers, before, few, way })
    }

    /// The next one.
    pub(super) fn next(&mut self) -> Result<Option<PhotoPosition>, StoreError> {
        loop {
            match &mut self.way {
                Way::Timed(timed) => return timed.next(self.db, &self.numbers, self.before),
                Way::Walk(_, 0) => self.way = Way::Timed(Timed::new(self.db, &self.numbers, self.before, self.few)?),
                Way::Walk(walk, steps) => {
                    *steps -= 1;
                    let Some((position, number)) = walk.next()? else { return Ok(None) };
                    self.before = Some(position);
                    if number.is_some_and(|number| self.numbers.contains(number)) {
                        return Ok(Some(position));
                    }
                }
            }
        }
    }
}

impl<'a> Timed<'a> {
    fn new(db: &'a Database, numbers: &Numbers, before: Option<PhotoPosition>, few: u64) -> Result<Self, StoreError> {
        if numbers.len() > few {
            return Ok(Self { days: Some(Days::new(db, before)?), next: Vec::new(), same: Vec::new() });
        }
        Ok(Self { days: None, next: sorted(db, numbers)?, same: Vec::new() })
    }

    fn next(
        &mut self,
        db: &Database,
        numbers: &Numbers,
        before: Option<PhotoPosition>,
    ) -> Result<Option<PhotoPosition>, StoreError> {
        loop {
            if let Some(position) = self.same.pop() {
                return Ok(Some(position));
            }
            if let Some((wall_ms, _)) = self.next.last().copied() {
                let first = self.next.partition_point(|(of, _)| *of < wall_ms);
                for (_, number) in self.next.drain(first..) {
                    let id = db.photo_ids.get(number.to_be_bytes())?.and_then(|bytes| id_of(&bytes));
                    self.same.extend(id.map(|id| PhotoPosition { wall_ms, id }));
                }
                self.same.retain(|position| before.is_none_or(|before| *position < before));
                self.same.sort_unstable();
                continue;
            }
            let Some(day) = self.days.as_mut().map(Days::next).transpose()?.flatten() else { return Ok(None) };
            self.next = sorted(db, &day.and(numbers))?;
        }
    }
}

fn sorted(db: &Database, numbers: &Numbers) -> Result<Vec<(i64, u32)>, StoreError> {
    let mut timed = timed(db, numbers)?;
    timed.sort_unstable();
    Ok(timed)
}

impl<'a> Days<'a> {
    fn new(db: &'a Database, before: Option<PhotoPosition>) -> Result<Self, StoreError> {
        let end = before.map_or(i64::MAX, |before| before.wall_ms);
        let mut rows = days_between(db, i64::MIN, end).rev();
        let row = rows.next().transpose()?;
        Ok(Self { rows: Box::new(rows), row })
    }

    /// The photos of the next day that has some.
    fn next(&mut self) -> Result<Option<Numbers>, StoreError> {
        let Some((day, chunk, row)) = self.row.take() else { return Ok(None) };
        let mut numbers = Numbers::default();
        numbers.add_row(chunk, &row);
        while let Some(row) = self.rows.next().transpose()? {
            if row.0 != day {
                self.row = Some(row);
                break;
            }
            numbers.add_row(row.1, &row.2);
        }
        Ok(Some(numbers))
    }
}
