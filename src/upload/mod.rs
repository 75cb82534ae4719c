//! Outlet: files of events, and documents that belong to none, to the cloud; one [`Uploader`] for each destination.
//!
//! An uploader only drains its durable outbox. It leases what the plan says goes next, checks that the local file still
//! is what was recorded, sends it, lets the destination prove that it holds it, and only then acknowledges. Keys depend
//! on the event (or the document's path) alone, so sending a file twice writes the same object twice.
//!
//! Failures are of three kinds (`link::Failure`): no link and refused access make the whole destination
//! pause, for ever if need be, and count against no item; a fault of one item (its file is gone, the
//! destination does not want it) makes that item rest, and after five tries it goes to the dead letters.
//! Neither holds back other items: whatever failed lets others go first.

mod begun;
mod config;
mod drain;
mod http;
mod key;
mod limiter;
mod link;
mod local;
mod local_copy;
mod place;
mod plan;
mod proof;
mod remote;
mod removal;
mod rules;
mod sealed;
mod transfer;

#[cfg(test)]
mod hanging;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, field, info, info_span, warn};

use crate::asset::MediaKind;
use crate::clock::Clock;
use crate::control::Control;
use crate::destination::Destination;
use crate::health::{self, Health, LinkState};
use crate::metrics::{Metrics, link_state, outlet};
use crate::store::{Delivery, Lease, Outbox};
use crate::supervise::Heartbeat;
use begun::Begun;
use limiter::BandwidthLimiter;
use link::{Failure, Link};
use local::LOCAL_FILE;
use remote::Remote;
use rules::Rules;
use sealed::Sealer;

pub use config::{Allowed, Checksum, Config};
pub use key::object_key;

/// Tries of an item that fail through its own fault before it is given up.
const MAX_ATTEMPTS: u32 = 5;
/// Rest of an item after the first such try; doubles each time.
const ITEM_REST: Duration = Duration::from_secs(10);
/// Dead letters that are kept; of more, the oldest are forgotten.
const MAX_DEAD: usize = 1000;

/// What an uploader works with.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Name of the box; part of every key.
    pub device: Arc<str>,
    /// The folder of everything that the box keeps. The files of an event lie in `archive/<camera>/<event-id>/` below
    /// it, documents where their paths say.
    pub storage: PathBuf,
    /// Folder that keeps what was sent within budgets. None: in memory.
    pub state: Option<PathBuf>,
    /// The queue of this destination.
    pub outbox: Outbox,
    /// What people switched.
    pub control: Control,
    /// How it goes is shown there.
    pub health: Health,
    /// And counted here.
    pub metrics: Metrics,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Drains one outbox into one destination.
#[derive(Debug)]
pub struct Uploader {
    destination: Destination,
    config: Config,
    device: Arc<str>,
    storage: PathBuf,
    outbox: Outbox,
    sealer: Option<Sealer>,
    rules: Rules,
    begun: Begun,
    limiter: BandwidthLimiter,
    /// Files that are on their way, by their number in the outbox.
    current: Mutex<BTreeMap<u64, health::Transfer>>,
    health: Health,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    heartbeat: Heartbeat,
    open: Opener,
    /// The service refused checksums: they are left out from now on.
    without_checksums: AtomicBool,
    /// What works less well than it could.
    remarks: Mutex<Vec<&'static str>>,
    /// How a link begins; tests use short times.
    link: fn() -> Link,
}

/// What a service that refuses checksums is left with.
const WITHOUT_CHECKSUMS: &str =
    "it takes no checksums with uploads: what arrived is compared by MD5 where it states one, else by size";

/// How a destination is made from its config; tests put their own in.
#[derive(Clone)]
struct Opener(Arc<Open>);

type Open = dyn Fn(&Config, &BandwidthLimiter) -> Result<Remote, Failure> + Send + Sync;

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opener")
    }
}

impl Uploader {
    /// Connects to nothing yet: a destination that cannot be reached or has no credentials yet is tried
    /// again while running. Blocks on the disk for a moment.
    ///
    /// # Errors
    /// When `config` is not valid.
    pub fn new(name: &str, config: Config, deps: Deps) -> Result<Self> {
        config.validate().map_err(anyhow::Error::msg).with_context(|| format!("upload.{name} is not valid"))?;
        let Deps { device, storage, state, outbox, control, health, metrics, clock } = deps;
        let sealer = Sealer::new(name, &config, &storage);
        // Budgets hold on any volume; what has begun belongs to the queue that it lies beside.
        let spent = state.map(|folder| folder.join(format!("{name}.spent.json")));
        let begun = Begun::open(&storage, name);
        let destination = outbox.destination().clone();
        Ok(Self {
            rules: Rules::new(destination.clone(), config.clone(), &control, spent, clock.clone()),
            limiter: BandwidthLimiter::new(config.max_kbit_per_s.map(|kbit| kbit * 125)),
            heartbeat: Heartbeat::detached(clock.clone()),
            open: Opener(Arc::new(Remote::open)),
            without_checksums: AtomicBool::new(false),
            remarks: Mutex::default(),
            link: Link::new,
            current: Mutex::default(),
            destination,
            config,
            device,
            storage,
            outbox,
            begun,
            sealer,
            health,
            metrics,
            clock,
        })
    }

    /// Beats with `heartbeat`: while nothing is to be done, and in all waits that have a limit of their own.
    #[must_use]
    pub fn with_heartbeat(self, heartbeat: Heartbeat) -> Self {
        Self { heartbeat, ..self }
    }

    /// Sends until `stop`. What is in flight then stays in the outbox, finished parts of large files are kept.
    ///
    /// # Errors
    /// When the store is out of service.
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        let span = info_span!("upload", destination = %self.destination);
        async {
            tokio::select! {
                () = stop.cancelled() => Ok(()),
                result = self.drain() => result,
            }
        }
        .instrument(span)
        .await
    }

    fn note_progress(&self, seq: u64, key: &str, bytes: u64, done: u64) {
        let transfer = health::Transfer { key: key.to_owned(), bytes, done };
        self.current.lock().insert(seq, transfer);
    }

    /// Notes something that works less well than it could; logs what is new.
    fn remark(&self, remark: &'static str) {
        let mut remarks = self.remarks.lock();
        if remarks.contains(&remark) {
            return;
        }
        remarks.push(remark);
        let all = remarks.iter().map(|remark| (*remark).to_owned()).collect();
        for fresh in self.health.outlet_remarks(self.destination.as_str(), self.clock.mono(), all) {
            info!(remark = fresh, "the destination can be used, with restrictions");
        }
    }

    /// Shows how it stands.
    fn show(&self, link: &Link) {
        let state = link.state();
        for other in LinkState::ALL {
            let label = link_state(self.destination.as_str(), other.as_str());
            self.metrics.upload_link.get_or_create(&label).set(i64::from(other == state));
        }
        let speed = self.limiter.speed().map(|speed| speed as u64);
        self.metrics
            .upload_bytes_per_second
            .get_or_create(&outlet(self.destination.as_str()))
            .set(speed.map_or(0, |speed| speed as i64));
        let current = self.current.lock().values().cloned().collect();
        let transfers =
            health::TransferHealth { link: state, held: self.rules.permit().reason, bytes_per_s: speed, current };
        self.health.transfers(self.destination.as_str(), self.clock.mono(), |known| *known = transfers);
    }

    /// Settles what became of an item; one that arrived is given back, to be acknowledged.
    async fn settle(&self, lease: Lease, result: Result<(), Failure>, link: &mut Link) -> Result<Option<Lease>> {
        let label = outlet(self.destination.as_str());
        let (file, bytes) = match &lease.item {
            Delivery::Upload(media) => (&media.file, &media.bytes),
            Delivery::Document(document) => (&document.path, &document.bytes),
            Delivery::Alert(_) => {
                self.outbox.dead_letter(&lease, "not a file").await.context("give an item up")?;
                return Ok(None);
            }
        };
        let event = lease.event.as_ref().map(|event| field::display(event.id));
        match result {
            Ok(()) => {
                self.metrics.delivered.get_or_create(&label).inc();
                self.metrics.delivered_bytes.get_or_create(&label).inc_by(*bytes);
                debug!(event, file, bytes, "delivered");
                link.worked();
                if self.health.outlet(self.destination.as_str(), self.clock.mono(), Ok(())) {
                    info!("the destination is online");
                }
                return Ok(Some(lease));
            }
            // Deleted from the box or replaced while it was on its way: it is not waited for any more.
            Err(Failure::Item(_, reason)) if !self.outbox.holds(&lease).await.context("look after an item")? => {
                debug!(event, file, reason, "no longer to be delivered");
            }
            Err(Failure::Held(reason)) => {
                debug!(event, file, reason, "not to be sent now");
                self.outbox.release(&lease);
            }
            Err(Failure::TooDear(reason)) => {
                debug!(event, file, reason, "too large for what is left of a budget");
                self.outbox.rest(&lease, self.rules.rest());
            }
            // The index follows a sidecar that is replaced: at the next try both agree.
            Err(Failure::Item(LOCAL_FILE, reason)) if lease.attempts == 0 && is_replaced(&lease.item) => {
                debug!(event, file, reason, "being replaced, it will be tried again");
                self.outbox.nack(&lease, &reason, ITEM_REST).await.context("put an item off")?;
            }
            Err(Failure::Item(class, reason)) => {
                self.metrics.delivery_failures.get_or_create(&label).inc();
                let tries = lease.attempts + 1;
                if tries >= MAX_ATTEMPTS {
                    error!(event, file, reason, tries, "a file cannot be delivered, it was moved to the dead letters");
                    self.outbox.give_up(&lease, class, &reason).await.context("give an item up")?;
                    self.bound_dead_letters().await?;
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
        Ok(None)
    }

    /// Forgets the oldest dead letters where there are too many.
    async fn bound_dead_letters(&self) -> Result<()> {
        let letters = self.outbox.dead_letters(2 * MAX_DEAD).await.context("count dead letters")?;
        for letter in letters.iter().take(letters.len().saturating_sub(MAX_DEAD)) {
            warn!(seq = letter.seq, item = ?letter.item, error = letter.error, "too many dead letters, one is forgotten");
            self.outbox.discard(letter.seq).await.context("forget a dead letter")?;
        }
        Ok(())
    }

    /// Lets the whole destination pause; logs only the change. Returns the length of the pause.
    fn note_failure(&self, link: &mut Link, failure: &Failure) -> Duration {
        self.metrics.delivery_failures.get_or_create(&outlet(self.destination.as_str())).inc();
        let pause = link.failed(failure);
        let reason = failure.to_string();
        if matches!(failure, Failure::Checksum(_)) && !self.without_checksums.swap(true, Ordering::Relaxed) {
            info!(reason, "the service refuses checksums, sending without them");
            self.remark(WITHOUT_CHECKSUMS);
            return pause;
        }
        if self.health.outlet(self.destination.as_str(), self.clock.mono(), Err(reason.clone())) {
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

/// Whether the file is written again as things change. Its content is then on the disk a moment before the index has it.
fn is_replaced(item: &Delivery) -> bool {
    match item {
        Delivery::Upload(media) => media.kind.is_account(),
        Delivery::Document(document) => {
            !matches!(document.kind, MediaKind::Original | MediaKind::LakeTable | MediaKind::ExecutionFile)
        }
        Delivery::Alert(_) => false,
    }
}
