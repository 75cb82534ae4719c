//! The one socket of all sessions.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::UdpSocket;

/// Longer datagrams are none of WebRTC's.
pub(super) const LONGEST: usize = 2048;

/// Peers whose way is remembered.
const MOST_PEERS: usize = 1024;

/// A bound socket, and by which address of the box each peer is reached.
#[derive(Debug)]
pub(super) struct MediaSocket {
    socket: UdpSocket,
    local: SocketAddr,
    ways: HashMap<IpAddr, IpAddr>,
}

impl MediaSocket {
    pub(super) async fn bind(listen: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(listen).await?;
        let local = socket.local_addr()?;
        Ok(Self { socket, local, ways: HashMap::new() })
    }

    pub(super) fn port(&self) -> u16 {
        self.local.port()
    }

    /// Whether packets that are sent to `address` may come in here.
    pub(super) fn serves(&self, address: IpAddr) -> bool {
        let own = self.local.ip();
        own == address || own.is_unspecified() && own.is_ipv4() == address.is_ipv4()
    }

    /// The next datagram. Cancel-safe.
    pub(super) async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket.recv_from(buffer).await
    }

    /// Sends a datagram, or drops it where the system has no room for it.
    pub(super) fn send(&self, datagram: &[u8], to: SocketAddr) {
        // Lost as packets are lost on the way: what matters is sent again.
        let _ = self.socket.try_send_to(datagram, to);
    }

    /// The address of the box to which datagrams of `peer` came: that which the system answers from.
    pub(super) fn local_towards(&mut self, peer: SocketAddr) -> SocketAddr {
        let own = self.local.ip();
        if !own.is_unspecified() {
            return self.local;
        }
        if self.ways.len() > MOST_PEERS {
            self.ways.clear();
        }
        let way = *self.ways.entry(peer.ip()).or_insert_with(|| way_to(peer).unwrap_or(own));
        SocketAddr::new(way, self.local.port())
    }
}

/// Asks the system's routes; nothing is sent.
fn way_to(peer: SocketAddr) -> Option<IpAddr> {
    let any = if peer.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = std::net::UdpSocket::bind((any, 0)).ok()?;
    socket.connect(peer).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
