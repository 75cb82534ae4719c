//! Folders whose files become photos: those that are watched, and imports of cards and sticks.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::audit::about;
use super::body::{read, received};
use super::problem::{Code, Problem};
use super::routes::{Needs, Routes};
use super::sender::check_sender;
use super::session::{Known, check_everything, name_of};
use super::{Shared, reply};
use crate::access::{Caller, Role};
use crate::event::{MOST_TAGS, check_tag};
use crate::service::{FolderStatus, Import, ImportRefusal, ImportSource, NewImport};

const EXAMPLE: &str = r#"{"path": "/media/EOS_DIGITAL", "tags": ["trip"]}"#;

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/photos/watched", Needs::OPERATE, watched)
        .get("/api/v1/photos/imports", Needs::OPERATE, list)
        .post("/api/v1/photos/imports", Needs::OPERATE, begin)
        .get("/api/v1/photos/imports/{id}", Needs::OPERATE, one)
        .delete("/api/v1/photos/imports/{id}", Needs::OPERATE, end)
}

#[derive(Serialize)]
struct WatchedReply {
    folders: Vec<FolderStatus>,
}

#[derive(Serialize)]
struct ImportsReply {
    /// What may be imported.
    sources: Vec<ImportSource>,
    imports: Vec<Import>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    path: PathBuf,
    #[serde(default)]
    private: bool,
    #[serde(default)]
    tags: Vec<String>,
}

fn unknown() -> Problem {
    Problem::not_found("there is no import with this id that you see: it may have been removed")
}

/// Whether what is done for `owner` is the caller's affair.
pub(super) fn sees(caller: &Caller, owner: &str) -> bool {
    caller.may(Role::Admin) || *name_of(caller) == *owner
}

async fn watched(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    request: HeaderMap,
) -> Result<Response, Problem> {
    check_everything(&caller)?;
    let mut folders = shared.services.folders.watched();
    folders.retain(|folder| sees(&caller, &folder.owner));
    reply::json(&request, &WatchedReply { folders })
}

async fn list(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    request: HeaderMap,
) -> Result<Response, Problem> {
    check_everything(&caller)?;
    let service = &shared.services.folders;
    let sources = shared.errors.ask("import", service.import_sources()).await?;
    let mut imports = shared.errors.ask("import", service.imports()).await?;
    imports.retain(|import| sees(&caller, &import.owner));
    reply::json(&request, &ImportsReply { sources, imports })
}

async fn begin(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    check_everything(&caller)?;
    let body = received(&headers, body).await?;
    let act = async {
        let Command { path, private, tags } = read(&body, EXAMPLE)?;
        let wrong = |why: String| Problem::new(Code::BadCommand, why);
        if tags.len() > MOST_TAGS {
            return Err(wrong(format!("a photo has {MOST_TAGS} tags at most")));
        }
        tags.iter().try_for_each(|tag| check_tag(tag)).map_err(wrong)?;
        let subject = path.display().to_string();
        let new = NewImport { path, owner: name_of(&caller), private, tags };
        let begun = shared.errors.ask("import", shared.services.folders.begin_import(new)).await?;
        let import = begun.map_err(|refusal| refused(&refusal))?;
        let location = HeaderValue::try_from(format!("/api/v1/photos/imports/{}", import.id));
        let location = location.map_err(|_| Problem::new(Code::Internal, "no answer could be made".to_owned()))?;
        Ok(about(subject, (StatusCode::ACCEPTED, [(header::LOCATION, location)], Json(import))))
    };
    shared.answers.once(&caller, &headers, "/api/v1/photos/imports", &body, act).await
}

fn refused(refusal: &ImportRefusal) -> Problem {
    let code = match refusal {
        ImportRefusal::Folder(_) => Code::BadCommand,
        ImportRefusal::TooMany => Code::Refused,
        ImportRefusal::VolumeAway => Code::VolumeAway,
    };
    Problem::new(code, refusal.to_string())
}

async fn find(shared: &Shared, caller: &Caller, id: Result<Path<String>, PathRejection>) -> Result<Import, Problem> {
    let Path(id) = id.map_err(|_| unknown())?;
    let id = id.parse().map_err(|_| unknown())?;
    let import = shared.errors.ask("import", shared.services.folders.import(id)).await?;
    import.filter(|import| sees(caller, &import.owner)).ok_or_else(unknown)
}

async fn one(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Result<Path<String>, PathRejection>,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let import = find(&shared, &caller, id).await?;
    reply::json(&request, &import)
}

async fn end(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_sender(&headers)?;
    let import = find(&shared, &caller, id).await?;
    let ended = shared.errors.ask("import", shared.services.folders.end_import(import.id)).await?;
    if ended { Ok(about(import.id.to_string(), StatusCode::NO_CONTENT)) } else { Err(unknown()) }
}
