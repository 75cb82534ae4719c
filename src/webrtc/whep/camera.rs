//! Which camera it is, and how its faults are worded.

use std::net::SocketAddr;
use std::time::Duration;

use url::Url;

use crate::source::SourceError;

/// How long a name may take to be resolved.
const RESOLVED_WITHIN: Duration = Duration::from_secs(10);

/// Where a camera is, and what it asks for.
pub(super) struct Camera {
    pub(super) url: Url,
    /// Its address without secrets.
    pub(super) what: String,
    pub(super) token: Option<String>,
    pub(super) verify_tls: bool,
}

impl Camera {
    pub(super) fn unsupported(&self, reason: String) -> SourceError {
        SourceError::Unsupported { what: self.what.clone(), reason }
    }

    pub(super) fn misbehaves(&self, reason: String) -> SourceError {
        SourceError::Protocol { what: self.what.clone(), reason }
    }

    pub(super) fn unreachable(&self, reason: String) -> SourceError {
        SourceError::Unreachable { what: self.what.clone(), reason }
    }

    /// An address of its host, towards which the way is looked up.
    pub(super) async fn address(&self) -> Result<SocketAddr, SourceError> {
        let port = self.url.port_or_known_default().unwrap_or(443);
        let host = match self.url.host() {
            Some(url::Host::Ipv4(address)) => return Ok((address, port).into()),
            Some(url::Host::Ipv6(address)) => return Ok((address, port).into()),
            Some(url::Host::Domain(name)) => name.to_owned(),
            None => return Err(self.unsupported("its address names no host".to_owned())),
        };
        let found = tokio::time::timeout(RESOLVED_WITHIN, tokio::net::lookup_host((host.as_str(), port))).await;
        let found = found.ok().and_then(Result::ok).and_then(|mut all| all.next());
        found.ok_or_else(|| {
            self.unreachable(format!("no address of {host} is known; check power, network, and host and port in url"))
        })
    }
}
