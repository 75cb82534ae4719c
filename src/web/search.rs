//! One search in photos and events of cameras.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use url::form_urlencoded;

use super::api::sees_event;
use super::photos::{listed, parse, viewer};
use super::problem::Problem;
use super::routes::{Needs, Routes};
use super::session::Known;
use super::{Shared, reply};
use crate::event::Event;
use crate::service::{JointPlace, PhotoQuery, Viewer};

pub(super) fn routes() -> Routes {
    Routes::default().get("/api/v1/search", Needs::VIEW, search)
}

async fn search(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    RawQuery(text): RawQuery,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let (query, place) = asked(text.as_deref().unwrap_or_default(), viewer(&caller))?;
    let sees = |event: &Event| sees_event(&caller, event);
    let page = listed(&shared, shared.services.search.find(query, place, sees)).await?;
    reply::json(&request, &page)
}

fn asked(text: &str, viewer: Viewer) -> Result<(PhotoQuery, JointPlace), Problem> {
    let (mut place, mut rest) = (None, form_urlencoded::Serializer::new(String::new()));
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        match &*name {
            "before" => {
                let known = JointPlace::read(&value);
                place = Some(known.ok_or_else(|| Problem::parameter(&name, &value, "`next` of a page before"))?);
            }
            "q" | "limit" => drop(rest.append_pair(&name, &value)),
            _ => return Err(Problem::parameter(&name, &value, "the parameters q, before and limit")),
        }
    }
    Ok((parse(&rest.finish(), viewer, &["limit"])?, place.unwrap_or_default()))
}
