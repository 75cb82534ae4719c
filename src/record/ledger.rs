//! One camera's entries in the coverage ledger, written as things happen.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::archive::Archive;
use crate::archive::times::{correct, is_torn, of_same_boot};
use crate::clock::{Moment, Mono};
use crate::coverage::{Span, SpanState};

/// A camera that gives no packet for longer is offline in the ledger, unless such pauses are usual for it.
const SILENCE: Duration = Duration::from_secs(3);
/// How often the entry in progress is written again: what a power cut takes from the ledger at most.
const WRITE_EVERY: Duration = Duration::from_secs(30);

/// Keeps the ledger of one camera.
pub(super) struct Ledger {
    camera: Arc<str>,
    open: Option<Span>,
    written: Mono,
    last_packet: Option<Mono>,
    /// Since when there is nothing to report about the camera: the start, and after that the last packet.
    since: Mono,
}

impl Ledger {
    /// A ledger that begins `now`.
    pub(super) fn new(camera: Arc<str>, now: Mono) -> Self {
        Self { camera, open: None, written: now, last_packet: None, since: now }
    }

    /// A packet that was taken at `at`; packets between it and the one before were dropped because of `hole`.
    /// What comes is not kept, although it should be, because of `rests`.
    pub(super) fn packet(&mut self, archive: &Archive, at: Mono, hole: Option<&str>, rests: Option<&str>) {
        let silence = self.silence(archive);
        let before = self.last_packet.replace(at).unwrap_or(self.since);
        if let Some(reason) = hole {
            self.change(archive, SpanState::Shed, Some(reason), before);
        } else if at.since(before) > silence {
            self.change(archive, SpanState::Offline, None, before);
        }
        let from = if hole.is_some() || at.since(before) > silence { at } else { before };
        self.change(archive, if rests.is_some() { SpanState::Shed } else { SpanState::Watched }, rests, from);
        self.extend(archive, at);
    }

    /// Time passes, with or without packets.
    pub(super) fn look_after(&mut self, archive: &Archive, now: Mono) {
        let last = self.last_packet.unwrap_or(self.since);
        if archive.health.has_finished(&self.camera) {
            // A file that was played to its end gives no more pictures, and none are missing.
            self.end(archive, last);
        } else if now.since(last) > self.silence(archive) {
            self.change(archive, SpanState::Offline, None, last);
            self.extend(archive, now);
            self.explain(archive, now);
        }
    }

    /// Goes on in another archive: the entry in progress is reported there as far as it is known.
    pub(super) fn move_to(&mut self, archive: &Archive) {
        if let Some(span) = &self.open {
            write(archive, span.clone());
        }
    }

    /// The daemon stops.
    pub(super) fn close(&mut self, archive: &Archive, now: Mono) {
        self.look_after(archive, now);
        self.end(archive, now);
    }

    fn silence(&self, archive: &Archive) -> Duration {
        archive.health.silence_of(&self.camera, SILENCE)
    }

    /// Adds why the camera is offline, once the feed has found out: the first thing that it says, since what
    /// comes later (a camera that boots refuses connections) follows from it.
    fn explain(&mut self, archive: &Archive, now: Mono) {
        let Some(span) = self.open.as_mut().filter(|span| span.reason.is_none()) else { return };
        if let Some(reason) = archive.health.why_not_online(&self.camera) {
            span.reason = Some(reason);
            self.written = now;
            write(archive, span.clone());
        }
    }

    /// From `at` on the state is another. No change, nothing to do.
    fn change(&mut self, archive: &Archive, state: SpanState, reason: Option<&str>, at: Mono) {
        let goes_on = |span: &Span| {
            let same_reason = span.reason.as_deref() == reason || state == SpanState::Offline;
            span.state == state && same_reason
        };
        if self.open.as_ref().is_some_and(goes_on) {
            return;
        }
        self.begin(archive, state, reason.map(str::to_owned), at);
    }

    /// Ends the entry in progress, if there is one, and begins the next.
    fn begin(&mut self, archive: &Archive, state: SpanState, reason: Option<String>, at: Mono) {
        let from = archive.clock.moment(at);
        self.end(archive, at);
        let camera = self.camera.clone();
        let span = Span { id: archive.ids.next(), camera, state, reason, until: from.clone(), from };
        self.written = at;
        write(archive, span.clone());
        self.open = Some(span);
    }

    /// Ends the entry in progress, if there is one.
    fn end(&mut self, archive: &Archive, at: Mono) {
        if let Some(mut span) = self.open.take() {
            span.until = end_of(archive, &span, at);
            write(archive, span);
        }
    }

    fn extend(&mut self, archive: &Archive, at: Mono) {
        let Some(span) = self.open.as_mut() else { return };
        if at.since(span.until.mono()) < Duration::from_secs(1) {
            return;
        }
        correct(&*archive.clock, &mut span.from);
        if is_torn(&*archive.clock, &span.from, at) {
            // The clock was set: what was recorded stays as it is, and another entry goes on in the new time.
            let (state, reason) = (span.state, span.reason.clone());
            self.begin(archive, state, reason, at);
            return;
        }
        span.until = archive.clock.moment(at);
        if at.since(self.written) >= WRITE_EVERY {
            self.written = at;
            write(archive, span.clone());
        }
    }
}

/// The moment `at` as the end of `span`, in the time that it began in.
fn end_of(archive: &Archive, span: &Span, at: Mono) -> Moment {
    if is_torn(&*archive.clock, &span.from, at) { of_same_boot(&span.from, at) } else { archive.clock.moment(at) }
}

fn write(archive: &Archive, mut span: Span) {
    correct(&*archive.clock, &mut span.from);
    correct(&*archive.clock, &mut span.until);
    let camera = span.camera.clone();
    if let Err(failure) = archive.store.record_span(span) {
        warn!(camera = %camera, error = %failure, "write the coverage ledger");
    }
}
