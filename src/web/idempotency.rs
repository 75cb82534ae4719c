//! `Idempotency-Key`: a command that comes again, since its sender did not see the answer, is answered again and not
//! carried out again.
//!
//! Keys lie in memory: a restart forgets them. That is enough for what they are used for here. Pausing, resuming,
//! dropping and a reload are the same when they are done twice; a retry that is done twice tries an item again that
//! failed a second time meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::problem::{Code, Problem};
use crate::access::Caller;

/// The header.
pub(super) const HEADER: &str = "idempotency-key";
/// Says that an answer is one that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// For how long a key stands for its command.
const KEPT_FOR: Duration = Duration::from_secs(24 * 3600);
/// Keys that are kept; the oldest go first.
const MOST: usize = 1000;
/// Longest key, bytes.
const MAX_KEY: usize = 200;
/// Largest answer that is kept, bytes.
const MAX_ANSWER: usize = 64 << 10;

/// The answers that were given.
#[derive(Default)]
pub(super) struct Answers(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    by_key: BTreeMap<String, Arc<Given>>,
    /// The keys with the time they came, oldest first.
    order: VecDeque<(Instant, String)>,
}

/// What one key stands for.
struct Given {
    command: [u8; 32],
    /// Held while the command is carried out, so that one which comes again waits for the answer.
    answer: tokio::sync::Mutex<Option<Answer>>,
}

#[derive(Clone)]
struct Answer {
    status: StatusCode,
    kind: Option<HeaderValue>,
    location: Option<HeaderValue>,
    body: Bytes,
}

impl Answers {
    /// Carries out a command, unless it was carried out under the same key.
    pub(super) async fn once(
        &self,
        caller: &Caller,
        request: &HeaderMap,
        route: &str,
        body: &[u8],
        act: impl Future<Output = Result<Response, Problem>>,
    ) -> Result<Response, Problem> {
        let Some(key) = key(request)? else { return act.await };
        let mut hash = Sha256::new();
        hash.update(route);
        hash.update([0]);
        hash.update(body);
        let command: [u8; 32] = hash.finalize().into();
        // One caller's keys say nothing to another.
        let given = self.0.lock().given(&format!("{:?} {} {key}", caller.kind, caller.name), command);
        if given.command != command {
            let detail = "this Idempotency-Key came with another command before; use a new one".to_owned();
            return Err(Problem::new(Code::KeyReused, detail));
        }
        let mut kept = given.answer.lock().await;
        if let Some(answer) = &*kept {
            return Ok(answer.clone().replayed());
        }
        let response = act.await.unwrap_or_else(IntoResponse::into_response);
        // What failed on the box's side may succeed the next time.
        if response.status().is_server_error() {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let broken = |_| Problem::new(Code::Internal, "no answer could be made".to_owned());
        let body = to_bytes(body, MAX_ANSWER).await.map_err(broken)?;
        let kind = parts.headers.get(header::CONTENT_TYPE).cloned();
        let location = parts.headers.get(header::LOCATION).cloned();
        *kept = Some(Answer { status: parts.status, kind, location, body: body.clone() });
        Ok(Response::from_parts(parts, Body::from(body)))
    }
}

impl Answer {
    fn replayed(self) -> Response {
        let mut response = (self.status, [(REPLAYED, HeaderValue::from_static("true"))], self.body).into_response();
        match self.kind {
            Some(kind) => response.headers_mut().insert(header::CONTENT_TYPE, kind),
            None => response.headers_mut().remove(header::CONTENT_TYPE),
        };
        if let Some(location) = self.location {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}

impl Kept {
    fn given(&mut self, key: &str, command: [u8; 32]) -> Arc<Given> {
        while let Some((at, _)) = self.order.front()
            && (at.elapsed() >= KEPT_FOR || self.order.len() > MOST)
        {
            if let Some((_, key)) = self.order.pop_front() {
                self.by_key.remove(&key);
            }
        }
        if let Some(given) = self.by_key.get(key) {
            return given.clone();
        }
        let given = Arc::new(Given { command, answer: tokio::sync::Mutex::default() });
        self.by_key.insert(key.to_owned(), given.clone());
        self.order.push_back((Instant::now(), key.to_owned()));
        given
    }
}

pub(super) fn key(request: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(key) = request.get(HEADER) else { return Ok(None) };
    let text = key.to_str().unwrap_or_default();
    if text.is_empty() || text.len() > MAX_KEY {
        let allowed = format!("1 to {MAX_KEY} letters, digits and signs of ASCII");
        return Err(Problem::parameter("Idempotency-Key", text, allowed));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::CallerKind;
    use std::sync::atomic::{AtomicU32, Ordering};

    async fn ask(answers: &Answers, done: &AtomicU32, key: &str, body: &str) -> (u16, bool) {
        let caller = Caller::admin("anna", CallerKind::Session);
        let mut request = HeaderMap::new();
        request.insert(HEADER, key.parse().expect("a header"));
        let act = async {
            done.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Ok("done".into_response())
        };
        let response = answers
            .once(&caller, &request, "route", body.as_bytes(), act)
            .await
            .unwrap_or_else(IntoResponse::into_response);
        (response.status().as_u16(), response.headers().contains_key(REPLAYED))
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_stands_for_one_command_for_a_day() {
        let (answers, done) = (Answers::default(), AtomicU32::new(0));
        let twice = futures::join!(ask(&answers, &done, "a", "x"), ask(&answers, &done, "a", "x"));
        assert_eq!((twice, done.load(Ordering::Relaxed)), (((200, false), (200, true)), 1));
        assert_eq!(ask(&answers, &done, "a", "y").await, (422, false));
        assert_eq!(ask(&answers, &done, "b", "y").await, (200, false));
        assert_eq!(ask(&answers, &done, &"k".repeat(201), "x").await.0, 400);
        tokio::time::advance(KEPT_FOR).await;
        assert_eq!(ask(&answers, &done, "a", "y").await, (200, false));
        assert_eq!(done.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn keys_are_bounded() {
        let (answers, done) = (Answers::default(), AtomicU32::new(0));
        for n in 0..=MOST + 1 {
            ask(&answers, &done, &n.to_string(), "x").await;
        }
        let kept = answers.0.lock();
        assert!(kept.by_key.len() <= MOST + 1 && kept.order.len() == kept.by_key.len());
        assert!(!kept.by_key.contains_key("Session anna 0") && kept.by_key.contains_key("Session anna 9"));
    }
}
