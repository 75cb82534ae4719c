//! An event to test with.

use super::{Beginning, Event, EventId, EventKind};
use crate::clock::Moment;

/// An open event of `camera`: a person in view from `start` on.
pub fn event(id: EventId, camera: &str, start: Moment) -> Event {
    Event::begin(Beginning {
        id,
        device: "box".into(),
        site: "".into(),
        camera: camera.into(),
        rule: "people".into(),
        kind: EventKind::Object,
        label: "person".into(),
        score: 0.5,
        count: 1,
        labels: Vec::new(),
        track: 7,
        zones: vec!["door".into()],
        model: "".into(),
        start,
    })
}
