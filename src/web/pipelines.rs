//! Pipelines: which there are, what they consist of, and what their blocks are.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Serialize;
use url::form_urlencoded;

use super::audit::about;
use super::problem::{Code, Problem};
use super::routes::{Needs, Routes};
use super::session::Known;
use super::{Shared, body, reply, sender};
use crate::access::{Caller, Role};
use crate::block::{BlockDescription, StepError, describe_blocks};
use crate::execution::Pipeline;
use crate::service::{PipelineEntry, PipelineRefusal, PipelineService};

/// Media type of a pipeline as a file.
const TOML: &str = "application/toml";

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/blocks", Needs::VIEW, blocks)
        .get("/api/v1/pipelines", Needs::VIEW, list)
        .post("/api/v1/pipelines", Needs::OPERATE, save)
        .post("/api/v1/pipelines/check", Needs::OPERATE, check)
        .get("/api/v1/pipelines/{name}", Needs::VIEW, get)
        .delete("/api/v1/pipelines/{name}", Needs::OPERATE, remove)
}

#[derive(Serialize)]
struct BlocksReply {
    blocks: Vec<BlockDescription>,
    /// Names of the webhooks that a step may post to.
    webhooks: Vec<String>,
}

async fn blocks(State(shared): State<Arc<Shared>>, request: HeaderMap) -> Result<Response, Problem> {
    let webhooks = shared.services.pipelines.webhooks();
    reply::json(&request, &BlocksReply { blocks: describe_blocks(), webhooks })
}

#[derive(Serialize)]
struct PipelinesReply {
    pipelines: Vec<PipelineEntry>,
}

async fn list(State(shared): State<Arc<Shared>>, request: HeaderMap) -> Result<Response, Problem> {
    let pipelines = waited(&shared, |pipelines| pipelines.list().map_err(PipelineRefusal::Failed)).await?;
    reply::json(&request, &PipelinesReply { pipelines })
}

#[derive(Serialize)]
struct PipelineReply {
    name: String,
    version: u32,
    versions: Vec<u32>,
    pipeline: Pipeline,
}

type Name = Result<Path<String>, PathRejection>;

fn named(name: Name) -> Result<String, Problem> {
    name.map(|Path(name)| name).map_err(|_| Problem::not_found("there is no pipeline with this name on this box"))
}

async fn get(
    State(shared): State<Arc<Shared>>,
    name: Name,
    RawQuery(query): RawQuery,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let (name, mut version, mut as_file) = (named(name)?, None, false);
    for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match (&*key, &*value) {
            ("version", _) => {
                let number = value.parse().map_err(|_| Problem::parameter(&key, &value, "the number of a version"))?;
                version = Some(number);
            }
            ("format", "toml") => as_file = true,
            ("format", "json") => {}
            ("format", _) => return Err(Problem::parameter(&key, &value, "json or toml")),
            _ => return Err(Problem::parameter(&key, &value, "the parameters version and format")),
        }
    }
    let found = waited(&shared, move |pipelines| {
        let (version, pipeline) = pipelines.get(&name, version)?;
        Ok((pipelines.versions(&name)?, version, pipeline))
    });
    let (versions, version, pipeline) = found.await?;
    if as_file {
        let unwritten = |error: toml::ser::Error| Problem::new(Code::Internal, error.to_string());
        let text = toml::to_string(&pipeline).map_err(unwritten)?;
        let name = format!("attachment; filename=\"{}.toml\"", version.name);
        return Ok(([(header::CONTENT_TYPE, TOML), (header::CONTENT_DISPOSITION, &name)], text).into_response());
    }
    reply::json(&request, &PipelineReply { name: version.name, version: version.version, versions, pipeline })
}

/// The pipeline in a body, as JSON or TOML.
async fn pipeline(headers: &HeaderMap, body: Body) -> Result<Pipeline, Problem> {
    let is_toml = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(TOML.as_bytes()));
    if !is_toml {
        return body::command(headers, body, r#"{"name": "people", "steps": [], "outputs": {}}"#).await;
    }
    // No foreign page can make a browser send this without being asked for permission either.
    sender::check_origin(headers)?;
    let bytes = body::bounded(body).await?;
    let wrong = |reason: String| Problem::new(Code::BadCommand, format!("the body is no pipeline: {reason}"));
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong("it is not UTF-8".to_owned()))?;
    toml::from_str(text).map_err(|error| wrong(error.to_string()))
}

#[derive(Serialize)]
struct CheckReply {
    errors: Vec<StepError>,
    /// As it was read.
    pipeline: Pipeline,
}

async fn check(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let pipeline = pipeline(&headers, body).await?;
    let checked = waited(&shared, move |pipelines| Ok((pipelines.check(&pipeline), pipeline))).await?;
    let (errors, pipeline) = checked;
    Ok(Json(CheckReply { errors, pipeline }).into_response())
}

/// Who changes what runs on the pictures of a camera sees that camera.
fn check_cameras(shared: &Shared, caller: &Caller, pipeline: &str) -> Result<(), Problem> {
    let cameras = shared.services.switches.cameras_with(pipeline);
    if caller.may(Role::Admin) || cameras.iter().all(|camera| caller.sees(camera, Timestamp::now())) {
        return Ok(());
    }
    let message = format!(
        "the pipeline {pipeline:?} runs on cameras that {} may not see: save it under another name, or ask an admin",
        caller.name
    );
    Err(Problem::new(Code::NotAllowed, message))
}

async fn save(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let mut expected = None;
    for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if key != "expected_version" {
            return Err(Problem::parameter(&key, &value, "the parameter expected_version"));
        }
        let number = value.parse().map_err(|_| Problem::parameter(&key, &value, "the number of a version"))?;
        expected = Some(number);
    }
    let pipeline = pipeline(&headers, body).await?;
    check_cameras(&shared, &caller, &pipeline.name)?;
    let saved = waited(&shared, move |pipelines| pipelines.save(&pipeline, expected)).await?;
    let subject = format!("{} version {}", saved.name, saved.version);
    Ok(about(subject, (StatusCode::CREATED, Json(saved)).into_response()))
}

async fn remove(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    name: Name,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    sender::check_sender(&headers)?;
    let name = named(name)?;
    check_cameras(&shared, &caller, &name)?;
    let cameras = shared.services.switches.cameras_with(&name);
    if !cameras.is_empty() {
        let detail =
            format!("the pipeline {name:?} runs on {}: take it out of their settings first", cameras.join(", "));
        return Err(Problem::new(Code::Refused, detail));
    }
    let removed = name.clone();
    waited(&shared, move |pipelines| pipelines.remove(&removed)).await?;
    Ok(about(name, StatusCode::NO_CONTENT.into_response()))
}

/// Waits for what is done with the files of the pipelines.
async fn waited<T: Send + 'static>(
    shared: &Shared,
    work: impl FnOnce(PipelineService) -> Result<T, PipelineRefusal> + Send + 'static,
) -> Result<T, Problem> {
    let pipelines = shared.services.pipelines.clone();
    let done = tokio::task::spawn_blocking(move || work(pipelines)).await;
    let broken = |_| Problem::new(Code::Internal, "the pipelines could not be read; the log says why".to_owned());
    done.map_err(broken)?.map_err(|refusal| refused(&refusal))
}

/// Why a pipeline is not used, as its caller is answered.
pub(super) fn refused(refusal: &PipelineRefusal) -> Problem {
    let code = match refusal {
        PipelineRefusal::Unknown(_) => Code::NotFound,
        PipelineRefusal::Wrong(errors) => {
            let problem = Problem::new(Code::InvalidPipeline, refusal.to_string());
            return problem.with_errors(serde_json::to_value(errors).unwrap_or_default());
        }
        PipelineRefusal::Changed { .. } => Code::ChangedMeanwhile,
        PipelineRefusal::Refused(_) => Code::Refused,
        PipelineRefusal::Failed(failure) => {
            tracing::warn!(error = format!("{failure:#}"), "a pipeline could not be read or saved");
            return Problem::new(Code::Internal, format!("{failure:#}"));
        }
    };
    Problem::new(code, refusal.to_string())
}
