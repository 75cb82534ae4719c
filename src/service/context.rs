//! What all services work with.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;

use crate::access::Access;
use crate::audit::Audit;
use crate::clock::{Clock, Mono};
use crate::control::Control;
use crate::discovery::Discovery;
use crate::health::Health;
use crate::infer::Jobs;
use crate::metrics::Metrics;
use crate::source::Publishers;
use crate::store::Store;
use crate::supervise::Heartbeats;

use super::backtest::BacktestService;
use super::config::ConfigService;
use super::configured::Configured;
use super::current_volume::CurrentVolume;

/// What the services work with.
#[derive(Clone)]
pub struct Context {
    /// Phones and browsers that send to cameras.
    pub publishers: Publishers,
    /// Name of the box.
    pub device: Arc<str>,
    /// Where it stands; may be empty.
    pub site: Arc<str>,
    /// Index and archive in use.
    pub volume: CurrentVolume,
    /// The box's clock.
    pub clock: Arc<dyn Clock>,
    /// When the daemon started.
    pub started: Mono,
    /// What the parts know of themselves.
    pub health: Health,
    /// Signs of life.
    pub heartbeats: Heartbeats,
    /// Counters.
    pub metrics: Metrics,
    /// What people switched.
    pub control: Control,
    /// Who may come in.
    pub access: Access,
    /// Who did what.
    pub audit: Audit,
    /// Rules that are tried.
    pub backtests: BacktestService,
    /// Where pipelines lie.
    pub pipelines: Arc<Path>,
    /// The threads of all inference.
    pub jobs: Jobs,
    /// How cameras in the local networks are asked for.
    pub discovery: Discovery,
    /// Which configuration is in use.
    pub config: ConfigService,
    /// What the configuration in use says.
    pub configured: watch::Receiver<Arc<Configured>>,
}

impl Context {
    /// What the configuration in use says, at this moment.
    pub(super) fn configured(&self) -> Arc<Configured> {
        self.configured.borrow().clone()
    }

    /// The index in use.
    pub(super) fn store(&self) -> Store {
        self.volume.store()
    }
}
