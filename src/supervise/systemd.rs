//! The service manager's side of life: readiness, status line, watchdog, sockets that it opened.

use std::io;
use std::net::TcpListener;
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::net::UnixListener;
use std::sync::OnceLock;
use std::time::Duration;

use systemd::daemon;
use tracing::{debug, warn};

/// Notifies systemd that the daemon is up. Without systemd nothing happens.
pub fn ready(status: &str) {
    notify(&[(daemon::STATE_READY, "1"), (daemon::STATE_STATUS, status)]);
}

/// Notifies systemd that the configuration is read again.
pub fn reloading() {
    notify(&[("RELOADING", "1")]);
}

/// Notifies systemd that this has come to its end.
pub fn reloaded() {
    notify(&[(daemon::STATE_READY, "1")]);
}

/// Notifies systemd that an orderly stop has begun.
pub fn stopping() {
    notify(&[(daemon::STATE_STOPPING, "1")]);
}

/// Changes the line that `systemctl status` shows.
pub fn status(text: &str) {
    notify(&[(daemon::STATE_STATUS, text)]);
}

/// Feeds the watchdog once.
pub fn watchdog() {
    notify(&[(daemon::STATE_WATCHDOG, "1")]);
}

/// How often the watchdog wants to be fed: half of what the unit allows; `None` where the unit has none.
pub fn watchdog_interval() -> Option<Duration> {
    let micros = daemon::watchdog_enabled().ok().filter(|&us| us > 0)?;
    Some(Duration::from_micros(micros) / 2)
}

fn notify(state: &[(&str, &str)]) {
    if let Err(error) = daemon::notify(state.iter()) {
        debug!(%error, "notify the service manager");
    }
}

/// The sockets that systemd opened for this process.
#[derive(Debug, Default)]
struct Inherited {
    tcp: Vec<TcpListener>,
    unix: Vec<UnixListener>,
}

/// They are kept for as long as the process lives: each part that serves one gets a handle of its own.
static INHERITED: OnceLock<Inherited> = OnceLock::new();

/// The ports that systemd listens on for the daemon (systemd/outpost.socket); none without socket activation.
///
/// # Errors
/// When there is no file descriptor left.
pub fn tcp_listeners() -> io::Result<Vec<TcpListener>> {
    inherited().tcp.iter().map(TcpListener::try_clone).collect()
}

/// The local sockets that systemd listens on for the daemon.
///
/// # Errors
/// As [`tcp_listeners`].
pub fn unix_listeners() -> io::Result<Vec<UnixListener>> {
    inherited().unix.iter().map(UnixListener::try_clone).collect()
}

fn inherited() -> &'static Inherited {
    INHERITED.get_or_init(|| {
        let mut inherited = Inherited::default();
        match daemon::listen_fds() {
            Ok(sockets) => sockets.iter().for_each(|socket| inherited.take(socket)),
            Err(error) => warn!(%error, "the sockets of the service manager cannot be taken over"),
        }
        inherited
    })
}

impl Inherited {
    fn take(&mut self, socket: RawFd) {
        if let Ok(listener) = daemon::tcp_listener(socket) {
            return self.tcp.push(listener);
        }
        let kind = Some(daemon::SocketType::Stream);
        match daemon::is_socket_unix(socket, kind, daemon::Listening::IsListening, None::<&str>) {
            Ok(true) => self.unix.push(owned(socket)),
            _ => warn!(socket, "a socket of the service manager is of no use here: neither a port nor a local socket"),
        }
    }
}

#[allow(unsafe_code)]
fn owned(socket: RawFd) -> UnixListener {
    // SAFETY: systemd opened the socket for this process, which it just confirmed to be one that listens; it is taken
    // over here alone, once in the life of the process.
    unsafe { UnixListener::from_raw_fd(socket) }
}
