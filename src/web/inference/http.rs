//! The protocol over HTTP.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::catalog::{self, IndexEntry, ModelDescription, TensorDescription};
use super::request::Refusal;
use super::{EXTENSIONS, SERVER, config, json as written, run, statistics};
use crate::service::ModelTensors;
use crate::web::Shared;
use crate::web::routes::{Needs, Routes};
use crate::web::sender::check_origin;
use crate::web::session::{Known, name_of};

/// How many bytes of a body are JSON.
const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");
/// Largest request, bytes.
pub(super) const LARGEST: usize = 64 << 20;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/v2", Needs::VIEW, server)
        .get("/v2/health/live", Needs::VIEW, live)
        .get("/v2/health/ready", Needs::VIEW, ready)
        .get("/v2/models/{name}", Needs::VIEW, model)
        .get("/v2/models/{name}/versions/{version}", Needs::VIEW, model_version)
        .get("/v2/models/{name}/ready", Needs::VIEW, model_ready)
        .get("/v2/models/{name}/versions/{version}/ready", Needs::VIEW, version_ready)
        .get("/v2/models/{name}/config", Needs::VIEW, model_config)
        .get("/v2/models/stats", Needs::VIEW, all_statistics)
        .get("/v2/models/{name}/stats", Needs::VIEW, model_statistics)
        .get("/v2/models/{name}/versions/{version}/stats", Needs::VIEW, version_statistics)
        .post("/v2/models/{name}/infer", Needs::OPERATE, infer)
        .post("/v2/models/{name}/versions/{version}/infer", Needs::OPERATE, infer_version)
        .post("/v2/repository/index", Needs::OPERATE, index)
        .post("/v2/repository/models/{name}/load", Needs::OPERATE, load)
        .post("/v2/repository/models/{name}/unload", Needs::OPERATE, unload)
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(json!({ "error": self.message() }))).into_response()
    }
}

async fn server() -> Json<Value> {
    Json(json!({ "name": SERVER, "version": env!("CARGO_PKG_VERSION"), "extensions": EXTENSIONS }))
}

async fn live() -> StatusCode {
    StatusCode::OK
}

async fn ready(State(shared): State<Arc<Shared>>) -> Result<StatusCode, Refusal> {
    catalog::all(&shared).await.map(|_| StatusCode::OK)
}

type Name = Result<Path<String>, PathRejection>;
type Version = Result<Path<(String, String)>, PathRejection>;

fn named(name: Name) -> Result<String, Refusal> {
    name.map(|Path(name)| name).map_err(|_| Refusal::NotFound("there is no model with this name".to_owned()))
}

fn of_version(version: Version) -> Result<(String, String), Refusal> {
    version.map(|Path(both)| both).map_err(|_| Refusal::NotFound("there is no model with this name".to_owned()))
}

async fn model(State(shared): State<Arc<Shared>>, name: Name) -> Result<Json<Value>, Refusal> {
    let name = named(name)?;
    let described = catalog::describe(&shared, &name, "").await?;
    Ok(Json(metadata(&described, shared.services.models.tensors(&name))))
}

async fn model_version(State(shared): State<Arc<Shared>>, version: Version) -> Result<Json<Value>, Refusal> {
    let (name, version) = of_version(version)?;
    let described = catalog::describe(&shared, &name, &version).await?;
    Ok(Json(metadata(&described, shared.services.models.tensors(&format!("{name}/{version}")))))
}

async fn model_ready(State(shared): State<Arc<Shared>>, name: Name) -> Result<StatusCode, Refusal> {
    is_ready(&shared, &named(name)?, "").await
}

async fn version_ready(State(shared): State<Arc<Shared>>, version: Version) -> Result<StatusCode, Refusal> {
    let (name, version) = of_version(version)?;
    is_ready(&shared, &name, &version).await
}

async fn is_ready(shared: &Arc<Shared>, name: &str, version: &str) -> Result<StatusCode, Refusal> {
    let model = catalog::describe(shared, name, version).await?;
    match model.reason {
        _ if model.is_ready => Ok(StatusCode::OK),
        reason => Err(Refusal::Invalid(reason.unwrap_or_else(|| "the model is not ready".to_owned()))),
    }
}

async fn model_config(State(shared): State<Arc<Shared>>, name: Name) -> Result<Json<Value>, Refusal> {
    let name = named(name)?;
    let model = catalog::describe(&shared, &name, "").await?;
    let own = shared.services.models.tensors(&name);
    Ok(Json(config::as_json(&config::config_of(&model, own.as_ref()))))
}

async fn all_statistics(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, Refusal> {
    Ok(Json(statistics::as_json(&statistics::of(&shared, "", "").await?)))
}

async fn model_statistics(State(shared): State<Arc<Shared>>, name: Name) -> Result<Json<Value>, Refusal> {
    Ok(Json(statistics::as_json(&statistics::of(&shared, &named(name)?, "").await?)))
}

async fn version_statistics(State(shared): State<Arc<Shared>>, version: Version) -> Result<Json<Value>, Refusal> {
    let (name, version) = of_version(version)?;
    Ok(Json(statistics::as_json(&statistics::of(&shared, &name, &version).await?)))
}

/// What the protocol says, and beyond it `tensors`: those of the model itself, where it is in memory.
fn metadata(model: &ModelDescription, own: Option<ModelTensors>) -> Value {
    let tensors = |tensors: &[TensorDescription]| -> Value {
        let tensor = |tensor: &TensorDescription| json!({ "name": tensor.name, "datatype": tensor.datatype.as_str(), "shape": tensor.shape });
        tensors.iter().map(tensor).collect()
    };
    let mut described = json!({
        "name": model.name,
        "versions": model.versions,
        "platform": model.platform,
        "inputs": tensors(&model.inputs),
        "outputs": tensors(&model.outputs),
    });
    if let (Some(ModelTensors { input, outputs }), Some(fields)) = (own, described.as_object_mut()) {
        let tensor = |name: &str, shape: &[usize]| json!({ "name": name, "datatype": "FP32", "shape": shape });
        let outputs: Vec<Value> = outputs.iter().map(|(name, shape)| tensor(name, shape)).collect();
        fields.insert("tensors".to_owned(), json!({ "inputs": [tensor(run::TENSOR, &input)], "outputs": outputs }));
    }
    described
}

async fn infer(
    State(shared): State<Arc<Shared>>,
    known: Known,
    name: Name,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    answer(&shared, known, named(name)?, String::new(), &headers, body).await
}

async fn infer_version(
    State(shared): State<Arc<Shared>>,
    known: Known,
    version: Version,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let (name, version) = of_version(version)?;
    answer(&shared, known, name, version, &headers, body).await
}

async fn answer(
    shared: &Arc<Shared>,
    Known(caller): Known,
    model: String,
    version: String,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    check_page(headers)?;
    let busy = |error: crate::executor::ExecutorError| Refusal::Busy(error.to_string());
    let place = shared.services.executions.place(&name_of(&caller)).await.map_err(busy)?;
    let too_large = |_| Refusal::Invalid(format!("a request has at most {LARGEST} bytes"));
    let body = to_bytes(body, LARGEST).await.map_err(too_large)?;
    let length = match headers.get(HEADER_LENGTH).map(|value| value.to_str().ok()?.parse().ok()) {
        None => None,
        Some(Some(length)) => Some(length),
        Some(None) => {
            return Err(Refusal::Invalid("Inference-Header-Content-Length is no number of bytes".to_owned()));
        }
    };
    let (mut request, binary) = written::read(&body, length)?;
    (request.model, request.version) = (model, version);
    // What of it is needed lies in the request.
    drop(body);
    let answer = run::infer(shared, &caller, request, place).await?;
    let (body, length) = written::write(&answer, &binary)?;
    let kind = if length.is_some() { "application/octet-stream" } else { "application/json" };
    let mut response = ([(header::CONTENT_TYPE, kind)], body).into_response();
    if let Some(length) = length {
        response.headers_mut().insert(HEADER_LENGTH, HeaderValue::from(length));
    }
    Ok(response)
}

/// Turns away what a page of another site made a browser send.
fn check_page(headers: &HeaderMap) -> Result<(), Refusal> {
    check_origin(headers).map_err(|_| Refusal::Invalid("commands are taken from the box's own page only".to_owned()))
}

async fn index(State(shared): State<Arc<Shared>>, headers: HeaderMap) -> Result<Json<Value>, Refusal> {
    check_page(&headers)?;
    let entry = |entry: &IndexEntry| json!({ "name": entry.name, "version": entry.version, "state": entry.state(), "reason": entry.reason });
    Ok(Json(catalog::index(&shared, false).await?.iter().map(entry).collect()))
}

async fn load(State(shared): State<Arc<Shared>>, name: Name, headers: HeaderMap) -> Result<StatusCode, Refusal> {
    check_page(&headers)?;
    run::load(&shared, &named(name)?).await.map(|()| StatusCode::OK)
}

async fn unload(State(shared): State<Arc<Shared>>, name: Name, headers: HeaderMap) -> Result<StatusCode, Refusal> {
    check_page(&headers)?;
    run::unload(&shared, &named(name)?).await.map(|()| StatusCode::OK)
}
