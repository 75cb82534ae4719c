//! The pipeline that people drew, on the pictures of one camera: its objects, values, alerts and what it keeps.
//!
//! It runs on a thread of its own, one picture at a time; while it is busy, a newer picture replaces the one that waits.
//! Recording and the camera's own detection never wait for it.

mod alerts;
mod report;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{Span, info, info_span, warn};

use super::Shared;
use super::analysis::Looks;
use super::frame_slot::{FrameReceiver, Next};
use crate::block::{BrokenOff, Context as BlockContext, Effect, Image, Memory, Outcome, RunError, StepEffect, Value};
use crate::clock::Mono;
use crate::detection::Detection;
use crate::execution::CameraPipeline;
use crate::frame::{Frame, Rgb};
use crate::infer::Detected;
use crate::live::Broadcast;
use crate::metrics;
use crate::service::{CameraPipelines, LoadedPipeline, OfCamera, PipelineLoader};
use crate::supervise::{Context, Hang, MOST_ABANDONED, Spec, ThreadBody};

use report::Report;

pub(super) use alerts::Alerts;

/// How often a thread without work shows that it lives.
const TICK: Duration = Duration::from_secs(1);
/// One that is silent for this long hangs: a step waits for an inference thread at most.
const HANGS_AFTER: Duration = Duration::from_secs(120);
/// What is in work when the camera stops is given up between two steps.
const ENDS_WITHIN: Duration = Duration::from_secs(20);
/// What the log says of one that was restarted.
const RESTARTED: &str = "the camera's pipeline goes on with the next picture";
/// How long one picture may take.
const MOST_TIME: Duration = Duration::from_secs(30);
/// How often it is looked whether there is a newer version.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Results are kept no more often than this.
const KEPT_EVERY: Duration = Duration::from_secs(1);
/// JPEG quality of a picture that is kept with a result.
const QUALITY: u8 = 90;

/// Where the results of a camera's pipeline go.
#[derive(Clone)]
pub(super) struct UserPipeline {
    pub camera: Arc<str>,
    pub shared: Shared,
    pub asked: CameraPipeline,
    pub pipelines: CameraPipelines,
    /// Viewers, who are shown what it finds.
    pub broadcast: Arc<Broadcast>,
    /// Where its objects go when they take the place of what a model finds.
    pub looks: Option<Arc<Looks>>,
}

/// A pipeline that hangs is replaced. It ends with the slot of its pictures, which vision owns.
pub(super) fn spec(camera: &Arc<str>) -> Spec {
    Spec::of_camera("pipeline", camera)
        .thread_name(format!("pip-{camera}"))
        .heartbeat(HANGS_AFTER, Hang::Replace { most: MOST_ABANDONED })
        .consequence(RESTARTED)
        .ends_within(super::vision::ENDS_WITHIN + ENDS_WITHIN)
}

/// The runs of a camera's pipeline on what comes through `frames`.
pub(super) fn runs(
    with: UserPipeline,
    frames: FrameReceiver,
) -> impl FnMut() -> Option<ThreadBody<Alerts>> + Send + 'static {
    move || {
        let thread = PipelineThread {
            report: Report::new(&with.asked),
            with: with.clone(),
            frames: frames.clone(),
            loaded: None,
            memory: Memory::default(),
            look_at: None,
            kept_at: None,
            span: info_span!("pipeline", camera = %with.camera),
        };
        Some(Box::new(move |owned| {
            thread.run(&owned);
            Ok(())
        }))
    }
}

struct PipelineThread {
    with: UserPipeline,
    frames: FrameReceiver,
    report: Report,
    loaded: Option<LoadedPipeline>,
    /// What its steps remember.
    memory: Memory,
    /// When it is next looked for a newer version.
    look_at: Option<Mono>,
    /// When a result was kept last.
    kept_at: Option<Mono>,
    span: Span,
}

impl PipelineThread {
    /// Works until the slot is gone or another thread took over.
    fn run(mut self, owned: &Context<Alerts>) {
        let span = self.span.clone();
        let _entered = span.enter();
        if owned.with(Alerts::end_all).is_none() {
            return;
        }
        loop {
            owned.beat();
            let now = self.with.shared.clock.mono();
            let going_on = match self.frames.next(TICK) {
                Next::Frame(frame, replaced) => {
                    self.report.note_replaced(replaced);
                    self.frame(owned, &frame)
                }
                Next::Nothing => owned.with(|alerts| alerts.end_quiet(now)),
                Next::Over => return self.forget_values(),
            };
            if going_on.is_none() {
                return;
            }
            self.say();
        }
    }

    /// Puts a picture through. `None` when another thread took over.
    fn frame(&mut self, owned: &Context<Alerts>, frame: &Frame) -> Option<()> {
        self.look_for_version(owned)?;
        let Some(loaded) = &self.loaded else { return Some(()) };
        let begun = Instant::now();
        match self.put_through(loaded, frame, owned) {
            Ok((picture, outcome)) => {
                let (took, now) = (begun.elapsed(), self.with.shared.clock.mono());
                self.with.shared.metrics.pipeline_seconds.observe(took.as_secs_f64());
                self.report.note_run(&outcome, took, frame.at, now);
                self.show(&outcome, frame, took);
                self.keep(&outcome, &picture, took, now);
                self.alert(owned, &outcome, frame)
            }
            Err(NoOutcome::Ending) => Some(()),
            Err(NoOutcome::Failed { reason, is_transient }) => {
                let label = metrics::camera(&self.with.camera);
                self.with.shared.metrics.pipeline_failures.get_or_create(&label).inc();
                // The box has too much to do, or stops: what says that logs it.
                if self.report.note_failure(&reason) && !is_transient {
                    warn!(reason, "the camera's pipeline gives nothing");
                }
                owned.with(|alerts| alerts.end_quiet(frame.at))
            }
        }
    }

    /// Runs the steps.
    fn put_through(
        &self,
        loaded: &LoadedPipeline,
        frame: &Frame,
        owned: &Context<Alerts>,
    ) -> Result<(Rgb, Outcome), NoOutcome> {
        let (width, height) = (frame.picture.width(), frame.picture.height());
        let failed = |reason| NoOutcome::Failed { reason, is_transient: false };
        let picture = frame.picture.rgb(width, height).map_err(|error| failed(error.to_string()))?;
        let deadline = Instant::now() + MOST_TIME;
        let is_over = move || (Instant::now() >= deadline).then_some(BrokenOff::TooSlow);
        let stop = owned.stop().clone();
        let is_over = move || if stop.is_cancelled() { Some(BrokenOff::Stopping) } else { is_over() };
        let moment = self.with.shared.clock.moment(frame.at);
        let context = BlockContext::new(self.with.pipelines.models(), &self.memory, frame.at, moment, &is_over);
        let inputs = BTreeMap::from([(loaded.input.clone(), Value::Image(Image::whole(picture.clone())))]);
        let outcome = loaded.plan.run(inputs, &context, |_| owned.beat()).map_err(|error| match error {
            RunError::BrokenOff(BrokenOff::TooSlow) => failed(format!("a picture took longer than {MOST_TIME:?}")),
            RunError::BrokenOff(_) => NoOutcome::Ending,
            RunError::Failed { is_transient, .. } => NoOutcome::Failed { reason: error.to_string(), is_transient },
        })?;
        Ok((picture, outcome))
    }

    /// Takes over a version that was saved since, and says where there is none.
    fn look_for_version(&mut self, owned: &Context<Alerts>) -> Option<()> {
        let now = self.with.shared.clock.mono();
        if self.look_at.is_some_and(|due| now < due) {
            return Some(());
        }
        self.look_at = Some(now + LOOK_EVERY);
        let known = self.loaded.as_ref().map(|loaded| &loaded.named);
        match self.with.pipelines.load(&self.with.asked, known) {
            Ok(None) => Some(()),
            Ok(Some(loaded)) => {
                self.forget_values();
                info!(pipeline = loaded.named.name, version = loaded.named.version, "the camera's pipeline runs");
                self.report.begin(Some(loaded.named.version));
                (self.loaded, self.memory) = (Some(loaded), Memory::default());
                owned.with(Alerts::end_all)
            }
            Err(reason) => {
                if self.report.note_failure(&reason) {
                    warn!(reason, "the camera's pipeline cannot run");
                }
                self.forget_values();
                self.report.begin(None);
                self.loaded = None;
                owned.with(Alerts::end_all)
            }
        }
    }

    /// Shows what it finds to viewers, or gives it to tracker and rules.
    fn show(&self, outcome: &Outcome, frame: &Frame, took: Duration) {
        let objects = outcome.objects().unwrap_or_default();
        let detections: Vec<Detection> = objects.into_iter().map(Detection::from).collect();
        let Some(looks) = &self.with.looks else {
            return self.with.broadcast.of_pipeline(frame.at, &detections, outcome.values());
        };
        let camera = &self.with.camera;
        self.with.shared.metrics.frames_detected.get_or_create(&metrics::camera(camera)).inc();
        if !looks.offer(Detected { frame: frame.clone(), detections, took }) {
            self.with.shared.metrics.dropped.get_or_create(&metrics::dropped(camera, "analysis_queue")).inc();
        }
    }

    /// Keeps what steps keep, not too often.
    fn keep(&mut self, outcome: &Outcome, picture: &Rgb, took: Duration, now: Mono) {
        let is_kept = |of_step: &StepEffect| of_step.effect.is_kept();
        let Some(loaded) = self.loaded.as_ref().filter(|_| outcome.effects.iter().any(is_kept)) else { return };
        if self.kept_at.is_some_and(|last| now.since(last) < KEPT_EVERY) {
            return self.report.note_not_kept();
        }
        self.kept_at = Some(now);
        let kept = picture.to_jpeg(QUALITY).map_err(|error| error.to_string()).and_then(|picture| {
            let of = OfCamera { camera: &self.with.camera, picture, took };
            self.with.pipelines.keep(loaded, outcome, of)
        });
        if let Some(reason) = self.report.note_kept(kept) {
            warn!(reason, "the camera's pipeline keeps nothing");
        }
    }

    fn alert(&self, owned: &Context<Alerts>, outcome: &Outcome, frame: &Frame) -> Option<()> {
        let name = &self.with.asked.name;
        owned.with(|alerts| {
            for StepEffect { step, effect } in &outcome.effects {
                if let Effect::Alert { message, picture } = effect {
                    alerts.alert((name, step), message, picture.as_deref(), frame);
                }
            }
            alerts.end_quiet(frame.at);
        })
    }

    /// What it gave is no value of it any more.
    fn forget_values(&self) {
        let UserPipeline { camera, shared, .. } = &self.with;
        for output in self.report.outputs() {
            shared.metrics.pipeline_value.remove(&metrics::output(camera, output));
        }
    }

    /// Says how it is.
    fn say(&self) {
        let UserPipeline { camera, shared, looks, .. } = &self.with;
        let now = shared.clock.mono();
        let health = self.report.health(now);
        for (output, value) in &health.values {
            if let Some(number) = value.as_f64() {
                shared.metrics.pipeline_value.get_or_create(&metrics::output(camera, output)).set(number);
            }
        }
        shared.health.camera(camera, |of| of.pipeline = Some(health));
        if looks.is_some() {
            shared.health.set_no_detector(camera, now, self.report.failure().map(str::to_owned));
        }
    }
}

/// Why a picture has no outcome.
enum NoOutcome {
    /// The thread is to end.
    Ending,
    /// A step failed; the same may work with the next picture.
    Failed { reason: String, is_transient: bool },
}
