//! The other end of a connection.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The other end of a connection, as the system says; the server puts it into the extensions of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// A TCP connection.
    Tcp {
        /// From where. An IPv4 address is one, also where the listener speaks IPv6.
        address: SocketAddr,
        /// Whether it is encrypted.
        is_tls: bool,
    },
    /// A connection to the socket on the box itself. The kernel vouches for both.
    Local {
        /// The program's user.
        uid: u32,
        /// The program's group.
        gid: u32,
    },
}

impl Peer {
    /// The address to count failed logins by, and to note.
    pub(super) fn ip(self) -> IpAddr {
        match self {
            Self::Tcp { address, .. } => address.ip(),
            Self::Local { .. } => Ipv4Addr::LOCALHOST.into(),
        }
    }
}
