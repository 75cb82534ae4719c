//! The events: what a commit does to them, and how they are found again.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use tracing::warn;

use super::event_times::Walks;
use super::schema::{Counters, MAX_EVENT, camera_key, decode, encode, id_of, prefix};
use super::trees::{Database, Views};
use super::{StoreError, annotations, event_times};
use crate::event::{Event, EventId, EventState};

/// How many rows one query looks at before it returns what it has, so that a filter that matches nothing
/// does not read the whole index.
const SCAN_LIMIT: usize = 100_000;
/// Most events that one query returns.
const MAX_LIMIT: usize = 500;
/// What is left of long lists where the whole event is too large for the index: the first of these that makes it
/// fit. `event.json` has them all.
const SHORT_LISTS: [usize; 3] = [8, 4, 2];

/// Which events. Conditions that are `None` do not count.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Of this camera.
    pub camera: Option<String>,
    /// With this label.
    pub label: Option<String>,
    /// In this state.
    pub state: Option<EventState>,
    /// With a lower id; the last id of one page gives the next page.
    pub before: Option<EventId>,
    /// Begun at this wall time or later.
    pub since: Option<Timestamp>,
    /// Begun before this wall time.
    pub until: Option<Timestamp>,
    /// At most so many; capped at 500.
    pub limit: usize,
}

impl Default for Query {
    fn default() -> Self {
        Self { camera: None, label: None, state: None, before: None, since: None, until: None, limit: 100 }
    }
}

impl Query {
    fn matches(&self, event: &Event) -> bool {
        self.camera.as_deref().is_none_or(|camera| camera == &*event.camera)
            && self.label.as_deref().is_none_or(|label| event.shows(label))
            && self.state.is_none_or(|state| state == event.state)
            && self.since.is_none_or(|since| event.start.wall >= since)
            && self.until.is_none_or(|until| event.start.wall < until)
    }
}

/// Events in a row that began before a time, after which no later one is expected behind them.
const EARLIER: usize = 50;

/// How many events each camera has that began at `since` or later.
pub(super) fn counts_since(db: &Database, since: Timestamp) -> Result<BTreeMap<Arc<str>, u64>, StoreError> {
    let (mut counts, mut earlier) = (BTreeMap::new(), 0);
    let mut walk = Walks::new(db, Some(since), None)?.of(&db.events, Vec::new(), None, None);
    for _ in 0..SCAN_LIMIT {
        let Some((_, json)) = walk.next()? else { break };
        let Ok(event) = decode::<Event>(&json) else { continue };
        if event.start.wall >= since {
            *counts.entry(event.camera).or_default() += 1;
            earlier = 0;
        } else {
            earlier += 1;
        }
        // Ids are in the order of events, times are nearly.
        if earlier >= EARLIER {
            break;
        }
    }
    Ok(counts)
}

/// The event as the index keeps it. Lists that would make it too large are cut: the sidecar has them whole.
///
/// What people say has a row of its own; the event is given back with it. The path is in the sidecar alone.
pub(super) fn index_form(mut event: Event) -> Result<(Event, Vec<u8>), StoreError> {
    let annotations = event.annotations.take();
    let (event, json) = fitting(event.without_path())?;
    Ok((Event { annotations, ..event }, json))
}

fn fitting(event: Event) -> Result<(Event, Vec<u8>), StoreError> {
    let json = encode(&event)?;
    if json.len() <= MAX_EVENT {
        return Ok((event, json));
    }
    let (mut short, mut json) = (event, json);
    for length in SHORT_LISTS {
        short.zones.truncate(length);
        short.labels.truncate(length);
        short.shares.truncate(length);
        short.pictures.truncate(length);
        short.evicted.truncate(length);
        json = encode(&short)?;
        if json.len() <= MAX_EVENT {
            warn!(event = %short.id, "the event is too large for the index, which keeps a part of its lists");
            return Ok((short, json));
        }
    }
    Err(StoreError::TooLarge { what: "an event", bytes: json.len(), limit: MAX_EVENT })
}

/// Puts the event into the index, or a newer state in place of the older.
pub(super) fn put(views: &Views<'_>, counters: &mut Counters, event: &Event, json: &[u8]) -> Result<(), StoreError> {
    let id = event.id.to_bytes();
    event_times::note(views, event)?;
    if views.events.insert(id, json)?.is_none() {
        counters.events += 1;
        views.by_camera.insert(camera_key(&event.camera, event.id), &[])?;
    }
    if event.state != EventState::Open && event.filed.is_none() {
        views.unfiled.insert(id, &[])?;
    } else {
        views.unfiled.remove(id)?;
    }
    let was_open = views.open.get(id)?.is_some();
    match (was_open, event.state == EventState::Open) {
        (false, true) => {
            views.open.insert(id, &[])?;
            counters.open += 1;
        }
        (true, false) => {
            views.open.remove(id)?;
            counters.open = counters.open.saturating_sub(1);
        }
        _ => {}
    }
    Ok(())
}

/// The event as it is before the change that is being made.
pub(super) fn in_transaction(views: &Views<'_>, id: EventId) -> Result<Option<Event>, StoreError> {
    let json = views.events.get(id.to_bytes())?;
    json.map(|json| decode(&json)).transpose()
}

/// Takes the event out of the index. Returns whether it was there.
pub(super) fn remove(views: &Views<'_>, counters: &mut Counters, id: EventId) -> Result<bool, StoreError> {
    let Some(event) = in_transaction(views, id)? else { return Ok(false) };
    views.events.remove(id.to_bytes())?;
    views.alerts.remove(id.to_bytes())?;
    views.annotations.remove(id.to_bytes())?;
    views.reviewed.remove(id.to_bytes())?;
    views.by_camera.remove(camera_key(&event.camera, id))?;
    if views.open.remove(id.to_bytes())?.is_some() {
        counters.open = counters.open.saturating_sub(1);
    }
    counters.events = counters.events.saturating_sub(1);
    Ok(true)
}

pub(super) fn event(db: &Database, id: EventId) -> Result<Option<Event>, StoreError> {
    let event: Option<Event> = db.events.get(id.to_bytes())?.map(|json| decode(&json)).transpose()?;
    event.map(|event| annotations::with(db, event)).transpose()
}

/// Events that match, as the index keeps them: without what people say of them.
pub(super) fn events(db: &Database, query: &Query) -> Result<Vec<Event>, StoreError> {
    let limit = query.limit.min(MAX_LIMIT);
    let mut found = Vec::with_capacity(limit.min(64));
    let mut take = |json: &[u8]| {
        match decode::<Event>(json) {
            Ok(event) if query.matches(&event) => found.push(event),
            Ok(_) => {}
            Err(error) => warn!(%error, "an event in the index is skipped"),
        }
        found.len() < limit
    };
    if limit == 0 {
        return Ok(Vec::new());
    }
    let walks = Walks::new(db, query.since, query.until)?;
    let (tree, start) = match &query.camera {
        Some(camera) => (&db.by_camera, prefix(camera)),
        None => (&db.events, Vec::new()),
    };
    let (mut walk, mut rows) = (walks.of(tree, start, None, query.before), db.events.lookup());
    for _ in 0..SCAN_LIMIT {
        let Some((id, json)) = walk.next()? else { break };
        let json = if query.camera.is_some() { rows.get(&id.to_bytes())? } else { Some(json) };
        if json.is_some_and(|json| !take(&json)) {
            break;
        }
    }
    Ok(found)
}

pub(super) fn open_events(db: &Database) -> Result<Vec<EventId>, StoreError> {
    db.open.iter().keys().filter_map(|key| key.map(|key| id_of(&key)).transpose()).collect()
}

/// How many events are looked at in one go.
const UNFILED_PAGE: usize = 1000;

/// The oldest events that are over and not filed.
pub(super) fn unfiled(db: &Database) -> Result<Vec<EventId>, StoreError> {
    let keys = db.unfiled.iter().keys().take(UNFILED_PAGE);
    keys.filter_map(|key| key.map(|key| id_of(&key)).transpose()).collect()
}

pub(super) fn newest_id(db: &Database) -> Result<Option<EventId>, StoreError> {
    Ok(db.events.last()?.and_then(|(key, _)| id_of(&key)))
}
