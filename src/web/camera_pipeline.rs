//! What the pipeline of a camera does.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use jiff::Timestamp;
use serde::Serialize;

use super::problem::Problem;
use super::routes::{Needs, Routes};
use super::session::Known;
use super::{Shared, reply};
use crate::health::PipelineHealth;

pub(super) fn routes() -> Routes {
    Routes::default().get("/api/v1/cameras/{name}/pipeline", Needs::VIEW, pipeline)
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
    name: Result<Path<String>, PathRejection>,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let unknown = || Problem::not_found("there is no camera with this name");
    let Path(name) = name.map_err(|_| unknown())?;
    if !caller.sees(&name, Timestamp::now()) || !shared.services.switches.has_camera(&name) {
        return Err(unknown());
    }
    let pipeline = shared.services.status.pipeline(&name).ok_or_else(|| {
        Problem::not_found(
            "this camera has no pipeline, or has given it no picture yet: camera.<name>.pipeline names one",
        )
    })?;
    let time = pipeline.at.map(|at| shared.services.media.moment(at).wall);
    reply::json(&request, &PipelineReply { pipeline, time })
}
