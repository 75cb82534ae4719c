//! The JSON API, version 1.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use url::form_urlencoded;

use crate::access::Caller;
use crate::event::EventId;
use crate::service::{EventQuery, EventRecord};
use crate::status::{BoxStatus, Summary};

use super::problem::Problem;
use super::routes::{Needs, Routes};
use super::session::Known;
use super::{Shared, live, media};

/// Events in one answer when nothing is asked for.
const DEFAULT_LIMIT: usize = 50;

/// Events in one answer at most.
const MAX_LIMIT: usize = 200;

/// Longest camera name or label that is looked for, bytes.
const MAX_NAME_BYTES: usize = 200;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/status", Needs::VIEW, status)
        .get("/api/v1/events", Needs::VIEW, events)
        .get("/api/v1/events/{id}", Needs::VIEW, event)
        .get("/api/v1/events/{id}/{file}", Needs::VIEW, file)
        .get("/api/v1/cameras/{name}/frame.jpg", Needs::VIEW, live::frame)
        .get("/api/v1/cameras/{name}/last.jpg", Needs::VIEW, live::last)
}

#[derive(Serialize)]
struct StatusReply {
    summary: Summary,
    #[serde(flatten)]
    status: BoxStatus,
}

async fn status(State(shared): State<Arc<Shared>>, Known(caller): Known) -> Result<Response, Problem> {
    let mut status = shared.errors.ask("status", shared.services.status.read()).await?;
    // The sentence speaks of no camera either that the caller does not see.
    status.cameras.retain(|camera| caller.grant(&camera.name).is_some());
    Ok(Json(StatusReply { summary: status.summary(), status }).into_response())
}

#[derive(Serialize)]
struct EventsReply {
    events: Vec<EventRecord>,
    /// `before` of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<EventId>,
}

async fn events(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let query = parse_query(query.as_deref().unwrap_or_default())?;
    let limit = query.limit;
    // One more than wanted shows whether there is a next page.
    let query = EventQuery { limit: limit + 1, ..query };
    let mut events = shared.errors.ask("events", shared.services.events.list(query)).await?;
    let there_is_more = events.len() > limit;
    events.truncate(limit);
    let next = events.last().filter(|_| there_is_more).map(|record| record.event.id);
    events.retain(|record| is_seen(&caller, record));
    Ok(Json(EventsReply { events, next }).into_response())
}

fn parse_query(text: &str) -> Result<EventQuery, Problem> {
    let mut query = EventQuery { limit: DEFAULT_LIMIT, ..EventQuery::default() };
    let mut seen = Vec::new();
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        if seen.contains(&name) {
            return Err(Problem::parameter(&name, &value, "once"));
        }
        let named = || {
            let fits = !value.is_empty() && value.len() <= MAX_NAME_BYTES;
            let allowed = || format!("a name of 1 to {MAX_NAME_BYTES} bytes");
            if fits { Ok(Some(value.to_string())) } else { Err(Problem::parameter(&name, &value, allowed())) }
        };
        match &*name {
            "camera" => query.camera = named()?,
            "label" => query.label = named()?,
            "before" => {
                let id = value.parse().map_err(|_| Problem::parameter(&name, &value, "the id of an event"))?;
                query.before = Some(id);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                let allowed = || format!("a whole number from 1 to {MAX_LIMIT}");
                query.limit = limit.ok_or_else(|| Problem::parameter(&name, &value, allowed()))?;
            }
            _ => {
                return Err(Problem::parameter(&name, &value, "the parameters camera, label, before and limit"));
            }
        }
        seen.push(name);
    }
    Ok(query)
}

fn is_seen(caller: &Caller, record: &EventRecord) -> bool {
    caller.sees(&record.event.camera, record.event.start.wall)
}

/// An event that `caller` sees; the others are as if they were not there.
async fn find(shared: &Shared, caller: &Caller, id: &str) -> Result<EventRecord, Problem> {
    let unknown = || Problem::not_found("there is no event with this id on this box");
    let id: EventId = id.parse().map_err(|_| unknown())?;
    let record = shared.errors.ask("event", shared.services.events.get(id)).await?;
    record.filter(|record| is_seen(caller, record)).ok_or_else(unknown)
}

async fn event(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(id) = id.map_err(|_| Problem::not_found("there is no event with this id on this box"))?;
    let record = find(&shared, &caller, &id).await?;
    Ok(Json(record).into_response())
}

async fn file(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    path: Result<Path<(String, String)>, PathRejection>,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let Path((id, file)) = path.map_err(|_| Problem::not_found("there is no event with this id on this box"))?;
    let record = find(&shared, &caller, &id).await?;
    let path = shared.services.media.of_event(&record.event, &file);
    let path = path.ok_or_else(|| Problem::not_found("the event has no file with this name"))?;
    media::answer(&path, &file, &request).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_full_query_is_understood() {
        let id = "01KAMZXQ5D3V7N2WJ8R4T6Y9BC";
        let query = parse_query(&format!("camera=hof%20s%C3%BCd&label=person&before={id}&limit=7")).expect("valid");
        assert_eq!(
            (query.camera.as_deref(), query.label.as_deref(), query.limit),
            (Some("hof süd"), Some("person"), 7)
        );
        assert_eq!(query.before.map(|id| id.to_string()).as_deref(), Some(id));
        assert_eq!(parse_query("").expect("valid").limit, DEFAULT_LIMIT);
    }

    proptest! {
        #[test]
        fn any_text_is_a_query_or_a_named_problem(text in ".{0,300}") {
            if let Ok(query) = parse_query(&text) {
                prop_assert!((1..=MAX_LIMIT).contains(&query.limit));
            }
        }
    }
}
