//! The composition root: makes all parts, downstream first, runs them, and stops them in order.
//!
//! The only module that knows all others. Stop order: feeds, stages, recorders (which close what is open),
//! outlets, page, store.

mod models;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::archive::Archive;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::event::IdSource;
use crate::frame::LatestFrame;
use crate::health::{Health, LoadHealth, StoreState};
use crate::infer::{Loader, Scheduler};
use crate::load::{self, Decision, Finding, Pressure};
use crate::metrics::Metrics;
use crate::pipeline::{Pipeline, Shared, Sight};
use crate::service::{self, CurrentVolume, Services};
use crate::source;
use crate::supervise::{self, Context as Part, Hang, Heartbeats, MOST_ABANDONED, Restart, Spec, Supervisor, systemd};
use crate::volume_session::{OpenVolume, Storage, SwitchDeps, VolumeSwitch};
use crate::web;

pub use models::check;

/// How long the parts that know no session may take to stop.
const OUTLET_GRACE: Duration = Duration::from_millis(1500);
/// How long feeds may take to close their sessions.
const FEED_GRACE: Duration = Duration::from_secs(1);
/// How long the process may take to end when it has to because something hangs.
const END_WITHIN: Duration = Duration::from_secs(15);
/// The governor looks every second; sensors of some boards take their time.
const GOVERNOR_SILENT: Duration = Duration::from_secs(60);
/// How long cameras that are files wait for the models.
const MODELS_FOR_FILES: Duration = Duration::from_secs(60);
/// How often the box looks after itself when systemd has no watchdog for it.
const LOOK_AFTER: Duration = Duration::from_secs(5);

/// The whole daemon, ready to run.
pub struct App {
    config: Arc<Config>,
    shared: Shared,
    volumes: VolumeSwitch,
    current: CurrentVolume,
    /// The newest picture of each camera.
    frames: BTreeMap<String, Arc<LatestFrame>>,
    models: Loader,
    workers: Scheduler,
    pipelines: Vec<Pipeline>,
    feeds: Supervisor,
    outlets: Supervisor,
    stop: Stops,
}

/// One token a layer, so that each stops after the one before it.
#[derive(Clone, Debug)]
struct Stops {
    feeds: CancellationToken,
    outlets: CancellationToken,
}

impl App {
    /// Opens the store and makes every part. Nothing is recorded yet when this fails.
    ///
    /// # Errors
    /// The storage cannot be used, or an outlet's settings are wrong.
    pub async fn build(config: Config, stop: CancellationToken) -> Result<Self> {
        // Fails only when another provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = Arc::new(config);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let (metrics, health, heartbeats) = (Metrics::new(), Health::default(), Heartbeats::new(clock.clone()));
        health.set_load(LoadHealth { since: clock.mono(), ..LoadHealth::default() });
        let storage = Storage::new(&config, &clock);
        let Some(opened) = storage.open(&stop).await? else {
            return Err(anyhow!("stopped before the store could be opened"));
        };
        let workers = Scheduler::start(&config.infer, metrics.clone(), clock.clone(), heartbeats.clone())?;
        let shared = Shared {
            ids: Arc::new(IdSource::new(clock.clone(), None)),
            clock,
            metrics,
            health,
            heartbeats,
            pressure: Pressure::default(),
            control: storage.control(),
            state: storage.state().into(),
            device: config.device.id.as_str().into(),
            site: config.device.site.as_str().into(),
        };
        opened.note(&shared);
        let volume = OpenVolume::new(&opened, &config, &shared, None)?;
        let current = CurrentVolume::new(&volume.archive, &volume.store);
        let frames: BTreeMap<_, _> = config.cameras().map(|(name, _)| (name.clone(), Arc::default())).collect();
        let services = Services::new(context(&config, &shared, &current, &frames));
        let deps = SwitchDeps {
            config: config.clone(),
            shared: shared.clone(),
            storage,
            current: current.clone(),
            services: services.clone(),
            asked: stop.clone(),
        };
        let stops = Stops { feeds: CancellationToken::new(), outlets: CancellationToken::new() };
        let mut app = Self {
            feeds: supervisor(&shared, &stops.feeds),
            outlets: supervisor(&shared, &stops.outlets),
            pipelines: Vec::new(),
            volumes: VolumeSwitch::start(volume, deps)?,
            config: config.clone(),
            shared: shared.clone(),
            current,
            frames,
            models: models::start(&config, &shared)?,
            workers,
            stop: stops,
        };
        app.start_page(services);
        app.start_pipelines()?;
        app.start_governor();
        Ok(app)
    }

    /// Events from now on, as they become durable.
    pub fn archive(&self) -> &Archive {
        self.volumes.archive()
    }

    /// Runs until a stop is asked for or a vital part fails; then stops everything in order.
    ///
    /// # Errors
    /// What the vital part failed of.
    pub async fn run(mut self) -> Result<()> {
        self.volumes.recover();
        self.outlets.task(Spec::new("watchdog").restart(Restart::Fatal), {
            let (shared, current) = (self.shared.clone(), self.current.clone());
            move |part| look_after(shared.clone(), current.clone(), part)
        });
        systemd::ready(&format!("{} cameras", self.pipelines.len()));
        info!(cameras = self.pipelines.len(), "running");

        let feeds = std::mem::replace(&mut self.feeds, supervisor(&self.shared, &self.stop.feeds)).start(FEED_GRACE);
        let outlets = std::mem::replace(&mut self.outlets, supervisor(&self.shared, &self.stop.outlets));
        let mut outlets = outlets.start(OUTLET_GRACE);
        let recorders: Vec<_> = self.pipelines.iter().map(Pipeline::recorder).collect();
        let early = tokio::select! {
            failure = self.volumes.follow(&recorders) => Ending::Failed(failure),
            ended = outlets.ended() => Ending::Outlets(ended),
        };
        systemd::stopping();
        if matches!(early, Ending::Failed(Some(_))) {
            supervise::end_within(END_WITHIN);
        }
        let mut outcome = feeds.stop().await;
        // The sources are dropped now; cameras with few sessions to give get theirs back before the next start.
        source::settle(FEED_GRACE).await;
        let (pipelines, workers, models) = (self.pipelines, self.workers, self.models);
        let stages = tokio::task::spawn_blocking(move || {
            models.stop();
            workers.stop();
            pipelines.into_iter().for_each(Pipeline::join);
        });
        if let Err(failure) = stages.await {
            error!(error = %failure, "stop the stages");
        }
        self.stop.outlets.cancel();
        self.volumes.stop().await;
        outcome = outcome.and(match early {
            Ending::Outlets(ended) => ended,
            Ending::Failed(failure) => outlets.stop().await.and(failure.map_or(Ok(()), Err)),
        });
        outcome = outcome.and(self.volumes.close().await);
        info!("stopped");
        outcome
    }

    fn start_pipelines(&mut self) -> Result<()> {
        let (config, archive) = (self.config.clone(), self.volumes.archive().clone());
        let (files, live): (Vec<_>, Vec<_>) = config.cameras().partition(|(_, camera)| camera.source.is_file());
        for (name, camera) in live.into_iter().chain(files) {
            // A file begins when it is asked to, so it can wait for what is to look at it.
            if camera.source.is_file() {
                self.models.wait_until_tried(MODELS_FOR_FILES);
            }
            let latest = self.frames.entry(name.clone()).or_default().clone();
            let models = models::of_camera(camera, &self.models);
            let sight = Sight { models, workers: &self.workers, latest };
            let pipeline = Pipeline::start(name, camera, &self.shared, &archive, sight, &mut self.feeds)
                .with_context(|| format!("start camera {name}"))?;
            self.pipelines.push(pipeline);
        }
        Ok(())
    }

    /// A page that cannot be opened, because its port is taken, costs nothing but the page.
    fn start_page(&mut self, services: Services) {
        let config = self.config.web.clone();
        self.outlets.task(Spec::new("page"), move |part| {
            let (config, services) = (config.clone(), services.clone());
            async move { web::serve(web::bind(&config).await?, services, part.stop().clone()).await }
        });
    }

    /// Reads the gauges, and sheds work while there is too much of it.
    fn start_governor(&mut self) {
        let (shared, limits) = (self.shared.clone(), self.config.load.clone());
        let spec = Spec::new("governor").heartbeat(GOVERNOR_SILENT, REPLACED);
        self.outlets.task(spec, move |part| govern(&shared, limits.clone(), part));
    }
}

/// Why the daemon stops.
enum Ending {
    /// A vital part ended by itself.
    Outlets(Result<()>),
    /// A stop was asked for, or no volume can be recorded on.
    Failed(Option<anyhow::Error>),
}

/// Tasks that hang are dropped and restarted.
const REPLACED: Hang = Hang::Replace { most: MOST_ABANDONED };

fn supervisor(shared: &Shared, stop: &CancellationToken) -> Supervisor {
    Supervisor::new(stop.clone(), &shared.heartbeats, &shared.metrics)
}

/// What the services answer from.
fn context(
    config: &Config,
    shared: &Shared,
    current: &CurrentVolume,
    frames: &BTreeMap<String, Arc<LatestFrame>>,
) -> service::Context {
    service::Context {
        device: shared.device.clone(),
        site: shared.site.clone(),
        volume: current.clone(),
        clock: shared.clock.clone(),
        started: shared.clock.mono(),
        health: shared.health.clone(),
        heartbeats: shared.heartbeats.clone(),
        metrics: shared.metrics.clone(),
        control: shared.control.clone(),
        outlets: config.outlets(),
        quota_bytes: Some(config.retention.max_bytes).filter(|bytes| *bytes > 0),
        frames: frames.clone(),
    }
}

/// Sheds load, and notes what the gauges say and what follows from it.
fn govern(shared: &Shared, limits: load::Config, part: Part) -> impl Future<Output = Result<()>> + use<> {
    let (health, metrics) = (shared.health.clone(), shared.metrics.clone());
    let note = move |Finding { at, reading, decision }| {
        health.set_reading(reading);
        if let Some(Decision { level, reason }) = decision {
            metrics.load_level.set(i64::from(level.number()));
            health.set_load(LoadHealth { level, since: at, reason });
        }
    };
    load::govern(limits, shared.pressure.clone(), shared.clock.clone(), note, part)
}

/// Feeds the watchdog while every critical part shows life, and refreshes what is read, not counted.
async fn look_after(shared: Shared, current: CurrentVolume, part: Part) -> Result<()> {
    let every = systemd::watchdog_interval().unwrap_or(LOOK_AFTER).min(LOOK_AFTER);
    let mut known_stalled = Vec::new();
    loop {
        tokio::select! {
            () = part.stop().cancelled() => return Ok(()),
            () = tokio::time::sleep(every) => {}
        }
        let full = current.store().is_full();
        shared.health.note_store(|health| match (full, health.state) {
            (true, _) => health.state = StoreState::Full,
            (false, StoreState::Full) => health.state = StoreState::Ok,
            _ => {}
        });
        let stalled = shared.heartbeats.stalled();
        if stalled.iter().all(|s| !s.critical) {
            systemd::watchdog();
        }
        for part in stalled.iter().filter(|part| !known_stalled.contains(&part.name)) {
            error!(part = %part.name, silent_s = part.silent_for.as_secs(), "a part shows no life");
        }
        known_stalled = stalled.into_iter().map(|part| part.name).collect();
    }
}
