//! What is noted of requests, and looking it up.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tracing::error;
use url::form_urlencoded;

use super::Shared;
use super::peer::Peer;
use super::problem::Problem;
use crate::access::{Caller, CallerKind};
use crate::audit::{Act, Audit, Entry, Query};

/// Entries that are being written at once.
static WRITERS: Semaphore = Semaphore::const_new(32);
/// How long an answer waits for its entry.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);

/// The action of a login by a proxy.
const PROXIED: &str = "login by proxy";

/// Entries in one answer when nothing is asked for, and at most.
const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;

/// What an act was about, beyond what the address says; a handler puts it into the extensions of its answer.
#[derive(Clone, Debug)]
pub(super) struct Subject(String);

/// `answer` with what it was about.
pub(super) fn about(subject: impl Into<String>, answer: impl IntoResponse) -> Response {
    let mut answer = answer.into_response();
    answer.extensions_mut().insert(Subject(subject.into()));
    answer
}

/// What the audit log gets of the requests of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noting {
    /// Nothing.
    Nothing,
    /// Each look that shows something.
    Look,
    /// Each request.
    Act,
}

/// A request, as far as it is noted.
pub(super) struct Noted {
    audit: Audit,
    act: Act,
    is_look: bool,
}

impl Noted {
    /// What is to be noted of a request by `caller`: every act, and each look at pictures. Looks of a box without users
    /// are not.
    pub(super) fn of(
        audit: &Audit,
        method: &Method,
        route: &str,
        path: &str,
        noting: Noting,
        caller: Option<&Caller>,
        peer: Peer,
    ) -> Option<Self> {
        let is_unprotected = caller.is_some_and(|caller| caller.kind == CallerKind::Unprotected);
        let is_look = noting == Noting::Look;
        if noting == Noting::Nothing || is_look && is_unprotected {
            return None;
        }
        let who = caller.map(|caller| caller.name.to_string()).unwrap_or_default();
        let kind = caller.map(|caller| caller.kind.as_str().to_owned()).unwrap_or_default();
        let (action, target) = (format!("{method} {route}"), without_tickets(route, path));
        let act = Act { who, kind, address: Some(peer.ip()), action, target, status: 0 };
        Some(Self { audit: audit.clone(), act, is_look })
    }

    /// Notes it with what came of it. An act is on the disk when its answer goes out.
    pub(super) async fn note(self, status: StatusCode, subject: Option<Subject>) {
        let Self { audit, mut act, is_look } = self;
        let is_shown = status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS;
        if is_look && (!is_shown || !audit.is_new_look(&act.who, &act.target)) {
            return;
        }
        if act.who.is_empty()
            && !status.is_success()
            && !act.address.is_some_and(|address| audit.admits_stranger(address))
        {
            return;
        }
        act.status = status.as_u16();
        if let Some(Subject(subject)) = subject {
            act.target = format!("{} {subject}", act.target);
        }
        write(audit, act).await;
    }
}

/// A path without what lets in who has it: in place of a ticket stands what shows that two are the same one.
fn without_tickets(route: &str, path: &str) -> String {
    let parts = route.split('/').map(Some).chain(std::iter::repeat(None)).zip(path.split('/'));
    let shown = parts.map(|(name, value)| match name {
        Some("{ticket}") => {
            let digest = hex::encode(Sha256::digest(value));
            format!("ticket-{}", digest.get(..8).unwrap_or_default())
        }
        _ => value.to_owned(),
    });
    shown.collect::<Vec<_>>().join("/")
}

/// Notes that a proxy vouched for a caller, once while it comes again and again; or that its token was refused.
pub(super) async fn note_proxied(audit: &Audit, caller: Option<&Caller>, address: IpAddr, about: String) {
    let who = caller.map(|caller| caller.name.to_string()).unwrap_or_default();
    let is_new = audit.is_new_look(&who, &format!("{PROXIED} {address} {about}"));
    if !is_new || (caller.is_none() && !audit.admits_stranger(address)) {
        return;
    }
    let kind = caller.map(|caller| caller.kind.as_str().to_owned()).unwrap_or_default();
    let status = if caller.is_some() { StatusCode::OK } else { StatusCode::UNAUTHORIZED }.as_u16();
    let act = Act { who, kind, address: Some(address), action: PROXIED.to_owned(), target: about, status };
    write(audit.clone(), act).await;
}

/// Writes an entry, and waits for it within bounds.
async fn write(audit: Audit, act: Act) {
    let Ok(turn) = WRITERS.try_acquire() else {
        return error!(
            who = act.who,
            action = act.action,
            target = act.target,
            "the audit log is not written: its disk hangs"
        );
    };
    let write = tokio::task::spawn_blocking(move || {
        audit.note(act);
        drop(turn);
    });
    // What was done is answered even where the disk hangs; it is noted when that goes on.
    let _ = tokio::time::timeout(WRITTEN_WITHIN, write).await;
}

#[derive(Serialize)]
struct AuditReply {
    entries: Vec<Entry>,
    /// `before` of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

pub(super) async fn entries(State(shared): State<Arc<Shared>>, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let query = parse(query.as_deref().unwrap_or_default())?;
    let (limit, audit) = (query.limit, shared.services.audit.clone());
    let read = tokio::task::spawn_blocking(move || audit.find(&query));
    let entries = shared.errors.ask("audit", async { read.await? }).await?;
    let next = entries.last().filter(|_| entries.len() == limit).map(|entry| entry.seq);
    Ok((StatusCode::OK, Json(AuditReply { entries, next })).into_response())
}

fn parse(text: &str) -> Result<Query, Problem> {
    let mut query = Query { limit: DEFAULT_LIMIT, ..Query::default() };
    for (name, value) in form_urlencoded::parse(text.as_bytes()) {
        match &*name {
            "who" => query.who = Some(value.into_owned()),
            "text" => query.text = Some(value.into_owned()),
            "before" => {
                let allowed = "the number of an entry";
                query.before = Some(value.parse().map_err(|_| Problem::parameter(&name, &value, allowed))?);
            }
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                let allowed = || format!("a whole number from 1 to {MAX_LIMIT}");
                query.limit = limit.ok_or_else(|| Problem::parameter(&name, &value, allowed()))?;
            }
            _ => return Err(Problem::parameter(&name, &value, "the parameters who, text, before and limit")),
        }
    }
    Ok(query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_not_written_down() {
        let route = "/api/v1/shared/{ticket}/photos/{id}/{name}";
        let shown = without_tickets(route, "/api/v1/shared/secret/photos/01A/video.mp4");
        assert!(shown.starts_with("/api/v1/shared/ticket-") && shown.ends_with("/photos/01A/video.mp4"), "{shown}");
        assert_ne!(shown, without_tickets(route, "/api/v1/shared/other/photos/01A/video.mp4"));
        assert_eq!(without_tickets("/api/v1/events/{id}", "/api/v1/events/01A"), "/api/v1/events/01A");
    }

    #[test]
    fn a_query_names_what_is_allowed() {
        let query = parse("who=anna&text=clip&before=7&limit=3").expect("valid");
        let expected = Query { before: Some(7), who: Some("anna".into()), text: Some("clip".into()), limit: 3 };
        assert_eq!(query, expected);
        for wrong in ["limit=0", "limit=1001", "before=x", "since=1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
