//! One of those who look at a camera.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Broadcast;
use super::objects::ObjectsAt;
use super::ring::{Found, Made};
use crate::mux::{InitSegment, fragment};

/// Fragments taken out of the ring at once.
const AT_ONCE: usize = 16;

/// What a viewer is sent, in this order.
#[derive(Clone, Debug)]
pub enum Chunk {
    /// Before the first fragment, and before the first one with other parameters. With when the next picture is shown,
    /// seconds on the boot clock.
    Init(Arc<InitSegment>, f64),
    /// One or more pictures.
    Fragment(Bytes),
    /// What was seen in a picture, which may be one that was sent before.
    Objects(Arc<ObjectsAt>),
}

/// Reads a broadcast. Dropping it ends that.
#[derive(Debug)]
pub struct Viewer {
    broadcast: Arc<Broadcast>,
    changes: watch::Receiver<u64>,
    over: CancellationToken,
    /// Number of the picture that it gets next; `None`: it begins.
    next: Option<u64>,
    next_look: Option<u64>,
    init: Option<Arc<InitSegment>>,
    taken: VecDeque<Chunk>,
}

impl Viewer {
    pub(super) fn new(broadcast: Arc<Broadcast>, changes: watch::Receiver<u64>, over: CancellationToken) -> Self {
        Self { broadcast, changes, over, next: None, next_look: None, init: None, taken: VecDeque::new() }
    }

    /// What comes next; `None` when the broadcast is over. Cancel-safe.
    pub async fn next(&mut self) -> Option<Chunk> {
        loop {
            if let Some(chunk) = self.taken.pop_front() {
                return Some(chunk);
            }
            if self.over.is_cancelled() {
                return None;
            }
            self.changes.borrow_and_update();
            self.broadcast.advance();
            self.take();
            if self.taken.is_empty() {
                tokio::select! {
                    changed = self.changes.changed() => changed.ok()?,
                    () = self.over.cancelled() => return None,
                }
            }
        }
    }

    fn take(&mut self) {
        let broadcast = self.broadcast.clone();
        let ring = broadcast.ring.lock();
        if self.next.is_none() {
            drop(ring);
            self.begin();
            return;
        }
        while let Some(next) = self.next.filter(|_| self.taken.len() < AT_ONCE) {
            match ring.after(next) {
                Found::Next(behind, made) => {
                    self.next = Some(behind);
                    if let Made::Fragment { init, picture, data } = made {
                        self.announce(&init, picture.shown_s());
                        self.taken.push_back(Chunk::Fragment(data));
                    }
                }
                Found::Late(pictures) => {
                    self.next = None;
                    broadcast.count_dropped(pictures);
                }
                Found::Nothing => break,
            }
        }
        while let Some((behind, look)) = self.next_look.and_then(|next| ring.look_after(next)) {
            self.next_look = Some(behind);
            self.taken.push_back(Chunk::Objects(look));
        }
        drop(ring);
        if self.next.is_none() {
            self.begin();
        }
    }

    /// From the last key frame up to now, in one fragment.
    fn begin(&mut self) {
        let (beginning, newest_look) = {
            let ring = self.broadcast.ring.lock();
            (ring.beginning(), ring.newest_look())
        };
        let Some(beginning) = beginning else { return };
        self.announce(&beginning.init, beginning.pictures.first().map_or(0.0, |first| first.shown_s()));
        let (data, _) = fragment(beginning.next as u32, &beginning.pictures, beginning.next_at, true);
        self.taken.push_back(Chunk::Fragment(data));
        self.next = Some(beginning.next);
        self.next_look.get_or_insert(newest_look);
    }

    fn announce(&mut self, init: &Arc<InitSegment>, shown_s: f64) {
        if !self.init.as_ref().is_some_and(|known| Arc::ptr_eq(known, init)) {
            self.init = Some(init.clone());
            self.taken.push_back(Chunk::Init(init.clone(), shown_s));
        }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.broadcast.leave();
    }
}
