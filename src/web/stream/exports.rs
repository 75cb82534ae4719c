//! Exports on the stream: each as it is at the beginning, then whenever it gets on, and which are gone.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::response::sse::Event;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::access::Caller;
use crate::service::ExportId;
use crate::web::Shared;
use crate::web::timeline::exports::seen_by;

/// Progress is sent this often at most.
const EVERY: Duration = Duration::from_secs(1);

/// What one client was sent of the exports that it sees.
pub(super) struct Exports {
    changed: watch::Receiver<u64>,
    looked: Option<Instant>,
    sent: BTreeMap<ExportId, String>,
}

impl Exports {
    pub(super) fn new(shared: &Shared) -> Self {
        let mut changed = shared.services.exports.changed();
        // The first look is for what is there.
        changed.mark_changed();
        Self { changed, looked: None, sent: BTreeMap::new() }
    }

    /// Until there may be something to send.
    pub(super) async fn wait(&mut self) {
        if let Some(looked) = self.looked {
            tokio::time::sleep_until(looked + EVERY).await;
        }
        if self.changed.changed().await.is_err() {
            // The daemon ends.
            std::future::pending::<()>().await;
        }
        self.changed.mark_changed();
    }

    /// What is new; nothing where nothing changed, or the disk does not answer.
    pub(super) async fn look(&mut self, shared: &Shared, caller: &Caller) -> Vec<Event> {
        let is_early = self.looked.is_some_and(|at| at.elapsed() < EVERY);
        if is_early || !self.changed.has_changed().unwrap_or_default() {
            return Vec::new();
        }
        self.looked = Some(Instant::now());
        self.changed.mark_unchanged();
        let Ok(all) = seen_by(shared, caller).await else {
            // It is looked at again when the disk answers.
            self.changed.mark_changed();
            return Vec::new();
        };
        let mut events = Vec::new();
        // Oldest first, so that a list to which each is added in front is in order.
        for reply in all.iter().rev() {
            let Ok(text) = serde_json::to_string(reply) else { continue };
            if self.sent.get(&reply.id()) != Some(&text) {
                events.push(Event::default().event("export").data(&text));
                self.sent.insert(reply.id(), text);
            }
        }
        self.sent.retain(|id, _| {
            let is_there = all.iter().any(|reply| reply.id() == *id);
            if !is_there {
                events.push(Event::default().event("export_gone").data(json!({ "id": id }).to_string()));
            }
            is_there
        });
        events
    }
}
