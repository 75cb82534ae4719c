//! What may be deleted, in order: reads of the catalogue. `retention` decides when.

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};

use super::super::schema::{decode, id_of};
use super::super::trees::Database;
use super::super::{StoreError, event_log};
use super::write::{PLACED_FOR, UNCATALOGUED};
use super::{Class, HeldFile, Row, UNDATED, file_of, hold, tier};
use crate::asset::{AssetId, FileId, MediaKind};
use crate::destination::Destination;
use crate::event::{Event, EventId};

/// A place in a scan, for the next call to go on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(Vec<u8>);

/// The catalogue as one call sees it.
pub(super) struct Reader<'a> {
    pub db: &'a Database,
    pub destinations: Vec<&'a Destination>,
}

/// Files to delete, each once.
struct Pick {
    files: Vec<HeldFile>,
    known: BTreeSet<FileId>,
    bytes: u64,
    enough: u64,
    max: usize,
}

impl Pick {
    fn new(enough: u64, max: usize) -> Self {
        Self { files: Vec::new(), known: BTreeSet::new(), bytes: 0, enough, max }
    }

    fn is_done(&self) -> bool {
        self.bytes >= self.enough || self.files.len() >= self.max
    }

    fn add(&mut self, file: HeldFile) {
        if self.known.insert(file.id()) {
            self.bytes = self.bytes.saturating_add(file.media.bytes);
            self.files.push(file);
        }
    }
}

impl Reader<'_> {
    /// The files that go next when `bytes` are needed: at most about `max`, and as many as make up `bytes`, if that is
    /// what is needed.
    /// First what every destination has, then what of a class was recorded at the dates given in `overdue`,
    /// then by value; metadata last, if it helps, and never while a destination is to get it.
    pub(super) fn evictable(
        &self,
        bytes: Option<u64>,
        overdue: &[(Class, Range<u64>)],
        max: usize,
    ) -> Result<Vec<HeldFile>, StoreError> {
        let newest = event_log::newest_id(self.db)?;
        let mut pick = Pick::new(bytes.unwrap_or(u64::MAX), max);
        self.pick_tier(&mut pick, tier::DELIVERED, newest)?;
        for (class, dates) in overdue.iter().filter(|(class, _)| *class != Class::Metadata) {
            for hold in [hold::FREE, hold::WAITING] {
                let [from, to] = aged_range(hold, *class, dates);
                for key in self.db.aged.range(from..to).keys() {
                    if pick.is_done() {
                        return Ok(pick.files);
                    }
                    self.pick(&mut pick, &key?, 10, newest)?;
                }
            }
        }
        self.pick_tier(&mut pick, tier::UNDELIVERED, newest)?;
        // Metadata are small: where all of them together would not make the room, they are not given up in vain.
        let metadata = self.db.counters()?.held.get(&Class::Metadata).map_or(0, |held| held.bytes);
        if bytes.is_none_or(|bytes| metadata >= bytes.saturating_sub(pick.bytes)) {
            self.pick_tier(&mut pick, tier::METADATA_DELIVERED, newest)?;
            self.pick_tier(&mut pick, tier::METADATA_FREE, newest)?;
        }
        Ok(pick.files)
    }

    fn pick_tier(&self, pick: &mut Pick, tier: u8, newest: Option<EventId>) -> Result<(), StoreError> {
        for key in self.db.held.scan_prefix([tier]).keys() {
            if pick.is_done() {
                break;
            }
            self.pick(pick, &key?, 2, newest)?;
        }
        Ok(())
    }

    fn pick(&self, pick: &mut Pick, key: &[u8], skip: usize, newest: Option<EventId>) -> Result<(), StoreError> {
        let Some(file) = file_of(key, skip) else { return Ok(()) };
        if file.kind() == MediaKind::EventSidecar {
            self.whole_event(file.asset, newest, false)?.into_iter().for_each(|file| pick.add(file));
        } else if let Some(row) = self.row(&file)? {
            pick.add(row.held(&file, &self.destinations));
        }
        Ok(())
    }

    /// Files of `class` recorded at one of `dates`, oldest first, for which nothing waits unless
    /// `waiting_too`. `after` is where the last call stopped; no cursor comes back when all were seen.
    pub(super) fn expired(
        &self,
        class: Class,
        dates: &Range<u64>,
        waiting_too: bool,
        after: Option<&Cursor>,
        max: usize,
    ) -> Result<(Vec<HeldFile>, Option<Cursor>), StoreError> {
        let newest = event_log::newest_id(self.db)?;
        let mut pick = Pick::new(u64::MAX, max);
        let holds: &[u8] = if waiting_too { &[hold::FREE, hold::WAITING] } else { &[hold::FREE] };
        let mut last = None;
        for hold in holds {
            let [from, to] = aged_range(*hold, class, dates);
            let from = after.map_or(from.clone(), |Cursor(after)| from.max([after.as_slice(), &[0]].concat()));
            if from >= to {
                continue;
            }
            for (seen, key) in self.db.aged.range(from..to).keys().enumerate() {
                // Also bounds what is passed over, so that one call is short.
                if pick.is_done() || seen >= 4 * max {
                    return Ok((pick.files, last));
                }
                let key = key?;
                last = Some(Cursor(key.to_vec()));
                let Some(file) = file_of(&key, 10) else { continue };
                if file.kind() == MediaKind::EventSidecar {
                    self.whole_event(file.asset, newest, waiting_too)?.into_iter().for_each(|file| pick.add(file));
                } else if class != Class::Metadata
                    && let Some(row) = self.row(&file)?
                {
                    // A thumbnail is as old as its sidecar and goes with it.
                    pick.add(row.held(&file, &self.destinations));
                }
            }
        }
        Ok((pick.files, None))
    }

    /// Everything of an event, since without its sidecar the rest is nothing; or nothing, while some of it must
    /// stay. The newest event stays in any case: new ids are counted on from it.
    fn whole_event(
        &self,
        id: EventId,
        newest: Option<EventId>,
        waiting_too: bool,
    ) -> Result<Vec<HeldFile>, StoreError> {
        let rows = self.rows(id)?;
        let may_go = |row: &Row| row.place.tier <= tier::CONDEMNED && (waiting_too || !row.waits(&self.destinations));
        if newest == Some(id) || !rows.iter().all(|(_, row)| may_go(row)) {
            return Ok(Vec::new());
        }
        Ok(rows.into_iter().map(|(file, row)| row.held(&FileId::new(id, file), &self.destinations)).collect())
    }

    /// All files of one event or segment.
    pub(super) fn files_of(&self, id: AssetId) -> Result<Vec<HeldFile>, StoreError> {
        Ok(self.rows(id)?.into_iter().map(|(file, row)| row.held(&FileId::new(id, file), &self.destinations)).collect())
    }

    pub(super) fn rows(&self, id: AssetId) -> Result<Vec<(String, Row)>, StoreError> {
        let mut rows = Vec::new();
        for entry in self.db.files.scan_prefix(id.to_bytes()) {
            let (key, row) = entry?;
            if let Some(file) = file_of(&key, 0) {
                rows.push((file.name, decode(&row)?));
            }
        }
        Ok(rows)
    }

    fn row(&self, file: &FileId) -> Result<Option<Row>, StoreError> {
        self.db.files.get(file.to_bytes())?.map(|row| decode(&row)).transpose()
    }

    /// Files whose deletion has begun, in the order of their events. `after` as in [`Reader::expired`].
    pub(super) fn condemned(
        &self,
        after: Option<&Cursor>,
        max: usize,
    ) -> Result<(Vec<HeldFile>, Option<Cursor>), StoreError> {
        let from = after.map_or_else(|| vec![tier::CONDEMNED], |Cursor(after)| [after.as_slice(), &[0]].concat());
        let mut found = Vec::new();
        for key in self.db.held.range(from..vec![tier::CONDEMNED + 1]).keys() {
            let key = key?;
            let Some(file) = file_of(&key, 2) else { continue };
            if let Some(row) = self.row(&file)? {
                found.push(row.held(&file, &self.destinations));
            }
            if found.len() >= max {
                return Ok((found, Some(Cursor(key.to_vec()))));
            }
        }
        Ok((found, None))
    }

    /// Files recorded at one of `dates`, those that may not be deleted by age left out. [`UNDATED`] is the date
    /// of files without one.
    pub(super) fn dated(&self, dates: &RangeInclusive<u64>, max: usize) -> Result<Vec<FileId>, StoreError> {
        let mut found = Vec::new();
        for hold in [hold::FREE, hold::WAITING] {
            for class in Class::ALL {
                let key = |date: &u64, end: &[u8]| [&[hold, class as u8], date.to_be_bytes().as_slice(), end].concat();
                let range = key(dates.start(), &[])..key(dates.end(), &[0xff; 32]);
                for key in self.db.aged.range(range).keys().take(max.saturating_sub(found.len())) {
                    found.extend(file_of(&key?, 10));
                }
            }
        }
        Ok(found)
    }

    /// Whether the places of all rows were computed for the destinations that are configured now.
    pub(super) fn is_placed(&self) -> Result<bool, StoreError> {
        let placed: Option<Vec<Destination>> = self.db.meta.get(PLACED_FOR)?.map(|names| decode(&names)).transpose()?;
        let placed = placed.as_deref().unwrap_or_default();
        Ok(placed.iter().eq(self.destinations.iter().copied()))
    }

    /// The next rows of all.
    pub(super) fn all(&self, after: Option<&Cursor>, max: usize) -> Result<(Vec<FileId>, Option<Cursor>), StoreError> {
        let from = after.map_or_else(Vec::new, |Cursor(after)| [after.as_slice(), &[0]].concat());
        let mut found = Vec::new();
        for key in self.db.files.range(from..).keys().take(max) {
            let key = key?;
            found.extend(file_of(&key, 0));
            if found.len() == max {
                return Ok((found, Some(Cursor(key.to_vec()))));
            }
        }
        Ok((found, None))
    }

    /// The next events of an older schema whose files are not in the catalogue yet, and the last id that was
    /// looked at. `None`: all were.
    pub(super) fn uncatalogued(&self, max: usize) -> Result<Option<(Vec<Event>, EventId)>, StoreError> {
        let Some(done) = self.db.meta.get(UNCATALOGUED)? else { return Ok(None) };
        let (mut events, mut last) = (Vec::new(), None);
        for entry in self.db.events.range([done.as_ref(), &[0]].concat()..).take(max) {
            let (key, json) = entry?;
            last = id_of(&key);
            // One that cannot be read was reported by others, and must not hold up the rest.
            events.extend(decode::<Event>(&json));
        }
        Ok(last.map(|last| (events, last)))
    }
}

fn aged_range(hold: u8, class: Class, dates: &Range<u64>) -> [Vec<u8>; 2] {
    let key = |date: u64| [[hold, class as u8].as_slice(), &date.to_be_bytes()].concat();
    [key(dates.start), key(dates.end.min(UNDATED))]
}
