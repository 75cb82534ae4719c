//! An event on a timeline.

use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::event::{Event, EventId};

/// An event, as far as a timeline shows it; `/api/v1/events/<id>` has the rest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mark {
    /// Identity.
    pub id: EventId,
    /// Class of the object.
    pub label: Arc<str>,
    /// Name of the rule that fired.
    pub rule: Arc<str>,
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<Timestamp>,
}

impl Mark {
    pub(super) fn of(event: &Event) -> Self {
        Self {
            id: event.id,
            label: event.label.clone(),
            rule: event.rule.clone(),
            start: event.start.wall,
            end: event.end.as_ref().map(|end| end.wall),
        }
    }
}
