//! Webhooks: every alert as a signed POST. The receiver's side: docs/webhooks.md.
//!
//! A 2xx confirms. What the receiver calls wrong (4xx) is put aside after some tries, and so is what it fails at for
//! minutes while it takes other alerts. Whatever else may mend itself is tried again for ever. Cameras do not wait for each other, and each camera's alerts come in their order.

mod config;
mod lanes;
mod request;
mod signature;
#[cfg(test)]
mod tests;
mod values;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::age::Limits;
use super::history::History;
use super::{Deps, digest, feed, payload};
use crate::destination::Destination;
use crate::supervise::{Backoff, Heartbeat};

use lanes::Lanes;
use request::Sender;

pub use config::Config;

/// Posts alerts to one receiver for as long as the daemon runs.
pub struct Webhook {
    destination: Destination,
    sender: Sender,
    tries: u32,
    deps: Deps,
    limits: Limits,
    history: Mutex<History>,
    backoff: Arc<dyn Fn() -> Backoff + Send + Sync>,
    /// For how long an alert has to fail, while others are taken, before it is put aside.
    patience: Duration,
    heartbeat: Heartbeat,
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("destination", &self.destination).finish()
    }
}

impl Webhook {
    /// Checks `config` and prepares; connects to nothing.
    ///
    /// # Errors
    /// As [`Config::validate`], and when `ca_file` cannot be used.
    pub fn new(name: &str, config: &Config, deps: Deps) -> Result<Self> {
        config.validate()?;
        let heartbeat = Heartbeat::detached(deps.clock.clone());
        let limits = Limits { max_age: config.max_age, rules: deps.rule_ages.clone() };
        Ok(Self {
            destination: Destination::webhook(name),
            sender: Sender::new(config)?,
            tries: config.tries,
            deps,
            limits,
            history: Mutex::default(),
            backoff: Arc::new(Backoff::for_connections),
            patience: lanes::PATIENCE,
            heartbeat,
        })
    }

    /// Beats with `heartbeat`: not while it waits for an answer of the queue.
    #[must_use]
    pub fn with_heartbeat(self, heartbeat: Heartbeat) -> Self {
        Self { heartbeat, ..self }
    }

    #[cfg(test)]
    fn with_backoff(self, backoff: impl Fn() -> Backoff + Send + Sync + 'static) -> Self {
        Self { backoff: Arc::new(backoff), ..self }
    }

    #[cfg(test)]
    fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Delivers until `stop`.
    ///
    /// # Errors
    /// When the queue is out of service.
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        Lanes::new(&self).run(&stop).await
    }
}
