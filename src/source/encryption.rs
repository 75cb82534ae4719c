//! Whether a port speaks TLS, to explain a connection that failed for the wrong choice of it.
//!
//! Neither client says more than that a connection broke or that an answer makes no sense. So the port is greeted
//! once in TLS: a record in TLS comes back where it is spoken, be it an alert.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::{Host, Url};

use super::SourceError;

/// Limit of connecting and of the answer each.
const LIMIT: Duration = Duration::from_secs(4);

/// The same behind an address without TLS, where every server in TLS answers at once and others wait for more.
const SHORT_LIMIT: Duration = Duration::from_secs(2);

/// Schemes without and with encryption, and their ports where the address names none.
const SCHEMES: [(&str, u16, &str, u16); 3] =
    [("rtsp", 554, "rtsps", 322), ("http", 80, "https", 443), ("rtmp", 1935, "rtmps", 443)];

/// Types of the records that a server begins with: an alert, or its part of the handshake.
const RECORDS: [u8; 2] = [0x15, 0x16];

/// A greeting of TLS 1.2 with suites that all servers know, and without extensions. Behind the heads of record (5
/// bytes) and message (4) come version, 32 bytes of the client, no session, four suites, and no compression.
const HELLO: [u8; 58] = {
    let mut hello = [0x5a; 58];
    let head = [0x16, 3, 1, 0, 53, 1, 0, 0, 49, 3, 3];
    let tail = [0, 0, 8, 0xc0, 0x2f, 0xc0, 0x2b, 0x00, 0x9c, 0x00, 0x2f, 1, 0];
    let mut at = 0;
    while at < head.len() {
        hello[at] = head[at];
        at += 1;
    }
    at = 0;
    while at < tail.len() {
        hello[hello.len() - tail.len() - 2 + at] = tail[at];
        at += 1;
    }
    // No extensions.
    hello[56] = 0;
    hello[57] = 0;
    hello
};

/// The failure that a connection to `url` has for the wrong choice of TLS, where that is the reason. To be asked
/// after a connection has failed in a way that this may explain.
pub(super) async fn mismatch(url: &Url, what: &str) -> Option<SourceError> {
    let (plain, plain_port, encrypted, encrypted_port) =
        SCHEMES.into_iter().find(|(plain, _, encrypted, _)| [*plain, *encrypted].contains(&url.scheme()))?;
    let is_encrypted = url.scheme() == encrypted;
    let port = url.port_or_known_default().unwrap_or(if is_encrypted { encrypted_port } else { plain_port });
    let answer = answer_to_hello(url, port, if is_encrypted { LIMIT } else { SHORT_LIMIT }).await?;
    let reason = match (is_encrypted, answer.is_some_and(|first| RECORDS.contains(&first))) {
        // Some hang up for other reasons.
        (true, false) if answer.is_none() => format!(
            "port {port} closes the connection at a greeting in TLS, which {encrypted}:// needs; if it speaks none, write \
             {plain}:// for this port, or the port on which the camera speaks TLS"
        ),
        (true, false) => format!(
            "port {port} does not speak TLS, which {encrypted}:// needs; write {plain}:// for this port, or the port on \
             which the camera speaks TLS"
        ),
        (false, true) => format!(
            "port {port} speaks TLS; write ffmpeg:{encrypted}:// for this port, or the port on which the camera speaks \
             {plain}:// without TLS"
        ),
        _ => return None,
    };
    Some(SourceError::Unsupported { what: what.to_owned(), reason })
}

/// The first byte of the answer, if one comes. `None` where there is no connection to begin with.
async fn answer_to_hello(url: &Url, port: u16, limit: Duration) -> Option<Option<u8>> {
    let mut stream = match url.host()? {
        Host::Domain(name) => timeout(limit, TcpStream::connect((name, port))).await,
        Host::Ipv4(address) => timeout(limit, TcpStream::connect((address, port))).await,
        Host::Ipv6(address) => timeout(limit, TcpStream::connect((address, port))).await,
    }
    .ok()?
    .ok()?;
    stream.write_all(&HELLO).await.ok()?;
    Some(timeout(limit, stream.read_u8()).await.ok()?.ok())
}
