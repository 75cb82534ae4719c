//! What a player gets.

use std::time::Instant;

use str0m::Rtc;
use str0m::format::Codec;
use str0m::media::{MediaTime, Mid};

use super::access_units::access_unit;
use crate::clock::Mono;
use crate::frame::Packet;

/// Ticks a second of RTP's clock for video.
const RTP_HZ: u128 = 90_000;

/// Sends the pictures of a camera as they are.
#[derive(Debug, Default)]
pub(super) struct Egress {
    video: Option<Mid>,
    awaits_key_frame: bool,
    last: Option<Mono>,
}

impl Egress {
    /// The player's section of the answer.
    pub(super) fn added(&mut self, mid: Mid) {
        self.video = Some(mid);
        self.awaits_key_frame = true;
    }

    /// Sends a picture; gives whether it went.
    pub(super) fn send(&mut self, rtc: &mut Rtc, packet: &Packet, now: Instant) -> bool {
        self.awaits_key_frame = self.awaits_key_frame && !packet.key_frame;
        let pts = packet.pts();
        // B-frames go back a little; another beginning does not.
        self.awaits_key_frame |= self.last.is_some_and(|last| packet.key_frame && pts <= last);
        if self.awaits_key_frame {
            return false;
        }
        let (Some(mid), Some(data)) = (self.video, access_unit(packet)) else { return false };
        let Some(writer) = rtc.writer(mid) else { return false };
        let is_h264 = |params: &&str0m::format::PayloadParams| {
            params.spec().codec == Codec::H264 && params.spec().format.packetization_mode == Some(1)
        };
        let Some(pt) = writer.payload_params().find(is_h264).map(str0m::format::PayloadParams::pt) else {
            return false;
        };
        let ticks = u64::try_from(u128::from(pts.0) * RTP_HZ / 1_000_000_000).unwrap_or(u64::MAX);
        self.last = self.last.max(Some(pts));
        writer.write(pt, now, MediaTime::from_90khz(ticks), data).is_ok()
    }
}
