//! Signals, and the token that tells every part to stop.

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

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
