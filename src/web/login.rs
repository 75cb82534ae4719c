//! Logging in and out, and what belongs to the own account.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use super::Shared;
use super::audit::about;
use super::body::command;
use super::peer::Peer;
use super::problem::{Code, Problem};
use super::routes::{Needs, Routes};
use super::sender::check_sender;
use super::session::{self, FromPeer, Known};
use crate::access::{
    AccessError, Caller, CallerKind, Cameras, LoggedIn, LoginRefusal, Role, SessionInfo, SetupRefusal,
};
use crate::service::{Crowded, LoginRequest};

pub(super) fn routes() -> Routes {
    Routes::default()
        .post("/api/v1/login", Needs::Nothing, log_in)
        .post("/api/v1/setup", Needs::Nothing, set_up)
        .get("/api/v1/access", Needs::Nothing, access)
        .post("/api/v1/logout", Needs::Login, log_out)
        .get("/api/v1/me", Needs::Login, me)
        .post("/api/v1/me/password", Needs::Login, change_password)
        .post("/api/v1/me/second-factor", Needs::Login, begin_second_factor)
        .post("/api/v1/me/second-factor/confirm", Needs::Login, confirm_second_factor)
        .get("/api/v1/me/sessions", Needs::Login, sessions)
        .delete("/api/v1/me/sessions/{id}", Needs::Login, end_session)
}

/// What the browser is to forget.
const CLEAR: HeaderName = HeaderName::from_static("clear-site-data");

/// What the login page has to know before anything else.
#[derive(Serialize)]
struct AccessReply {
    /// Whether a login is needed.
    login: bool,
    /// Whether the first user can be added with the link of the log.
    setup: bool,
    /// Whether who asks is let in already.
    known: bool,
}

async fn access(State(shared): State<Arc<Shared>>, caller: Option<Extension<Caller>>) -> Response {
    let has_users = shared.services.access.known().has_users();
    Json(AccessReply { login: has_users, setup: !has_users, known: caller.is_some() }).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginCommand {
    name: String,
    password: String,
    #[serde(default)]
    code: Option<String>,
}

/// The caller, as it is shown to itself.
#[derive(Serialize)]
struct Me {
    name: Arc<str>,
    kind: CallerKind,
    role: Role,
    cameras: Cameras,
    second_factor: bool,
    recovery_codes: usize,
}

fn shown(shared: &Shared, caller: &Caller) -> Json<Me> {
    let is_user = caller.kind == CallerKind::Session;
    let user = is_user.then(|| shared.services.access.known().user(&caller.name)).flatten();
    Json(Me {
        name: caller.name.clone(),
        kind: caller.kind,
        role: caller.role,
        cameras: caller.cameras.clone(),
        second_factor: user.as_ref().is_some_and(|user| user.second_factor),
        recovery_codes: user.map_or(0, |user| user.recovery_codes),
    })
}

async fn me(State(shared): State<Arc<Shared>>, Known(caller): Known) -> Response {
    shown(&shared, &caller).into_response()
}

async fn log_in(
    State(shared): State<Arc<Shared>>,
    FromPeer(peer): FromPeer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let LoginCommand { name, password, code } = command(&headers, body, r#"{"name": "anna", "password": "…"}"#).await?;
    enter(&shared, request(name, password, code, peer, &headers), peer).await
}

/// Logs in, and gives the browser its cookie.
async fn enter(shared: &Shared, login: LoginRequest, peer: Peer) -> Result<Response, Problem> {
    let name = login.name.clone();
    let answer = match shared.services.access.log_in(login).await.map_err(crowded)? {
        Ok(LoggedIn { token, caller }) => {
            let mut answer = shown(shared, &caller).into_response();
            answer.headers_mut().extend(session::cookie(&token, peer).map(|cookie| (header::SET_COOKIE, cookie)));
            answer
        }
        Err(refusal) => refused(&refusal).into_response(),
    };
    Ok(about(name, answer))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetupCommand {
    secret: String,
    name: String,
    password: String,
}

/// Adds the first user, and logs it in.
async fn set_up(
    State(shared): State<Arc<Shared>>,
    FromPeer(peer): FromPeer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let example = r#"{"secret": "…", "name": "anna", "password": "…"}"#;
    let SetupCommand { secret, name, password } = command(&headers, body, example).await?;
    let access = &shared.services.access;
    match access.set_up(secret, name.clone(), password.clone()).await.map_err(crowded)? {
        Ok(_) => {}
        Err(SetupRefusal::Over) => {
            return Err(Problem::new(Code::SetupOver, SetupRefusal::Over.to_string()));
        }
        Err(SetupRefusal::User(error)) => return Err(denied(error)),
    }
    enter(&shared, request(name, password, None, peer, &headers), peer).await
}

fn request(name: String, password: String, code: Option<String>, peer: Peer, headers: &HeaderMap) -> LoginRequest {
    let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default().to_owned();
    LoginRequest { name, password, code, address: peer.ip(), agent }
}

fn refused(refusal: &LoginRefusal) -> Problem {
    let code = match refusal {
        LoginRefusal::Wrong => Code::WrongPassword,
        LoginRefusal::CodeNeeded => Code::SecondFactorNeeded,
        LoginRefusal::WrongCode => Code::WrongSecondFactor,
        LoginRefusal::Locked(_) => Code::TooManyTries,
        LoginRefusal::Failed(_) => Code::Internal,
    };
    let problem = Problem::new(code, refusal.to_string());
    if let LoginRefusal::Locked(locked) = refusal { problem.after(locked.wait) } else { problem }
}

async fn log_out(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    FromPeer(peer): FromPeer,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_sender(&headers)?;
    if let Some(session) = &caller.session {
        // It may be over already.
        let _ = shared
            .services
            .access
            .end_session(session.to_string(), Some(caller.name.clone()))
            .await
            .map_err(crowded)?;
    }
    let mut answer = StatusCode::NO_CONTENT.into_response();
    // Pictures and clips may lie in the browser's cache, to be asked about before they are shown again.
    if session::is_trusted(peer) {
        answer.headers_mut().insert(CLEAR, HeaderValue::from_static("\"cache\""));
    }
    if let Some(cookie) = session::no_cookie(peer) {
        answer.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(answer)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordCommand {
    present: String,
    new: String,
}

async fn change_password(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    FromPeer(peer): FromPeer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let PasswordCommand { present, new } = command(&headers, body, r#"{"present": "…", "new": "…"}"#).await?;
    only_users(&caller)?;
    let changed =
        shared.services.access.change_own_password(&caller, present, new, peer.ip()).await.map_err(crowded)?;
    changed.map(|()| StatusCode::NO_CONTENT.into_response()).map_err(denied)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProofCommand {
    password: String,
    /// Of the present second factor, where there is one.
    #[serde(default)]
    code: Option<String>,
}

async fn begin_second_factor(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    FromPeer(peer): FromPeer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let ProofCommand { password, code } = command(&headers, body, r#"{"password": "…"}"#).await?;
    only_users(&caller)?;
    let begun = shared.services.access.begin_second_factor(&caller, password, code, peer.ip());
    let begun = begun.await.map_err(crowded)?;
    begun.map(|enrolment| Json(enrolment).into_response()).map_err(denied)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeCommand {
    code: String,
}

#[derive(Serialize)]
struct RecoveryReply {
    recovery_codes: Vec<String>,
}

async fn confirm_second_factor(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let CodeCommand { code } = command(&headers, body, r#"{"code": "123456"}"#).await?;
    only_users(&caller)?;
    let confirmed = shared.services.access.confirm_second_factor(&caller, code).await.map_err(crowded)?;
    confirmed.map(|recovery_codes| Json(RecoveryReply { recovery_codes }).into_response()).map_err(denied)
}

#[derive(Serialize)]
struct SessionsReply {
    /// The id of the one that asks.
    own: Option<Arc<str>>,
    sessions: Vec<SessionInfo>,
}

async fn sessions(State(shared): State<Arc<Shared>>, Known(caller): Known) -> Result<Response, Problem> {
    only_users(&caller)?;
    let sessions = shared.services.access.known().sessions(Some(&caller.name));
    Ok(Json(SessionsReply { own: caller.session.clone(), sessions }).into_response())
}

async fn end_session(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_sender(&headers)?;
    only_users(&caller)?;
    let Path(id) = id.map_err(|_| Problem::not_found("there is no session with this id"))?;
    let ended = shared.services.access.end_session(id, Some(caller.name.clone())).await.map_err(crowded)?;
    ended.map(|()| StatusCode::NO_CONTENT.into_response()).map_err(denied)
}

fn only_users(caller: &Caller) -> Result<(), Problem> {
    if caller.kind == CallerKind::Session {
        return Ok(());
    }
    let message = format!("{} is no user who is logged in, and has no account here", caller.name);
    Err(Problem::new(Code::NoAccount, message))
}

pub(super) fn crowded(crowded: Crowded) -> Problem {
    Problem::new(Code::Busy, crowded.to_string())
}

pub(super) fn denied(error: AccessError) -> Problem {
    match error {
        AccessError::Refused(why) => Problem::new(Code::Refused, why),
        wrong @ AccessError::WrongPassword => Problem::new(Code::WrongPassword, wrong.to_string()),
        AccessError::Locked(locked) => {
            let message = AccessError::Locked(locked).to_string();
            Problem::new(Code::TooManyTries, message).after(locked.wait)
        }
        unknown @ AccessError::Unknown { .. } => Problem::not_found(unknown.to_string()),
        AccessError::Failed(error) => {
            tracing::warn!(error = format!("{error:#}"), "a change of users could not be carried out");
            let message = format!("the change could not be carried out: {error:#}");
            Problem::new(Code::Internal, message)
        }
    }
}
