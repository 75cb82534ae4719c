//! Phones, browsers and programs that publish to a camera: WHIP (RFC 9725).
//!
//! Who may is decided as everywhere: by a session or a key that may operate the camera, or by the camera's token, which
//! counts here alone (`session`).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;

use super::Shared;
use super::problem::Problem;
use super::routes::{Needs, Routes};
use super::sdp::{self, OfSession};
use super::session::{FromPeer, Known};
use crate::access::Caller;
use crate::service::PublishRefusal;
use crate::webrtc::Permit;

const CAMERA: &str = "/whip/{name}";
const SESSION: &str = "/whip/{name}/{id}";

pub(super) fn routes() -> Routes {
    Routes::default()
        .post(CAMERA, Needs::OPERATE, publish)
        .preflight(CAMERA, sdp::preflight)
        .proceed(SESSION, Needs::OPERATE, patch)
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
        let (addresses, asker) = (sdp::addresses(peer), sdp::asker(&caller, peer));
        let permit = permit(caller, &camera);
        let opened = shared.services.publishing.publish(&camera, offer, addresses, permit, asker).await;
        Ok(sdp::opened("whip", &camera, opened.map_err(problem)?))
    };
    sdp::answer(publish.await)
}

/// Lets a publisher go on until its session or key ends, or what it may see: as those end who look at cameras.
fn permit(caller: Caller, camera: &str) -> Permit {
    let camera = camera.to_owned();
    Box::new(move || !caller.until.is_cancelled() && caller.sees(&camera, jiff::Timestamp::now()))
}

async fn patch(State(shared): State<Arc<Shared>>, of: OfSession, body: Body) -> Response {
    sdp::patch(&shared, of, body, check).await
}

async fn end(State(shared): State<Arc<Shared>>, of: OfSession) -> Response {
    sdp::end(&shared, of, check).await
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
        PublishRefusal::Session(refusal) => sdp::problem(refusal),
    }
}
