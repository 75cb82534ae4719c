//! For machines that watch: alive, ready, metrics.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::Shared;
use super::problem::Problem;
use super::routes::{Needs, Routes};
use super::session::{self, Known};

/// Probes give up early; so do we.
const READY_WITHIN: Duration = Duration::from_secs(3);

pub(super) fn routes() -> Routes {
    Routes::default().get("/healthz", Needs::Nothing, alive).get("/readyz", Needs::Nothing, ready).get(
        "/metrics",
        Needs::VIEW,
        metrics,
    )
}

/// The process lives; asks nothing else.
async fn alive() -> &'static str {
    "ok\n"
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    match tokio::time::timeout(READY_WITHIN, shared.services.status.ready()).await {
        Ok(Ok(None)) => "ready\n".into_response(),
        Ok(Ok(Some(lacking))) => format!("ready, {lacking}\n").into_response(),
        Ok(Err(reason)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n").into_response(),
    }
}

async fn metrics(State(shared): State<Arc<Shared>>, Known(caller): Known) -> Result<Response, Problem> {
    // They name all cameras.
    session::check_everything(&caller)?;
    let text = shared.errors.ask("metrics", shared.services.status.metrics()).await?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
