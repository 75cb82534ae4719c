//! Events, and how far each outlet got with them.

use std::sync::Arc;

use anyhow::Result;
use serde::Serialize;

use super::context::Context;
use crate::event::{Event, EventId, OutletDelivery};
use crate::store::Query;

/// Which events are wanted: the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Of this camera only.
    pub camera: Option<String>,
    /// With this label only.
    pub label: Option<String>,
    /// Older than this event only.
    pub before: Option<EventId>,
    /// At most so many.
    pub limit: usize,
}

/// An event and its delivery.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EventRecord {
    /// The event.
    pub event: Event,
    /// How far each outlet got; without those of which nothing is known.
    pub delivery: Vec<OutletDelivery>,
}

/// Finds events.
#[derive(Clone)]
pub struct EventService(Arc<Context>);

impl EventService {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self(context)
    }

    /// Events, newest first.
    ///
    /// # Errors
    /// When the index is out of service.
    pub async fn list(&self, query: EventQuery) -> Result<Vec<EventRecord>> {
        let EventQuery { camera, label, before, limit } = query;
        let query = Query { camera, label, before, limit, ..Query::default() };
        let events = self.0.store().events().find(&query).await?;
        self.records(events).await
    }

    /// One event; `None` for one that the index does not know.
    ///
    /// # Errors
    /// As [`EventService::list`].
    pub async fn get(&self, id: EventId) -> Result<Option<EventRecord>> {
        let event = self.0.store().events().get(id).await?;
        Ok(self.records(event.into_iter().collect()).await?.pop())
    }

    /// With how far each configured outlet got, in the order of the configuration.
    async fn records(&self, events: Vec<Event>) -> Result<Vec<EventRecord>> {
        let deliveries = self.0.store().events().deliveries(&events).await?;
        let configured = self.0.configured();
        let record = |(event, mut delivery): (Event, Vec<OutletDelivery>)| {
            delivery.sort_by_key(|of| configured.outlets.iter().position(|name| *name == of.outlet));
            EventRecord { event, delivery }
        };
        Ok(events.into_iter().zip(deliveries).map(record).collect())
    }
}
