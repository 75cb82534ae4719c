//! What WHIP and WHEP have in common on HTTP: offers come, answers go, sessions are addresses.

use std::net::IpAddr;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Shared;
use super::body::bounded;
use super::peer::Peer;
use super::problem::{Code, Problem};
use super::sender::check_origin;
use super::session::{Known, name_of};
use super::tls;
use crate::access::Caller;
use crate::service::Asker;
use crate::webrtc::{Opened, Refusal, Restarted};

/// Kind of offers and answers.
const SDP: &str = "application/sdp";
/// Kind of candidates that come later (RFC 8840).
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// Where WHIP and WHEP are.
const BELOW: [&str; 2] = ["/whip/", "/whep/"];

/// What pages of other sites may do with these addresses: with a token, which is in a header, and never with a cookie.
const ALLOWED: [(HeaderName, &str); 4] = [
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    (header::ACCESS_CONTROL_ALLOW_METHODS, "POST, PATCH, DELETE, OPTIONS"),
    (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, if-match"),
    (header::ACCESS_CONTROL_EXPOSE_HEADERS, "location, etag"),
];

/// The answer to a browser that asks whether a page of another site may send its token here.
pub(super) async fn preflight() -> Response {
    let accepts = (HeaderName::from_static("accept-post"), HeaderValue::from_static(SDP));
    (StatusCode::NO_CONTENT, [accepts]).into_response()
}

/// Lets pages of other sites read all answers below these addresses: refusals for want of a token, too.
pub(super) async fn readable_elsewhere(request: Request, next: Next) -> Response {
    let is_ours = BELOW.iter().any(|start| request.uri().path().starts_with(start));
    let mut answer = next.run(request).await;
    if is_ours {
        let headers = answer.headers_mut();
        headers.extend(ALLOWED.map(|(name, value)| (name, HeaderValue::from_static(value))));
    }
    answer
}

/// The camera of a route.
pub(super) fn camera(path: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    path.map(|Path(camera)| camera).map_err(|_| unknown_camera())
}

/// A session that a request is about, and on whose behalf the request comes.
pub(super) struct OfSession {
    caller: Caller,
    camera: String,
    id: String,
    headers: HeaderMap,
}

impl<S: Send + Sync> FromRequestParts<S> for OfSession {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let found = async {
            let Known(caller) = Known::from_request_parts(parts, state).await?;
            check_page(&parts.headers)?;
            let path = Path::<(String, String)>::from_request_parts(parts, state).await;
            let Path((camera, id)) = path.map_err(|_| problem(Refusal::Unknown))?;
            Ok(Self { caller, camera, id, headers: parts.headers.clone() })
        };
        found.await.map_err(|refusal: Problem| answer(Err(refusal)))
    }
}

/// Whether a caller may do something with the sessions of a camera.
pub(super) type Check = fn(&Shared, &Caller, &str) -> Result<(), Problem>;

/// Adds candidates of the peer to a session, or goes on with it in another ICE session (RFC 9725, 4.3.2).
pub(super) async fn patch(shared: &Shared, of: OfSession, body: Body, check: Check) -> Response {
    let add = async {
        check(shared, &of.caller, &of.camera)?;
        let (tag, fragment) = candidates(&of.headers, body).await?;
        let patched = shared.services.publishing.patch(&of.camera, &of.id, tag, fragment).await;
        Ok(match patched.map_err(problem)? {
            None => StatusCode::NO_CONTENT.into_response(),
            Some(Restarted { fragment, tag }) => {
                let headers = [(header::CONTENT_TYPE, FRAGMENT.to_owned()), (header::ETAG, tag)];
                (headers, fragment).into_response()
            }
        })
    };
    answer(add.await)
}

/// Ends a session.
pub(super) async fn end(shared: &Shared, of: OfSession, check: Check) -> Response {
    let end = async {
        check(shared, &of.caller, &of.camera)?;
        shared.services.publishing.end(&of.camera, &of.id).await.map_err(problem)?;
        Ok(StatusCode::OK.into_response())
    };
    answer(end.await)
}

/// What came of a request.
pub(super) fn answer(outcome: Result<Response, Problem>) -> Response {
    outcome.unwrap_or_else(IntoResponse::into_response)
}

pub(super) fn unknown_camera() -> Problem {
    Problem::not_found("there is no camera with this name")
}

/// Turns away what a page of another site made a browser send with its cookie. A token is sent by those that have it.
pub(super) fn check_page(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(header::AUTHORIZATION) { Ok(()) } else { check_origin(headers) }
}

/// The offer in a request.
pub(super) async fn offer(headers: &HeaderMap, body: Body) -> Result<String, Problem> {
    text(headers, body, SDP).await
}

/// The candidates in a request, and the ICE session that they are meant for.
///
/// # Errors
/// When they are none.
async fn candidates(headers: &HeaderMap, body: Body) -> Result<(Option<String>, String), Problem> {
    let tag = headers.get(header::IF_MATCH).and_then(|tag| tag.to_str().ok());
    let tag = tag.filter(|tag| *tag != "*").map(str::to_owned);
    Ok((tag, text(headers, body, FRAGMENT).await?))
}

async fn text(headers: &HeaderMap, body: Body, kind: &str) -> Result<String, Problem> {
    let shown = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !shown.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(kind) {
        return Err(Problem::new(Code::NotSdp, format!("send it with the header content-type: {kind}")));
    }
    let bytes = bounded(body).await?;
    String::from_utf8(bytes.to_vec()).map_err(|_| Problem::new(Code::BadOffer, "it is not text".to_owned()))
}

/// The answer to an offer; the session's address lies below that of the request.
pub(super) fn opened(route: &str, camera: &str, opened: Opened) -> Response {
    // In a path a plus is a plus.
    let name = url::form_urlencoded::byte_serialize(camera.as_bytes()).collect::<String>().replace('+', "%20");
    let location = format!("/{route}/{name}/{}", opened.id.as_str());
    let headers = [(header::CONTENT_TYPE, SDP.to_owned()), (header::LOCATION, location), (header::ETAG, opened.tag)];
    (StatusCode::CREATED, headers, opened.answer).into_response()
}

/// Why a session does not begin or is not found, as the API says it.
pub(super) fn problem(refusal: Refusal) -> Problem {
    let code = match &refusal {
        Refusal::BadOffer(_) => Code::BadOffer,
        Refusal::NothingInCommon(_) => Code::UnfitOffer,
        Refusal::Unknown => Code::NotFound,
        Refusal::OtherTag => Code::ChangedMeanwhile,
        Refusal::Taken(_) => Code::AlreadyPublished,
        Refusal::TooMany(_) | Refusal::NoSocket(_) => Code::Busy,
        Refusal::NotRunning => Code::Stopping,
    };
    Problem::new(code, refusal.to_string())
}

/// Who asks for a session.
pub(super) fn asker(caller: &Caller, peer: Peer) -> Asker {
    Asker { by: name_of(caller), from: Some(peer.ip()) }
}

/// By which addresses a peer may send media packets; loopback where it is on the box itself, or the box has no other.
pub(super) fn addresses(peer: Peer) -> Vec<IpAddr> {
    let (loopback, mut outward): (Vec<IpAddr>, Vec<IpAddr>) =
        tls::addresses().into_iter().partition(IpAddr::is_loopback);
    if peer.ip().is_loopback() || outward.is_empty() {
        outward.extend(loopback);
    }
    outward
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webrtc::SessionId;

    #[test]
    fn the_address_of_a_session_names_its_camera_as_paths_have_it() {
        let location = |camera: &str| {
            let opened = Opened { id: SessionId::from("abc"), answer: String::new(), tag: "\"t\"".to_owned() };
            let answer = super::opened("whep", camera, opened);
            answer.headers()[header::LOCATION].to_str().expect("text").to_owned()
        };
        assert_eq!(location("front door"), "/whep/front%20door/abc");
        assert_eq!(location("a+b/c"), "/whep/a%2Bb%2Fc/abc");
        assert_eq!(location("\u{5ead}"), "/whep/%E5%BA%AD/abc");
    }
}
