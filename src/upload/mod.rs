//! Outlet: files of events, and documents that belong to none, to the cloud; one [`Uploader`] for each destination.
//!
//! An uploader only drains its durable outbox. It leases what is due, checks that the local file still is
//! what was recorded, sends it, asks the destination for its size, and only then acknowledges. Keys depend
//! on the event (or the document's path) alone, so sending a file twice writes the same object twice.
//!
//! Failures are of three kinds (`link::Failure`): no link and refused access make the whole destination
//! pause, for ever if need be, and count against no item; a fault of one item (its file is gone, the
//! destination does not want it) makes that item rest, and after five tries it goes to the dead letters.
//! Neither holds back other items: whatever failed lets others go first.

mod destination;

mod key;

mod link;

mod transfer;

#[cfg(test)]
mod hanging;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, field, info, info_span, warn};

use crate::clock::Clock;
use crate::health::Health;
use crate::metrics::{Metrics, outlet};
use crate::store::{Delivery, Lease, Outbox};
use crate::supervise::Heart;
use destination::Destination;
use link::{Failure, Link};
use transfer::Transfer;

pub use key::object_key;

/// Tries of an item that fail through its own fault before it is given up.
const MAX_ATTEMPTS: u32 = 5;
/// Rest of an item after the first such try; doubles each time.
const ITEM_REST: Duration = Duration::from_secs(10);

/// One destination: `[upload.<name>]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to: `file:///folder`, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`. Required.
    pub url: String,
    /// Address of the service, for S3 that is not AWS, for an Azure or Google service elsewhere. Default: the
    /// provider's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// S3: region. Default `us-east-1`.
    pub region: String,
    /// S3: id of the access key. Default: credentials of the machine (instance or web identity).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// S3: file that holds the secret access key. Needed with `access_key_id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_access_key_file: Option<PathBuf>,
    /// S3: file that holds a session token. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_token_file: Option<PathBuf>,
    /// Azure: storage account. Required there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Azure: file that holds the account's key. Required there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_key_file: Option<PathBuf>,
    /// Google: file that holds the service account's JSON. Default: credentials of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_file: Option<PathBuf>,
    /// File with PEM certificates to trust besides the system's, for a service with a certificate of your own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Whether an `http://` endpoint is acceptable. Default `false`.
    pub allow_http: bool,
    /// S3: bucket in the host name (`bucket.host`) instead of in the path (`host/bucket`). Default `false`.
    pub virtual_hosted: bool,
    /// Files sent at a time, 1 to 16. Default 2.
    pub parallel: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            url: String::new(),
            endpoint: None,
            region: "us-east-1".to_owned(),
            access_key_id: None,
            secret_access_key_file: None,
            session_token_file: None,
            account: None,
            account_key_file: None,
            service_account_file: None,
            ca_file: None,
            allow_http: false,
            virtual_hosted: false,
            parallel: 2,
        }
    }
}

impl Config {
    /// Checks what the types cannot. Reads no files: a secret may arrive later.
    ///
    /// # Errors
    /// A sentence that names the key and what it may be.
    pub fn validate(&self) -> Result<(), String> {
        if !(1..=16).contains(&self.parallel) {
            return Err(format!("parallel: {} is not within 1 to 16", self.parallel));
        }
        destination::validate(self)
    }

    /// What stands before every object key in the bucket: empty, or a path that ends in `/`. Empty for a folder.
    pub fn key_prefix(&self) -> String {
        destination::key_prefix(self)
    }
}

/// Drains one outbox into one destination.
#[derive(Debug)]
pub struct Uploader {
    name: Arc<str>,
    config: Config,
    device: Arc<str>,
    storage: PathBuf,
    outbox: Outbox,
    health: Health,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    heart: Heart,
    open: Opener,
    destination: Option<Destination>,
}

/// How a destination is made from its config; tests put their own in.
#[derive(Clone)]
struct Opener(Arc<Open>);

type Open = dyn Fn(&Config) -> Result<Destination, Failure> + Send + Sync;

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opener")
    }
}

/// How one item went.
struct Outcome {
    lease: Lease,
    result: Result<(), Failure>,
}

impl Uploader {
    /// `outbox` is the one named `upload/<name>`. The files of an event lie in `archive/<camera>/<event-id>/` below
    /// the folder `storage`, documents where their paths say.
    /// Connects to nothing yet: a destination that cannot be reached or has no credentials yet is tried
    /// again while running.
    ///
    /// # Errors
    /// When `config` is not valid.
    #[expect(clippy::too_many_arguments, reason = "the parts that an outlet works with, named at its one call")]
    pub fn new(
        name: &str,
        config: Config,
        device: Arc<str>,
        storage: PathBuf,
        outbox: Outbox,
        health: Health,
        metrics: Metrics,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        config.validate().map_err(anyhow::Error::msg).with_context(|| format!("upload.{name} is not valid"))?;
        let name = format!("upload/{name}").into();
        let (heart, open) = (Heart::unheard(clock.clone()), Opener(Arc::new(Destination::open)));
        Ok(Self { name, config, device, storage, outbox, health, metrics, clock, heart, open, destination: None })
    }

    /// Beats with `heart`: while nothing is to be done, and in all waits that have a limit of their own.
    #[must_use]
    pub fn with_heart(self, heart: Heart) -> Self {
        Self { heart, ..self }
    }

    /// Sends until `stop`. What is in flight then stays in the outbox, finished parts of large files are kept.
    ///
    /// # Errors
    /// When the store is out of service.
    pub async fn run(mut self, stop: CancellationToken) -> Result<()> {
        let span = info_span!("upload", destination = %self.name);
        async {
            tokio::select! {
                () = stop.cancelled() => Ok(()),
                result = self.drain() => result,
            }
        }
        .instrument(span)
        .await
    }

    async fn drain(&mut self) -> Result<()> {
        let mut link = Link::new();
        loop {
            if let Some(pause) = link.take_pause() {
                self.heart.beating(tokio::time::sleep(pause)).await;
            }
            self.heart.beat();
            let destination = match self.connect().await {
                Ok(destination) => destination,
                Err(failure) => {
                    self.note_failure(&mut link, &failure);
                    continue;
                }
            };
            self.send_until_failure(&destination, &mut link).await?;
            // The next try reads secrets that were replaced, finds a disk that was mounted again, and does not
            // wait for connections that died with the link.
            self.destination = None;
        }
    }

    /// The destination, made afresh after a failure.
    async fn connect(&mut self) -> Result<Destination, Failure> {
        if let Some(destination) = &self.destination {
            return Ok(destination.clone());
        }
        let (open, config) = (self.open.clone(), self.config.clone());
        let opened = tokio::task::spawn_blocking(move || (open.0)(&config)).await;
        let destination = opened.map_err(|e| Failure::Link(e.to_string()))??;
        self.destination = Some(destination.clone());
        Ok(destination)
    }

    /// Works with as many items at a time as the link is good for, until a failure that concerns all of them.
    async fn send_until_failure(&self, destination: &Destination, link: &mut Link) -> Result<()> {
        let mut transfers = FuturesUnordered::new();
        while !link.is_paused() {
            // After a failure one item has to get through before the others follow.
            let slots = if link.is_proven() { self.config.parallel } else { 1 };
            let free = slots.saturating_sub(transfers.len());
            let leases = if free > 0 { self.outbox.lease(free).await.context("lease items")? } else { Vec::new() };
            transfers.extend(leases.into_iter().map(|lease| self.send(destination, lease)));
            // A transfer in flight has to show that it goes on by itself.
            let idle = transfers.is_empty();
            let news =
                async { if idle { self.heart.beating(self.outbox.wait()).await } else { self.outbox.wait().await } };
            tokio::select! {
                Some(outcome) = transfers.next() => self.settle(outcome, link).await?,
                () = news, if transfers.len() < slots => {}
            }
        }
        // The rest is in flight and learns by itself how it goes.
        while let Some(outcome) = transfers.next().await {
            self.settle(outcome, link).await?;
        }
        Ok(())
    }

    async fn send(&self, destination: &Destination, lease: Lease) -> Outcome {
        let transfer = Transfer {
            destination,
            outbox: &self.outbox,
            lease: &lease,
            storage: &self.storage,
            device: &self.device,
            heart: &self.heart,
        };
        let span = match &lease.event {
            Some(event) => info_span!("transfer", event = %event.id, camera = %event.camera),
            None => info_span!("transfer"),
        };
        let result = transfer.run().instrument(span).await;
        Outcome { lease, result }
    }

    async fn settle(&self, Outcome { lease, result }: Outcome, link: &mut Link) -> Result<()> {
        let label = outlet(&self.name);
        let (file, bytes) = match &lease.item {
            Delivery::Upload { file, bytes, .. } => (file, bytes),
            Delivery::Document(document) => (&document.path, &document.bytes),
            Delivery::Alert(_) => {
                self.outbox.dead_letter(&lease, "not a file").await.context("give an item up")?;
                return Ok(());
            }
        };
        let event = lease.event.as_ref().map(|event| field::display(event.id));
        match result {
            Ok(()) => {
                self.metrics.delivered.get_or_create(&label).inc();
                self.metrics.delivered_bytes.get_or_create(&label).inc_by(*bytes);
                debug!(event, file, bytes, "delivered");
                link.worked();
                if self.health.outlet(&self.name, self.clock.mono(), Ok(())) {
                    info!("the destination is online");
                }
                self.outbox.ack(&lease).await.context("acknowledge an item")?;
            }
            // Deleted from the box or replaced while it was on its way: nobody waits for it any more.
            Err(Failure::Item(reason)) if !self.outbox.holds(&lease).await.context("look after an item")? => {
                debug!(event, file, reason, "no longer to be delivered");
            }
            Err(Failure::Item(reason)) => {
                self.metrics.delivery_failures.get_or_create(&label).inc();
                let tries = lease.attempts + 1;
                if tries >= MAX_ATTEMPTS {
                    error!(event, file, reason, tries, "a file cannot be delivered, it was moved to the dead letters");
                    self.outbox.dead_letter(&lease, &reason).await.context("give an item up")?;
                } else {
                    warn!(event, file, reason, tries, "a file was not delivered, it will be tried again");
                    let rest = ITEM_REST * 2u32.pow(lease.attempts);
                    self.outbox.nack(&lease, &reason, rest).await.context("put an item off")?;
                }
            }
            Err(failure) => {
                let pause = self.note_failure(link, &failure);
                // The next try goes to another item, in case it is this one that the link cannot carry.
                self.outbox.rest(&lease, pause * 2);
            }
        }
        Ok(())
    }

    /// Lets the whole destination pause; logs only the change. Returns the length of the pause.
    fn note_failure(&self, link: &mut Link, failure: &Failure) -> Duration {
        self.metrics.delivery_failures.get_or_create(&outlet(&self.name)).inc();
        let pause = link.failed(failure);
        let reason = failure.to_string();
        if self.health.outlet(&self.name, self.clock.mono(), Err(reason.clone())) {
            match failure {
                Failure::Refused(_) => error!(reason, "the destination refuses us, files wait until this is mended"),
                _ => warn!(reason, "the destination is offline, files wait"),
            }
        } else {
            debug!(reason, again_in_s = pause.as_secs_f32(), "the destination is still offline");
        }
        pause
    }
}
