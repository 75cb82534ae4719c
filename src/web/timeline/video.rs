//! What can be played of a camera's past, and small pictures of it.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use url::form_urlencoded;

use super::strips::time;
use super::unknown_camera;
use crate::service::{Piece, PieceKind, Preview};
use crate::web::openapi::Parameter;
use crate::web::problem::{Code, Problem};
use crate::web::session::Known;
use crate::web::{Shared, reply};

/// Longest time in one answer.
const LONGEST: SignedDuration = SignedDuration::from_hours(25);
/// How far from the time that is asked for a picture may be, seconds, when nothing else is asked for, and at most.
const NEAR_S: i64 = 10;
const NEAR_AT_MOST_S: i64 = 3 * 3600;
/// Says when a picture was taken.
const TAKEN: HeaderName = HeaderName::from_static("x-taken");

/// What can be asked of the video of a camera.
pub(in crate::web) const VIDEO: &[Parameter] = &[
    Parameter::required("since", r#"{"type": "string", "format": "date-time"}"#, "From when."),
    Parameter::required("until", r#"{"type": "string", "format": "date-time"}"#, "Until when, 25 hours later at most."),
];

/// What can be asked of a picture.
pub(in crate::web) const PREVIEW: &[Parameter] = &[
    Parameter::required("at", r#"{"type": "string", "format": "date-time"}"#, "Of when."),
    Parameter::query(
        "within_s",
        r#"{"type": "integer", "minimum": 1, "maximum": 10800, "default": 10}"#,
        "How many seconds from then it may be.",
    ),
];

#[derive(Serialize)]
struct Reply {
    camera: String,
    since: Timestamp,
    until: Timestamp,
    pieces: Vec<PieceReply>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Timestamp>,
}

#[derive(Serialize)]
struct PieceReply {
    #[serde(flatten)]
    piece: Piece,
    /// Where its file is served, with ranges.
    url: String,
}

impl PieceReply {
    fn new(camera: &str, piece: Piece) -> Self {
        let url = match piece.kind {
            PieceKind::Segment => format!("/api/v1/cameras/{}/segments/{}", encoded(camera), piece.file),
            PieceKind::Clip => format!("/api/v1/events/{}/{}", piece.id, piece.file),
        };
        Self { piece, url }
    }
}

/// A name as one part of a path.
fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

pub(super) async fn video(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    camera: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let Path(camera) = camera.map_err(|_| unknown_camera())?;
    let grant = caller.grant(&camera).ok_or_else(unknown_camera)?;
    let (since, until) = parse(query.as_deref().unwrap_or_default())?;
    let since = grant.since.map_or(since, |granted| since.max(granted));
    let until = grant.until.map_or(until, |granted| until.min(granted)).max(since);
    let found =
        shared.services.playback.pieces(&camera, since, until, move |from, until| grant.covers_all(from, until));
    let found = shared.errors.ask("video", found).await?;
    if found.pieces.is_empty() && !shared.services.timeline.cameras().contains(&camera) {
        return Err(unknown_camera());
    }
    let pieces = found.pieces.into_iter().map(|piece| PieceReply::new(&camera, piece)).collect();
    reply::json(&request, &Reply { camera, since, until, pieces, next: found.next })
}

fn parse(text: &str) -> Result<(Timestamp, Timestamp), Problem> {
    let (mut since, mut until) = (None, None);
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let place = match &*name {
            "since" => &mut since,
            "until" => &mut until,
            _ => return Err(Problem::parameter(&name, &value, "the parameters since and until")),
        };
        if place.replace(time(&name, &value)?).is_some() {
            return Err(Problem::parameter(&name, &value, "once"));
        }
    }
    let missing = |name| Problem::parameter(name, "", "a time such as 2026-11-22T10:00:00Z");
    let since: Timestamp = since.ok_or_else(|| missing("since"))?;
    let until: Timestamp = until.ok_or_else(|| missing("until"))?;
    if since >= until || until.duration_since(since) > LONGEST {
        let allowed = format!("a time after since, by {} hours at most", LONGEST.as_hours());
        return Err(Problem::parameter("until", &until.to_string(), allowed));
    }
    Ok((since, until))
}

pub(super) async fn preview(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    camera: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let Path(camera) = camera.map_err(|_| unknown_camera())?;
    let grant = caller.grant(&camera).ok_or_else(unknown_camera)?;
    let (at, near) = parse_preview(query.as_deref().unwrap_or_default())?;
    if !grant.covers(at) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let picture = shared.services.previews.picture(&camera, at, near, move |from, until| grant.covers_all(from, until));
    match shared.errors.ask("picture", picture).await? {
        Preview::Picture(jpeg, taken) => {
            let taken = HeaderValue::try_from(taken.to_string()).unwrap_or(HeaderValue::from_static(""));
            Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("image/jpeg")), (TAKEN, taken)], jpeg).into_response())
        }
        Preview::Nothing => Ok(StatusCode::NO_CONTENT.into_response()),
        Preview::Busy(why) => Err(Problem::new(Code::Busy, format!("there is a picture, but {why}"))),
    }
}

fn parse_preview(text: &str) -> Result<(Timestamp, SignedDuration), Problem> {
    let (mut at, mut near) = (None, None);
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let is_again = match &*name {
            "at" => at.replace(time(&name, &value)?).is_some(),
            "within_s" => {
                let seconds = value.parse::<i64>().ok().filter(|seconds| (1..=NEAR_AT_MOST_S).contains(seconds));
                let allowed = || Problem::parameter(&name, &value, format!("1 to {NEAR_AT_MOST_S}"));
                near.replace(seconds.ok_or_else(allowed)?).is_some()
            }
            _ => return Err(Problem::parameter(&name, &value, "the parameters at and within_s")),
        };
        if is_again {
            return Err(Problem::parameter(&name, &value, "once"));
        }
    }
    let at = at.ok_or_else(|| Problem::parameter("at", "", "a time such as 2026-11-22T10:00:00Z"))?;
    Ok((at, SignedDuration::from_secs(near.unwrap_or(NEAR_S))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_cameras_are_one_part_of_an_address() {
        assert_eq!((encoded("gate-2"), encoded("dark/ side")), ("gate-2".to_owned(), "dark%2F%20side".to_owned()));
        assert_eq!(encoded("庭"), "%E5%BA%AD");
    }

    #[test]
    fn both_ends_are_asked_for() {
        let error = |text| format!("{:?}", parse(text).expect_err(text));
        assert!(error("since=2026-11-22T10:00:00Z").contains("until"));
        assert!(error("since=2026-11-22T10:00:00Z&until=2026-11-24T10:00:00Z").contains("25 hours"));
        assert!(parse("since=2026-11-22T10:00:00Z&until=2026-11-22T10:00:01Z").is_ok());
        assert!(parse_preview("at=2026-11-22T10:00:00Z&within_s=10801").is_err());
        assert!(parse_preview("within_s=5").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_time_or_a_named_problem(text in ".{0,200}") {
            if let Ok((since, until)) = parse(&text) {
                prop_assert!(since < until);
            }
            let _ = parse_preview(&text);
        }
    }
}
