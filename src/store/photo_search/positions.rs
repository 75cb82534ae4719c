//! What a search left, in the order of time.

use super::super::StoreError;
use super::super::photo_order::Walk;
use super::super::photo_scope::{PhotoPosition, Scope};
use super::super::schema::id_of;
use super::super::trees::Database;
use super::chunks::Numbers;
use super::timed;

/// Of so many photos in the order of time, at least one has to be wanted for a walk to be the shorter way.
pub(super) const SHARE: u64 = 64;

/// Where the wanted photos stand, those that were taken last first.
pub(super) struct Positions<'a> {
    db: &'a Database,
    numbers: Numbers,
    count: usize,
    before: Option<PhotoPosition>,
    way: Way,
}

enum Way {
    /// Through all photos, of which many are wanted; so many steps are left.
    Walk(Walk, u64),
    /// Sorted; the next is at the end.
    Sorted(Vec<PhotoPosition>),
}

impl<'a> Positions<'a> {
    /// Up to `count` of `numbers` below `before`, which are all of `scopes`. Walks where one of `share` photos is wanted.
    pub(super) fn new(
        db: &'a Database,
        scopes: &[Scope],
        numbers: Numbers,
        before: Option<PhotoPosition>,
        count: usize,
        share: u64,
    ) -> Result<Self, StoreError> {
        let photos = db.counters()?.photos;
        let mut this = Self { db, numbers, count, before, way: Way::Sorted(Vec::new()) };
        if this.numbers.len().saturating_mul(share) > photos {
            // Twice what it takes where the wanted lie scattered; where they lie far back, sorting is the better way.
            let steps = 2 * share * count as u64;
            this.way = Way::Walk(Walk::new(db, scopes, before)?, steps);
        } else {
            this.sort()?;
        }
        Ok(this)
    }

    fn sort(&mut self) -> Result<(), StoreError> {
        let timed = timed(self.db, &self.numbers)?;
        let mut sorted = newest(self.db, timed, self.before, self.count)?;
        sorted.reverse();
        self.way = Way::Sorted(sorted);
        Ok(())
    }

    /// The next one.
    pub(super) fn next(&mut self) -> Result<Option<PhotoPosition>, StoreError> {
        loop {
            match &mut self.way {
                Way::Sorted(sorted) => return Ok(sorted.pop()),
                Way::Walk(_, 0) => self.sort()?,
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

fn position(db: &Database, (wall_ms, number): (i64, u32)) -> Result<Option<PhotoPosition>, StoreError> {
    let id = db.photo_ids.get(number.to_be_bytes())?.and_then(|bytes| id_of(&bytes));
    Ok(id.map(|id| PhotoPosition { wall_ms, id }))
}

/// The `count` newest of `timed` below `before`, newest first. Photos of one millisecond come in the order of their ids.
fn newest(
    db: &Database,
    mut timed: Vec<(i64, u32)>,
    before: Option<PhotoPosition>,
    count: usize,
) -> Result<Vec<PhotoPosition>, StoreError> {
    if let Some(before) = before {
        timed.retain(|(wall_ms, _)| *wall_ms <= before.wall_ms);
    }
    // One more millisecond than that of the cursor may be needed where all of it is known already.
    let same = before.map_or(0, |before| timed.iter().filter(|(wall_ms, _)| *wall_ms == before.wall_ms).count());
    let wanted = count.saturating_add(same);
    if timed.len() > wanted {
        let (_, (last, _), _) = timed.select_nth_unstable_by(wanted, |a, b| b.0.cmp(&a.0));
        let last = *last;
        timed.retain(|(wall_ms, _)| *wall_ms >= last);
    }
    let mut found = Vec::with_capacity(timed.len());
    for entry in timed {
        found.extend(position(db, entry)?);
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.retain(|position| before.is_none_or(|before| *position < before));
    found.truncate(count);
    Ok(found)
}
