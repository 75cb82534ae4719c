//! The other end of a connection.

use std::net::SocketAddr;

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;

use super::listener::LimitedListener;

/// The other end of a connection; stands in the extensions of each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// A TCP connection.
    Tcp {
        /// From where.
        address: SocketAddr,
        /// Whether it is encrypted.
        is_tls: bool,
    },
    /// A connection to the socket on the box itself.
    Local {
        /// The program's user.
        uid: u32,
        /// The program's group.
        gid: u32,
    },
}

impl Connected<IncomingStream<'_, LimitedListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, LimitedListener>) -> Self {
        Self::Tcp { address: *stream.remote_addr(), is_tls: false }
    }
}
