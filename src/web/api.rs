//! The JSON API, version 1: the box and its events.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;

use crate::event::EventId;
use crate::service::EventRecord;
use crate::status::{BoxStatus, Summary};

use super::problem::Problem;
use super::reply::{self, Tag};
use super::{Shared, event_query, live, media};

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/events", get(events))
        .route("/api/v1/events/{id}", get(event))
        .route("/api/v1/events/{id}/{file}", get(file))
        .route("/api/v1/cameras/{name}/frame.jpg", get(live::frame))
        .route("/api/v1/cameras/{name}/last.jpg", get(live::last))
}

/// The box, with a sentence that sums it up.
#[derive(Serialize)]
pub(super) struct StatusReply {
    summary: Summary,
    #[serde(flatten)]
    status: BoxStatus,
}

impl StatusReply {
    pub(super) fn new(status: BoxStatus) -> Self {
        Self { summary: status.summary(), status }
    }
}

async fn status(State(shared): State<Arc<Shared>>, request: HeaderMap) -> Result<Response, Problem> {
    let status = shared.errors.ask("status", shared.services.status.read()).await?;
    reply::json(&request, &StatusReply::new(status))
}

/// The list of events. One that has not changed costs no look into the index.
async fn events(
    State(shared): State<Arc<Shared>>,
    RawQuery(text): RawQuery,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let (text, service) = (text.unwrap_or_default(), &shared.services.events);
    let query = event_query::parse(&text, &service.outlets())?;
    // Before the look: what changes during it makes the tag one that is not known any more.
    let tag = Tag::of((service.revision(), &text));
    if tag.is_known(&request) {
        return Ok(tag.not_modified());
    }
    tag.answer(&shared.errors.ask("events", service.list(query)).await?)
}

async fn find(shared: &Shared, id: &str) -> Result<EventRecord, Problem> {
    let unknown = || Problem::not_found("there is no event with this id on this box");
    let id: EventId = id.parse().map_err(|_| unknown())?;
    let record = shared.errors.ask("event", shared.services.events.get(id)).await?;
    record.ok_or_else(unknown)
}

async fn event(
    State(shared): State<Arc<Shared>>,
    id: Result<Path<String>, PathRejection>,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let Path(id) = id.map_err(|_| Problem::not_found("there is no event with this id on this box"))?;
    reply::json(&request, &find(&shared, &id).await?)
}

async fn file(
    State(shared): State<Arc<Shared>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let Path((id, file)) = path.map_err(|_| Problem::not_found("there is no event with this id on this box"))?;
    let record = find(&shared, &id).await?;
    let path = shared.services.media.of_event(&record.event, &file);
    let path = path.ok_or_else(|| Problem::not_found("the event has no file with this name"))?;
    media::answer(&path, &file, &request).await
}
