//! The service manager's side of life: readiness, status line, watchdog.

use std::time::Duration;

use systemd::daemon;
use tracing::debug;

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
