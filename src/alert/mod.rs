//! Alerts: publishes at once what the store has made durable, over MQTT 5 and to webhooks.
//!
//! Every outlet only drains a durable [`Queue`] of its own: an item leaves it when the receiver has confirmed it,
//! never before. No link means that the queue grows. What became too old meanwhile is published in one digest per
//! camera. What both kinds of outlet share, the payload, its age and the digest, lies in this folder; what is
//! MQTT's or HTTP's own lies below. Topics and payload: docs/mqtt.md; webhooks: docs/webhooks.md.

mod age;
mod digest;
mod feed;
#[cfg(test)]
mod fixture;
mod history;
mod mqtt;
mod payload;
mod webhook;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use futures::future::BoxFuture;

use crate::clock::{Clock, Moment};
use crate::event::{Event, Phase};
use crate::health::Health;
use crate::metrics::Metrics;

pub use mqtt::{
    Alerter, BoxReport, Camera, CameraCoverage, Config, DeviceContext, NoStatus, OUTLET, Protocol, QueueReport, Report,
    StatusProvider,
};
pub use webhook::{Config as WebhookConfig, Webhook};

/// One alert that waits in the queue.
#[derive(Clone, Debug)]
pub struct Item {
    /// Place in the queue; grows with each alert of this box and is never used twice.
    pub seq: u64,
    /// Which step of the event's life is published.
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
    /// The receiver has `seq`: forget it durably.
    fn ack(&self, seq: u64) -> BoxFuture<'_, Result<()>>;
    /// `seq` could not be delivered now: back to its place, so that the next lease gives it again.
    fn release(&self, seq: u64) -> BoxFuture<'_, Result<()>>;
    /// `seq` can never be delivered, for `reason`: put it aside as a dead letter.
    fn reject<'a>(&'a self, seq: u64, reason: &'a str) -> BoxFuture<'a, Result<()>>;
    /// Returns when there may be something to lease. Returning for nothing is fine; so is returning late,
    /// as outlets look by themselves every few seconds.
    fn wait(&self) -> BoxFuture<'_, ()>;
}

/// Makes the object key in the cloud of a file of an event. Uploads know how; alerts only publish.
pub type ObjectKey = Arc<dyn Fn(&Event, &str) -> String + Send + Sync>;

/// Ages after which alerts of single rules are published in a digest, by camera and rule.
pub type RuleAges = BTreeMap<(Arc<str>, Arc<str>), Duration>;

/// What every outlet of alerts works with.
#[derive(Clone)]
pub struct Deps {
    /// Name of the box.
    pub device: Arc<str>,
    /// Where alerts wait.
    pub queue: Arc<dyn Queue>,
    /// Keys of uploaded files, named in `end` alerts; `None` where nothing is uploaded.
    pub object_key: Option<ObjectKey>,
    /// Rules with an age of their own.
    pub rule_ages: Arc<RuleAges>,
    /// The state of the connection is written to it.
    pub health: Health,
    /// Deliveries are counted here.
    pub metrics: Metrics,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Acknowledgements of one digest that the store is asked for at a time; it commits them together.
const ACKS: usize = 256;

/// Forgets delivered alerts, durably.
async fn acknowledge(queue: &dyn Queue, seqs: Vec<u64>) -> Result<()> {
    let mut acks = futures::stream::iter(seqs.into_iter().map(|seq| queue.ack(seq))).buffered(ACKS);
    while let Some(acked) = acks.next().await {
        acked.context("note a delivered alert")?;
    }
    Ok(())
}
