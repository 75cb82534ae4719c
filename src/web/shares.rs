//! Links to single files: made by users, opened without a login.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::audit::about;
use super::body::command;
use super::login::{crowded, denied};
use super::problem::{Code, Problem};
use super::routes::{Needs, Routes};
use super::sender::check_sender;
use super::session::{self, FromPeer, Known};
use super::{Shared, api, media};
use crate::access::{Caller, NewShare, Role, ShareInfo, ShareRefusal, SharedFile};
use crate::asset::MediaKind;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/shares", Needs::OPERATE, list)
        .post("/api/v1/shares", Needs::OPERATE, add)
        .delete("/api/v1/shares/{id}", Needs::OPERATE, remove)
        .post("/api/v1/shared/open", Needs::Nothing, open)
        .look("/api/v1/shared/{ticket}/{name}", Needs::Nothing, file)
}

/// Whose links `caller` may see and withdraw: an admin those of all.
fn makers(caller: &Caller) -> Option<Arc<str>> {
    (!caller.may(Role::Admin)).then(|| caller.name.clone())
}

#[derive(Serialize)]
struct SharesReply {
    shares: Vec<ShareInfo>,
}

async fn list(State(shared): State<Arc<Shared>>, Known(caller): Known) -> Response {
    let shares = shared.services.access.known().shares(makers(&caller).as_deref());
    Json(SharesReply { shares }).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewShareCommand {
    event: String,
    file: String,
    #[serde(default)]
    expires: Option<Timestamp>,
    #[serde(default)]
    most_views: Option<u32>,
    #[serde(default)]
    password: Option<String>,
}

async fn add(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let example = r#"{"event": "01J…", "file": "clip.mp4"}"#;
    let NewShareCommand { event, file, expires, most_views, password } = command(&headers, body, example).await?;
    let record = api::find(&shared, &caller, &event).await?;
    let unknown = || Problem::not_found("the event has no file with this name");
    if neutral_name(&file).is_none() || shared.services.media.of_event(&record.event, &file).is_none() {
        return Err(unknown());
    }
    let subject = format!("{event}/{file}");
    let file = SharedFile { event, file, camera: record.event.camera.to_string(), at: record.event.start.wall };
    let new = NewShare { file, expires, most_views, password };
    let added = shared.services.access.add_share(new, caller).await.map_err(crowded)?.map_err(denied)?;
    Ok(about(format!("{subject} as {}", added.info.id), (StatusCode::CREATED, Json(added))))
}

async fn remove(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_sender(&headers)?;
    let Path(id) = id.map_err(|_| Problem::not_found("there is no such link"))?;
    let removed = shared.services.access.remove_share(id, makers(&caller)).await.map_err(crowded)?;
    removed.map(|_| StatusCode::NO_CONTENT.into_response()).map_err(denied)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenCommand {
    link: String,
    #[serde(default)]
    password: Option<String>,
}

/// What someone with a link sees: the file and when it was taken, and nothing of the box.
#[derive(Serialize)]
struct OpenedReply {
    url: String,
    name: &'static str,
    at: Timestamp,
}

async fn open(
    State(shared): State<Arc<Shared>>,
    FromPeer(peer): FromPeer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let OpenCommand { link, password } = command(&headers, body, r#"{"link": "…"}"#).await?;
    let opened = shared.services.access.open_share(link, password, session::address(peer)).await.map_err(crowded)?;
    let opened = opened.map_err(refused)?;
    let name = neutral_name(&opened.file.file).ok_or_else(|| refused(ShareRefusal::Gone))?;
    let url = format!("/api/v1/shared/{}/{name}", opened.ticket);
    let subject = format!("{} of link {}", opened.file.event, opened.id);
    Ok(about(subject, Json(OpenedReply { url, name, at: opened.file.at })))
}

async fn file(
    State(shared): State<Arc<Shared>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let gone = || refused(ShareRefusal::Gone);
    let Path((ticket, name)) = path.map_err(|_| gone())?;
    let (id, file) = shared.services.access.known().of_ticket(&ticket).ok_or_else(gone)?;
    if neutral_name(&file.file) != Some(name.as_str()) {
        return Err(gone());
    }
    let event = file.event.parse().map_err(|_| gone())?;
    let record = shared.errors.ask("event", shared.services.events.get(event)).await?.ok_or_else(gone)?;
    let path = shared.services.media.of_event(&record.event, &file.file).ok_or_else(gone)?;
    let mut answer = media::answer(&path, &file.file, &request).await.map_err(|_| gone())?.into_response();
    let disposition = HeaderValue::from_str(&format!("inline; filename=\"{name}\"")).map_err(|_| gone())?;
    answer.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
    // It may be withdrawn, so it lies in no cache.
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(about(format!("{} of link {id}", file.event), answer))
}

/// What a shared file is called: nothing that says where it comes from. `None` for what is not shared.
fn neutral_name(file: &str) -> Option<&'static str> {
    match MediaKind::of_file(file) {
        MediaKind::Clip => Some("video.mp4"),
        MediaKind::Snapshot | MediaKind::SnapshotBoxes | MediaKind::Thumbnail => Some("picture.jpg"),
        _ => None,
    }
}

fn refused(refusal: ShareRefusal) -> Problem {
    let code = match refusal {
        ShareRefusal::Gone => Code::NotFound,
        ShareRefusal::PasswordNeeded => Code::PasswordNeeded,
        ShareRefusal::WrongPassword => Code::WrongPassword,
        ShareRefusal::Locked(_) => Code::TooManyTries,
        ShareRefusal::Failed(_) => Code::Internal,
    };
    Problem::new(code, refusal.to_string())
}
