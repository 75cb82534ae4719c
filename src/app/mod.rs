//! The composition root: makes all parts, downstream first, runs them, and stops them in order.
//!
//! The only module that knows all others. Stop order: feeds, stages, recorders (which close what is open),
//! outlets, page, store.

mod backend;
mod device_status;
mod guard;
mod leftover;
mod models;
mod outbox;
mod queues;
mod recovery;
mod storage;
#[cfg(test)]
mod tests;
mod timeline;
mod volume_session;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::archive::{Archive, Moving, Recorder};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::event::IdSource;
use crate::frame::LatestFrame;
use crate::health::{Health, LoadHealth, StoreState};
use crate::infer::{Loader, Scheduler};
use crate::metrics::Metrics;
use crate::pipeline::{Pipeline, Shared, Sight};
use crate::source;
use crate::store::Store;
use crate::supervise::governor::{self, Decision, Governor, LoadLevel, Pressure};
use crate::supervise::load::{self, Gauges};
use crate::supervise::{self, Backoff, Heartbeat, Heartbeats, Restart, Supervisor, Watch, systemd};
use crate::web;

pub use models::check;

use backend::PageBackend;
use guard::{Guard, Verdict};
use leftover::Leftover;
use storage::{Opened, Refusal, Storage};
use volume_session::{CurrentVolume, OpenVolume, OutletContext, Place, VolumeSession};

/// How long the parts that know no session may take to stop.
const OUTLET_GRACE: Duration = Duration::from_millis(1500);
/// How long feeds may take to close their sessions.
const FEED_GRACE: Duration = Duration::from_secs(1);
/// How long the process may take to end when it has to because something hangs.
const END_WITHIN: Duration = Duration::from_secs(15);
/// How often the governor looks at what the box has to do.
const GOVERN_EVERY: Duration = Duration::from_secs(1);
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
    storage: Storage,
    session: VolumeSession,
    current: CurrentVolume,
    known: OutletContext,
    /// The newest picture of each camera.
    frames: BTreeMap<String, Arc<LatestFrame>>,
    /// The index of a spool that was just left, until it is taken into the archive.
    spool_store: Option<Store>,
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
    /// The daemon is to end.
    asked: CancellationToken,
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
        note_place(&shared, &opened);
        let volume = OpenVolume::new(opened.place, &opened.folder, opened.store, &config, &shared, None)?;
        let current = CurrentVolume::new(&volume);
        let frames: BTreeMap<_, _> = config.cameras().map(|(name, _)| (name.clone(), Arc::default())).collect();
        let backend = Arc::new(PageBackend::new(&shared, &current, &config, frames.clone()));
        let known = OutletContext { status: backend.clone(), announced: storage.announced() };
        let stops = Stops { asked: stop, feeds: CancellationToken::new(), outlets: CancellationToken::new() };
        let mut app = Self {
            feeds: Supervisor::new(stops.feeds.clone()),
            outlets: Supervisor::new(stops.outlets.clone()),
            pipelines: Vec::new(),
            session: VolumeSession::start(volume, &config, &shared, &known)?,
            config: config.clone(),
            shared: shared.clone(),
            storage,
            current,
            known,
            frames,
            spool_store: None,
            models: models::start(&config, &shared)?,
            workers,
            stop: stops,
        };
        app.start_page(backend);
        app.start_pipelines()?;
        app.start_governor();
        Ok(app)
    }

    /// Events from now on, as they become durable.
    pub fn archive(&self) -> &Archive {
        &self.session.volume.archive
    }

    /// Runs until a stop is asked for or a vital part fails; then stops everything in order.
    ///
    /// # Errors
    /// What the vital part failed of.
    pub async fn run(mut self) -> Result<()> {
        self.begin_recovery(Vec::new());
        self.outlets.spawn("watchdog", Restart::Fatal, {
            let (shared, current) = (self.shared.clone(), self.current.clone());
            move |stop| look_after(shared.clone(), current.clone(), stop)
        });
        systemd::ready(&format!("{} cameras", self.pipelines.len()));
        info!(cameras = self.pipelines.len(), "running");

        let feeds = std::mem::replace(&mut self.feeds, Supervisor::new(self.stop.feeds.clone()));
        let feeds = tokio::spawn(feeds.run(FEED_GRACE));
        let outlets = std::mem::replace(&mut self.outlets, Supervisor::new(self.stop.outlets.clone()));
        let mut outlets = tokio::spawn(outlets.run(OUTLET_GRACE));
        let early = tokio::select! {
            failure = self.follow_the_volume() => Ending::Failed(failure),
            ended = &mut outlets => Ending::Outlets(ended.map_err(|e| anyhow!("stop the outlets: {e}")).and_then(|r| r)),
        };
        systemd::stopping();
        if matches!(early, Ending::Failed(Some(_))) {
            supervise::end_within(END_WITHIN);
        }
        self.stop.feeds.cancel();
        let mut outcome = feeds.await.map_err(|e| anyhow!("stop the feeds: {e}")).and_then(|r| r);
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
        self.session.stop().await;
        outcome = outcome.and(match early {
            Ending::Outlets(ended) => ended,
            Ending::Failed(failure) => outlets
                .await
                .map_err(|e| anyhow!("stop the outlets: {e}"))
                .and_then(|r| r)
                .and(failure.map_or(Ok(()), Err)),
        });
        outcome = outcome.and(volume_session::close(self.session.volume.store).await);
        info!("stopped");
        outcome
    }

    /// Goes from volume to volume, until a stop is asked for (`None`) or nothing else helps.
    async fn follow_the_volume(&mut self) -> Option<anyhow::Error> {
        loop {
            let (storage, shared, asked) = (self.storage.clone(), self.shared.clone(), self.stop.asked.clone());
            let mut guard = Guard::new(&storage, &shared);
            let verdict = tokio::select! {
                () = asked.cancelled() => return None,
                verdict = guard.watch(&self.session) => verdict,
            };
            let outcome = match verdict {
                Verdict::Fail(failure) => return Some(failure),
                Verdict::Return => self.go_to_main().await,
                Verdict::Leave(trouble) => self.leave_main(&trouble).await,
            };
            if let Err(failure) = outcome {
                error!(error = format!("{failure:#}"), "recording cannot go on on another volume yet");
                tokio::select! {
                    () = asked.cancelled() => return None,
                    () = tokio::time::sleep(storage.check_every()) => {}
                }
            }
        }
    }

    async fn leave_main(&mut self, trouble: &str) -> Result<()> {
        match self.storage.open_spool(trouble).await? {
            Some(opened) => self.move_to(opened).await.map(drop),
            // No spool, but the volume is back already: the index was opened on what is not there any more.
            None => {
                close_in_background(self.session.volume.store.clone()).await;
                self.go_to_main().await
            }
        }
    }

    async fn go_to_main(&mut self) -> Result<()> {
        let opened = match self.storage.open_main().await {
            Ok(opened) => opened,
            Err(Refusal::NotYet(reason) | Refusal::Volume(reason)) => return Err(anyhow!(reason)),
            Err(Refusal::Fatal(failure)) => return Err(failure),
        };
        let leaving = self.move_to(opened).await?;
        self.begin_recovery(leaving);
        Ok(())
    }

    /// Makes `opened` the current: first the recorders go there, then the outlets of the old session end, since a broker
    /// knows one session of a name, then the new ones begin.
    async fn move_to(&mut self, opened: Opened) -> Result<Vec<Moving>> {
        let Opened { place, ref folder, ref store, .. } = opened;
        let from = &self.session.volume.archive;
        let volume = OpenVolume::new(place, folder, store.clone(), &self.config, &self.shared, Some(from))?;
        let archive = volume.archive.clone();
        let recorders: Vec<Arc<Recorder>> = self.pipelines.iter().map(Pipeline::recorder).collect();
        let moved = tokio::task::spawn_blocking(move || {
            recorders.iter().map(|recorder| recorder.move_to(archive.clone())).collect::<Vec<_>>()
        });
        let mut leaving = Vec::new();
        for moving in moved.await.context("move the recorders")? {
            match moving {
                Ok(moving) => leaving.push(moving),
                Err(failure) => error!(error = format!("{failure:#}"), "a recorder could not move"),
            }
        }
        self.current.set(&volume);
        note_place(&self.shared, &opened);
        self.session.stop().await;
        let old = std::mem::replace(
            &mut self.session,
            VolumeSession::start(volume, &self.config, &self.shared, &self.known)?,
        );
        // What is open there is closed by then, or never.
        match place {
            Place::Spool => drop(tokio::spawn(close_in_background(old.volume.store))),
            Place::Main => self.spool_store = Some(old.volume.store),
        }
        Ok(leaving)
    }

    /// Puts what the past left on this volume in order; on the archive's own volume also what lies in the spool.
    fn begin_recovery(&mut self, leaving: Vec<Moving>) {
        let store = self.spool_store.take();
        let volume = &self.session.volume;
        let leftover = |folder| Leftover {
            folder,
            config: self.config.clone(),
            clock: self.shared.clock.clone(),
            runtime: Handle::current(),
            leaving: Mutex::new(leaving),
            store: Mutex::new(store),
        };
        let spool = self.storage.leftover().filter(|_| volume.place == Place::Main).map(leftover);
        let (shared, archive, first_id) = (self.shared.clone(), volume.archive.clone(), volume.first_id);
        let asked = self.stop.asked.clone();
        archive.set_incomplete(volume.place == Place::Spool || spool.is_some());
        self.session.recover(recovery::Work { shared, archive, first_id, spool, asked });
    }

    fn start_pipelines(&mut self) -> Result<()> {
        let (config, archive) = (self.config.clone(), self.session.volume.archive.clone());
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
    fn start_page(&mut self, backend: Arc<dyn web::Backend>) {
        let config = self.config.web.clone();
        self.outlets.spawn("page", Restart::Always(Backoff::for_connections()), move |stop| {
            let (config, backend) = (config.clone(), backend.clone());
            async move { web::serve(web::bind(&config).await?, backend, stop).await }
        });
    }

    /// Sheds work while there is too much of it.
    fn start_governor(&mut self) {
        if !self.config.load.enabled {
            return;
        }
        let (shared, limits) = (self.shared.clone(), self.config.load.clone());
        let watch = watch(&self.shared, GOVERNOR_SILENT);
        self.outlets.spawn_watched("governor", Backoff::for_connections(), watch, move |stop, heartbeat| {
            govern(shared.clone(), limits.clone(), stop, heartbeat)
        });
    }
}

/// Why the daemon stops.
enum Ending {
    /// A vital part ended by itself.
    Outlets(Result<()>),
    /// A stop was asked for, or no volume can be recorded on.
    Failed(Option<anyhow::Error>),
}

/// What it takes to restart a part that is silent for longer than `patience`.
fn watch(shared: &Shared, patience: Duration) -> Watch {
    Watch { heartbeats: shared.heartbeats.clone(), metrics: shared.metrics.clone(), patience }
}

/// Says where is recorded.
fn note_place(shared: &Shared, opened: &Opened) {
    let spooling = opened.place == Place::Spool;
    shared.health.set_volume_trouble(opened.trouble.clone());
    shared.health.set_spooling(spooling);
    shared.metrics.spooling.set(i64::from(spooling));
    if let Some(trouble) = &opened.trouble {
        error!(reason = trouble, folder = %opened.folder.display(), "recording goes on in the spool");
        systemd::status(&format!("recording into the spool: {trouble}"));
    } else {
        info!(folder = %opened.folder.display(), "recording on the archive's volume");
        systemd::status("recording on the archive's volume");
    }
}

/// Closes an index whose volume may be dead.
async fn close_in_background(store: Store) {
    if let Err(failure) = volume_session::close(store).await {
        warn!(error = format!("{failure:#}"), "the index of the volume that was left");
    }
}

/// Reads the gauges and moves through the levels of the overload ladder.
async fn govern(shared: Shared, limits: governor::Config, stop: CancellationToken, heartbeat: Heartbeat) -> Result<()> {
    let mut gauges = Gauges::new(limits.clone());
    let mut governor = Governor::new(limits, load::memory_of_the_box());
    // A governor that was restarted begins where it can see what follows from its decisions.
    shared.pressure.set_level(LoadLevel::Normal);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(GOVERN_EVERY) => {}
        }
        heartbeat.beat();
        let (now, pressure) = (shared.clock.mono(), shared.pressure.clone());
        // A sensor may block its reader for ever.
        let read = tokio::task::spawn_blocking(move || {
            let reading = gauges.read(now, &pressure);
            (gauges, reading)
        });
        let reading;
        (gauges, reading) = read.await.context("read the gauges")?;
        shared.health.set_reading(reading);
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

/// Feeds the watchdog while every critical part shows life, and refreshes what is read, not counted.
async fn look_after(shared: Shared, current: CurrentVolume, stop: CancellationToken) -> Result<()> {
    let every = systemd::watchdog_interval().unwrap_or(LOOK_AFTER).min(LOOK_AFTER);
    let mut known_stalled = Vec::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
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
