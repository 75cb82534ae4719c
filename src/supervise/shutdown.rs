//! Signals, and the token that stops every part.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::spawn_thread;

/// Cancels `stop` at the first SIGINT or SIGTERM; ends the process at once at the second.
///
/// # Errors
/// When the signal handlers cannot be installed.
pub fn on_signals(stop: CancellationToken) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("install the SIGINT handler")?;
    let mut terminate = signal(SignalKind::terminate()).context("install the SIGTERM handler")?;
    tokio::spawn(async move {
        let mut asked = false;
        loop {
            let name = tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
            };
            if asked {
                warn!(signal = name, "asked to stop a second time, leaving at once");
                #[expect(clippy::disallowed_methods, reason = "a person asked twice")]
                std::process::exit(130);
            }
            asked = true;
            info!(signal = name, "stopping");
            stop.cancel();
        }
    });
    Ok(())
}

/// Calls `reload` at each SIGHUP, which asks daemons to read their configuration again.
///
/// # Errors
/// When the signal handler cannot be installed.
pub fn on_hangup(reload: impl Fn() + Send + 'static) -> Result<()> {
    let mut hangup = signal(SignalKind::hangup()).context("install the SIGHUP handler")?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            info!(signal = "SIGHUP", "reading the configuration again");
            reload();
        }
    });
    Ok(())
}

/// Ends the process after `limit`, whatever still hangs then: its successor may find a disk that answers.
pub fn end_within(limit: Duration) {
    let end = move || {
        thread::sleep(limit);
        error!(after_s = limit.as_secs(), "not everything could be stopped, leaving it");
        #[expect(clippy::disallowed_methods, reason = "what hangs is never going to return")]
        std::process::exit(1);
    };
    if let Err(error) = spawn_thread("last-resort", end) {
        warn!(%error, "the process is not ended should it hang while it stops");
    }
}
