//! The durable queues that outlets drain: lease, then acknowledge, put off, or give up.
//!
//! Items, attempts and dead letters are durable. Leases and the time until the next try lie in memory only:
//! after a restart everything is due at once.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::lease::{self, Waiting, Wanted};
use super::op::Op;
use super::place::Place;
use super::queue::{ItemRef, Lease, Queue};
use super::schema::{MAX_PROGRESS, Row, decode, document_key, item_key, prefix, seq_of};
use super::trees::Database;
use super::worker::Core;
use super::{Delivery, StoreError};
use crate::clock::Moment;
use crate::destination::Destination;
use crate::event::{Event, EventId};

/// The longest that [`Outbox::wait`] sleeps before it looks at the clock again: the boot clock goes on
/// while the box is suspended, the timer does not.
const RECHECK: Duration = Duration::from_secs(1);

/// One durable queue. Clones are one queue.
#[derive(Clone, Debug)]
pub struct Outbox {
    core: Arc<Core>,
    queue: Arc<Queue>,
}

/// An item that was given up.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeadLetter {
    /// Its handle for [`Outbox::revive`] and [`Outbox::discard`].
    pub seq: u64,
    /// The event that it belongs to, unless it is a document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<EventId>,
    /// What was to be delivered.
    pub item: Delivery,
    /// Tries that failed.
    pub attempts: u32,
    /// When it was recorded.
    pub created: Moment,
    /// What kind of failure that was: `rejected`, `local_file`, `wrong_answer`, `orphan`.
    pub class: String,
    /// Why it was given up.
    pub error: String,
    /// For an alert: the event as it was when the alert was recorded.
    #[serde(skip)]
    pub recorded_event: Option<Event>,
}

impl Outbox {
    /// Whether another destination has something to do with the document at `path`.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn awaits_elsewhere(&self, path: &str) -> Result<bool, StoreError> {
        let own = self.queue.destination();
        let keys: Vec<_> =
            self.core.queues().keys().filter(|name| *name != own).map(|name| document_key(name, path)).collect();
        self.core.read(move |db| keys.iter().try_fold(false, |waits, key| Ok(waits || db.uploads.contains_key(key)?)))
    }

    pub(super) fn new(core: &Arc<Core>, destination: &Destination) -> Result<Self, StoreError> {
        let queue = core.queues().get(destination).cloned();
        let queue = queue.ok_or_else(|| StoreError::NoSuchOutbox(destination.clone()))?;
        Ok(Self { core: core.clone(), queue })
    }

    /// Where its items go.
    pub fn destination(&self) -> &Destination {
        self.queue.destination()
    }

    /// Up to `max` items that are due and that are not leased: documents, which are small, before all others,
    /// and among each the oldest first.
    ///
    /// # Errors
    /// When the store is out of service.
    pub async fn lease(&self, max: usize) -> Result<Vec<Lease>, StoreError> {
        self.pick(Wanted::oldest(max)).await
    }

    /// Items that are due and that are not leased, as `wanted`.
    ///
    /// # Errors
    /// When the store is out of service.
    pub async fn pick(&self, wanted: Wanted) -> Result<Vec<Lease>, StoreError> {
        self.core.lease(self.queue.clone(), wanted).await
    }

    /// The item was delivered: removes it for good. An item that was replaced since the lease stays.
    ///
    /// # Errors
    /// When the store is out of service; the item will be delivered again after the restart.
    pub async fn ack(&self, lease: &Lease) -> Result<(), StoreError> {
        self.core.write_async(Op::Ack(lease.item_ref())).await
    }

    /// This try failed: counts it, and lets the item rest for `retry_in`.
    ///
    /// # Errors
    /// When the store is out of service.
    pub async fn nack(&self, lease: &Lease, error: &str, retry_in: Duration) -> Result<(), StoreError> {
        let due = self.core.clock.mono() + retry_in;
        // Before the commit, which ends the rest again when the item was replaced since the lease.
        self.queue.put_off(lease.seq, due);
        self.core.write_async(Op::Nack { item: lease.item_ref(), error: error.to_owned() }).await?;
        self.queue.give_back(lease);
        Ok(())
    }

    /// It was not tried: the item is due again at once, and no attempt is counted.
    pub fn release(&self, lease: &Lease) {
        self.queue.give_back(lease);
    }

    /// It was not tried to its end for reasons that are not its own (no link): others go first for `rest`,
    /// and no attempt is counted.
    pub fn rest(&self, lease: &Lease, rest: Duration) {
        let due = self.core.clock.mono() + rest;
        self.queue.put_off(lease.seq, due);
        self.queue.give_back(lease);
    }

    /// Whether the item still waits as it was leased: not replaced, nor taken out because its file was deleted.
    ///
    /// # Errors
    /// When the store is out of service.
    pub async fn holds(&self, lease: &Lease) -> Result<bool, StoreError> {
        let item = lease.item_ref();
        self.core.read_async(move |db| holds(db, &item)).await
    }

    /// Keeps a note with the item (at most 3 KiB) that the next lease of it carries, so that a long transfer
    /// goes on where it stopped. Gone as soon as the item is replaced.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`]; else when the store is out of service.
    pub async fn save_progress(&self, lease: &Lease, progress: Option<String>) -> Result<(), StoreError> {
        let bytes = progress.as_ref().map_or(0, String::len);
        if bytes > MAX_PROGRESS {
            return Err(StoreError::TooLarge { what: "a note of progress", bytes, limit: MAX_PROGRESS });
        }
        self.core.write_async(Op::Progress { item: lease.item_ref(), progress }).await
    }

    /// It can never be delivered: moves the item to the dead letters.
    ///
    /// # Errors
    /// When the store is out of service.
    pub async fn dead_letter(&self, lease: &Lease, error: &str) -> Result<(), StoreError> {
        self.give_up(lease, "rejected", error).await
    }

    /// [`Outbox::dead_letter`] with the kind of failure, a word.
    ///
    /// # Errors
    /// When the store is out of service.
    pub async fn give_up(&self, lease: &Lease, class: &str, error: &str) -> Result<(), StoreError> {
        let (class, error) = (class.to_owned(), error.to_owned());
        self.core.write_async(Op::DeadLetter { item: lease.item_ref(), class, error }).await
    }

    /// Returns when there may be something to lease: an item was recorded or given back, or a rest is over.
    /// The first call returns at once. One task at a time may wait on a queue.
    pub async fn wait(&self) {
        loop {
            let next_due = self.queue.next_due();
            let rest = next_due.map(|due| due.since(self.core.clock.mono()));
            match rest {
                Some(Duration::ZERO) => return,
                Some(rest) => {
                    if tokio::time::timeout(rest.min(RECHECK), self.queue.woken()).await.is_ok() {
                        return;
                    }
                }
                None => return self.queue.woken().await,
            }
        }
    }

    /// Items that wait, leased and resting ones included.
    ///
    /// # Errors
    /// When the store is out of service.
    pub async fn waiting(&self) -> Result<u64, StoreError> {
        let destination = self.destination().clone();
        let counters = self.core.read_async(|db| db.counters()).await?;
        Ok(counters.outboxes.get(&destination).map_or(0, |numbers| numbers.items))
    }

    /// Up to `max` items that were given up, oldest first.
    ///
    /// # Errors
    /// When the store is out of service.
    pub async fn dead_letters(&self, max: usize) -> Result<Vec<DeadLetter>, StoreError> {
        let destination = self.destination().clone();
        self.core.read_async(move |db| dead_letters(db, &destination, max)).await
    }

    /// Whether `seq` was given up.
    ///
    /// # Errors
    /// When the store is out of service.
    pub async fn is_dead(&self, seq: u64) -> Result<bool, StoreError> {
        let key = item_key(self.destination(), seq);
        self.core.read_async(move |db| db.dead.contains_key(key)).await
    }

    /// Puts dead letter `seq` back into the queue, as if new and under a new number. One that does not exist is no
    /// error.
    ///
    /// # Errors
    /// When the store is out of service.
    pub async fn revive(&self, seq: u64) -> Result<(), StoreError> {
        self.core.write_async(Op::Revive(self.letter(seq))).await
    }

    /// Forgets dead letter `seq`. One that does not exist is no error.
    ///
    /// # Errors
    /// When the store is out of service.
    pub async fn discard(&self, seq: u64) -> Result<(), StoreError> {
        self.core.write_async(Op::Discard(self.letter(seq))).await
    }

    /// Up to `max` items that wait, in the order in which they go.
    ///
    /// # Errors
    /// When the store is out of service.
    pub async fn items(&self, max: usize) -> Result<Vec<Waiting>, StoreError> {
        let (queue, now) = (self.queue.clone(), self.core.clock.mono());
        self.core.read_async(move |db| lease::waiting(db, &queue, now, max)).await
    }

    /// What [`Outbox::save_progress`] kept with item `seq`; none also where there is no such item.
    ///
    /// # Errors
    /// When the store is out of service.
    pub async fn progress(&self, seq: u64) -> Result<Option<String>, StoreError> {
        let queue = self.queue.clone();
        self.core.read_async(move |db| lease::progress(db, &queue, seq)).await
    }

    /// Whether item `seq` waits.
    ///
    /// # Errors
    /// When the store is out of service.
    pub async fn contains(&self, seq: u64) -> Result<bool, StoreError> {
        let queue = self.queue.clone();
        self.core.read_async(move |db| Ok(lease::find(db, &queue, seq)?.is_some())).await
    }

    /// Item `seq` does not rest any longer. One that does not exist is no error.
    pub fn retry_now(&self, seq: u64) {
        self.queue.announce(seq);
    }

    pub(super) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(super) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// A dead letter; those of all kinds lie in one place.
    pub(super) fn letter(&self, seq: u64) -> ItemRef {
        ItemRef { queue: self.queue.clone(), place: Place { lane: None, seq }, revision: 0, goes_first: false }
    }
}

fn holds(db: &Database, item: &ItemRef) -> Result<bool, StoreError> {
    let tree = if item.goes_first { &db.documents } else { &db.outbox };
    let row: Option<Row> = tree.get(item.place.key(item.queue.destination()))?.map(|row| decode(&row)).transpose()?;
    Ok(row.is_some_and(|row| row.revision == item.revision))
}

fn dead_letters(db: &Database, destination: &Destination, max: usize) -> Result<Vec<DeadLetter>, StoreError> {
    let mut letters = Vec::new();
    for entry in db.dead.scan_prefix(prefix(destination.as_str())).take(max) {
        let (key, value) = entry?;
        let (Some(seq), Ok(row)) = (seq_of(&key), decode::<Row>(&value)) else { continue };
        letters.push(DeadLetter {
            seq,
            event: row.asset,
            item: row.item,
            attempts: row.attempts,
            created: row.created,
            class: row.class.unwrap_or_else(|| "rejected".to_owned()),
            error: row.error.unwrap_or_default(),
            recorded_event: row.event,
        });
    }
    Ok(letters)
}
