//! What happens to an execution, as server-sent events whose numbers grow.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;

use super::{Id, find, problem};
use crate::service::Followed;
use crate::web::Shared;
use crate::web::problem::Problem;
use crate::web::session::Known;

/// A stream on which nothing is sent looks like a dead one.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);

pub(super) async fn follow(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Id,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let execution = find(&shared, &caller, id).await?;
    let place = shared.streams.place()?;
    let after = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let followed = shared.services.executions.follow(execution.id, after).await.map_err(|error| problem(&error))?;
    let events = stream::unfold((followed, place), |(mut followed, place): (Followed, _)| async move {
        let event = followed.next().await?;
        let sent = Event::default().id(event.number.to_string()).event(event.kind.as_str());
        let sent = sent.json_data(&*event).unwrap_or_default();
        Some((Ok::<_, Infallible>(sent), (followed, place)))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT_EVERY).text("heartbeat")).into_response())
}
