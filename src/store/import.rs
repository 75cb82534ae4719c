//! What recovery and check need: what the index lacks, many changes at once, and a note that it is complete.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::commit::Op;
use super::schema::{decode, prefix};
use super::stats::holds_files;
use super::trees::Database;
use super::worker::FILLED;
use super::{AlertCounts, Change, Delivery, Store, StoreError};
use crate::clock::Moment;
use crate::destination::Destination;
use crate::event::{Event, EventId, EventState, Phase};

/// An alert that another index could not get rid of.
#[derive(Clone, Debug, PartialEq)]
pub struct MigratedAlert {
    /// The destination that it is for.
    pub outbox: Destination,
    /// What it reports.
    pub phase: Phase,
    /// The event as it was then.
    pub event: Event,
    /// When it was queued first.
    pub created: Moment,
    /// How it became a dead letter there, where it did.
    pub given_up: Option<GivenUp>,
}

/// How an item became a dead letter.
#[derive(Clone, Debug, PartialEq)]
pub struct GivenUp {
    /// Tries that failed.
    pub attempts: u32,
    /// The kind of failure, a word.
    pub class: String,
    /// Why.
    pub error: String,
}

/// An event of another index.
#[derive(Clone, Debug)]
pub struct TakenOver {
    /// The event with its files, which go to all destinations.
    pub change: Change,
    /// Alerts that are still to be published, each by its outlet.
    pub alerts: Vec<MigratedAlert>,
    /// What the other index knows of the others.
    pub counted: Option<AlertCounts>,
    /// Files that were dropped there, by outbox: they are not delivered from here either.
    pub dropped: Vec<(Destination, String)>,
}

/// What the index knows of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryStatus {
    /// Nothing.
    Unknown,
    /// Files of it wait for their delivery, or it has no end, or what is known of it cannot be read.
    Waiting,
    /// It is over, and no file of it waits.
    Settled,
}

impl Store {
    /// Whether the index holds all that the sidecars say. It does not when it was begun afresh and no recovery
    /// has come to its end since, over however many starts.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn is_filled(&self) -> Result<bool, StoreError> {
        self.0.read(|db| Ok(db.meta.contains_key(FILLED)?))
    }

    /// Notes durably that the index holds all that the sidecars say.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn note_filled(&self) -> Result<(), StoreError> {
        self.0.note_filled()
    }

    /// Where each of `ids` stands.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn delivery_statuses(&self, ids: Vec<EventId>) -> Result<Vec<DeliveryStatus>, StoreError> {
        let outboxes: Vec<Destination> = self.0.queues().keys().filter(|to| to.takes_files()).cloned().collect();
        self.0.read(move |db| ids.into_iter().map(|id| status(db, &outboxes, id)).collect())
    }

    /// [`Store::record`] of many changes, which share flushes. Each succeeds or fails by itself.
    pub fn record_all(&self, changes: Vec<Change>) -> Vec<Result<(), StoreError>> {
        self.0.write_all(changes.into_iter().map(|change| Op::record(change, &self.0.clock)))
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
        let dropped = dropped.into_iter().map(|(outbox, file)| Ok(Op::Withdraw { outbox, id, file }));
        let alerts = alerts.into_iter().map(Op::migrate_alert);
        self.0.write_all(counted.into_iter().chain(alerts).chain([change]).chain(dropped))
    }

    /// The items of an outbox, counted one by one.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn count_items(&self, outbox: &Destination) -> Result<u64, StoreError> {
        let key = prefix(outbox.as_str());
        self.0.read(move |db| {
            let items = [&db.documents, &db.outbox].map(|tree| tree.scan_prefix(&key));
            items.into_iter().flatten().try_fold(0, |count, entry| entry.map(|_| count + 1))
        })
    }

    /// Whether the last change was refused because the disk is full.
    pub fn is_full(&self) -> bool {
        self.0.is_full()
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
