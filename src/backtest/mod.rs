//! Runs rules over what a camera recorded: the stages of a live camera, from the files that are there, while the box has
//! nothing better to do.
//!
//! Pictures are inferred by the scheduler of all cameras with the lowest priority, so that no camera waits for a
//! backtest; while load is shed it rests.

mod footage;
mod steps;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tracing::info;

use crate::clock::{Clock, Mono};
use crate::config::{self, Config};
use crate::detection::Detection;
use crate::event::Phase;
use crate::frame::Frame;
use crate::infer::{Detector, Job, JobError, Jobs, Model, Policy, Priority, Refused, Reply};
use crate::load::{LoadLevel, Pressure};
use crate::pipeline::{Analysis, PipelineStage, Sampler, StagePlan};
use crate::rules::Signal;
use crate::service::{BacktestJob, BacktestQueue, BacktestState, CurrentVolume, WouldBe};
use crate::source::{self, Pace, Role, SourceError};
use crate::supervise::Context as Part;
use crate::zone;

use footage::{Judged, Stretch};
use steps::{Put, Steps};

/// Pictures of backtests that may wait for a thread.
const MOST_WAITING: usize = 4;
/// How long one may wait before it is sent again.
const START_WITHIN: Duration = Duration::from_secs(60);
/// The rest while the box has too much to do.
const REST: Duration = Duration::from_secs(1);
/// A pause in the recordings after which nothing is the same object any more.
const PAUSE: Duration = Duration::from_secs(10);

/// What backtests work with.
#[derive(Clone)]
pub struct BacktestDeps {
    /// The configuration in use.
    pub config: watch::Receiver<Arc<Config>>,
    /// Where recordings lie.
    pub volume: CurrentVolume,
    /// The threads of all inference.
    pub jobs: Jobs,
    /// Whether the box has too much to do.
    pub pressure: Pressure,
    /// The box's clock.
    pub clock: Arc<dyn Clock>,
}

/// Runs the backtests of `queue`, one after the other, until the part is to end.
///
/// # Errors
/// Never; a backtest that fails says so itself.
pub async fn run(queue: Arc<tokio::sync::Mutex<BacktestQueue>>, deps: BacktestDeps, part: Part) -> Result<()> {
    let mut queue = queue.lock().await;
    loop {
        let job = tokio::select! {
            () = part.stop().cancelled() => return Ok(()),
            job = queue.recv() => job,
        };
        let Some(job) = job else { return Ok(()) };
        let (deps, stop, runtime) = (deps.clone(), part.stop().clone(), tokio::runtime::Handle::current());
        let cancel = job.cancel.clone();
        // Decoding blocks.
        let run = tokio::task::spawn_blocking(move || runtime.block_on(try_rules(&job, &deps)));
        tokio::pin!(run);
        tokio::select! {
            _ = &mut run => {}
            () = stop.cancelled() => {
                cancel.cancel();
                let _ = run.await;
            }
        }
    }
}

async fn try_rules(job: &BacktestJob, deps: &BacktestDeps) {
    let outcome = tokio::select! {
        outcome = look(job, deps) => outcome.map(|()| BacktestState::Done),
        () = job.cancel.cancelled() => Ok(BacktestState::Cancelled),
    };
    let camera = job.camera.as_str();
    match outcome {
        Ok(state) => {
            info!(camera, ?state, "rules were tried against recordings");
            job.note(|backtest| backtest.state = state);
        }
        Err(reason) => {
            // Its state says the reason to the caller who asks.
            info!(camera, reason, "rules could not be tried against recordings");
            job.note(|backtest| (backtest.state, backtest.reason) = (BacktestState::Failed, Some(reason)));
        }
    }
}

/// The camera with other rules; the error is for the person who sent them.
fn with_keys(config: &Config, name: &str, keys: &Map<String, Value>) -> Result<config::Camera, String> {
    let camera = config.camera.get(name).ok_or_else(|| format!("there is no camera {name:?}"))?;
    // By the text: numbers keep the form that people write.
    let text = serde_json::to_string(camera).map_err(|error| error.to_string())?;
    let mut camera: Map<String, Value> = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    for (key, value) in keys {
        if !["rules", "zones", "lines"].contains(&key.as_str()) {
            return Err(format!("{key}: only rules, zones and lines are tried"));
        }
        camera.insert(key.clone(), value.clone());
    }
    camera.retain(|_, value| !value.is_null());
    if let Some(Value::Object(source)) = camera.get_mut("source") {
        source.retain(|_, value| !value.is_null());
    }
    let mut camera: config::Camera = serde_json::from_value(camera.into()).map_err(|error| error.to_string())?;
    camera.detect.enabled = true;
    Ok(camera)
}

async fn look(job: &BacktestJob, deps: &BacktestDeps) -> Result<(), String> {
    let config = deps.config.borrow().clone();
    let camera = with_keys(&config, &job.camera, &job.keys)?;
    let plan = StagePlan::from_config(&camera);
    let analysis = plan.follow()?.ok_or("the camera has no detection")?;
    let found = footage::find(&deps.volume, &job.camera, job.since, job.until).await.map_err(|e| format!("{e:#}"))?;
    let recorded_s = footage::recorded_s(&found.stretches);
    job.note(|backtest| (backtest.recorded_s, backtest.made) = (recorded_s, found.made));
    if found.stretches.is_empty() {
        return Err("nothing that this camera recorded in that time is on the box".to_owned());
    }
    let finds = match &job.pipeline {
        Some(tried) => Finds::Steps(Box::new(Steps::load(tried, &job.cancel)?)),
        None => {
            let detector = Detector::load_within(&config.infer.model_dir, &camera.detect.model, config.infer.limits());
            Finds::Model(Model::ready(Arc::new(detector.map_err(|error| error.to_string())?)))
        }
    };
    let judged_false = found.judged_false;
    let look = Looking { job, deps, plan: &plan, finds, min_score: camera.detector_score(), judged_false };
    let mut state = State { analysis, sampler: None, until: job.since, first: job.since, going_on: BTreeMap::new() };
    for stretch in &found.stretches {
        look.stretch(stretch, &mut state).await?;
    }
    let last = state.mono(state.until);
    let signals = state.analysis.end_all(last);
    look.note(&mut state, signals);
    Ok(())
}

/// What goes on from file to file.
struct State {
    analysis: Analysis,
    sampler: Option<Sampler>,
    /// All before was looked at.
    until: Timestamp,
    /// Where the time of the tracker begins.
    first: Timestamp,
    /// Events that have not ended, by their key: the number of each, and when it began.
    going_on: BTreeMap<u64, (u64, Timestamp)>,
}

impl State {
    fn mono(&self, at: Timestamp) -> Mono {
        let since = at.duration_since(self.first);
        Mono::default() + Duration::try_from(since).unwrap_or_default()
    }
}

/// What looks at the pictures.
enum Finds {
    /// The camera's model.
    Model(Arc<Model>),
    /// A pipeline.
    Steps(Box<Steps>),
}

struct Looking<'a> {
    job: &'a BacktestJob,
    deps: &'a BacktestDeps,
    plan: &'a StagePlan,
    finds: Finds,
    min_score: f32,
    judged_false: Vec<Judged>,
}

impl Looking<'_> {
    /// Looks at one file. A file that is damaged or gone is one file less.
    async fn stretch(&self, stretch: &Stretch, state: &mut State) -> Result<(), String> {
        if stretch.start.duration_since(state.until) > jiff::SignedDuration::try_from(PAUSE).unwrap_or_default() {
            let last = state.mono(state.until);
            let signals = state.analysis.end_all(last);
            self.note(state, signals);
            state.sampler = None;
        }
        let Ok(mut source) = self.open(&stretch.path).await else { return Ok(()) };
        let mut decoder = self.plan.decode();
        let mut first = None;
        while let Ok(packet) = source.next().await {
            for frame in decoder.step(&packet).unwrap_or_default() {
                let begin = *first.get_or_insert(frame.at);
                self.frame(frame, begin, stretch, state).await?;
            }
        }
        for frame in decoder.flush() {
            let begin = *first.get_or_insert(frame.at);
            self.frame(frame, begin, stretch, state).await?;
        }
        state.until = state.until.max(stretch.end);
        Ok(())
    }

    async fn open(&self, path: &Path) -> Result<Box<dyn source::Source>, SourceError> {
        let url = format!("replay:{}", path.display());
        let source = source::Config { url, pace: Pace::Fast, ..source::Config::default() };
        source::connect(&source, Role::Main, self.deps.clock.clone()).await
    }

    async fn frame(&self, frame: Frame, begin: Mono, stretch: &Stretch, state: &mut State) -> Result<(), String> {
        let offset = jiff::SignedDuration::try_from(frame.at.since(begin)).unwrap_or_default();
        let at = stretch.start.checked_add(offset).map_err(|error| error.to_string())?;
        // Clips and segments may hold the same time; it is looked at once.
        if at < state.until || at < self.job.since || at > self.job.until {
            return Ok(());
        }
        let advanced = at.duration_since(state.until).as_secs_f64().min(1.0);
        state.until = at;
        self.job.note(|backtest| backtest.looked_at_s = (backtest.looked_at_s + advanced).min(backtest.recorded_s));
        let frame = Frame { at: state.mono(at), picture: frame.picture };
        let following = state.analysis.objects() > 0;
        let sampler = match &mut state.sampler {
            Some(sampler) => sampler,
            none => none.insert(self.plan.sample().ok_or("the camera has no detection")?),
        };
        if !sampler.sample(&frame, following).is_some_and(|sample| sample.look) {
            return Ok(());
        }
        let detections = match &self.finds {
            Finds::Model(model) => self.infer(model, &frame).await?,
            Finds::Steps(steps) => match self.put_through(steps, &frame, at).await? {
                Some(detections) if steps.replaces_model() => detections,
                _ => return Ok(()),
            },
        };
        let local = at.to_zoned(zone::local()).datetime();
        state.analysis.set_picture_size(frame.picture.width(), frame.picture.height());
        let signals = state.analysis.look(frame.at, local, &detections);
        self.note(state, signals);
        Ok(())
    }

    /// The objects that the pipeline gives; `None` where the trial was cancelled.
    async fn put_through(&self, steps: &Steps, frame: &Frame, at: Timestamp) -> Result<Option<Vec<Detection>>, String> {
        loop {
            self.rest().await;
            let (own, frame, clock) = (steps.clone(), frame.clone(), self.deps.clock.clone());
            let put = tokio::task::spawn_blocking(move || own.put_through(&frame, at, &*clock));
            match put.await.map_err(|error| format!("the pipeline gave up: {error}"))? {
                Put::Later => tokio::time::sleep(REST).await,
                Put::Cancelled => return Ok(None),
                Put::Through(detections) => {
                    self.job.note(|backtest| backtest.pipeline = Some(steps.trial()));
                    return Ok(Some(detections));
                }
            }
        }
    }

    /// Until the box has nothing better to do.
    async fn rest(&self) {
        while self.deps.pressure.level() > LoadLevel::Normal {
            tokio::time::sleep(REST).await;
        }
    }

    /// As a program that works through a list: cameras and people go first.
    async fn infer(&self, model: &Arc<Model>, frame: &Frame) -> Result<Vec<Detection>, String> {
        loop {
            self.rest().await;
            let (reply, answer) = Reply::pending();
            let job = Job {
                picture: frame.picture.clone(),
                model: model.clone(),
                min_score: self.min_score,
                policy: Policy::Queue { priority: Priority::Program, most: MOST_WAITING },
                start_within: START_WITHIN,
                reply,
            };
            // What is refused is answered, too.
            let _ = self.deps.jobs.submit(job);
            match answer.await {
                Ok(answer) => return Ok(answer.detections),
                Err(JobError::Refused(Refused::QueueFull { .. }) | JobError::Expired(_)) => {
                    tokio::time::sleep(REST).await;
                }
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    fn note(&self, state: &mut State, signals: Vec<Signal>) {
        for signal in signals {
            let offset = jiff::SignedDuration::try_from(signal.at.since(Mono::default())).unwrap_or_default();
            let at = state.first.checked_add(offset).unwrap_or(state.until);
            match signal.phase {
                Phase::Start => {
                    let (rule, label, zones) = (signal.rule, signal.label, signal.zones);
                    let event = WouldBe { start: at, rule, label, zones, judged_false: false };
                    let number = self.job.note(|backtest| backtest.add(event)).unwrap_or_default();
                    state.going_on.insert(signal.key, (number, at));
                }
                Phase::Update => {}
                Phase::End => {
                    let Some((number, start)) = state.going_on.remove(&signal.key) else { continue };
                    if self.judged_false.iter().any(|judged| judged.is(&signal.label, start, at)) {
                        self.job.note(|backtest| backtest.note_judged_false(number));
                    }
                }
            }
        }
    }
}
