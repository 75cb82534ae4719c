//! Links to files of events, photos and albums: made by users, opened without a login.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::audit::about;
use super::body::{command, read, received};
use super::login::{crowded, denied};
use super::problem::{Code, Problem};
use super::routes::{Needs, Routes};
use super::sender::check_sender;
use super::session::{FromPeer, Known};
use super::shared_answers::{gone, refused, under};
use super::{Shared, api, media, shared_photos};
use crate::access::{Caller, NewShare, Role, ShareInfo, SharedFile, SharedItem};
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
    #[serde(default)]
    event: Option<String>,
    #[serde(default)]
    file: Option<String>,
    #[serde(default)]
    photo: Option<String>,
    #[serde(default)]
    album: Option<String>,
    #[serde(default)]
    stripped: Option<bool>,
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
    let body = received(&headers, body).await?;
    let act = make(&shared, &caller, &body);
    shared.answers.once(&caller, &headers, "/api/v1/shares", &body, act).await
}

async fn make(shared: &Shared, caller: &Caller, body: &[u8]) -> Result<Response, Problem> {
    let example = r#"{"event": "01J…", "file": "clip.mp4"}, {"photo": "01J…"} or {"album": "01J…"}"#;
    let command: NewShareCommand = read(body, example)?;
    let NewShareCommand { expires, most_views, password, .. } = command;
    let stripped = command.stripped;
    let item = match (command.event, command.file, command.photo, command.album) {
        (Some(event), Some(file), None, None) if stripped.is_none() => file_of(shared, caller, event, file).await?,
        (None, None, Some(photo), None) => shared_photos::photo_of(shared, caller, photo, stripped).await?,
        (None, None, None, Some(album)) => shared_photos::album_of(shared, caller, album, stripped).await?,
        _ => return Err(Problem::new(Code::BadCommand, format!("a link leads to one thing; send {example}"))),
    };
    let subject = item.subject().to_owned();
    let new = NewShare { item, expires, most_views, password };
    let added = shared.services.access.add_share(new, caller.clone()).await.map_err(crowded)?.map_err(denied)?;
    Ok(about(format!("{subject} as {}", added.info.id), (StatusCode::CREATED, Json(added))))
}

/// A file of an event that the caller sees.
async fn file_of(shared: &Shared, caller: &Caller, event: String, file: String) -> Result<SharedItem, Problem> {
    let record = api::find(shared, caller, &event).await?;
    if neutral_name(&file).is_none() {
        return Err(Problem::not_found("the event has no file with this name"));
    }
    api::path_of(shared, &record.event, &file).await?;
    let (camera, at) = (record.event.camera.to_string(), record.event.start.wall);
    Ok(SharedItem::File(SharedFile { event, file, camera, at }))
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

/// What someone with a link sees: the file and when it was taken, and nothing of the box. An album has a list in place of
/// a file.
#[derive(Serialize)]
struct OpenedReply {
    url: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
}

async fn open(
    State(shared): State<Arc<Shared>>,
    FromPeer(peer): FromPeer,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let OpenCommand { link, password } = command(&headers, body, r#"{"link": "…"}"#).await?;
    let opened = shared.services.access.open_share(link, password, peer.ip()).await.map_err(crowded)?;
    let opened = opened.map_err(refused)?;
    let (name, at) = match &opened.item {
        SharedItem::File(file) => (neutral_name(&file.file).ok_or_else(gone)?.to_owned(), Some(file.at)),
        SharedItem::Photo(photo) => (shared_photos::name_of_photo(&shared, photo).await?, None),
        SharedItem::Album(_) => ("photos".to_owned(), None),
    };
    let url = format!("/api/v1/shared/{}/{name}", opened.ticket);
    let subject = format!("{} of link {}", opened.item.subject(), opened.id);
    Ok(about(subject, Json(OpenedReply { url, name, at })))
}

async fn file(
    State(shared): State<Arc<Shared>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let Path((ticket, name)) = path.map_err(|_| gone())?;
    let (id, item) = shared.services.access.known().of_ticket(&ticket).ok_or_else(gone)?;
    let answer = match &item {
        SharedItem::File(file) => event_file(&shared, file, &name, &request).await?,
        SharedItem::Photo(photo) => shared_photos::photo_file(&shared, photo, &name, &request).await?,
        SharedItem::Album(_) => return Err(gone()),
    };
    Ok(about(format!("{} of link {id}", item.subject()), answer))
}

async fn event_file(shared: &Shared, file: &SharedFile, name: &str, request: &HeaderMap) -> Result<Response, Problem> {
    if neutral_name(&file.file) != Some(name) {
        return Err(gone());
    }
    let event = file.event.parse().map_err(|_| gone())?;
    let record = shared.errors.ask("event", shared.services.events.get(event)).await?.ok_or_else(gone)?;
    let path = api::path_of(shared, &record.event, &file.file).await.map_err(|_| gone())?;
    let answer = media::answer(&path, &file.file, request).await.map_err(|_| gone())?.into_response();
    under(name, answer)
}

/// What a shared file is called: nothing that says where it comes from. `None` for what is not shared.
fn neutral_name(file: &str) -> Option<&'static str> {
    match MediaKind::of_file(file) {
        MediaKind::Clip => Some("video.mp4"),
        MediaKind::Snapshot | MediaKind::SnapshotBoxes | MediaKind::Thumbnail => Some("picture.jpg"),
        _ => None,
    }
}
