//! The composition root: makes all parts, downstream first, runs them, replaces those that another configuration is about,
//! and stops them in order.
//!
//! The only module that knows all others. Stop order: feeds, stages, recorders (which close what is open),
//! outlets, page, store.

mod reload;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::access::Access;
use crate::archive::Archive;
use crate::audit::Audit;
use crate::backtest::{self, BacktestDeps};
use crate::cameras::{self, Cameras, Models};
use crate::clock::{Clock, Mono, SystemClock};
use crate::config::{Camera, Config};
use crate::discovery::Discovery;
use crate::event::IdSource;
use crate::health::{Health, LoadHealth, StoreState};
use crate::infer::{Jobs, Scheduler};
use crate::load::{self, Decision, Finding, LoadLevel, Pressure};
use crate::metrics::Metrics;
use crate::pipeline::Shared;
use crate::record::RecordMode::{Continuous, Events, Off};
use crate::reload::Source;
use crate::service::{
    self, BacktestQueue, BacktestService, CameraUse, ConfigService, Configured, CurrentVolume, Services,
};
use crate::status::{DetectUse, RecordUse};
use crate::supervise::{
    self, Context as Part, Hang, Heartbeats, MOST_ABANDONED, Restart, Running, Spec, Supervisor, systemd,
};
use crate::volume_session::{Followed, OpenVolume, Storage, SwitchDeps, VolumeSwitch};
use crate::web;

use reload::Reloads;

/// Folder of users, keys and sessions, beside what else holds on any volume.
const ACCESS: &str = "access";
/// Folder of the audit log.
const AUDIT: &str = "audit";
/// How long the parts that know no session may take to stop.
const OUTLET_GRACE: Duration = Duration::from_millis(1500);
/// How long the process may take to end when it has to because something hangs.
const END_WITHIN: Duration = Duration::from_secs(15);
/// How long cameras that are files wait for the models at the start.
const MODELS_FOR_FILES: Duration = Duration::from_secs(60);
/// The governor looks every second; sensors of some boards take their time.
const GOVERNOR_SILENT: Duration = Duration::from_secs(60);
/// How often the box looks after itself when systemd has no watchdog for it.
const LOOK_AFTER: Duration = Duration::from_secs(5);

/// The whole daemon, ready to run.
pub struct App {
    /// The configuration in use.
    config: watch::Sender<Arc<Config>>,
    shared: Shared,
    volumes: VolumeSwitch,
    current: CurrentVolume,
    services: Services,
    configured: watch::Sender<Arc<Configured>>,
    cameras: Cameras,
    models: Models,
    workers: Scheduler,
    reloads: Reloads,
    /// Taken out when it has to end before the rest.
    page: Option<Running>,
    governor: Running,
    background: Running,
    backtests: Running,
    stop: Stops,
}

/// One token a layer, so that each stops after the one before it.
#[derive(Clone, Debug)]
struct Stops {
    feeds: CancellationToken,
    outlets: CancellationToken,
}

impl App {
    /// Opens the store and makes every part. Nothing is recorded yet when this fails. `source` is where the configuration
    /// comes from, and where it is read again.
    ///
    /// # Errors
    /// The storage cannot be used, or an outlet's settings are wrong.
    pub async fn build(config: Config, source: Source, stop: CancellationToken) -> Result<Self> {
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
        let workers = Scheduler::start(&config.infer, metrics.clone(), clock.clone(), &heartbeats);
        let shared = Shared {
            ids: Arc::new(IdSource::new(clock.clone(), None)),
            clock,
            metrics,
            health,
            heartbeats,
            pressure: Pressure::default(),
            publishers: Default::default(),
            control: storage.control(),
            state: storage.state().into(),
            device: config.device.id.as_str().into(),
            site: config.device.site.as_str().into(),
        };
        opened.note(&shared);
        let volume = OpenVolume::new(&opened, &config, &shared, None)?;
        let current = CurrentVolume::new(&volume.archive, &volume.store);
        let stops = Stops { feeds: CancellationToken::new(), outlets: CancellationToken::new() };
        let cameras = Cameras::new(stops.feeds.clone(), &config, &shared.metrics);
        let configured = watch::Sender::new(Arc::new(configured(&config, &cameras)));
        let (reloads, service) = Reloads::new(source, &config, &shared.state, &*shared.clock);
        let access = Access::open(&shared.state.join(ACCESS), shared.clock.clone());
        let (backtests, tried) = BacktestService::new(shared.clock.clone());
        let deps = (backtests, workers.jobs());
        let services = Services::new(context(&shared, &current, configured.subscribe(), access, service, deps));
        let deps = SwitchDeps {
            config: config.clone(),
            shared: shared.clone(),
            storage,
            current: current.clone(),
            services: services.clone(),
            asked: stop.clone(),
        };
        let volumes = VolumeSwitch::start(volume, deps)?;
        let in_use = watch::Sender::new(config.clone());
        let mut app = Self {
            page: Some(start_page(&config, &services, &shared, &stops.outlets)),
            models: Models::start(in_use.subscribe(), &shared).await,
            governor: start_governor(&config, &shared, &stops.outlets),
            background: start_services(&services, &shared, &stops.outlets),
            backtests: start_backtests(tried, in_use.subscribe(), &shared, &current, workers.jobs(), &stops.outlets),
            config: in_use,
            shared,
            volumes,
            current,
            services,
            configured,
            cameras,
            workers,
            reloads,
            stop: stops,
        };
        app.start_cameras(&config, MODELS_FOR_FILES).await?;
        Ok(app)
    }

    /// Events from now on, as they become durable.
    pub fn archive(&self) -> &Archive {
        self.volumes.archive()
    }

    /// Which configuration is in use, and how it is read again.
    pub fn config(&self) -> ConfigService {
        self.services.config.clone()
    }

    /// Runs until a stop is asked for or a vital part fails; then stops everything in order.
    ///
    /// # Errors
    /// What the vital part failed of.
    pub async fn run(mut self) -> Result<()> {
        self.volumes.recover();
        let mut watchdog = supervisor(&self.shared, &self.stop.outlets);
        watchdog.task(Spec::new("watchdog").restart(Restart::Fatal), {
            let (shared, current) = (self.shared.clone(), self.current.clone());
            move |part| look_after(shared.clone(), current.clone(), part)
        });
        let mut watchdog = watchdog.start(OUTLET_GRACE);
        systemd::ready(&self.cameras.status_line());
        info!(cameras = self.cameras.count(), "running");
        self.reloads.note_started().await;
        let early = self.follow(&mut watchdog).await;
        systemd::stopping();
        if matches!(early, Ending::Failed(Some(_))) {
            supervise::end_within(END_WITHIN);
            // The system cannot remove a process that a dead disk holds: its successor needs the port.
            drop(self.page.take());
        }
        let joining = self.cameras.stop_feeds().await;
        self.models.stop().await;
        self.workers.stop().await;
        joining.join().await;
        self.stop.outlets.cancel();
        self.volumes.stop().await;
        let mut outcome = self.background.stop().await.and(self.governor.stop().await).and(self.backtests.stop().await);
        if let Some(page) = self.page {
            outcome = outcome.and(page.stop().await);
        }
        outcome = outcome.and(match early {
            Ending::Watchdog(ended) => ended,
            Ending::Failed(failure) => watchdog.stop().await.and(failure.map_or(Ok(()), Err)),
        });
        outcome = outcome.and(self.volumes.close().await);
        info!("stopped");
        outcome
    }

    /// Goes from volume to volume and from configuration to configuration until the end.
    async fn follow(&mut self, watchdog: &mut Running) -> Ending {
        loop {
            let recorders = self.cameras.recorders();
            let followed = tokio::select! {
                followed = self.volumes.follow(&recorders, self.reloads.due()) => followed,
                ended = watchdog.ended() => return Ending::Watchdog(ended),
            };
            match followed {
                Followed::Stopped => return Ending::Failed(None),
                Followed::Failed(failure) => return Ending::Failed(Some(failure)),
                Followed::Interrupted(due) => self.carry_out(due).await,
            }
        }
    }

    async fn start_cameras(&mut self, config: &Config, files_wait: Duration) -> Result<()> {
        let (archive, pipelines) = (self.volumes.archive().clone(), self.services.camera_pipelines());
        let Self { shared, models, workers, .. } = self;
        let with = cameras::Start { shared, archive: &archive, models, workers, pipelines: &pipelines, files_wait };
        self.cameras.start(config, &with).await
    }
}

/// A page that cannot be opened, because its port is taken, costs nothing but the page: the local socket answers.
fn start_page(config: &Config, services: &Services, shared: &Shared, stop: &CancellationToken) -> Running {
    let stop = stop.child_token();
    let mut tasks = supervisor(shared, &stop);
    let place = web::PageDeps { folder: shared.state.to_path_buf(), clock: shared.clock.clone() };
    let page = web::Page::new(config.web.clone(), services.clone(), place, stop);
    let local = page.clone();
    tasks.task(Spec::new("page"), move |part| {
        let page = page.clone();
        async move {
            let opened = page.open().await?;
            page.serve(opened, part.stop().clone()).await
        }
    });
    tasks.task(Spec::new("local socket"), move |part| {
        let local = local.clone();
        async move {
            local.serve_local(part.stop().clone()).await;
            Ok(())
        }
    });
    tasks.start(OUTLET_GRACE)
}

/// Reads the gauges, and sheds work while there is too much of it.
fn start_governor(config: &Config, shared: &Shared, stop: &CancellationToken) -> Running {
    let mut governor = supervisor(shared, &stop.child_token());
    let (noted, limits) = (shared.clone(), config.load.clone());
    let spec = Spec::new("governor").heartbeat(GOVERNOR_SILENT, REPLACED);
    governor.task(spec, move |part| govern(&noted, limits.clone(), part));
    // A new one begins where nothing is left out.
    note_level(shared, shared.clock.mono(), LoadLevel::Normal, String::new());
    governor.start(OUTLET_GRACE)
}

/// Does what the services do beside answering: exports, the upkeep of the library, media packets of phones.
fn start_services(services: &Services, shared: &Shared, stop: &CancellationToken) -> Running {
    let mut tasks = supervisor(shared, &stop.child_token());
    services.start_in(&mut tasks);
    tasks.start(OUTLET_GRACE)
}

/// Tries rules against recordings, while that is asked for.
fn start_backtests(
    queue: BacktestQueue,
    config: watch::Receiver<Arc<Config>>,
    shared: &Shared,
    current: &CurrentVolume,
    jobs: Jobs,
    stop: &CancellationToken,
) -> Running {
    let mut tasks = supervisor(shared, &stop.child_token());
    let (pressure, clock) = (shared.pressure.clone(), shared.clock.clone());
    let deps = BacktestDeps { config, volume: current.clone(), jobs, pressure, clock };
    let queue = Arc::new(tokio::sync::Mutex::new(queue));
    tasks.task(Spec::new("backtests"), move |part| backtest::run(queue.clone(), deps.clone(), part));
    tasks.start(OUTLET_GRACE)
}

/// Why the daemon stops.
enum Ending {
    /// A vital part ended by itself.
    Watchdog(Result<()>),
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
    shared: &Shared,
    current: &CurrentVolume,
    configured: watch::Receiver<Arc<Configured>>,
    access: Access,
    config: ConfigService,
    (backtests, jobs): (BacktestService, Jobs),
) -> service::Context {
    service::Context {
        publishers: shared.publishers.clone(),
        device: shared.device.clone(),
        site: shared.site.clone(),
        volume: current.clone(),
        clock: shared.clock.clone(),
        started: shared.clock.mono(),
        health: shared.health.clone(),
        heartbeats: shared.heartbeats.clone(),
        metrics: shared.metrics.clone(),
        control: shared.control.clone(),
        access,
        audit: Audit::open(&shared.state.join(AUDIT), shared.clock.clone()),
        backtests,
        pipelines: shared.state.join("pipelines").into(),
        jobs,
        discovery: Discovery::default(),
        config,
        configured,
    }
}

/// What the services need of the configuration in use.
fn configured(config: &Config, cameras: &Cameras) -> Configured {
    Configured {
        outlets: config.outlets(),
        openable: config.openable(),
        retention: config.retention.clone(),
        library: Arc::new(config.library.clone()),
        executions: Arc::new(config.executions.clone()),
        frames: cameras.frames(),
        broadcasts: cameras.broadcasts(),
        uses: config.cameras().map(|(name, camera)| (name.clone(), camera_use(camera))).collect(),
        published: config.published(),
        webrtc: config.webrtc.clone(),
        infer: config.infer.clone(),
        models: cameras::models_in_use(config),
    }
}

fn camera_use(camera: &Camera) -> CameraUse {
    let record = match camera.record.mode {
        Events => RecordUse::Events,
        Continuous => RecordUse::Continuous,
        Off => RecordUse::Off,
    };
    CameraUse { detect: DetectUse::of(camera.detect.enabled), record, pipeline: camera.pipeline.name.clone() }
}

/// Sheds load, and notes what the gauges say and what follows from it.
fn govern(shared: &Shared, limits: load::Config, part: Part) -> impl Future<Output = Result<()>> + use<> {
    let noted = shared.clone();
    let note = move |Finding { at, reading, decision }| {
        noted.health.set_reading(reading);
        if let Some(Decision { level, reason }) = decision {
            note_level(&noted, at, level, reason);
        }
    };
    load::govern(limits, shared.pressure.clone(), shared.clock.clone(), note, part)
}

fn note_level(shared: &Shared, since: Mono, level: LoadLevel, reason: String) {
    shared.pressure.set_level(level);
    shared.metrics.load_level.set(i64::from(level.number()));
    shared.health.set_load(LoadHealth { level, since, reason });
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
