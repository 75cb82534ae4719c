//! Cameras on the local network that answer WS-Discovery, as ONVIF cameras do.
//!
//! One question is sent by multicast from each address of this box, and answers are taken for a bounded time. They come
//! from anyone: what they say is cut to size, and shown as a proposal that a person confirms.

mod answer;
#[cfg(test)]
mod fuzz;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures::future::join_all;
use serde::Serialize;
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

/// How cameras are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Where they listen; one on loopback is asked alone.
    pub group: SocketAddr,
    /// Answers are taken for so long.
    pub within: Duration,
}

impl Default for Discovery {
    fn default() -> Self {
        let group = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(239, 255, 255, 250)), 3702);
        Self { group, within: Duration::from_secs(3) }
    }
}

/// Cameras in an answer; more than one box serves.
const MOST: usize = 128;
/// Addresses of this box that are asked from.
const MOST_ADDRESSES: usize = 16;
/// Datagrams that are read at most, so that a flood ends.
const MOST_DATAGRAMS: usize = 1000;
/// A datagram is no longer, bytes.
const LONGEST: usize = 65_535;

/// A camera that answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NetworkCamera {
    /// Its address; the answer came from there.
    pub address: IpAddr,
    /// What it calls itself; empty where it does not.
    pub name: String,
    /// Its model, where it says.
    pub hardware: String,
    /// A source to begin with: its path is the person's to complete.
    pub source: String,
}

/// Asks for cameras from each address of this box.
pub async fn find(Discovery { group, within }: Discovery) -> Vec<NetworkCamera> {
    let until = Instant::now() + within;
    let from = if group.ip().is_loopback() { vec![Ipv4Addr::LOCALHOST] } else { addresses().await };
    let found = join_all(from.into_iter().take(MOST_ADDRESSES).map(|address| ask(address, group, until))).await;
    let mut cameras: BTreeMap<IpAddr, NetworkCamera> = BTreeMap::new();
    for camera in found.into_iter().flatten() {
        if cameras.len() < MOST || cameras.contains_key(&camera.address) {
            cameras.entry(camera.address).or_insert(camera);
        }
    }
    cameras.into_values().collect()
}

/// The cameras that answer `address`. A network that cannot be asked has none.
async fn ask(address: Ipv4Addr, group: SocketAddr, until: Instant) -> Vec<NetworkCamera> {
    let id = message_id();
    let mut found = Vec::new();
    let Ok(socket) = UdpSocket::bind((address, 0)).await else { return found };
    if socket
        .set_multicast_ttl_v4(1)
        .and(socket.send_to(answer::question(&id).as_bytes(), group).await.map(drop))
        .is_err()
    {
        return found;
    }
    let mut buffer = vec![0; LONGEST];
    for _ in 0..MOST_DATAGRAMS {
        let Ok(Ok((bytes, from))) = timeout_at(until, socket.recv_from(&mut buffer)).await else { break };
        let camera = buffer.get(..bytes).and_then(|datagram| answer::read(datagram, &id, from.ip()));
        found.extend(camera.filter(|_| found.len() < MOST));
    }
    found
}

/// Marks the answers to one question.
fn message_id() -> String {
    let random = format!("{:032x}", fastrand::u128(..));
    let part = |from: usize, to: usize| random.get(from..to).unwrap_or_default();
    format!("urn:uuid:{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

/// The addresses of this box in its networks, loopback left out.
async fn addresses() -> Vec<Ipv4Addr> {
    let table = tokio::fs::read_to_string("/proc/net/fib_trie").await.unwrap_or_default();
    local_addresses(&table)
}

/// The local addresses in the kernel's table of routes.
fn local_addresses(table: &str) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut last = None;
    for line in table.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL"
            && let Some(address) = last.filter(|address| !address.is_loopback() && !found.contains(address))
        {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_the_box_are_in_the_table_of_routes() {
        let table = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 10.0.0.0/24 2 0 2\n\
                     |-- 10.0.0.0\n /24 link UNICAST\n |-- 10.0.0.5\n /32 host LOCAL\n |-- 10.0.0.255\n /32 link BROADCAST\n\
                     |-- 127.0.0.1\n /32 host LOCAL\nLocal:\n |-- 10.0.0.5\n /32 host LOCAL\n";
        assert_eq!(local_addresses(table), [Ipv4Addr::new(10, 0, 0, 5)]);
        assert_eq!(local_addresses("garbage"), [] as [Ipv4Addr; 0]);
    }

    /// Works with: cameras | ONVIF cameras that answer WS-Discovery | are found; answers to other questions and garbage are left out
    #[tokio::test]
    async fn cameras_that_answer_the_question_are_found_once() {
        let responder = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        let group = responder.local_addr().expect("an address");
        let asked = tokio::spawn(async move {
            let mut buffer = vec![0; LONGEST];
            let (bytes, from) = responder.recv_from(&mut buffer).await.expect("a question");
            let question = String::from_utf8(buffer[..bytes].to_vec()).expect("UTF-8");
            let id = question.split("MessageID>").nth(1).expect("an id").split('<').next().expect("an id").to_owned();
            for answer in [
                "garbage".to_owned(),
                answer::sample("urn:uuid:another", "Wrong"),
                answer::sample(&id, "Gate%20north"),
                answer::sample(&id, "Twice"),
            ] {
                responder.send_to(answer.as_bytes(), from).await.expect("answer");
            }
            question
        });
        let found = find(Discovery { group, within: Duration::from_millis(500) }).await;
        assert!(asked.await.expect("a question").contains("NetworkVideoTransmitter"));
        let expected = NetworkCamera {
            address: Ipv4Addr::LOCALHOST.into(),
            name: "Gate north".to_owned(),
            hardware: "M1065-L".to_owned(),
            source: "rtsp://127.0.0.1/".to_owned(),
        };
        assert_eq!(found, [expected]);
    }
}
