//! When the events of a stretch of ids began, at the earliest and at the latest: a search by time passes over the others.
//!
//! Ids are in the order in which events were recorded, and times nearly are. Nearly: a clock may have been wrong for a
//! while. So nothing is concluded from an id; what is noted here is what the events say, and only ever widens. A stretch
//! has the ids of about 70 minutes, a year 7,500 of them.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;

use jiff::Timestamp;
use sled::IVec;

use super::StoreError;
use super::packed::{Packed, Scan};
use super::schema::id_of;
use super::trees::{Database, Views};
use crate::event::{Event, EventId};

/// Bits of an id's milliseconds that are the same for one stretch.
const SHIFT: u32 = 22;
/// Key in `meta`: the first stretch of which all events are noted.
const COMPLETE_FROM: &str = "event_times_from";

/// The stretch that an id lies in.
fn stretch_of(id: EventId) -> u32 {
    let bytes = id.to_bytes();
    let ms = bytes.iter().take(6).fold(0_u64, |ms, byte| ms << 8 | u64::from(*byte));
    u32::try_from(ms >> SHIFT).unwrap_or(u32::MAX)
}

/// The lowest id of a stretch.
fn first_of(stretch: u32) -> [u8; 16] {
    let ms = u64::from(stretch) << SHIFT;
    let mut id = [0; 16];
    for (byte, ms) in id.iter_mut().zip(ms.to_be_bytes().into_iter().skip(2)) {
        *byte = ms;
    }
    id
}

/// Notes in an index of an older version that nothing is known of the events in it.
pub(super) fn begin_after(newest: Option<EventId>) -> (&'static str, [u8; 4]) {
    (COMPLETE_FROM, newest.map_or(0, |id| stretch_of(id) + 1).to_be_bytes())
}

/// Notes when an event began.
pub(super) fn note(views: &Views<'_>, event: &Event) -> Result<(), StoreError> {
    let (key, at) = (stretch_of(event.id).to_be_bytes(), event.start.wall.as_millisecond());
    let known = views.event_times.get(key)?.and_then(|row| read(&row));
    let (earliest, latest) = known.map_or((at, at), |(earliest, latest)| (earliest.min(at), latest.max(at)));
    if known != Some((earliest, latest)) {
        let row = [earliest.to_be_bytes(), latest.to_be_bytes()].concat();
        views.event_times.insert(key, row)?;
    }
    Ok(())
}

fn read(row: &[u8]) -> Option<(i64, i64)> {
    match row.as_chunks().0 {
        [earliest, latest] => Some((i64::from_be_bytes(*earliest), i64::from_be_bytes(*latest))),
        _ => None,
    }
}

/// Which stretches have no event within a time.
#[derive(Debug)]
struct Passed {
    known: BTreeMap<u32, (i64, i64)>,
    complete_from: u32,
    since: i64,
    until: i64,
}

impl Passed {
    fn new(db: &Database, since: Option<Timestamp>, until: Option<Timestamp>) -> Result<Self, StoreError> {
        let complete_from = db.meta.get(COMPLETE_FROM)?.and_then(|row| row.as_ref().try_into().ok());
        let mut known = BTreeMap::new();
        for entry in db.event_times.iter() {
            let (key, row) = entry?;
            let stretch = key.as_ref().try_into().ok().map(u32::from_be_bytes);
            known.extend(stretch.zip(read(&row)));
        }
        Ok(Self {
            known,
            complete_from: complete_from.map_or(u32::MAX, u32::from_be_bytes),
            since: since.map_or(i64::MIN, |at| at.as_millisecond()),
            until: until.map_or(i64::MAX, |at| at.as_millisecond()),
        })
    }

    fn is_passed(&self, stretch: u32) -> bool {
        let touches = |(earliest, latest): &(i64, i64)| *latest >= self.since && *earliest <= self.until;
        stretch >= self.complete_from && !self.known.get(&stretch).is_some_and(touches)
    }

    /// Below which id the walk goes on, where the stretch of `id` has none that is wanted.
    fn below(&self, id: EventId) -> Option<[u8; 16]> {
        let stretch = stretch_of(id);
        if !self.is_passed(stretch) {
            return None;
        }
        let next = self.known.range(..stretch).rev().map(|(known, _)| *known).find(|known| !self.is_passed(*known));
        let next = next.map_or(0, |known| known + 1);
        // What lies before that is not noted.
        Some(first_of(next.max(self.complete_from)))
    }
}

/// Ids of events, or keys that end in one, by falling id.
pub(super) struct IdWalk<'a> {
    tree: &'a Packed,
    prefix: Vec<u8>,
    low: Bound<Vec<u8>>,
    rows: Option<Scan>,
    passed: Option<Rc<Passed>>,
}

/// Walks over events by falling id, with what they pass over.
pub(super) struct Walks(Option<Rc<Passed>>);

impl Walks {
    /// Over events that may have begun within this time.
    pub(super) fn new(db: &Database, since: Option<Timestamp>, until: Option<Timestamp>) -> Result<Self, StoreError> {
        if since.is_none() && until.is_none() {
            return Ok(Self(None));
        }
        Ok(Self(Some(Passed::new(db, since, until)?.into())))
    }

    /// Keys of `tree` that begin with `prefix` and end in an id above `after` and below `before`.
    pub(super) fn of<'a>(
        &self,
        tree: &'a Packed,
        prefix: Vec<u8>,
        after: Option<EventId>,
        before: Option<EventId>,
    ) -> IdWalk<'a> {
        let key = |id: EventId| [prefix.as_slice(), &id.to_bytes()].concat();
        let low = after.map_or_else(|| Bound::Included(prefix.clone()), |id| Bound::Excluded(key(id)));
        // Past all ids: one byte more than the highest.
        let end = before.map_or_else(|| vec![0xff; 17], |id| id.to_bytes().to_vec());
        let mut walk = IdWalk { tree, prefix, low, rows: None, passed: self.0.clone() };
        walk.go_below(&end);
        walk
    }
}

impl IdWalk<'_> {
    fn go_below(&mut self, id: &[u8]) {
        let high = [self.prefix.as_slice(), id].concat();
        // Bounds that cross are none that a tree knows.
        let is_crossed = matches!(&self.low, Bound::Excluded(low) | Bound::Included(low) if *low >= high);
        self.rows = (!is_crossed).then(|| self.tree.range((self.low.clone(), Bound::Excluded(high))));
    }

    /// The next id, with the value of its row.
    pub(super) fn next(&mut self) -> Result<Option<(EventId, IVec)>, StoreError> {
        while let Some(rows) = &mut self.rows {
            let Some((key, value)) = rows.next_back().transpose()? else { return Ok(None) };
            let Some(id) = id_of(&key) else { continue };
            match self.passed.as_ref().and_then(|passed| passed.below(id)) {
                Some(below) => self.go_below(&below),
                None => return Ok(Some((id, value))),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_begins_with_its_first_id() {
        for stretch in [0, 1, 417_000, (1 << 26) - 1] {
            let first = EventId::from_bytes(first_of(stretch));
            assert_eq!(stretch_of(first), stretch);
            assert!(stretch == 0 || stretch_of(below(first)) == stretch - 1);
        }
    }

    fn below(id: EventId) -> EventId {
        EventId::from_bytes((u128::from_be_bytes(id.to_bytes()) - 1).to_be_bytes())
    }

    #[test]
    fn what_is_not_noted_is_looked_at() {
        let passed = Passed {
            known: [(7, (0, 10)), (8, (100, 110)), (9, (200, 210)), (10, (300, 310))].into(),
            complete_from: 7,
            since: 100,
            until: 105,
        };
        let below = |stretch: u32| passed.below(EventId::from_bytes(first_of(stretch))).map(EventId::from_bytes);
        assert_eq!(below(10).map(stretch_of), Some(9), "the first id of what follows what is wanted");
        assert_eq!(below(8), None);
        assert_eq!(below(7), Some(EventId::from_bytes(first_of(7))), "then what is not noted");
        assert_eq!(below(6), None);
        assert_eq!(below(12).map(stretch_of), Some(9), "no event was noted there");
    }
}
