//! Who publishes and plays, for the page, the API and the metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::meter::EVERY;
use super::session::Session;
use crate::health::{Health, SessionsHealth, Traffic};
use crate::metrics::{self, Metrics};

/// Where the engine notes its sessions.
#[derive(Clone)]
pub(super) struct Board {
    pub(super) health: Health,
    pub(super) metrics: Metrics,
}

/// What was noted last.
pub(super) struct Noted {
    board: Board,
    due: Option<Instant>,
    known: BTreeMap<Arc<str>, SessionsHealth>,
    /// How many sessions are connected.
    connected: usize,
}

impl Noted {
    pub(super) fn new(board: Board) -> Self {
        Self { board, due: None, known: BTreeMap::new(), connected: 0 }
    }

    /// Notes all sessions once a second, and at once where `is_changed` or one was connected.
    pub(super) fn note(&mut self, sessions: &mut [Session], is_changed: bool) {
        let (now, connected) = (Instant::now(), sessions.iter().filter(|session| session.is_connected()).count());
        let is_changed = std::mem::replace(&mut self.connected, connected) != connected || is_changed;
        if !is_changed && self.due.is_none_or(|due| now < due) {
            return;
        }
        self.due = (!sessions.is_empty()).then_some(now + EVERY);
        let mut cameras: BTreeMap<Arc<str>, SessionsHealth> = BTreeMap::new();
        for session in sessions {
            self.count(session);
            let camera = cameras.entry(session.camera.clone()).or_default();
            match session.publisher() {
                Some(publisher) => camera.publisher = Some(publisher),
                None => {
                    camera.players += 1;
                    camera.played = camera.played.and(session.traffic());
                }
            }
        }
        for (name, none) in &mut self.known {
            *none = cameras.remove(name).unwrap_or_default();
        }
        self.known.append(&mut cameras);
        for (name, SessionsHealth { publisher, players, played, .. }) in &self.known {
            self.board.health.change_sessions(name, |of| {
                (of.publisher, of.players, of.played) = (publisher.clone(), *players, *played);
            });
            let gauges = &self.board.metrics.webrtc_sessions;
            let gauge = |kind, value| gauges.get_or_create(&metrics::session(name, kind)).set(value);
            gauge("publisher", i64::from(publisher.is_some()));
            gauge("player", i64::from(*players));
        }
        self.known.retain(|_, sessions| *sessions != SessionsHealth::default());
    }

    /// Counts what is new of a session, also at its end.
    pub(super) fn count(&self, session: &mut Session) {
        let fresh = session.fresh_traffic();
        if fresh != Traffic::default() {
            self.board.metrics.count_sessions(&metrics::session(&session.camera, session.kind()), fresh);
        }
    }
}
