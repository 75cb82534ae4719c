//! A pipeline that is tried on a picture.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, Request, State};
use axum::response::{IntoResponse, Response};

use super::given::Given;
use super::refused;
use crate::web::problem::Problem;
use crate::web::session::Known;
use crate::web::{Shared, sender};

/// Runs a pipeline on a picture, and gives what each step gave.
pub(super) async fn try_out(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Problem> {
    sender::check_origin(request.headers())?;
    let given = Given::new(&shared, &caller, query.as_deref().unwrap_or_default(), true)?;
    let (asked, _place) = given.only(request).await?;
    let trial = shared.services.executions.try_out(asked).await.map_err(|refusal| refused(&refusal))?;
    Ok(Json(trial).into_response())
}
