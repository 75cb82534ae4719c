//! What people say of events, and who has looked them through: in rows of their own, so that those of events stay small
//! and are written without regard to them.

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::StoreError;
use super::packed::{Packed, Scan};
use super::schema::{decode, id_of};
use super::trees::Database;
use crate::event::{Annotations, Event, EventId, Reviewed};

/// The row of an event.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    #[serde(flatten)]
    pub said: Option<Annotations>,
    /// `event.json` does not say so yet, or not that the event is pinned.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unwritten: bool,
}

/// Events whose `event.json` is still to say what people say, oldest first.
pub(super) fn unwritten(db: &Database) -> Result<Vec<EventId>, StoreError> {
    let mut found = Vec::new();
    for entry in db.annotations.iter() {
        let (key, row) = entry?;
        if decode::<Row>(&row).is_ok_and(|row| row.unwritten) {
            found.extend(id_of(&key));
        }
    }
    Ok(found)
}

/// `event` with what people say of it.
pub(super) fn with(db: &Database, mut event: Event) -> Result<Event, StoreError> {
    let row = db.annotations.get(event.id.to_bytes())?;
    event.annotations = row.map(|row| decode::<Row>(&row)).transpose()?.and_then(|row| row.said);
    Ok(event)
}

/// Who has looked each of `ids` through.
pub(super) fn reviewed(db: &Database, ids: &[EventId]) -> Result<Vec<Vec<Reviewed>>, StoreError> {
    let mut rows = db.reviewed.lookup();
    ids.iter()
        .map(|id| Ok(rows.get(&id.to_bytes())?.map(|row| decode(&row)).transpose()?.unwrap_or_default()))
        .collect()
}

/// Rows by falling id, beside a walk over events by falling id.
pub(super) struct Beside {
    rows: Scan,
    head: Option<(EventId, sled::IVec)>,
}

impl Beside {
    /// Of rows below `before`.
    pub(super) fn new(tree: &Packed, before: Option<EventId>) -> Self {
        // Past all ids: one byte more than the highest.
        let end = before.map_or_else(|| vec![0xff; 17], |id| id.to_bytes().to_vec());
        Self { rows: tree.range(..end), head: None }
    }

    /// The row of `id`, which is below those that were asked for before.
    pub(super) fn of(&mut self, id: EventId) -> Result<Option<&sled::IVec>, StoreError> {
        while self.head.as_ref().is_none_or(|(head, _)| *head > id) {
            let Some(entry) = self.rows.next_back() else { return Ok(None) };
            let (key, row) = entry?;
            self.head = id_of(&key).map(|id| (id, row));
        }
        Ok(self.head.as_ref().filter(|(head, _)| *head == id).map(|(_, row)| row))
    }

    /// The same, read; what cannot be read counts as nothing.
    pub(super) fn said(&mut self, id: EventId) -> Result<Option<Annotations>, StoreError> {
        let row = self.of(id)?.map(|row| decode::<Row>(row)).transpose();
        Ok(row
            .inspect_err(|error| warn!(event = %id, %error, "what people say of an event is skipped"))
            .ok()
            .flatten()
            .and_then(|row| row.said))
    }

    /// Whether `by` is among those who have looked `id` through.
    pub(super) fn is_by(&mut self, id: EventId, by: &str) -> Result<bool, StoreError> {
        let row = self.of(id)?.map(|row| decode::<Vec<Reviewed>>(row)).transpose();
        Ok(row.ok().flatten().is_some_and(|all| all.iter().any(|reviewed| *reviewed.by == *by)))
    }
}
