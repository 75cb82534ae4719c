//! Users, their sessions, and keys of programs.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::Shared;
use super::audit::{self, about};
use super::body::{command, read, received};
use super::login::{crowded, denied};
use super::problem::Problem;
use super::routes::{Needs, Routes};
use super::sender::check_sender;
use super::session::Known;
use crate::access::{KeyInfo, NewKey, NewUser, SessionInfo, UserChange, UserInfo};

type Named = Result<Path<String>, PathRejection>;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/users", Needs::ADMINISTER, users)
        .post("/api/v1/users", Needs::ADMINISTER, add_user)
        .patch("/api/v1/users/{name}", Needs::ADMINISTER, change_user)
        .delete("/api/v1/users/{name}", Needs::ADMINISTER, remove_user)
        .post("/api/v1/users/{name}/unlock", Needs::ADMINISTER, unlock_user)
        .get("/api/v1/audit", Needs::ADMINISTER, audit::entries)
        .get("/api/v1/sessions", Needs::ADMINISTER, sessions)
        .delete("/api/v1/sessions/{id}", Needs::ADMINISTER, end_session)
        .get("/api/v1/keys", Needs::ADMINISTER, keys)
        .post("/api/v1/keys", Needs::ADMINISTER, add_key)
        .delete("/api/v1/keys/{id}", Needs::ADMINISTER, remove_key)
}

#[derive(Serialize)]
struct UsersReply {
    users: Vec<UserInfo>,
}

async fn users(State(shared): State<Arc<Shared>>) -> Response {
    Json(UsersReply { users: shared.services.access.known().users() }).into_response()
}

async fn add_user(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = received(&headers, body).await?;
    let act = async {
        let new: NewUser = read(&body, r#"{"name": "ben", "password": "…", "role": "viewer"}"#)?;
        let subject = format!("{} as {}", new.name, new.role.as_str());
        let added = shared.services.access.add_user(new).await.map_err(crowded)?.map_err(denied)?;
        Ok(about(subject, (StatusCode::CREATED, Json(added))))
    };
    shared.answers.once(&caller, &headers, "/api/v1/users", &body, act).await
}

async fn change_user(
    State(shared): State<Arc<Shared>>,
    name: Named,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let change: UserChange = command(&headers, body, r#"{"role": "operator"}"#).await?;
    let subject = change.to_string();
    let changed = shared.services.access.change_user(named(name)?, change).await.map_err(crowded)?;
    changed.map(|user| about(subject, Json(user))).map_err(denied)
}

async fn remove_user(State(shared): State<Arc<Shared>>, name: Named, headers: HeaderMap) -> Result<Response, Problem> {
    check_sender(&headers)?;
    let removed = shared.services.access.remove_user(named(name)?).await.map_err(crowded)?;
    removed.map(|()| StatusCode::NO_CONTENT.into_response()).map_err(denied)
}

async fn unlock_user(State(shared): State<Arc<Shared>>, name: Named, headers: HeaderMap) -> Result<Response, Problem> {
    check_sender(&headers)?;
    shared.services.access.known().unlock_user(&named(name)?).map_err(denied)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Serialize)]
struct SessionsReply {
    sessions: Vec<SessionInfo>,
}

async fn sessions(State(shared): State<Arc<Shared>>) -> Response {
    Json(SessionsReply { sessions: shared.services.access.known().sessions(None) }).into_response()
}

async fn end_session(State(shared): State<Arc<Shared>>, id: Named, headers: HeaderMap) -> Result<Response, Problem> {
    check_sender(&headers)?;
    let ended = shared.services.access.end_session(named(id)?, None).await.map_err(crowded)?;
    ended.map(|()| StatusCode::NO_CONTENT.into_response()).map_err(denied)
}

#[derive(Serialize)]
struct KeysReply {
    keys: Vec<KeyInfo>,
}

async fn keys(State(shared): State<Arc<Shared>>) -> Response {
    Json(KeysReply { keys: shared.services.access.known().keys() }).into_response()
}

async fn add_key(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = received(&headers, body).await?;
    let act = async {
        let new: NewKey = read(&body, r#"{"name": "home assistant", "role": "viewer"}"#)?;
        let added = shared.services.access.add_key(new, &caller).await.map_err(crowded)?.map_err(denied)?;
        let subject = format!("{} {} as {}", added.info.id, added.info.name, added.info.role.as_str());
        Ok(about(subject, (StatusCode::CREATED, Json(added))))
    };
    shared.answers.once(&caller, &headers, "/api/v1/keys", &body, act).await
}

async fn remove_key(State(shared): State<Arc<Shared>>, id: Named, headers: HeaderMap) -> Result<Response, Problem> {
    check_sender(&headers)?;
    let removed = shared.services.access.remove_key(named(id)?).await.map_err(crowded)?;
    removed.map(|_| StatusCode::NO_CONTENT.into_response()).map_err(denied)
}

fn named(name: Named) -> Result<String, Problem> {
    name.map(|Path(name)| name).map_err(|_| Problem::not_found("there is nothing with this name"))
}
