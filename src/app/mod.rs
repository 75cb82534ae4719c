//! The composition root: makes all parts, downstream first, runs them, and stops them in order.
//!
//! The only module that knows everybody. Stop order: feeds, stages, recorders (which close what is open),
//! outlets, page, store.

mod backend;
mod outbox;
mod recovery;
#[cfg(test)]
mod tests;
mod timeline;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::alert;
use crate::archive::{Archive, Host, Layout, Retention, Timekeeper, make_room, volume};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::event::{EventId, IdSource};
use crate::frame::LatestFrame;
use crate::health::{Health, LoadHealth, StoreState};
use crate::infer::{Detector, Workers};
use crate::metrics::Metrics;
use crate::pipeline::{Models, Pipeline, Shared};
use crate::source;
use crate::store::Store;
use crate::supervise::governor::{self, Decision, Governor, LoadLevel, Pressure};
use crate::supervise::load::{self, Gauges};
use crate::supervise::{Backoff, Heart, Heartbeats, Restart, Supervisor, Watch, spawn_thread, systemd};
use crate::upload::{self, Uploader};
use crate::web;

use backend::PageBackend;
use outbox::AlertOutbox;

/// How long outlets may take to finish the item in hand.
const OUTLET_GRACE: Duration = Duration::from_millis(1500);
/// How long feeds may take to say good-bye to their cameras.
const FEED_GRACE: Duration = Duration::from_secs(1);
/// How often the governor looks at what the box has to do.
const GOVERN_EVERY: Duration = Duration::from_secs(1);
/// The timekeeper is stuck when it shows no life for so long.
const TIMEKEEPER_SILENT: Duration = Duration::from_secs(120);
/// How long retention may be silent: one batch on a slow card.
const RETENTION_STALLED: Duration = Duration::from_secs(120);
/// An outlet hangs when it shows no life for so long. It beats in every wait that has a limit, however slow the
/// link; what is left are calls of the system, the longest of which is reading a large file for its checksum.
const OUTLET_SILENT: Duration = Duration::from_secs(600);
/// The governor looks every second; sensors of some boards take their time.
const GOVERNOR_SILENT: Duration = Duration::from_secs(60);
/// How often the box looks after itself when systemd has no watchdog for it.
const LOOK_AFTER: Duration = Duration::from_secs(5);

/// The whole daemon, ready to run.
pub struct App {
    shared: Shared,
    store: Store,
    workers: Workers,
    pipelines: Vec<Pipeline>,
    feeds: Supervisor,
    outlets: Supervisor,
    stop: Stops,
    first_id: EventId,
}

/// One token a layer, so that each stops after the one before it.
#[derive(Clone, Debug)]
struct Stops {
    /// Somebody wants the daemon to end.
    asked: CancellationToken,
    feeds: CancellationToken,
    outlets: CancellationToken,
}

impl App {
    /// Opens the store, binds the page and makes every part. Nothing is recorded yet when this fails.
    ///
    /// # Errors
    /// The storage cannot be used, a model does not load, or the page's port is taken.
    pub async fn build(config: Config, stop: CancellationToken) -> Result<Self> {
        // Fails only when another provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let (metrics, health, hearts) = (Metrics::new(), Health::default(), Heartbeats::new(clock.clone()));
        health.set_load(LoadHealth { since: clock.mono(), ..LoadHealth::default() });
        let listener = web::bind(&config.web).await?;
        volume::open(&config.storage.path)?;
        make_room(&config.storage.path);
        let Some(store) = recovery::open_store(&config, &clock, &stop).await? else {
            return Err(anyhow!("stopped before the store could be opened"));
        };
        let detectors = load_detectors(&config)?;
        let workers = Workers::start(&config.infer, metrics.clone(), clock.clone(), hearts.clone())?;

        let layout = Layout::new(&config.storage.path);
        let newest_id = recovery::newest_id(&store, &layout)?;
        let ids = Arc::new(IdSource::new(clock.clone(), newest_id));
        let first_id = ids.next();
        let pressure = Pressure::default();
        let host = Host {
            device: config.device.id.as_str().into(),
            ids: ids.clone(),
            pressure: pressure.clone(),
            hearts: hearts.clone(),
        };
        let (kept, counted) = (config.archive.clone(), metrics.clone());
        let archive = Archive::new(layout, store.clone(), clock.clone(), counted, kept, host);
        let shared = Shared {
            clock,
            metrics,
            health,
            hearts,
            ids,
            pressure,
            archive,
            device: config.device.id.as_str().into(),
            site: config.device.site.as_str().into(),
        };
        let stops = Stops { asked: stop, feeds: CancellationToken::new(), outlets: CancellationToken::new() };
        let mut app = Self {
            feeds: Supervisor::new(stops.feeds.clone()),
            outlets: Supervisor::new(stops.outlets.clone()),
            pipelines: Vec::new(),
            shared,
            store,
            workers,
            stop: stops,
            first_id,
        };
        app.start_outlets(&config)?;
        app.start_retention(&config);
        let latest = app.start_pipelines(&config, &detectors)?;
        app.start_page(&config, listener, latest);
        app.start_timekeeper(&config);
        app.start_governor(&config);
        Ok(app)
    }

    /// Events from now on, as they become durable.
    pub fn archive(&self) -> &Archive {
        &self.shared.archive
    }

    /// Runs until a stop is asked for or a vital part fails; then stops everything in order.
    ///
    /// # Errors
    /// What the vital part failed of.
    pub async fn run(mut self) -> Result<()> {
        recovery::start(&self.shared, &self.store, self.first_id, self.stop.asked.clone());
        self.outlets.spawn("watchdog", Restart::Fatal, {
            let (shared, store) = (self.shared.clone(), self.store.clone());
            move |stop| look_after(shared.clone(), store.clone(), stop)
        });
        systemd::ready(&format!("{} cameras", self.pipelines.len()));
        info!(cameras = self.pipelines.len(), "running");

        let asked = self.stop.asked.clone();
        let feeds = tokio::spawn(self.feeds.run(FEED_GRACE));
        let outlets_stop = self.stop.outlets.clone();
        let mut outlets = tokio::spawn(self.outlets.run(OUTLET_GRACE));
        let early = tokio::select! {
            () = asked.cancelled() => None,
            ended = &mut outlets => Some(ended),
        };
        systemd::stopping();
        self.stop.feeds.cancel();
        let mut outcome = feeds.await.map_err(|e| anyhow!("stop the feeds: {e}")).and_then(|r| r);
        // The sources are dropped now; cameras with few sessions to give get theirs back before the next start.
        source::settle(FEED_GRACE).await;
        let (pipelines, workers) = (self.pipelines, self.workers);
        let stages = tokio::task::spawn_blocking(move || {
            workers.stop();
            pipelines.into_iter().for_each(Pipeline::join);
        });
        if let Err(failure) = stages.await {
            error!(error = %failure, "stop the stages");
        }
        outlets_stop.cancel();
        let ended = match early {
            Some(ended) => ended,
            None => outlets.await,
        };
        outcome = outcome.and(ended.map_err(|e| anyhow!("stop the outlets: {e}")).and_then(|r| r));
        let store = self.store;
        let closed = tokio::task::spawn_blocking(move || store.close()).await;
        outcome =
            outcome.and(closed.map_err(|e| anyhow!("close the store: {e}")).and_then(|r| r.context("close the store")));
        info!("stopped");
        outcome
    }

    fn start_outlets(&mut self, config: &Config) -> Result<()> {
        let device = self.shared.device.clone();
        for (name, upload) in &config.upload {
            let task = format!("upload {name}");
            let (name, upload, shared) = (name.clone(), upload.clone(), self.shared.clone());
            let outbox = self.store.outbox(&format!("upload/{name}"))?;
            let make = move || {
                let archive = shared.archive.layout().root().to_owned();
                let (health, metrics) = (shared.health.clone(), shared.metrics.clone());
                let (device, clock) = (shared.device.clone(), shared.clock.clone());
                Uploader::new(&name, upload.clone(), device, archive, outbox.clone(), health, metrics, clock)
            };
            make()?;
            let watch = self.watch(OUTLET_SILENT);
            self.outlets.spawn_watched(task, Backoff::for_connections(), watch, move |stop, heart| {
                let uploader = make().map(|uploader| uploader.with_heart(heart));
                async move { uploader?.run(stop).await }
            });
        }
        if let Some(mqtt) = &config.mqtt {
            let key_device = device.clone();
            // Alerts name the keys of one destination; with several it is the first by name.
            let prefix = config.upload.values().next().map(upload::Config::key_prefix).unwrap_or_default();
            let object_key: alert::ObjectKey =
                Arc::new(move |event, file| prefix.clone() + &upload::object_key(&key_device, event, file));
            let deps = alert::Deps {
                device,
                cameras: config.cameras().map(|(name, _)| name.as_str().into()).collect(),
                queue: Arc::new(AlertOutbox::new(self.store.outbox("mqtt")?)),
                object_key: (!config.upload.is_empty()).then_some(object_key),
                health: self.shared.health.clone(),
                metrics: self.shared.metrics.clone(),
                clock: self.shared.clock.clone(),
            };
            alert::Alerter::new(mqtt.clone(), deps.clone()).context("set up [mqtt]")?;
            let (mqtt, outbox) = (mqtt.clone(), self.store.outbox("mqtt")?);
            let watch = self.watch(OUTLET_SILENT);
            self.outlets.spawn_watched("alerts", Backoff::for_connections(), watch, move |stop, heart| {
                // A fresh adapter: leases that a run which panicked or hung still held are free again.
                let queue = Arc::new(AlertOutbox::new(outbox.clone()));
                let alerter = alert::Alerter::new(mqtt.clone(), alert::Deps { queue, ..deps.clone() });
                async move { alerter?.with_heart(heart).run(stop).await }
            });
        }
        Ok(())
    }

    fn start_retention(&mut self, config: &Config) {
        let heart = self.shared.hearts.register("retention", RETENTION_STALLED, false);
        let archive = self.shared.archive.clone();
        let retention = Retention::new(archive, config.retention.clone(), self.shared.health.clone(), heart);
        let restart = Restart::Always(Backoff::for_connections());
        self.outlets.spawn("retention", restart, move |stop| retention.clone().run(stop));
    }

    fn start_pipelines(
        &mut self,
        config: &Config,
        detectors: &BTreeMap<String, Arc<Detector>>,
    ) -> Result<BTreeMap<String, Arc<LatestFrame>>> {
        let mut frames = BTreeMap::new();
        for (name, camera) in config.cameras() {
            let latest: Arc<LatestFrame> = Arc::default();
            let enabled = |model: &String| detectors.get(model).filter(|_| camera.detect.enabled).cloned();
            let models = Models { usual: enabled(&camera.detect.model), light: enabled(&camera.detect.light_model) };
            let pipeline =
                Pipeline::start(name, camera, &self.shared, models, &self.workers, latest.clone(), &mut self.feeds)
                    .with_context(|| format!("start camera {name}"))?;
            self.pipelines.push(pipeline);
            frames.insert(name.clone(), latest);
        }
        Ok(frames)
    }

    fn start_page(&mut self, config: &Config, listener: TcpListener, frames: BTreeMap<String, Arc<LatestFrame>>) {
        let backend: Arc<dyn web::Backend> = Arc::new(PageBackend::new(&self.shared, &self.store, config, frames));
        let mut listener = Some(listener);
        self.outlets.spawn("page", Restart::Fatal, move |stop| {
            let (listener, backend) = (listener.take(), backend.clone());
            async move { web::serve(listener.context("the page was started twice")?, backend, stop).await }
        });
    }

    /// Sheds work while there is too much of it.
    fn start_governor(&mut self, config: &Config) {
        if !config.load.enabled {
            return;
        }
        let (shared, limits) = (self.shared.clone(), config.load.clone());
        let watch = self.watch(GOVERNOR_SILENT);
        self.outlets.spawn_watched("governor", Backoff::for_connections(), watch, move |stop, heart| {
            govern(shared.clone(), limits.clone(), stop, heart)
        });
    }

    fn watch(&self, patience: Duration) -> Watch {
        Watch { hearts: self.shared.hearts.clone(), metrics: self.shared.metrics.clone(), patience }
    }

    /// Corrects wall times once the clock is synchronised.
    fn start_timekeeper(&self, config: &Config) {
        let cameras = config.camera.keys().cloned().collect();
        let keeper = Timekeeper::new(self.shared.archive.clone(), cameras, self.first_id);
        let (stop, heart) =
            (self.stop.outlets.clone(), self.shared.hearts.register("timekeeper", TIMEKEEPER_SILENT, false));
        if let Err(failure) = spawn_thread("timekeeper", move || keeper.run(&stop, || heart.beat())) {
            error!(error = %failure, "start the timekeeper");
        }
    }
}

/// Reads the gauges and moves through the levels of the overload ladder.
async fn govern(shared: Shared, limits: governor::Config, stop: CancellationToken, heart: Heart) -> Result<()> {
    let mut gauges = Gauges::new(limits.clone());
    let mut governor = Governor::new(limits, load::memory_of_the_box());
    // A governor that was restarted begins where it can see what follows from its decisions.
    shared.pressure.set_level(LoadLevel::Normal);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(GOVERN_EVERY) => {}
        }
        heart.beat();
        let (now, pressure) = (shared.clock.mono(), shared.pressure.clone());
        // A sensor may block its reader for ever.
        let read = tokio::task::spawn_blocking(move || {
            let reading = gauges.read(now, &pressure);
            (gauges, reading)
        });
        let reading;
        (gauges, reading) = read.await.context("read the gauges")?;
        let Some(Decision { level, reason }) = governor.judge(now, &reading) else { continue };
        if level > shared.pressure.level() {
            warn!(level = %level, reason, "too much to do: doing less");
        } else {
            info!(level = %level, "doing more again");
        }
        shared.pressure.set_level(level);
        shared.metrics.load_level.set(i64::from(level.number()));
        shared.health.set_load(LoadHealth { level, since: now, reason });
    }
}

/// Every model that an enabled camera wants, once.
fn load_detectors(config: &Config) -> Result<BTreeMap<String, Arc<Detector>>> {
    let mut detectors = BTreeMap::new();
    for (camera_name, camera) in config.cameras().filter(|(_, camera)| camera.detect.enabled) {
        let name = &camera.detect.model;
        for name in [name, &camera.detect.light_model].into_iter().filter(|name| !name.is_empty()) {
            if !detectors.contains_key(name) {
                detectors.insert(name.clone(), Arc::new(Detector::load(&config.infer.model_dir, name)?));
            }
            if let Some(detector) = detectors.get(name) {
                camera.detect.check_labels(detector).map_err(|e| anyhow!("camera.{camera_name}.detect: {e}"))?;
            }
        }
    }
    Ok(detectors)
}

/// Feeds the watchdog while every critical part shows life, and refreshes what is read, not counted.
async fn look_after(shared: Shared, store: Store, stop: CancellationToken) -> Result<()> {
    let every = systemd::watchdog_interval().unwrap_or(LOOK_AFTER).min(LOOK_AFTER);
    let mut known_stalled = Vec::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            reason = store.poisoned() => return Err(anyhow!("the store stopped working: {reason}")),
            () = tokio::time::sleep(every) => {}
        }
        let full = store.is_full();
        shared.health.note_store(|health| match (full, health.state) {
            (true, _) => health.state = StoreState::Full,
            (false, StoreState::Full) => health.state = StoreState::Ok,
            _ => {}
        });
        let stalled = shared.hearts.stalled();
        if stalled.iter().all(|s| !s.critical) {
            systemd::watchdog();
        }
        for part in stalled.iter().filter(|part| !known_stalled.contains(&part.name)) {
            error!(part = %part.name, silent_s = part.silent_for.as_secs(), "a part shows no life");
        }
        known_stalled = stalled.into_iter().map(|part| part.name).collect();
    }
}

/// Loads everything that a run would need, without starting it.
///
/// # Errors
/// What would keep the daemon from starting.
pub fn check(config: &Config) -> Result<()> {
    load_detectors(config)?;
    Ok(())
}
