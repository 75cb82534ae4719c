//! The photo library: giving photos to the box, finding them, and what people say of them.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use super::audit::about;
use super::problem::{Code, Problem};
use super::routes::{Needs, Routes};
use super::session::{Known, check_everything, name_of};
use super::{Shared, body, reply, sender};
use crate::access::{Caller, Role};
use crate::library::{Given, Kept, LibraryError, PhotoEdit};
use crate::photo::PhotoId;
use crate::service::{
    ListError, MOST_PHOTOS, PhotoArea, PhotoDay, PhotoQuery, PhotoRecord, PhotoTag, Viewer, photo_record, read_cursor,
};

/// Photos of one page where nothing is asked for.
const DEFAULT_LIMIT: usize = 100;
/// Most files of one request.
const MOST_FILES: usize = 1000;
/// Longest text field beside the files, bytes.
const LONGEST_FIELD: usize = 200;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/photos", Needs::VIEW, list)
        .post("/api/v1/photos", Needs::OPERATE, upload)
        .get("/api/v1/photos/days", Needs::VIEW, days)
        .get("/api/v1/photos/places", Needs::VIEW, places)
        .get("/api/v1/photos/tags", Needs::VIEW, tags)
        .get("/api/v1/photos/{id}", Needs::VIEW, photo)
        .patch("/api/v1/photos/{id}", Needs::OPERATE, edit)
        .delete("/api/v1/photos/{id}", Needs::OPERATE, remove)
        .patch("/api/v1/photos/{id}/favorite", Needs::VIEW, set_favorite)
}

pub(super) type Id = Result<Path<String>, PathRejection>;

pub(super) fn unknown() -> Problem {
    Problem::not_found(LibraryError::Unknown.to_string())
}

/// What an error of the library is to its caller.
pub(super) fn problem(error: &LibraryError) -> Problem {
    let code = match error {
        LibraryError::Away => Code::VolumeAway,
        LibraryError::Full => Code::NoRoom,
        LibraryError::TooLarge { .. } => Code::TooLarge,
        LibraryError::OverQuota { .. } => Code::OverQuota,
        LibraryError::Empty | LibraryError::NotAPicture(_) => Code::UnknownFormat,
        LibraryError::Unknown | LibraryError::NoUpload | LibraryError::NoAlbum => Code::NotFound,
        LibraryError::BadEdit(_) | LibraryError::BadAlbum(_) | LibraryError::TooManyFavorites { .. } => {
            Code::BadCommand
        }
        LibraryError::NotAway | LibraryError::NotReleased(_) => Code::Refused,
        LibraryError::WrongOffset { .. } => Code::WrongOffset,
        LibraryError::Changed => Code::ChangedMeanwhile,
        LibraryError::Failed(failure) => {
            tracing::warn!(error = format!("{failure:#}"), "the photo library failed");
            return Problem::new(Code::Internal, "the photo library failed; the log says why".to_owned());
        }
    };
    Problem::new(code, error.to_string())
}

/// The caller, as the library knows it.
pub(super) fn viewer(caller: &Caller) -> Viewer {
    Viewer { name: name_of(caller), sees_all: caller.sees_everything() }
}

/// Waits for a list; what is wrong with the question is said to the caller.
pub(super) async fn listed<T>(
    shared: &Shared,
    answer: impl Future<Output = Result<T, ListError>> + Send,
) -> Result<T, Problem> {
    let answer = async {
        match answer.await {
            Err(ListError::Failed(failure)) => Err(failure),
            other => Ok(other),
        }
    };
    shared.errors.ask("photos", answer).await?.map_err(|error| list_problem(&error))
}

/// Why photos are not listed, as its caller is answered.
pub(super) fn list_problem(error: &ListError) -> Problem {
    match error {
        ListError::BadSearch(why) => Problem::new(Code::BadParameter, why.clone()),
        ListError::NotSeen(_) => Problem::new(Code::NotAllowed, error.to_string()),
        ListError::NoAlbum => Problem::not_found(error.to_string()),
        ListError::Failed(failure) => {
            tracing::warn!(error = format!("{failure:#}"), "photos could not be listed");
            Problem::new(Code::Internal, "photos could not be listed; the log says why".to_owned())
        }
    }
}

/// A photo that the caller sees; the others are as if they were not there.
pub(super) async fn find(shared: &Shared, caller: &Caller, id: Id) -> Result<PhotoRecord, Problem> {
    let Path(id) = id.map_err(|_| unknown())?;
    let id: PhotoId = id.parse().map_err(|_| unknown())?;
    shared.errors.ask("photo", shared.services.library.get(id, &viewer(caller))).await?.ok_or_else(unknown)
}

async fn list(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    RawQuery(text): RawQuery,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let query = parse(text.as_deref().unwrap_or_default(), viewer(&caller), &["before", "trash", "limit"])?;
    let page = listed(&shared, shared.services.library.list(query)).await?;
    reply::json(&request, &page)
}

#[derive(Serialize)]
struct DaysReply {
    days: Vec<PhotoDay>,
    /// The list has these photos, day after day.
    exact: bool,
}

async fn days(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    RawQuery(text): RawQuery,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let query = parse(text.as_deref().unwrap_or_default(), viewer(&caller), &[])?;
    let (days, exact) = listed(&shared, shared.services.library.days(&query)).await?;
    reply::json(&request, &DaysReply { days, exact })
}

#[derive(Serialize)]
struct TagsReply {
    tags: Vec<PhotoTag>,
}

async fn tags(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let tags = listed(&shared, shared.services.library.tags(&viewer(&caller))).await?;
    reply::json(&request, &TagsReply { tags })
}

#[derive(Serialize)]
struct PlacesReply {
    places: Vec<PhotoArea>,
}

async fn places(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    RawQuery(text): RawQuery,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let text = text.unwrap_or_default();
    let query = parse(&text, viewer(&caller), &EDGES)?;
    let places = listed(&shared, shared.services.library.places(&query, edges(&text)?)).await?;
    reply::json(&request, &PlacesReply { places })
}

/// Parameters of a part of the earth.
const EDGES: [&str; 4] = ["south", "north", "west", "east"];

/// The edges of a part of the earth, all of it where none is named; `east` below `west` lies beyond the date line.
fn edges(text: &str) -> Result<[f64; 4], Problem> {
    let mut edges = [-90.0, 90.0, -180.0, 180.0];
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let Some(edge) = EDGES.iter().zip(&mut edges).find(|(known, _)| **known == name).map(|(_, edge)| edge) else {
            continue;
        };
        let most = if matches!(&*name, "south" | "north") { 90.0 } else { 180.0 };
        let degrees = value.parse().ok().filter(|degrees: &f64| degrees.abs() <= most);
        *edge = degrees.ok_or_else(|| Problem::parameter(&name, &value, format!("degrees from -{most} to {most}")))?;
    }
    let [south, north, west, east] = edges;
    if south > north {
        return Err(Problem::parameter("south", &south.to_string(), "degrees below `north`"));
    }
    Ok([south, north, west, if east < west { east + 360.0 } else { east }])
}

/// Reads what is asked for. `also`: parameters beside `q` and `album`.
pub(super) fn parse(text: &str, viewer: Viewer, also: &[&str]) -> Result<PhotoQuery, Problem> {
    let (search, limit) = (String::new(), DEFAULT_LIMIT);
    let mut query = PhotoQuery { viewer, search, album: None, trash: false, before: None, limit };
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        match &*name {
            "q" => query.search = value.into_owned(),
            "album" => {
                query.album = Some(value.parse().map_err(|_| Problem::parameter(&name, &value, "the id of an album"))?);
            }
            _ if !also.contains(&&*name) => {
                let known = ["q", "album"].iter().chain(also).copied().collect::<Vec<_>>().join(", ");
                return Err(Problem::parameter(&name, &value, format!("the parameters {known}")));
            }
            "before" => {
                let place = read_cursor(&value);
                query.before = Some(place.ok_or_else(|| Problem::parameter(&name, &value, "`next` of a page before"))?);
            }
            "trash" => {
                let is_trash = value.parse().ok();
                query.trash = is_trash.ok_or_else(|| Problem::parameter(&name, &value, "true or false"))?;
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MOST_PHOTOS).contains(limit));
                let allowed = || format!("a whole number from 1 to {MOST_PHOTOS}");
                query.limit = limit.ok_or_else(|| Problem::parameter(&name, &value, allowed()))?;
            }
            _ => {}
        }
    }
    Ok(query)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FavoriteCommand {
    favorite: bool,
}

async fn set_favorite(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let FavoriteCommand { favorite } = body::command(&headers, body, r#"{"favorite": true}"#).await?;
    let PhotoRecord { photo, .. } = find(&shared, &caller, id).await?;
    let set = shared.services.library.set_favorite(photo.id, &viewer(&caller), favorite).await;
    let subject = format!("{} {favorite}", photo.id);
    Ok(about(subject, reply::json(&HeaderMap::new(), &set.map_err(|error| problem(&error))?)?))
}

async fn photo(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Id,
    request: HeaderMap,
) -> Result<Response, Problem> {
    reply::json(&request, &find(&shared, &caller, id).await?)
}

/// Whether the caller may change a photo: its owner may, and an admin what is not private.
pub(super) fn check_owner(caller: &Caller, record: &PhotoRecord) -> Result<(), Problem> {
    if record.own || caller.may(Role::Admin) {
        return Ok(());
    }
    let message = format!("the photo belongs to {}: its owner and admins may change it", record.photo.owner);
    Err(Problem::new(Code::NotAllowed, message))
}

async fn edit(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let edit: PhotoEdit = body::command(&headers, body, r#"{"title": "The gate", "tags": ["garden"]}"#).await?;
    edit.check().map_err(|why| Problem::new(Code::BadCommand, why))?;
    let record = find(&shared, &caller, id).await?;
    check_owner(&caller, &record)?;
    if !reply::tag_of(&record)?.is_expected(&headers) {
        return Err(problem(&LibraryError::Changed));
    }
    // What comes between this look and the change is seen there.
    let expects = headers.contains_key(header::IF_MATCH).then_some(&record.photo);
    let subject = serde_json::to_string(&edit).unwrap_or_default();
    let edited = shared.services.library.edit(record.photo.id, edit, expects, &name_of(&caller)).await;
    Ok(about(subject, reply::json(&HeaderMap::new(), &edited.map_err(|error| problem(&error))?)?))
}

async fn remove(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Id,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    sender::check_sender(&headers)?;
    let record = find(&shared, &caller, id).await?;
    check_owner(&caller, &record)?;
    if !reply::tag_of(&record)?.is_expected(&headers) {
        return Err(problem(&LibraryError::Changed));
    }
    let expects = headers.contains_key(header::IF_MATCH).then_some(&record.photo);
    shared.services.library.delete(record.photo.id, expects).await.map_err(|error| problem(&error))?;
    Ok(about(record.photo.id.to_string(), StatusCode::NO_CONTENT.into_response()))
}

/// What became of one file.
#[derive(Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum Outcome {
    /// It is a new photo.
    Added {
        #[serde(flatten)]
        photo: Box<PhotoRecord>,
    },
    /// The caller had it already.
    Known {
        #[serde(flatten)]
        photo: Box<PhotoRecord>,
    },
    /// It was not taken.
    Refused { name: String, code: &'static str, detail: String },
}

#[derive(Serialize)]
struct UploadReply {
    photos: Vec<Outcome>,
}

/// What the fields say of the files that follow them.
#[derive(Default)]
struct Fields {
    private: bool,
    file_date: Option<DateTime>,
}

async fn upload(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    mut request: Request,
) -> Result<Response, Problem> {
    sender::check_origin(request.headers())?;
    check_everything(&caller)?;
    DefaultBodyLimit::disable().apply(&mut request);
    let example = || "send multipart/form-data with one part `file` for each file".to_owned();
    let mut parts =
        Multipart::from_request(request, &()).await.map_err(|_| Problem::new(Code::NotMultipart, example()))?;
    let (mut fields, mut photos) = (Fields::default(), Vec::new());
    while let Some(part) = parts.next_field().await.map_err(|error| broken(&error))? {
        let Some(name) = part.file_name().map(ToOwned::to_owned) else {
            fields.read(part).await?;
            continue;
        };
        if photos.len() >= MOST_FILES {
            return Err(Problem::new(Code::TooLarge, format!("one request has {MOST_FILES} files at most")));
        }
        photos.push(take(&shared, &caller, name, &mut fields, part).await?);
    }
    if photos.is_empty() {
        return Err(Problem::new(Code::BadCommand, example()));
    }
    let is_new = photos.iter().any(|outcome| matches!(outcome, Outcome::Added { .. }));
    let subject = format!("{} files", photos.len());
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(about(subject, (status, Json(UploadReply { photos }))))
}

fn broken(error: &MultipartError) -> Problem {
    let detail =
        format!("the upload ended early: {error}; files that were answered before are kept, send the rest again");
    Problem::new(Code::BadCommand, detail)
}

impl Fields {
    async fn read(&mut self, mut part: Field<'_>) -> Result<(), Problem> {
        let (name, mut value) = (part.name().unwrap_or_default().to_owned(), Vec::new());
        while let Some(bytes) = part.chunk().await.map_err(|error| broken(&error))? {
            value.extend_from_slice(&bytes);
            if value.len() > LONGEST_FIELD {
                return Err(Problem::new(
                    Code::TooLarge,
                    format!("field {name:?} is longer than {LONGEST_FIELD} bytes"),
                ));
            }
        }
        let value = String::from_utf8_lossy(&value).into_owned();
        match &*name {
            "private" => {
                self.private = value.parse().map_err(|_| Problem::parameter(&name, &value, "true or false"))?;
            }
            "file_date" => {
                let allowed = "what the clock there shows, such as 2024-03-31T02:30:00";
                self.file_date = Some(value.parse().map_err(|_| Problem::parameter(&name, &value, allowed))?);
            }
            _ => return Err(Problem::parameter(&name, &value, "the fields file, private and file_date")),
        }
        Ok(())
    }
}

/// Takes in one file. What is wrong with it alone is its outcome; what is wrong with the box ends the request.
async fn take(
    shared: &Shared,
    caller: &Caller,
    name: String,
    fields: &mut Fields,
    mut part: Field<'_>,
) -> Result<Outcome, Problem> {
    let library = &shared.services.library;
    let mut arriving = library.begin().await.map_err(|error| problem(&error))?;
    while let Some(bytes) = part.chunk().await.map_err(|error| broken(&error))? {
        arriving.write(&bytes).await.map_err(|error| problem(&error))?;
    }
    // A date is that of the file behind it.
    let (owner, file_date) = (name_of(caller), fields.file_date.take());
    let given = Given { name: name.clone(), owner, private: fields.private, file_date, tags: Vec::new() };
    let viewed_by = name_of(caller);
    let shown = |photo| Box::new(photo_record(photo, &viewed_by));
    match library.keep(arriving, given).await {
        Ok(Kept::New(photo)) => Ok(Outcome::Added { photo: shown(photo) }),
        Ok(Kept::Known(photo)) => Ok(Outcome::Known { photo: shown(photo) }),
        Err(error @ (LibraryError::NotAPicture(_) | LibraryError::Empty)) => {
            Ok(Outcome::Refused { name, code: Code::UnknownFormat.documented().code, detail: error.to_string() })
        }
        Err(error @ LibraryError::OverQuota { .. }) => {
            Ok(Outcome::Refused { name, code: Code::OverQuota.documented().code, detail: error.to_string() })
        }
        Err(error) => Err(problem(&error)),
    }
}

/// Under which name a browser saves a file (RFC 6266); whatever it is, it is not opened as a page.
pub(super) fn disposition(name: &str) -> Option<HeaderValue> {
    let encoded: String = form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>().replace('+', "%20");
    HeaderValue::from_str(&format!("attachment; filename*=UTF-8''{encoded}")).ok()
}
