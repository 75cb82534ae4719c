//! What the photos of users take.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;

use super::photos::viewer;
use super::problem::Problem;
use super::routes::{Needs, Routes};
use super::session::Known;
use super::{Shared, reply};
use crate::access::Role;
use crate::service::{Usage, UserUsage};

pub(super) fn routes() -> Routes {
    Routes::default().get("/api/v1/photos/usage", Needs::VIEW, usage)
}

#[derive(Serialize)]
struct UsageReply {
    #[serde(flatten)]
    own: Usage,
    #[serde(skip_serializing_if = "Option::is_none")]
    trash_days: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    users: Option<Vec<UserUsage>>,
}

async fn usage(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let library = &shared.services.library;
    let own = shared.errors.ask("usage", library.usage(&viewer(&caller))).await?;
    let users = if caller.may(Role::Admin) { Some(shared.errors.ask("usage", library.usages()).await?) } else { None };
    reply::json(&request, &UsageReply { own, trash_days: library.trash_days(), users })
}
