//! What became of the time of cameras, what can be played of it, and exports.

pub(super) mod exports;
pub(super) mod strips;
pub(super) mod video;

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use url::form_urlencoded;

use crate::coverage::Coverage;
use crate::service::Timeline;

use super::problem::Problem;
use super::routes::{Needs, Routes};
use super::session::Known;
use super::{Shared, media, reply};

/// Longest time in one answer.
const LONGEST: SignedDuration = SignedDuration::from_hours(25);
/// The time that is covered when none is asked for.
const DEFAULT: SignedDuration = SignedDuration::from_hours(24);

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/timeline", Needs::VIEW, strips::strips)
        .get("/api/v1/cameras/{name}/timeline", Needs::VIEW, timeline)
        .get("/api/v1/cameras/{name}/video", Needs::VIEW, video::video)
        .look("/api/v1/cameras/{name}/preview.jpg", Needs::VIEW, video::preview)
        .look("/api/v1/cameras/{name}/segments/{file}", Needs::VIEW, segment)
        .get("/api/v1/exports", Needs::VIEW, exports::list)
        .post("/api/v1/exports", Needs::OPERATE, exports::add)
        .get("/api/v1/exports/{id}", Needs::VIEW, exports::one)
        .delete("/api/v1/exports/{id}", Needs::OPERATE, exports::remove)
        .look("/api/v1/exports/{id}/video.mp4", Needs::VIEW, exports::file)
}

#[derive(Serialize)]
struct Reply {
    camera: String,
    since: Timestamp,
    until: Timestamp,
    /// Seconds by state.
    seconds: std::collections::BTreeMap<Coverage, f64>,
    #[serde(flatten)]
    timeline: Timeline,
}

async fn timeline(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    camera: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let Path(camera) = camera.map_err(|_| unknown_camera())?;
    let (since, until) = parse(query.as_deref().unwrap_or_default(), Timestamp::now())?;
    let grant = caller.grant(&camera).ok_or_else(unknown_camera)?;
    // Nothing of a time that the caller does not see.
    let since = grant.since.map_or(since, |granted| since.max(granted));
    let until = grant.until.map_or(until, |granted| until.min(granted)).max(since);
    let timeline = shared.errors.ask("timeline", shared.services.timeline.of(&camera, since, until)).await?;
    let mut timeline = timeline.ok_or_else(unknown_camera)?;
    let now = Timestamp::now();
    timeline.segments.retain(|segment| {
        let (from, until) = segment.extent(now);
        grant.covers_all(from, until)
    });
    timeline.events.retain(|event| grant.covers_all(event.start, event.end.unwrap_or(now)));
    let mut seconds = std::collections::BTreeMap::new();
    for interval in &timeline.coverage {
        *seconds.entry(interval.state).or_insert(0.0) += interval.until.duration_since(interval.from).as_secs_f64();
    }
    reply::json(&request, &Reply { camera, since, until, seconds, timeline })
}

fn unknown_camera() -> Problem {
    Problem::not_found("there is no camera with this name")
}

/// The time that is asked for: both ends, or one and the default length, or the last day.
fn parse(text: &str, now: Timestamp) -> Result<(Timestamp, Timestamp), Problem> {
    let (mut since, mut until) = (None, None);
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let place = match &*name {
            "since" => &mut since,
            "until" => &mut until,
            _ => return Err(Problem::parameter(&name, &value, "the parameters since and until")),
        };
        let allowed = "once, a time such as 2026-11-22T10:00:00Z";
        let time: Timestamp = value.parse().map_err(|_| Problem::parameter(&name, &value, allowed))?;
        if place.replace(time).is_some() {
            return Err(Problem::parameter(&name, &value, allowed));
        }
    }
    let (since, until) = match (since, until) {
        (Some(since), Some(until)) => (since, until),
        (Some(since), None) => (since, since.saturating_add(DEFAULT).unwrap_or(Timestamp::MAX).min(now.max(since))),
        (None, until) => {
            let until = until.unwrap_or(now);
            (until.saturating_sub(DEFAULT).unwrap_or(Timestamp::MIN), until)
        }
    };
    if since > until || until.duration_since(since) > LONGEST {
        let allowed = format!("a time after since, by {} hours at most", LONGEST.as_hours());
        return Err(Problem::parameter("until", &until.to_string(), allowed));
    }
    Ok((since, until))
}

async fn segment(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    path: Result<Path<(String, String)>, PathRejection>,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let unknown = || Problem::not_found("there is no segment with this name on this box");
    let Path((camera, file)) = path.map_err(|_| unknown())?;
    let id = file.strip_suffix(".mp4").and_then(|id| id.parse().ok()).ok_or_else(unknown)?;
    // The path is made of what the index knows; what a browser sends never becomes one.
    let found = shared.errors.ask("segment", shared.services.media.segment(&camera, id)).await?;
    let found = found.filter(|(segment, _)| {
        let (from, until) = segment.extent(Timestamp::now());
        caller.sees_all(&camera, from, until)
    });
    let (_, path) = found.ok_or_else(unknown)?;
    media::answer(&path, "segment.mp4", &request).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn the_time_asked_for() {
        let now = at("2026-11-22T12:00:00Z");
        let parse = |text| parse(text, now).map_err(|problem| format!("{problem:?}"));
        assert_eq!(parse("").expect("a day"), (at("2026-11-21T12:00:00Z"), now));
        let both = parse("since=2026-11-20T00:00:00Z&until=2026-11-20T06:00:00%2B01:00").expect("both");
        assert_eq!(both, (at("2026-11-20T00:00:00Z"), at("2026-11-20T05:00:00Z")));
        assert_eq!(parse("since=2026-11-22T10:00:00Z").expect("since"), (at("2026-11-22T10:00:00Z"), now));
        let error = |text, says: &str| {
            let problem = parse(text).expect_err(text);
            assert!(problem.contains(says), "{problem}");
        };
        error("since=yesterday", "a time such as");
        error("since=2026-11-20T00:00:00Z&since=2026-11-20T00:00:00Z", "once");
        error("since=2026-11-20T00:00:00Z&until=2026-11-19T00:00:00Z", "a time after since");
        error("since=2026-11-20T00:00:00Z&until=2026-11-22T00:00:00Z", "by 25 hours at most");
        error("camera=a", "the parameters since and until");
    }

    proptest! {
        #[test]
        fn any_text_is_a_time_or_a_named_problem(text in ".{0,200}", now in 0..4_000_000_000i64) {
            let now = Timestamp::from_second(now).expect("a time");
            if let Ok((since, until)) = parse(&text, now) {
                prop_assert!(since <= until);
            }
        }
    }
}
