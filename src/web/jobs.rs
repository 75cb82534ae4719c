//! What goes on beside recording and answering.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;

use super::photo_folders;
use super::problem::Problem;
use super::routes::{Needs, Routes};
use super::session::{Known, check_everything};
use super::timeline::exports::sees as sees_export;
use super::{Shared, reply};
use crate::service::{Export, Job};

pub(super) fn routes() -> Routes {
    Routes::default().get("/api/v1/jobs", Needs::OPERATE, list)
}

#[derive(Serialize)]
struct JobsReply {
    jobs: Vec<Job>,
}

async fn list(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    request: HeaderMap,
) -> Result<Response, Problem> {
    check_everything(&caller)?;
    let sees = |export: &Export| sees_export(&caller, export);
    let jobs = shared.services.jobs.list(sees, |owner| photo_folders::sees(&caller, owner));
    reply::json(&request, &JobsReply { jobs: shared.errors.ask("jobs", jobs).await? })
}
