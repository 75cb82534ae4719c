//! Alerts of a camera's pipeline: events with video, one for as long as a step goes on alerting.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::block::Encoded;
use crate::clock::Mono;
use crate::detection::BBox;
use crate::event::{Alert, Event, EventId};
use crate::frame::{Frame, Rgb};
use crate::pipeline::Shared;
use crate::record::{Look, Recorder};

/// Without an alert for this long, what it was about is over.
const QUIET: Duration = Duration::from_secs(10);
/// All of a picture.
const WHOLE: BBox = BBox { x: 0.0, y: 0.0, w: 1.0, h: 1.0 };

/// The alerts that go on.
pub(in crate::pipeline) struct Alerts {
    camera: Arc<str>,
    shared: Shared,
    recorder: Arc<Recorder>,
    open: HashMap<String, (EventId, Mono)>,
}

impl Alerts {
    pub(in crate::pipeline) fn new(camera: &Arc<str>, shared: &Shared, recorder: Arc<Recorder>) -> Self {
        Self { camera: camera.clone(), shared: shared.clone(), recorder, open: HashMap::new() }
    }

    /// A step alerts at `frame`.
    pub(super) fn alert(
        &mut self,
        (pipeline, step): (&str, &str),
        message: &str,
        picture: Option<&Encoded>,
        frame: &Frame,
    ) {
        if let Some((_, last)) = self.open.get_mut(step) {
            *last = frame.at;
            return;
        }
        let id = self.shared.ids.next();
        let event = Event::of_alert(Alert {
            id,
            device: self.shared.device.clone(),
            site: self.shared.site.clone(),
            camera: self.camera.clone(),
            pipeline,
            message,
            start: self.shared.clock.moment(frame.at),
        });
        // What the pipeline drew, where it did.
        let drawn = picture.and_then(|picture| Rgb::decode_plain(&picture.bytes).ok().flatten());
        let shown = drawn.map_or_else(|| frame.clone(), |drawn| Frame { at: frame.at, picture: Arc::new(drawn) });
        self.open.insert(step.to_owned(), (id, frame.at));
        self.recorder.begin(event, Look { frame: shown, bbox: WHOLE, score: 1.0 });
    }

    /// Ends those whose steps are quiet.
    pub(super) fn end_quiet(&mut self, now: Mono) {
        self.open.retain(|_, (id, last)| {
            let goes_on = now.since(*last) < QUIET;
            if !goes_on {
                self.recorder.end(*id, *last);
            }
            goes_on
        });
    }

    /// Ends all: the pipeline is another one from now on.
    pub(super) fn end_all(&mut self) {
        for (_, (id, last)) in self.open.drain() {
            self.recorder.end(id, last);
        }
    }
}
