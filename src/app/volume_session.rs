//! What runs on one volume: the index, the archive and the services on them. When the archive's volume goes
//! away or comes back, the cameras keep running and the session is replaced.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::outbox::AlertOutbox;
use super::{device_status, recovery, watch};
use crate::alert;
use crate::archive::volume::Anchor;
use crate::archive::{Archive, ArchiveDeps, Layout, RecordingLevel};
use crate::clock::{Clock, TimeQuality};
use crate::config::{Config, ConfigError};
use crate::coverage_export::Export;
use crate::event::{Event, EventId};
use crate::lake::{self, Lake};
use crate::pipeline::Shared;
use crate::retention::Retention;
use crate::store::{LAKE, Outbox, Store};
use crate::supervise::{Backoff, Restart, Supervisor};
use crate::timekeeper::Timekeeper;
use crate::upload::{self, Uploader};

/// How long outlets may take to finish the item in hand.
const OUTLET_GRACE: Duration = Duration::from_millis(1500);
/// An outlet hangs when it shows no life for so long. It beats in every wait that has a limit, however slow the
/// link; what is left are calls of the system, the longest of which is reading a large file for its checksum.
const OUTLET_SILENT: Duration = Duration::from_secs(600);
/// The timekeeper is stuck when it shows no life for so long.
const TIMEKEEPER_SILENT: Duration = Duration::from_secs(120);
/// The lake is stuck when it shows no life for so long.
const LAKE_SILENT: Duration = Duration::from_secs(120);
/// Folder of what uploaders keep beside their queues.
const UPLOADS: &str = "uploads";
/// How long retention may be silent: one batch on a slow card.
const RETENTION_STALLED: Duration = Duration::from_secs(120);

/// Where a session records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On the archive's own volume.
    Main,
    /// On the system disk, until that volume is back.
    Spool,
}

/// An opened place: index and archive.
pub(super) struct OpenVolume {
    pub place: Place,
    pub store: Store,
    pub archive: Archive,
    /// The first id of its session: what is below it, on this volume, is of an earlier run.
    pub first_id: EventId,
}

impl OpenVolume {
    /// Makes the archive of this process on what was opened, or moves `from` there.
    pub(super) fn new(
        place: Place,
        folder: &Path,
        store: Store,
        config: &Config,
        shared: &Shared,
        from: Option<&Archive>,
    ) -> Result<Self> {
        let mut layout = Layout::new(folder);
        if place == Place::Main {
            layout = layout.with_anchor(Anchor::new(folder).context("read the volume's identity")?);
        }
        if let Some(newest) = recovery::newest_id(&store, &layout)? {
            shared.ids.go_beyond(newest);
        }
        // Without room for this note alerts keep the numbers that they would have had.
        if let Some(Err(error)) = number_of_now(&*shared.clock).map(|number| store.count_on_from(number)) {
            warn!(%error, "note the number of the next alert");
        }
        let deps = || ArchiveDeps {
            device: shared.device.clone(),
            ids: shared.ids.clone(),
            pressure: shared.pressure.clone(),
            heartbeats: shared.heartbeats.clone(),
            health: shared.health.clone(),
            control: shared.control.clone(),
        };
        let first = || {
            let (clock, metrics) = (shared.clock.clone(), shared.metrics.clone());
            Archive::new(layout.clone(), store.clone(), clock, metrics, config.archive.clone(), deps())
        };
        let at_most = match place {
            Place::Main => RecordingLevel::Full,
            Place::Spool => RecordingLevel::NoContinuous,
        };
        let archive = from.cloned().unwrap_or_else(first).moved_to(layout.clone(), store.clone(), at_most);
        // Before the first record here.
        let first_id = shared.ids.next();
        Ok(Self { place, store, archive, first_id })
    }
}

/// What numbers of alerts are above from `clock`'s present on, on whatever volume and in whatever index they are given:
/// microseconds, as far as the clock can be trusted. Exact in JSON for two centuries.
fn number_of_now(clock: &dyn Clock) -> Option<u64> {
    let believed = clock.quality() != TimeQuality::Implausible;
    believed.then(|| u64::try_from(clock.wall().as_millisecond()).ok()?.checked_mul(1000)).flatten()
}

/// What the page reads; changes with the session.
#[derive(Clone)]
pub(super) struct CurrentVolume(Arc<RwLock<(Archive, Store)>>);

impl CurrentVolume {
    pub(super) fn new(volume: &OpenVolume) -> Self {
        Self(Arc::new(RwLock::new((volume.archive.clone(), volume.store.clone()))))
    }

    pub(super) fn set(&self, volume: &OpenVolume) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = (volume.archive.clone(), volume.store.clone());
    }

    pub(super) fn archive(&self) -> Archive {
        self.0.read().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    pub(super) fn store(&self) -> Store {
        self.0.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}

/// What outlets publish beside events; outlives sessions.
#[derive(Clone)]
pub(super) struct OutletContext {
    pub status: Arc<dyn alert::StatusProvider>,
    /// Where is kept what was announced to Home Assistant.
    pub announced: PathBuf,
}

/// An open volume with the services that run on it.
pub(super) struct VolumeSession {
    pub volume: OpenVolume,
    stop: CancellationToken,
    outlets: Option<JoinHandle<Result<()>>>,
    recovery: Option<JoinHandle<Result<()>>>,
}

impl VolumeSession {
    /// Starts outlets, retention and the timekeeper on `volume`.
    ///
    /// # Errors
    /// When an outlet cannot be set up.
    pub(super) fn start(volume: OpenVolume, config: &Config, shared: &Shared, context: &OutletContext) -> Result<Self> {
        let stop = CancellationToken::new();
        let mut outlets = Supervisor::new(stop.clone());
        let start = Start { volume: &volume, config, shared, context };
        start.uploads(&mut outlets)?;
        start.alerts(&mut outlets)?;
        start.webhooks(&mut outlets)?;
        start.retention(&mut outlets);
        start.timekeeper(&mut outlets);
        start.lake(&mut outlets)?;
        let outlets = Some(tokio::spawn(outlets.run(OUTLET_GRACE)));
        Ok(Self { volume, stop, outlets, recovery: None })
    }

    /// Puts what the past left in order, on a thread of its own that belongs to the session.
    pub(super) fn recover(&mut self, work: recovery::Work) {
        let mut supervisor = Supervisor::new(self.stop.clone());
        recovery::start(work, &mut supervisor);
        self.recovery = Some(tokio::spawn(supervisor.run(OUTLET_GRACE)));
    }

    /// Stops outlets and helpers, in bounded time also on a dead volume. The volume is left as it is.
    pub(super) async fn stop(&mut self) {
        self.stop.cancel();
        for (what, part) in [("the outlets", self.outlets.take()), ("the recovery", self.recovery.take())] {
            let Some(part) = part else { continue };
            match part.await {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => warn!(what, error = format!("{failure:#}"), "a part could not be stopped"),
                Err(failure) => error!(what, error = %failure, "a part could not be stopped"),
            }
        }
    }
}

/// Closes the index of a volume that is not in use any more. On a dead volume that takes until the store's deadline.
///
/// # Errors
/// What the store says.
pub(super) async fn close(store: Store) -> Result<()> {
    let closed = tokio::task::spawn_blocking(move || store.close()).await;
    closed.map_err(|e| anyhow!("close the store: {e}")).and_then(|closed| closed.context("close the store"))
}

struct Start<'a> {
    volume: &'a OpenVolume,
    config: &'a Config,
    shared: &'a Shared,
    context: &'a OutletContext,
}

impl Start<'_> {
    fn uploads(&self, outlets: &mut Supervisor) -> Result<()> {
        for (name, upload) in &self.config.upload {
            let task = format!("upload {name}");
            let (name, upload, shared) = (name.clone(), upload.clone(), self.shared.clone());
            let outbox = self.volume.store.outbox(&format!("upload/{name}"))?;
            let storage: PathBuf = self.volume.archive.layout().storage().to_owned();
            let deps = upload::Deps {
                device: shared.device.clone(),
                storage,
                state: Some(self.shared.state.join(UPLOADS)),
                outbox,
                control: shared.control.clone(),
                health: shared.health.clone(),
                metrics: shared.metrics.clone(),
                clock: shared.clock.clone(),
            };
            let place = format!("upload.{name}");
            let make = move || Uploader::new(&name, upload.clone(), deps.clone());
            make().map_err(|error| refused(place, &error))?;
            let watch = watch(self.shared, OUTLET_SILENT);
            outlets.spawn_watched(task, Backoff::for_connections(), watch, move |stop, heartbeat| {
                let uploader = make().map(|uploader| uploader.with_heartbeat(heartbeat));
                async move { uploader?.run(stop).await }
            });
        }
        Ok(())
    }

    /// What every outlet of alerts works with, beside its queue.
    fn deps(&self, outbox: &str) -> Result<(alert::Deps, Outbox)> {
        let (config, shared) = (self.config, self.shared);
        let key_device = shared.device.clone();
        // Alerts name the keys of one destination; with several it is the first by name.
        let first = config.upload.values().next().cloned().unwrap_or_default();
        let prefix = first.key_prefix();
        let object_key: alert::ObjectKey = Arc::new(move |event, file| {
            prefix.clone() + &upload::object_key(&key_device, event, &(file.to_owned() + first.key_suffix(file)))
        });
        let outbox = self.volume.store.outbox(outbox)?;
        let deps = alert::Deps {
            device: shared.device.clone(),
            queue: Arc::new(AlertOutbox::new(outbox.clone())),
            object_key: (!config.upload.is_empty()).then_some(object_key),
            rule_ages: Arc::new(device_status::rule_ages(config)),
            health: shared.health.clone(),
            metrics: shared.metrics.clone(),
            clock: shared.clock.clone(),
        };
        Ok((deps, outbox))
    }

    fn alerts(&self, outlets: &mut Supervisor) -> Result<()> {
        let (config, shared) = (self.config, self.shared);
        let Some(mqtt) = &config.mqtt else { return Ok(()) };
        let (deps, outbox) = self.deps("mqtt")?;
        let device_status = alert::DeviceContext {
            site: shared.site.clone(),
            cameras: config.cameras().map(|(name, camera)| device_status::camera(name, camera)).collect(),
            uploads: config.upload.keys().cloned().collect(),
            control: shared.control.clone(),
            status: self.context.status.clone(),
            announced: Some(self.context.announced.clone()),
        };
        let made = alert::Alerter::new(mqtt.clone(), deps.clone(), device_status.clone());
        made.map_err(|error| refused("mqtt", &error))?;
        let mqtt = mqtt.clone();
        let watch = watch(shared, OUTLET_SILENT);
        outlets.spawn_watched("alerts", Backoff::for_connections(), watch, move |stop, heartbeat| {
            // A fresh adapter: leases that a run which panicked or hung still held are free again.
            let queue = Arc::new(AlertOutbox::new(outbox.clone()));
            let alerter =
                alert::Alerter::new(mqtt.clone(), alert::Deps { queue, ..deps.clone() }, device_status.clone());
            async move { alerter?.with_heartbeat(heartbeat).run(stop).await }
        });
        Ok(())
    }

    fn webhooks(&self, outlets: &mut Supervisor) -> Result<()> {
        for (name, webhook) in &self.config.webhook {
            let (deps, outbox) = self.deps(&format!("webhook/{name}"))?;
            let (name, webhook) = (name.clone(), webhook.clone());
            let made = alert::Webhook::new(&name, &webhook, deps.clone());
            made.map_err(|error| refused(format!("webhook.{name}"), &error))?;
            let (task, watch) = (format!("webhook {name}"), watch(self.shared, OUTLET_SILENT));
            outlets.spawn_watched(task, Backoff::for_connections(), watch, move |stop, heartbeat| {
                let queue = Arc::new(AlertOutbox::new(outbox.clone()));
                let hook = alert::Webhook::new(&name, &webhook, alert::Deps { queue, ..deps.clone() });
                async move { hook?.with_heartbeat(heartbeat).run(stop).await }
            });
        }
        Ok(())
    }

    fn retention(&self, outlets: &mut Supervisor) {
        let (config, shared) = (self.config, self.shared);
        let limits = match self.volume.place {
            Place::Main => config.retention.clone(),
            Place::Spool => config.retention.for_spool(config.spool.max_bytes),
        };
        let heartbeat = shared.heartbeats.register("retention", RETENTION_STALLED, false);
        let retention = Retention::new(self.volume.archive.clone(), limits, shared.health.clone(), heartbeat);
        let restart = Restart::Always(Backoff::for_connections());
        outlets.spawn("retention", restart, move |stop| retention.clone().run(stop));
    }

    /// Corrects wall times once the clock is synchronised.
    fn timekeeper(&self, outlets: &mut Supervisor) {
        let cameras: Vec<String> = self.config.camera.keys().cloned().collect();
        let (archive, first_id) = (self.volume.archive.clone(), self.volume.first_id);
        let heartbeat = self.shared.heartbeats.register("timekeeper", TIMEKEEPER_SILENT, false);
        outlets.spawn_on_thread("timekeeper", Backoff::for_connections(), self.shared.metrics.clone(), move |stop| {
            let (archive, cameras, heartbeat) = (archive.clone(), cameras.clone(), heartbeat.clone());
            move || {
                heartbeat.beat();
                let mut export = Export::new(archive.clone(), cameras.clone());
                let keeper = Timekeeper::new(archive, cameras, first_id);
                keeper.run(&stop, |trusted| export.step(trusted), || heartbeat.beat());
                Err(ended_early())
            }
        });
    }

    /// Writes the tables that a fleet is searched by. Events of the spool come to the archive, and so to the lake, when
    /// the volume is back.
    fn lake(&self, outlets: &mut Supervisor) -> Result<()> {
        let (config, shared) = (self.config, self.shared);
        if !config.has_lake() || self.volume.place == Place::Spool {
            return Ok(());
        }
        let (store, archive, device) = (&self.volume.store, self.volume.archive.clone(), shared.device.clone());
        let uploads: Result<Vec<_>, _> =
            config.upload.keys().map(|name| store.outbox(&format!("upload/{name}"))).collect();
        let folder_of = move |event: &Event| upload::object_key(&device, event, "");
        let deps = lake::Deps {
            storage: archive.layout().storage().to_owned(),
            store: store.clone(),
            outbox: store.outbox(LAKE)?,
            uploads: uploads?,
            may_write: Arc::new(move || archive.layout().check_volume().map(|()| archive.level().has_stills())),
            folder_of: Arc::new(move |event| folder_of(event).trim_end_matches('/').to_owned()),
            thermal_dir: config.load.thermal_dir.clone(),
            health: shared.health.clone(),
            clock: shared.clock.clone(),
            runtime: Handle::current(),
        };
        let heartbeat = shared.heartbeats.register("lake", LAKE_SILENT, false);
        let config = config.lake.clone();
        outlets.spawn_on_thread("lake", Backoff::for_connections(), shared.metrics.clone(), move |stop| {
            let (config, deps, heartbeat) = (config.clone(), deps.clone(), heartbeat.clone());
            move || {
                heartbeat.beat();
                Lake::new(config, deps, heartbeat).run(&stop);
                Err(ended_early())
            }
        });
        Ok(())
    }
}

/// An outlet makes no connection when it is created: what it does not take is the configuration.
fn refused(key: impl Into<String>, error: &anyhow::Error) -> ConfigError {
    ConfigError::new(key, format!("{error:#}"))
}

/// Why a thread ended that runs until the stop; after a stop that is no failure.
fn ended_early() -> anyhow::Error {
    anyhow!("it ended without being asked to")
}
