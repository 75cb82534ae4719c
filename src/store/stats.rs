//! Numbers for the page and the metrics, from counters that every commit keeps.

use serde::Serialize;

use super::StoreError;
use super::schema::{Database, Row, decode, prefix};
use crate::clock::Moment;
use crate::event::EventId;

/// What is in the store.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Events in the index.
    pub events: u64,
    /// Of these, events that have not ended.
    pub open: u64,
    /// Flushes since the store was opened; many calls share one.
    pub flushes: u64,
    /// The outboxes that ever held something, by name.
    pub outboxes: Vec<OutboxStats>,
}

/// What is in one outbox.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutboxStats {
    /// `mqtt`, `upload/<name>`.
    pub name: String,
    /// Items waiting.
    pub items: u64,
    /// Sum of the sizes of the files waiting.
    pub bytes: u64,
    /// When the oldest waiting item was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Moment>,
    /// Items that were given up.
    pub dead_letters: u64,
}

/// For each event the outboxes among `names` that still hold files of it.
pub(super) fn waiting_uploads(
    db: &Database,
    names: &[String],
    ids: &[EventId],
) -> Result<Vec<Vec<String>>, StoreError> {
    let holds = |name: &String, id: &EventId| {
        let mut key = prefix(name);
        key.extend_from_slice(&id.to_bytes());
        db.uploads.scan_prefix(key).next().transpose().map(|found| found.is_some())
    };
    let mut all = Vec::with_capacity(ids.len());
    for id in ids {
        let mut waiting = Vec::new();
        for name in names {
            if holds(name, id)? {
                waiting.push(name.clone());
            }
        }
        all.push(waiting);
    }
    Ok(all)
}

pub(super) fn read(db: &Database, flushes: u64) -> Result<Stats, StoreError> {
    let counters = db.counters()?;
    let mut outboxes = Vec::with_capacity(counters.outboxes.len());
    for (name, numbers) in counters.outboxes {
        let first = db.outbox.scan_prefix(prefix(&name)).next().transpose()?;
        let oldest = first.map(|(_, row)| decode::<Row>(&row)).transpose()?.map(|row| row.created);
        outboxes.push(OutboxStats {
            name,
            items: numbers.items,
            bytes: numbers.bytes,
            oldest,
            dead_letters: numbers.dead,
        });
    }
    Ok(Stats { events: counters.events, open: counters.open, flushes, outboxes })
}
