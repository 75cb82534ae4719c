//! The routes by which people change events, as the document describes them.

use super::super::problem::Code::{
    self, BadCommand, BadParameter, ChangedMeanwhile, ForeignPage, KeyReused, NotFound, NotJson, Refused, TooLarge,
};
use super::operations::{EVENT, ONCE, json};
use super::{Operation, Parameter};

const EXPECTED: &[Parameter] =
    &[Parameter::header("If-Match", r#"{"type": "string"}"#, "`ETag` of the event as you know it.")];

const CHANGE: &[Code] = &[BadCommand, ForeignPage, NotFound, ChangedMeanwhile, Refused, TooLarge, NotJson];
const BULK: &[Code] = &[BadCommand, BadParameter, ForeignPage, TooLarge, NotJson, KeyReused];

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        method: "patch",
        path: "/api/v1/events/{id}",
        name: "event_change",
        summary: "Changes what is said of an event, and whether it is kept",
        parameters: &[EVENT, EXPECTED],
        body: Some("EventPatch"),
        answers: &[json("The event as it is then.", "EventRecord")],
        problems: CHANGE,
    },
    Operation {
        method: "delete",
        path: "/api/v1/events/{id}",
        name: "event_delete",
        summary: "Deletes an event from the box",
        parameters: &[EVENT, EXPECTED],
        body: None,
        answers: &[json("It is gone; what destinations have of it stays there.", "DeletedEvent")],
        problems: CHANGE,
    },
    Operation {
        method: "post",
        path: "/api/v1/events/{id}/retry",
        name: "event_retry",
        summary: "Tries failed deliveries of an event again",
        parameters: &[EVENT],
        body: Some("Nothing"),
        answers: &[json("How many there were.", "RetriedEvent")],
        problems: CHANGE,
    },
    Operation {
        method: "post",
        path: "/api/v1/events/bulk",
        name: "events_bulk",
        summary: "Does the same with many events",
        parameters: &[ONCE],
        body: Some("BulkCommand"),
        answers: &[json("What became of each.", "BulkOutcomes")],
        problems: BULK,
    },
];
