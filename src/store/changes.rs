//! The sequence of what happened to events, so that who follows it can go on after a restart of either side.
//!
//! A change is written in the commit that makes it. The last few thousand are kept. Numbers belong to one index: each
//! has an epoch, a random number, and one that is made again has another.

use super::StoreError;
use super::position::{Position, Sequence};
use super::schema::Counters;
use super::trees::{Database, Views};
use crate::event::{Event, EventId, EventState};

/// Changes that are kept at least.
const KEPT: u64 = 4096;
/// Changes that are removed at once, so that blocks of them are not written again and again.
const BATCH: u64 = 256;

/// What happened to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It began.
    Start,
    /// Something of it changed.
    Update,
    /// It is over.
    End,
    /// The box forgot it.
    Delete,
}

impl ChangeKind {
    const ALL: [(Self, u8); 4] = [(Self::Start, 1), (Self::Update, 2), (Self::End, 3), (Self::Delete, 4)];

    /// What became of `event`, as it was `known` before.
    pub(super) fn of(known: Option<&Event>, event: &Event) -> Self {
        let is_open = event.state == EventState::Open;
        match known {
            None if is_open => Self::Start,
            Some(known) if is_open || known.state != EventState::Open => Self::Update,
            _ => Self::End,
        }
    }

    fn written(self) -> u8 {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or(0, |(_, written)| *written)
    }

    fn read(written: u8) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == written).map(|(kind, _)| *kind)
    }
}

/// One change of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventChange {
    /// Its place in the sequence.
    pub position: Position,
    /// The event.
    pub id: EventId,
    /// What happened.
    pub kind: ChangeKind,
}

/// Begins the sequence of an index that has none: a new one, or one that an older version wrote in meanwhile.
pub(super) fn begin(db: &Database, views: &Views<'_>, counters: &mut Counters) -> Result<(), StoreError> {
    if counters.changes.last.epoch != 0 {
        return Ok(());
    }
    for key in db.changes.iter().keys() {
        views.changes.remove(key?)?;
    }
    counters.changes = Sequence { last: Position { epoch: fastrand::u32(1..), seq: 0 }, first: 1 };
    Ok(())
}

/// Adds a change.
pub(super) fn note(
    views: &Views<'_>,
    counters: &mut Counters,
    id: EventId,
    kind: ChangeKind,
) -> Result<(), StoreError> {
    let sequence = &mut counters.changes;
    sequence.last.seq += 1;
    let value = [&[kind.written()][..], &id.to_bytes()].concat();
    views.changes.insert(sequence.last.seq.to_be_bytes(), value)?;
    if sequence.last.seq - sequence.first >= KEPT + BATCH {
        for seq in sequence.first..sequence.first + BATCH {
            views.changes.remove(seq.to_be_bytes())?;
        }
        sequence.first += BATCH;
    }
    Ok(())
}

/// Up to `limit` changes behind `position` and up to `last`; `None` where some of them are not known any more.
pub(super) fn after(
    db: &Database,
    position: Position,
    last: Position,
    limit: usize,
) -> Result<Option<Vec<EventChange>>, StoreError> {
    // Nothing had happened yet, and the index had no sequence.
    let position = if position == Position::default() { Position { epoch: last.epoch, ..position } } else { position };
    if position.epoch != last.epoch || position.seq > last.seq {
        return Ok(None);
    }
    let mut changes = Vec::new();
    for entry in db.changes.range((position.seq + 1).to_be_bytes()..=last.seq.to_be_bytes()).take(limit) {
        let (key, value) = entry?;
        let seq = key.as_ref().try_into().map(u64::from_be_bytes).unwrap_or_default();
        let place = Position { seq, ..position };
        let (Some((kind, id)), true) = (value.split_first(), seq == position.seq + 1 + changes.len() as u64) else {
            return Ok(None);
        };
        let (Some(kind), Ok(id)) = (ChangeKind::read(*kind), id.try_into()) else { return Ok(None) };
        changes.push(EventChange { position: place, id: EventId::from_bytes(id), kind });
    }
    Ok((!changes.is_empty() || position.seq == last.seq || limit == 0).then_some(changes))
}
