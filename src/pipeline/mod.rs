//! One camera's stages joined. Every queue between them is declared here.
//!
//! ```text
//! feed (task) --packets--> recorder (thread)                     512, full: up to the next key frame is dropped
//!      \------packets--> vision (thread): decode, gate           64, full: up to the next key frame is dropped
//!                             \--newest frame--> infer scheduler  1 a camera, the newer frame replaces the older
//!                             \--newest frame--> user pipeline (thread)   1, the newer frame replaces the older
//!                                                     \--detections--> analysis (thread): track, rules    4, full: dropped
//!                                                                           \--events--> recorder         never dropped
//! recorder --packets of a picture--> stills (thread)             8, full: the stills of the substream stay
//! feed --packets--> live video                                   the last GOPs, read by viewers; see `live`
//! ```
//!
//! Recording never waits for inference: the recorder has its own queue, and nothing behind `vision` can
//! make the feed wait.
//!
//! Beside what flows, two values are passed on, each with one writer; readers see the newest:
//!
//! ```text
//! feed --reception--> analysis, recorder     connected? silent? the camera's pace
//! analysis --objects in view--> vision       what is followed is looked at more often
//! ```
//!
//! The board of `health` shows the same to outlets; nothing here goes by it.
//!
//! What is done to packets and pictures on the way is a list of stages, made of the camera's configuration (`stages`); a
//! camera without detection or motion has fewer. A vision or analysis thread that hangs or panics is restarted, with its end of its queue (`supervise`).

mod analysis;
#[cfg(test)]
mod door;
mod feed;
mod frame_slot;
mod judge;
mod object_path;
mod received;
mod stages;
#[cfg(test)]
pub(crate) mod tests;
mod user_pipeline;
mod vision;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use crate::archive::Archive;
use crate::clock::Clock;
use crate::config;
use crate::control::Control;
use crate::event::IdSource;
use crate::frame::LatestFrame;
use crate::health::Health;
use crate::infer::{Model, Scheduler};
use crate::live::Broadcast;
use crate::load::Pressure;
use crate::metrics::Metrics;
use crate::reception::Reception;
use crate::record::{Recorder, StillQueue, StillTurn, main_still};
use crate::service::CameraPipelines;
use crate::source::{Publishers, Role};
use crate::supervise::{Heartbeats, Running, Spec, Supervisor};

use analysis::{Looks, OpenEvents};
use judge::Judge;
use user_pipeline::{Alerts, UserPipeline};
use vision::{Outlets, Slots, ToPipeline};

pub use feed::PacketQueue;
pub use stages::{Analysis, Inference, PipelineStage, Planned, Sampler, StageKind, StagePlan};

/// Packets waiting to be decoded: some seconds, so that a burst after a network pause is not lost.
const VISION_QUEUE: usize = 64;
/// Looks waiting for tracker and rules. The scheduler has at most one per camera in flight.
const ANALYSIS_QUEUE: usize = 4;

/// Pictures of the main stream that wait to become stills: each event orders two at most.
const STILLS_QUEUE: usize = 8;

/// How long the threads of a camera may take to end; the specs of each have shorter limits.
const STAGES_END_WITHIN: Duration = Duration::from_secs(60);

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
    /// Phones and browsers that send to cameras.
    pub publishers: Publishers,
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
pub struct Sight<'a> {
    /// The models.
    pub models: Models,
    /// The threads that run them.
    pub workers: &'a Scheduler,
    /// The newest picture.
    pub latest: Arc<LatestFrame>,
    /// Viewers of the video.
    pub broadcast: Arc<Broadcast>,
    /// What a pipeline that people drew needs.
    pub pipelines: &'a CameraPipelines,
    /// The turn to decode pictures of the main stream for stills.
    pub still_turn: StillTurn,
}

/// The running stages of one camera.
pub struct Pipeline {
    stages: Running,
    recorder: Arc<Recorder>,
    reception: watch::Receiver<Reception>,
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
        Sight { models, workers, latest, broadcast, pipelines, still_turn }: Sight<'_>,
        supervisor: &mut Supervisor,
    ) -> Result<Self> {
        let camera: Arc<str> = name.into();
        shared.health.camera(&camera, |_| {});
        let (received, reception) = watch::channel(Reception::default());
        let mut stages = Supervisor::new(CancellationToken::new(), &shared.heartbeats, &shared.metrics);
        let stills = config.source.substream.is_some().then(|| {
            let (queue, orders) = StillQueue::new(STILLS_QUEUE);
            let runs = main_still::runs(&camera, still_turn, shared.pressure.clone(), shared.clock.clone());
            stages.thread(main_still::spec(&camera), orders, runs);
            queue
        });
        let (record, seen) = (config.record.clone(), reception.clone());
        let recorder = Arc::new(Recorder::start_with(archive.clone(), camera.clone(), record, seen, stills)?);
        let shown = reception.clone();

        let plan = StagePlan::from_config(config);
        debug!(%camera, %plan, "stages of a camera");
        let infers = plan.has(StageKind::Infer);

        let looks: Arc<Looks> = Arc::default();
        let asked = &config.pipeline;
        let model = match &models.usual {
            Some(model) => model.name().clone(),
            None => asked.name.as_str().into(),
        };
        let (in_view, objects) = watch::channel(0);
        let events = OpenEvents::new(&camera, shared, recorder.clone(), model, reception.clone(), in_view)
            .shown_on(broadcast.clone());
        if infers {
            let runs = analysis::runs(&plan, &events, &looks)?;
            stages.thread(analysis::spec(&camera), events, runs);
        }

        let slot = |model: Arc<Model>| {
            let (camera, metrics, looks) = (camera.clone(), shared.metrics.clone(), looks.clone());
            workers.slot(camera.clone(), model, config.detector_score(), move |detected| {
                if !looks.offer(detected) {
                    metrics.dropped.get_or_create(&crate::metrics::dropped(&camera, "analysis_queue")).inc();
                }
            })
        };
        let [usual, light] = [models.usual, models.light].map(|model| model.filter(|_| infers).map(&slot));
        let slots = Slots { usual, light };
        let pipeline = asked.is_set().then(|| {
            let (frames, receiver) = frame_slot::slot();
            let with = UserPipeline {
                camera: camera.clone(),
                shared: shared.clone(),
                asked: asked.clone(),
                pipelines: pipelines.clone(),
                broadcast: broadcast.clone(),
                looks: asked.replaces_model().then(|| looks.clone()),
            };
            let alerts = Alerts::new(&camera, shared, recorder.clone());
            stages.thread(user_pipeline::spec(&camera), alerts, user_pipeline::runs(with, receiver));
            ToPipeline { frames, replaces_model: asked.replaces_model() }
        });
        drop(looks);
        let (metrics, clock) = (shared.metrics.clone(), shared.clock.clone());
        let to_vision = Arc::new(PacketQueue::new(camera.clone(), "decode_queue", VISION_QUEUE, metrics, clock));
        let outlets = Outlets { slots, pipeline, latest };
        let runs = vision::runs(&camera, &plan, shared, &to_vision, &objects);
        stages.thread(vision::spec(&camera), outlets, runs);

        let recorded = Some(recorder.clone());
        let main = feed::Feed::new(&camera, config, Role::Main, shared, recorded, to_vision.clone(), received)
            .shown_on(broadcast);
        if config.source.substream.is_some() {
            let sub = feed::Feed::new(&camera, config, Role::Sub, shared, None, to_vision, watch::Sender::default());
            spawn_feed(supervisor, format!("camera {name} (substream)"), sub);
        }
        spawn_feed(supervisor, format!("camera {name}"), main);
        let judge = Arc::new(Judge::new(&camera, shared, config.detect.enabled));
        supervisor.task(Spec::new(format!("watch {name}")), move |part| judge::watch(judge.clone(), part));
        Ok(Self { stages: stages.start(STAGES_END_WITHIN), recorder, reception: shown })
    }

    /// The recorder, for moves to another volume.
    pub fn recorder(&self) -> Arc<Recorder> {
        self.recorder.clone()
    }

    /// How the connection to the camera is.
    pub fn reception(&self) -> watch::Receiver<Reception> {
        self.reception.clone()
    }

    /// Waits for the stages after the feed has stopped: vision, then analysis, then the recorder, which
    /// closes what is open. Threads that hang are left behind. Blocks; to be called on a blocking thread of the runtime.
    pub fn join(self) {
        if let Err(failure) = Handle::current().block_on(self.stages.stop()) {
            error!(error = format!("{failure:#}"), "stop the stages of a camera");
        }
        // Vision and analysis are gone. Others may have a handle, and the store is closed after this.
        self.recorder.stop();
    }
}

fn spawn_feed(supervisor: &mut Supervisor, name: String, feed: feed::Feed) {
    let feed = Arc::new(feed);
    supervisor.task(Spec::new(name), move |part| {
        let feed = feed.clone();
        async move {
            tokio::select! {
                outcome = feed.run_once() => outcome,
                () = part.stop().cancelled() => Ok(()),
            }
        }
    });
}
