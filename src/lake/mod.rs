//! Outlet: what a fleet is searched by. Events, the audit log, tombstones, coverage and health as Parquet files, delivered like every
//! other document, so that DuckDB, Spark, Trino or Athena read the buckets as they are. docs/lake.md has the tables.
//!
//! On the box the files lie in `<storage>/lake/<table>/date=<yyyy-mm-dd>/<first>_<last>.parquet` until every destination
//! has them; in the cloud in `<prefix>/lake/<table>/device=<device>/date=<yyyy-mm-dd>/`. One box is the one writer of its
//! partitions, and no name is ever used twice: `<last>` is a number that only this file has.
//!
//! # Nothing is lost, and little comes twice
//! The store's outbox `lake` gets an item together with every `event.json` that is queued for the destinations: when an
//! event is filed, and whenever it changes later. Items are leased, their rows written to a file, the file is synced and
//! queued for every destination, and only then are the items acknowledged. A stop before the file is queued leaves a file
//! that is not needed, which is deleted; a stop after that gives the same rows again in another file. So the table of
//! events is a log of versions. Each row has a number (`recorded`) that only grows, and the newest version counts.
//!
//! Rows of the audit log are read from its files on the system disk. Rows of coverage are made from the accounts of days that lie on the disk, those of health from a journal of samples;
//! all of them are noted as exported after their file was queued.
//!
//! Nothing waits longer than `lake.every`, counted from when it was recorded, so that a box that restarts often writes no
//! more files than others. What waits for a link is merged (`compact`).

mod audit;
mod compact;
mod coverage;
mod events;
#[cfg_attr(not(feature = "parquet"), path = "file_absent.rs")]
mod file;
mod folder;
mod health;
mod numbers;
#[cfg_attr(not(feature = "parquet"), allow(dead_code, reason = "parts that only files need"))]
mod rows;
#[cfg_attr(not(feature = "parquet"), allow(dead_code, reason = "parts that only files need"))]
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::audit::Audit;
use crate::clock::{Clock, Moment, Mono};
use crate::destination::Destination;
use crate::event::Event;
use crate::status::{BoxStatus, QueueStatus};
use crate::store::{Lease, Outbox, Stats, Store};
use crate::supervise::Heartbeat;
use audit::Acts;
use coverage::Accounts;
use folder::{LakeFolder, Piece};
use health::{Gauges, Journal};
use numbers::Numbers;
use rows::Rows;
use table::Table;

pub use folder::FOLDER;

/// What a program without the feature says of the lake.
const ABSENT: &str =
    "this program was built without the lake: build it with the Cargo feature \"parquet\", or set enabled = false";
/// Events whose rows are made at a time; their records lie in memory meanwhile.
const BATCH: usize = 1000;
/// Accounts of days at a time.
const ACCOUNTS: usize = 50;
/// Entries of the audit log at a time.
const ACTS: usize = 1000;
/// Acknowledgements that share commits.
const ACKNOWLEDGED_AT_ONCE: usize = 64;
/// How often it is looked whether something is due, at most and at least.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// How long it rests after a failure, which is most likely a full disk.
const REST: Duration = Duration::from_secs(30);
/// After a start the gauges are read a second later; a box whose sensors hang is sampled without them after this time.
const GAUGES_WITHIN: Duration = Duration::from_secs(10);
/// How often it is asked for a stop, and shows life.
const TICK: Duration = Duration::from_millis(200);

/// The tables that go to every destination. TOML `[lake]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether they are written, where there is a destination. Default: true.
    pub enabled: bool,
    /// How long an event waits for others at most before their rows become a file. Default: 1h.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub every: Duration,
    /// How often the box notes how it is. Default: 5m.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub health_every: Duration,
    /// Bytes that files may take on the box while they wait for a link; of more, the least precious are given up.
    /// Default: 268435456 (256 MiB).
    #[serde(with = "crate::byte_size")]
    pub max_bytes: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: cfg!(feature = "parquet"),
            every: Duration::from_secs(3600),
            health_every: Duration::from_secs(300),
            max_bytes: 256 << 20,
        }
    }
}

impl Config {
    /// Checks the values.
    ///
    /// # Errors
    /// A sentence that names the key.
    pub fn validate(&self) -> Result<(), String> {
        if self.enabled && !cfg!(feature = "parquet") {
            return Err(format!("enabled is true, but {ABSENT}"));
        }
        for (key, value) in [("every", self.every), ("health_every", self.health_every)] {
            if !(Duration::from_secs(1)..=Duration::from_secs(24 * 3600)).contains(&value) {
                return Err(format!("{key} is {value:?}, it goes from 1s to 24h"));
            }
        }
        if self.max_bytes < 1 << 20 {
            return Err(format!("max_bytes is {}, it must be at least 1048576 (1 MiB)", self.max_bytes));
        }
        Ok(())
    }
}

/// Answers where the files of an event go, below a destination's prefix.
pub type FolderOf = Arc<dyn Fn(&Event) -> String + Send + Sync>;

/// Reports how the box is.
pub type BoxStatusOf = Arc<dyn Fn() -> BoxFuture<'static, Result<BoxStatus>> + Send + Sync>;

/// Reports on the queue of that name, by the numbers of the store.
pub type QueueStatusOf = Arc<dyn Fn(&Destination, &Stats) -> QueueStatus + Send + Sync>;

/// What the lake works with.
#[derive(Clone)]
pub struct Deps {
    /// The folder of everything that the box keeps.
    pub storage: PathBuf,
    /// The index.
    pub store: Store,
    /// Its outbox `lake`.
    pub outbox: Outbox,
    /// Its outboxes of destinations.
    pub uploads: Vec<Outbox>,
    /// Who changed, or looked at, what.
    pub audit: Audit,
    /// Whether the storage folder still lies on its volume, and there is room for more than events.
    pub may_write: Arc<dyn Fn() -> Result<bool> + Send + Sync>,
    /// For the column `folder`.
    pub folder_of: FolderOf,
    /// What is known of the box.
    pub status: BoxStatusOf,
    /// What is known of queues, also of those that left the configuration.
    pub queue_status: QueueStatusOf,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Serves the queues.
    pub runtime: Handle,
}

/// Writes the tables and queues them.
pub struct Lake {
    config: Config,
    deps: Deps,
    files: LakeFolder,
    numbers: Numbers,
    acts: Acts,
    accounts: Accounts,
    journal: Journal,
    started: Mono,
    sampled: Option<Mono>,
    heartbeat: Heartbeat,
    /// Tests let it fail here, between any two steps.
    between_steps: Box<dyn FnMut() -> Result<()> + Send>,
}

/// Rows by the file that they go to, each with the number of its first.
type Load = BTreeMap<(Table, Date), (i64, Rows)>;

impl Lake {
    /// Reads what earlier runs left.
    pub fn new(config: Config, deps: Deps, heartbeat: Heartbeat) -> Self {
        let files = LakeFolder::new(&deps.storage);
        let folder = files.folder();
        Self {
            numbers: Numbers::open(&folder.join("numbers.json"), &*deps.clock),
            acts: Acts::open(deps.audit.clone(), &folder),
            accounts: Accounts::open(&deps.storage, &folder),
            journal: Journal::open(&folder),
            started: deps.clock.mono(),
            sampled: None,
            between_steps: Box::new(|| Ok(())),
            config,
            deps,
            files,
            heartbeat,
        }
    }

    /// Works until `stop`. Blocks; run it on a thread of its own.
    pub fn run(mut self, stop: &CancellationToken) {
        let look_every = (self.config.every.min(self.config.health_every) / 4).clamp(LOOK_EVERY.0, LOOK_EVERY.1);
        let mut next = self.deps.clock.mono();
        while !stop.is_cancelled() {
            if self.deps.clock.mono() >= next {
                let outcome = self.look();
                let rest = match outcome {
                    Ok(()) => look_every,
                    Err(_) if stop.is_cancelled() => return,
                    Err(failure) => {
                        warn!(error = format!("{failure:#}"), "the lake could not be written, trying again in a while");
                        REST
                    }
                };
                next = self.deps.clock.mono() + rest;
            }
            self.heartbeat.beat();
            std::thread::sleep(TICK);
        }
    }

    /// Does what is due.
    ///
    /// # Errors
    /// When index or disk fail; the next look goes on where this one stopped.
    pub fn look(&mut self) -> Result<()> {
        // While there is hardly any room it is for events.
        if !(self.deps.may_write)()? {
            return Ok(());
        }
        self.files.create()?;
        self.sample()?;
        self.export_events()?;
        self.export_acts()?;
        self.export_coverage()?;
        self.export_health()?;
        self.tidy()
    }

    /// Whether what was recorded then has waited for long enough.
    fn is_due(&self, recorded: &Moment) -> bool {
        let now = self.deps.clock.now();
        recorded.boot_id != now.boot_id || now.mono().since(recorded.mono()) >= self.config.every
    }

    fn export_events(&mut self) -> Result<()> {
        let oldest = || -> Result<_> {
            let stats = self.deps.store.stats().wait()?;
            Ok(stats
                .outboxes
                .into_iter()
                .find(|queue| queue.name == *self.deps.outbox.destination())
                .and_then(|q| q.oldest))
        };
        if !oldest()?.is_some_and(|oldest| self.is_due(&oldest)) {
            return Ok(());
        }
        loop {
            let leases = self.deps.runtime.block_on(self.deps.outbox.lease(BATCH)).context("lease events")?;
            if leases.is_empty() {
                return Ok(());
            }
            self.export_of(&leases)?;
            (self.between_steps)()?;
            let acks = leases.iter().map(|lease| self.deps.outbox.ack(lease));
            let acks = futures::stream::iter(acks).buffer_unordered(ACKNOWLEDGED_AT_ONCE).try_collect::<Vec<()>>();
            self.deps.runtime.block_on(acks).context("acknowledge events")?;
            debug!(events = leases.len(), "wrote events to the lake");
            self.heartbeat.beat();
        }
    }

    fn export_of(&mut self, leases: &[Lease]) -> Result<()> {
        let mut load = Load::new();
        for event in leases.iter().filter_map(|lease| lease.event.as_ref()) {
            let recorded = self.numbers.next()?;
            let rows = rows_of(&mut load, Table::Events, events::date(event), recorded);
            events::push(rows, recorded, event, &(self.deps.folder_of)(event))?;
            for gone in &event.evicted {
                let recorded = self.numbers.next()?;
                let rows = rows_of(&mut load, Table::Tombstones, events::date_of_deletion(gone), recorded);
                events::push_tombstone(rows, recorded, event, gone)?;
            }
        }
        self.ship(load)
    }

    fn export_acts(&mut self) -> Result<()> {
        loop {
            let entries = self.acts.due(&self.deps.clock.now(), self.config.every, ACTS)?;
            let Some(last) = entries.last() else { return Ok(()) };
            let mut load = Load::new();
            for entry in &entries {
                let recorded = self.numbers.next()?;
                audit::push(rows_of(&mut load, Table::Audit, audit::date(entry), recorded), recorded, entry)?;
            }
            self.ship(load)?;
            (self.between_steps)()?;
            self.acts.note(last)?;
            self.heartbeat.beat();
        }
    }

    fn export_coverage(&mut self) -> Result<()> {
        loop {
            let mut due = self.accounts.unexported(ACCOUNTS);
            due.retain(|one| self.is_due(&one.account.written));
            if due.is_empty() {
                return Ok(());
            }
            let mut load = Load::new();
            for one in &due {
                let recorded = self.numbers.next()?;
                coverage::push(rows_of(&mut load, Table::Coverage, one.account.day, recorded), recorded, &one.account)?;
            }
            self.ship(load)?;
            (self.between_steps)()?;
            self.accounts.note(&due)?;
            self.heartbeat.beat();
        }
    }

    fn sample(&mut self) -> Result<()> {
        let now = self.deps.clock.mono();
        if self.sampled.is_some_and(|at| now.since(at) < self.config.health_every) {
            return Ok(());
        }
        let status = self.deps.runtime.block_on((self.deps.status)()).context("ask how the box is")?;
        if status.reading.is_none() && now.since(self.started) < GAUGES_WITHIN {
            return Ok(());
        }
        let (recorded, stats) = (self.numbers.next()?, self.deps.store.stats().wait()?);
        let gauges = Gauges {
            status: &status,
            queue_status: &self.deps.queue_status,
            uploads: self.deps.uploads.iter().map(Outbox::destination).collect(),
            started: self.started,
            clock: &*self.deps.clock,
        };
        self.journal.keep(&gauges.sample(recorded, &stats))?;
        self.sampled = Some(now);
        Ok(())
    }

    fn export_health(&mut self) -> Result<()> {
        if !self.journal.oldest().is_some_and(|oldest| self.is_due(oldest)) {
            return Ok(());
        }
        let mut load = Load::new();
        for sample in self.journal.samples() {
            health::push(rows_of(&mut load, Table::Health, sample.date(), sample.recorded), &sample)?;
        }
        self.ship(load)?;
        (self.between_steps)()?;
        self.journal.clear()
    }

    /// Writes the files and queues them for every destination.
    fn ship(&mut self, load: Load) -> Result<()> {
        for ((table, date), (first, rows)) in load {
            (self.between_steps)()?;
            let piece = Piece { table, date, first, last: self.numbers.next()? };
            let document = self.files.put(&piece, &rows)?;
            (self.between_steps)()?;
            self.deps.store.outboxes().deliver(document).context("queue a file of the lake")?;
        }
        Ok(())
    }
}

/// The rows of a file; `first` is the number of the first where there are none yet.
fn rows_of(load: &mut Load, table: Table, date: Date, first: i64) -> &mut Rows {
    &mut load.entry((table, date)).or_insert_with(|| (first, Rows::new(table))).1
}
