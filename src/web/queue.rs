//! What waits for delivery, and what a person can do about it.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use url::form_urlencoded;

use super::body;
use super::problem::{Code, Problem};
use super::routes::{Needs, Routes};
use super::session::{self, Known};
use super::{Shared, reply};
use crate::access::Caller;
use crate::service::{QueueAction, QueueCommand, QueueItem, QueueQuery, Refusal};

/// Items in one answer when nothing is asked for, and at most.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

pub(super) fn routes() -> Routes {
    let run = |action| {
        move |State(shared): State<Arc<Shared>>, Known(caller): Known, headers: HeaderMap, body: Body| async move {
            session::check_everything(&caller)?;
            run(&shared, action, &caller, &headers, body).await
        }
    };
    Routes::default()
        .get("/api/v1/queue/items", Needs::VIEW, items)
        .post("/api/v1/queue/retry", Needs::OPERATE, run(QueueAction::Retry))
        .post("/api/v1/queue/drop", Needs::OPERATE, run(QueueAction::Drop))
        .post("/api/v1/queue/pause", Needs::OPERATE, run(QueueAction::Pause))
        .post("/api/v1/queue/resume", Needs::OPERATE, run(QueueAction::Resume))
}

#[derive(Serialize)]
struct ItemsReply {
    items: Vec<QueueItem>,
}

fn unknown(outlet: &str) -> Problem {
    Problem::not_found(format!("there is no queue {outlet:?}; /api/v1/status lists all outlets"))
}

async fn items(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    RawQuery(query): RawQuery,
    request: HeaderMap,
) -> Result<Response, Problem> {
    // A queue names files of all cameras.
    session::check_everything(&caller)?;
    let query = parse_query(query.as_deref().unwrap_or_default())?;
    let outlet = query.outlet.clone();
    let items = shared.errors.ask("queue", shared.services.queues.items(query)).await?;
    reply::json(&request, &ItemsReply { items: items.ok_or_else(|| unknown(&outlet))? })
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

async fn run(
    shared: &Shared,
    action: QueueAction,
    caller: &Caller,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let body = body::received(headers, body).await?;
    let route = format!("queue {action:?}");
    shared.answers.once(caller, headers, &route, &body, carry_out(shared, action, &body)).await
}

async fn carry_out(shared: &Shared, action: QueueAction, body: &[u8]) -> Result<Response, Problem> {
    let command: QueueCommand = body::read(body, r#"{"outlet": "mqtt", "seq": 7}"#)?;
    let outlet = command.outlet.clone();
    match shared.errors.ask("queue", shared.services.queues.command(action, command)).await? {
        Ok(answer) => Ok(Json(answer).into_response()),
        Err(Refusal::UnknownOutlet) => Err(unknown(&outlet)),
        Err(Refusal::Senseless(why)) => Err(Problem::new(Code::Refused, why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_its_queue() {
        let query = parse_query("outlet=upload%2Fcloud&state=dead&limit=7").expect("valid");
        assert_eq!(query, QueueQuery { outlet: "upload/cloud".to_owned(), dead: true, limit: 7 });
        for wrong in ["", "state=dead", "outlet=mqtt&state=open", "outlet=mqtt&limit=0", "outlet=mqtt&x=1"] {
            assert!(parse_query(wrong).is_err(), "{wrong}");
        }
    }
}
