//! The settings of cameras: reading, changing, adding, removing; and trying a camera before.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Shared;
use super::audit::about;
use super::body::{command, read, received};
use super::problem::{Code, Problem};
use super::routes::{Needs, Routes};
use super::sender::check_sender;
use super::session::Known;
use crate::access::Caller;
use crate::service::{CameraEdit, EditRefusal, Edited, MOST_HOURS, ProbeFailure};
use crate::status::ConfigState;

pub(super) type Named = Result<Path<String>, PathRejection>;

const SETTINGS: &str = r#"{"record": {"post_roll": "10s"}}"#;
const NEW: &str = r#"{"name": "yard", "settings": {"source": {"url": "rtsp://192.0.2.7/stream"}}}"#;
const RULES: &str = r#"{"hours": 6, "rules": [{"name": "in", "when": "object"}]}"#;
const SOURCE: &str = r#"{"source": {"url": "rtsp://192.0.2.7/stream"}}"#;

pub(super) fn routes() -> Routes {
    Routes::default()
        .post("/api/v1/cameras", Needs::ADMINISTER, add)
        .get("/api/v1/cameras/found", Needs::ADMINISTER, found)
        .post("/api/v1/cameras/probe", Needs::ADMINISTER, probe)
        .get("/api/v1/cameras/{name}/config", Needs::ADMINISTER, settings)
        .patch("/api/v1/cameras/{name}/config", Needs::ADMINISTER, change)
        .delete("/api/v1/cameras/{name}/config", Needs::ADMINISTER, remove)
        .post("/api/v1/cameras/{name}/rules/try", Needs::ADMINISTER, try_rules)
        .get("/api/v1/cameras/{name}/rules/try", Needs::ADMINISTER, tried_rules)
        .delete("/api/v1/cameras/{name}/rules/try", Needs::ADMINISTER, cancel_trial)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCamera {
    name: String,
    #[serde(default)]
    settings: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tried {
    #[serde(default)]
    camera: Option<String>,
    #[serde(default)]
    source: Map<String, Value>,
}

async fn settings(State(shared): State<Arc<Shared>>, Known(caller): Known, name: Named) -> Result<Response, Problem> {
    let name = seen(&caller, name)?;
    let settings = shared.services.config.settings(&name).await.map_err(refused)?;
    let tag = format!("\"{}\"", settings.revision);
    Ok(([(header::ETAG, tag)], Json(settings)).into_response())
}

async fn change(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    name: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let name = seen(&caller, name)?;
    let patch: Map<String, Value> = command(&headers, body, SETTINGS).await?;
    let subject = keys(&patch);
    edit(&shared, CameraEdit::Change { name, patch }, &headers, &subject).await
}

async fn remove(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    name: Named,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_sender(&headers)?;
    let name = seen(&caller, name)?;
    edit(&shared, CameraEdit::Remove { name }, &headers, "").await
}

async fn add(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let bytes = received(&headers, body).await?;
    let NewCamera { name, settings } = read(&bytes, NEW)?;
    sees_all(&caller)?;
    let subject = name.clone();
    let act = edit(&shared, CameraEdit::Add { name, settings }, &headers, &subject);
    shared.answers.once(&caller, &headers, "camera add", &bytes, act).await
}

async fn edit(shared: &Shared, edit: CameraEdit, headers: &HeaderMap, subject: &str) -> Result<Response, Problem> {
    let edited = shared.services.config.edit(edit, revision(headers)?).await.map_err(refused)?;
    let status = if edited.status.state == ConfigState::Confirming { StatusCode::ACCEPTED } else { StatusCode::OK };
    let Edited { revision, .. } = &edited;
    let tag = format!("\"{revision}\"");
    Ok(about(subject, (status, [(header::ETAG, tag)], Json(edited))))
}

async fn found(State(shared): State<Arc<Shared>>, Known(caller): Known) -> Result<Response, Problem> {
    sees_all(&caller)?;
    let found = shared.services.probe.found().await.map_err(failed)?;
    Ok(Json(found).into_response())
}

async fn probe(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Tried { camera, source } = command(&headers, body, SOURCE).await?;
    sees_all(&caller)?;
    let source = shared.services.config.source(camera, source).await.map_err(refused)?;
    let subject = source.config.display_url();
    let probed = shared.services.probe.probe(source).await.map_err(failed)?;
    Ok(about(subject, Json(probed)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TriedRules {
    hours: f64,
    rules: Option<Value>,
    zones: Option<Value>,
    lines: Option<Value>,
}

async fn try_rules(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    name: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let name = history(&caller, name)?;
    let TriedRules { hours, rules, zones, lines } = command(&headers, body, RULES).await?;
    if !(hours > 0.0 && hours <= MOST_HOURS) {
        return Err(Problem::parameter("hours", &hours.to_string(), format!("above 0, and {MOST_HOURS} at most")));
    }
    if !shared.services.switches.has_camera(&name) {
        return Err(Problem::not_found("there is no camera with this name"));
    }
    let keys = [("rules", rules), ("zones", zones), ("lines", lines)];
    let keys = keys.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
    let begun = shared.services.backtests.start(&name, keys, None, hours);
    let begun = begun.map_err(|busy| Problem::new(Code::Refused, busy.to_string()))?;
    Ok((StatusCode::ACCEPTED, Json(begun)).into_response())
}

async fn tried_rules(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    name: Named,
) -> Result<Response, Problem> {
    let backtest = shared.services.backtests.of(&history(&caller, name)?);
    let backtest = backtest.filter(|backtest| backtest.pipeline.is_none());
    let backtest = backtest.ok_or_else(|| Problem::not_found("no rules of this camera were tried since the start"))?;
    Ok(Json(backtest).into_response())
}

pub(super) async fn cancel_trial(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    name: Named,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_sender(&headers)?;
    shared.services.backtests.cancel(&history(&caller, name)?);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The camera, where the caller sees all of its past.
pub(super) fn history(caller: &Caller, name: Named) -> Result<String, Problem> {
    let name = seen(caller, name)?;
    if caller.grant(&name).is_some_and(|grant| grant.covers(Timestamp::MIN) && grant.covers(Timestamp::MAX)) {
        return Ok(name);
    }
    Err(Problem::new(Code::NotAllowed, format!("{} does not see all that {name} recorded", caller.name)))
}

/// The camera, where the caller sees it; others are as if they were not there.
pub(super) fn seen(caller: &Caller, name: Named) -> Result<String, Problem> {
    let unknown = || Problem::not_found("there is no camera with this name");
    let Path(name) = name.map_err(|_| unknown())?;
    if caller.grant(&name).is_some() { Ok(name) } else { Err(unknown()) }
}

/// Who sees some cameras only adds none.
fn sees_all(caller: &Caller) -> Result<(), Problem> {
    if caller.sees_everything() {
        return Ok(());
    }
    Err(Problem::new(
        Code::NotAllowed,
        format!("{} sees some cameras only; this is for those who see all", caller.name),
    ))
}

/// Names of the keys, for the audit log: values may be secrets.
fn keys(patch: &Map<String, Value>) -> String {
    patch.keys().map(|key| key.chars().take(40).collect::<String>()).take(20).collect::<Vec<_>>().join(",")
}

/// The revision that the caller knows.
fn revision(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(tag) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = tag.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let known = text.trim_start_matches("W/").trim_matches('"');
    if known.is_empty() {
        return Err(Problem::parameter("If-Match", text, "the `ETag` of an answer, or *"));
    }
    Ok(Some(known.to_owned()))
}

fn refused(refusal: EditRefusal) -> Problem {
    let code = match &refusal {
        EditRefusal::Unknown(_) => Code::NotFound,
        EditRefusal::Exists(_) | EditRefusal::NotWritten(_) => Code::Refused,
        EditRefusal::Changed(_) => Code::ChangedMeanwhile,
        EditRefusal::Invalid { .. } => Code::InvalidConfig,
        EditRefusal::Busy => Code::Busy,
        EditRefusal::Stopping => Code::Stopping,
    };
    Problem::new(code, refusal.to_string())
}

fn failed(failure: ProbeFailure) -> Problem {
    let code = match failure {
        ProbeFailure::Busy => Code::Busy,
        ProbeFailure::Failed(_) => Code::CameraUnusable,
    };
    Problem::new(code, failure.to_string())
}
