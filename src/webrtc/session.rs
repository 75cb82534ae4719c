//! One session: a peer, its state, and what it is for.

use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{BoxStream, StreamExt};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::info;

use super::answer::{Negotiated, restart};
use super::egress::Egress;
use super::fragment::{Fragment, of_answer};
use super::ingress::Ingress;
use super::meter::Meter;
use super::socket::MediaSocket;
use super::{Permit, Purpose, Refusal, Restarted, SessionId};
use crate::clock::Mono;
use crate::frame::Packet;
use crate::health::{PublisherHealth, Traffic};

/// ICE, and DTLS at the beginning, are through within this after the answer, or do not get through at all.
const CONNECTS_WITHIN: Duration = Duration::from_secs(20);

/// How long a peer may stay away of which str0m says, 15 s after its last binding request, that it is not heard of. A phone
/// that changes its network is back sooner, or begins again.
const GONE_AFTER: Duration = Duration::from_secs(1);

/// Times without anything else to do.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Candidates of a peer that are taken.
const MOST_CANDIDATES: u32 = 32;

/// What is said of a publisher or a player that does not get through.
const NOT_TO_THE_BOX: &str = "no media came: UDP packets must get through to webrtc.listen, or webrtc.addresses be set";

/// What is said of a publisher that may not go on.
const NO_LONGER_ALLOWED: &str = "its login or key has ended, or what it may see";

/// What is said of a peer that has gone.
const GONE: &str = "it is not heard of any more: its network is gone, or its phone sleeps";

/// What is said of a camera that does not get through.
const NOT_BETWEEN: &str = "no media came: UDP packets must get through between the box and the addresses in its answer";

/// Which way its pictures go.
#[derive(Debug)]
enum Pictures {
    In(Ingress),
    Out(Egress),
}

/// A peer.
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) camera: Arc<str>,
    pub(super) tag: String,
    /// Of the ICE session in use.
    offer: String,
    rtc: Rtc,
    pictures: Pictures,
    /// Of a publisher.
    permit: Option<Permit>,
    /// What a player is to get, until it is connected.
    waiting: Option<BoxStream<'static, Packet>>,
    begun: Instant,
    is_connected: bool,
    meter: Meter,
    /// Who asked for it, from where, and when on the boot clock.
    asked: (Arc<str>, Option<IpAddr>, Mono),
    /// The box made the offer.
    is_client: bool,
    /// Since when the peer is not heard of.
    away: Option<Instant>,
    /// When another ICE session began by which the peer is not heard of yet.
    restarted: Option<Instant>,
    candidates: u32,
    /// Its pictures end with it.
    ends: DropGuard,
    due: Instant,
    over: Option<String>,
}

impl Session {
    pub(super) fn new(id: SessionId, camera: Arc<str>, negotiated: Negotiated, purpose: Purpose, now: Instant) -> Self {
        let is_client = matches!(purpose, Purpose::Receive(_));
        let (pictures, permit, waiting) = match purpose {
            Purpose::Publish(publisher, permit) => (Pictures::In(Ingress::new(publisher, now)), Some(permit), None),
            Purpose::Receive(publisher) => (Pictures::In(Ingress::new(publisher, now).watched()), None, None),
            Purpose::Play(pictures) => (Pictures::Out(Egress::default()), None, Some(pictures)),
        };
        Self {
            id,
            camera,
            tag: negotiated.tag,
            offer: negotiated.offer,
            rtc: negotiated.rtc,
            pictures,
            permit,
            waiting,
            begun: now,
            is_connected: false,
            meter: Meter::default(),
            asked: ("".into(), None, Mono::default()),
            is_client,
            away: None,
            restarted: None,
            candidates: 0,
            ends: CancellationToken::new().drop_guard(),
            due: now,
            over: None,
        }
    }

    /// The same, which `by` asked for from an address at a time on the boot clock.
    pub(super) fn asked_for(self, by: Arc<str>, from: Option<IpAddr>, at: Mono) -> Self {
        Self { asked: (by, from, at), ..self }
    }

    /// The publisher, where it is one.
    pub(super) fn publisher(&self) -> Option<PublisherHealth> {
        let (by, from, since) = self.asked.clone();
        let (connected, traffic) = (self.is_connected, self.meter.traffic());
        matches!(self.pictures, Pictures::In(_)).then(|| PublisherHealth { by, from, since, connected, traffic })
    }

    /// Its media packets since it began.
    pub(super) fn traffic(&self) -> Traffic {
        self.meter.traffic()
    }

    /// Those since this was asked last.
    pub(super) fn fresh_traffic(&mut self) -> Traffic {
        self.meter.fresh()
    }

    /// When it is to be looked at, at the latest.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Whether media packets go back and forth.
    pub(super) fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// `publisher`, `player`, or `camera` where the box is the client.
    pub(super) fn kind(&self) -> &'static str {
        match self.pictures {
            Pictures::In(_) if self.is_client => "camera",
            Pictures::In(_) => "publisher",
            Pictures::Out(_) => "player",
        }
    }

    /// Why it is over, if it is.
    pub(super) fn over(&self) -> Option<&str> {
        self.over.as_deref()
    }

    /// What a player that has just been connected is to get.
    pub(super) fn wanted(&mut self) -> Option<BoxStream<'static, Packet>> {
        let waiting = if self.is_connected { self.waiting.take() } else { None };
        let over = self.ends.token().clone().cancelled_owned();
        waiting.map(|pictures| pictures.take_until(Box::pin(over)).boxed())
    }

    /// Takes a datagram, if it is for this session; says whether it was.
    pub(super) fn receive(&mut self, datagram: &[u8], from: SocketAddr, to: SocketAddr, socket: &MediaSocket) -> bool {
        let now = Instant::now();
        let Ok(contents) = datagram.try_into() else { return false };
        let receive = Receive { proto: Protocol::Udp, source: from, destination: to, contents };
        let input = Input::Receive(now, receive);
        if !self.rtc.accepts(&input) {
            return false;
        }
        self.guarded(socket, now, |session| session.rtc.handle_input(input).map_err(|e| e.to_string()));
        true
    }

    /// Moves its time on.
    pub(super) fn advance(&mut self, socket: &MediaSocket) {
        let now = Instant::now();
        self.guarded(socket, now, |session| session.rtc.handle_input(Input::Timeout(now)).map_err(|e| e.to_string()));
        self.judge(now);
    }

    /// Sends a picture to a player.
    pub(super) fn play(&mut self, packet: &Packet, socket: &MediaSocket) {
        let now = Instant::now();
        self.guarded(socket, now, |session| {
            if let Pictures::Out(egress) = &mut session.pictures {
                egress.send(&mut session.rtc, packet, now);
            }
            Ok(())
        });
    }

    /// Adds candidates of the peer; those that cannot be read are left out. Where they are of another ICE session, that
    /// begins: the peer has other addresses, and all else stays. Gives what the peer has to know of it.
    pub(super) fn patch(&mut self, text: &str, socket: &MediaSocket) -> Result<Option<Restarted>, Refusal> {
        let fragment = Fragment::read(text);
        if let Some(offer) = fragment.restarts(&self.offer)? {
            let (now, known) = (Instant::now(), self.rtc.direct_api().local_ice_credentials());
            let outcome = restart(&mut self.rtc, &offer);
            // Also where what follows in the offer is refused, the peer has to be heard of again.
            if self.rtc.direct_api().local_ice_credentials() != known {
                (self.away, self.restarted) = (None, Some(now));
            }
            let (answer, tag) = outcome?;
            (self.tag, self.offer, self.candidates) = (tag.clone(), offer, 0);
            self.guarded(socket, now, |_| Ok(()));
            return Ok(Some(Restarted { fragment: of_answer(&answer), tag }));
        }
        for candidate in fragment.candidates() {
            if self.candidates >= MOST_CANDIDATES {
                break;
            }
            let Ok(candidate) = Candidate::from_sdp_string(candidate) else { continue };
            self.candidates += 1;
            self.guarded(socket, Instant::now(), |session| {
                session.rtc.add_remote_candidate(candidate);
                Ok(())
            });
        }
        Ok(None)
    }

    /// Ends it: the peer is notified, and the camera's state says why.
    pub(super) fn end(mut self, reason: &str, socket: Option<&MediaSocket>) {
        if let Some(socket) = socket {
            self.guarded(socket, Instant::now(), |session| session.rtc.close().map_err(|e| e.to_string()));
        }
        if let Pictures::In(ingress) = self.pictures {
            ingress.end(reason);
        }
    }

    /// The pictures of a player have ended.
    pub(super) fn has_ended(&mut self) {
        self.over.get_or_insert_with(|| "its pictures have ended".to_owned());
    }

    /// Does something to the session and then all that follows from it. What goes wrong ends this session alone.
    fn guarded(&mut self, socket: &MediaSocket, now: Instant, act: impl FnOnce(&mut Self) -> Result<(), String>) {
        let done = catch_unwind(AssertUnwindSafe(|| {
            act(self)?;
            self.drain(socket, now)
        }));
        let failure = match done {
            Ok(Ok(())) => return,
            Ok(Err(failure)) => failure,
            Err(_) => "it sent what could not be handled".to_owned(),
        };
        self.over.get_or_insert(failure);
    }

    fn drain(&mut self, socket: &MediaSocket, now: Instant) -> Result<(), String> {
        loop {
            match self.rtc.poll_output().map_err(|e| e.to_string())? {
                Output::Transmit(transmit) => socket.send(&transmit.contents, transmit.destination),
                Output::Event(event) => self.note(event, now),
                Output::Timeout(due) => {
                    if let Pictures::In(ingress) = &mut self.pictures
                        && ingress.ask(&mut self.rtc, now)
                    {
                        continue;
                    }
                    self.due = due.min(now + LOOK_EVERY);
                    return Ok(());
                }
            }
        }
    }

    fn note(&mut self, event: Event, now: Instant) {
        self.meter.note(&event);
        match event {
            Event::Connected => {
                self.is_connected = true;
                info!(camera = %self.camera, kind = self.kind(), "WebRTC session connected");
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                self.away.get_or_insert(now);
            }
            Event::IceConnectionStateChange(state) if state.is_connected() => {
                (self.away, self.restarted) = (None, None);
            }
            Event::MediaAdded(added) if added.kind.is_video() => {
                if let Pictures::Out(egress) = &mut self.pictures {
                    egress.added(added.mid);
                }
            }
            Event::MediaData(media) => {
                if let Pictures::In(ingress) = &mut self.pictures {
                    ingress.picture(media, now);
                }
            }
            Event::Closed => {
                self.over.get_or_insert_with(|| "it was ended there".to_owned());
            }
            _ => {}
        }
    }

    fn judge(&mut self, now: Instant) {
        let reason = match &self.pictures {
            Pictures::In(ingress) => ingress.is_over(now),
            Pictures::Out(_) => None,
        };
        let is_past = |since: Option<Instant>, limit| since.is_some_and(|since| now.duration_since(since) > limit);
        let reason = if !self.rtc.is_alive() {
            Some("it was ended there")
        } else if self.permit.as_ref().is_some_and(|may_go_on| !may_go_on()) {
            Some(NO_LONGER_ALLOWED)
        } else if is_past(self.away, GONE_AFTER) || is_past(self.restarted, CONNECTS_WITHIN) {
            Some(GONE)
        } else if !self.is_connected && now.duration_since(self.begun) > CONNECTS_WITHIN {
            Some(if self.is_client { NOT_BETWEEN } else { NOT_TO_THE_BOX })
        } else {
            reason
        };
        if let Some(reason) = reason {
            self.over.get_or_insert_with(|| reason.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use futures::stream;
    use str0m::format::Codec;
    use str0m::media::Direction;

    use super::*;
    use crate::webrtc::Config;
    use crate::webrtc::answer::{Way, negotiate};
    use crate::webrtc::tests::peer::Peer;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    /// A player that was connected a moment ago.
    async fn connected() -> (Session, MediaSocket, Instant) {
        let socket = MediaSocket::bind((LOOPBACK, 0).into()).await.expect("bind");
        let (_, offer) = Peer::offering(Codec::H264, Direction::RecvOnly).await;
        let negotiated = negotiate(&offer, Way::Out, &[LOOPBACK], &Config::default(), &socket).expect("an answer");
        let (purpose, now) = (Purpose::Play(stream::pending().boxed()), Instant::now());
        let mut session = Session::new(SessionId::from("x"), "yard".into(), negotiated, purpose, now);
        session.note(Event::IceConnectionStateChange(IceConnectionState::Completed), now);
        session.note(Event::Connected, now);
        (session, socket, now)
    }

    fn is_over(session: &mut Session, at: Instant) -> bool {
        session.judge(at);
        session.over().is_some()
    }

    #[tokio::test]
    async fn a_session_that_goes_on_by_another_way_ends_where_no_one_is_heard_of_there() {
        let fragment = "a=ice-ufrag:new2\r\na=ice-pwd:new-password-of-22-letters\r\n";
        let (mut lost, socket, now) = connected().await;
        assert!(lost.patch(fragment, &socket).expect("taken").is_some());
        assert!(!is_over(&mut lost, now + CONNECTS_WITHIN / 2));
        assert!(is_over(&mut lost, Instant::now() + CONNECTS_WITHIN * 2));
        let (mut back, socket, now) = connected().await;
        assert!(back.patch(fragment, &socket).expect("taken").is_some());
        back.note(Event::IceConnectionStateChange(IceConnectionState::Completed), now);
        assert!(!is_over(&mut back, Instant::now() + CONNECTS_WITHIN * 2), "it is heard of again");
    }

    #[tokio::test]
    async fn a_peer_that_is_not_heard_of_has_gone_and_one_that_changes_its_network_in_time_has_not() {
        let away = Event::IceConnectionStateChange(IceConnectionState::Disconnected);
        let (mut gone, _, now) = connected().await;
        gone.note(away, now);
        assert!(!is_over(&mut gone, now));
        // str0m has waited for 15 s before.
        assert!(is_over(&mut gone, now + Duration::from_secs(2)));
        let (mut moved, socket, now) = connected().await;
        moved.note(Event::IceConnectionStateChange(IceConnectionState::Disconnected), now);
        let fragment = "a=ice-ufrag:new2\r\na=ice-pwd:new-password-of-22-letters\r\n";
        assert!(moved.patch(fragment, &socket).expect("taken").is_some());
        assert!(!is_over(&mut moved, now + CONNECTS_WITHIN / 2));
    }
}
