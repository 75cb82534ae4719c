//! Runs executions: pictures are decoded, the pipeline runs, what it does to the world is done, the result is kept.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::progress::ProgressKind;
use super::queue::{Turn, Urgency};
use super::results::{self, Results, milliseconds};
use super::{ExecutionService, blocking};
use crate::block::{BrokenOff, Context, Effect, Image, Memory, Outcome, Plan, RunError, StepEffect, StepRun, Value};
use crate::execution::{Execution, ExecutionId, ExecutionState, Failure, FailureReason};
use crate::executor::{ExecutionArchive, ExecutorError, Finished, GivenFile};
use crate::frame::Rgb;
use crate::library::Given;
use crate::picture::PictureError;
use crate::service::playback::MOST_LOAD;
use crate::store::StoreError;

/// Tries of an execution that ended with the process: behind them it is what ends it.
const MOST_ATTEMPTS: u32 = 3;
/// How often what the index has is compared with the queue, and what is over and old is removed.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long an execution rests whose model has too much to do, or while the box has.
const REST: Duration = Duration::from_millis(500);
/// Executions that are read of the index at once.
const PAGE: usize = 1000;
/// Pipelines whose steps remember.
const MOST_MEMORIES: usize = 100;

/// What the steps of each pipeline remember, by its name and version, and by who gave the pictures: what one user's
/// pictures show is for no other. Clones are one.
#[derive(Clone, Default)]
pub(super) struct Memories(Arc<Mutex<BTreeMap<String, Arc<Memory>>>>);

impl Memories {
    fn of(&self, execution: &Execution) -> Arc<Memory> {
        let named = &execution.pipeline;
        if named.version == 0 {
            return Arc::default();
        }
        let mut memories = self.0.lock();
        if memories.len() >= MOST_MEMORIES {
            memories.clear();
        }
        // No name of a pipeline has an `@`.
        memories.entry(format!("{}@{}@{}", named.name, named.version, execution.owner)).or_default().clone()
    }
}

impl ExecutionService {
    /// Runs executions until `stop`.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        let work = async {
            let mut running = FuturesUnordered::new();
            loop {
                let at_once = self.context.configured().executions.at_once;
                let is_free = running.len() < at_once && !self.has_too_much_to_do();
                tokio::select! {
                    () = stop.cancelled() => break,
                    turn = self.queue.next(), if is_free => running.push(self.work(turn, stop.clone())),
                    Some(()) = running.next(), if !running.is_empty() => {}
                    () = tokio::time::sleep(REST), if !is_free && running.len() < at_once => {}
                }
            }
            // What runs is broken off between two steps and put back, so that the try does not count.
            while running.next().await.is_some() {}
        };
        let upkeep = async {
            loop {
                self.compare().await;
                tokio::select! {
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                    () = stop.cancelled() => break,
                }
            }
        };
        futures::join!(work, upkeep);
    }

    /// Cameras come first; and nothing is run while the index does not know yet what the last run left.
    fn has_too_much_to_do(&self) -> bool {
        let archive = self.context.volume.archive();
        archive.pressure.level() > MOST_LOAD
            || archive.is_incomplete.load(Ordering::Relaxed)
            || self.context.health.is_spooling()
    }

    /// Puts into the queue what the index has and the queue does not: what a stop left, and what is on a volume that came
    /// back. Removes what is over and old.
    async fn compare(&self) {
        let archive = self.context.volume.archive();
        if archive.is_incomplete.load(Ordering::Relaxed) || self.context.health.is_spooling() {
            return;
        }
        if let Err(error) = self.fill_queue().await {
            return debug!(%error, "executions that wait could not be read, trying again");
        }
        let archive = self.archive();
        match blocking(move || archive.expire()).await {
            Ok(0) => {}
            Ok(removed) => debug!(removed, "executions that were over were removed"),
            Err(error) => warn!(%error, "executions that are over could not be removed, trying again"),
        }
    }

    async fn fill_queue(&self) -> Result<(), StoreError> {
        let executions = self.context.store().executions();
        if executions.usage().await?.open <= self.queue.known() as u64 {
            return Ok(());
        }
        let mut after = None;
        loop {
            let page = executions.open(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id);
            page.iter().for_each(|waiting| self.queue.push(waiting.id, &waiting.owner, Urgency::Program));
        }
    }

    async fn work(&self, turn: Turn, stop: CancellationToken) {
        let (id, archive, begun) = (turn.id, self.archive(), Instant::now());
        let (begin, order) = (archive.clone(), self.order.clone());
        let begin = move || {
            let _order = order.lock();
            begin.begin(id)
        };
        let execution = match blocking(begin).await {
            Ok(execution) => execution,
            // It is over, or on a volume that is away.
            Err(ExecutorError::Unknown | ExecutorError::Refused(_)) => return,
            Err(error) => {
                warn!(execution = %id, %error, "an execution could not be begun, trying again");
                return tokio::time::sleep(REST).await;
            }
        };
        match self.outcome(&execution, &turn, &stop).await {
            Some(finished) => {
                let (state, failure) = (finished.state, finished.failure.clone());
                let (finish, begun_as) = (archive.clone(), execution.clone());
                match blocking(move || finish.finish(&begun_as, finished)).await {
                    Ok(_) => {
                        self.queue.note(begun.elapsed());
                        self.note(&execution, state, failure.as_ref(), begun.elapsed());
                        drop(turn);
                        self.progress.over(&execution, state, failure);
                    }
                    Err(error) => {
                        warn!(execution = %id, %error, "the result of an execution could not be kept, it is run again");
                        self.put_back(&archive, execution, turn).await;
                    }
                }
            }
            None => self.put_back(&archive, execution, turn).await,
        }
    }

    /// It is in the queue again when that is compared with the index the next time; one that was cancelled meanwhile is over.
    async fn put_back(&self, archive: &ExecutionArchive, execution: Execution, turn: Turn) {
        let (archive, id, order) = (archive.clone(), execution.id, self.order.clone());
        let put_back = move || {
            // Who cancels it finds it either running or waiting.
            let _order = order.lock();
            let is_cancelled = turn.is_cancelled.load(Ordering::Relaxed);
            let over = if is_cancelled {
                let cancelled = Finished::without(ExecutionState::Cancelled, None);
                archive.finish(&execution, cancelled).map(Some)
            } else {
                archive.put_back(&execution).map(|()| None)
            };
            drop(turn);
            over
        };
        match blocking(put_back).await {
            Ok(None) => {}
            Ok(Some(over)) => self.progress.over(&over, ExecutionState::Cancelled, None),
            Err(error) => debug!(execution = %id, %error, "an execution that was begun counts as tried"),
        }
    }

    fn note(&self, execution: &Execution, state: ExecutionState, failure: Option<&Failure>, took: Duration) {
        let (id, metrics) = (execution.id, &self.context.metrics);
        self.counters.note(execution, state, failure, (took, &self.context.volume.archive().now()));
        metrics.executions.get_or_create(&crate::metrics::outcome(state.as_str())).inc();
        metrics.execution_seconds.observe(took.as_secs_f64());
        let took_ms = milliseconds(took);
        match failure {
            Some(Failure { reason, step, message }) => {
                let (reason, step) = (reason.as_str(), step.as_deref().unwrap_or("none"));
                info!(execution = %id, reason, step, message, took_ms, "an execution failed");
            }
            None => debug!(execution = %id, state = state.as_str(), took_ms, "an execution is over"),
        }
    }

    /// Runs an execution. `None`: it is to be tried again later.
    async fn outcome(&self, execution: &Execution, turn: &Turn, stop: &CancellationToken) -> Option<Finished> {
        let failed = |reason, step, message| {
            let failure = Failure { reason, step, message };
            Some(Finished::without(ExecutionState::Failed, Some(failure)))
        };
        if execution.attempts > MOST_ATTEMPTS {
            let message =
                format!("the daemon ended {MOST_ATTEMPTS} times while it ran: the picture or a model may be why");
            return failed(FailureReason::Crashed, None, message);
        }
        let inputs = match self.decode(execution).await {
            Ok(inputs) => inputs,
            Err(NotDecoded::Picture(message)) => return failed(FailureReason::Picture, None, message),
            Err(NotDecoded::Gone(message)) => return failed(FailureReason::Storage, None, message),
            Err(NotDecoded::Later(message)) => {
                warn!(execution = %execution.id, message, "a picture could not be read, trying again");
                return None;
            }
        };
        let (this, execution_of, is_cancelled, stop) =
            (self.clone(), execution.clone(), turn.is_cancelled.clone(), stop.clone());
        let deadline = Instant::now() + self.context.configured().executions.max_time;
        let is_over = move || match () {
            () if is_cancelled.load(Ordering::Relaxed) => Some(BrokenOff::Cancelled),
            () if stop.is_cancelled() => Some(BrokenOff::Stopping),
            () if Instant::now() >= deadline => Some(BrokenOff::TooSlow),
            () => None,
        };
        let run = move || this.run_steps(&execution_of, inputs, &is_over);
        let ran = match tokio::task::spawn_blocking(run).await {
            Ok(ran) => ran,
            Err(error) => return failed(FailureReason::Step, None, format!("it panicked: {error}")),
        };
        match ran {
            Ok((outcome, results, took)) => match self.carry_out(execution, &outcome.effects).await {
                Ok(()) => {
                    let Results { outputs, files, steps } = results;
                    let (state, took_ms) = (ExecutionState::Finished, Some(milliseconds(took)));
                    Some(Finished { state, took_ms, outputs, files, steps, failure: None })
                }
                Err(message) => failed(FailureReason::Step, None, message),
            },
            Err(NotRun::Failed(failure)) => Some(Finished::without(ExecutionState::Failed, Some(failure))),
            Err(NotRun::Cancelled) => Some(Finished::without(ExecutionState::Cancelled, None)),
            Err(NotRun::Later(message)) => {
                debug!(execution = %execution.id, message, "an execution is put back");
                None
            }
        }
    }

    /// Checks and runs the pipeline. Blocks.
    fn run_steps(
        &self,
        execution: &Execution,
        inputs: BTreeMap<String, Rgb>,
        is_over: &(dyn Fn() -> Option<BrokenOff> + Send + Sync),
    ) -> Result<(Outcome, Results, Duration), NotRun> {
        let begun = Instant::now();
        let models = self.models.for_blocks();
        let plan = Plan::new(&execution.definition, &execution.parameters, &models).map_err(|errors| {
            let message = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            NotRun::Failed(Failure { reason: FailureReason::Pipeline, step: None, message })
        })?;
        let steps = execution.definition.steps.len();
        self.progress.started(execution);
        let memory = self.memory.of(execution);
        let context = Context::new(&models, &memory, self.context.clock.mono(), execution.created.clone(), is_over);
        let mut done = 0;
        let seen = |step: &StepRun| {
            done += 1;
            let (name, took_ms) = (step.step.clone(), milliseconds(step.took));
            let kind = ProgressKind::StepFinished { step: name, done, steps, runs: step.runs, took_ms };
            self.progress.step(execution, done, kind);
        };
        let inputs = inputs.into_iter().map(|(name, picture)| (name, Value::Image(Image::whole(picture)))).collect();
        let outcome = plan.run(inputs, &context, seen).map_err(NotRun::from)?;
        let took = begun.elapsed();
        let results = results::write(&outcome, is_over).map_err(|error| match error {
            results::NotWritten::BrokenOff(why) => NotRun::from(RunError::BrokenOff(why)),
            results::NotWritten::Failed(message) => {
                NotRun::Failed(Failure { reason: FailureReason::Step, step: None, message })
            }
        })?;
        Ok((outcome, results, took))
    }

    /// The pixels of the pictures.
    async fn decode(&self, execution: &Execution) -> Result<BTreeMap<String, Rgb>, NotDecoded> {
        let archive = self.archive();
        let mut pictures = BTreeMap::new();
        for (input, file) in &execution.inputs {
            let path = archive.file(execution, &file.file.file);
            let path = path.ok_or_else(|| NotDecoded::Picture(format!("{input}: the file is gone")))?;
            let picture = self.picture(&archive, execution.id, path, &file.name).await;
            pictures.insert(input.clone(), picture.map_err(|error| error.of(input))?);
        }
        Ok(pictures)
    }

    /// The pixels of a picture that is not kept.
    pub(super) async fn given_picture(&self, file: &GivenFile) -> Result<Rgb, NotDecoded> {
        let bytes = file.bytes.clone();
        let plain = tokio::task::spawn_blocking(move || Rgb::decode_plain(&bytes).ok().flatten()).await;
        if let Ok(Some(picture)) = plain {
            return Ok(picture);
        }
        let archive = self.archive();
        let later = |error: &dyn std::fmt::Display| NotDecoded::Later(error.to_string());
        let folder = archive.scratch(archive.next_id()).map_err(|error| later(&error))?;
        let path = folder.path().join(format!("picture.{}", file.extension));
        tokio::fs::write(&path, &file.bytes).await.map_err(|error| later(&error))?;
        let decoded = self.inspector.decode(&path, &file.name, folder.path()).await;
        decoded.map_err(|error| NotDecoded::Picture(error.to_string()))
    }

    pub(super) async fn picture(
        &self,
        archive: &ExecutionArchive,
        id: ExecutionId,
        path: PathBuf,
        name: &str,
    ) -> Result<Rgb, NotDecoded> {
        // Decoders that are safe by construction do without a process.
        let file = path.clone();
        let plain = tokio::task::spawn_blocking(move || -> std::io::Result<Option<Rgb>> {
            Ok(Rgb::decode_plain(&fs::read(file)?).ok().flatten())
        });
        match plain.await {
            Ok(Ok(Some(picture))) => return Ok(picture),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(NotDecoded::Gone(format!("the file is gone from the disk: {}", path.display())));
            }
            Ok(Err(error)) => return Err(NotDecoded::Later(format!("{}: {error}", path.display()))),
            _ => {}
        }
        let folder = archive.scratch(id).map_err(|error| NotDecoded::Later(error.to_string()))?;
        let decoded = self.inspector.decode(&path, name, folder.path()).await;
        decoded.map_err(|error| match error {
            PictureError::Disk(reason) => NotDecoded::Later(reason),
            other => NotDecoded::Picture(other.to_string()),
        })
    }

    /// Does what the pipeline does to the world. It may be done twice, and has the effect of once.
    pub(super) async fn carry_out(&self, execution: &Execution, effects: &[StepEffect]) -> Result<(), String> {
        for (number, StepEffect { effect, .. }) in effects.iter().enumerate() {
            match effect {
                // With the files of the execution.
                Effect::Keep { .. } | Effect::Post { .. } => {}
                Effect::Photo { file, tags } => {
                    let name = format!("{}-{}.{}", execution.pipeline.name, number + 1, file.extension);
                    self.add_photo(execution, name, &file.bytes, tags)
                        .await
                        .map_err(|error| format!("a picture could not be put into the library: {error}"))?;
                }
                Effect::Alert { message, picture } => {
                    self.alert(execution, number, message, picture.as_deref()).await?;
                }
            }
        }
        Ok(())
    }

    async fn add_photo(
        &self,
        execution: &Execution,
        name: String,
        bytes: &[u8],
        tags: &[String],
    ) -> Result<(), crate::library::LibraryError> {
        let mut arriving = self.library.begin().await?;
        arriving.write(bytes).await?;
        let (owner, tags) = (execution.owner.clone(), tags.to_vec());
        let given = Given { name, owner, private: false, file_date: None, tags };
        // The same content of the same owner is one photo.
        self.library.keep(arriving, given).await.map(drop)
    }
}

/// Why a picture is not decoded.
pub(super) enum NotDecoded {
    /// It cannot be.
    Picture(String),
    /// It is not there any more.
    Gone(String),
    /// It may be later.
    Later(String),
}

impl NotDecoded {
    pub(super) fn into_reason(self) -> String {
        match self {
            Self::Picture(reason) | Self::Gone(reason) | Self::Later(reason) => reason,
        }
    }

    fn of(self, input: &str) -> Self {
        match self {
            Self::Picture(reason) => Self::Picture(format!("{input}: {reason}")),
            Self::Gone(reason) => Self::Gone(format!("{input}: {reason}")),
            Self::Later(reason) => Self::Later(format!("{input}: {reason}")),
        }
    }
}

/// Why the steps gave no result.
enum NotRun {
    Failed(Failure),
    Cancelled,
    /// They may later.
    Later(String),
}

impl From<RunError> for NotRun {
    fn from(error: RunError) -> Self {
        match error {
            RunError::BrokenOff(BrokenOff::Cancelled) => Self::Cancelled,
            RunError::BrokenOff(BrokenOff::Stopping) => Self::Later("the daemon stops".to_owned()),
            RunError::BrokenOff(BrokenOff::TooSlow) => {
                let message = "it took longer than executions.max_time allows".to_owned();
                Self::Failed(Failure { reason: FailureReason::TooSlow, step: None, message })
            }
            RunError::Failed { is_transient: true, step, message, .. } => {
                Self::Later(format!("step {step}: {message}"))
            }
            RunError::Failed { step, reason, message, .. } => {
                Self::Failed(Failure { reason, step: Some(step), message })
            }
        }
    }
}
