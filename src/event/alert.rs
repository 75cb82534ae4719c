//! Alerts of pipelines, as events like those of cameras.

use std::sync::Arc;

use super::{Beginning, Event, EventId, EventKind};
use crate::clock::Moment;

/// What stands in place of the class of an object.
const LABEL: &str = "alert";
/// Longest message, bytes; the end of a longer one is cut.
const LONGEST: usize = 500;

/// An alert of a pipeline.
#[derive(Debug)]
pub struct Alert<'a> {
    /// Identity of its event.
    pub id: EventId,
    /// The box.
    pub device: Arc<str>,
    /// Where the box stands.
    pub site: Arc<str>,
    /// The camera, or what stands in place of one.
    pub camera: Arc<str>,
    /// Name of the pipeline.
    pub pipeline: &'a str,
    /// What it says.
    pub message: &'a str,
    /// When.
    pub start: Moment,
}

impl Event {
    /// An event of an alert, as it begins.
    pub fn of_alert(alert: Alert<'_>) -> Self {
        let Alert { id, device, site, camera, pipeline, message, start } = alert;
        let beginning = Beginning {
            id,
            device,
            site,
            camera,
            rule: pipeline.into(),
            kind: EventKind::Alert,
            label: LABEL.into(),
            score: 1.0,
            count: 1,
            labels: Vec::new(),
            track: 0,
            zones: Vec::new(),
            model: "".into(),
            start,
        };
        let message = message.get(..message.floor_char_boundary(LONGEST)).unwrap_or_default().into();
        Self { message: Some(message), ..Self::begin(beginning) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, Mono, SimulatedClock};

    #[test]
    fn a_long_message_is_cut_within_no_character() {
        let message = "é".repeat(400);
        let start = SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH).now();
        let (id, text) = (EventId::from_bytes([7; 16]), |text: &str| -> Arc<str> { text.into() });
        let alert = Alert {
            id,
            device: text("box"),
            site: text(""),
            camera: text("gate"),
            pipeline: "people",
            message: &message,
            start,
        };
        let event = Event::of_alert(alert);
        assert_eq!((event.kind, &*event.rule, &*event.label), (EventKind::Alert, "people", "alert"));
        assert_eq!(event.message.as_deref(), Some("é".repeat(250).as_str()));
    }
}
