//! The box as the one that offers: it wants video, and has no other wish.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind};
use str0m::{Candidate, Rtc};

use crate::webrtc::answer::{LONGEST_OFFER, Negotiated, builder, plain};
use crate::webrtc::socket::MediaSocket;

/// Candidates of an answer whose way is looked up.
const MOST_CANDIDATES: usize = 16;

/// An offer that waits for its answer.
pub(super) struct Offer {
    rtc: Rtc,
    pending: SdpPendingOffer,
    pub(super) sdp: String,
}

impl Offer {
    /// Offers to receive H.264 or VP8 at `local`. `None` where str0m has nothing to offer, which does not happen.
    pub(super) fn new(local: SocketAddr) -> Option<Self> {
        let mut rtc = builder().enable_h264(true).enable_vp8(true).build(Instant::now());
        rtc.add_local_candidate(Candidate::host(local, "udp").ok()?);
        let mut changes = rtc.sdp_api();
        changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = changes.apply()?;
        Some(Self { rtc, pending, sdp: offer.to_sdp_string() })
    }

    /// What the answer makes of it.
    ///
    /// # Errors
    /// Why that cannot be, for the operator.
    pub(super) fn answered(mut self, answer: &str, socket: &mut MediaSocket) -> Result<Negotiated, String> {
        if answer.len() > LONGEST_OFFER {
            return Err(format!("its answer is longer than {LONGEST_OFFER} bytes"));
        }
        check(answer)?;
        let parsed = SdpAnswer::from_sdp_string(answer).map_err(|e| format!("its answer: {}", plain(&e)))?;
        // Its packets may come by another way than its answer did.
        for peer in candidates(answer) {
            if let Ok(candidate) = Candidate::host(socket.local_towards(peer), "udp") {
                self.rtc.add_local_candidate(candidate);
            }
        }
        let (rtc, pending) = (&mut self.rtc, self.pending);
        let accepted = catch_unwind(AssertUnwindSafe(|| rtc.sdp_api().accept_answer(pending, parsed)));
        let accepted = accepted.map_err(|_| "its answer makes no sense".to_owned())?;
        accepted.map_err(|e| format!("its answer: {}", plain(&e)))?;
        Ok(Negotiated { rtc: self.rtc, answer: String::new(), tag: String::new(), offer: String::new() })
    }
}

/// Whether pictures will come.
fn check(answer: &str) -> Result<(), String> {
    let Some(video) = answer.split("\nm=").find_map(|section| section.strip_prefix("video ")) else {
        return Err("its answer has no video".to_owned());
    };
    if video.starts_with("0 ") || !(video.contains("H264/90000") || video.contains("VP8/90000")) {
        return Err("it sends neither H.264 (packetization mode 1) nor VP8".to_owned());
    }
    // Without a direction both sides send.
    if video.contains("a=recvonly") || video.contains("a=inactive") {
        return Err("its answer says that it sends no video".to_owned());
    }
    Ok(())
}

/// Where its packets may come from.
fn candidates(answer: &str) -> Vec<SocketAddr> {
    let lines = answer.lines().filter_map(|line| Candidate::from_sdp_string(line.trim().strip_prefix("a=")?).ok());
    lines.map(|candidate| candidate.addr()).take(MOST_CANDIDATES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_without_video_for_the_box_are_refused_with_a_reason() {
        let says = |answer: &str| check(answer).expect_err(answer);
        assert!(says("v=0\r\n").contains("no video"));
        assert!(says("v=0\r\nm=video 0 UDP 96\r\na=rtpmap:96 H264/90000\r\n").contains("neither"));
        assert!(says("v=0\r\nm=video 9 UDP 96\r\na=rtpmap:96 VP9/90000\r\n").contains("neither"));
        assert!(says("v=0\r\nm=video 9 UDP 96\r\na=rtpmap:96 VP8/90000\r\na=inactive\r\n").contains("sends no"));
        assert_eq!(check("v=0\r\nm=video 9 UDP 96\r\na=rtpmap:96 VP8/90000\r\na=sendonly\r\n"), Ok(()));
    }

    #[tokio::test]
    async fn answers_that_make_no_sense_are_errors() {
        let mut socket = MediaSocket::bind(([127, 0, 0, 1], 0).into()).await.expect("bind");
        let video = "v=0\r\nm=video 9 UDP 96\r\na=rtpmap:96 VP8/90000\r\na=sendonly\r\n";
        for answer in [video, &format!("{video}a=candidate:1 1 udp 1 999.0.0.1 1 typ host\r\n"), &"m".repeat(1 << 20)] {
            let offer = Offer::new(([127, 0, 0, 1], 4000).into()).expect("an offer");
            assert!(offer.sdp.contains("a=recvonly") && offer.sdp.contains("H264/90000"), "{}", offer.sdp);
            assert!(offer.answered(answer, &mut socket).is_err(), "{answer:.40}");
        }
    }
}
