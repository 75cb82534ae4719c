//! Inference threads that all share: cameras, people and programs.
//!
//! Work comes as a [`Job`]. A camera has a [`Slot`] that holds one, the newest: while the detector is behind, older
//! frames are replaced, because a late frame is worthless; a camera never has two frames in work at once. Jobs of people
//! and programs wait in bounded queues, and each is answered exactly once: with a result, or with why there is none.
//! `schedule` has the rules by which threads take jobs.
//!
//! A detector that hangs costs its thread: it is given up, another takes its place, and the camera goes on with its next
//! frame. A detector that panics costs its frame only. When too many threads are lost, the service manager starts the
//! process afresh (`threads`).

mod counters;
mod failures;
mod job;
mod schedule;
mod speed;
mod threads;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;
use tracing::{error, trace, warn};

use super::{Config, Detector, InferError, Model, Output};
use crate::clock::{Clock, Mono};
use crate::detection::Detection;
use crate::frame::Frame;
use crate::metrics::{self, Metrics};
use crate::supervise::{Context, Heartbeats, Running, Supervisor, panic_text};
use counters::Counters;
use failures::FailureLog;
use job::{Entry, Look, Results, Subject};
use schedule::{NotTaken, Schedule, Skipped, SourceId};
use speed::Speeds;

pub use counters::{FailureKind, ModelStatistics};
pub use speed::Speed;

pub use job::{Answer, Job, JobError, Outcome, PendingAnswer, Policy, Priority, Refused, Reply, TensorJob};

/// What a camera gets back.
#[derive(Clone, Debug)]
pub struct Detected {
    /// The frame that was looked at.
    pub frame: Frame,
    /// What is in it; best first.
    pub detections: Vec<Detection>,
    /// How long it took, from the picture to the detections.
    pub took: Duration,
}

/// What became of a job that was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It waits for a thread.
    Waits,
    /// It waits for a thread in place of an older one, which was dropped, counted and answered.
    ReplacedOlder,
}

/// A thread beats this often within the time after which it counts as hung.
const BEATS: u32 = 8;
/// Nor does one that waits sleep for longer.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Owner of the threads. Dropping it ends them; [`Scheduler::stop`] also waits for that.
pub struct Scheduler {
    shared: Arc<Shared>,
    /// `None` once they were stopped.
    parts: Option<Running>,
}

struct Shared {
    state: Mutex<State>,
    /// A job waits, or the end has come.
    work: Condvar,
    hung_after: Duration,
    metrics: Metrics,
    counters: Counters,
    clock: Arc<dyn Clock>,
}

struct State {
    schedule: Schedule<Entry>,
    stopping: bool,
    /// What each thread ran last.
    subjects: BTreeMap<u64, Subject>,
    next_thread: u64,
    failures: FailureLog,
    speeds: Speeds,
}

impl State {
    /// The number of a thread that begins.
    fn enter(&mut self) -> u64 {
        self.next_thread += 1;
        self.next_thread - 1
    }
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler").finish_non_exhaustive()
    }
}

impl Scheduler {
    /// Starts the threads `infer-0`, `infer-1`, ... and the task that looks after their jobs; to be called within the
    /// runtime.
    pub fn start(config: &Config, metrics: Metrics, clock: Arc<dyn Clock>, heartbeats: &Heartbeats) -> Self {
        let spare_one = || available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1));
        let wanted = if config.workers == 0 { spare_one() } else { config.workers };
        let mut parts = Supervisor::new(CancellationToken::new(), heartbeats, &metrics);
        let schedule = Schedule::new(wanted);
        let (subjects, failures, speeds) = (BTreeMap::new(), FailureLog::default(), Speeds::default());
        let state = State { schedule, stopping: false, subjects, next_thread: 0, failures, speeds };
        let (state, work, hung_after) = (Mutex::new(state), Condvar::new(), config.hung_after);
        let counters = Counters::default();
        let shared = Arc::new(Shared { state, work, hung_after, metrics, counters, clock });
        for number in 0..wanted {
            parts.thread(threads::spec(number, hung_after), (), threads::runs(&shared));
        }
        let watched = shared.clone();
        parts.task(threads::watch_spec(), move |part| threads::watch(watched.clone(), part));
        // Each thread has a limit of its own.
        Self { shared, parts: Some(parts.start(hung_after.saturating_mul(2))) }
    }

    /// Where jobs are submitted, by any thread or task.
    pub fn jobs(&self) -> Jobs {
        Jobs { shared: self.shared.clone() }
    }

    /// A place for the frames of one camera. `results` is called on an inference thread for each frame
    /// that was looked at, never twice at once for one slot; it must hand the result on without blocking,
    /// because a thread that waits in it looks at nothing else and counts as hung in the end.
    /// There is no call for a frame that was replaced, or on which the detector failed or hung. Until `model` is
    /// loaded no frame is taken in.
    pub fn slot(
        &self,
        camera: Arc<str>,
        model: Arc<Model>,
        min_score: f32,
        results: impl Fn(Detected) + Send + Sync + 'static,
    ) -> Slot {
        let id = self.shared.lock().schedule.add_slot();
        Slot { id, camera, model, min_score, results: Arc::new(results), shared: self.shared.clone() }
    }

    /// Ends all threads once they are through with the job in work, and waits for them: no longer than
    /// `hung_after`, because then they count as hung and are left behind. Jobs that wait are answered with
    /// [`JobError::ShutDown`].
    pub async fn stop(mut self) {
        self.shared.end();
        let Some(parts) = self.parts.take() else { return };
        if let Err(failure) = parts.stop().await {
            error!(error = format!("{failure:#}"), "stop the inference threads");
        }
        self.shared.give_up_all();
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        self.shared.end();
    }
}

/// Where jobs are submitted. Clones share the queues.
#[derive(Clone)]
pub struct Jobs {
    shared: Arc<Shared>,
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs").finish_non_exhaustive()
    }
}

impl Jobs {
    /// Takes a job in. Never waits, so that async code may call it. Its reply is answered whatever happens: a job that is
    /// refused gets [`JobError::Refused`].
    ///
    /// # Errors
    /// When it is refused.
    pub fn submit(&self, job: Job<'_>) -> Result<Accepted, Refused> {
        self.shared.submit(job)
    }

    /// The same for a tensor.
    ///
    /// # Errors
    /// When it is refused.
    pub fn submit_tensor(&self, job: TensorJob) -> Result<Accepted, Refused> {
        self.shared.submit_tensor(job)
    }

    /// How fast a model was in its last runs, by its name; `None` before the first.
    pub fn speed(&self, model: &str) -> Option<Speed> {
        self.shared.lock().speeds.of(model)
    }

    /// What became of the jobs of a version of a model since the start; `None` where there were none.
    pub fn statistics(&self, model: &str, version: u32) -> Option<ModelStatistics> {
        self.shared.counters.of(model, version)
    }

    /// A detector that ran by the name `model`, while something holds it.
    pub fn detector(&self, model: &str) -> Option<Arc<Detector>> {
        self.shared.lock().speeds.detector(model)
    }
}

/// Where one camera's frames wait. Dropping it takes the camera out; a result that is being computed is
/// then not delivered any more.
pub struct Slot {
    id: u64,
    camera: Arc<str>,
    model: Arc<Model>,
    min_score: f32,
    results: Results,
    shared: Arc<Shared>,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({})", self.camera)
    }
}

impl Slot {
    /// Whether the model is loaded.
    pub fn is_ready(&self) -> bool {
        self.model.detector().is_some()
    }

    /// Puts a frame in, in place of an older one that no thread has taken yet. Never waits for a detector.
    ///
    /// # Errors
    /// When the model is not loaded, or the threads are being ended: the frame is dropped.
    pub fn offer(&self, frame: Frame) -> Result<Accepted, Refused> {
        self.shared.submit(Job {
            picture: frame.picture.clone(),
            model: self.model.clone(),
            min_score: self.min_score,
            policy: Policy::ReplaceOlder(self),
            start_within: Duration::MAX,
            reply: Reply::camera(self.camera.clone(), frame, self.results.clone()),
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // What the callback owns is dropped, and answered, after the lock is gone.
        let mut state = self.shared.lock();
        state.failures.forget(SourceId::Slot(self.id));
        let removed = state.schedule.remove_slot(self.id);
        drop(state);
        drop(removed);
    }
}

/// What a thread does next.
struct Task {
    detector: Arc<Detector>,
    look: Look,
    min_score: f32,
    /// How long the job waited.
    waited: Duration,
    started: Mono,
}

/// What became of a run.
type Run = std::thread::Result<Result<Found, InferError>>;

/// What a model gave.
#[derive(Default)]
struct Found {
    detections: Vec<Detection>,
    outputs: Vec<(String, Output)>,
}

impl Look {
    fn run(&self, detector: &Detector, min_score: f32) -> Result<Found, InferError> {
        match self {
            Self::Picture(picture) => {
                Ok(Found { detections: detector.detect(&**picture, min_score)?, ..Found::default() })
            }
            Self::Tensor(numbers) => Ok(Found { outputs: detector.run_tensor(numbers)?, ..Found::default() }),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn end(&self) {
        let mut state = self.lock();
        state.stopping = true;
        let waiting = state.schedule.clear();
        drop(state);
        self.work.notify_all();
        waiting.into_iter().for_each(|entry| self.answer(entry, Err(JobError::ShutDown)));
    }

    fn submit(&self, job: Job<'_>) -> Result<Accepted, Refused> {
        let Job { picture, model, min_score, policy, start_within, reply } = job;
        self.take_in(Look::Picture(picture), &model, min_score, policy, start_within, reply)
    }

    fn submit_tensor(&self, job: TensorJob) -> Result<Accepted, Refused> {
        let TensorJob { numbers, model, priority, most, start_within, reply } = job;
        self.take_in(Look::Tensor(numbers), &model, 0.0, Policy::Queue { priority, most }, start_within, reply)
    }

    fn take_in(
        &self,
        look: Look,
        model: &Model,
        min_score: f32,
        policy: Policy<'_>,
        start_within: Duration,
        reply: Reply,
    ) -> Result<Accepted, Refused> {
        let Some(detector) = model.detector() else {
            return Err(refuse(reply, Refused::NoModel(model.name().clone())));
        };
        let priority = policy.priority();
        let (source, camera) = match policy {
            Policy::ReplaceOlder(slot) => (SourceId::Slot(slot.id), Some(slot.camera.clone())),
            Policy::Queue { priority, .. } => (SourceId::Queue(priority), None),
        };
        let subject = Subject { camera, priority, model: model.name().clone() };
        let counted = self.counters.begin(&detector, &self.metrics);
        let entry = Entry { source, detector, look, min_score, subject, reply, counted };
        let (now, mut skipped) = (self.clock.mono(), Vec::new());
        let mut state = self.lock();
        let outcome = match policy {
            _ if state.stopping => Err((entry, NotTaken::NoSource)),
            Policy::ReplaceOlder(slot) if !std::ptr::eq(&*slot.shared, self) => Err((entry, NotTaken::NoSource)),
            Policy::ReplaceOlder(slot) => state.schedule.replace(slot.id, entry, now),
            Policy::Queue { priority, most } => {
                // What is cancelled or too late takes up no place.
                skipped = state.schedule.sweep(now);
                state.schedule.queue(priority, most, entry, now, now + start_within).map(|()| None)
            }
        };
        drop(state);
        self.work.notify_one();
        self.skip(skipped);
        match outcome {
            Ok(None) => Ok(Accepted::Waits),
            Ok(Some(older)) => {
                if let Some(camera) = &older.subject.camera {
                    self.metrics.dropped.get_or_create(&metrics::dropped(camera, "infer_slot")).inc();
                }
                self.answer(older, Err(JobError::Replaced));
                Ok(Accepted::ReplacedOlder)
            }
            Err((entry, NotTaken::Full(waiting))) => Err(self.refuse(entry, Refused::QueueFull { priority, waiting })),
            Err((entry, NotTaken::NoSource)) => Err(self.refuse(entry, Refused::ShutDown)),
        }
    }

    /// Waits for a job and runs it. False when the thread must end.
    fn run_next(&self, thread: u64, run: &Context) -> bool {
        let Some(task) = self.next_task(thread, run) else { return false };
        let Task { detector, look, min_score, waited, started } = task;
        let outcome = catch_unwind(AssertUnwindSafe(|| look.run(&detector, min_score)));
        let took = self.clock.mono().since(started);
        let completed = self.lock().schedule.complete(thread);
        // There is none when the thread was given up in the meantime, or the slot is gone.
        if let Some(entry) = completed {
            self.settle(entry, outcome, waited, took);
        }
        let now = self.clock.mono();
        let unanswered = self.lock().schedule.finish(thread, now);
        drop(unanswered);
        true
    }

    fn next_task(&self, thread: u64, run: &Context) -> Option<Task> {
        let longest_wait = LONGEST_WAIT.min(self.hung_after / BEATS);
        let mut state = self.lock();
        loop {
            run.beat();
            if state.stopping || run.stop().is_cancelled() {
                return None;
            }
            let now = self.clock.mono();
            let skipped = state.schedule.sweep(now);
            if !skipped.is_empty() {
                drop(state);
                self.skip(skipped);
                state = self.lock();
                continue;
            }
            let State { schedule, subjects, .. } = &mut *state;
            if let Some((entry, waited)) = schedule.take(thread, now) {
                subjects.insert(thread, entry.subject.clone());
                let (detector, look) = (entry.detector.clone(), entry.look.clone());
                return Some(Task { detector, look, min_score: entry.min_score, waited, started: now });
            }
            self.work.wait_for(&mut state, longest_wait);
        }
    }

    /// Counts and answers what a job came to.
    fn settle(&self, entry: Entry, run: Run, waited: Duration, took: Duration) {
        match run {
            Ok(Ok(Found { detections, outputs })) => {
                self.metrics.detect_seconds.observe(took.as_secs_f64());
                self.lock().speeds.note(&entry.detector, took);
                let (found, took_ms) = (detections.len(), took.as_secs_f64() * 1e3);
                if let Some(camera) = &entry.subject.camera {
                    trace!(%camera, found, took_ms, "looked at a frame");
                    self.metrics.frames_detected.get_or_create(&metrics::camera(camera)).inc();
                } else {
                    trace!(priority = %entry.subject.priority, found, took_ms, "looked at a picture");
                }
                self.answer(entry, Ok(Answer { detections, outputs, waited, took }));
            }
            Ok(Err(error)) => {
                if let Some(frames) = self.count_failure(&entry) {
                    let Subject { camera, priority, model } = &entry.subject;
                    match camera {
                        Some(camera) => warn!(%camera, %model, %error, frames, "the detector failed"),
                        None => warn!(%priority, %model, %error, jobs = frames, "the detector failed"),
                    }
                }
                self.answer(entry, Err(JobError::Infer(error)));
            }
            Err(panic) => {
                let panic = panic_text(&*panic);
                let Subject { camera, priority, model } = entry.subject.clone();
                if let Some(frames) = self.count_failure(&entry) {
                    match camera {
                        Some(camera) => error!(%camera, %model, panic, frames, "the detector panicked"),
                        None => error!(%priority, %model, panic, jobs = frames, "the detector panicked"),
                    }
                }
                self.answer(entry, Err(JobError::Panicked { model, panic }));
            }
        }
    }

    /// Answers a job.
    fn answer(&self, entry: Entry, outcome: Outcome) {
        entry.answer(outcome, self.clock.now().wall);
    }

    /// Answers a job that was not taken in.
    fn refuse(&self, entry: Entry, refused: Refused) -> Refused {
        self.answer(entry, Err(JobError::Refused(refused.clone())));
        refused
    }

    /// Answers jobs that leave without a run.
    fn skip(&self, skipped: Vec<(Entry, Skipped)>) {
        for (entry, why) in skipped {
            let why = match why {
                Skipped::Cancelled => JobError::Cancelled,
                Skipped::Expired(waited) => JobError::Expired(waited),
            };
            self.answer(entry, Err(why));
        }
    }

    /// Counts a job without a result; `Some` with the number of those that the log does not have yet, once a minute at
    /// most for each source.
    fn count_failure(&self, entry: &Entry) -> Option<u64> {
        if let Some(camera) = &entry.subject.camera {
            self.metrics.dropped.get_or_create(&metrics::dropped(camera, "infer_failed")).inc();
        }
        self.lock().failures.count(entry.source, self.clock.mono())
    }
}

/// Answers a job that is not taken in.
fn refuse(reply: Reply, refused: Refused) -> Refused {
    reply.answer(Err(JobError::Refused(refused.clone())));
    refused
}

#[cfg(test)]
mod tests;
