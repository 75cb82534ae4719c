//! What waits for delivery, and what a person can do about it.
//!
//! The only routes that change something. A browser sends them only for our own page: a foreign page cannot
//! send JSON here without being asked for permission first, which is never given.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, body};
use serde::Serialize;
use url::form_urlencoded;

use super::Shared;
use super::problem::Problem;
use crate::service::{QueueAction, QueueCommand, QueueItem, QueueQuery, Refusal};

/// Items in one answer when nothing is asked for, and at most.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;
/// No command is longer, in bytes.
const MAX_COMMAND: usize = 64 << 10;

pub(super) fn routes() -> Router<Arc<Shared>> {
    let command = |action| {
        post(move |State(shared): State<Arc<Shared>>, headers: HeaderMap, body: body::Body| async move {
            run(&shared, action, &headers, body).await
        })
    };
    Router::new()
        .route("/api/v1/queue/items", get(items))
        .route("/api/v1/queue/retry", command(QueueAction::Retry))
        .route("/api/v1/queue/drop", command(QueueAction::Drop))
        .route("/api/v1/queue/pause", command(QueueAction::Pause))
        .route("/api/v1/queue/resume", command(QueueAction::Resume))
}

#[derive(Serialize)]
struct ItemsReply {
    items: Vec<QueueItem>,
}

fn unknown(outlet: &str) -> Problem {
    Problem::not_found(format!("there is no queue {outlet:?}; /api/v1/status lists all outlets"))
}

async fn items(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let query = parse_query(query.as_deref().unwrap_or_default())?;
    let outlet = query.outlet.clone();
    let items = shared.errors.ask("queue", shared.services.queues.items(query)).await?;
    Ok(Json(ItemsReply { items: items.ok_or_else(|| unknown(&outlet))? }).into_response())
}

fn parse_query(text: &str) -> Result<QueueQuery, Problem> {
    let mut query = QueueQuery { outlet: String::new(), dead: false, limit: DEFAULT_LIMIT };
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        match (&*name, &*value) {
            ("outlet", outlet) => query.outlet = outlet.to_owned(),
            ("state", "waiting") => query.dead = false,
            ("state", "dead") => query.dead = true,
            ("state", _) => return Err(Problem::parameter(&name, &value, "waiting or dead")),
            ("limit", _) => {
                let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                let allowed = || format!("a whole number from 1 to {MAX_LIMIT}");
                query.limit = limit.ok_or_else(|| Problem::parameter(&name, &value, allowed()))?;
            }
            _ => return Err(Problem::parameter(&name, &value, "the parameters outlet, state and limit")),
        }
    }
    if query.outlet.is_empty() {
        return Err(Problem::parameter("outlet", "", "the name of an outlet, such as upload/cloud"));
    }
    Ok(query)
}

async fn run(shared: &Shared, action: QueueAction, headers: &HeaderMap, body: body::Body) -> Result<Response, Problem> {
    check_sender(headers)?;
    let body = body::to_bytes(body, MAX_COMMAND).await.map_err(|_| {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", format!("a command has at most {MAX_COMMAND} bytes"))
    })?;
    let command: QueueCommand = serde_json::from_slice(&body).map_err(|error| {
        let message = format!("not a command: {error}; for example {{\"outlet\": \"upload/cloud\", \"seq\": 7}}");
        Problem::new(StatusCode::BAD_REQUEST, "bad_command", message)
    })?;
    let outlet = command.outlet.clone();
    match shared.errors.ask("queue", shared.services.queues.command(action, command)).await? {
        Ok(answer) => Ok(Json(answer).into_response()),
        Err(Refusal::UnknownOutlet) => Err(unknown(&outlet)),
        Err(Refusal::Senseless(why)) => Err(Problem::new(StatusCode::CONFLICT, "refused", why)),
    }
}

/// Turns away what a foreign page made a browser send.
fn check_sender(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let is_json = text(header::CONTENT_TYPE).is_some_and(|kind| kind.split(';').next() == Some("application/json"));
    if !is_json {
        let message = "commands are JSON: send the header content-type: application/json".to_owned();
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", message));
    }
    let host = text(header::HOST).unwrap_or_default();
    let foreign = text(header::ORIGIN).is_some_and(|origin| origin.strip_prefix("http://") != Some(host));
    let site = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
    if foreign || site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        let message = "commands are taken from the box's own page only".to_owned();
        return Err(Problem::new(StatusCode::FORBIDDEN, "foreign_page", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(pairs: &[(&'static str, &'static str)]) -> bool {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (name.parse::<header::HeaderName>().expect("name"), value.parse().expect("value"))
        };
        check_sender(&pairs.iter().map(pair).collect()).is_ok()
    }

    #[test]
    fn only_our_own_page_and_programs_give_commands() {
        let (json, host) = (("content-type", "application/json"), ("host", "127.0.0.1:8080"));
        assert!(sent(&[json, host]), "curl");
        assert!(sent(&[json, host, ("origin", "http://127.0.0.1:8080"), ("sec-fetch-site", "same-origin")]));
        assert!(!sent(&[("content-type", "text/plain"), host]), "what a form can send");
        assert!(!sent(&[json, host, ("origin", "http://evil.example")]));
        assert!(!sent(&[json, host, ("origin", "null")]));
        assert!(!sent(&[json, host, ("sec-fetch-site", "cross-site")]));
    }

    #[test]
    fn a_query_names_its_queue() {
        let query = parse_query("outlet=upload%2Fcloud&state=dead&limit=7").expect("valid");
        assert_eq!(query, QueueQuery { outlet: "upload/cloud".to_owned(), dead: true, limit: 7 });
        for wrong in ["", "state=dead", "outlet=mqtt&state=open", "outlet=mqtt&limit=0", "outlet=mqtt&x=1"] {
            assert!(parse_query(wrong).is_err(), "{wrong}");
        }
    }
}
