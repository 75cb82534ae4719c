//! What became of the time of all cameras, merged to a resolution.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio::time::Instant;
use url::form_urlencoded;

use super::unknown_camera;
use crate::service::Strip;
use crate::web::Shared;
use crate::web::openapi::Parameter;
use crate::web::problem::Problem;
use crate::web::reply;
use crate::web::session::Known;

/// Longest time in one answer: a month.
const LONGEST: SignedDuration = SignedDuration::from_hours(32 * 24);
/// The time that is covered when none is asked for.
const DEFAULT: SignedDuration = SignedDuration::from_hours(24);
/// Parts that a strip has when no resolution is asked for.
const PARTS: i64 = 1000;
/// And at most.
const MOST_PARTS: i64 = 2000;
/// Cameras that one request names.
const MOST_CAMERAS: usize = 64;
/// A request goes from camera to camera for so long; the others stand in `left`.
const WITHIN: Duration = Duration::from_secs(5);

/// What can be asked for.
pub(in crate::web) const PARAMETERS: &[Parameter] = &[
    Parameter::query(
        "camera",
        r#"{"type": "string"}"#,
        "Name of a camera, up to 64 times; all of the configuration where it is absent.",
    ),
    Parameter::query(
        "since",
        r#"{"type": "string", "format": "date-time"}"#,
        "From when; a day before `until` where it is absent.",
    ),
    Parameter::query(
        "until",
        r#"{"type": "string", "format": "date-time"}"#,
        "Until when, 32 days later at most; now where it is absent.",
    ),
    Parameter::query(
        "resolution_s",
        r#"{"type": "integer", "minimum": 1}"#,
        "Seconds below which spans and events are merged; a thousandth of the time where it is absent, a two thousandth at least.",
    ),
];

#[derive(Serialize)]
struct Reply {
    since: Timestamp,
    until: Timestamp,
    resolution_s: i64,
    cameras: Vec<OfCamera>,
    /// There was no time for these; ask for them again.
    left: Vec<String>,
}

#[derive(Serialize)]
struct OfCamera {
    camera: String,
    #[serde(flatten)]
    strip: Strip,
}

pub(super) async fn strips(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    RawQuery(query): RawQuery,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let asked = parse(query.as_deref().unwrap_or_default(), Timestamp::now())?;
    let Asked { since, until, resolution, .. } = asked;
    let begun = Instant::now();
    let (mut cameras, mut left) = (Vec::new(), Vec::new());
    let is_named = !asked.cameras.is_empty();
    let names = if is_named { asked.cameras } else { shared.services.timeline.cameras() };
    for camera in names {
        let Some(grant) = caller.grant(&camera) else {
            if is_named {
                return Err(unknown_camera());
            }
            continue;
        };
        if begun.elapsed() >= WITHIN {
            left.push(camera);
            continue;
        }
        // Nothing of a time that the caller does not see.
        let from = grant.since.map_or(since, |granted| since.max(granted)).min(until);
        let to = grant.until.map_or(until, |granted| until.min(granted)).max(from);
        let covers = |from, until| grant.covers_all(from, until);
        let strip = shared.services.timeline.strip(&camera, from, to, resolution, covers);
        match shared.errors.ask("timeline", strip).await? {
            Some(strip) => cameras.push(OfCamera { camera, strip }),
            None if is_named => return Err(unknown_camera()),
            None => {}
        }
    }
    reply::json(&request, &Reply { since, until, resolution_s: resolution.as_secs(), cameras, left })
}

#[derive(Debug, PartialEq)]
struct Asked {
    cameras: Vec<String>,
    since: Timestamp,
    until: Timestamp,
    resolution: SignedDuration,
}

fn parse(text: &str, now: Timestamp) -> Result<Asked, Problem> {
    let (mut cameras, mut since, mut until, mut resolution) = (Vec::new(), None, None, None);
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        let wrong = |allowed: &str| Problem::parameter(&name, &value, allowed);
        let is_again = match &*name {
            "camera" if cameras.len() < MOST_CAMERAS => {
                if !cameras.iter().any(|known| *known == value) {
                    cameras.push(value.into_owned());
                }
                false
            }
            "camera" => return Err(wrong("64 names at most")),
            "since" => since.replace(time(&name, &value)?).is_some(),
            "until" => until.replace(time(&name, &value)?).is_some(),
            "resolution_s" => {
                let seconds = value.parse::<u32>().ok().filter(|seconds| *seconds > 0);
                resolution.replace(seconds.ok_or_else(|| wrong("whole seconds from 1 on"))?).is_some()
            }
            _ => return Err(wrong("the parameters camera, since, until and resolution_s")),
        };
        if is_again {
            return Err(Problem::parameter(&name, "", "once"));
        }
    }
    let until: Timestamp = until.unwrap_or(now);
    let since: Timestamp = since.unwrap_or_else(|| until.saturating_sub(DEFAULT).unwrap_or(Timestamp::MIN));
    let length = until.duration_since(since);
    if !length.is_positive() || length > LONGEST {
        return Err(Problem::parameter("until", &until.to_string(), "a time after since, by 32 days at most"));
    }
    let finest = length.as_secs() / MOST_PARTS + i64::from(length.as_secs() % MOST_PARTS > 0);
    let seconds = resolution.map_or_else(|| (length.as_secs() / PARTS).max(1), i64::from);
    if seconds < finest {
        let allowed = format!("whole seconds from {finest} on for this time");
        return Err(Problem::parameter("resolution_s", &seconds.to_string(), allowed));
    }
    Ok(Asked { cameras, since, until, resolution: SignedDuration::from_secs(seconds) })
}

/// The time that a parameter gives.
pub(super) fn time(name: &str, value: &str) -> Result<Timestamp, Problem> {
    value.parse().map_err(|_| Problem::parameter(name, value, "once, a time such as 2026-11-22T10:00:00Z"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn what_is_asked_for() {
        let now = at("2026-11-22T12:00:00Z");
        let parse = |text| parse(text, now).map_err(|problem| format!("{problem:?}"));
        let day = parse("").expect("a day");
        assert_eq!((day.since, day.until, day.resolution.as_secs()), (at("2026-11-21T12:00:00Z"), now, 86));
        let two = parse("camera=a&camera=b&camera=a&since=2026-11-22T11:59:59Z").expect("a second");
        assert_eq!((two.cameras, two.resolution.as_secs()), (vec!["a".to_owned(), "b".to_owned()], 1));
        let month = parse("since=2026-10-22T12:00:00Z&resolution_s=1340").expect("a month");
        assert_eq!(month.resolution.as_secs(), 1340);
        let error = |text, says: &str| {
            let problem = parse(text).expect_err(text);
            assert!(problem.contains(says), "{problem}");
        };
        error("since=yesterday", "a time such as");
        error("until=2026-11-22T12:00:00Z&until=2026-11-22T12:00:00Z", "once");
        error("since=2026-11-22T12:00:00Z", "a time after since");
        error("since=2026-10-01T12:00:00Z", "by 32 days at most");
        error("since=2026-10-22T12:00:00Z&resolution_s=1339", "from 1340 on");
        error("resolution_s=0", "whole seconds");
        error("zoom=1", "the parameters camera");
        let many: Vec<String> = (0..65).map(|n| format!("camera={n}")).collect();
        error(&many.join("&"), "64 names");
    }

    proptest! {
        #[test]
        fn any_text_is_a_time_or_a_named_problem(text in ".{0,200}", now in 0..4_000_000_000i64) {
            let now = Timestamp::from_second(now).expect("a time");
            if let Ok(asked) = parse(&text, now) {
                prop_assert!(asked.since < asked.until && asked.resolution.is_positive());
            }
        }
    }
}
