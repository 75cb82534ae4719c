//! Phones, browsers and programs that publish to a camera: WHIP (RFC 9725).
//!
//! Who may is decided as everywhere: by a session or a key that may operate the camera, or by the camera's token, which
//! counts here alone (`session`).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::Shared;
use super::problem::{Code, Problem};
use super::routes::{Needs, Routes};
use super::sdp;
use super::session::{FromPeer, Known};
use crate::access::Caller;
use crate::service::PublishRefusal;

const CAMERA: &str = "/whip/{name}";
const SESSION: &str = "/whip/{name}/{id}";

pub(super) fn routes() -> Routes {
    Routes::default()
        .post(CAMERA, Needs::OPERATE, publish)
        .preflight(CAMERA, sdp::preflight)
        .proceed(SESSION, Needs::OPERATE, add_candidates)
        .delete(SESSION, Needs::OPERATE, end)
        .preflight(SESSION, sdp::preflight)
}

async fn publish(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    FromPeer(peer): FromPeer,
    camera: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let publish = async {
        sdp::check_page(&headers)?;
        let camera = sdp::camera(camera)?;
        check(&shared, &caller, &camera)?;
        let offer = sdp::offer(&headers, body).await?;
        let opened = shared.services.publishing.publish(&camera, offer, sdp::addresses(peer)).await;
        Ok(sdp::opened("whip", &camera, opened.map_err(problem)?))
    };
    answer(publish.await)
}

async fn add_candidates(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let add = async {
        sdp::check_page(&headers)?;
        let (camera, id) = sdp::session(path)?;
        check(&shared, &caller, &camera)?;
        let (tag, fragment) = sdp::candidates(&headers, body).await?;
        shared.services.publishing.add_candidates(&camera, &id, tag, fragment).await.map_err(sdp::problem)?;
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    answer(add.await)
}

async fn end(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let end = async {
        sdp::check_page(&headers)?;
        let (camera, id) = sdp::session(path)?;
        check(&shared, &caller, &camera)?;
        shared.services.publishing.end(&camera, &id).await.map_err(sdp::problem)?;
        Ok(StatusCode::OK.into_response())
    };
    answer(end.await)
}

/// Whether the camera is one to publish to, which the caller sees.
fn check(shared: &Shared, caller: &Caller, camera: &str) -> Result<(), Problem> {
    let sees = caller.sees(camera, jiff::Timestamp::now());
    if !sees || !shared.services.publishing.is_published(camera) {
        return Err(problem(PublishRefusal::NoSuchCamera));
    }
    Ok(())
}

fn problem(refusal: PublishRefusal) -> Problem {
    match refusal {
        PublishRefusal::NoSuchCamera => Problem::not_found(refusal.to_string()),
        PublishRefusal::Taken(_) => Problem::new(Code::AlreadyPublished, refusal.to_string()),
        PublishRefusal::Session(refusal) => sdp::problem(refusal),
    }
}

fn answer(outcome: Result<Response, Problem>) -> Response {
    sdp::allowed(outcome.unwrap_or_else(IntoResponse::into_response))
}
