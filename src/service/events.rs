//! Events, and how far each outlet got with them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;

use super::context::Context;
use crate::destination::Destination;
use crate::event::{DeliveryState, Event, EventId, EventState, Judgement, OutletDelivery, Reviewed};
use crate::store::{ChangeKind, EventChange, Position, Search};

/// Events that one request looks at: a condition that matches nothing must not read the whole index.
const LOOKED_AT: usize = 20_000;
/// The same where the state of delivery counts, which is read from several places.
const LOOKED_AT_DELIVERIES: usize = 4_000;
/// Events that are looked at in one go: other requests come between.
const AT_ONCE: usize = 2_000;
/// Events of one go whose delivery is looked up.
const DELIVERIES_AT_ONCE: usize = 200;

/// Which events are wanted: the newest first. Of the values of one list any may hold; an empty list does not count.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EventQuery {
    /// Of these cameras.
    pub cameras: Vec<String>,
    /// With these labels.
    pub labels: Vec<String>,
    /// Whose object was in these zones.
    pub zones: Vec<String>,
    /// Of these rules.
    pub rules: Vec<String>,
    /// In these states.
    pub states: Vec<EventState>,
    /// How far outlets got.
    pub deliveries: Vec<DeliveryState>,
    /// The outlets whose delivery counts; none: of all.
    pub outlets: Vec<Destination>,
    /// Begun at this wall time or later.
    pub since: Option<Timestamp>,
    /// Begun before this wall time.
    pub until: Option<Timestamp>,
    /// With this score or a higher one, 0..1.
    pub min_score: Option<f32>,
    /// Pinned, or not.
    pub pinned: Option<bool>,
    /// With these tags.
    pub tags: Vec<String>,
    /// Judged so.
    pub verdicts: Vec<Judgement>,
    /// Looked through by who asks, or not.
    pub reviewed: Option<bool>,
    /// Who asks.
    pub caller: Arc<str>,
    /// Each of these words is part of the camera, label, rule, a zone, a tag or the note, in whatever case.
    pub text: String,
    /// Older than this event only.
    pub before: Option<EventId>,
    /// Newer than this event only.
    pub after: Option<EventId>,
    /// At most so many.
    pub limit: usize,
}

impl EventQuery {
    fn search(&self) -> Search {
        Search {
            cameras: self.cameras.clone(),
            labels: self.labels.clone(),
            zones: self.zones.clone(),
            rules: self.rules.clone(),
            states: self.states.clone(),
            since: self.since,
            until: self.until,
            min_score: self.min_score,
            pinned: self.pinned,
            tags: self.tags.clone(),
            verdicts: self.verdicts.iter().map(|judgement| judgement.verdict()).collect(),
            reviewed: self.reviewed.map(|wanted| (self.caller.clone(), wanted)),
            words: self.text.split_whitespace().map(str::to_lowercase).collect(),
            before: self.before,
            after: self.after,
            ..Search::default()
        }
    }

    /// Whether the delivery of an event is as wanted. Delivered is what every outlet confirmed that was to have it; the
    /// other states are those of any outlet.
    fn is_delivered_so(&self, record: &EventRecord) -> bool {
        let counts = |of: &&OutletDelivery| self.outlets.is_empty() || self.outlets.contains(&of.outlet);
        let states = || record.delivery.iter().filter(counts).map(|of| of.state);
        let all = states().filter(|state| *state != DeliveryState::NotWanted).min();
        let holds = |wanted: &DeliveryState| match wanted {
            DeliveryState::Delivered => all == Some(DeliveryState::Delivered),
            wanted => states().any(|state| state == *wanted),
        };
        self.deliveries.is_empty() || self.deliveries.iter().any(holds)
    }
}

/// An event and its delivery.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EventRecord {
    /// The event.
    pub event: Event,
    /// How far each outlet got; without those of which nothing is known.
    pub delivery: Vec<OutletDelivery>,
    /// Who has looked it through.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reviewed: Vec<Reviewed>,
}

/// A part of the list of events.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EventPage {
    /// The events, newest first.
    pub events: Vec<EventRecord>,
    /// [`EventQuery::before`] of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<EventId>,
    /// Where there was no time to search to the end of this page: the start of the last event that was looked at. The
    /// next page goes on from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub searched_back_to: Option<Timestamp>,
}

/// What happened to an event.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangedEvent {
    /// Which change.
    pub change: EventChange,
    /// The event as it is now; none where the box forgot it.
    pub record: Option<EventRecord>,
}

/// Finds events.
#[derive(Clone)]
pub struct EventService(Arc<Context>);

impl EventService {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self(context)
    }

    pub(super) fn context(&self) -> &Context {
        &self.0
    }

    /// Events that `sees` holds for, newest first. Looks at a bounded number: see [`EventPage::searched_back_to`].
    ///
    /// # Errors
    /// When the index is out of service.
    pub async fn list(&self, query: EventQuery, sees: impl Fn(&EventRecord) -> bool) -> Result<EventPage> {
        let of_delivery = !query.deliveries.is_empty();
        let mut left = if of_delivery { LOOKED_AT_DELIVERIES } else { LOOKED_AT };
        let mut search = query.search();
        let mut events = Vec::new();
        loop {
            // One more than wanted shows whether there is a next page.
            let wanted = query.limit + 1 - events.len();
            search.limit = if of_delivery { DELIVERIES_AT_ONCE } else { wanted };
            search.rows = left.min(AT_ONCE);
            let found = self.0.store().events().search(search.clone()).await?;
            left = left.saturating_sub(found.rows.max(1));
            let records = self.records(found.events).await?;
            events.extend(records.into_iter().filter(|record| sees(record) && query.is_delivered_so(record)));
            if events.len() > query.limit {
                events.truncate(query.limit);
                let next = events.last().map(|record| record.event.id);
                return Ok(EventPage { events, next, searched_back_to: None });
            }
            if found.last.is_none() {
                return Ok(EventPage { events, next: None, searched_back_to: None });
            }
            if left == 0 {
                return Ok(EventPage { events, next: found.last, searched_back_to: found.back_to });
            }
            search.before = found.last;
        }
    }

    /// A number that is another one as soon as an answer of [`EventService::list`] may be.
    pub fn revision(&self) -> u64 {
        let mut hash = DefaultHasher::new();
        self.0.store().events().revision().hash(&mut hash);
        self.0.configured().outlets.iter().for_each(|outlet| outlet.as_str().hash(&mut hash));
        hash.finish()
    }

    /// One event; `None` for one that the index does not know.
    ///
    /// # Errors
    /// As [`EventService::list`].
    pub async fn get(&self, id: EventId) -> Result<Option<EventRecord>> {
        let event = self.0.store().events().get(id).await?;
        Ok(self.records(event.into_iter().collect()).await?.pop())
    }

    /// The outlets that events may be filtered by.
    pub fn outlets(&self) -> Vec<Destination> {
        self.0.configured().outlets.iter().filter(|outlet| **outlet != Destination::Lake).cloned().collect()
    }

    /// The last change of an event.
    pub fn position(&self) -> Position {
        *self.0.store().events().changed().borrow()
    }

    /// Up to `limit` changes behind `position`; `None` where some of them are not known any more, or where another index
    /// is in use since.
    ///
    /// # Errors
    /// As [`EventService::list`].
    pub async fn changes(&self, position: Position, limit: usize) -> Result<Option<Vec<ChangedEvent>>> {
        let Some(changes) = self.0.store().events().changes(position, limit).await? else { return Ok(None) };
        let mut changed = Vec::with_capacity(changes.len());
        for change in changes {
            let record = if change.kind == ChangeKind::Delete { None } else { self.get(change.id).await? };
            changed.push(ChangedEvent { change, record });
        }
        Ok(Some(changed))
    }

    /// Returns when there may be a change behind `position`, or after `within`.
    pub async fn wait_for_change(&self, position: Position, within: Duration) {
        let mut changed = self.0.store().events().changed();
        let another = async {
            // An index that is closed changes no more; another one may be in use by the end of the time.
            if changed.wait_for(|last| *last != position).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        // Whether it changed is asked again anyway.
        let _ = tokio::time::timeout(within, another).await;
    }

    /// With how far each configured outlet got, in the order of the configuration.
    pub(super) async fn records(&self, events: Vec<Event>) -> Result<Vec<EventRecord>> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let deliveries = self.0.store().events().deliveries(&events).await?;
        let reviewed = self.0.store().events().reviewed(events.iter().map(|event| event.id).collect()).await?;
        let configured = self.0.configured();
        let record = |((event, mut delivery), reviewed): ((Event, Vec<OutletDelivery>), Vec<Reviewed>)| {
            delivery.sort_by_key(|of| configured.outlets.iter().position(|name| *name == of.outlet));
            EventRecord { event, delivery, reviewed }
        };
        Ok(events.into_iter().zip(deliveries).zip(reviewed).map(record).collect())
    }
}
