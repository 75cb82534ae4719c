//! The one socket of all sessions.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;

/// Longer datagrams are none of WebRTC's.
pub(super) const LONGEST: usize = 2048;

/// Peers whose way is remembered.
const MOST_PEERS: usize = 1024;

/// For so long a way is remembered; networks, and the box's own addresses, change.
const REMEMBERED: Duration = Duration::from_secs(60);

/// A bound socket, and by which address of the box each peer is reached.
#[derive(Debug)]
pub(super) struct MediaSocket {
    socket: UdpSocket,
    local: SocketAddr,
    ways: HashMap<IpAddr, Way>,
}

/// The address of the box by which a peer is reached, and when that was found.
#[derive(Clone, Copy, Debug)]
struct Way {
    by: IpAddr,
    found: Instant,
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
        let known = self.ways.get(&peer.ip()).filter(|way| way.found.elapsed() < REMEMBERED);
        let by = known.map(|way| way.by).unwrap_or_else(|| {
            let by = way_to(peer).unwrap_or(own);
            self.ways.insert(peer.ip(), Way { by, found: Instant::now() });
            by
        });
        SocketAddr::new(by, self.local.port())
    }

    /// Forgets by which addresses peers are reached: a session that begins offers those that the box has now.
    pub(super) fn forget_ways(&mut self) {
        self.ways.clear();
    }
}

/// Asks the system's routes; nothing is sent.
fn way_to(peer: SocketAddr) -> Option<IpAddr> {
    let any = if peer.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = std::net::UdpSocket::bind((any, 0)).ok()?;
    socket.connect(peer).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_the_box_had_before_is_not_kept_for_ever() {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let mut socket = MediaSocket::bind((any, 0).into()).await.expect("bind");
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let own = SocketAddr::new(peer.ip(), socket.port());
        assert_eq!(socket.local_towards(peer), own);
        let before = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
        let now = Instant::now();
        socket.ways.insert(peer.ip(), Way { by: before, found: now });
        assert_eq!(socket.local_towards(peer).ip(), before, "it is remembered");
        socket.forget_ways();
        assert_eq!(socket.local_towards(peer), own);
        let long_ago = now.checked_sub(REMEMBERED);
        if let Some(found) = long_ago {
            socket.ways.insert(peer.ip(), Way { by: before, found });
            assert_eq!(socket.local_towards(peer), own);
        }
    }
}
