//! What runs on one volume, started and stopped as one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use futures::future::join_all;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::open::OpenVolume;
use super::outlets::{OutletContext, Start};
use super::parts::OutletPart;
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
    outlets: BTreeMap<OutletPart, Running>,
    recovery: Option<Running>,
}

impl VolumeSession {
    /// Starts outlets, retention and the timekeeper on `volume`.
    ///
    /// # Errors
    /// When an outlet cannot be set up.
    pub(super) fn start(volume: OpenVolume, config: &Config, shared: &Shared, context: &OutletContext) -> Result<Self> {
        let mut session = Self { volume, stop: CancellationToken::new(), outlets: BTreeMap::new(), recovery: None };
        for part in OutletPart::of(config) {
            session.start_part(&part, config, shared, context)?;
        }
        Ok(session)
    }

    /// Makes `new` hold in place of `old`, by replacing the parts that the difference is about. May be called again with other
    /// configurations after it failed.
    ///
    /// # Errors
    /// When an outlet does not take its settings, or the index is out of service. Some parts are not running then.
    pub(super) async fn reconfigure(
        &mut self,
        old: &Config,
        new: &Config,
        shared: &Shared,
        context: &OutletContext,
    ) -> Result<()> {
        let missing = OutletPart::of(new).into_iter().filter(|part| !self.outlets.contains_key(part));
        let changed: BTreeSet<OutletPart> = missing.chain(OutletPart::changed(old, new)).collect();
        let leaving: Vec<_> = changed.iter().filter_map(|part| self.outlets.remove(part)).collect();
        stop_all("an outlet", leaving).await;
        let (outboxes, destinations) = (self.volume.store.outboxes(), new.outboxes());
        if old.outboxes() != destinations {
            let configured = tokio::task::spawn_blocking(move || outboxes.configure(&destinations)).await;
            configured.map_err(|error| anyhow!("configure the outboxes: {error}"))??;
        }
        let wanted = OutletPart::of(new);
        for part in &changed {
            // What is known of it is of its old settings.
            if let Some(destination) = part.destination() {
                shared.health.forget_outlet(destination.as_str());
            }
            if wanted.contains(part) {
                self.start_part(part, new, shared, context)?;
            }
        }
        Ok(())
    }

    fn start_part(
        &mut self,
        part: &OutletPart,
        config: &Config,
        shared: &Shared,
        context: &OutletContext,
    ) -> Result<()> {
        let mut supervisor = Supervisor::new(self.stop.child_token(), &shared.heartbeats, &shared.metrics);
        Start { volume: &self.volume, config, shared, context }.part(part, &mut supervisor)?;
        self.outlets.insert(part.clone(), supervisor.start(OUTLET_GRACE));
        Ok(())
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
        stop_all("the outlets", std::mem::take(&mut self.outlets).into_values()).await;
        stop_all("the recovery", self.recovery.take()).await;
    }
}

/// Stops `parts` together.
async fn stop_all(what: &str, parts: impl IntoIterator<Item = Running>) {
    for stopped in join_all(parts.into_iter().map(Running::stop)).await {
        if let Err(failure) = stopped {
            warn!(what, error = format!("{failure:#}"), "a part could not be stopped");
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
