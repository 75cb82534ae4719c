//! Photos that look alike, and merging them.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use super::audit::about;
use super::photos::{check_owner, problem, unknown, viewer};
use super::problem::{Code, Problem};
use super::routes::{Needs, Routes};
use super::session::{Known, check_everything, name_of};
use super::{Shared, body, reply};
use crate::access::Role;
use crate::library::MOST_MERGED;
use crate::photo::PhotoId;
use crate::service::{SimilarGroup, photo_record};

const EXAMPLE: &str = r#"{"keep": "01JD0000000000000000000000", "others": ["01JD0000000000000000000001"]}"#;

pub(super) fn routes() -> Routes {
    Routes::default().get("/api/v1/photos/similar", Needs::VIEW, similar).post(
        "/api/v1/photos/merge",
        Needs::OPERATE,
        merge,
    )
}

#[derive(Serialize)]
struct SimilarReply {
    groups: Vec<SimilarGroup>,
}

async fn similar(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    RawQuery(text): RawQuery,
    request: HeaderMap,
) -> Result<Response, Problem> {
    check_everything(&caller)?;
    let mut skip = 0;
    for (name, value) in form_urlencoded::parse(text.as_deref().unwrap_or_default().as_bytes()) {
        match &*name {
            "skip" => {
                skip = value.parse().map_err(|_| Problem::parameter(&name, &value, "a whole number from 0"))?;
            }
            _ => return Err(Problem::parameter(&name, &value, "the parameter skip")),
        }
    }
    let own_only = !caller.may(Role::Admin);
    let viewer = viewer(&caller);
    let groups = shared.services.library.similar(&viewer, own_only, skip);
    reply::json(&request, &SimilarReply { groups: shared.errors.ask("photos", groups).await? })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    keep: PhotoId,
    others: Vec<PhotoId>,
}

async fn merge(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Command { keep, others } = body::command(&headers, body, EXAMPLE).await?;
    if others.is_empty() || others.len() > MOST_MERGED || others.contains(&keep) {
        let why = format!("others are 1 to {MOST_MERGED} photos, and not the one that is kept");
        return Err(Problem::new(Code::BadCommand, why));
    }
    for id in others.iter().chain([&keep]) {
        let found = shared.errors.ask("photo", shared.services.library.get(*id, &viewer(&caller))).await?;
        check_owner(&caller, &found.ok_or_else(unknown)?)?;
    }
    let merged = shared.services.library.merge(keep, &others).await.map_err(|error| problem(&error))?;
    let subject = format!("{keep} with {} others", others.len());
    Ok(about(subject, Json(photo_record(merged, &name_of(&caller))).into_response()))
}
