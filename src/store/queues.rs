//! The outboxes that are configured; they change when the configuration does.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::StoreError;
use super::queue::Queue;
use crate::destination::Destination;

/// Longest written form of a destination.
const MOST_BYTES: usize = 64;

/// The outboxes at one moment.
pub(super) type Queues = BTreeMap<Destination, Arc<Queue>>;

/// The outboxes that are configured.
#[derive(Debug)]
pub(super) struct ConfiguredQueues(RwLock<Arc<Queues>>);

impl ConfiguredQueues {
    /// The outboxes of these destinations, with nothing known of them yet.
    ///
    /// # Errors
    /// For one whose name no key can begin with.
    pub(super) fn new(destinations: &[Destination]) -> Result<Self, StoreError> {
        check(destinations)?;
        Ok(Self(RwLock::new(Arc::new(destinations.iter().map(empty).collect()))))
    }

    /// The outboxes as they are now.
    pub(super) fn now(&self) -> Arc<Queues> {
        self.0.read().clone()
    }

    /// Makes these the outboxes. Those that stay keep what is known of them: leases and rests.
    pub(super) fn replace(&self, destinations: &[Destination]) {
        let before = self.now();
        let queue = |destination: &Destination| match before.get(destination) {
            Some(known) => (destination.clone(), known.clone()),
            None => empty(destination),
        };
        let now = Arc::new(destinations.iter().map(queue).collect());
        *self.0.write() = now;
    }
}

/// Checks the names of outboxes.
///
/// # Errors
/// For one that no key can begin with.
pub(super) fn check(destinations: &[Destination]) -> Result<(), StoreError> {
    let good = |name: &str| name.len() <= MOST_BYTES && !name.contains('\0');
    match destinations.iter().find(|destination| !good(destination.as_str())) {
        Some(bad) => Err(StoreError::NoSuchOutbox(bad.clone())),
        None => Ok(()),
    }
}

fn empty(destination: &Destination) -> (Destination, Arc<Queue>) {
    (destination.clone(), Arc::new(Queue::new(destination)))
}
