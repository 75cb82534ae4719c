//! One session: a peer, its state, and what it is for.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{BoxStream, StreamExt};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Rtc};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::info;

use super::answer::Negotiated;
use super::egress::Egress;
use super::ingress::Ingress;
use super::socket::MediaSocket;
use super::{Purpose, SessionId};
use crate::frame::Packet;

/// Packets of media come within this after the answer, or do not come at all.
const CONNECTS_WITHIN: Duration = Duration::from_secs(20);

/// A peer that is not heard of for so long has gone; a phone that changes its network is back sooner, or begins again.
const GONE_AFTER: Duration = Duration::from_secs(15);

/// Times without anything else to do.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Candidates of a peer that are taken.
const MOST_CANDIDATES: u32 = 32;

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
    rtc: Rtc,
    pictures: Pictures,
    /// What a player is to get, until it is connected.
    waiting: Option<BoxStream<'static, Packet>>,
    begun: Instant,
    is_connected: bool,
    /// Since when the peer is not heard of.
    away: Option<Instant>,
    candidates: u32,
    /// Its pictures end with it.
    ends: DropGuard,
    due: Instant,
    over: Option<String>,
}

impl Session {
    pub(super) fn new(id: SessionId, camera: Arc<str>, negotiated: Negotiated, purpose: Purpose, now: Instant) -> Self {
        let (pictures, waiting) = match purpose {
            Purpose::Publish(publisher) => (Pictures::In(Ingress::new(publisher, now)), None),
            Purpose::Play(pictures) => (Pictures::Out(Egress::default()), Some(pictures)),
        };
        Self {
            id,
            camera,
            tag: negotiated.tag,
            rtc: negotiated.rtc,
            pictures,
            waiting,
            begun: now,
            is_connected: false,
            away: None,
            candidates: 0,
            ends: CancellationToken::new().drop_guard(),
            due: now,
            over: None,
        }
    }

    /// When it is to be looked at, at the latest.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// `publisher` or `player`.
    pub(super) fn kind(&self) -> &'static str {
        if matches!(self.pictures, Pictures::In(_)) { "publisher" } else { "player" }
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

    /// Adds candidates of the peer; those that cannot be read are left out.
    pub(super) fn add_candidates(&mut self, fragment: &str, socket: &MediaSocket) {
        for line in fragment.lines().filter_map(|line| line.trim().strip_prefix("a=")) {
            if self.candidates >= MOST_CANDIDATES {
                return;
            }
            let Ok(candidate) = Candidate::from_sdp_string(line) else { continue };
            self.candidates += 1;
            self.guarded(socket, Instant::now(), |session| {
                session.rtc.add_remote_candidate(candidate);
                Ok(())
            });
        }
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
        match event {
            Event::Connected => {
                self.is_connected = true;
                info!(camera = %self.camera, kind = self.kind(), "WebRTC session connected");
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                self.away.get_or_insert(now);
            }
            Event::IceConnectionStateChange(state) if state.is_connected() => self.away = None,
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
        let reason = if !self.rtc.is_alive() {
            Some("it was ended there")
        } else if self.away.is_some_and(|away| now.duration_since(away) > GONE_AFTER) {
            Some("it is not heard of any more: its network is gone, or its phone sleeps")
        } else if !self.is_connected && now.duration_since(self.begun) > CONNECTS_WITHIN {
            Some("no media came: UDP packets must get through to webrtc.listen, or webrtc.addresses be set")
        } else {
            reason
        };
        if let Some(reason) = reason {
            self.over.get_or_insert_with(|| reason.to_owned());
        }
    }
}
