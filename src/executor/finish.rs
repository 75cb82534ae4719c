//! Beginning an execution, and what came of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use serde_json::Value;

use super::layout::{document_path, unwritten, written};
use super::{ExecutionArchive, ExecutorError};
use crate::archive::write_durable;
use crate::asset::{EXECUTION_SIDECAR, MediaFile};
use crate::destination::Destination;
use crate::execution::{Execution, ExecutionFile, ExecutionId, ExecutionState, Failure, StepReport};
use crate::store::Document;

/// A file that an execution made.
#[derive(Clone, Debug)]
pub struct MadeFile {
    /// Its name.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Its content.
    pub bytes: Arc<[u8]>,
    /// Whether it is delivered.
    pub kept: bool,
    /// The webhook that it is posted to, where it is.
    pub webhook: Option<Arc<str>>,
}

/// What came of an execution.
#[derive(Clone, Debug)]
pub struct Finished {
    /// [`ExecutionState::Finished`], [`ExecutionState::Failed`] or [`ExecutionState::Cancelled`].
    pub state: ExecutionState,
    /// How long its steps took, milliseconds.
    pub took_ms: Option<f64>,
    /// What the pipeline's outputs came to.
    pub outputs: BTreeMap<String, Value>,
    /// Files that it made.
    pub files: Vec<MadeFile>,
    /// What each step did.
    pub steps: Vec<StepReport>,
    /// Why it has no result.
    pub failure: Option<Failure>,
}

impl Finished {
    /// One without a result.
    pub fn without(state: ExecutionState, failure: Option<Failure>) -> Self {
        let (outputs, files, steps) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { state, took_ms: None, outputs, files, steps, failure }
    }
}

impl ExecutionArchive {
    /// Notes that the steps of an execution are begun; gives it, with how often that was. Blocks.
    ///
    /// # Errors
    /// [`ExecutorError::Unknown`], [`ExecutorError::Refused`] where it is over; else when index or disk fail.
    pub fn begin(&self, id: ExecutionId) -> Result<Execution, ExecutorError> {
        let executions = self.archive.store().executions();
        let known = executions.get(id).wait()?.ok_or(ExecutorError::Unknown)?;
        if known.state.is_over() {
            return Err(ExecutorError::Refused(format!("the execution is {}", known.state.as_str())));
        }
        if !self.layout.folder(id).exists() {
            // It is being taken in, or waits for the recovery to give it its place.
            return Err(ExecutorError::Unknown);
        }
        let mut execution = self.read(id)?;
        if execution.state.is_over() {
            // A stop came between its result and the index.
            self.complete(&execution)?;
            return Err(ExecutorError::Refused(format!("the execution is {}", execution.state.as_str())));
        }
        execution.attempts = known.attempts + 1;
        execution.state = ExecutionState::Running;
        executions.record(&execution, Vec::new())?;
        Ok(execution)
    }

    /// Puts an execution that was begun back into the queue; the try does not count. Blocks.
    ///
    /// # Errors
    /// When the index fails.
    pub fn put_back(&self, execution: &Execution) -> Result<(), ExecutorError> {
        let (state, attempts) = (ExecutionState::Queued, execution.attempts.saturating_sub(1));
        let waiting = Execution { state, attempts, ..execution.clone() };
        Ok(self.archive.store().executions().record(&waiting, Vec::new())?)
    }

    /// Records what came of an execution; durable when it returns, and so is its delivery. Blocks.
    ///
    /// # Errors
    /// When index or disk fail.
    pub fn finish(&self, execution: &Execution, finished: Finished) -> Result<Execution, ExecutorError> {
        let folder = self.layout.folder(execution.id);
        let mut files = Vec::new();
        for MadeFile { name, media_type, bytes, kept, webhook } in finished.files {
            let file = write_durable(&folder, &name, &bytes).map_err(unwritten)?;
            files.push(ExecutionFile { file, media_type, name: String::new(), kept, webhook });
        }
        let over = Execution {
            state: finished.state,
            ended: Some(self.archive.now()),
            took_ms: finished.took_ms,
            outputs: finished.outputs,
            files,
            steps: finished.steps,
            failure: finished.failure,
            ..execution.clone()
        };
        self.keep(&over)?;
        Ok(over)
    }

    /// Writes an execution that is over, and records it.
    fn keep(&self, over: &Execution) -> Result<(), ExecutorError> {
        let folder = self.layout.folder(over.id);
        let sidecar = write_durable(&folder, EXECUTION_SIDECAR, &written(over)?).map_err(unwritten)?;
        Ok(self.archive.store().executions().record_over(over, documents(over, sidecar), posts(over))?)
    }

    /// Ends an execution that waits. Blocks.
    ///
    /// # Errors
    /// [`ExecutorError::Unknown`], [`ExecutorError::Refused`] where it is over; else when index or disk fail.
    pub fn cancel(&self, id: ExecutionId) -> Result<Execution, ExecutorError> {
        let execution = self.read(id)?;
        if execution.state.is_over() {
            return Err(ExecutorError::Refused(format!("the execution is {} already", execution.state.as_str())));
        }
        // Of one that waits the index alone knows how often it was begun.
        let known = self.archive.store().executions().get(id).wait()?;
        let attempts = known.map_or(execution.attempts, |known| known.attempts);
        let ended = Some(self.archive.now());
        let over = Execution { state: ExecutionState::Cancelled, attempts, ended, ..execution };
        self.keep(&over)?;
        Ok(over)
    }

    /// Records one that is over where a stop came between its file and the index. Blocks.
    pub(super) fn complete(&self, over: &Execution) -> Result<(), ExecutorError> {
        let folder = self.layout.folder(over.id);
        let sidecar = crate::archive::measure(&folder, EXECUTION_SIDECAR).context("measure an execution")?;
        Ok(self.archive.store().executions().record_over(over, documents(over, sidecar), posts(over))?)
    }

    /// Takes an execution into the index again, as its file says it. Nothing is posted: a fresh index does not know what
    /// was. Blocks.
    pub(super) fn take_in(&self, execution: &Execution) -> Result<(), ExecutorError> {
        let folder = self.layout.folder(execution.id);
        let sidecar = crate::archive::measure(&folder, EXECUTION_SIDECAR).context("measure an execution")?;
        let documents = if execution.state.is_over() { documents(execution, sidecar) } else { Vec::new() };
        Ok(self.archive.store().executions().record(execution, documents)?)
    }
}

/// What is delivered of an execution: files that are to be kept, and then what it says of itself too.
fn documents(execution: &Execution, sidecar: MediaFile) -> Vec<Document> {
    let document =
        |file: &MediaFile| Document::new(document_path(execution.id, &file.file), file.bytes, file.sha256.clone());
    let mut kept: Vec<Document> =
        execution.files.iter().filter(|file| file.kept).map(|file| document(&file.file)).collect();
    if !kept.is_empty() {
        kept.push(document(&sidecar));
    }
    kept
}

/// What webhooks get of an execution.
fn posts(execution: &Execution) -> Vec<(Destination, Document)> {
    let post = |file: &ExecutionFile| {
        let path = document_path(execution.id, &file.file.file);
        let document = Document::new(path, file.file.bytes, file.file.sha256.clone());
        Some((Destination::webhook(file.webhook.as_deref()?), document))
    };
    execution.files.iter().filter_map(post).collect()
}
