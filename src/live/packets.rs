//! A viewer that takes the camera's packets as they came, to pack them in its own way.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Broadcast;
use crate::clock::Mono;
use crate::frame::Packet;

/// What was sent before a viewer came is shown so many times as fast: it is needed for what follows, and is not at present.
const CATCHES_UP: u32 = 50;

/// Reads the packets of a broadcast, from the last key frame on. Dropping it ends that.
#[derive(Debug)]
pub struct PacketViewer {
    broadcast: Arc<Broadcast>,
    changes: watch::Receiver<u64>,
    over: CancellationToken,
    /// Number of the packet that it gets next; `None`: it begins.
    next: Option<u64>,
    /// When the newest packet was taken when it began.
    begun: Mono,
}

impl PacketViewer {
    pub(super) fn new(broadcast: Arc<Broadcast>, changes: watch::Receiver<u64>, over: CancellationToken) -> Self {
        Self { broadcast, changes, over, next: None, begun: Mono(0) }
    }

    /// The next packet; `None` when the broadcast is over. One that falls behind goes on with the last key frame. Times of
    /// packets from before the viewer came are moved close to the present. Cancel-safe.
    pub async fn next(&mut self) -> Option<Packet> {
        loop {
            if self.over.is_cancelled() {
                return None;
            }
            self.changes.borrow_and_update();
            if let Some(packet) = self.take() {
                return Some(packet);
            }
            tokio::select! {
                changed = self.changes.changed() => changed.ok()?,
                () = self.over.cancelled() => return None,
            }
        }
    }

    fn take(&mut self) -> Option<Packet> {
        let ring = self.broadcast.ring.lock();
        let (number, packet, newest) = ring.packet_after(self.next)?;
        drop(ring);
        let missed = self.next.map_or(0, |next| number.saturating_sub(next));
        if missed > 0 {
            self.broadcast.count_dropped(missed);
        }
        if self.next.is_none() || missed > 0 {
            self.begun = newest;
        }
        self.next = Some(number + 1);
        Some(self.caught_up(packet))
    }

    fn caught_up(&self, packet: Packet) -> Packet {
        if packet.at >= self.begun {
            return packet;
        }
        let at = self.begun - self.begun.since(packet.at) / CATCHES_UP;
        Packet { at, offset: packet.offset / CATCHES_UP, ..packet }
    }
}

impl Drop for PacketViewer {
    fn drop(&mut self) {
        self.broadcast.leave();
    }
}
