//! MQTT 5 and 3.1.1: alerts, states, and commands. Topics and payload: docs/mqtt.md.
//!
//! Where the broker does not take something: `failure` judges and names the reason, `delivery` acts on it, `refusals`
//! decides on a refused alert, `search` finds the message at which the broker closes the connection.

mod background;
mod commands;
mod config;
mod delivery;
mod device;
mod discovery;
mod failure;
mod hangup;
mod link;
mod message;
mod picture_limits;
mod pictures;
mod refusals;
mod report;
mod search;
mod session;
mod states;
mod subscription;
mod suspects;
mod terms;
#[cfg(test)]
mod tests;
mod topics;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::age::Limits;
use super::history::History;
use super::{Deps, Item, digest, feed, payload};
use crate::destination::Destination;
use crate::supervise::{Backoff, Heartbeat};

use link::Address;
use picture_limits::PictureLimits;
use session::{End, Session};
use terms::Terms;
use topics::Topics;

pub use config::Config;
pub use device::{Camera, DeviceContext, NoStatus, Report, StatusProvider};
pub use wire::Protocol;

/// Name of this outlet in health, metrics and on the page.
pub const OUTLET: Destination = Destination::Mqtt;

/// The longest pause while the message is looked for that the broker hangs up at.
const SEARCH_PAUSE: Duration = Duration::from_secs(5);

/// Delivers alerts for as long as the daemon runs.
pub struct Alerter {
    config: Config,
    address: Address,
    topics: Topics,
    deps: Deps,
    device_context: DeviceContext,
    limits: Limits,
    history: Mutex<History>,
    terms: Mutex<Terms>,
    pictures: Arc<PictureLimits>,
    heartbeat: Heartbeat,
}

impl fmt::Debug for Alerter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alerter").field("broker", &self.address).field("device", &self.deps.device).finish()
    }
}

impl Alerter {
    /// Checks `config` and prepares; connects to nothing.
    ///
    /// # Errors
    /// As [`Config::validate`], and when the names of device or cameras cannot be topics, or when no broker is configured.
    pub fn new(config: Config, deps: Deps, device_context: DeviceContext) -> Result<Self> {
        ensure!(config.is_enabled(), "mqtt.url is empty: no broker to send alerts to");
        config.validate()?;
        let address = Address::parse(&config.url)?;
        let topics = Topics::new(&config.topic_prefix, &deps.device, &device_context.cameras)
            .context("build the topics of alerts")?;
        let heartbeat = Heartbeat::detached(deps.clock.clone());
        let limits = Limits { max_age: config.max_age, rules: deps.rule_ages.clone() };
        let terms = Mutex::new(Terms::new(config.protocol));
        let kept = device_context.announced.as_deref();
        let pictures = Arc::new(PictureLimits::new(&config, kept, deps.clock.clone()));
        let history = Mutex::default();
        Ok(Self { config, address, topics, deps, device_context, limits, history, terms, pictures, heartbeat })
    }

    /// Beats with `heartbeat`: not while it waits for an answer of the queue, or for a connection to come about.
    #[must_use]
    pub fn with_heartbeat(self, heartbeat: Heartbeat) -> Self {
        Self { heartbeat, ..self }
    }

    /// Connects, delivers, and connects again after a pause when the line breaks, until `stop`. An orderly
    /// stop publishes that and takes about a second at most.
    ///
    /// # Errors
    /// Never at present: whatever goes wrong is shown in health and tried again.
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        self.run_with(stop, Backoff::for_connections()).await
    }

    async fn run_with(self, stop: CancellationToken, mut backoff: Backoff) -> Result<()> {
        // A failure is logged when it begins or changes, not at each try.
        let mut logged: Option<String> = None;
        while !stop.is_cancelled() {
            let started = Instant::now();
            let mut session = Session::new(&self);
            let outcome = session.run(&stop).await;
            if stop.is_cancelled() {
                break;
            }
            let Err(End { reason: failure, other_at_once }) = outcome else { continue };
            if session.was_connected() {
                logged = None;
            }
            self.deps.health.outlet(OUTLET.as_str(), self.deps.clock.mono(), Err(failure.clone()));
            if other_at_once {
                info!(broker = %self.address, reason = %failure, "trying the broker again at once, in MQTT 3.1.1 or asking for less");
                continue;
            }
            // A broker that took alerts is well: it is not waited for as long as one that never answers.
            if session.has_delivered() {
                backoff.reset();
            }
            let mut pause = backoff.next_pause(started.elapsed());
            if self.terms(|terms| terms.suspects.is_near()) {
                pause = pause.min(SEARCH_PAUSE);
            }
            if logged.as_ref() != Some(&failure) {
                warn!(broker = %self.address, reason = %failure, "alerts wait, the broker cannot be used");
                logged = Some(failure);
            }
            tokio::select! {
                () = self.heartbeat.beating(tokio::time::sleep(pause)) => {}
                () = stop.cancelled() => {}
            }
        }
        Ok(())
    }

    /// What is known of the broker.
    fn terms<T>(&self, look: impl FnOnce(&mut Terms) -> T) -> T {
        look(&mut self.terms.lock())
    }

    /// Shows what works less well than it could, and logs what is new.
    fn show_remarks(&self) {
        let remarks = self.terms(|terms| terms.remarks());
        for remark in self.deps.health.outlet_remarks(OUTLET.as_str(), self.deps.clock.mono(), remarks) {
            warn!(broker = %self.address, remark, "the broker can be used, with restrictions");
        }
    }
}
