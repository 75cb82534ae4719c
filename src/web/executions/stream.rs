//! What happens to executions, one by one or all of them: as server-sent events, or over a WebSocket.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, stream};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use super::{Id, find, problem, sees};
use crate::access::Caller;
use crate::service::{Followed, FollowedAll, NextOfAll};
use crate::web::Shared;
use crate::web::live::check_page;
use crate::web::problem::Problem;
use crate::web::session::Known;

/// A stream on which nothing is sent looks like a dead one.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(15);
/// Who follows and takes nothing for so long is closed.
const TAKES_WITHIN: Duration = Duration::from_secs(8);
/// Nothing is expected of who follows, bytes.
const MAX_MESSAGE: usize = 1024;

/// What is sent once.
struct Sent {
    /// Its number, by which a stream of server-sent events goes on; none where there is nothing to go on behind.
    number: Option<u64>,
    name: &'static str,
    data: Value,
}

impl Sent {
    fn new(number: Option<u64>, name: &'static str, data: &impl Serialize) -> Self {
        Self { number, name, data: serde_json::to_value(data).unwrap_or_default() }
    }
}

type Events = Pin<Box<dyn Stream<Item = Sent> + Send>>;
type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

/// One execution.
pub(super) async fn follow(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Id,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    let execution = find(&shared, &caller, id).await?;
    let place = shared.streams.place()?;
    let after = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let followed = shared.services.executions.follow(execution.id, after).await.map_err(|error| problem(&error))?;
    let events = stream::unfold(followed, |mut followed: Followed| async move {
        let event = followed.next().await?;
        Some((Sent::new(Some(event.number), event.kind.as_str(), &*event), followed))
    });
    answer(Box::pin(events), place, &headers, upgrade)
}

/// All executions that the caller sees, from now on.
pub(super) async fn follow_all(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    let place = shared.streams.place()?;
    let followed = (shared.services.executions.follow_all(), caller);
    let events = stream::unfold(followed, |(mut followed, caller): (FollowedAll, Caller)| async move {
        loop {
            match followed.next().await? {
                NextOfAll::Event(event) if sees(&caller, &event.owner) => {
                    return Some((Sent::new(None, event.kind.as_str(), &*event), (followed, caller)));
                }
                NextOfAll::Event(_) => {}
                NextOfAll::Missed(missed) => {
                    let said = serde_json::json!({ "event": "missed", "events": missed });
                    return Some((Sent::new(None, "missed", &said), (followed, caller)));
                }
            }
        }
    });
    answer(Box::pin(events), place, &headers, upgrade)
}

/// Sends events in the way that is asked for.
fn answer(
    events: Events,
    place: OwnedSemaphorePermit,
    headers: &HeaderMap,
    upgrade: Upgrade,
) -> Result<Response, Problem> {
    if let Ok(upgrade) = upgrade {
        check_page(headers)?;
        let upgrade = upgrade.max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE);
        return Ok(upgrade.on_upgrade(move |socket| async move {
            let _place = place;
            send_all(socket, events).await;
        }));
    }
    let events = stream::unfold((events, place), |(mut events, place)| async move {
        let Sent { number, name, data } = events.next().await?;
        let sent = Event::default().event(name).json_data(&data).unwrap_or_default();
        let sent = match number {
            Some(number) => sent.id(number.to_string()),
            None => sent,
        };
        Some((Ok::<_, Infallible>(sent), (events, place)))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT_EVERY).text("heartbeat")).into_response())
}

/// Sends each event as a text, until the last one or until the other end is gone.
async fn send_all(mut socket: WebSocket, mut events: Events) {
    let mut ping = tokio::time::interval(HEARTBEAT_EVERY);
    loop {
        let message = tokio::select! {
            event = events.next() => match event {
                Some(Sent { data, .. }) => Message::Text(data.to_string().into()),
                None => break,
            },
            _ = ping.tick() => Message::Ping(axum::body::Bytes::new()),
            incoming = socket.recv() => match incoming {
                None | Some(Ok(Message::Close(_)) | Err(_)) => return,
                Some(Ok(_)) => continue,
            },
        };
        if !matches!(tokio::time::timeout(TAKES_WITHIN, socket.send(message)).await, Ok(Ok(()))) {
            return;
        }
    }
    // One that is gone needs no last word.
    let _ = tokio::time::timeout(TAKES_WITHIN, socket.send(Message::Close(None))).await;
}
