//! Random offers, candidates and datagrams.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use futures::stream::{self, StreamExt};
use str0m::format::Codec;
use str0m::media::Direction;

use super::answer::{Way, negotiate};
use super::session::Session;
use super::socket::MediaSocket;
use super::tests::peer::Peer;
use super::{Config, Purpose, SessionId};
use crate::fuzz;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn within<T>(act: impl AsyncFnOnce(MediaSocket, String) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    runtime.block_on(async {
        let socket = MediaSocket::bind((LOOPBACK, 0).into()).await.expect("bind");
        let (_, offer) = Peer::offering(Codec::H264, Direction::RecvOnly).await;
        act(socket, offer).await
    })
}

#[test]
fn offers_of_strangers() {
    within(async |socket, offer| {
        let words =
            ["m=video 9 UDP/TLS/RTP/SAVPF 96", "a=fingerprint:sha-256 ", "a=candidate:", "a=setup:active", "\r\n"];
        fuzz::run("offers of WebRTC", &[offer.as_bytes()], &words, |input| {
            let offer = String::from_utf8_lossy(input);
            let outcome = negotiate(&offer, Way::Out, &[LOOPBACK], &Config::default(), &socket);
            outcome.map_or_else(|refusal| refusal.to_string(), |negotiated| negotiated.answer.len().to_string())
        });
    });
}

#[test]
fn datagrams_and_candidates_of_strangers() {
    within(async |socket, offer| {
        let negotiated = negotiate(&offer, Way::Out, &[LOOPBACK], &Config::default(), &socket);
        let Ok(negotiated) = negotiated else { panic!("an offer of str0m is refused") };
        let purpose = Purpose::Play(stream::pending().boxed());
        let id = SessionId::from("fuzzed");
        let session = RefCell::new(Session::new(id, "yard".into(), negotiated, purpose, Instant::now()));
        // A binding request with the session's name, a handshake, and media.
        let stun = [&[0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12], &[0, 6, 0, 3], b"a:b", &[0]].concat();
        let seeds: [&[u8]; 3] =
            [&stun, &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0], &[0x80, 96, 0, 1, 0, 0]];
        fuzz::run(
            "datagrams of WebRTC",
            &seeds,
            &[
                "a=candidate:1 1 udp 1 127.0.0.1 9 typ host\n",
                "a=ice-ufrag:abcd\n",
                "a=ice-pwd:0123456789abcdef012345\n",
            ],
            |input| {
                let mut session = session.borrow_mut();
                let taken = session.receive(input, (LOOPBACK, 9).into(), (LOOPBACK, socket.port()).into(), &socket);
                let _ = session.patch(&String::from_utf8_lossy(input), &socket);
                format!("{taken} {:?}", session.over())
            },
        );
    });
}
