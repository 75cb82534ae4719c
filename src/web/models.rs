//! The models: which there are, how fast they are, and what one sees in a picture that is sent.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use url::form_urlencoded;

use super::Shared;
use super::problem::{Code, Problem};
use super::routes::{Needs, Routes};
use super::sender::{check_picture, check_sender};
use super::session::Known;
use crate::frame::ForeignError;
use crate::service::{LEAST_SCORE, MOST_PICTURE_BYTES, ModelRefusal, ModelStatus};

type Named = Result<Path<String>, PathRejection>;

/// The lowest score that is answered where none is asked for.
const USUAL_SCORE: f32 = 0.25;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/models", Needs::VIEW, list)
        .post("/api/v1/models/{name}/speed", Needs::OPERATE, measure)
        .post("/api/v1/models/{name}/detections", Needs::OPERATE, detect)
}

#[derive(Serialize)]
struct ModelsReply {
    models: Vec<ModelStatus>,
}

async fn list(State(shared): State<Arc<Shared>>, Known(caller): Known) -> Result<Response, Problem> {
    let mut models = shared.errors.ask("models", shared.services.models.list()).await?;
    for model in &mut models {
        model.cameras.retain(|camera| caller.grant(camera).is_some());
    }
    Ok(Json(ModelsReply { models }).into_response())
}

async fn measure(State(shared): State<Arc<Shared>>, name: Named, headers: HeaderMap) -> Result<Response, Problem> {
    check_sender(&headers)?;
    let speed = shared.services.models.measure(&named(name)?).await.map_err(refused)?;
    Ok(Json(speed).into_response())
}

async fn detect(
    State(shared): State<Arc<Shared>>,
    name: Named,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    check_picture(&headers)?;
    let (name, min_score) = (named(name)?, min_score(query.as_deref().unwrap_or_default())?);
    let too_large = |_| Problem::new(Code::TooLarge, format!("a picture has at most {MOST_PICTURE_BYTES} bytes"));
    let picture = to_bytes(body, MOST_PICTURE_BYTES).await.map_err(too_large)?;
    let found = shared.services.models.detect(&name, picture, min_score).await.map_err(refused)?;
    Ok(Json(found).into_response())
}

fn named(name: Named) -> Result<String, Problem> {
    name.map(|Path(name)| name).map_err(|_| Problem::not_found("there is no model with this name"))
}

fn min_score(query: &str) -> Result<f32, Problem> {
    let mut score = USUAL_SCORE;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name != "min_score" {
            return Err(Problem::parameter(&name, &value, "the parameter min_score"));
        }
        let asked = value.parse().ok().filter(|score| (LEAST_SCORE..=1.0).contains(score));
        score = asked.ok_or_else(|| Problem::parameter(&name, &value, format!("from {LEAST_SCORE} to 1")))?;
    }
    Ok(score)
}

fn refused(refusal: ModelRefusal) -> Problem {
    let code = match &refusal {
        ModelRefusal::Unknown(_) => Code::NotFound,
        ModelRefusal::Unusable(_) => Code::ModelUnusable,
        ModelRefusal::Picture(ForeignError::TooLarge { .. }) => Code::TooLarge,
        ModelRefusal::Picture(ForeignError::Kind | ForeignError::Damaged(_)) | ModelRefusal::Tensor(_) => {
            Code::PictureUnusable
        }
        ModelRefusal::Busy(_) => Code::Busy,
        ModelRefusal::Stopping => Code::Stopping,
    };
    Problem::new(code, refusal.to_string())
}
