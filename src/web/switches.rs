//! Switches of a camera.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;

use super::problem::Problem;
use super::routes::{Needs, Routes};
use super::session::Known;
use super::{Shared, body};
use crate::service::{SwitchChange, Switched};

pub(super) fn routes() -> Routes {
    Routes::default().patch("/api/v1/cameras/{name}/switches", Needs::OPERATE, change)
}

async fn change(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Switched>, Problem> {
    let change: SwitchChange = body::command(&headers, body, r#"{"record": false}"#).await?;
    let unknown = || Problem::not_found("there is no camera with this name");
    let Path(name) = name.map_err(|_| unknown())?;
    let switches = &shared.services.switches;
    if caller.grant(&name).is_none() || !switches.has_camera(&name) {
        return Err(unknown());
    }
    Ok(Json(shared.errors.ask("switch", switches.change(&name, change)).await?))
}
