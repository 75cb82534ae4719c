//! What the pipeline of a camera does, and what another one would have done.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Map;

use super::body::command;
use super::camera_config::{Named, cancel_trial, history, seen};
use super::problem::{Code, Problem};
use super::routes::{Needs, Routes};
use super::session::Known;
use super::{Shared, reply};
use crate::execution::CameraPipeline;
use crate::health::PipelineHealth;
use crate::service::{MOST_HOURS, PipelineLoader, TriedPipeline};

const BODY: &str = r#"{"hours": 168, "pipeline": {"name": "people"}}"#;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/cameras/{name}/pipeline", Needs::VIEW, pipeline)
        .post("/api/v1/cameras/{name}/pipeline/try", Needs::ADMINISTER, try_pipeline)
        .get("/api/v1/cameras/{name}/pipeline/try", Needs::ADMINISTER, tried_pipeline)
        .delete("/api/v1/cameras/{name}/pipeline/try", Needs::ADMINISTER, cancel_trial)
}

#[derive(Serialize)]
struct PipelineReply {
    #[serde(flatten)]
    pipeline: PipelineHealth,
    /// When the picture was taken that the values are of.
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Timestamp>,
}

async fn pipeline(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    name: Named,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let name = seen(&caller, name)?;
    if !caller.sees(&name, Timestamp::now()) || !shared.services.switches.has_camera(&name) {
        return Err(Problem::not_found("there is no camera with this name"));
    }
    // It has none, or none has seen a picture yet.
    let Some(pipeline) = shared.services.status.pipeline(&name) else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    let time = pipeline.at.map(|at| shared.services.media.moment(at).wall);
    reply::json(&request, &PipelineReply { pipeline, time })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TriedPipelineBody {
    hours: f64,
    pipeline: CameraPipeline,
}

async fn try_pipeline(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    name: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let name = history(&caller, name)?;
    let TriedPipelineBody { hours, pipeline: asked } = command(&headers, body, BODY).await?;
    if !(hours > 0.0 && hours <= MOST_HOURS) {
        return Err(Problem::parameter("hours", &hours.to_string(), format!("above 0, and {MOST_HOURS} at most")));
    }
    if !shared.services.switches.has_camera(&name) {
        return Err(Problem::not_found("there is no camera with this name"));
    }
    if !asked.is_set() {
        return Err(Problem::parameter("pipeline.name", "", "the name of a pipeline on this box".to_owned()));
    }
    let pipelines = shared.services.tried_pipelines();
    let (checked, asked_of) = (pipelines.clone(), asked.clone());
    let checked = tokio::task::spawn_blocking(move || checked.load(&asked_of, None)).await;
    let broken = |_| Problem::new(Code::Internal, "the pipeline could not be read; the log says why".to_owned());
    let checked = checked.map_err(broken)?;
    checked.map_err(|reason| Problem::new(Code::InvalidPipeline, reason))?;
    let tried = TriedPipeline { asked, pipelines: Arc::new(pipelines) };
    let begun = shared.services.backtests.start(&name, Map::new(), Some(tried), hours);
    let begun = begun.map_err(|busy| Problem::new(Code::Refused, busy.to_string()))?;
    Ok((StatusCode::ACCEPTED, Json(begun)).into_response())
}

async fn tried_pipeline(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    name: Named,
) -> Result<Response, Problem> {
    let backtest = shared.services.backtests.of(&history(&caller, name)?);
    let backtest = backtest.filter(|backtest| backtest.pipeline.is_some());
    let none = || Problem::not_found("no pipeline was tried on this camera since the start, or its rules were later");
    Ok(Json(backtest.ok_or_else(none)?).into_response())
}
