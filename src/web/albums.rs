//! Albums of the photo library.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::audit::about;
use super::photos::{problem, viewer};
use super::problem::{Code, Problem};
use super::routes::{Needs, Routes};
use super::sender::check_sender;
use super::session::{Known, check_everything};
use super::{Shared, body, reply};
use crate::access::{Caller, Role};
use crate::library::LibraryError;
use crate::photo::{AlbumEdit, AlbumId};
use crate::service::AlbumRecord;

const EXAMPLE: &str = r#"{"title": "Herons", "add": ["01J…"]}"#;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/albums", Needs::VIEW, list)
        .post("/api/v1/albums", Needs::OPERATE, add)
        .get("/api/v1/albums/{id}", Needs::VIEW, album)
        .patch("/api/v1/albums/{id}", Needs::OPERATE, edit)
        .delete("/api/v1/albums/{id}", Needs::OPERATE, remove)
}

type Id = Result<Path<String>, PathRejection>;

fn unknown() -> Problem {
    Problem::not_found(LibraryError::NoAlbum.to_string())
}

/// An album that the caller sees; the others are as if they were not there.
async fn find(shared: &Shared, caller: &Caller, id: Id) -> Result<AlbumRecord, Problem> {
    let Path(id) = id.map_err(|_| unknown())?;
    let id: AlbumId = id.parse().map_err(|_| unknown())?;
    shared.errors.ask("album", shared.services.library.album(id, &viewer(caller))).await?.ok_or_else(unknown)
}

/// An album that the caller may change: its owner may, and admins those that they see.
async fn find_own(shared: &Shared, caller: &Caller, id: Id) -> Result<AlbumRecord, Problem> {
    check_everything(caller)?;
    let record = find(shared, caller, id).await?;
    if record.own || caller.may(Role::Admin) {
        return Ok(record);
    }
    let message = format!("the album belongs to {}: its owner and admins may change it", record.album.owner);
    Err(Problem::new(Code::NotAllowed, message))
}

#[derive(Serialize)]
struct AlbumsReply {
    albums: Vec<AlbumRecord>,
}

async fn list(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let albums = shared.errors.ask("albums", shared.services.library.albums(&viewer(&caller))).await?;
    reply::json(&request, &AlbumsReply { albums })
}

async fn album(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Id,
    request: HeaderMap,
) -> Result<Response, Problem> {
    reply::json(&request, &find(&shared, &caller, id).await?)
}

fn checked(edit: &AlbumEdit) -> Result<(), Problem> {
    edit.check().map_err(|why| Problem::new(Code::BadCommand, why))
}

async fn add(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    check_everything(&caller)?;
    let body = body::received(&headers, body).await?;
    let act = async {
        let edit: AlbumEdit = body::read(&body, EXAMPLE)?;
        checked(&edit)?;
        let made = shared.services.library.make_album(edit, &viewer(&caller)).await;
        let record = made.map_err(|error| problem(&error))?;
        Ok(about(record.album.id.to_string(), (StatusCode::CREATED, Json(record))))
    };
    shared.answers.once(&caller, &headers, "/api/v1/albums", &body, act).await
}

async fn edit(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let edit: AlbumEdit = body::command(&headers, body, EXAMPLE).await?;
    checked(&edit)?;
    let record = find_own(&shared, &caller, id).await?;
    if !reply::tag_of(&record)?.is_expected(&headers) {
        return Err(problem(&LibraryError::Changed));
    }
    // What comes between this look and the change is seen there.
    let expects = headers.contains_key(header::IF_MATCH).then_some(&record.album);
    let changed = shared.services.library.edit_album(record.album.id, edit, expects, &viewer(&caller)).await;
    let changed = changed.map_err(|error| problem(&error))?;
    Ok(about(record.album.id.to_string(), reply::json(&HeaderMap::new(), &changed)?))
}

async fn remove(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Id,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_sender(&headers)?;
    let record = find_own(&shared, &caller, id).await?;
    shared.services.library.delete_album(record.album.id).await.map_err(|error| problem(&error))?;
    Ok(about(record.album.id.to_string(), StatusCode::NO_CONTENT.into_response()))
}
