//! The table of problems, as the API serves it.

use axum::Json;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::problem::{Code, Documented, Problem};
use super::routes::{Needs, Routes};

pub(super) fn routes() -> Routes {
    Routes::default().get("/api/v1/problems", Needs::Login, all).get("/api/v1/problems/{code}", Needs::Login, one)
}

async fn all() -> Response {
    #[derive(Serialize)]
    struct Reply {
        problems: Vec<Documented>,
    }
    Json(Reply { problems: Code::ALL.iter().map(|code| code.documented()).collect() }).into_response()
}

async fn one(code: Result<Path<String>, PathRejection>) -> Result<Response, Problem> {
    let unknown = || Problem::not_found("there is no problem with this code; /api/v1/problems lists all");
    let Path(code) = code.map_err(|_| unknown())?;
    let known = Code::ALL.iter().map(|known| known.documented()).find(|known| known.code == code);
    Ok(Json(known.ok_or_else(unknown)?).into_response())
}
