//! One camera's stages joined. Every queue between them is declared here.
//!
//! ```text
//! feed (task) --packets--> recorder (thread)                     512, full: up to the next key frame is dropped
//!      \------packets--> vision (thread): decode, gate           64, full: up to the next key frame is dropped
//!                             \--newest frame--> infer scheduler  1 a camera, the newer frame replaces the older
//!                                                     \--detections--> analysis (thread): track, rules    4, full: dropped
//!                                                                           \--events--> recorder         never dropped
//! ```
//!
//! Recording never waits for inference: the recorder has its own queue, and nothing behind `vision` can
//! make the feed wait.
//!
//! A vision or analysis thread that hangs or panics is restarted, with its end of its queue (`watch`).

mod analysis;
mod feed;
#[cfg(test)]
pub(crate) mod tests;
mod vision;
mod watch;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

use crate::archive::{Archive, Recorder};
use crate::clock::Clock;
use crate::config;
use crate::control::Control;
use crate::event::IdSource;
use crate::frame::LatestFrame;
use crate::health::Health;
use crate::infer::{Model, Scheduler};
use crate::metrics::Metrics;
use crate::source::Role;
use crate::supervise::governor::Pressure;
use crate::supervise::{Backoff, Heartbeats, Restart, Supervisor};

use analysis::{Looks, OpenEvents};
use vision::{Outlets, Slots};
use watch::{Judge, Threads, Watched};

pub use analysis::Analysis;
pub use feed::PacketQueue;
pub use vision::Sampler;

/// Packets waiting to be decoded: some seconds, so that a burst after a network pause is not lost.
const VISION_QUEUE: usize = 64;
/// Looks waiting for tracker and rules. The scheduler has at most one per camera in flight.
const ANALYSIS_QUEUE: usize = 4;

/// What the log says of a vision that was restarted.
const VISION_RESTARTED: &str = "detection goes on with the next key frame, recording never stopped";
/// And of an analysis.
const ANALYSIS_RESTARTED: &str = "events in progress end here, what is still in view begins new ones";

/// What all cameras share.
#[derive(Clone)]
pub struct Shared {
    /// The box's clock.
    pub clock: Arc<dyn Clock>,
    /// Counters.
    pub metrics: Metrics,
    /// The board.
    pub health: Health,
    /// Signs of life.
    pub heartbeats: Heartbeats,
    /// Event ids.
    pub ids: Arc<IdSource>,
    /// How much the box has to do, and what it does therefore.
    pub pressure: Pressure,
    /// What people switched while it runs.
    pub control: Control,
    /// Folder on the system disk for small things that hold on any volume.
    pub state: Arc<Path>,
    /// Name of the box.
    pub device: Arc<str>,
    /// Where it stands.
    pub site: Arc<str>,
}

/// What looks at one camera's pictures once it is loaded; none where detection is off.
#[derive(Clone, Debug, Default)]
pub struct Models {
    /// As long as there is time.
    pub usual: Option<Arc<Model>>,
    /// When the box has too much to do.
    pub light: Option<Arc<Model>>,
}

/// The consumers of one camera's pictures.
#[derive(Debug)]
pub struct Sight<'a> {
    /// The models.
    pub models: Models,
    /// The threads that run them.
    pub workers: &'a Scheduler,
    /// The newest picture.
    pub latest: Arc<LatestFrame>,
}

/// The running stages of one camera.
pub struct Pipeline {
    threads: Arc<Mutex<Option<Threads>>>,
    recorder: Arc<Recorder>,
}

impl Pipeline {
    /// Starts the stages of camera `name`, downstream first, and hands its feed to `supervisor`.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(
        name: &str,
        config: &config::Camera,
        shared: &Shared,
        archive: &Archive,
        Sight { models, workers, latest }: Sight<'_>,
        supervisor: &mut Supervisor,
    ) -> Result<Self> {
        let camera: Arc<str> = name.into();
        shared.health.camera(&camera, |_| {});
        let recorder = Arc::new(Recorder::start(archive.clone(), camera.clone(), config.record.clone())?);

        let looks: Arc<Looks> = Arc::default();
        let model = models.usual.as_ref().map_or_else(|| "".into(), |model| model.name().clone());
        let events = OpenEvents::new(&camera, shared, recorder.clone(), model);
        let analysis = analysis::start(config, events, &looks, analysis::HANGS_AFTER, Arc::new(|| ()))?;

        let slot = |model: Arc<Model>| {
            let (camera, metrics, looks) = (camera.clone(), shared.metrics.clone(), looks.clone());
            workers.slot(camera.clone(), model, config.detector_score(), move |detected| {
                if !looks.offer(detected) {
                    metrics.dropped.get_or_create(&crate::metrics::dropped(&camera, "analysis_queue")).inc();
                }
            })
        };
        let slots = Slots { usual: models.usual.map(slot), light: models.light.map(slot) };
        drop(looks);
        let (metrics, clock) = (shared.metrics.clone(), shared.clock.clone());
        let to_vision = Arc::new(PacketQueue::new(camera.clone(), "decode_queue", VISION_QUEUE, metrics, clock));
        let outlets = Outlets { slots, latest };
        let vision = vision::start(&camera, config, shared, outlets, &to_vision, vision::HANGS_AFTER, Arc::new(|| ()))?;

        let main = feed::Feed::new(&camera, config, Role::Main, shared, Some(recorder.clone()), to_vision.clone());
        if config.source.substream.is_some() {
            let sub = feed::Feed::new(&camera, config, Role::Sub, shared, None, to_vision);
            spawn_feed(supervisor, format!("camera {name} (substream)"), sub);
        }
        spawn_feed(supervisor, format!("camera {name}"), main);
        let threads = Threads {
            vision: Watched::new(&camera, "vision", VISION_RESTARTED, vision),
            analysis: Watched::new(&camera, "analysis", ANALYSIS_RESTARTED, analysis),
        };
        let threads = Arc::new(Mutex::new(Some(threads)));
        let (watched, metrics) = (threads.clone(), shared.metrics.clone());
        let judge = Arc::new(Judge::new(&camera, shared, config.detect.enabled));
        supervisor.spawn(format!("watch {name}"), Restart::Always(Backoff::for_connections()), move |stop| {
            watch::watch(watched.clone(), judge.clone(), metrics.clone(), stop)
        });
        Ok(Self { threads, recorder })
    }

    /// The recorder, for moves to another volume.
    pub fn recorder(&self) -> Arc<Recorder> {
        self.recorder.clone()
    }

    /// Waits for the stages after the feed has stopped: vision, then analysis, then the recorder, which
    /// closes what is open. Threads that hang are left behind.
    pub fn join(self) {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(threads) = threads {
            threads.join();
        }
        // Vision and analysis are gone, so this is the last handle: dropping it stops and joins the recorder.
        drop(self.recorder);
    }
}

fn spawn_feed(supervisor: &mut Supervisor, name: String, feed: feed::Feed) {
    let feed = Arc::new(feed);
    supervisor.spawn(name, Restart::Always(Backoff::for_connections()), move |stop| {
        let feed = feed.clone();
        async move {
            tokio::select! {
                outcome = feed.run_once() => outcome,
                () = stop.cancelled() => Ok(()),
            }
        }
    });
}
