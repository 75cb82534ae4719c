//! On whose behalf a request comes, and whether that is enough for its route.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Shared;
use super::audit;
use super::guard;
use super::peer::Peer;
use super::problem::{Code, Problem};
use super::proxy_login::ProxyLogin;
use super::turns::MOST_OF_ONE;
use crate::access::{Caller, CallerKind};

/// Names of the cookie: browsers send the second to nothing but this host over TLS.
const PLAIN: &str = "outpost_session";
const SECURE: &str = "__Host-outpost_session";
/// As long as the longest session, seconds.
/// What proxies and tunnels put into requests that they pass on.
const PASSED_ON: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];
const COOKIE_FOR: u32 = 30 * 24 * 3600;

/// The caller of a route that needs one.
pub(super) struct Known(pub(super) Caller);

impl<S: Sync> FromRequestParts<S> for Known {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Caller>().cloned().map(Self).ok_or_else(not_logged_in)
    }
}

/// Where a request comes from.
pub(super) struct FromPeer(pub(super) Peer);

impl<S: Sync> FromRequestParts<S> for FromPeer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self(peer(&parts.extensions)))
    }
}

/// Finds out on whose behalf a request comes.
pub(super) async fn identify(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    // Health is for all, also where the caller has as many requests as may be.
    if guard::is_health(request.uri()) {
        return next.run(request).await;
    }
    let peer = peer(request.extensions());
    let (caller, token) = caller(&shared, peer, request.headers()).await;
    let caller = match caller {
        None => publisher(&shared, request.uri().path(), request.headers()).await,
        known => known,
    };
    let Some(turn) = shared.turns.take(caller.as_ref(), peer.ip()) else {
        let message = format!("{MOST_OF_ONE} requests of this caller have no answer yet");
        return Problem::new(Code::TooManyRequests, message).into_response();
    };
    let is_session = caller.as_ref().is_some_and(|caller| caller.kind == CallerKind::Session);
    request.extensions_mut().insert(shared.services.audit.clone());
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    let mut response = next.run(request).await;
    drop(turn);
    if let Some(cookie) = token.and_then(|token| cookie(&token, peer)) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    if is_session {
        shared.services.access.write_if_due();
    }
    response
}

/// Turns away a caller that sees some cameras only from what is about all of them.
///
/// # Errors
/// For such a caller.
pub(super) fn check_everything(caller: &Caller) -> Result<(), Problem> {
    if caller.sees_everything() {
        return Ok(());
    }
    let message = format!("{} sees some cameras only; this is about all of them", caller.name);
    Err(Problem::new(Code::NotAllowed, message))
}

/// The name under which a caller does something with events. A key is not the user of the same name.
pub(super) fn name_of(caller: &Caller) -> Arc<str> {
    match caller.kind {
        CallerKind::Key => format!("key {}", caller.name).into(),
        _ => caller.name.clone(),
    }
}

/// The cookie of a session; `None` for a token that cannot stand in a header, which ours can.
pub(super) fn cookie(token: &str, peer: Peer) -> Option<HeaderValue> {
    let (name, secure) = names(peer);
    let text = format!("{name}={token}; Path=/; Max-Age={COOKIE_FOR}; HttpOnly; SameSite=Strict{secure}");
    text.parse().ok()
}

/// A cookie that takes the place of a session's, and is none.
pub(super) fn no_cookie(peer: Peer) -> Option<HeaderValue> {
    let (name, secure) = names(peer);
    format!("{name}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict{secure}").parse().ok()
}

fn names(peer: Peer) -> (&'static str, &'static str) {
    if is_tls(peer) { (SECURE, "; Secure") } else { (PLAIN, "") }
}

/// Whether browsers do what is asked of them over this connection, such as to forget the pictures that they keep: they say on
/// the console that they do not where the line can be listened to.
pub(super) fn is_trusted(peer: Peer) -> bool {
    is_tls(peer) || peer.ip().is_loopback()
}

fn is_tls(peer: Peer) -> bool {
    matches!(peer, Peer::Tcp { is_tls: true, .. })
}

/// The other end of the connection that a request came by.
pub(super) fn peer(extensions: &axum::http::Extensions) -> Peer {
    // Every connection has one; without it the request counts as one from elsewhere.
    let elsewhere = Peer::Tcp { address: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), is_tls: false };
    extensions.get().copied().unwrap_or(elsewhere)
}

async fn caller(shared: &Shared, peer: Peer, headers: &HeaderMap) -> (Option<Caller>, Option<String>) {
    let access = shared.services.access.known();
    if let Peer::Local { uid, .. } = peer {
        // The rights of the socket's file say who can connect: root, the service's user and its group.
        return (Some(Caller::admin(&format!("unix user {uid}"), CallerKind::Local)), None);
    }
    let vouched = shared.proxy.as_ref().and_then(|proxy| Some((proxy, proxy.token(headers)?)));
    if let Some(shown) = headers.get(header::AUTHORIZATION)
        && !vouched.is_some_and(|(proxy, _)| proxy.is_in(&header::AUTHORIZATION))
    {
        let shown = shown.to_str().ok().and_then(|shown| shown.split_once(' '));
        let key = shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, key)| key.trim());
        return (key.and_then(|key| access.of_key(key)), None);
    }
    if let Some((caller, next)) = session_token(headers, is_tls(peer)).and_then(|token| access.of_session(token)) {
        return (Some(caller), next);
    }
    if let Some((proxy, token)) = vouched {
        return (by_proxy(shared, proxy, token, peer).await, None);
    }
    let is_here = matches!(peer, Peer::Tcp { address, .. } if address.ip().is_loopback());
    // What a proxy on the box passes on comes from anywhere.
    let is_passed_on = PASSED_ON.iter().any(|name| headers.contains_key(*name));
    (if is_here && !is_passed_on && shared.proxy.is_none() { access.unprotected() } else { None }, None)
}

/// Who shows the token of a camera at its address for publishers: nothing but that camera, and nowhere else.
async fn publisher(shared: &Shared, path: &str, headers: &HeaderMap) -> Option<Caller> {
    let camera = path.strip_prefix("/whip/")?.split('/').next()?;
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let shows =
        scheme.eq_ignore_ascii_case("bearer") && shared.services.publishing.is_token(camera, token.trim()).await;
    shows.then(|| Caller::publisher(camera))
}

/// The caller that a proxy vouches for. Its first request, and tokens that are refused, are in the audit log.
async fn by_proxy(shared: &Shared, proxy: &ProxyLogin, token: &str, peer: Peer) -> Option<Caller> {
    let judged = proxy.judge(shared.services.access.known(), token).await;
    let (caller, about) = match judged {
        Ok(caller) => (Some(caller), proxy.issuer().to_owned()),
        Err(refusal) => (None, format!("the token is refused: {refusal}")),
    };
    audit::note_proxied(&shared.services.audit, caller.as_ref(), peer.ip(), about).await;
    caller
}

/// The token in the cookie that fits the connection. A cookie of a plain connection is worth nothing over TLS: anyone on
/// the way could have set it.
fn session_token(headers: &HeaderMap, is_tls: bool) -> Option<&str> {
    let wanted = if is_tls { SECURE } else { PLAIN };
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == wanted).map(|(_, token)| token).filter(|token| !token.is_empty())
}

/// What a caller hears who is not known.
pub(super) const NOT_LOGGED_IN: &str = "log in at /login, or send the header \"authorization: Bearer KEY\"";

pub(super) fn not_logged_in() -> Problem {
    Problem::new(Code::NotLoggedIn, NOT_LOGGED_IN.to_owned())
}
