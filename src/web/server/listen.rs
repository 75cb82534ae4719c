//! The ports of the page.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::supervise::systemd;

/// How long an address may be taken by the page of before, which gives it up when it is asked to stop.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(2);
/// How often it is tried until then.
const TRY_EVERY: Duration = Duration::from_millis(50);

/// Opens the page's port.
///
/// # Errors
/// When the port is taken; says which and what to do.
pub(in crate::web) async fn bind(listen: SocketAddr) -> Result<TcpListener> {
    let until = Instant::now() + HANDED_OVER_WITHIN;
    loop {
        match TcpListener::bind(listen).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < until => {
                tokio::time::sleep(TRY_EVERY).await;
            }
            bound => return bound.map_err(|error| explained(error, listen)),
        }
    }
}

/// The ports that the service manager opened.
pub(in crate::web) fn inherited() -> io::Result<Vec<TcpListener>> {
    let listen = |socket: std::net::TcpListener| {
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket)
    };
    systemd::tcp_listeners()?.into_iter().map(listen).collect()
}

/// Finds out whether the page could move to `after`, while it is at `before`.
///
/// # Errors
/// As [`bind`].
pub(in crate::web) async fn check(before: SocketAddr, after: SocketAddr) -> Result<()> {
    if before == after {
        return Ok(());
    }
    // The page itself has its port; what remains to be seen is whether the address is this box's.
    let port = if before.port() == after.port() { 0 } else { after.port() };
    let free = TcpListener::bind((after.ip(), port)).await;
    free.map(drop).map_err(|error| explained(error, after))
}

fn explained(error: io::Error, listen: SocketAddr) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::AddrInUse => anyhow!(
            "port {} is taken by another program (\"ss -ltnp\" shows which): end it, or set web.listen to another port",
            listen.port()
        ),
        io::ErrorKind::PermissionDenied => {
            anyhow!("port {} needs privileges: set web.listen to a port above 1023", listen.port())
        }
        io::ErrorKind::AddrNotAvailable => anyhow!(
            "{} is no address of this box (\"ip address\" lists them): set web.listen to one that is, or to \
             0.0.0.0:{} for all",
            listen.ip(),
            listen.port()
        ),
        _ => anyhow!(error).context(format!("open web.listen {listen}")),
    }
}
