//! Numbers for the page and the metrics, from counters that every commit keeps.

use std::collections::BTreeMap;

use serde::Serialize;

use super::StoreError;
use super::catalog::Class;
use super::place::{Lane, lane_prefix};
use super::schema::{Row, decode, prefix, seq_of};
use super::trees::Database;
use crate::clock::Moment;
use crate::destination::Destination;
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
    /// Files that the box holds, by class; those of events going on only as far as they were recorded.
    pub held: BTreeMap<Class, HeldStats>,
}

/// What the box holds of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HeldStats {
    /// Files.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
}

/// What is in one outbox.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutboxStats {
    /// Where its items go.
    pub name: Destination,
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

/// Whether a file of the event waits in `outbox`.
pub(super) fn holds_files(db: &Database, outbox: &Destination, id: EventId) -> Result<bool, StoreError> {
    let mut key = prefix(outbox.as_str());
    key.extend_from_slice(&id.to_bytes());
    Ok(db.uploads.scan_prefix(key).next().transpose()?.is_some())
}

/// When the item that waits the longest was recorded.
fn oldest(db: &Database, outbox: &Destination) -> Result<Option<Moment>, StoreError> {
    let mut first = None;
    let lanes = [None].into_iter().chain(Lane::ALL.map(Some));
    let lanes = lanes.map(|lane| db.outbox.scan_prefix(lane_prefix(outbox, lane)));
    for mut items in lanes.chain([db.documents.scan_prefix(prefix(outbox.as_str()))]) {
        if let Some((key, row)) = items.next().transpose()? {
            let found = (seq_of(&key), row);
            first = Some(first.map_or_else(|| found.clone(), |known| found.clone().min(known)));
        }
    }
    Ok(first.map(|(_, row)| decode::<Row>(&row)).transpose()?.map(|row| row.created))
}

pub(super) fn read(db: &Database, flushes: u64) -> Result<Stats, StoreError> {
    let counters = db.counters()?;
    let mut outboxes = Vec::with_capacity(counters.outboxes.len());
    for (name, numbers) in counters.outboxes {
        let oldest = oldest(db, &name)?;
        outboxes.push(OutboxStats {
            name,
            items: numbers.items,
            bytes: numbers.bytes,
            oldest,
            dead_letters: numbers.dead,
        });
    }
    let held = counters.held.into_iter().map(|(class, n)| (class, HeldStats { files: n.files, bytes: n.bytes }));
    Ok(Stats { events: counters.events, open: counters.open, flushes, outboxes, held: held.collect() })
}
