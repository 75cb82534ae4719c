//! Originals of photos: the file, where it is, and bringing it back.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream;

use super::audit::about;
use super::photos::{Id, check_owner, disposition, find, list_problem, parse, problem, viewer};
use super::problem::{Code, Problem};
use super::routes::{Needs, Routes};
use super::sender::check_sender;
use super::session::Known;
use super::{Shared, media, reply};
use crate::library::{OriginalState, Thumb};
use crate::photo::Photo;
use crate::service::{MOST_PHOTOS, PhotoExportError, PhotoQuery, PhotoRecord};

pub(super) fn routes() -> Routes {
    Routes::default()
        .look("/api/v1/photos/{id}/original", Needs::VIEW, original)
        .look("/api/v1/photos/{id}/large.jpg", Needs::VIEW, large)
        .get("/api/v1/photos/{id}/small.jpg", Needs::VIEW, small)
        .look("/api/v1/photos/export.tar", Needs::VIEW, export)
        .get("/api/v1/photos/check", Needs::ADMINISTER, check)
        .get("/api/v1/photos/{id}/storage", Needs::VIEW, storage)
        .post("/api/v1/photos/{id}/fetch", Needs::OPERATE, fetch)
        .post("/api/v1/photos/{id}/release", Needs::OPERATE, release)
}

async fn state_of(shared: &Shared, photo: &Photo) -> Result<OriginalState, Problem> {
    shared.services.library.original_state(photo).await.map_err(|error| problem(&error))
}

/// Whether the original lies elsewhere alone.
pub(super) async fn is_away(shared: &Shared, photo: &Photo) -> Result<bool, Problem> {
    Ok(state_of(shared, photo).await?.away.is_some())
}

/// Refused where the original lies elsewhere alone.
pub(super) async fn check_here(shared: &Shared, photo: &Photo) -> Result<(), Problem> {
    match state_of(shared, photo).await?.away {
        None => Ok(()),
        Some(away) => {
            let message = format!("the original lies at {} alone: ask for it to be brought back", away.destination);
            Err(Problem::new(Code::OriginalAway, message))
        }
    }
}

async fn original(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Id,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let PhotoRecord { photo, .. } = find(&shared, &caller, id).await?;
    check_here(&shared, &photo).await?;
    let path = shared.services.library.original(&photo);
    let mut answer = media::answer(&path, &photo.file, &request).await?;
    let kind = HeaderValue::from_static(photo.facts.format.media_type());
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    if let Some(saved_as) = disposition(&photo.name) {
        answer.headers_mut().insert(header::CONTENT_DISPOSITION, saved_as);
    }
    Ok(answer)
}

async fn large(state: State<Arc<Shared>>, caller: Known, id: Id, request: HeaderMap) -> Result<Response, Problem> {
    thumbnail(state, caller, id, request, Thumb::Large).await
}

async fn small(state: State<Arc<Shared>>, caller: Known, id: Id, request: HeaderMap) -> Result<Response, Problem> {
    thumbnail(state, caller, id, request, Thumb::Small).await
}

async fn thumbnail(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Id,
    request: HeaderMap,
    size: Thumb,
) -> Result<Response, Problem> {
    let PhotoRecord { photo, .. } = find(&shared, &caller, id).await?;
    let path = shared.services.library.thumbnail(&photo, size).await.map_err(|error| problem(&error))?;
    let Some(path) = path else {
        check_here(&shared, &photo).await?;
        let why = photo.facts.unreadable.unwrap_or_else(|| "the photo cannot be shown".to_owned());
        return Err(Problem::not_found(why));
    };
    let mut answer = media::answer(&path, size.file_name(&photo), &request).await?;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg"));
    Ok(answer.into_response())
}

async fn storage(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Id,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let PhotoRecord { photo, .. } = find(&shared, &caller, id).await?;
    reply::json(&request, &state_of(&shared, &photo).await?)
}

async fn fetch(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Id,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_sender(&headers)?;
    let PhotoRecord { photo, .. } = find(&shared, &caller, id).await?;
    let state = shared.services.library.fetch_original(&photo).await.map_err(|error| problem(&error))?;
    Ok(about(photo.id.to_string(), (StatusCode::ACCEPTED, Json(state)).into_response()))
}

async fn release(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Id,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_sender(&headers)?;
    let record = find(&shared, &caller, id).await?;
    check_owner(&caller, &record)?;
    let state = shared.services.library.release_original(&record.photo).await.map_err(|error| problem(&error))?;
    Ok(about(record.photo.id.to_string(), (StatusCode::ACCEPTED, Json(state)).into_response()))
}

async fn check(State(shared): State<Arc<Shared>>, request: HeaderMap) -> Result<Response, Problem> {
    let report = shared.services.library.check_report().await.map_err(|error| problem(&error))?;
    reply::json(&request, &report)
}

/// The photos that are asked for as folders in one file.
async fn export(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    RawQuery(text): RawQuery,
) -> Result<Response, Problem> {
    let query = PhotoQuery { limit: MOST_PHOTOS, ..parse(text.as_deref().unwrap_or_default(), viewer(&caller), &[])? };
    let pieces = shared.services.library.export(query).await.map_err(|error| match &error {
        PhotoExportError::Busy => Problem::new(Code::Busy, error.to_string()),
        PhotoExportError::List(why) => list_problem(why),
    })?;
    let pieces = stream::unfold(pieces, |mut pieces| async move { Some((pieces.recv().await?, pieces)) });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/x-tar")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"photos.tar\"")),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}
