//! Photos and albums behind links: what is seen without a login, under neutral names.
//!
//! A private photo, and one that lies in a trash, is behind no link, not of its owner either. Asked for *stripped*, a photo is given
//! as a picture that was encoded again: pixels, and nothing of what its file says; a video in a new file, pictures and sound as
//! they were coded.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use url::form_urlencoded;

use super::audit::about;
use super::photo_storage::{check_here, is_away};
use super::photos::{list_problem, problem, viewer};
use super::problem::{Code, Problem};
use super::routes::{Needs, Routes};
use super::shared_answers::{gone, under};
use super::{Shared, media, reply};
use crate::access::{Caller, Role, SharedAlbum, SharedItem, SharedPhoto};
use crate::library::Thumb;
use crate::photo::{Medium, Photo, PhotoId};
use crate::service::{PhotoRecord, read_cursor};

/// Photos of one page of a shared album.
const PAGE: usize = 100;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/shared/{ticket}/photos", Needs::Nothing, list)
        .get("/api/v1/shared/{ticket}/photos/{id}/small.jpg", Needs::Nothing, small)
        .look("/api/v1/shared/{ticket}/photos/{id}/{name}", Needs::Nothing, of_album)
}

/// A photo that the caller may share: its owner may, and an admin; no one a private one.
pub(super) async fn photo_of(
    shared: &Shared,
    caller: &Caller,
    id: String,
    stripped: Option<bool>,
) -> Result<SharedItem, Problem> {
    let unknown = || Problem::not_found("there is no photo with this id that you see");
    let viewer = viewer(caller);
    let found = shared.services.library.get(id.parse().map_err(|_| unknown())?, &viewer);
    let PhotoRecord { photo, own, .. } = shared.errors.ask("photo", found).await?.ok_or_else(unknown)?;
    check_maker(caller, own, "photo", &photo.owner)?;
    if photo.private || photo.trashed.is_some() {
        let why = "a private photo, and one in the trash, is seen by its owner only: change that first";
        return Err(Problem::new(Code::Refused, why.to_owned()));
    }
    let stripped = stripped.unwrap_or(true);
    if stripped && photo.facts.format.medium() == Medium::Video {
        check_here(shared, &photo).await?;
        let why = shared.services.library.strip_video(&photo).await.map_err(|error| problem(&error))?;
        if let Some(why) = why {
            let why = format!("{why}: it is shared as it came with `\"stripped\": false`");
            return Err(Problem::new(Code::Refused, why));
        }
    }
    Ok(SharedItem::Photo(SharedPhoto { photo: id, stripped }))
}

/// An album that the caller may share: its owner may, and an admin.
pub(super) async fn album_of(
    shared: &Shared,
    caller: &Caller,
    id: String,
    stripped: Option<bool>,
) -> Result<SharedItem, Problem> {
    let unknown = || Problem::not_found("there is no album with this id that you see");
    let viewer = viewer(caller);
    let found = shared.services.library.album(id.parse().map_err(|_| unknown())?, &viewer);
    let album = shared.errors.ask("album", found).await?.ok_or_else(unknown)?;
    check_maker(caller, album.own, "album", &album.album.owner)?;
    Ok(SharedItem::Album(SharedAlbum { album: id, stripped: stripped.unwrap_or(true) }))
}

fn check_maker(caller: &Caller, own: bool, what: &str, owner: &str) -> Result<(), Problem> {
    if own || caller.may(Role::Admin) {
        return Ok(());
    }
    let why = format!("the {what} belongs to {owner}: its owner and admins may share it");
    Err(Problem::new(Code::NotAllowed, why))
}

/// What a photo is called: nothing that says where it comes from.
fn neutral_name(photo: &Photo, stripped: bool) -> String {
    let format = photo.facts.format;
    match format.medium() {
        Medium::Video if !stripped => format!("video.{}", format.extension()),
        Medium::Picture if !stripped => format!("picture.{}", format.extension()),
        Medium::Video => "video.mp4".to_owned(),
        Medium::Picture => "picture.jpg".to_owned(),
    }
}

/// The name of a photo that a link leads to.
pub(super) async fn name_of_photo(shared: &Shared, of: &SharedPhoto) -> Result<String, Problem> {
    Ok(neutral_name(&seen(shared, of).await?, of.stripped))
}

async fn seen(shared: &Shared, of: &SharedPhoto) -> Result<Photo, Problem> {
    let id = of.photo.parse().map_err(|_| gone())?;
    shared.errors.ask("photo", shared.services.library.shared_photo(id)).await?.ok_or_else(gone)
}

/// The file of a photo that a link leads to.
pub(super) async fn photo_file(
    shared: &Shared,
    of: &SharedPhoto,
    name: &str,
    request: &HeaderMap,
) -> Result<Response, Problem> {
    give(shared, &seen(shared, of).await?, of.stripped, name, request).await
}

async fn give(
    shared: &Shared,
    photo: &Photo,
    stripped: bool,
    name: &str,
    request: &HeaderMap,
) -> Result<Response, Problem> {
    if name == "large.jpg" {
        return picture(shared, photo, Thumb::Large, name, request).await;
    }
    if name != neutral_name(photo, stripped) {
        return Err(gone());
    }
    if stripped {
        return picture(shared, photo, Thumb::Stripped, name, request).await;
    }
    // Where it lies is of no concern to who has a link.
    if is_away(shared, photo).await? {
        return Err(Problem::not_found("this photo is not on the box at the moment: ask who shared it"));
    }
    let path = shared.services.library.original(photo);
    let mut answer = media::answer(&path, &photo.file, request).await.map_err(|_| gone())?.into_response();
    let kind = HeaderValue::from_static(photo.facts.format.media_type());
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    under(name, answer)
}

async fn picture(
    shared: &Shared,
    photo: &Photo,
    size: Thumb,
    name: &str,
    request: &HeaderMap,
) -> Result<Response, Problem> {
    let path = shared.services.library.thumbnail(photo, size).await.map_err(|error| problem(&error))?;
    let path = path.ok_or_else(|| Problem::not_found("this photo cannot be shown"))?;
    let mut answer = media::answer(&path, name, request).await.map_err(|_| gone())?.into_response();
    let is_video = size == Thumb::Stripped && photo.facts.format.medium() == Medium::Video;
    let kind = HeaderValue::from_static(if is_video { "video/mp4" } else { "image/jpeg" });
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    under(name, answer)
}

/// A photo of a shared album: where its files lie behind the ticket.
#[derive(Serialize)]
struct SharedRecord {
    id: PhotoId,
    name: String,
    width: u32,
    height: u32,
}

#[derive(Serialize)]
struct SharedPage {
    title: String,
    photos: Vec<SharedRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

async fn list(
    State(shared): State<Arc<Shared>>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(text): RawQuery,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let Path(ticket) = path.map_err(|_| gone())?;
    let (_, album) = album_behind(&shared, &ticket)?;
    let mut before = None;
    for (name, value) in form_urlencoded::parse(text.unwrap_or_default().as_bytes()) {
        let place = read_cursor(&value).filter(|_| name == "before");
        before = Some(place.ok_or_else(|| Problem::parameter(&name, &value, "`before`, the `next` of a page"))?);
    }
    let id = album.album.parse().map_err(|_| gone())?;
    let found = shared.services.library.shared_album(id, before, PAGE).await;
    let (title, page) = found.map_err(|error| list_problem(&error))?.ok_or_else(gone)?;
    let record = |PhotoRecord { photo, .. }: PhotoRecord| SharedRecord {
        id: photo.id,
        name: neutral_name(&photo, album.stripped),
        width: photo.facts.width,
        height: photo.facts.height,
    };
    let photos = page.photos.into_iter().map(record).collect();
    let mut answer = reply::json(&request, &SharedPage { title, photos, next: page.next })?;
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

fn album_behind(shared: &Shared, ticket: &str) -> Result<(String, SharedAlbum), Problem> {
    match shared.services.access.known().of_ticket(ticket).ok_or_else(gone)? {
        (id, SharedItem::Album(album)) => Ok((id, album)),
        _ => Err(gone()),
    }
}

/// A photo of the album behind a ticket.
async fn in_album(shared: &Shared, ticket: &str, id: &str) -> Result<(String, SharedAlbum, Photo), Problem> {
    let (link, album) = album_behind(shared, ticket)?;
    let ids = (album.album.parse().map_err(|_| gone())?, id.parse().map_err(|_| gone())?);
    let found = shared.services.library.shared_photo_of(ids.0, ids.1);
    let photo = shared.errors.ask("photo", found).await?.ok_or_else(gone)?;
    Ok((link, album, photo))
}

async fn small(
    State(shared): State<Arc<Shared>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let Path((ticket, id)) = path.map_err(|_| gone())?;
    let (.., photo) = in_album(&shared, &ticket, &id).await?;
    picture(&shared, &photo, Thumb::Small, "small.jpg", &request).await
}

async fn of_album(
    State(shared): State<Arc<Shared>>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let Path((ticket, id, name)) = path.map_err(|_| gone())?;
    let (link, album, photo) = in_album(&shared, &ticket, &id).await?;
    let answer = give(&shared, &photo, album.stripped, &name, &request).await?;
    Ok(about(format!("{} of link {link}", photo.id), answer))
}
