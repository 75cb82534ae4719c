//! What carries the pictures: the RTSP connection, or datagrams beside it. Some cameras take one of them only.

use std::collections::HashSet;
use std::fmt;
use std::sync::LazyLock;

use parking_lot::Mutex;
use retina::client::{TcpTransportOptions, UdpTransportOptions};
use url::Url;

use crate::source::Transport;

/// How a camera says that it does not take the transport of a SETUP.
const UNSUPPORTED_TRANSPORT: u16 = 461;

/// Addresses of cameras that refused TCP and took UDP, until the process ends.
static ONLY_UDP: LazyLock<Mutex<HashSet<Url>>> = LazyLock::new(Mutex::default);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    Tcp,
    Udp,
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
        })
    }
}

impl Carrier {
    /// What is asked for, in this order.
    pub(super) fn order(wish: Transport, url: &Url) -> &'static [Self] {
        match wish {
            Transport::Tcp => &[Self::Tcp],
            Transport::Udp => &[Self::Udp],
            Transport::Auto if with(|all| all.contains(url)) => &[Self::Udp, Self::Tcp],
            Transport::Auto => &[Self::Tcp, Self::Udp],
        }
    }

    /// Remembers that the camera at `url` takes this one.
    pub(super) fn remember(self, url: &Url) {
        with(|all| match self {
            Self::Tcp => all.remove(url),
            Self::Udp => all.insert(url.clone()),
        });
    }

    /// The next connection begins with TCP again.
    pub(super) fn forget(url: &Url) {
        with(|all| all.remove(url));
    }

    pub(super) fn for_retina(self) -> retina::client::Transport {
        match self {
            Self::Tcp => retina::client::Transport::Tcp(TcpTransportOptions::default()),
            Self::Udp => retina::client::Transport::Udp(UdpTransportOptions::default()),
        }
    }
}

/// Whether the camera refuses what it was asked to send by, and nothing else.
pub(super) fn is_refused(error: &retina::Error) -> bool {
    error.status_code() == Some(UNSUPPORTED_TRANSPORT)
}

fn with<R>(look: impl FnOnce(&mut HashSet<Url>) -> R) -> R {
    look(&mut ONLY_UDP.lock())
}
