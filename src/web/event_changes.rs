//! What people do with events: keeping them, saying something of them, having looked them through, deleting them.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::api::{find, is_seen};
use super::audit::about;
use super::problem::{Code, Problem};
use super::reply;
use super::routes::{Needs, Routes};
use super::session::{Known, name_of};
use super::{Shared, body};
use crate::access::{Caller, Role};
use crate::destination::Destination;
use crate::event::EventId;
use crate::service::{BulkCommand, EventOutcome, EventPatch, EventRecord, EventRefusal};

pub(super) fn routes() -> Routes {
    Routes::default()
        .patch("/api/v1/events/{id}", Needs::VIEW, patch)
        .delete("/api/v1/events/{id}", Needs::OPERATE, delete)
        .post("/api/v1/events/{id}/retry", Needs::OPERATE, retry)
        .post("/api/v1/events/bulk", Needs::VIEW, bulk)
}

type Id = Result<Path<String>, PathRejection>;

/// Turns away a viewer from what is the same for all.
fn check_role(caller: &Caller) -> Result<(), Problem> {
    if caller.may(Role::Operator) {
        return Ok(());
    }
    let (name, role) = (&caller.name, caller.role.as_str());
    let message =
        format!("{name} has the role {role}, and may change only what it has looked through; this needs operator");
    Err(Problem::new(Code::NotAllowed, message))
}

fn refused(refusal: EventRefusal) -> Problem {
    match refusal {
        EventRefusal::Unknown => Problem::not_found("there is no event with this id on this box"),
        EventRefusal::Changed => changed(),
        EventRefusal::Senseless(why) => Problem::new(Code::Refused, why),
    }
}

fn changed() -> Problem {
    Problem::new(Code::ChangedMeanwhile, "the event was changed meanwhile: get it again".to_owned())
}

async fn named(shared: &Shared, caller: &Caller, id: Id) -> Result<EventRecord, Problem> {
    let Path(id) = id.map_err(|_| refused(EventRefusal::Unknown))?;
    find(shared, caller, &id).await
}

async fn patch(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let patch: EventPatch = body::command(&headers, body, r#"{"note": "the gardener", "reviewed": true}"#).await?;
    if patch.is_for_all() {
        check_role(&caller)?;
    }
    patch.check().map_err(|why| Problem::new(Code::BadCommand, why))?;
    let record = named(&shared, &caller, id).await?;
    let known = headers.contains_key(axum::http::header::IF_MATCH).then(|| record.event.clone());
    if !reply::tag_of(&record)?.is_expected(&headers) {
        return Err(changed());
    }
    let subject = serde_json::to_string(&patch).unwrap_or_default();
    let (id, service) = (record.event.id, &shared.services.events);
    shared.errors.ask("event", service.patch(id, patch, name_of(&caller), known)).await?.map_err(refused)?;
    let record = find(&shared, &caller, &id.to_string()).await?;
    Ok(about(subject, reply::json(&HeaderMap::new(), &record)?))
}

/// An event that is gone.
#[derive(Serialize)]
struct Deleted {
    id: EventId,
    /// Destinations that have files of it, which stay there.
    kept_at: Vec<Destination>,
}

async fn delete(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Id,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    super::sender::check_sender(&headers)?;
    let record = named(&shared, &caller, id).await?;
    if !reply::tag_of(&record)?.is_expected(&headers) {
        return Err(changed());
    }
    let kept_at = shared.errors.ask("event", shared.services.events.delete(&record)).await?.map_err(refused)?;
    let event = &record.event;
    let subject = format!("{} at {}, {}", event.label, event.camera, event.start.wall);
    Ok(about(subject, Json(Deleted { id: event.id, kept_at })))
}

/// Nothing needs to be said.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Serialize)]
struct Retried {
    /// Items that had failed.
    changed: u64,
}

async fn retry(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Nothing {} = body::command(&headers, body, "{}").await?;
    let record = named(&shared, &caller, id).await?;
    let changed = shared.errors.ask("event", shared.services.events.retry(vec![record.event.id])).await?;
    Ok(Json(Retried { changed }).into_response())
}

#[derive(Serialize)]
struct BulkReply {
    outcomes: Vec<EventOutcome>,
}

async fn bulk(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = body::received(&headers, body).await?;
    shared.answers.once(&caller, &headers, "events bulk", &body, carry_out(&shared, &caller, &body)).await
}

async fn carry_out(shared: &Shared, caller: &Caller, body: &[u8]) -> Result<Response, Problem> {
    let command: BulkCommand = body::read(body, r#"{"action": "review", "ids": ["01KAMZXQ5D3V7N2WJ8R4T6Y9BC"]}"#)?;
    if command.is_for_all() {
        check_role(caller)?;
    }
    command.check().map_err(|why| Problem::new(Code::BadCommand, why))?;
    let ids: Vec<String> = command.ids.iter().map(EventId::to_string).collect();
    let subject = format!("{:?} {}", command.action, ids.join(" ")).to_lowercase();
    let sees = |record: &EventRecord| is_seen(caller, record);
    let outcomes = shared.errors.ask("events", shared.services.events.bulk(command, name_of(caller), sees)).await?;
    Ok(about(subject, Json(BulkReply { outcomes })))
}
