//! Changes of the library on the stream, those of a second together.

use std::time::Duration;

use axum::response::sse::Event;
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

use super::LOOK_EVERY;
use crate::access::Caller;
use crate::photo::PhotoId;
use crate::service::Position;
use crate::web::Shared;
use crate::web::photos::viewer;

/// Changes are sent this often at most.
const EVERY: Duration = Duration::from_secs(1);
/// Photos of each kind that one message names.
const MOST_NAMED: usize = 50;

/// What one client was sent of the library.
pub(super) struct Photos {
    looked: Option<Instant>,
    position: Position,
}

/// Photos of a kind: how many, and which, where they are not too many.
#[derive(Serialize)]
struct Named {
    count: usize,
    ids: Vec<PhotoId>,
}

impl Named {
    fn of(mut ids: Vec<PhotoId>) -> Self {
        let count = ids.len();
        ids.truncate(MOST_NAMED);
        Self { count, ids }
    }
}

impl Photos {
    pub(super) fn new(shared: &Shared) -> Self {
        Self { looked: None, position: shared.services.library.position() }
    }

    /// Until there may be something to send.
    pub(super) async fn wait(&self, shared: &Shared) {
        if let Some(looked) = self.looked {
            tokio::time::sleep_until(looked + EVERY).await;
        }
        shared.services.library.wait_for_change(self.position, LOOK_EVERY).await;
    }

    /// What is new.
    pub(super) fn look(&mut self, shared: &Shared, caller: &Caller) -> Option<Event> {
        // Who sees some cameras only has albums and no list.
        if !caller.sees_everything() || self.looked.is_some_and(|at| at.elapsed() < EVERY) {
            return None;
        }
        let (changes, position) = shared.services.library.changes(self.position, &viewer(caller));
        if position == self.position {
            return None;
        }
        (self.looked, self.position) = (Some(Instant::now()), position);
        let data = match changes {
            Some(changes) => {
                let [added, changed, removed] = [changes.added, changes.changed, changes.removed].map(Named::of);
                if added.count + changed.count + removed.count == 0 {
                    return None;
                }
                json!({ "added": added, "changed": changed, "removed": removed })
            }
            None => json!({ "missing": true }),
        };
        Some(Event::default().event("photos").data(data.to_string()))
    }
}
