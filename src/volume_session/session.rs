//! What runs on one volume, started and stopped as one.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::open::OpenVolume;
use super::outlets::{OutletContext, Start};
use super::recovery;
use crate::config::Config;
use crate::pipeline::Shared;
use crate::store::Store;
use crate::supervise::{Running, Supervisor};

/// How long outlets may take to finish the item in hand.
const OUTLET_GRACE: Duration = Duration::from_millis(1500);

/// An open volume with the parts that run on it.
pub(super) struct VolumeSession {
    pub volume: OpenVolume,
    stop: CancellationToken,
    outlets: Option<Running>,
    recovery: Option<Running>,
}

impl VolumeSession {
    /// Starts outlets, retention and the timekeeper on `volume`.
    ///
    /// # Errors
    /// When an outlet cannot be set up.
    pub(super) fn start(volume: OpenVolume, config: &Config, shared: &Shared, context: &OutletContext) -> Result<Self> {
        let stop = CancellationToken::new();
        let mut outlets = Supervisor::new(stop.clone(), &shared.heartbeats, &shared.metrics);
        Start { volume: &volume, config, shared, context }.all(&mut outlets)?;
        let outlets = Some(outlets.start(OUTLET_GRACE));
        Ok(Self { volume, stop, outlets, recovery: None })
    }

    /// Puts what the past left in order, on a thread of its own that belongs to the session.
    pub(super) fn recover(&mut self, work: recovery::Work) {
        let mut supervisor = Supervisor::new(self.stop.clone(), &work.shared.heartbeats, &work.shared.metrics);
        recovery::start(work, &mut supervisor);
        self.recovery = Some(supervisor.start(OUTLET_GRACE));
    }

    /// Stops outlets and helpers, in bounded time also on a dead volume. The volume is left as it is.
    pub(super) async fn stop(&mut self) {
        self.stop.cancel();
        for (what, part) in [("the outlets", self.outlets.take()), ("the recovery", self.recovery.take())] {
            let Some(part) = part else { continue };
            if let Err(failure) = part.stop().await {
                warn!(what, error = format!("{failure:#}"), "a part could not be stopped");
            }
        }
    }
}

/// Closes the index of a volume that is not in use any more. On a dead volume that takes until the store's deadline.
///
/// # Errors
/// What the store says.
pub async fn close(store: Store) -> Result<()> {
    let closed = tokio::task::spawn_blocking(move || store.close()).await;
    closed.map_err(|e| anyhow!("close the store: {e}")).and_then(|closed| closed.context("close the store"))
}
