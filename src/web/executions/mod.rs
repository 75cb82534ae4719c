//! Executions: pictures go through pipelines, and what came of them.

mod given;
mod stream;
mod trial;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use url::form_urlencoded;

use super::audit::about;
use super::problem::{Code, Problem};
use super::routes::{Needs, Routes};
use super::session::{Known, name_of};
use super::{Shared, media, pipelines, reply, sender};
use crate::access::{Caller, Role};
use crate::execution::{Execution, ExecutionId, ExecutionState, ExecutionSummary};
use crate::executor::{Accepted, ExecutorError};
use crate::service::ExecutionRefusal;
use crate::store::ExecutionQuery;

/// Executions of one page where nothing is asked for, and at most.
const DEFAULT_LIMIT: usize = 50;
const MOST_LIMIT: usize = 500;
/// Longest wait for a result.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

pub(super) fn routes() -> Routes {
    Routes::default()
        .post("/api/v1/pipelines/try", Needs::OPERATE, trial::try_out)
        .get("/api/v1/executions", Needs::VIEW, list)
        .post("/api/v1/executions", Needs::OPERATE, submit)
        .get("/api/v1/executions/status", Needs::VIEW, status)
        .get("/api/v1/executions/events", Needs::VIEW, stream::follow_all)
        .get("/api/v1/executions/batches/{id}", Needs::VIEW, batch)
        .post("/api/v1/executions/batches/{id}/cancel", Needs::OPERATE, cancel_batch)
        .get("/api/v1/executions/{id}", Needs::VIEW, get)
        .delete("/api/v1/executions/{id}", Needs::OPERATE, remove)
        .post("/api/v1/executions/{id}/cancel", Needs::OPERATE, cancel)
        .post("/api/v1/executions/{id}/repeat", Needs::OPERATE, repeat)
        .get("/api/v1/executions/{id}/events", Needs::VIEW, stream::follow)
        .look("/api/v1/executions/{id}/files/{name}", Needs::VIEW, file)
        .look("/api/v1/executions/{id}/small.jpg", Needs::VIEW, small)
}

type Id = Result<Path<String>, PathRejection>;

fn unknown() -> Problem {
    Problem::not_found(ExecutorError::Unknown.to_string())
}

/// Why an execution is not taken in or changed, as its caller is answered.
fn problem(error: &ExecutorError) -> Problem {
    let code = match error {
        ExecutorError::Away => Code::VolumeAway,
        ExecutorError::Full | ExecutorError::NoRoom { .. } => Code::NoRoom,
        ExecutorError::TooMany { .. }
        | ExecutorError::TooManyOfOne { .. }
        | ExecutorError::Busy
        | ExecutorError::Filling => Code::Busy,
        ExecutorError::KeyReused => Code::KeyReused,
        ExecutorError::Unknown => return unknown(),
        ExecutorError::Refused(_) => Code::Refused,
        ExecutorError::Failed(failure) => {
            tracing::warn!(error = format!("{failure:#}"), "an execution could not be read or kept");
            return Problem::new(Code::Internal, "the executions failed; the log says why".to_owned());
        }
    };
    Problem::new(code, error.to_string())
}

fn refused(refusal: &ExecutionRefusal) -> Problem {
    match refusal {
        ExecutionRefusal::Pipeline(refusal) => pipelines::refused(refusal),
        ExecutionRefusal::Inputs(reason) => Problem::new(Code::BadInputs, reason.clone()),
        ExecutionRefusal::Executor(error) => problem(error),
    }
}

/// Whether the caller sees what `owner` gave: its own, and all for admins.
fn sees(caller: &Caller, owner: &str) -> bool {
    caller.may(Role::Admin) || *name_of(caller) == *owner
}

/// An execution that the caller sees; the others are as if they were not there.
async fn find(shared: &Shared, caller: &Caller, id: Id) -> Result<Execution, Problem> {
    let Path(id) = id.map_err(|_| unknown())?;
    let id: ExecutionId = id.parse().map_err(|_| unknown())?;
    let execution = shared.services.executions.get(id).await.map_err(|error| problem(&error))?;
    if sees(caller, &execution.owner) { Ok(execution) } else { Err(unknown()) }
}

#[derive(Serialize)]
struct SubmitReply {
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<ExecutionId>,
    executions: Vec<Execution>,
    /// Pictures of several that were not taken in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<given::RefusedFile>,
}

async fn submit(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Problem> {
    sender::check_origin(request.headers())?;
    let wait = preferred_wait(request.headers());
    let given = given::Given::new(&shared, &caller, query.as_deref().unwrap_or_default(), wait.is_some())?;
    let given::TakenIn { batch, accepted, refused, .. } = given.take(request).await?;
    let is_new = accepted.iter().any(|accepted| matches!(accepted, Accepted::New(_)));
    let mut executions = Vec::new();
    let deadline = tokio::time::Instant::now() + wait.unwrap_or_default();
    for accepted in accepted {
        let execution = accepted.execution().clone();
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        executions.push(match wait {
            // It is taken in, whatever becomes of the wait: its volume may go meanwhile, or it may be removed.
            Some(_) => shared.services.executions.wait(execution.id, left).await.unwrap_or(execution),
            None => execution,
        });
    }
    let is_over = executions.iter().all(|execution| execution.state.is_over());
    let status = if is_over { StatusCode::OK } else { StatusCode::ACCEPTED };
    let location = match executions.as_slice() {
        [only] => HeaderValue::from_str(&format!("/api/v1/executions/{}", only.id)).ok(),
        _ => None,
    };
    let subject = format!("{} pictures{}", executions.len(), if is_new { "" } else { ", known" });
    let mut response = (status, Json(SubmitReply { batch, executions, refused })).into_response();
    if let Some(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    if wait.is_some() {
        response.headers_mut().insert(PREFERENCE_APPLIED, HeaderValue::from_static("wait"));
    }
    Ok(about(subject, response))
}

/// How long the caller wants to wait for the result: `Prefer: wait=10`.
fn preferred_wait(headers: &HeaderMap) -> Option<Duration> {
    let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let wait = preferences.flat_map(|value| value.split([',', ';'])).find_map(|preference| {
        let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
        (name.trim().eq_ignore_ascii_case("wait")).then(|| value.trim().trim_matches('"').parse::<u64>())
    });
    Some(Duration::from_secs(wait?.unwrap_or(LONGEST_WAIT.as_secs())).min(LONGEST_WAIT))
}

#[derive(Serialize)]
struct ListReply {
    executions: Vec<ExecutionSummary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<ExecutionId>,
}

async fn list(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    RawQuery(query): RawQuery,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let query = parse(query.as_deref().unwrap_or_default(), &caller)?;
    let found = shared.errors.ask("executions", shared.services.executions.find(query)).await?;
    reply::json(&request, &ListReply { executions: found.executions, next: found.next })
}

fn parse(text: &str, caller: &Caller) -> Result<ExecutionQuery, Problem> {
    let owner = (!caller.may(Role::Admin)).then(|| name_of(caller));
    let mut query = ExecutionQuery { owner, limit: DEFAULT_LIMIT, ..ExecutionQuery::default() };
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let wrong = |allowed: &str| Problem::parameter(&name, &value, allowed);
        match &*name {
            "pipeline" => query.pipeline = Some(value.into_owned()),
            "state" => {
                let known = ExecutionState::ALL.into_iter().find(|state| state.as_str() == value);
                query.state = Some(known.ok_or_else(|| wrong("queued, running, finished, failed or cancelled"))?);
            }
            "batch" => query.batch = Some(value.parse().map_err(|_| wrong("the id of a batch"))?),
            "before" => query.before = Some(value.parse().map_err(|_| wrong("`next` of a page before"))?),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MOST_LIMIT).contains(limit));
                query.limit = limit.ok_or_else(|| wrong(&format!("a whole number from 1 to {MOST_LIMIT}")))?;
            }
            _ => return Err(wrong("the parameters pipeline, state, batch, before and limit")),
        }
    }
    Ok(query)
}

async fn status(State(shared): State<Arc<Shared>>, request: HeaderMap) -> Result<Response, Problem> {
    let status = shared.errors.ask("executions", shared.services.executions.status()).await?;
    reply::json(&request, &status)
}

#[derive(Serialize)]
struct BatchReply {
    batch: ExecutionId,
    total: u64,
    states: BTreeMap<ExecutionState, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eta_s: Option<f64>,
}

async fn batch(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Id,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let (batch, owner) = batch_of(&caller, id)?;
    let executions = &shared.services.executions;
    let states = shared.errors.ask("executions", executions.batch_states(batch, owner)).await?;
    if states.is_empty() {
        return Err(no_batch());
    }
    let is_over = states.keys().all(|state| state.is_over());
    let status = shared.errors.ask("executions", executions.status()).await?;
    let (total, eta_s) = (states.values().sum(), status.eta_s.filter(|_| !is_over));
    reply::json(&request, &BatchReply { batch, total, states, eta_s })
}

fn no_batch() -> Problem {
    Problem::not_found("there is no batch with this id on this box")
}

/// A batch, and whose executions of it the caller sees.
fn batch_of(caller: &Caller, id: Id) -> Result<(ExecutionId, Option<Arc<str>>), Problem> {
    let Path(id) = id.map_err(|_| no_batch())?;
    let batch = id.parse().map_err(|_| no_batch())?;
    Ok((batch, (!caller.may(Role::Admin)).then(|| name_of(caller))))
}

#[derive(Serialize)]
struct CancelledReply {
    batch: ExecutionId,
    cancelled: u64,
}

async fn cancel_batch(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Id,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    sender::check_sender(&headers)?;
    let (batch, owner) = batch_of(&caller, id)?;
    let cancelled = shared.errors.ask("executions", shared.services.executions.cancel_batch(batch, owner)).await?;
    let cancelled = cancelled.ok_or_else(no_batch)?;
    Ok(about(batch.to_string(), Json(CancelledReply { batch, cancelled })))
}

async fn get(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Id,
    request: HeaderMap,
) -> Result<Response, Problem> {
    reply::json(&request, &find(&shared, &caller, id).await?)
}

async fn file(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    path: Result<Path<(String, String)>, PathRejection>,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let Path((id, name)) = path.map_err(|_| unknown())?;
    let execution = find(&shared, &caller, Ok(Path(id))).await?;
    let none = || Problem::not_found("the execution has no file with this name");
    let (path, file) = shared.services.executions.file(&execution, &name).ok_or_else(none)?;
    let mut response = media::answer(&path, &name, &request).await?;
    // What strangers sent is not run as a page, whatever it says that it is.
    if let Ok(kind) = HeaderValue::from_str(&file.media_type) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    Ok(about(execution.id.to_string(), response))
}

async fn small(State(shared): State<Arc<Shared>>, Known(caller): Known, id: Id) -> Result<Response, Problem> {
    let execution = find(&shared, &caller, id).await?;
    let picture = shared.services.executions.small_picture(&execution).await.map_err(Problem::not_found)?;
    // What it was given does not change.
    let headers = [(header::CONTENT_TYPE, "image/jpeg"), (header::CACHE_CONTROL, "private, max-age=86400, immutable")];
    Ok(about(execution.id.to_string(), (headers, picture)))
}

async fn cancel(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Id,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    sender::check_sender(&headers)?;
    let execution = find(&shared, &caller, id).await?;
    let over = shared.services.executions.cancel(execution.id).await.map_err(|error| problem(&error))?;
    Ok(about(execution.id.to_string(), Json(over)))
}

async fn repeat(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Id,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    sender::check_sender(&headers)?;
    let mut same_version = false;
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        same_version = match (&*name, &*value) {
            ("version", "same") => true,
            ("version", "newest") => false,
            ("version", _) => return Err(Problem::parameter(&name, &value, "newest or same")),
            _ => return Err(Problem::parameter(&name, &value, "the parameter version")),
        };
    }
    let execution = find(&shared, &caller, id).await?;
    let again = shared.services.executions.repeat(execution.id, name_of(&caller), same_version).await;
    let again = again.map_err(|refusal| refused(&refusal))?;
    let reply = SubmitReply { batch: None, executions: vec![again.execution().clone()], refused: Vec::new() };
    Ok(about(execution.id.to_string(), (StatusCode::ACCEPTED, Json(reply))))
}

async fn remove(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Id,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    sender::check_sender(&headers)?;
    let execution = find(&shared, &caller, id).await?;
    shared.services.executions.delete(execution.id).await.map_err(|error| problem(&error))?;
    Ok(about(execution.id.to_string(), StatusCode::NO_CONTENT.into_response()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_read_as_http_writes_it_and_bounded() {
        let wait = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("prefer", HeaderValue::from_str(value).expect("a header"));
            preferred_wait(&headers).map(|wait| wait.as_secs())
        };
        assert_eq!(wait("wait=10"), Some(10));
        assert_eq!(wait("respond-async, wait=3"), Some(3));
        assert_eq!(wait("Wait=\"5\""), Some(5));
        assert_eq!(wait("wait=9999"), Some(120));
        assert_eq!(wait("wait"), Some(120));
        assert_eq!(wait("return=minimal"), None);
        assert_eq!(preferred_wait(&HeaderMap::new()), None);
    }
}
