//! `GET /api/v1/stream`: what happens on the box, as server-sent events.
//!
//! Changes of events come from the durable sequence of the index, and carry its numbers as `id:`, so that a client which
//! connects again is sent what it missed, also over a restart of the daemon. The state of the box is compared with what
//! was sent last, every two seconds; an idle box sends next to nothing. Exports are sent when they get on, changes of the
//! library those of a second together.
//!
//! The log has a stream of its own ([`log`]): its lines have numbers of another sequence, and one `id:` holds one position.

mod exports;
mod kinds;
mod log;
mod photos;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use self::exports::Exports;
use self::kinds::Kinds;
use self::photos::Photos;
use super::Shared;
use super::api::{StatusReply, is_seen};
use super::problem::{Code, Problem};
use super::routes::{Needs, Routes};
use super::session::Known;
use crate::access::Caller;
use crate::service::{ChangeKind, ChangedEvent, Position};
use crate::status::BoxStatus;

/// Streams at once; each is a connection that does not end.
const MAX_STREAMS: usize = 16;
/// How often the box is looked at, while a client follows.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// All numbers are sent this often, also those that always change.
const ALL_EVERY: Duration = Duration::from_secs(30);
/// A stream on which nothing is sent looks like a dead one.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// How long a client waits before it connects again.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Changes that are read at once.
const CHANGES_AT_ONCE: usize = 50;

/// What always changes, and is no reason to send the state of the box; also all that is named `..._s`.
const ALWAYS_CHANGING: [&str; 5] = ["time", "fps", "detect_fps", "free_bytes", "archive_bytes"];

/// What the streams share.
pub(super) struct Streams {
    places: Arc<Semaphore>,
    seen: tokio::sync::Mutex<Option<(Instant, Arc<BoxStatus>)>>,
}

impl Default for Streams {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(MAX_STREAMS)), seen: tokio::sync::Mutex::default() }
    }
}

impl Streams {
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.places.clone().try_acquire_owned().map_err(|_| {
            let detail = format!("{MAX_STREAMS} streams are open already, which is as many as may be");
            Problem::new(Code::TooManyStreams, detail)
        })
    }
}

/// The box at one moment.
struct Seen {
    status: String,
    outlets: String,
    /// Of what does not always change, without the outlets.
    state: u64,
    /// The same of the outlets.
    progress: u64,
}

impl Seen {
    fn of(status: &StatusReply) -> Option<Self> {
        let text = serde_json::to_string(status).ok()?;
        let mut value = serde_json::to_value(status).ok()?;
        let outlets = value.as_object_mut()?.remove("outlets").unwrap_or_default();
        let hash = |mut value: Value| {
            steady(&mut value);
            let mut hash = DefaultHasher::new();
            value.to_string().hash(&mut hash);
            hash.finish()
        };
        let only = json!({ "outlets": outlets }).to_string();
        Some(Self { status: text, outlets: only, state: hash(value), progress: hash(outlets) })
    }
}

/// Takes out what always changes.
fn steady(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !name.ends_with("_s") && !ALWAYS_CHANGING.contains(&name.as_str()));
            fields.values_mut().for_each(steady);
        }
        Value::Array(items) => items.iter_mut().for_each(steady),
        _ => {}
    }
}

pub(super) fn routes() -> Routes {
    Routes::default().get("/api/v1/stream", Needs::VIEW, follow).get(
        "/api/v1/log/stream",
        Needs::ADMINISTER,
        log::follow,
    )
}

async fn follow(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    RawQuery(query): RawQuery,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let kinds = Kinds::parse(query.as_deref().unwrap_or_default())?;
    let place = shared.streams.place()?;
    let follower = Follower::new(shared, caller, place, kinds, last_event_id(&request));
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    let heartbeat = KeepAlive::new().interval(HEARTBEAT_EVERY).text("heartbeat");
    Ok(Sse::new(events).keep_alive(heartbeat).into_response())
}

/// The id that a client knows; empty where it is none of ours.
fn last_event_id(request: &HeaderMap) -> Option<&str> {
    request.get("last-event-id").map(|id| id.to_str().unwrap_or_default())
}

/// One client.
struct Follower {
    shared: Arc<Shared>,
    caller: Caller,
    _place: OwnedSemaphorePermit,
    kinds: Kinds,
    exports: Exports,
    photos: Photos,
    /// Behind the last change that was sent; none where the client knows one of a sequence that is not this one.
    position: Option<Position>,
    waiting: VecDeque<Event>,
    /// What was sent last of the state of the box, and when all of it was.
    sent: Option<(u64, u64, Instant)>,
    looked: Option<Instant>,
}

impl Follower {
    fn new(
        shared: Arc<Shared>,
        caller: Caller,
        place: OwnedSemaphorePermit,
        kinds: Kinds,
        known: Option<&str>,
    ) -> Self {
        let position = match known {
            Some(known) => known.parse().ok(),
            None => Some(shared.services.events.position()),
        };
        let mut waiting = VecDeque::new();
        if let (true, None, Some(position)) = (kinds.events, known, position) {
            // From here on the client can be sent what it missed.
            waiting.push_back(Event::default().event("begin").id(position.to_string()).retry(RETRY_AFTER).data("{}"));
        }
        let (exports, photos) = (Exports::new(&shared), Photos::new(&shared));
        Self { shared, caller, _place: place, kinds, exports, photos, position, waiting, sent: None, looked: None }
    }

    /// The next event; none once the daemon stops, or the session or key is over.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if self.shared.stop.is_cancelled() || self.caller.until.is_cancelled() {
                return None;
            }
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            // An index that is out of service comes back, or the daemon ends.
            let reached = if self.kinds.events { self.read_changes().await.unwrap_or_default() } else { None };
            if self.kinds.exports && self.waiting.is_empty() {
                self.waiting.extend(self.exports.look(&self.shared, &self.caller).await);
            }
            if self.kinds.photos && self.waiting.is_empty() {
                self.waiting.extend(self.photos.look(&self.shared, &self.caller));
            }
            if self.kinds.status && self.waiting.is_empty() && self.looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
                self.looked = Some(Instant::now());
                self.look_at_the_box().await;
            }
            if self.waiting.is_empty() {
                self.wait(reached).await;
            }
        }
    }

    /// Until there may be something to send.
    async fn wait(&mut self, reached: Option<Position>) {
        let (stop, over) = (self.shared.stop.cancelled(), self.caller.until.cancelled());
        let (exports, has_exports) = (self.exports.wait(), self.kinds.exports);
        let has_photos = self.kinds.photos && self.caller.sees_everything();
        let photos = self.photos.wait(&self.shared);
        let change = async {
            match reached {
                Some(position) => self.shared.services.events.wait_for_change(position, LOOK_EVERY).await,
                None => tokio::time::sleep(LOOK_EVERY).await,
            }
        };
        tokio::select! {
            () = stop => {}
            () = over => {}
            () = change => {}
            () = exports, if has_exports => {}
            () = photos, if has_photos => {}
        }
    }

    /// Takes up what happened to events. Returns how far that is, where the index could be read.
    async fn read_changes(&mut self) -> anyhow::Result<Option<Position>> {
        let service = &self.shared.services.events;
        let changes = match self.position {
            Some(position) => service.changes(position, CHANGES_AT_ONCE).await?,
            None => None,
        };
        let Some(changes) = changes else {
            // What the client has may be anything: it asks for the lists again.
            let position = service.position();
            self.position = Some(position);
            self.waiting.push_back(Event::default().event("reset").id(position.to_string()).data("{}"));
            return Ok(self.position);
        };
        for changed in changes {
            self.position = Some(changed.change.position);
            self.waiting.extend(message(&changed, &self.caller));
        }
        Ok(self.position)
    }

    /// Takes up what is new about the box.
    async fn look_at_the_box(&mut self) {
        let Some(status) = self.shared.seen().await else { return };
        let Some(seen) = Seen::of(&StatusReply::new((*status).clone(), &self.caller)) else { return };
        let now = Instant::now();
        match self.sent {
            Some((state, progress, at)) if state == seen.state && at.elapsed() < ALL_EVERY => {
                if progress != seen.progress {
                    self.waiting.push_back(Event::default().event("deliveries").data(&seen.outlets));
                    self.sent = Some((state, seen.progress, at));
                }
            }
            _ => {
                self.waiting.push_back(Event::default().event("status").data(&seen.status));
                self.sent = Some((seen.state, seen.progress, now));
            }
        }
    }
}

impl Shared {
    /// The box as one of the streams saw it lately; none where the index does not answer.
    async fn seen(&self) -> Option<Arc<BoxStatus>> {
        let mut seen = self.streams.seen.lock().await;
        if let Some((at, seen)) = &*seen
            && at.elapsed() < LOOK_EVERY / 2
        {
            return Some(seen.clone());
        }
        let fresh = Arc::new(self.errors.ask("status", self.services.status.read()).await.ok()?);
        *seen = Some((Instant::now(), fresh.clone()));
        Some(fresh)
    }
}

/// A change as it is sent; none where the caller does not see the event, or where it went meanwhile, of which another
/// change follows. What the event was of is not known any more when it went: that is sent to callers who see everything.
fn message(changed: &ChangedEvent, caller: &Caller) -> Option<Event> {
    #[derive(Serialize)]
    struct Deleted {
        id: crate::event::EventId,
    }
    let name = match changed.change.kind {
        ChangeKind::Start => "start",
        ChangeKind::Update => "update",
        ChangeKind::End => "end",
        ChangeKind::Delete => "delete",
    };
    let data = match (&changed.record, changed.change.kind) {
        (_, ChangeKind::Delete) if !caller.sees_everything() => return None,
        (_, ChangeKind::Delete) => serde_json::to_string(&Deleted { id: changed.change.id }).ok()?,
        (Some(record), _) if !is_seen(caller, record) => return None,
        (Some(record), _) => serde_json::to_string(record).ok()?,
        (None, _) => return None,
    };
    Some(Event::default().event(name).id(changed.change.position.to_string()).data(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_always_changes_is_no_reason_to_send() {
        let mut status = json!({
            "time": "now", "uptime_s": 3, "events_total": 2,
            "cameras": [{"name": "yard", "fps": 9.5, "last_packet_age_s": 0.1, "objects": 1}],
            "disk": {"free_bytes": 7, "path": "/x"}
        });
        steady(&mut status);
        let expected = json!({
            "events_total": 2, "cameras": [{"name": "yard", "objects": 1}], "disk": {"path": "/x"}
        });
        assert_eq!(status, expected);
    }
}
