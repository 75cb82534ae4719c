//! What is known of the WebRTC sessions of a camera.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

use super::Health;
use crate::clock::Mono;

/// Media packets of sessions, since they began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Packets that came, or went.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that were lost on the way, by the reports of the receiver; also those that came when they were sent again.
    pub packets_lost: u64,
    /// Requests for lost packets.
    pub resend_requests: u64,
    /// Requests for a key frame.
    pub key_frame_requests: u64,
    /// There and back, milliseconds; `None` before it was measured.
    pub round_trip_ms: Option<u32>,
}

impl Traffic {
    /// The sum of two; the longer way of both.
    pub fn and(self, other: Self) -> Self {
        Self {
            packets: self.packets + other.packets,
            bytes: self.bytes + other.bytes,
            packets_lost: self.packets_lost + other.packets_lost,
            resend_requests: self.resend_requests + other.resend_requests,
            key_frame_requests: self.key_frame_requests + other.key_frame_requests,
            round_trip_ms: self.round_trip_ms.max(other.round_trip_ms),
        }
    }

    /// What came since `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(before.packets),
            bytes: self.bytes.saturating_sub(before.bytes),
            packets_lost: self.packets_lost.saturating_sub(before.packets_lost),
            resend_requests: self.resend_requests.saturating_sub(before.resend_requests),
            key_frame_requests: self.key_frame_requests.saturating_sub(before.key_frame_requests),
            round_trip_ms: self.round_trip_ms,
        }
    }
}

/// Who publishes to a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublisherHealth {
    /// The name under which it was let in.
    pub by: Arc<str>,
    /// Where it asked from.
    pub from: Option<IpAddr>,
    /// Since when, on the boot clock.
    pub since: Mono,
    /// Whether media packets go back and forth.
    pub connected: bool,
    /// What it sends.
    pub traffic: Traffic,
}

/// The sessions of one camera.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionsHealth {
    /// Who publishes to it.
    pub publisher: Option<PublisherHealth>,
    /// How many play it.
    pub players: u32,
    /// What these get.
    pub played: Traffic,
    /// What the box gets of a camera that offers WHEP.
    pub received: Option<Traffic>,
}

impl Health {
    /// Changes what is known of the sessions of camera `name`.
    pub fn change_sessions(&self, name: &str, change: impl FnOnce(&mut SessionsHealth)) {
        self.with(|board| {
            let mut sessions = board.sessions.remove(name).unwrap_or_default();
            change(&mut sessions);
            if sessions != SessionsHealth::default() {
                board.sessions.insert(name.into(), sessions);
            }
        });
    }

    /// The sessions of camera `name`; `None`: there are none.
    pub fn sessions(&self, name: &str) -> Option<SessionsHealth> {
        self.with(|board| board.sessions.get(name).cloned())
    }
}
