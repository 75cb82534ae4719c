//! Which configuration is in use, and reading it again.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::problem::{Code, Problem};
use super::sender::check_sender;
use super::{Shared, reply};
use crate::service::ReloadUnavailable;
use crate::status::ConfigState;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/api/v1/config", get(status)).route("/api/v1/config/reload", post(reload))
}

async fn status(State(shared): State<Arc<Shared>>, request: HeaderMap) -> Result<Response, Problem> {
    reply::json(&request, &shared.services.config.status())
}

/// Answers when the file is in use or was refused. In use it is still on trial: 202.
async fn reload(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Result<Response, Problem> {
    check_sender(&headers)?;
    shared.answers.once(&headers, "config reload", &[], read_again(&shared)).await
}

async fn read_again(shared: &Shared) -> Result<Response, Problem> {
    let status = shared.services.config.reload().await.map_err(|unavailable| {
        let code = match unavailable {
            ReloadUnavailable::Busy => Code::Busy,
            ReloadUnavailable::Stopping => Code::Stopping,
        };
        Problem::new(code, unavailable.to_string())
    })?;
    let code = match status.state {
        ConfigState::Confirming => StatusCode::ACCEPTED,
        ConfigState::InUse => StatusCode::OK,
        ConfigState::Refused | ConfigState::LastGood | ConfigState::RolledBack => StatusCode::UNPROCESSABLE_ENTITY,
    };
    Ok((code, Json(status)).into_response())
}
