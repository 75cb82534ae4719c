//! Exports of a stretch of a camera's time as one file.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::unknown_camera;
use crate::access::Caller;
use crate::service::{Export, ExportId, ExportRefusal, NewExport, SeenTime};
use crate::web::audit::about;
use crate::web::body::{read, received};
use crate::web::problem::{Code, Problem};
use crate::web::sender::check_sender;
use crate::web::session::Known;
use crate::web::{Shared, media, reply};

const EXAMPLE: &str = r#"{"camera": "gate", "from": "2026-11-22T10:00:00Z", "until": "2026-11-22T10:05:00Z"}"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    camera: String,
    from: Timestamp,
    until: Timestamp,
}

#[derive(Serialize)]
pub(in crate::web) struct ExportReply {
    #[serde(flatten)]
    export: Export,
    /// Where the file is, once it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

impl ExportReply {
    pub(in crate::web) fn id(&self) -> ExportId {
        self.export.id
    }

    fn new(export: Export, has_file: bool) -> Self {
        let url = has_file.then(|| format!("/api/v1/exports/{}/video.mp4", export.id));
        Self { export, url }
    }
}

#[derive(Serialize)]
struct ListReply {
    exports: Vec<ExportReply>,
}

fn unknown() -> Problem {
    Problem::not_found("there is no export with this id: it may have expired, or been deleted")
}

/// Whether the caller may see all that the export shows.
pub(in crate::web) fn sees(caller: &Caller, export: &Export) -> bool {
    let Some(grant) = caller.grant(&export.camera) else { return false };
    let (from, until) = export.shows();
    grant.covers(from) && grant.until.is_none_or(|granted| until <= granted)
}

fn reply_of(shared: &Shared, export: Export) -> ExportReply {
    let has_file = shared.services.exports.file(&export).is_some();
    ExportReply::new(export, has_file)
}

/// The exports that the caller sees, the newest first.
pub(in crate::web) async fn seen_by(shared: &Shared, caller: &Caller) -> Result<Vec<ExportReply>, Problem> {
    let mut exports = shared.errors.ask("list of exports", shared.services.exports.list()).await?;
    exports.retain(|export| sees(caller, export));
    Ok(exports.into_iter().map(|export| reply_of(shared, export)).collect())
}

pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    request: HeaderMap,
) -> Result<Response, Problem> {
    reply::json(&request, &ListReply { exports: seen_by(&shared, &caller).await? })
}

pub(super) async fn add(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = received(&headers, body).await?;
    let act = async {
        let Command { camera, from, until } = read(&body, EXAMPLE)?;
        let grant = caller.grant(&camera).ok_or_else(unknown_camera)?;
        if !grant.covers(from) || grant.until.is_some_and(|granted| until > granted) {
            return Err(Problem::parameter("from", &from.to_string(), "a time that you may see"));
        }
        let seen = SeenTime { since: grant.since, until: grant.until };
        let subject = format!("{camera} {from} to {until}");
        let new = NewExport { camera, from, until, by: caller.name.clone(), seen };
        let export = shared.errors.ask("export", shared.services.exports.add(new)).await?.map_err(refused)?;
        let location = HeaderValue::try_from(format!("/api/v1/exports/{}", export.id));
        let location = location.map_err(|_| Problem::new(Code::Internal, "no answer could be made".to_owned()))?;
        let answer = Json(ExportReply::new(export, false));
        Ok(about(subject, (StatusCode::ACCEPTED, [(header::LOCATION, location)], answer)))
    };
    shared.answers.once(&caller, &headers, "/api/v1/exports", &body, act).await
}

fn refused(refusal: ExportRefusal) -> Problem {
    let code = match &refusal {
        ExportRefusal::Time(_) => Code::BadCommand,
        ExportRefusal::NoVideo(_) | ExportRefusal::TooMany => Code::Refused,
        ExportRefusal::NoRoom(_) => Code::NoRoom,
        ExportRefusal::VolumeAway => Code::VolumeAway,
    };
    Problem::new(code, refusal.to_string())
}

async fn find(shared: &Shared, caller: &Caller, id: Result<Path<String>, PathRejection>) -> Result<Export, Problem> {
    let Path(id) = id.map_err(|_| unknown())?;
    let id = id.parse().map_err(|_| unknown())?;
    let export = shared.errors.ask("export", shared.services.exports.get(id)).await?;
    export.filter(|export| sees(caller, export)).ok_or_else(unknown)
}

pub(super) async fn one(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Result<Path<String>, PathRejection>,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let export = find(&shared, &caller, id).await?;
    reply::json(&request, &reply_of(&shared, export))
}

pub(super) async fn remove(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_sender(&headers)?;
    let export = find(&shared, &caller, id).await?;
    let removed = shared.errors.ask("export", shared.services.exports.remove(export.id)).await?;
    removed.then(|| about(export.file.clone(), StatusCode::NO_CONTENT)).ok_or_else(unknown)
}

pub(super) async fn file(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Result<Path<String>, PathRejection>,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let export = find(&shared, &caller, id).await?;
    let path = shared.services.exports.file(&export);
    let path = path.ok_or_else(|| Problem::not_found("the export is not finished, or failed: ask for its state"))?;
    let mut answer = media::answer(&path, "clip.mp4", &request).await?;
    // Its name has letters, digits, `-`, `_` and `.` alone.
    if let Ok(disposition) = HeaderValue::try_from(format!("attachment; filename=\"{}\"", export.file)) {
        answer.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
    }
    Ok(answer)
}
