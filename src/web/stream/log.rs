//! `GET /api/v1/log/stream`: the lines of the log, as server-sent events.
//!
//! A client reads from the lines that the daemon keeps for all. One that is slow falls behind them and learns how many
//! it lost; nothing is kept for it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, watch};
use url::form_urlencoded;

use super::{HEARTBEAT_EVERY, RETRY_AFTER, last_event_id};
use crate::access::Caller;
use crate::telemetry::{LineLevel, LogPosition};
use crate::web::Shared;
use crate::web::problem::Problem;
use crate::web::session::{self, Known};

/// Lines that are read at once.
const LINES_AT_ONCE: usize = 100;
/// Lines of before that a client can be sent first, and those that it is sent when it asks for nothing.
const MOST_RECENT: usize = 1000;
const RECENT: usize = 200;

/// Which lines are wanted.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    level: LineLevel,
    recent: usize,
}

pub(super) async fn follow(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    RawQuery(query): RawQuery,
    request: HeaderMap,
) -> Result<Response, Problem> {
    session::check_everything(&caller)?;
    let wanted = parse(query.as_deref().unwrap_or_default())?;
    let place = shared.streams.place()?;
    let follower = Follower::new(shared, caller, place, wanted, last_event_id(&request));
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    let heartbeat = KeepAlive::new().interval(HEARTBEAT_EVERY).text("heartbeat");
    Ok(Sse::new(events).keep_alive(heartbeat).into_response())
}

fn parse(text: &str) -> Result<Wanted, Problem> {
    let mut wanted = Wanted { level: LineLevel::Debug, recent: RECENT };
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        match &*name {
            "level" => {
                let level = LineLevel::ALL.into_iter().find(|level| level.as_str() == value);
                wanted.level = level.ok_or_else(|| Problem::parameter(&name, &value, "error, warn, info or debug"))?;
            }
            "recent" => {
                let recent = value.parse().ok().filter(|recent| *recent <= MOST_RECENT);
                let allowed = || format!("a whole number from 0 to {MOST_RECENT}");
                wanted.recent = recent.ok_or_else(|| Problem::parameter(&name, &value, allowed()))?;
            }
            _ => return Err(Problem::parameter(&name, &value, "the parameters level and recent")),
        }
    }
    Ok(wanted)
}

/// One client.
struct Follower {
    shared: Arc<Shared>,
    caller: Caller,
    _place: OwnedSemaphorePermit,
    level: LineLevel,
    /// Behind the last line that was looked at.
    position: LogPosition,
    written: watch::Receiver<u64>,
    waiting: VecDeque<Event>,
}

impl Follower {
    fn new(
        shared: Arc<Shared>,
        caller: Caller,
        place: OwnedSemaphorePermit,
        Wanted { level, recent }: Wanted,
        known: Option<&str>,
    ) -> Self {
        let service = &shared.services.diagnostics;
        let (now, known_position) = (service.log_position(), known.and_then(|known| known.parse().ok()));
        let mut waiting = VecDeque::new();
        let position = match known_position {
            Some(position) if now.follows(position) => position,
            _ => {
                let name = if known.is_some() { "reset" } else { "begin" };
                let lines = service.log(0, level, recent);
                let before = lines.first().map_or(now, |line| now.at(line.seq - 1));
                let begin = Event::default().event(name).id(before.to_string()).retry(RETRY_AFTER);
                waiting.push_back(begin.data("{}"));
                before
            }
        };
        let written = service.log_written();
        Self { shared, caller, _place: place, level, position, written, waiting }
    }

    /// The next event; none once the daemon stops, or the session or key is over.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if self.shared.stop.is_cancelled() || self.caller.until.is_cancelled() {
                return None;
            }
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            self.written.mark_unchanged();
            self.read();
            if self.waiting.is_empty() {
                tokio::select! {
                    () = self.shared.stop.cancelled() => {}
                    () = self.caller.until.cancelled() => {}
                    changed = self.written.changed() => changed.ok()?,
                }
            }
        }
    }

    fn read(&mut self) {
        let behind = self.shared.services.diagnostics.log_behind(self.position.seq, self.level, LINES_AT_ONCE);
        if behind.lost > 0 {
            let at = self.position.at(self.position.seq + behind.lost);
            let lost = json!({ "lost": behind.lost }).to_string();
            self.waiting.push_back(Event::default().event("gap").id(at.to_string()).data(lost));
        }
        for line in &behind.lines {
            let Ok(text) = serde_json::to_string(line) else { continue };
            let id = self.position.at(line.seq).to_string();
            self.waiting.push_back(Event::default().event("line").id(id).data(text));
        }
        self.position = self.position.at(behind.reached);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_what_is_allowed() {
        assert_eq!(parse("level=warn&recent=0").expect("valid"), Wanted { level: LineLevel::Warn, recent: 0 });
        for (text, allowed) in [("level=loud", "error, warn"), ("recent=1001", "0 to 1000"), ("after=1", "level and")] {
            let refused = parse(text).expect_err(text);
            assert!(format!("{refused:?}").contains(allowed), "{text}: {refused:?}");
        }
    }
}
