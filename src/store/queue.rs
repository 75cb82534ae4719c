//! What is known of one outbox in memory only: what is leased, and what rests until its next try.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::Delivery;
use super::place::Place;
use crate::clock::{Moment, Mono};
use crate::destination::Destination;
use crate::event::Event;

/// One item of an outbox, at one revision.
#[derive(Clone, Debug)]
pub(super) struct ItemRef {
    pub queue: Arc<Queue>,
    pub place: Place,
    pub revision: u64,
    /// Whether it lies among what goes before all else.
    pub goes_first: bool,
}

/// An item that one outlet is working on. It is not leased again until it is settled or dropped; a lease that
/// is dropped unsettled makes its item due again.
#[derive(Debug)]
pub struct Lease {
    /// Place in the order of recording.
    pub seq: u64,
    /// For an alert: the event as it was when the alert was recorded. For a file of an event: as it is now. For a
    /// document: none.
    pub event: Option<Event>,
    /// What to deliver.
    pub item: Delivery,
    /// Tries that failed before.
    pub attempts: u32,
    /// When it was recorded.
    pub created: Moment,
    /// What [`super::Outbox::save_progress`] kept with it last.
    pub progress: Option<String>,
    pub(super) place: Place,
    pub(super) revision: u64,
    pub(super) ticket: u64,
    pub(super) queue: Arc<Queue>,
}

impl Lease {
    pub(super) fn item_ref(&self) -> ItemRef {
        let (place, revision, goes_first) = (self.place, self.revision, self.item.goes_first());
        ItemRef { queue: self.queue.clone(), place, revision, goes_first }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let queue = self.queue.clone();
        queue.give_back(self);
    }
}

/// What is known of a queue in memory only.
#[derive(Debug)]
pub(super) struct Queue {
    destination: Destination,
    memory: Mutex<Memory>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Memory {
    /// Sequence number -> ticket of the lease that holds the item.
    leased: HashMap<u64, u64>,
    /// Sequence number -> when it may be tried again.
    delayed: HashMap<u64, Mono>,
    /// The ticket that was given out last.
    ticket: u64,
}

impl Memory {
    /// Whether `seq` may be leased. A rest that is over is forgotten.
    fn is_free(&mut self, seq: u64, now: Mono) -> bool {
        if self.delayed.get(&seq).is_some_and(|due| *due > now) {
            return false;
        }
        self.delayed.remove(&seq);
        !self.leased.contains_key(&seq)
    }

    fn take(&mut self, seq: u64) -> u64 {
        self.ticket += 1;
        self.leased.insert(seq, self.ticket);
        self.ticket
    }
}

impl Queue {
    pub(super) fn new(destination: &Destination) -> Self {
        let wake = Notify::new();
        wake.notify_one();
        Self { destination: destination.clone(), memory: Mutex::default(), wake }
    }

    pub(super) fn destination(&self) -> &Destination {
        &self.destination
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock()
    }

    /// Whether `seq` may be leased.
    pub(super) fn is_free(&self, seq: u64, now: Mono) -> bool {
        self.memory().is_free(seq, now)
    }

    /// Notes that `seq` is leased; gives the ticket.
    pub(super) fn hand_out(&self, seq: u64) -> u64 {
        self.memory().take(seq)
    }

    /// `seq` is not leased in this run.
    pub(super) fn leave(&self, seq: u64) {
        self.memory().leased.insert(seq, 0);
    }

    /// `seq` is not leased before `due`.
    pub(super) fn put_off(&self, seq: u64, due: Mono) {
        self.memory().delayed.insert(seq, due);
    }

    /// When the first of those that rest is due.
    pub(super) fn next_due(&self) -> Option<Mono> {
        self.memory().delayed.values().min().copied()
    }

    /// Waits until something was recorded or given back since the last call.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Forgets rests that are over.
    pub(super) fn forget_rests(&self, now: Mono) {
        self.memory().delayed.retain(|_, due| *due > now);
    }

    /// Whether `seq` is leased, and how long it rests.
    pub(super) fn lease_state(&self, seq: u64, now: Mono) -> (bool, Option<Duration>) {
        let memory = self.memory();
        let rest = memory.delayed.get(&seq).map(|due| due.since(now)).filter(|rest| !rest.is_zero());
        (memory.leased.contains_key(&seq), rest)
    }

    pub(super) fn give_back(&self, lease: &Lease) {
        let mut memory = self.memory();
        if memory.leased.get(&lease.seq) == Some(&lease.ticket) {
            memory.leased.remove(&lease.seq);
            drop(memory);
            self.wake.notify_one();
        }
    }

    /// Item `seq` was recorded, or replaced: it does not rest any longer.
    pub(super) fn announce(&self, seq: u64) {
        self.memory().delayed.remove(&seq);
        self.wake.notify_one();
    }
}
