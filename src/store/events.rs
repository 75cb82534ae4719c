//! The events of the index.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::watch;

use super::import::{DeliveryStatus, TakenOver};
use super::op::Op;
use super::read::Read;
use super::schema::decode;
use super::stats::holds_files;
use super::trees::Database;
use super::worker::Core;
use super::{
    AlertCounts, Change, Delivery, EventChange, Found, Position, Query, Search, StoreError, annotations, catalog,
    changes, event_log,
};
use crate::asset::FileId;
use crate::destination::Destination;
use crate::event::{Event, EventId, EventState, OutletDelivery, Reviewed};

/// The events, and how far outlets got with them. Clones share one index.
#[derive(Clone, Debug)]
pub struct Events(Arc<Core>);

impl Events {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        Self(core.clone())
    }

    /// Makes `change` durable; blocks until it is on the disk. Changes that wait at the same time share one
    /// flush.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] for an event that no index wants; else when the store is out of service.
    pub fn record(&self, change: Change) -> Result<(), StoreError> {
        let op = Op::record(change, &self.0.clock)?;
        self.0.write(op)
    }

    /// [`Events::record`] of many changes, which share flushes. Each succeeds or fails by itself.
    pub fn record_all(&self, changes: Vec<Change>) -> Vec<Result<(), StoreError>> {
        self.0.write_all(changes.into_iter().map(|change| Op::record(change, &self.0.clock)))
    }

    /// One event, as last recorded.
    pub fn get(&self, id: EventId) -> Read<Option<Event>> {
        Read::new(&self.0, move |db| event_log::event(db, id))
    }

    /// Events that match, newest first.
    pub fn find(&self, query: &Query) -> Read<Vec<Event>> {
        let query = query.clone();
        Read::new(&self.0, move |db| event_log::events(db, &query))
    }

    /// How many events each camera has that began at this wall time or later.
    pub fn counts_since(&self, since: Timestamp) -> Read<BTreeMap<Arc<str>, u64>> {
        Read::new(&self.0, move |db| event_log::counts_since(db, since))
    }

    /// Events that match, newest first, as far as one look goes.
    pub fn search(&self, search: Search) -> Read<Found> {
        Read::new(&self.0, move |db| super::search::search(db, &search))
    }

    /// Who has looked each of `ids` through.
    pub fn reviewed(&self, ids: Vec<EventId>) -> Read<Vec<Vec<Reviewed>>> {
        Read::new(&self.0, move |db| annotations::reviewed(db, &ids))
    }

    /// Notes who has looked an event through: `by`, and no other.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn set_reviewed(&self, id: EventId, by: Vec<Reviewed>) -> Result<(), StoreError> {
        self.0.write(Op::Review { id, by })
    }

    /// A number that is another one after each commit that may change what is said of an event or its delivery, and
    /// in each process.
    pub fn revision(&self) -> u64 {
        self.0.revision()
    }

    /// The last change of an event that is on the disk.
    pub fn changed(&self) -> watch::Receiver<Position> {
        self.0.changed()
    }

    /// Up to `limit` changes behind `position` that are on the disk; `None` where some are not known any more.
    pub fn changes(&self, position: Position, limit: usize) -> Read<Option<Vec<EventChange>>> {
        let last = *self.0.changed().borrow();
        Read::new(&self.0, move |db| changes::after(db, position, last, limit))
    }

    /// Events in state open, oldest first. Right after the start: those that the last stop interrupted.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn open(&self) -> Result<Vec<EventId>, StoreError> {
        self.0.read(event_log::open_events)
    }

    /// Events that are over and wait for a day to be filed under, oldest first; at most a thousand.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn unfiled(&self) -> Result<Vec<EventId>, StoreError> {
        self.0.read(event_log::unfiled)
    }

    /// How far each outlet got with each of `events` and their files, the outlets in the order of their names. One of
    /// alerts is left out where the index does not know: of events that an older version published, or whose index was
    /// rebuilt from the sidecars.
    pub fn deliveries(&self, events: &[Event]) -> Read<Vec<Vec<OutletDelivery>>> {
        catalog::deliveries(&self.0, events)
    }

    /// Where each of `ids` stands.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn delivery_statuses(&self, ids: Vec<EventId>) -> Result<Vec<DeliveryStatus>, StoreError> {
        let outboxes: Vec<Destination> = self.0.queues().keys().filter(|to| to.takes_files()).cloned().collect();
        self.0.read(move |db| ids.into_iter().map(|id| status(db, &outboxes, id)).collect())
    }

    /// What is known of the alerts of an event; `None` for one that was recorded before they were counted.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn alert_counts(&self, id: EventId) -> Result<Option<AlertCounts>, StoreError> {
        self.0.read(move |db| db.alerts.get(id.to_bytes())?.map(|row| decode(&row)).transpose())
    }

    /// Records an event of another index, in parts of which each succeeds or fails by itself. Blocks.
    pub fn take_over(&self, taken: TakenOver) -> Vec<Result<(), StoreError>> {
        let TakenOver { change, alerts, counted, dropped } = taken;
        let id = change.event.id;
        let mut by_outbox: BTreeMap<&Destination, BTreeSet<&str>> = BTreeMap::new();
        for (outbox, file) in &dropped {
            by_outbox.entry(outbox).or_default().insert(file);
        }
        for (outbox, files) in by_outbox {
            let is_dropped = |item: &&Delivery| matches!(item, Delivery::Upload(media) if files.contains(&*media.file));
            self.0.dropped().note(outbox, change.deliveries.iter().filter(is_dropped).map(|item| (Some(id), item)));
        }
        let counted = counted.map(|counted| Ok(Op::CountAlerts { id, counted }));
        let change = Op::record(change, &self.0.clock);
        let dropped =
            dropped.into_iter().map(|(outbox, file)| Ok(Op::Withdraw { outbox, file: FileId::new(id, file) }));
        let alerts = alerts.into_iter().map(Op::migrate_alert);
        self.0.write_all(counted.into_iter().chain(alerts).chain([change]).chain(dropped))
    }
}

fn status(db: &Database, outboxes: &[Destination], id: EventId) -> Result<DeliveryStatus, StoreError> {
    /// All that counts here of an event.
    #[derive(Deserialize)]
    struct Short {
        state: EventState,
    }

    let Some(json) = db.events.get(id.to_bytes())? else { return Ok(DeliveryStatus::Unknown) };
    // The list of open events may be what a damaged index has lost.
    if decode::<Short>(&json).map_or(true, |event| event.state == EventState::Open) {
        return Ok(DeliveryStatus::Waiting);
    }
    for outbox in outboxes {
        if holds_files(db, outbox, id)? {
            return Ok(DeliveryStatus::Waiting);
        }
    }
    Ok(DeliveryStatus::Settled)
}
