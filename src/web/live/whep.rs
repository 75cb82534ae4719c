//! A camera's own H.264 for players that speak WebRTC: WHEP (draft-ietf-wish-whep).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::stream::{self, StreamExt};

use crate::access::Caller;
use crate::frame::Codec;
use crate::live::Broadcast;
use crate::web::Shared;
use crate::web::problem::{Code, Problem};
use crate::web::sdp;
use crate::web::session::{FromPeer, Known};

pub(super) async fn play(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    FromPeer(peer): FromPeer,
    camera: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let play = async {
        sdp::check_page(&headers)?;
        let camera = sdp::camera(camera)?;
        check(&caller, &camera)?;
        let broadcast = shared.services.media.broadcast(&camera).ok_or_else(sdp::unknown_camera)?;
        check_video(&camera, &broadcast)?;
        let offer = sdp::offer(&headers, body).await?;
        let admission = shared.viewers.admit(caller, &camera)?;
        let pictures = stream::unfold((broadcast.join_packets(), admission), |(mut viewer, admission)| async move {
            let packet = tokio::select! {
                () = admission.ended() => None,
                packet = viewer.next() => packet,
            };
            Some((packet?, (viewer, admission)))
        });
        let opened = shared.services.publishing.play(&camera, offer, sdp::addresses(peer), pictures.boxed()).await;
        Ok(sdp::opened("whep", &camera, opened.map_err(sdp::problem)?))
    };
    answer(play.await)
}

pub(super) async fn add_candidates(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let add = async {
        sdp::check_page(&headers)?;
        let (camera, id) = sdp::session(path)?;
        check(&caller, &camera)?;
        let (tag, fragment) = sdp::candidates(&headers, body).await?;
        shared.services.publishing.add_candidates(&camera, &id, tag, fragment).await.map_err(sdp::problem)?;
        Ok(StatusCode::NO_CONTENT.into_response())
    };
    answer(add.await)
}

pub(super) async fn end(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let end = async {
        sdp::check_page(&headers)?;
        let (camera, id) = sdp::session(path)?;
        check(&caller, &camera)?;
        shared.services.publishing.end(&camera, &id).await.map_err(sdp::problem)?;
        Ok(StatusCode::OK.into_response())
    };
    answer(end.await)
}

fn check(caller: &Caller, camera: &str) -> Result<(), Problem> {
    if caller.sees(camera, jiff::Timestamp::now()) { Ok(()) } else { Err(sdp::unknown_camera()) }
}

/// Whether the camera gives what all browsers play by WebRTC.
fn check_video(camera: &str, broadcast: &Broadcast) -> Result<(), Problem> {
    match broadcast.codec() {
        Some(Codec::H264) => Ok(()),
        None => Err(Problem::new(Code::NoPicture, format!("camera {camera:?} has given no picture yet"))),
        Some(codec) => {
            let message = format!(
                "camera {camera:?} sends {codec}, which browsers do not take by WebRTC: use \
                 /api/v1/cameras/{camera}/live or live.mjpeg"
            );
            Err(Problem::new(Code::NoVideo, message))
        }
    }
}

fn answer(outcome: Result<Response, Problem>) -> Response {
    sdp::allowed(outcome.unwrap_or_else(IntoResponse::into_response))
}
