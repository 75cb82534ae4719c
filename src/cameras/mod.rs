//! The cameras that run, each with a supervisor of its own, so that one is started and stopped without the others; and the
//! models that they use.

mod models;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::future::join_all;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::archive::Archive;
use crate::config::{self, Config};
use crate::frame::LatestFrame;
use crate::infer::Scheduler;
use crate::live::{Broadcast, Outlines};
use crate::metrics::Metrics;
use crate::pipeline::{Pipeline, Shared, Sight};
use crate::reception::Reception;
use crate::record::{Recorder, StillTurn};
use crate::service::CameraPipelines;
use crate::source;
use crate::supervise::{Running, Supervisor};

pub use models::{Models, check, check_names, models_in_use};

/// How long feeds may take to close their sessions.
const FEED_GRACE: Duration = Duration::from_secs(1);

/// All cameras.
pub struct Cameras {
    stop: CancellationToken,
    running: BTreeMap<String, Camera>,
    /// The newest picture of each camera that is configured.
    frames: BTreeMap<String, Arc<LatestFrame>>,
    /// Live video of each.
    broadcasts: BTreeMap<String, Arc<Broadcast>>,
    /// Which of them decodes pictures for stills at a time.
    still_turn: StillTurn,
}

struct Camera {
    pipeline: Pipeline,
    feeds: Running,
}

/// What cameras are started with.
pub struct Start<'a> {
    /// What all cameras share.
    pub shared: &'a Shared,
    /// Where they record.
    pub archive: &'a Archive,
    /// What looks at their pictures.
    pub models: &'a Models,
    /// The threads that run the models.
    pub workers: &'a Scheduler,
    /// The pipelines of the box.
    pub pipelines: &'a CameraPipelines,
    /// How long cameras that are files wait for the models.
    pub files_wait: Duration,
}

impl Cameras {
    /// None yet. All feeds end with `stop`.
    pub fn new(stop: CancellationToken, config: &Config, metrics: &Metrics) -> Self {
        let frames = config.cameras().map(|(name, _)| (name.clone(), Arc::default())).collect();
        let broadcasts = config.cameras().map(|(name, camera)| (name.clone(), broadcast(name, camera, metrics)));
        Self {
            stop,
            running: BTreeMap::new(),
            frames,
            broadcasts: broadcasts.collect(),
            still_turn: StillTurn::default(),
        }
    }

    /// The newest picture of each.
    pub fn frames(&self) -> BTreeMap<String, Arc<LatestFrame>> {
        self.frames.clone()
    }

    /// Live video of each.
    pub fn broadcasts(&self) -> BTreeMap<String, Arc<Broadcast>> {
        self.broadcasts.clone()
    }

    /// How many run.
    pub fn count(&self) -> usize {
        self.running.len()
    }

    /// How many run, as the service manager shows it.
    pub fn status_line(&self) -> String {
        format!("{} cameras", self.count())
    }

    /// The recorders, for moves to another volume.
    pub fn recorders(&self) -> Vec<Arc<Recorder>> {
        self.running.values().map(|camera| camera.pipeline.recorder()).collect()
    }

    /// Starts all cameras of `config` that do not run; those that are files last.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub async fn start(&mut self, config: &Config, with: &Start<'_>) -> Result<()> {
        let missing = config.cameras().filter(|(name, _)| !self.running.contains_key(*name));
        let (files, live): (Vec<_>, Vec<_>) = missing.partition(|(_, camera)| camera.source.is_file());
        for (name, camera) in live.into_iter().chain(files) {
            // A file begins when it is asked to, so it can wait for what is to look at it.
            if camera.source.is_file() {
                with.models.wait_until_tried(with.files_wait).await;
            }
            self.start_one(name, camera, with).with_context(|| format!("start camera {name}"))?;
        }
        Ok(())
    }

    fn start_one(&mut self, name: &str, camera: &config::Camera, with: &Start<'_>) -> Result<()> {
        let Start { shared, archive, models, workers, pipelines, .. } = with;
        let latest = self.frames.entry(name.to_owned()).or_default().clone();
        let broadcasts = self.broadcasts.entry(name.to_owned());
        let broadcast = broadcasts.or_insert_with(|| broadcast(name, camera, &shared.metrics)).clone();
        let mut feeds = Supervisor::new(self.stop.child_token(), &shared.heartbeats, &shared.metrics);
        let (models, still_turn) = (models.of_camera(name, camera), self.still_turn.clone());
        let sight = Sight { models, workers, latest, broadcast, pipelines, still_turn };
        let pipeline = Pipeline::start(name, camera, shared, archive, sight, &mut feeds)?;
        self.running.insert(name.to_owned(), Camera { pipeline, feeds: feeds.start(FEED_GRACE) });
        Ok(())
    }

    /// Stops these cameras, and forgets what was known of them. Their open events are closed. Others go on.
    pub async fn stop(&mut self, names: &[String], shared: &Shared) {
        let leaving: Vec<Camera> = names.iter().filter_map(|name| self.running.remove(name)).collect();
        let (feeds, pipelines): (Vec<_>, Vec<_>) =
            leaving.into_iter().map(|camera| (camera.feeds, camera.pipeline)).unzip();
        stop_feeds(feeds).await;
        join_pipelines(pipelines).await;
        for name in names {
            self.frames.remove(name);
            if let Some(broadcast) = self.broadcasts.remove(name) {
                broadcast.close();
            }
            shared.health.forget_camera(name);
            shared.metrics.forget_camera(name);
        }
    }

    /// Stops the feeds of all cameras; what comes behind them goes on until [`Joining::join`].
    pub async fn stop_feeds(&mut self) -> Joining {
        self.stop.cancel();
        self.broadcasts.values().for_each(|broadcast| broadcast.close());
        let all = std::mem::take(&mut self.running).into_values();
        let (feeds, pipelines): (Vec<_>, Vec<_>) = all.map(|camera| (camera.feeds, camera.pipeline)).unzip();
        stop_feeds(feeds).await;
        Joining(pipelines)
    }

    /// How the connection to each is, as it changes.
    pub fn receptions(&self) -> BTreeMap<String, watch::Receiver<Reception>> {
        self.running.iter().map(|(name, camera)| (name.clone(), camera.pipeline.reception())).collect()
    }
}

/// Cameras whose feeds have ended.
#[must_use = "their stages and recorders are not waited for"]
pub struct Joining(Vec<Pipeline>);

impl Joining {
    /// Waits for their stages and recorders.
    pub async fn join(self) {
        join_pipelines(self.0).await;
    }
}

/// Live video of a camera that is configured so.
fn broadcast(name: &str, camera: &config::Camera, metrics: &Metrics) -> Arc<Broadcast> {
    let zones = camera.zones.iter().map(|(name, zone)| (name.clone(), zone.points.points().to_vec()));
    let lines = camera.lines.iter().map(|(name, line)| (name.clone(), vec![line.from, line.to]));
    Broadcast::new(name, Outlines::new(zones, lines), metrics)
}

async fn stop_feeds(feeds: Vec<Running>) {
    for stopped in join_all(feeds.into_iter().map(Running::stop)).await {
        if let Err(failure) = stopped {
            error!(error = format!("{failure:#}"), "stop the feeds of a camera");
        }
    }
    // The sources are dropped now; cameras with few sessions to give get theirs back before the next start.
    source::settle(FEED_GRACE).await;
}

/// Together: each waits for what its camera has on the disk.
async fn join_pipelines(pipelines: Vec<Pipeline>) {
    let joined = pipelines.into_iter().map(|pipeline| tokio::task::spawn_blocking(move || pipeline.join()));
    for joined in join_all(joined).await {
        if let Err(failure) = joined {
            error!(error = %failure, "stop the stages");
        }
    }
}
