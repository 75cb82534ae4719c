//! The store's outbox in the shape that the alerter wants.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::alert;
use crate::store::{Delivery, Lease, Outbox};

pub(super) struct AlertOutbox {
    outbox: Outbox,
    /// Leases in the alerter's hands, by sequence number.
    held: Mutex<HashMap<u64, Lease>>,
}

impl AlertOutbox {
    pub(super) fn new(outbox: Outbox) -> Self {
        Self { outbox, held: Mutex::default() }
    }

    fn take(&self, seq: u64) -> Result<Lease> {
        let lease = self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&seq);
        lease.with_context(|| format!("alert {seq} is not leased"))
    }
}

impl alert::Queue for AlertOutbox {
    fn lease(&self, max: usize) -> BoxFuture<'_, Result<Vec<alert::Item>>> {
        async move {
            let leases = self.outbox.lease(max).await?;
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            let items = leases.into_iter().filter_map(|mut lease| {
                // Taken out of the lease, since a digest holds thousands of these.
                let (Delivery::Alert(phase), Some(event)) = (&lease.item, lease.event.take()) else { return None };
                let item = alert::Item { seq: lease.seq, phase: *phase, event, created: lease.created.clone() };
                held.insert(lease.seq, lease);
                Some(item)
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
