//! A camera's own H.264 for players that speak WebRTC: WHEP (draft-ietf-wish-whep).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures::stream::{self, StreamExt};

use crate::access::Caller;
use crate::frame::Codec;
use crate::live::Broadcast;
use crate::web::Shared;
use crate::web::problem::{Code, Problem};
use crate::web::sdp::{self, OfSession};
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
        check(&shared, &caller, &camera)?;
        let broadcast = shared.services.media.broadcast(&camera).ok_or_else(sdp::unknown_camera)?;
        check_video(&camera, &broadcast)?;
        let offer = sdp::offer(&headers, body).await?;
        let (addresses, asker) = (sdp::addresses(peer), sdp::asker(&caller, peer));
        let admission = shared.viewers.admit(caller, &camera)?;
        let pictures = stream::unfold((broadcast.join_packets(), admission), |(mut viewer, admission)| async move {
            let packet = tokio::select! {
                () = admission.ended() => None,
                packet = viewer.next() => packet,
            };
            Some((packet?, (viewer, admission)))
        });
        let opened = shared.services.publishing.play(&camera, offer, addresses, pictures.boxed(), asker).await;
        Ok(sdp::opened("whep", &camera, opened.map_err(sdp::problem)?))
    };
    sdp::answer(play.await)
}

pub(super) async fn patch(State(shared): State<Arc<Shared>>, of: OfSession, body: Body) -> Response {
    sdp::patch(&shared, of, body, check).await
}

pub(super) async fn end(State(shared): State<Arc<Shared>>, of: OfSession) -> Response {
    sdp::end(&shared, of, check).await
}

fn check(_: &Shared, caller: &Caller, camera: &str) -> Result<(), Problem> {
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
