//! Executions: pictures that people and programs send through pipelines. Taken in here, run one after the other as the
//! cameras leave room, and answered.

mod alert;
mod batch;
mod inputs;
mod of_cameras;
mod places;
mod progress;
mod queue;
mod results;
mod small;
mod statistics;
mod trial;
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;

use super::context::Context;
use super::library::LibraryService;
use super::models::ModelService;
use super::pipelines::{PipelineRefusal, PipelineService};
use crate::block::{Plan, StepError};
use crate::execution::{Execution, ExecutionFile, ExecutionId, ExecutionState, Pipeline, PipelineVersion};
use crate::executor::{Accepted, ExecutionArchive, ExecutorError, NewExecution};
use crate::picture::Inspector;
use crate::store::{ExecutionQuery, ExecutionUsage, ExecutionsFound};

pub use inputs::GivenPicture;
pub use of_cameras::OfCamera;
pub use places::Place;
pub use progress::{Followed, FollowedAll, NextOfAll, ProgressEvent, ProgressKind};

pub use statistics::PipelineStatistics;
pub use trial::{Trial, TriedStep};

use places::Places;
use progress::Progress;
use queue::{Queue, Urgency};

/// Which pipeline is asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// One of this box; the newest version where none is named.
    Named(String, Option<u32>),
    /// One that comes with the execution.
    Inline(Box<Pipeline>),
}

/// An execution that is asked for.
#[derive(Clone, Debug)]
pub struct ExecutionRequest {
    /// Which pipeline.
    pub pipeline: Asked,
    /// Values of its parameters that differ from their defaults.
    pub parameters: BTreeMap<String, Value>,
    /// The pictures, by the pipeline's inputs.
    pub inputs: BTreeMap<String, GivenPicture>,
    /// The user or key that asks.
    pub owner: Arc<str>,
    /// The key by which it may be sent twice.
    pub idempotency_key: Option<String>,
    /// The executions that are asked for together have the same.
    pub batch: Option<ExecutionId>,
    /// The answer is waited for.
    pub is_urgent: bool,
}

/// Why an execution is not taken in.
#[derive(Debug, thiserror::Error)]
pub enum ExecutionRefusal {
    /// The pipeline cannot be used.
    #[error(transparent)]
    Pipeline(#[from] PipelineRefusal),
    /// The pictures do not fit the pipeline.
    #[error("{0}")]
    Inputs(String),
    /// It cannot be kept.
    #[error(transparent)]
    Executor(#[from] ExecutorError),
}

/// How many executions there are, and how it goes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ExecutionStatus {
    /// How many there are.
    pub executions: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// How many wait.
    pub waiting: u64,
    /// How many run.
    pub running: u64,
    /// How long until all that wait are done, seconds, by the last ones; unknown before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_s: Option<f64>,
}

/// Takes in, runs and answers executions. Cheap to clone.
#[derive(Clone)]
pub struct ExecutionService {
    context: Arc<Context>,
    pipelines: PipelineService,
    models: ModelService,
    library: LibraryService,
    inspector: Inspector,
    queue: Arc<Queue>,
    progress: Progress,
    /// Held while one with a key is taken in.
    keyed: Arc<tokio::sync::Mutex<()>>,
    /// Held while one is begun or cancelled: one that is cancelled is not begun.
    order: Arc<Mutex<()>>,
    places: Arc<Places>,
    memory: work::Memories,
    counters: statistics::Counters,
    /// Held while a picture is made small.
    looking: Arc<tokio::sync::Mutex<()>>,
}

impl ExecutionService {
    pub(super) fn new(
        context: Arc<Context>,
        pipelines: PipelineService,
        models: ModelService,
        library: LibraryService,
    ) -> Self {
        let queue = Arc::new(Queue::default());
        let (inspector, progress, keyed) = (Inspector::default(), Progress::default(), Arc::default());
        Self {
            context,
            pipelines,
            models,
            library,
            inspector,
            queue,
            progress,
            keyed,
            order: Arc::default(),
            places: Arc::default(),
            memory: work::Memories::default(),
            counters: statistics::Counters::default(),
            looking: Arc::default(),
        }
    }

    fn archive(&self) -> ExecutionArchive {
        ExecutionArchive::new(&self.context.volume.archive(), self.context.configured().executions.clone())
    }

    /// What became of the executions of a version of a pipeline since the start.
    pub fn statistics(&self, pipeline: &str, version: u32) -> PipelineStatistics {
        self.counters.of(pipeline, version)
    }

    /// A place for a request of `owner` whose pictures are read into memory, for as long as they are there.
    ///
    /// # Errors
    /// [`ExecutorError::Busy`] where there is none for a while.
    pub async fn place(&self, owner: &Arc<str>) -> Result<Place, ExecutorError> {
        self.places.take(owner).await.ok_or(ExecutorError::Busy)
    }

    /// Largest file that is taken, bytes.
    pub fn max_file(&self) -> u64 {
        self.context.configured().executions.max_file
    }

    /// An id for executions that are asked for together.
    pub fn batch(&self) -> ExecutionId {
        self.archive().next_id()
    }

    /// Takes in an execution; when it returns, it is durable, and it will be run.
    ///
    /// # Errors
    /// Why it is not taken in; the same may be sent again.
    pub async fn submit(&self, request: ExecutionRequest) -> Result<Accepted, ExecutionRefusal> {
        let keyed = match &request.idempotency_key {
            Some(_) => Some(self.keyed.clone().lock_owned().await),
            None => None,
        };
        let (this, urgency) = (self.clone(), if request.is_urgent { Urgency::Person } else { Urgency::Program });
        let work = move || {
            // The sender may be gone, and send it again, while this goes on.
            let _keyed = keyed;
            let accepted = this.accept(request)?;
            if let Accepted::New(execution) = &accepted {
                this.progress.queued(execution);
                this.queue.push(execution.id, &execution.owner, urgency);
            }
            Ok(accepted)
        };
        blocking(work).await
    }

    fn accept(&self, request: ExecutionRequest) -> Result<Accepted, ExecutionRefusal> {
        // What came before is answered whatever has become of its pipeline meanwhile.
        if let Some(key) = &request.idempotency_key
            && let Some(known) = self.archive().with_key(&request.owner, key, &inputs::sent(&request))?
        {
            return Ok(Accepted::Known(known));
        }
        let (pipeline, definition) = self.asked(request.pipeline)?;
        let plan = self.plan(&definition, &request.parameters)?;
        let inputs = inputs::fitting(&plan, request.inputs)?;
        self.check_share(&request.owner)?;
        let new = NewExecution {
            pipeline,
            definition: Arc::new(definition),
            parameters: request.parameters,
            inputs,
            owner: request.owner,
            idempotency_key: request.idempotency_key,
            batch: request.batch,
        };
        Ok(self.archive().accept(new)?)
    }

    /// One user alone does not fill the queue.
    fn check_share(&self, owner: &Arc<str>) -> Result<(), ExecutorError> {
        let most = (self.context.configured().executions.max_waiting / 2).max(1);
        let waiting = self.queue.waiting_of(owner) as u64;
        if waiting < most {
            return Ok(());
        }
        Err(ExecutorError::TooManyOfOne { owner: owner.clone(), waiting })
    }

    /// The pipeline that is asked for. Blocks.
    fn asked(&self, asked: Asked) -> Result<(PipelineVersion, Pipeline), PipelineRefusal> {
        match asked {
            Asked::Named(name, version) => self.pipelines.get(&name, version),
            Asked::Inline(pipeline) => Ok((PipelineVersion { name: pipeline.name.clone(), version: 0 }, *pipeline)),
        }
    }

    /// The same, checked. Blocks.
    fn plan(&self, definition: &Pipeline, parameters: &BTreeMap<String, Value>) -> Result<Plan, PipelineRefusal> {
        let plan = Plan::new(definition, parameters, &self.models.for_blocks());
        plan.map_err(|errors: Vec<StepError>| PipelineRefusal::Wrong(errors))
    }

    /// An execution, all of it.
    ///
    /// # Errors
    /// [`ExecutorError::Unknown`], [`ExecutorError::Away`]; else when index or disk fail.
    pub async fn get(&self, id: ExecutionId) -> Result<Execution, ExecutorError> {
        if self.context.health.is_spooling() {
            // They lie on the volume that is away.
            return Err(ExecutorError::Away);
        }
        let known = self.context.store().executions().get(id).await?.ok_or(ExecutorError::Unknown)?;
        let archive = self.archive();
        let mut execution = blocking(move || archive.read(id)).await?;
        if !execution.state.is_over() {
            (execution.state, execution.attempts) = (known.state, known.attempts);
        }
        Ok(execution)
    }

    /// Waits until an execution is over, `at_most` so long; gives it as it is then.
    ///
    /// # Errors
    /// As [`ExecutionService::get`].
    pub async fn wait(&self, id: ExecutionId, at_most: Duration) -> Result<Execution, ExecutorError> {
        let mut followed = self.progress.follow(id);
        let over = async {
            loop {
                let execution = self.get(id).await?;
                if execution.state.is_over() {
                    return Ok(execution);
                }
                followed.until_over().await;
            }
        };
        match tokio::time::timeout(at_most, over).await {
            Ok(execution) => execution,
            Err(_) => self.get(id).await,
        }
    }

    /// Executions, the newest first.
    ///
    /// # Errors
    /// When the index is out of service.
    pub async fn find(&self, query: ExecutionQuery) -> anyhow::Result<ExecutionsFound> {
        Ok(self.context.store().executions().find(query).await?)
    }

    /// How many there are, and how it goes.
    ///
    /// # Errors
    /// When the index is out of service.
    pub async fn status(&self) -> anyhow::Result<ExecutionStatus> {
        let ExecutionUsage { executions, bytes, open } = self.context.store().executions().usage().await?;
        let running = self.queue.running() as u64;
        let waiting = open.saturating_sub(running);
        let at_once = self.context.configured().executions.at_once;
        let eta_s = self.queue.pace().map(|each| each.as_secs_f64() * open as f64 / at_once.max(1) as f64);
        Ok(ExecutionStatus { executions, bytes, waiting, running, eta_s })
    }

    /// Ends an execution that waits or runs.
    ///
    /// # Errors
    /// [`ExecutorError::Unknown`], [`ExecutorError::Refused`] where it is over; else when index or disk fail.
    pub async fn cancel(&self, id: ExecutionId) -> Result<Execution, ExecutorError> {
        match self.cancel_at_once(id).await? {
            Some(over) => Ok(over),
            None => self.wait(id, self.context.configured().executions.max_time).await,
        }
    }

    /// The same without waiting for one that runs, which is none yet when it returns.
    async fn cancel_at_once(&self, id: ExecutionId) -> Result<Option<Execution>, ExecutorError> {
        let (archive, order, queue) = (self.archive(), self.order.clone(), self.queue.clone());
        let cancel = move || {
            let _order = order.lock();
            // One that runs is ended by what runs it.
            if queue.cancel(id) { Ok(None) } else { archive.cancel(id).map(Some) }
        };
        let over = blocking(cancel).await?;
        if let Some(over) = &over {
            self.progress.over(over, ExecutionState::Cancelled, None);
        }
        Ok(over)
    }

    /// Deletes an execution that is over, with its pictures.
    ///
    /// # Errors
    /// [`ExecutorError::Unknown`], [`ExecutorError::Refused`] where it is not over; else when index or disk fail.
    pub async fn delete(&self, id: ExecutionId) -> Result<(), ExecutorError> {
        let archive = self.archive();
        blocking(move || archive.delete(id)).await
    }

    /// Asks for the same again: the newest version of its pipeline, or that of the execution where `same_version`.
    ///
    /// # Errors
    /// Why it is not taken in.
    pub async fn repeat(
        &self,
        id: ExecutionId,
        owner: Arc<str>,
        same_version: bool,
    ) -> Result<Accepted, ExecutionRefusal> {
        let execution = self.get(id).await?;
        let archive = self.archive();
        let (named, definition) = (execution.pipeline.clone(), (*execution.definition).clone());
        let pipeline = if same_version {
            let is_there = named.version > 0 && self.has_version(&named, &definition).await;
            if is_there { Asked::Named(named.name, Some(named.version)) } else { Asked::Inline(Box::new(definition)) }
        } else if named.version == 0 && !self.is_known(&named.name).await {
            Asked::Inline(Box::new(definition))
        } else {
            Asked::Named(named.name, None)
        };
        let parameters = execution.parameters.clone();
        let inputs = blocking(move || inputs::again(&archive, &execution)).await?;
        let request = ExecutionRequest {
            pipeline,
            parameters,
            inputs,
            owner,
            idempotency_key: None,
            batch: None,
            is_urgent: false,
        };
        self.submit(request).await
    }

    /// Whether the version is on this box as it ran.
    async fn has_version(&self, named: &PipelineVersion, definition: &Pipeline) -> bool {
        let (pipelines, named, definition) = (self.pipelines.clone(), named.clone(), definition.clone());
        let is_there =
            move || pipelines.get(&named.name, Some(named.version)).is_ok_and(|(_, pipeline)| pipeline == definition);
        tokio::task::spawn_blocking(is_there).await.unwrap_or(false)
    }

    async fn is_known(&self, name: &str) -> bool {
        let (pipelines, name) = (self.pipelines.clone(), name.to_owned());
        tokio::task::spawn_blocking(move || pipelines.get(&name, None).is_ok()).await.unwrap_or(false)
    }

    /// Where a file of an execution lies, and what it is.
    pub fn file(&self, execution: &Execution, name: &str) -> Option<(PathBuf, ExecutionFile)> {
        let path = self.archive().file(execution, name)?;
        let mut files = execution.inputs.values().chain(&execution.files);
        Some((path, files.find(|file| file.file.file == name)?.clone()))
    }

    /// What happens to an execution, behind the number `after`.
    ///
    /// # Errors
    /// As [`ExecutionService::get`].
    pub async fn follow(&self, id: ExecutionId, after: Option<u64>) -> Result<Followed, ExecutorError> {
        // Followed first: what happens in between is not missed.
        let followed = self.progress.follow(id);
        let execution = self.get(id).await?;
        Ok(followed.from(&execution, after))
    }

    /// What happens to all executions from now on.
    pub fn follow_all(&self) -> FollowedAll {
        self.progress.follow_all()
    }
}

/// Runs what waits for the disk beside other tasks.
async fn blocking<T: Send + 'static, E: From<ExecutorError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(ExecutorError::Failed(anyhow::Error::new(error).context("work on an execution")).into())
    })
}

#[cfg(test)]
mod tests;
