//! Alerts: publishes at once what the store has made durable, over MQTT 5 and to webhooks.
//!
//! Every outlet only drains an outbox of its own in the store: an item leaves it when the receiver has confirmed it,
//! never before. No link means that the queue grows. What became too old meanwhile is published in one digest per
//! camera. What both kinds of outlet share, the payload, its age and the digest, lies in this folder; what is
//! MQTT's or HTTP's own lies below. Topics and payload: docs/mqtt.md; webhooks: docs/webhooks.md.

mod age;
mod digest;
mod failures;
mod feed;
#[cfg(test)]
mod fixture;
mod history;
mod mqtt;
mod payload;
mod queue;
mod webhook;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;

use crate::clock::{Clock, Moment};
use crate::event::{Event, Phase};
use crate::health::Health;
use crate::metrics::Metrics;

use queue::Queue;

pub use mqtt::{Alerter, Camera, Config, DeviceContext, NoStatus, OUTLET, Protocol, Report, StatusProvider};
pub use queue::AlertQueue;
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

/// What is taken out of the queue.
#[derive(Clone, Debug)]
pub(in crate::alert) enum Taken {
    /// An alert.
    Alert(Box<Item>),
    /// A file of an execution that a webhook gets.
    Post(Post),
}

/// A file of an execution that waits for a webhook.
#[derive(Clone, Debug)]
pub(in crate::alert) struct Post {
    /// Place in the queue.
    pub seq: u64,
    /// Where it lies, below the storage folder.
    pub path: String,
    /// When it was put into the queue.
    pub created: Moment,
}

/// Reads what a webhook gets of an execution, by the path of its file below the storage folder: the body without what is
/// known only when it is sent. `None` where that is gone. Blocks.
pub type ReadPost = Arc<dyn Fn(&str) -> Result<Option<serde_json::Map<String, serde_json::Value>>> + Send + Sync>;

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
    pub queue: AlertQueue,
    /// Keys of uploaded files, named in `end` alerts; `None` where nothing is uploaded.
    pub object_key: Option<ObjectKey>,
    /// Reads what webhooks get of executions.
    pub posts: ReadPost,
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
