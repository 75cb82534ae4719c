//! What comes of the WebRTC session of a camera that offers WHEP, for the page, the API and the metrics.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use crate::clock::Mono;
use crate::health::Traffic;
use crate::metrics::{self, SessionLabel};

/// How often it is noted.
const EVERY: Duration = Duration::from_secs(1);

/// Of one connection. What was noted is taken back when this is dropped.
pub(super) struct Received<'a> {
    shared: &'a Shared,
    camera: &'a Arc<str>,
    noted: Option<(Mono, Traffic)>,
}

impl<'a> Received<'a> {
    pub(super) fn new(shared: &'a Shared, camera: &'a Arc<str>) -> Self {
        Self { shared, camera, noted: None }
    }

    /// Notes `traffic`, of a source that has a session, now and then.
    pub(super) fn note(&mut self, traffic: Option<Traffic>) {
        let (Some(traffic), now) = (traffic, self.shared.clock.mono()) else { return };
        if self.noted.is_some_and(|(at, _)| now.since(at) < EVERY) {
            return;
        }
        let (_, before) = self.noted.replace((now, traffic)).unwrap_or_default();
        self.shared.metrics.count_sessions(&self.label(), traffic.since(before));
        self.show(Some(traffic));
    }

    fn show(&self, traffic: Option<Traffic>) {
        self.shared.metrics.webrtc_sessions.get_or_create(&self.label()).set(i64::from(traffic.is_some()));
        self.shared.health.change_sessions(self.camera, |sessions| sessions.received = traffic);
    }

    fn label(&self) -> SessionLabel {
        metrics::session(self.camera, "camera")
    }
}

impl Drop for Received<'_> {
    fn drop(&mut self) {
        if self.noted.is_some() {
            self.show(None);
        }
    }
}
