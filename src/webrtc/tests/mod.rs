//! Sessions over real sockets: what a publisher sends becomes packets of its camera, and packets of a camera reach a player.

pub(super) mod peer;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use str0m::format::Codec as Coding;
use str0m::media::Direction;

use super::*;
use crate::clock::{Mono, SystemClock};
use crate::frame::Codec;
use crate::mux::tests::packets;
use crate::source::{Publishers, Source};

use peer::{Network, Peer};

const X264: &str = "-c:v libx264 -preset veryfast -tune zerolatency -pix_fmt yuv420p -g 10 -bsf:v dump_extra";
/// Ticks of 90 kHz between two pictures.
const STEP: u64 = 9000;

/// Five seconds of H.264 at ten pictures a second, a key frame each second.
fn h264() -> &'static [Packet] {
    static PACKETS: OnceLock<Vec<Packet>> = OnceLock::new();
    PACKETS.get_or_init(|| packets(&format!("size=640x360 -t 5 {X264}"), "a.ts"))
}

struct TestBox {
    publishers: Publishers,
    sessions: WebRtc,
    stop: CancellationToken,
}

impl TestBox {
    async fn start() -> Self {
        let sessions = WebRtc::new(Arc::new(SystemClock::new()));
        let stop = CancellationToken::new();
        let (running, stopped) = (sessions.clone(), stop.clone());
        tokio::spawn(async move { running.run(stopped).await });
        while !sessions.runs.load(Ordering::Acquire) {
            tokio::task::yield_now().await;
        }
        Self { publishers: Publishers::default(), sessions, stop }
    }

    fn publisher(&self) -> Purpose {
        Purpose::Publish(self.publishers.begin("phone", self.sessions.clock()).expect("free"))
    }

    async fn begin(&self, sdp: String, purpose: Purpose) -> Result<Opened, Refusal> {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let config = Config { listen: (loopback, 0).into(), max_sessions: 2, ..Config::default() };
        self.sessions.begin(Offer { camera: "phone".into(), sdp, addresses: vec![loopback], purpose, config }).await
    }
}

impl Drop for TestBox {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Sends the pictures of `h264` again and again until the peer is over or `enough`.
async fn send(mut peer: Peer, pace: Duration, enough: CancellationToken) -> Peer {
    let mut tick = tokio::time::interval(pace);
    for (i, packet) in h264().iter().cycle().enumerate() {
        if enough.is_cancelled() {
            break;
        }
        peer.picture(i as u64 * STEP, &packet.data).await;
        tokio::select! {
            _ = tick.tick() => {}
            () = peer.until(|peer| peer.is_over) => return peer,
        }
    }
    peer
}

async fn connected(site: &TestBox, coding: Coding) -> (Peer, Opened) {
    let (mut peer, offer) = Peer::offering(coding, Direction::SendOnly).await;
    let opened = site.begin(offer, site.publisher()).await.expect("begun");
    peer.answered(&opened.answer);
    peer.until(|peer| peer.is_connected).await;
    (peer, opened)
}

async fn take(source: &mut dyn Source, until: impl Fn(&[Packet]) -> bool) -> Vec<Packet> {
    let mut taken = Vec::new();
    while !until(&taken) {
        taken.push(source.next().await.expect("a picture"));
    }
    taken
}

#[tokio::test]
async fn what_a_publisher_sends_arrives_whole_and_in_order_with_its_parameters() {
    let site = TestBox::start().await;
    let (peer, opened) = connected(&site, Coding::H264).await;
    let enough = CancellationToken::new();
    let sending = tokio::spawn(send(peer, Duration::from_millis(10), enough.clone()));
    let mut source = site.publishers.source("phone").await;
    let taken = take(&mut *source, |taken| taken.len() == 45).await;
    enough.cancel();
    assert!(taken[0].key_frame && taken[0].stream.codec == Codec::H264);
    assert_eq!((taken[0].stream.width, taken[0].stream.height), (640, 360));
    assert!(!taken[0].stream.extradata.is_empty() && taken.iter().all(|packet| packet.loss == 0));
    assert!(taken.windows(2).all(|two| two[0].at < two[1].at), "times grow");
    assert_eq!(taken.iter().filter(|packet| packet.key_frame).count(), 5);
    let mut peer = sending.await.expect("sent");
    site.sessions.end("phone", &opened.id).await.expect("ended");
    peer.until(|peer| peer.is_over).await;
    let end = loop {
        if let Err(end) = source.next().await {
            break end.to_string();
        }
    };
    assert!(end.contains("it was ended there"), "{end}");
    assert_eq!(site.sessions.end("phone", &opened.id).await, Err(Refusal::Unknown));
    drop(site.publisher());
}

#[tokio::test]
async fn lost_and_reordered_packets_are_sent_again_or_a_key_frame_follows() {
    let site = TestBox::start().await;
    let (peer, _) = connected(&site, Coding::H264).await;
    let peer = peer.behind(Network { lost: 8, late: 8 });
    let enough = CancellationToken::new();
    let sending = tokio::spawn(send(peer, Duration::from_millis(30), enough.clone()));
    let mut source = site.publishers.source("phone").await;
    let taken = take(&mut *source, |taken| taken.iter().filter(|packet| packet.key_frame).count() == 4).await;
    enough.cancel();
    let peer = sending.await.expect("sent");
    assert!(peer.dropped > 0, "the network lost some");
    // No picture follows a hole: each was sent so, and the ones between key frames are complete from the front.
    let sent: Vec<&[u8]> = h264().iter().map(|packet| &packet.data[..]).collect();
    let place = |packet: &Packet| sent.iter().position(|sent| units(sent) == units(&packet.data));
    let places: Vec<usize> = taken.iter().map(|packet| place(packet).expect("a picture that was sent")).collect();
    for (two, packet) in places.windows(2).zip(&taken[1..]) {
        assert!(two[1] == (two[0] + 1) % sent.len() || packet.key_frame, "{places:?}");
    }
}

/// The NAL units of a picture without delimiters, which packets do not carry.
fn units(data: &[u8]) -> Vec<Vec<u8>> {
    let mut units = Vec::new();
    let mut rest = data;
    while let Some(start) = rest.windows(3).position(|w| w == [0, 0, 1]) {
        rest = &rest[start + 3..];
        let end = rest.windows(3).position(|w| matches!(w, [0, 0, 0 | 1])).unwrap_or(rest.len());
        if rest.first().is_some_and(|header| header & 0x1f != 9) {
            units.push(rest[..end].to_vec());
        }
    }
    units
}

#[tokio::test]
async fn a_publisher_that_begins_between_key_frames_is_asked_for_one() {
    let site = TestBox::start().await;
    let (mut peer, _) = connected(&site, Coding::H264).await;
    peer.picture(0, &h264()[1].data).await;
    peer.picture(STEP, &h264()[2].data).await;
    peer.until(|peer| peer.asked > 0).await;
}

#[tokio::test]
async fn a_publisher_that_leaves_frees_its_camera() {
    let site = TestBox::start().await;
    let (mut peer, _) = connected(&site, Coding::Vp8).await;
    peer.leave().await;
    while site.publishers.begin("phone", site.sessions.clock()).is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_player_gets_the_pictures_of_a_camera_as_they_are() {
    let site = TestBox::start().await;
    let (mut player, offer) = Peer::offering(Coding::H264, Direction::RecvOnly).await;
    let mut pace = tokio::time::interval(Duration::from_millis(30));
    // Pictures at once would be more than the socket has room for.
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let paced = stream::unfold(pace, async |mut pace| Some((pace.tick().await, pace)));
    let over = CancellationToken::new();
    // Again and again, with times that grow.
    let endless = stream::iter(h264().iter().cycle().enumerate());
    let pictures =
        paced.zip(endless).map(|(_, (i, picture))| Packet { at: Mono(i as u64 * 100_000_000), ..picture.clone() });
    let pictures = pictures.take_until(Box::pin(over.clone().cancelled_owned())).boxed();
    let opened = site.begin(offer, Purpose::Play(pictures)).await.expect("begun");
    player.answered(&opened.answer);
    player.until(|player| player.received.len() >= 20).await;
    let sent: Vec<_> = h264().iter().map(|packet| units(&packet.data).pop()).collect();
    let place = |media: &str0m::media::MediaData| sent.iter().position(|sent| *sent == units(&media.data).pop());
    let places: Vec<usize> = player.received.iter().map(|media| place(media).expect("it was sent")).collect();
    assert!(places.len() >= 20 && player.received.windows(2).all(|two| two[0].time < two[1].time), "{places:?}");
    over.cancel();
    player.until(|player| player.is_over).await;
}

#[tokio::test]
async fn offers_that_do_not_fit_are_refused_with_a_reason_and_sessions_are_bounded() {
    let site = TestBox::start().await;
    let refused =
        async |sdp: &str, purpose: Purpose| site.begin(sdp.to_owned(), purpose).await.map(|opened| opened.answer);
    for broken in ["", "v=0", "hello", &"a=x\r\n".repeat(20_000)] {
        let outcome = refused(broken, site.publisher()).await;
        assert!(matches!(outcome, Err(Refusal::BadOffer(_))), "{broken:.20}: {outcome:?}");
    }
    let (_, vp9) = Peer::offering(Coding::Vp9, Direction::SendOnly).await;
    let outcome = refused(&vp9, site.publisher()).await;
    assert!(matches!(outcome, Err(Refusal::NothingInCommon(_))), "{outcome:?}");
    let (_, wrong_way) = Peer::offering(Coding::H264, Direction::RecvOnly).await;
    let outcome = refused(&wrong_way, site.publisher()).await;
    assert!(matches!(&outcome, Err(Refusal::NothingInCommon(why)) if why.contains("sendonly")), "{outcome:?}");
    let (_, offer) = Peer::offering(Coding::Vp8, Direction::RecvOnly).await;
    let outcome = refused(&offer, Purpose::Play(stream::empty().boxed())).await;
    assert!(matches!(&outcome, Err(Refusal::NothingInCommon(why)) if why.contains("H.264")), "{outcome:?}");
    let (_, offer) = Peer::offering(Coding::H264, Direction::RecvOnly).await;
    for _ in 0..2 {
        refused(&offer, Purpose::Play(stream::pending().boxed())).await.expect("begun");
    }
    let outcome = refused(&offer, Purpose::Play(stream::pending().boxed())).await;
    assert_eq!(outcome, Err(Refusal::TooMany(2)));
    drop(site.publisher());
}

#[tokio::test]
async fn candidates_are_for_the_session_that_they_name() {
    let site = TestBox::start().await;
    let (peer, opened) = connected(&site, Coding::H264).await;
    let add = async |id: &SessionId, tag: &str, fragment: &str| {
        site.sessions.add_candidates("phone", id, Some(tag.to_owned()), fragment.to_owned()).await
    };
    let line = "a=candidate:1 1 udp 2130706431 192.0.2.7 50000 typ host\r\na=nonsense\r\n";
    assert_eq!(add(&opened.id, &opened.tag, line).await, Ok(()));
    assert_eq!(add(&opened.id, "\"other\"", line).await, Err(Refusal::OtherTag));
    assert_eq!(add(&SessionId::from("guessed"), &opened.tag, line).await, Err(Refusal::Unknown));
    peer.vanish();
}
