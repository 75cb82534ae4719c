//! Live video: what a camera gives at present, for viewers of the page.
//!
//! ```text
//! feed --packets--> ring: the last GOP, and one more while there are viewers   bounded by pictures and bytes, full: the oldest go
//! analysis --objects--> ring                                                   32, full: the oldest go
//!                        \--fragments--> viewers    each reads the ring on its own; one that falls behind goes on with the last key frame
//! ```
//!
//! Without viewers a camera's packets are only referred to: the pre-roll holds the same. The first viewer begins with
//! the last key frame at once. Viewers make the fragments, each picture's once: whichever comes first makes it for all. The
//! feed never waits for that.

mod objects;
mod packets;
mod ring;
#[cfg(test)]
mod tests;
mod viewer;

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Mono;
use crate::detection::{Detection, Track};
use crate::frame::{Codec, Packet};
use crate::metrics::{self, Metrics};
use crate::mux::{Fragmenter, fragment, within};

use ring::{Made, Ring};

pub use objects::{LiveObject, ObjectsAt, Outlines, Values};
pub use packets::PacketViewer;
pub use viewer::{Chunk, Viewer};

/// Live video of one camera. Outlives its connections to the camera; ends when the camera is stopped or configured otherwise.
#[derive(Debug)]
pub struct Broadcast {
    camera: Arc<str>,
    outlines: Outlines,
    metrics: Metrics,
    ring: Mutex<Ring>,
    /// What makes the fragments, and the number of the picture that it takes next. Locked before the ring.
    muxing: Mutex<Muxing>,
    /// Changes with everything that viewers may want.
    changes: watch::Sender<u64>,
    over: CancellationToken,
}

#[derive(Default)]
struct Muxing {
    fragmenter: Option<Fragmenter>,
    next: u64,
}

impl std::fmt::Debug for Muxing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Muxing").field("next", &self.next).finish_non_exhaustive()
    }
}

/// Whether a camera's pictures can be shown as video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Showable {
    /// H.264 or H.265.
    Video,
    /// It gave no picture yet.
    NothingYet,
    /// Another coding, which no browser plays as a stream.
    Not(Codec),
}

impl Broadcast {
    /// Of camera `camera`, whose zones and lines are `outlines`.
    pub fn new(camera: &str, outlines: Outlines, metrics: &Metrics) -> Arc<Self> {
        Arc::new(Self {
            camera: camera.into(),
            outlines,
            metrics: metrics.clone(),
            ring: Mutex::default(),
            muxing: Mutex::default(),
            changes: watch::Sender::default(),
            over: CancellationToken::new(),
        })
    }

    /// Takes a packet of the stream that is recorded. Never waits for a viewer.
    pub fn packet(&self, packet: &Packet) {
        let has_viewers = {
            let mut ring = self.ring.lock();
            ring.push(packet);
            ring.viewers > 0
        };
        if has_viewers {
            self.wake();
        }
    }

    /// Takes what is followed in the picture that was taken at `at`.
    pub fn objects(&self, at: Mono, tracks: &[Track]) {
        let mut ring = self.ring.lock();
        if ring.viewers > 0 && ring.look(ObjectsAt::new(at, tracks)) {
            drop(ring);
            self.wake();
        }
    }

    /// Takes what the camera's pipeline gives for the picture that was taken at `at`.
    pub fn of_pipeline(&self, at: Mono, found: &[Detection], values: Values) {
        let mut ring = self.ring.lock();
        if ring.viewers > 0 && ring.look(ObjectsAt::of_pipeline(at, found, values)) {
            drop(ring);
            self.wake();
        }
    }

    /// The zones and lines of the camera.
    pub fn outlines(&self) -> &Outlines {
        &self.outlines
    }

    /// Whether there is something to show.
    pub fn showable(&self) -> Showable {
        match &self.ring.lock().codec {
            None => Showable::NothingYet,
            Some(codec) if codec.is_remuxable() => Showable::Video,
            Some(codec) => Showable::Not(codec.clone()),
        }
    }

    /// Coding of the last packet.
    pub fn codec(&self) -> Option<Codec> {
        self.ring.lock().codec.clone()
    }

    /// How many look.
    pub fn viewers(&self) -> usize {
        self.ring.lock().viewers
    }

    /// One more viewer. It begins with the last key frame.
    pub fn join(self: &Arc<Self>) -> Viewer {
        self.count(|viewers| viewers + 1);
        Viewer::new(self.clone(), self.changes.subscribe(), self.over.clone())
    }

    /// One more viewer, which takes the packets themselves.
    pub fn join_packets(self: &Arc<Self>) -> PacketViewer {
        self.count(|viewers| viewers + 1);
        PacketViewer::new(self.clone(), self.changes.subscribe(), self.over.clone())
    }

    /// Ends it for all viewers.
    pub fn close(&self) {
        self.over.cancel();
    }

    fn wake(&self) {
        self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }

    fn leave(&self) {
        let mut muxing = self.muxing.lock();
        if self.count(|viewers| viewers.saturating_sub(1)) == 0 {
            *muxing = Muxing::default();
        }
    }

    /// Another number of viewers.
    fn count(&self, of: impl FnOnce(usize) -> usize) -> usize {
        let mut ring = self.ring.lock();
        ring.viewers = of(ring.viewers);
        if ring.viewers == 0 {
            ring.rest();
        }
        let viewers = i64::try_from(ring.viewers).unwrap_or(i64::MAX);
        self.metrics.live_viewers.get_or_create(&metrics::camera(&self.camera)).set(viewers);
        ring.viewers
    }

    /// Makes the fragments of the pictures that came since.
    fn advance(&self) {
        let mut muxing = self.muxing.lock();
        loop {
            let pending = self.ring.lock().pending(muxing.next);
            let Some((number, packet, next)) = pending else { return };
            let made = muxing.make(number, &packet, next);
            muxing.next = number + 1;
            self.ring.lock().keep(number, made);
        }
    }

    fn count_dropped(&self, pictures: u64) {
        let label = metrics::dropped(&self.camera, "live_viewer");
        self.metrics.dropped.get_or_create(&label).inc_by(pictures);
    }
}

impl Muxing {
    fn make(&mut self, number: u64, packet: &Packet, next: Mono) -> Made {
        if number != self.next && !packet.key_frame {
            self.fragmenter = None;
        }
        if !self.fragmenter.as_ref().is_some_and(|fragmenter| fragmenter.takes(packet)) {
            self.fragmenter = Some(packet).filter(|packet| packet.key_frame).and_then(Fragmenter::new);
        }
        let Some(fragmenter) = &mut self.fragmenter else { return Made::Skipped };
        let picture = fragmenter.picture(packet);
        let (data, at) = fragment(number as u32, std::slice::from_ref(&picture), next, false);
        Made::Fragment { init: fragmenter.init().clone(), picture: within(&picture, &data, at), data }
    }
}
