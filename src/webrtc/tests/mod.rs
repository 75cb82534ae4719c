//! Sessions over real sockets: what a publisher sends becomes packets of its camera, and packets of a camera reach a player.

pub(super) mod peer;
mod whep;

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
    health: Health,
    metrics: Metrics,
}

impl TestBox {
    async fn start() -> Self {
        let (health, metrics) = (Health::default(), Metrics::new());
        let sessions = WebRtc::new(Arc::new(SystemClock::new()), health.clone(), metrics.clone());
        let stop = CancellationToken::new();
        let (running, stopped) = (sessions.clone(), stop.clone());
        tokio::spawn(async move { running.run(stopped).await });
        while !sessions.runs.load(Ordering::Acquire) {
            tokio::task::yield_now().await;
        }
        Self { publishers: Publishers::default(), sessions, stop, health, metrics }
    }

    fn publisher(&self) -> Purpose {
        Purpose::Publish(self.publishers.begin("phone", self.sessions.clock()).expect("free"), Box::new(|| true))
    }

    async fn begin(&self, sdp: String, purpose: Purpose) -> Result<Opened, Refusal> {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let config = Config { listen: (loopback, 0).into(), max_sessions: 2, ..Config::default() };
        let (camera, addresses, from) = ("phone".into(), vec![loopback], Some(loopback));
        self.sessions.begin(Offer { camera, sdp, addresses, purpose, by: "anna".into(), from, config }).await
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
    let noted = loop {
        source.next().await.expect("a picture");
        let noted = site.health.sessions("phone").and_then(|sessions| sessions.publisher).expect("a publisher");
        if noted.traffic.packets_lost > 0 && noted.traffic.resend_requests > 0 {
            break noted;
        }
    };
    let metrics = site.metrics.encode().expect("text");
    enough.cancel();
    let peer = sending.await.expect("sent");
    assert!(peer.dropped > 0, "the network lost some");
    assert_eq!((&*noted.by, noted.connected, noted.from), ("anna", true, Some(IpAddr::V4(Ipv4Addr::LOCALHOST))));
    let traffic = noted.traffic;
    assert!(traffic.bytes > traffic.packets, "{traffic:?}");
    let counted = |name: &str| {
        let line = format!("outpost_webrtc_{name}{{camera=\"phone\",kind=\"publisher\"}} ");
        let value = metrics.lines().find_map(|text| text.strip_prefix(&line)).unwrap_or_else(|| panic!("{metrics}"));
        value.parse::<u64>().expect("a number")
    };
    assert_eq!((counted("sessions"), counted("packets_total")), (1, traffic.packets));
    assert_eq!((counted("packets_lost_total"), counted("bytes_total")), (traffic.packets_lost, traffic.bytes));
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
    let over = CancellationToken::new();
    let mut player = playing(&site, Network::default(), over.clone()).await;
    player.until(|player| player.received.len() >= 20).await;
    let places = places(&player);
    assert!(places.len() >= 20 && player.received.windows(2).all(|two| two[0].time < two[1].time), "{places:?}");
    over.cancel();
    player.until(|player| player.is_over).await;
    while site.health.sessions("phone").is_some() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_a_player_lacks_is_sent_again_and_what_it_is_shown_follows_no_hole() {
    let site = TestBox::start().await;
    let over = CancellationToken::new();
    let mut player = playing(&site, Network { lost: 8, late: 8 }, over.clone()).await;
    player.until(|player| player.received.len() >= 60).await;
    assert!(player.dropped > 0, "the network lost some");
    // What was lost came again, so that next to all pictures came, in their order.
    let places = places(&player);
    let missing: usize = places.windows(2).map(|two| (two[1] + h264().len() - two[0] - 1) % h264().len()).sum();
    assert!(missing <= 6, "{missing} of {places:?}");
    assert!(player.received.windows(2).all(|two| two[0].time < two[1].time), "{places:?}");
    let mut known = None;
    while known.is_none() {
        let sessions = site.health.sessions("phone");
        known = sessions.filter(|of| of.played.packets_lost > 0 && of.played.resend_requests > 0);
        player.step().await;
    }
    let known = known.expect("just seen");
    assert_eq!((known.players, known.publisher), (1, None));
    over.cancel();
    player.until(|player| player.is_over).await;
}

/// Which pictures of `h264` a player got.
fn places(player: &Peer) -> Vec<usize> {
    let sent: Vec<_> = h264().iter().map(|packet| units(&packet.data).pop()).collect();
    let place = |media: &str0m::media::MediaData| sent.iter().position(|sent| *sent == units(&media.data).pop());
    player.received.iter().map(|media| place(media).expect("it was sent")).collect()
}

/// A player of endless pictures, behind a network.
async fn playing(site: &TestBox, network: Network, over: CancellationToken) -> Peer {
    let (player, offer) = Peer::offering(Coding::H264, Direction::RecvOnly).await;
    let mut player = player.receiving_behind(network);
    let mut pace = tokio::time::interval(Duration::from_millis(30));
    // Pictures at once would be more than the socket has room for.
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let paced = stream::unfold(pace, async |mut pace| Some((pace.tick().await, pace)));
    // Again and again, with times that grow.
    let endless = stream::iter(h264().iter().cycle().enumerate());
    let pictures =
        paced.zip(endless).map(|(_, (i, picture))| Packet { at: Mono(i as u64 * 100_000_000), ..picture.clone() });
    let pictures = pictures.take_until(Box::pin(over.cancelled_owned())).boxed();
    let opened = site.begin(offer, Purpose::Play(pictures)).await.expect("begun");
    player.answered(&opened.answer);
    player
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
        site.sessions.patch("phone", id, Some(tag.to_owned()), fragment.to_owned()).await
    };
    let line = "a=candidate:1 1 udp 2130706431 192.0.2.7 50000 typ host\r\na=nonsense\r\n";
    assert_eq!(add(&opened.id, &opened.tag, line).await, Ok(None));
    assert_eq!(add(&opened.id, "\"other\"", line).await, Err(Refusal::OtherTag));
    assert_eq!(add(&SessionId::from("guessed"), &opened.tag, line).await, Err(Refusal::Unknown));
    peer.vanish();
}

#[tokio::test]
async fn a_peer_whose_network_changes_goes_on_in_the_same_session() {
    let site = TestBox::start().await;
    let (peer, opened) = connected(&site, Coding::H264).await;
    let enough = CancellationToken::new();
    let sending = tokio::spawn(send(peer, Duration::from_millis(10), enough.clone()));
    let mut source = site.publishers.source("phone").await;
    take(&mut *source, |taken| taken.len() == 10).await;
    enough.cancel();
    let mut peer = sending.await.expect("sent");
    // From another address, by which nothing of the session before gets through.
    let fragment = peer.move_elsewhere().await;
    let restarted = site.sessions.patch("phone", &opened.id, None, fragment.clone()).await.expect("taken");
    let restarted = restarted.expect("another ICE session");
    assert!(restarted.tag != opened.tag && restarted.fragment.contains("a=ice-ufrag:"), "{restarted:?}");
    let again = site.sessions.patch("phone", &opened.id, Some(opened.tag.clone()), fragment).await;
    assert_eq!(again, Err(Refusal::OtherTag));
    peer.restarted(&opened.answer, &restarted.fragment);
    let enough = CancellationToken::new();
    let sending = tokio::spawn(send(peer, Duration::from_millis(10), enough.clone()));
    // All that the queue held is behind these.
    take(&mut *source, |taken| taken.len() > 120).await;
    enough.cancel();
    let peer = sending.await.expect("sent");
    assert!(!peer.is_over);
    let noted = site.health.sessions("phone").and_then(|sessions| sessions.publisher).expect("it publishes still");
    assert!(noted.connected);
    let half = "a=ice-ufrag:zzzz\r\na=ice-pwd:short\r\n".to_owned();
    let outcome = site.sessions.patch("phone", &opened.id, None, half).await;
    assert!(matches!(outcome, Ok(_) | Err(Refusal::BadOffer(_))), "{outcome:?}");
}
