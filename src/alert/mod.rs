//! Alerts: tells people and machines at once, over MQTT 5, what the store has made durable.
//!
//! The alerter only drains a durable [`Queue`]: an item leaves it when the broker has confirmed it
//! (PUBACK), never before. No link means that the queue grows. Topics and payload: docs/mqtt.md.

mod failure;
mod feed;
mod link;
mod mqtt;
mod payload;
#[cfg(test)]
mod tests;
mod topics;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::clock::{Clock, Moment};
use crate::event::{Event, Phase};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::supervise::{Backoff, Heart};

use link::Address;
use mqtt::Session;
use topics::Topics;

/// Name of this outlet in health, metrics and on the page.
pub const OUTLET: &str = "mqtt";

/// `[mqtt]`: where alerts go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The broker: `mqtt://host:1883` or `mqtts://host:8883` (TLS); the port may be left out. Credentials
    /// do not belong here. Default: empty, which means no alerts.
    pub url: String,
    /// User name at the broker. Default: none.
    pub username: Option<String>,
    /// File that holds the password, read at each connection; a line end at its end is ignored. Default: none.
    pub password_file: Option<PathBuf>,
    /// PEM file with the CA certificates that the broker's certificate is checked against. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// PEM file with this box's certificate, for brokers that ask for one. Default: none.
    pub client_cert_file: Option<PathBuf>,
    /// PEM file with the key of `client_cert_file`. Default: none.
    pub client_key_file: Option<PathBuf>,
    /// First part of every topic; may have several levels. Default: `outpost`.
    pub topic_prefix: String,
    /// Identity at the broker, one per box. Default: `outpost-<device>`.
    pub client_id: Option<String>,
    /// How long the line may be silent before it is tested; a dead one is noticed within twice this time.
    /// 5 s to 18 h. Default: `30s`.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub keep_alive: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: String::new(),
            username: None,
            password_file: None,
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            topic_prefix: "outpost".to_owned(),
            client_id: None,
            keep_alive: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// Whether a broker is configured at all.
    pub fn is_enabled(&self) -> bool {
        !self.url.is_empty()
    }

    /// Checks everything that can be checked without the broker and without reading secrets.
    ///
    /// # Errors
    /// Names the key, its value where it is no secret, and what is allowed.
    pub fn validate(&self) -> Result<()> {
        if !self.is_enabled() {
            return Ok(());
        }
        let address = Address::parse(&self.url)?;
        topics::check_prefix(&self.topic_prefix)?;
        let keep_alive = self.keep_alive;
        ensure!(
            (5..=65_535).contains(&keep_alive.as_secs()),
            "mqtt.keep_alive is {keep_alive:?}; allowed are 5s to 18h"
        );
        ensure!(
            self.password_file.is_none() || self.username.is_some(),
            "mqtt.password_file is set without mqtt.username: set both or none"
        );
        ensure!(
            self.client_cert_file.is_some() == self.client_key_file.is_some(),
            "mqtt.client_cert_file and mqtt.client_key_file belong together: set both or none"
        );
        let tls_files = [&self.ca_file, &self.client_cert_file];
        ensure!(
            address.tls || tls_files.iter().all(|file| file.is_none()),
            "mqtt.url {:?} is not encrypted, so mqtt.ca_file and mqtt.client_cert_file would do nothing: use mqtts://",
            self.url
        );
        Ok(())
    }
}

/// One alert that waits in the queue.
#[derive(Clone, Debug)]
pub struct Item {
    /// Place in the queue; grows by one with each alert of this box and is never used twice.
    pub seq: u64,
    /// Which step of the event's life is told.
    pub phase: Phase,
    /// The event as it stood then.
    pub event: Event,
    /// When the alert was put into the queue.
    pub created: Moment,
}

/// The durable outbox of alerts. The store implements it.
pub trait Queue: Send + Sync + 'static {
    /// Takes up to `max` items out on loan, oldest first, without those that are out already. May be empty.
    /// Loans do not survive a restart.
    fn lease(&self, max: usize) -> BoxFuture<'_, Result<Vec<Item>>>;
    /// The broker has `seq`: forget it durably.
    fn ack(&self, seq: u64) -> BoxFuture<'_, Result<()>>;
    /// `seq` could not be delivered now: back to its place, so that the next lease gives it again.
    fn release(&self, seq: u64) -> BoxFuture<'_, Result<()>>;
    /// `seq` can never be delivered, for `reason`: put it aside as a dead letter.
    fn reject<'a>(&'a self, seq: u64, reason: &'a str) -> BoxFuture<'a, Result<()>>;
    /// Returns when there may be something to lease. Returning for nothing is fine; so is returning late,
    /// as the alerter looks by itself every few seconds.
    fn wait(&self) -> BoxFuture<'_, ()>;
}

/// Makes the object key in the cloud of a file of an event. Uploads know how; alerts only tell.
pub type ObjectKey = Arc<dyn Fn(&Event, &str) -> String + Send + Sync>;

/// What the alerter works with.
#[derive(Clone)]
pub struct Deps {
    /// Name of the box; part of every topic.
    pub device: Arc<str>,
    /// Names of all cameras; each gets an availability topic.
    pub cameras: Vec<Arc<str>>,
    /// Where alerts wait.
    pub queue: Arc<dyn Queue>,
    /// Keys of uploaded files, named in `end` alerts; `None` where nothing is uploaded.
    pub object_key: Option<ObjectKey>,
    /// Camera states are read from it, the state of the connection is written to it.
    pub health: Health,
    /// Deliveries are counted here.
    pub metrics: Metrics,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Delivers alerts for as long as the daemon runs.
pub struct Alerter {
    config: Config,
    address: Address,
    topics: Topics,
    deps: Deps,
    heart: Heart,
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
    pub fn new(config: Config, deps: Deps) -> Result<Self> {
        ensure!(config.is_enabled(), "mqtt.url is empty: no broker to send alerts to");
        config.validate()?;
        let address = Address::parse(&config.url)?;
        let topics =
            Topics::new(&config.topic_prefix, &deps.device, &deps.cameras).context("build the topics of alerts")?;
        let heart = Heart::unheard(deps.clock.clone());
        Ok(Self { config, address, topics, deps, heart })
    }

    /// Beats with `heart`: not while it waits for an answer of the queue, or for a connection to come about.
    #[must_use]
    pub fn with_heart(self, heart: Heart) -> Self {
        Self { heart, ..self }
    }

    /// Connects, delivers, and connects again after a pause when the line breaks, until `stop`. An orderly
    /// stop tells the broker and takes about a second at most.
    ///
    /// # Errors
    /// Never at present: whatever goes wrong is shown in health and tried again.
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        self.run_with(stop, Backoff::for_connections()).await
    }

    async fn run_with(self, stop: CancellationToken, mut backoff: Backoff) -> Result<()> {
        // A failure is logged when it begins or changes, not at each try.
        let mut told: Option<String> = None;
        while !stop.is_cancelled() {
            let started = Instant::now();
            let mut session = Session::new(&self);
            let outcome = session.run(&stop).await;
            if stop.is_cancelled() {
                break;
            }
            let Err(failure) = outcome else { continue };
            if session.was_connected() {
                told = None;
            }
            self.deps.health.outlet(OUTLET, self.deps.clock.mono(), Err(failure.clone()));
            let pause = backoff.next_pause(started.elapsed());
            if told.as_ref() != Some(&failure) {
                warn!(broker = %self.address, reason = %failure, "alerts wait, the broker cannot be used");
                told = Some(failure);
            }
            tokio::select! {
                () = self.heart.beating(tokio::time::sleep(pause)) => {}
                () = stop.cancelled() => {}
            }
        }
        Ok(())
    }
}
