//! Uploads that go on where they stopped, by the protocol tus 1.0 with its extensions creation, expiration and termination.

use std::sync::Arc;

use axum::body::{Body, BodyDataStream};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use tokio::sync::Mutex;

use super::audit::about;
use super::photos::problem;
use super::problem::{Code, Problem};
use super::routes::{Needs, Routes};
use super::session::{Known, check_everything, name_of};
use super::{Shared, sender};
use crate::access::Caller;
use crate::library::{Given, LibraryError, Resumable, UploadId};

/// The version of the protocol.
const VERSION: HeaderValue = HeaderValue::from_static("1.0.0");
const RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
const LENGTH: HeaderName = HeaderName::from_static("upload-length");
const METADATA: HeaderName = HeaderName::from_static("upload-metadata");
const EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
/// The photo that a complete upload became.
const PHOTO: HeaderName = HeaderName::from_static("outpost-photo");
/// What the bytes of an upload are sent as.
const BYTES: &str = "application/offset+octet-stream";
/// Longest value of the metadata, bytes.
const LONGEST_VALUE: usize = 1000;

pub(super) fn routes() -> Routes {
    Routes::default()
        .post("/api/v1/uploads", Needs::OPERATE, begin)
        .get("/api/v1/uploads/{id}", Needs::OPERATE, state)
        .proceed("/api/v1/uploads/{id}", Needs::OPERATE, append)
        .delete("/api/v1/uploads/{id}", Needs::OPERATE, cancel)
}

type Id = Result<Path<String>, PathRejection>;

/// Turns away what a foreign page sends, clients of another version, and callers that see some cameras only.
fn check(headers: &HeaderMap, caller: &Caller) -> Result<(), Problem> {
    sender::check_origin(headers)?;
    check_everything(caller)?;
    match headers.get(RESUMABLE) {
        Some(version) if version == VERSION => Ok(()),
        _ => Err(Problem::new(Code::WrongTusVersion, "send the header tus-resumable: 1.0.0".to_owned())),
    }
}

fn id_of(id: Id) -> Result<UploadId, Problem> {
    let none = || problem(&LibraryError::NoUpload);
    let Path(id) = id.map_err(|_| none())?;
    id.parse().map_err(|_| none())
}

fn number(headers: &HeaderMap, name: &HeaderName) -> Result<u64, Problem> {
    let text = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.parse().map_err(|_| Problem::parameter(name.as_str(), text, "a whole number of bytes"))
}

/// What the metadata say: keys, each with a value in base64.
fn given(headers: &HeaderMap, caller: &Caller) -> Result<Given, Problem> {
    let mut given =
        Given { name: "photo".to_owned(), owner: name_of(caller), private: false, file_date: None, tags: Vec::new() };
    let metadata = headers.get(METADATA).map(|value| value.to_str().unwrap_or("?")).unwrap_or_default();
    for pair in metadata.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
        let value = STANDARD.decode(value.trim()).ok().filter(|value| value.len() <= LONGEST_VALUE);
        let value = value.and_then(|value| String::from_utf8(value).ok());
        let allowed = || format!("keys with values in base64 of at most {LONGEST_VALUE} bytes of UTF-8");
        let value = value.ok_or_else(|| Problem::parameter(METADATA.as_str(), pair, allowed()))?;
        match key {
            "filename" | "name" => given.name = value,
            "private" => {
                given.private = value.parse().map_err(|_| Problem::parameter(key, &value, "true or false"))?;
            }
            "file_date" => {
                let allowed = "what the clock there shows, such as 2024-03-31T02:30:00";
                given.file_date = Some(value.parse().map_err(|_| Problem::parameter(key, &value, allowed))?);
            }
            // Clients add keys of their own, such as the kind of file.
            _ => {}
        }
    }
    Ok(given)
}

/// The headers of each answer about an upload.
fn described(upload: &Resumable, status: StatusCode) -> Response {
    let mut answer = status.into_response();
    let headers = answer.headers_mut();
    headers.insert(RESUMABLE, VERSION);
    headers.insert(OFFSET, upload.offset.into());
    headers.insert(LENGTH, upload.length.into());
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let expires = upload.expires.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    if let Ok(expires) = HeaderValue::from_str(&expires) {
        headers.insert(EXPIRES, expires);
    }
    if let Some(photo) = upload.photo.and_then(|photo| HeaderValue::from_str(&photo.to_string()).ok()) {
        headers.insert(PHOTO, photo);
    }
    answer
}

async fn begin(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check(&headers, &caller)?;
    let (length, given) = (number(&headers, &LENGTH)?, given(&headers, &caller)?);
    let name = given.name.clone();
    let upload =
        shared.services.library.library().begin_upload(length, given).await.map_err(|error| problem(&error))?;
    let mut answer = described(&upload, StatusCode::CREATED);
    if let Ok(place) = HeaderValue::from_str(&format!("/api/v1/uploads/{}", upload.id)) {
        answer.headers_mut().insert(header::LOCATION, place);
    }
    Ok(about(name, answer))
}

async fn state(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Id,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check(&headers, &caller)?;
    let upload = shared.services.library.library().upload(id_of(id)?, &name_of(&caller)).await;
    Ok(described(&upload.map_err(|error| problem(&error))?, StatusCode::OK))
}

async fn append(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    check(&headers, &caller)?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind != BYTES {
        return Err(Problem::new(Code::NotBytes, format!("send the header content-type: {BYTES}")));
    }
    let (id, offset) = (id_of(id)?, number(&headers, &OFFSET)?);
    let body = Mutex::new(body.into_data_stream());
    let next = || next(&body);
    let written = shared.services.library.library().resume(id, &name_of(&caller), offset, next).await;
    // A line that broke has no client that waits for an answer; what came is kept.
    let (upload, _) = written.map_err(|error| problem(&error))?;
    Ok(described(&upload, StatusCode::NO_CONTENT))
}

async fn next(body: &Mutex<BodyDataStream>) -> Result<Option<bytes::Bytes>, axum::Error> {
    body.lock().await.next().await.transpose()
}

async fn cancel(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Id,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check(&headers, &caller)?;
    let ended = shared.services.library.library().cancel_upload(id_of(id)?, &name_of(&caller)).await;
    ended.map_err(|error| problem(&error))?;
    Ok((StatusCode::NO_CONTENT, [(RESUMABLE, VERSION)]).into_response())
}
