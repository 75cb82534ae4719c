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

/// What the network between does to media packets on their way to the box.
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
    random: fastrand::Rng,
    held: VecDeque<(Vec<u8>, SocketAddr)>,
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
            random: fastrand::Rng::with_seed(7),
            held: VecDeque::new(),
            dropped: 0,
        };
        (peer, offer.to_sdp_string())
    }

    pub(in crate::webrtc) fn behind(self, network: Network) -> Self {
        Self { network, ..self }
    }

    pub(in crate::webrtc) fn answered(&mut self, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer).expect("an answer");
        self.rtc.sdp_api().accept_answer(self.pending.take().expect("one offer"), answer).expect("it fits");
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

    async fn step(&mut self) {
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
        let destination = self.socket.local_addr().expect("address");
        let contents = buffer[..length].try_into().expect("a datagram of WebRTC");
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
        // Those of RTP and RTCP begin so (RFC 7983).
        let is_media = datagram.first().is_some_and(|first| (128..192).contains(first));
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
