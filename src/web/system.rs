//! The daemon itself: its parts, its log, and a file for those who help from afar.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use url::form_urlencoded;

use super::problem::Problem;
use super::routes::{Needs, Routes};
use super::session::{self, Known};
use super::{Shared, reply};
use crate::service::PartStatus;
use crate::telemetry::{LineLevel, LogLine};

/// Lines in one answer when nothing is asked for, and at most.
const DEFAULT_LIMIT: usize = 200;
const MAX_LIMIT: usize = 1000;

pub(super) fn routes() -> Routes {
    Routes::default().get("/api/v1/parts", Needs::VIEW, parts).get("/api/v1/log", Needs::ADMINISTER, log).get(
        "/api/v1/diagnostics",
        Needs::ADMINISTER,
        diagnostics,
    )
}

#[derive(Serialize)]
struct PartsReply {
    parts: Vec<PartStatus>,
}

async fn parts(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    request: HeaderMap,
) -> Result<Response, Problem> {
    // Parts are named after cameras.
    session::check_everything(&caller)?;
    reply::json(&request, &PartsReply { parts: shared.services.diagnostics.parts() })
}

#[derive(Serialize)]
struct LogReply {
    lines: Vec<LogLine>,
}

/// Which lines are wanted.
#[derive(Debug, PartialEq, Eq)]
struct LogQuery {
    after: u64,
    level: LineLevel,
    limit: usize,
}

async fn log(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    session::check_everything(&caller)?;
    let LogQuery { after, level, limit } = parse(query.as_deref().unwrap_or_default())?;
    Ok(Json(LogReply { lines: shared.services.diagnostics.log(after, level, limit) }).into_response())
}

fn parse(text: &str) -> Result<LogQuery, Problem> {
    let mut query = LogQuery { after: 0, level: LineLevel::Debug, limit: DEFAULT_LIMIT };
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        match &*name {
            "after" => {
                let allowed = "the number of a line";
                query.after = value.parse().map_err(|_| Problem::parameter(&name, &value, allowed))?;
            }
            "level" => {
                let level = LineLevel::ALL.into_iter().find(|level| level.as_str() == value);
                query.level = level.ok_or_else(|| Problem::parameter(&name, &value, "error, warn, info or debug"))?;
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                let allowed = || format!("a whole number from 1 to {MAX_LIMIT}");
                query.limit = limit.ok_or_else(|| Problem::parameter(&name, &value, allowed()))?;
            }
            _ => return Err(Problem::parameter(&name, &value, "the parameters after, level and limit")),
        }
    }
    Ok(query)
}

async fn diagnostics(State(shared): State<Arc<Shared>>, Known(caller): Known) -> Result<Response, Problem> {
    session::check_everything(&caller)?;
    let all = shared.errors.ask("diagnostics", shared.services.diagnostics.all()).await?;
    let name = format!("attachment; filename=\"outpost-{}.json\"", all.made_at.strftime("%Y-%m-%d_%H-%M-%S"));
    Ok(([(header::CONTENT_DISPOSITION, name)], Json(all)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_what_is_allowed() {
        let query = parse("after=7&level=warn&limit=5").expect("a query");
        assert_eq!(query, LogQuery { after: 7, level: LineLevel::Warn, limit: 5 });
        for (text, allowed) in
            [("level=loud", "error, warn"), ("limit=0", "1 to 1000"), ("x=1", "after, level"), ("after=-1", "number")]
        {
            let refused = parse(text).expect_err(text);
            assert!(format!("{refused:?}").contains(allowed), "{text}: {refused:?}");
        }
    }
}
