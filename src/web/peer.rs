//! Who is at the other end of a connection.

use std::net::SocketAddr;

/// The other end, as the system says; the server puts it into the extensions of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// By the network.
    Tcp { address: SocketAddr, is_tls: bool },
    /// A program on this box, by the local socket. The kernel vouches for its user and group.
    Local { uid: u32, gid: u32 },
}
