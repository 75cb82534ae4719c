//! From an offer to a session that can begin.

use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use str0m::change::SdpOffer;
use str0m::crypto::CryptoProvider;
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Candidate, Rtc, RtcConfig};

use super::meter;
use super::socket::MediaSocket;
use super::{Config, Refusal};

/// No offer of video needs more, bytes.
pub(super) const LONGEST_OFFER: usize = 48 << 10;

/// Candidates in an answer.
const MOST_CANDIDATES: usize = 16;

/// Packets of pictures that wait for others which are late or are sent again: the largest key frames have hundreds.
const REORDERING: usize = 400;

/// A picture that is not whole by then is given up.
const REORDERED_WITHIN: Duration = Duration::from_millis(600);

static CRYPTO: LazyLock<Arc<CryptoProvider>> = LazyLock::new(super::crypto::provider);

/// Which way pictures go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the peer.
    In,
    /// To the peer.
    Out,
}

/// A session as it was negotiated.
pub(super) struct Negotiated {
    pub(super) rtc: Rtc,
    pub(super) answer: String,
    pub(super) tag: String,
    /// What it answers.
    pub(super) offer: String,
}

/// Answers `offer`.
pub(super) fn negotiate(
    offer: &str,
    way: Way,
    addresses: &[IpAddr],
    config: &Config,
    socket: &MediaSocket,
) -> Result<Negotiated, Refusal> {
    if offer.len() > LONGEST_OFFER {
        return Err(Refusal::BadOffer(format!("it is longer than {LONGEST_OFFER} bytes")));
    }
    let parsed = SdpOffer::from_sdp_string(offer).map_err(|e| Refusal::BadOffer(plain(&e)))?;
    let mut rtc = session(offer, way);
    for candidate in candidates(addresses, config, socket) {
        let _ = rtc.add_local_candidate(candidate);
    }
    let answer = accept(&mut rtc, parsed)?;
    check(&answer, way)?;
    let tag = tag_of(&answer);
    Ok(Negotiated { rtc, answer, tag, offer: offer.to_owned() })
}

/// Answers `offer`, which begins another ICE session of `rtc`; gives answer and tag.
pub(super) fn restart(rtc: &mut Rtc, offer: &str) -> Result<(String, String), Refusal> {
    let parsed = SdpOffer::from_sdp_string(offer).map_err(|e| Refusal::BadOffer(plain(&e)))?;
    let answer = accept(rtc, parsed)?;
    let tag = tag_of(&answer);
    Ok((answer, tag))
}

fn accept(rtc: &mut Rtc, offer: SdpOffer) -> Result<String, Refusal> {
    // What a stranger's offer may do to the negotiation stays there.
    let answered = catch_unwind(AssertUnwindSafe(|| rtc.sdp_api().accept_offer(offer)));
    let answered = answered.map_err(|_| Refusal::BadOffer("it makes no sense".to_owned()))?;
    Ok(answered.map_err(|e| Refusal::BadOffer(plain(&e)))?.to_sdp_string())
}

/// A session that takes H.264 alone where it is offered: it is recorded as it comes, and players get it as it is.
fn session(offer: &str, way: Way) -> Rtc {
    let offers_h264 = offer.contains("H264/90000") && offer.contains("packetization-mode=1");
    let takes_vp8 = way == Way::In && !offers_h264;
    // Sound is not kept; but where it is refused, some programs send no picture either.
    let builder = builder().set_ice_lite(true).enable_opus(true, false);
    builder.enable_h264(!takes_vp8).enable_vp8(takes_vp8).build(Instant::now())
}

/// What all sessions have in common; without codings.
pub(super) fn builder() -> RtcConfig {
    let mut extensions = ExtensionMap::empty();
    // Without the extension for the orientation, phones turn their pictures themselves.
    extensions.set(2, Extension::AbsoluteSendTime);
    extensions.set(3, Extension::TransportSequenceNumber);
    extensions.set(4, Extension::RtpMid);
    Rtc::builder()
        .set_crypto_provider(CRYPTO.clone())
        .set_extension_map(extensions)
        .set_reordering_size_video(REORDERING)
        .set_reordering_timeout_video(Some(REORDERED_WITHIN))
        .set_stats_interval(Some(meter::EVERY))
        .clear_codecs()
}

fn candidates(addresses: &[IpAddr], config: &Config, socket: &MediaSocket) -> Vec<Candidate> {
    let own = addresses.iter().filter(|address| socket.serves(**address));
    let all = config.addresses.iter().chain(own).take(MOST_CANDIDATES);
    all.filter_map(|address| Candidate::host(SocketAddr::new(*address, socket.port()), "udp").ok()).collect()
}

/// Whether pictures will come, or go.
fn check(answer: &str, way: Way) -> Result<(), Refusal> {
    let refuse = |words: &str| Err(Refusal::NothingInCommon(words.to_owned()));
    let Some(video) = answer.split("\nm=").find_map(|section| section.strip_prefix("video ")) else {
        return refuse("the offer has no video");
    };
    // A section that is refused has port 0.
    if video.starts_with("0 ") || !(video.contains("H264/90000") || video.contains("VP8/90000")) {
        return match way {
            Way::In => refuse("the offer has neither H.264 (packetization mode 1) nor VP8"),
            Way::Out => refuse("the offer has no H.264 (packetization mode 1), which is what cameras send"),
        };
    }
    match way {
        Way::In if !video.contains("a=recvonly") => refuse("the offer sends no video: it must be sendonly"),
        Way::Out if !video.contains("a=sendonly") => refuse("the offer takes no video: it must be recvonly"),
        _ => Ok(()),
    }
}

/// What distinguishes one ICE session from another.
fn tag_of(answer: &str) -> String {
    let ufrag = answer.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).unwrap_or_default();
    format!("\"{}\"", ufrag.trim())
}

/// An error of the negotiation in one line.
pub(super) fn plain(error: &impl ToString) -> String {
    let text: String = error.to_string().chars().filter(|c| !c.is_control()).take(200).collect();
    text
}
