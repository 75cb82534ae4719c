//! The outbox of alerts: leases are held here by their numbers, which is how the rest of this folder names alerts.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;

use super::{Item, Post, Taken};
use crate::store::{Delivery, Lease, Outbox};

/// What the outlets do with their outbox. A trait so that tests can let a lease hang half way and choose numbers.
pub(in crate::alert) trait Queue: Send + Sync + 'static {
    /// Takes up to `max` items out on loan, oldest first, without those that are out already. May be empty.
    /// Loans do not survive a restart.
    fn lease(&self, max: usize) -> BoxFuture<'_, Result<Vec<Taken>>>;
    /// The receiver has `seq`: forget it durably.
    fn ack(&self, seq: u64) -> BoxFuture<'_, Result<()>>;
    /// `seq` could not be delivered now: back to its place, so that the next lease gives it again.
    fn release(&self, seq: u64) -> BoxFuture<'_, Result<()>>;
    /// `seq` can never be delivered, for `reason`: put it aside as a dead letter.
    fn reject<'a>(&'a self, seq: u64, reason: &'a str) -> BoxFuture<'a, Result<()>>;
    /// Returns when there may be something to lease. Returning for nothing is fine; so is returning late,
    /// as outlets look by themselves every few seconds.
    fn wait(&self) -> BoxFuture<'_, ()>;
}

/// The alerts of one outlet, with its leases. Clones share them; a new one on the same outbox begins without any, and the
/// leases of one that is dropped are free again.
#[derive(Clone)]
pub struct AlertQueue(Arc<dyn Queue>);

impl AlertQueue {
    /// The alerts in `outbox`.
    pub fn new(outbox: Outbox) -> Self {
        Self(Arc::new(LeasedOutbox { outbox, held: Mutex::default() }))
    }

    pub(in crate::alert) fn get(&self) -> &dyn Queue {
        &*self.0
    }

    #[cfg(test)]
    pub(in crate::alert) fn fake(queue: Arc<dyn Queue>) -> Self {
        Self(queue)
    }
}

struct LeasedOutbox {
    outbox: Outbox,
    /// Leases that are out, by sequence number.
    held: Mutex<HashMap<u64, Lease>>,
}

impl LeasedOutbox {
    fn take(&self, seq: u64) -> Result<Lease> {
        let lease = self.held.lock().remove(&seq);
        lease.with_context(|| format!("alert {seq} is not leased"))
    }
}

impl Queue for LeasedOutbox {
    fn lease(&self, max: usize) -> BoxFuture<'_, Result<Vec<Taken>>> {
        async move {
            let leases = self.outbox.lease(max).await?;
            let mut held = self.held.lock();
            let items = leases.into_iter().filter_map(|mut lease| {
                // Taken out of the lease, since a digest holds thousands of these.
                let (seq, created) = (lease.seq, lease.created.clone());
                let taken = match (&lease.item, lease.event.take()) {
                    (Delivery::Alert(phase), Some(event)) => {
                        Taken::Alert(Box::new(Item { seq, phase: *phase, event, created }))
                    }
                    (Delivery::Document(document), _) => {
                        Taken::Post(Post { seq, path: document.path.clone(), created })
                    }
                    _ => return None,
                };
                held.insert(seq, lease);
                Some(taken)
            });
            Ok(items.collect())
        }
        .boxed()
    }

    fn ack(&self, seq: u64) -> BoxFuture<'_, Result<()>> {
        async move {
            let lease = self.take(seq)?;
            Ok(self.outbox.ack(&lease).await?)
        }
        .boxed()
    }

    fn release(&self, seq: u64) -> BoxFuture<'_, Result<()>> {
        async move {
            self.outbox.release(&self.take(seq)?);
            Ok(())
        }
        .boxed()
    }

    fn reject<'a>(&'a self, seq: u64, reason: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let lease = self.take(seq)?;
            Ok(self.outbox.dead_letter(&lease, reason).await?)
        }
        .boxed()
    }

    fn wait(&self) -> BoxFuture<'_, ()> {
        self.outbox.wait().boxed()
    }
}
