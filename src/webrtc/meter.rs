//! How the media packets of a session fare, by the reports of both sides.

use std::time::Duration;

use str0m::Event;
use str0m::media::Mid;
use str0m::stats::{MediaEgressStats, MediaIngressStats};

use crate::health::Traffic;

/// How often str0m gives its counts.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// What is known of one session.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Sound is not counted. Not known of what the box offered itself, which is video alone.
    video: Option<Mid>,
    traffic: Traffic,
    /// Packets of a publisher that were lost: its reports give shares.
    lost: f64,
    counted: Traffic,
}

impl Meter {
    /// Since the session began.
    pub(super) fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// What came since this was asked last.
    pub(super) fn fresh(&mut self) -> Traffic {
        self.traffic.since(std::mem::replace(&mut self.counted, self.traffic))
    }

    pub(super) fn note(&mut self, event: &Event) {
        match event {
            Event::MediaAdded(added) if added.kind.is_video() => self.video = Some(added.mid),
            Event::MediaIngressStats(stats) if self.is_video(stats.mid) => self.comes(stats),
            Event::MediaEgressStats(stats) if self.is_video(stats.mid) => self.goes(stats),
            Event::PeerStats(stats) => {
                let pair = stats.selected_candidate_pair.as_ref().and_then(|pair| pair.current_round_trip_time);
                if let Some(time) = stats.rtt.or(pair) {
                    self.traffic.round_trip_ms = Some(u32::try_from(time.as_millis()).unwrap_or(u32::MAX));
                }
            }
            _ => {}
        }
    }

    fn is_video(&self, mid: Mid) -> bool {
        self.video.is_none_or(|video| video == mid)
    }

    fn comes(&mut self, stats: &MediaIngressStats) {
        let came = stats.packets.saturating_sub(self.traffic.packets);
        self.lost += lost_beside(came, stats.loss.unwrap_or_default());
        self.traffic.packets = stats.packets;
        self.traffic.bytes = stats.bytes;
        self.traffic.resend_requests = stats.nacks;
        self.traffic.key_frame_requests = stats.plis + stats.firs;
        self.traffic.packets_lost = self.lost.round() as u64;
    }

    fn goes(&mut self, stats: &MediaEgressStats) {
        self.traffic.packets = stats.packets;
        self.traffic.bytes = stats.bytes;
        self.traffic.resend_requests = stats.nacks;
        self.traffic.key_frame_requests = stats.plis + stats.firs;
        self.traffic.packets_lost =
            stats.remote.as_ref().map_or(self.traffic.packets_lost, |remote| remote.packets_lost);
    }
}

/// How many packets were lost while `came` came, where the share `loss` was lost of both.
fn lost_beside(came: u64, loss: f32) -> f64 {
    let loss = if loss.is_finite() { f64::from(loss.clamp(0.0, 0.99)) } else { 0.0 };
    came as f64 * loss / (1.0 - loss)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_that_was_lost_is_of_all_that_was_sent() {
        assert!((lost_beside(90, 0.1) - 10.0).abs() < 1e-6);
        assert_eq!((lost_beside(0, 0.5), lost_beside(100, 0.0)), (0.0, 0.0));
        assert!(lost_beside(1, 1.0).is_finite() && lost_beside(1, f32::NAN) < 1.0);
    }
}
