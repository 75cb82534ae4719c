//! Taking in an execution: written beside, then moved to its place, then recorded.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::finish::{Finished, MadeFile};
use super::key::Sent;
use super::layout::{ExecutionLayout, remove, unwritten, write_new, written};
use super::removal::Spared;
use super::{ExecutionArchive, ExecutorError};
use crate::asset::{EXECUTION_SIDECAR, MediaFile};
use crate::durable;
use crate::execution::{
    Execution, ExecutionFile, ExecutionId, ExecutionState, Pipeline, PipelineVersion, SCHEMA_VERSION,
};
use crate::frame::is_cut_off;

/// A picture that comes with an execution.
#[derive(Clone, Debug)]
pub struct GivenFile {
    /// Its name as its sender gave it.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// The extension of such files.
    pub extension: &'static str,
    /// Its content.
    pub bytes: Bytes,
}

/// An execution that is to be taken in.
#[derive(Clone, Debug)]
pub struct NewExecution {
    /// Which pipeline it runs.
    pub pipeline: PipelineVersion,
    /// That pipeline.
    pub definition: Arc<Pipeline>,
    /// Values of the pipeline's parameters that differ from their defaults.
    pub parameters: BTreeMap<String, Value>,
    /// The pictures, by the pipeline's inputs.
    pub inputs: BTreeMap<String, GivenFile>,
    /// The user or key that gave it.
    pub owner: Arc<str>,
    /// The key by which its sender may send it twice.
    pub idempotency_key: Option<String>,
    /// The executions that are given together with it have the same.
    pub batch: Option<ExecutionId>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Accepted {
    /// It was taken in.
    New(Execution),
    /// It came under the same key before.
    Known(Execution),
}

impl Accepted {
    /// The execution.
    pub fn execution(&self) -> &Execution {
        match self {
            Self::New(execution) | Self::Known(execution) => execution,
        }
    }
}

/// A folder for what is needed while an execution runs.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays goes at the next start.
        let _ = remove(&self.0);
    }
}

impl ExecutionArchive {
    /// An id that no other asset has.
    pub fn next_id(&self) -> ExecutionId {
        self.archive.next_id()
    }

    /// A folder for what is needed while an execution runs; it goes with what is returned. Blocks.
    ///
    /// # Errors
    /// When the volume is away or the disk refuses.
    pub fn scratch(&self, id: ExecutionId) -> Result<Scratch, ExecutorError> {
        let incoming = self.layout.create(&self.layout.incoming())?;
        let folder = incoming.join(format!("{id}.run"));
        fs::create_dir_all(&folder).with_context(|| format!("make folder {}", folder.display())).map_err(unwritten)?;
        Ok(Scratch(folder))
    }

    /// Takes in an execution; when it returns, it is durable. Two with one key must not be given at once. Blocks.
    ///
    /// # Errors
    /// [`ExecutorError::Away`], [`ExecutorError::Full`], [`ExecutorError::NoRoom`], [`ExecutorError::TooMany`],
    /// [`ExecutorError::KeyReused`]; else when index or disk fail.
    pub fn accept(&self, new: NewExecution) -> Result<Accepted, ExecutorError> {
        let executions = self.archive.store().executions();
        if let Some(key) = &new.idempotency_key
            && let Some(known) = self.with_key(&new.owner, key, &Sent::from(&new))?
        {
            return Ok(Accepted::Known(known));
        }
        self.check_room()?;
        self.make_room(new.inputs.values().map(|file| file.bytes.len() as u64).sum(), Spared::Undelivered)?;
        let usage = executions.usage().wait()?;
        if usage.open >= self.config.max_waiting {
            return Err(ExecutorError::TooMany { waiting: usage.open, most: self.config.max_waiting });
        }
        let (execution, files) = self.execution(new);
        put_beside(&self.layout, &execution, &files).map_err(unwritten)?;
        // Before its folder has its place: after a stop in between, who sends it again finds it by its key.
        executions.record(&execution, Vec::new()).inspect_err(|_| {
            let _ = remove(&self.layout.beside(execution.id));
        })?;
        place(&self.layout, execution.id).map_err(unwritten).inspect_err(|_| {
            // It was not acknowledged; what stays goes at the next start.
            let _ = executions.forget(execution.id, None, Vec::new());
            let _ = remove(&self.layout.beside(execution.id));
        })?;
        Ok(Accepted::New(execution))
    }

    /// Takes in an execution that ran elsewhere, on a camera's picture, with what came of it; durable when it returns, and so is
    /// its delivery. Blocks.
    ///
    /// # Errors
    /// [`ExecutorError::Away`], [`ExecutorError::Full`], [`ExecutorError::NoRoom`]; else when index or disk fail.
    pub fn accept_finished(&self, new: NewExecution, finished: Finished) -> Result<Execution, ExecutorError> {
        self.check_room()?;
        let made = finished.files.iter().map(|file| file.bytes.len() as u64);
        let bytes = new.inputs.values().map(|file| file.bytes.len() as u64).chain(made).sum();
        // A camera goes on, and what it saw last is of more use.
        self.make_room(bytes, Spared::UndeliveredOfPeople)?;
        let (execution, mut files) = self.execution(new);
        let (mut made, mut contents) = (Vec::new(), Vec::new());
        for MadeFile { name, media_type, bytes, kept, webhook } in finished.files {
            let content = Bytes::from_owner(bytes);
            let file = MediaFile::new(name.clone(), content.len() as u64, hex::encode(Sha256::digest(&content)));
            made.push(ExecutionFile { file, media_type, name: String::new(), kept, webhook });
            contents.push((name, content));
        }
        files.append(&mut contents);
        let over = Execution {
            state: finished.state,
            attempts: 1,
            ended: Some(self.archive.now()),
            took_ms: finished.took_ms,
            outputs: finished.outputs,
            files: made,
            steps: finished.steps,
            failure: finished.failure,
            ..execution
        };
        put_beside(&self.layout, &over, &files).map_err(unwritten)?;
        // Where a stop comes in between, the next start finds it at its place.
        place(&self.layout, over.id).map_err(unwritten).inspect_err(|_| {
            let _ = remove(&self.layout.beside(over.id));
        })?;
        self.complete(&over)?;
        Ok(over)
    }

    fn execution(&self, new: NewExecution) -> (Execution, Vec<(String, Bytes)>) {
        let (mut inputs, mut files, mut warnings) = (BTreeMap::new(), Vec::new(), Vec::new());
        for (name, GivenFile { name: given, media_type, extension, bytes }) in new.inputs {
            if is_cut_off(&bytes) {
                warnings.push(format!("{name}: the JPEG breaks off, and what is missing of the picture is grey"));
            }
            let file = format!("input-{name}.{extension}");
            let media = MediaFile::new(file.clone(), bytes.len() as u64, hex::encode(Sha256::digest(&bytes)));
            inputs.insert(name, ExecutionFile { file: media, media_type, name: given, kept: false, webhook: None });
            files.push((file, bytes));
        }
        let execution = Execution {
            version: SCHEMA_VERSION,
            id: self.next_id(),
            pipeline: new.pipeline,
            definition: new.definition,
            parameters: new.parameters,
            inputs,
            owner: new.owner,
            idempotency_key: new.idempotency_key,
            batch: new.batch,
            created: self.archive.now(),
            state: ExecutionState::Queued,
            attempts: 0,
            ended: None,
            took_ms: None,
            outputs: BTreeMap::new(),
            files: Vec::new(),
            steps: Vec::new(),
            failure: None,
            warnings,
        };
        (execution, files)
    }
}

/// Writes all files of an execution beside its place.
fn put_beside(layout: &ExecutionLayout, execution: &Execution, files: &[(String, Bytes)]) -> Result<()> {
    layout.create(&layout.incoming())?;
    let beside = layout.beside(execution.id);
    let write = || {
        fs::create_dir(&beside).with_context(|| format!("make folder {}", beside.display()))?;
        files.iter().try_for_each(|(name, bytes)| write_new(&beside.join(name), bytes))?;
        write_new(&beside.join(EXECUTION_SIDECAR), &written(execution)?)?;
        durable::sync_folder(&beside).with_context(|| format!("sync {}", beside.display()))?;
        durable::sync_folder(&layout.incoming()).with_context(|| format!("sync {}", layout.incoming().display()))
    };
    write().inspect_err(|_| {
        // It was not acknowledged.
        let _ = remove(&beside);
    })
}

/// Gives an execution that lies beside its place that place.
pub(super) fn place(layout: &ExecutionLayout, id: ExecutionId) -> Result<()> {
    let (beside, folder) = (layout.beside(id), layout.folder(id));
    fs::rename(&beside, &folder).with_context(|| format!("rename {}", beside.display()))?;
    durable::sync_folder(&layout.root()).with_context(|| format!("sync {}", layout.root().display()))
}
