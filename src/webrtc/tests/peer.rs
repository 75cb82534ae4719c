//! The other end of a session: str0m on a socket of its own, behind a network that may lose and reorder packets.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::format::Codec;
use str0m::media::{Direction, MediaData, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};
use tokio::net::UdpSocket;

/// What the network between does to media packets on their way.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::webrtc) struct Network {
    /// Of a hundred packets, so many are lost.
    pub lost: u8,
    /// Of a hundred packets, so many come after the next one.
    pub late: u8,
}

pub(in crate::webrtc) struct Peer {
    rtc: Rtc,
    socket: UdpSocket,
    pending: Option<SdpPendingOffer>,
    pub mid: Option<Mid>,
    pub is_connected: bool,
    pub is_over: bool,
    pub received: Vec<MediaData>,
    /// Key frames that the box asked for.
    pub asked: usize,
    network: Network,
    /// On the way to the peer.
    network_here: Network,
    random: fastrand::Rng,
    held: VecDeque<(Vec<u8>, SocketAddr)>,
    /// Datagrams that come after the next one.
    arrived: VecDeque<(Vec<u8>, SocketAddr)>,
    pub dropped: usize,
}

impl Peer {
    /// One that offers video of `codec` in `direction`; and its offer.
    pub(in crate::webrtc) async fn offering(codec: Codec, direction: Direction) -> (Self, String) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        let builder = Rtc::builder().set_crypto_provider(super::super::crypto::provider()).clear_codecs();
        let mut rtc = match codec {
            Codec::Vp8 => builder.enable_vp8(true),
            Codec::H264 => builder.enable_h264(true),
            _ => builder.enable_vp9(true),
        }
        .build(Instant::now());
        let host = Candidate::host(socket.local_addr().expect("address"), "udp").expect("candidate");
        rtc.add_local_candidate(host);
        let mut changes = rtc.sdp_api();
        let mid = changes.add_media(MediaKind::Video, direction, None, None, None);
        let (offer, pending) = changes.apply().expect("an offer");
        let peer = Self {
            rtc,
            socket,
            pending: Some(pending),
            mid: Some(mid),
            is_connected: false,
            is_over: false,
            received: Vec::new(),
            asked: 0,
            network: Network::default(),
            network_here: Network::default(),
            arrived: VecDeque::new(),
            random: fastrand::Rng::with_seed(7),
            held: VecDeque::new(),
            dropped: 0,
        };
        (peer, offer.to_sdp_string())
    }

    pub(in crate::webrtc) fn behind(self, network: Network) -> Self {
        Self { network, ..self }
    }

    /// The same, whose network does so to what comes.
    pub(in crate::webrtc) fn receiving_behind(self, network_here: Network) -> Self {
        Self { network_here, ..self }
    }

    pub(in crate::webrtc) fn answered(&mut self, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer).expect("an answer");
        self.rtc.sdp_api().accept_answer(self.pending.take().expect("one offer"), answer).expect("it fits");
    }

    /// Changes its network, and begins another ICE session there; gives what the box has to know of that.
    pub(in crate::webrtc) async fn move_elsewhere(&mut self) -> String {
        self.socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        let mut changes = self.rtc.sdp_api();
        changes.ice_restart(false);
        let (offer, pending) = changes.apply().expect("an offer");
        self.pending = Some(pending);
        let candidate = Candidate::host(self.socket.local_addr().expect("address"), "udp").expect("candidate");
        let line = format!("a={}", candidate.to_sdp_string());
        let offer = offer.to_sdp_string();
        let kept = offer.lines().filter(|line| line.starts_with("a=ice-") || line.starts_with("m="));
        kept.chain([line.as_str()]).map(|line| format!("{line}\r\n")).collect()
    }

    /// Goes on with what the box said of the other ICE session.
    pub(in crate::webrtc) fn restarted(&mut self, answer: &str, fragment: &str) {
        let new = |start: &str| fragment.lines().find_map(|line| line.strip_prefix(start)).expect("credentials").trim();
        let known = |start: &str| answer.lines().find_map(|line| line.strip_prefix(start)).expect("credentials").trim();
        // Candidates have the name, too.
        let (name, password) = ("a=ice-ufrag:", "a=ice-pwd:");
        let answer = answer.replace(known(name), new(name)).replace(known(password), new(password));
        self.answered(&answer);
        // Those of before are forgotten with the answer.
        let host = Candidate::host(self.socket.local_addr().expect("address"), "udp").expect("candidate");
        self.rtc.add_local_candidate(host);
    }

    /// Goes on until `done`.
    pub(in crate::webrtc) async fn until(&mut self, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            self.step().await;
        }
    }

    /// Sends a picture that is shown at `ticks` of 90 kHz.
    pub(in crate::webrtc) async fn picture(&mut self, ticks: u64, data: &[u8]) {
        self.drain().await;
        let writer = self.rtc.writer(self.mid.expect("a section")).expect("a writer");
        let pt = writer.payload_params().next().expect("a coding").pt();
        writer.write(pt, Instant::now(), MediaTime::from_90khz(ticks), data.to_vec()).expect("written");
        self.drain().await;
    }

    /// Leaves without a word.
    pub(in crate::webrtc) fn vanish(self) {}

    pub(in crate::webrtc) async fn leave(&mut self) {
        self.rtc.close().expect("closed");
        self.drain().await;
    }

    /// Waits for the next thing to happen.
    pub(in crate::webrtc) async fn step(&mut self) {
        let due = self.drain().await;
        if self.is_over {
            return;
        }
        let mut buffer = vec![0; 2048];
        let (now, received) = tokio::select! {
            received = self.socket.recv_from(&mut buffer) => (Instant::now(), received.ok()),
            () = tokio::time::sleep_until(due.into()) => (Instant::now(), None),
        };
        let Some((length, source)) = received else {
            return self.rtc.handle_input(Input::Timeout(now)).expect("time");
        };
        let datagram = buffer[..length].to_vec();
        let (dice, network) = (self.random.u8(..100), self.network_here);
        if is_media(&datagram) && dice < network.lost {
            self.dropped += 1;
        } else if is_media(&datagram) && dice < network.lost + network.late {
            self.arrived.push_back((datagram, source));
        } else {
            self.arrived.push_front((datagram, source));
            while let Some((datagram, source)) = self.arrived.pop_front() {
                self.take(&datagram, source, now);
                self.drain().await;
            }
        }
    }

    fn take(&mut self, datagram: &[u8], source: SocketAddr, now: Instant) {
        let destination = self.socket.local_addr().expect("address");
        let contents = datagram.try_into().expect("a datagram of WebRTC");
        let receive = Receive { proto: Protocol::Udp, source, destination, contents };
        self.rtc.handle_input(Input::Receive(now, receive)).expect("received");
    }

    async fn drain(&mut self) -> Instant {
        loop {
            match self.rtc.poll_output().expect("output") {
                Output::Timeout(due) => return due,
                Output::Transmit(transmit) => self.send(transmit.contents.to_vec(), transmit.destination).await,
                Output::Event(event) => match event {
                    Event::Connected => self.is_connected = true,
                    Event::Closed => self.is_over = true,
                    Event::MediaData(media) => self.received.push(media),
                    Event::KeyframeRequest(_) => self.asked += 1,
                    _ => {}
                },
            }
            if !self.rtc.is_alive() {
                self.is_over = true;
            }
        }
    }

    async fn send(&mut self, datagram: Vec<u8>, to: SocketAddr) {
        let is_media = is_media(&datagram);
        let dice = self.random.u8(..100);
        if is_media && dice < self.network.lost {
            self.dropped += 1;
            return;
        }
        if is_media && dice < self.network.lost + self.network.late {
            self.held.push_back((datagram, to));
            return;
        }
        self.socket.send_to(&datagram, to).await.expect("sent");
        while let Some((late, to)) = self.held.pop_front() {
            self.socket.send_to(&late, to).await.expect("sent");
        }
    }
}

/// Those of RTP and RTCP begin so (RFC 7983).
fn is_media(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| (128..192).contains(first))
}
