//! Removing executions: by a person, by age, or for room.

use std::time::Duration;

use tracing::warn;

use super::layout::{document_path, remove};
use super::{ExecutionArchive, ExecutorError};
use crate::asset::EXECUTION_SIDECAR;
use crate::clock::TimeQuality;
use crate::execution::{Execution, ExecutionId, ExecutionSummary};
use crate::store::Document;

/// Executions that are looked at at once.
const PAGE: usize = 200;

impl ExecutionArchive {
    /// Deletes an execution that is over, here and in the cloud. Blocks.
    ///
    /// # Errors
    /// [`ExecutorError::Unknown`], [`ExecutorError::Refused`] where it is not over; else when index or disk fail.
    pub fn delete(&self, id: ExecutionId) -> Result<(), ExecutorError> {
        let execution = self.read(id)?;
        if !execution.state.is_over() {
            return Err(ExecutorError::Refused("the execution is not over: cancel it first".to_owned()));
        }
        let removals = delivered(&execution).map(|name| Document::removal(document_path(id, &name))).collect();
        self.remove(id, execution.idempotency_key, removals)
    }

    /// Removes executions that are over: those that are older than they may be, and the oldest until all fit. What was
    /// delivered stays where it is. Blocks. Returns how many went.
    ///
    /// # Errors
    /// When index or disk fail.
    pub fn expire(&self) -> Result<u64, ExecutorError> {
        let executions = self.archive.store().executions();
        let (mut removed, mut after) = (0, None);
        let mut bytes = executions.usage().wait()?.bytes;
        loop {
            let page = executions.by_id(after, PAGE).wait()?;
            let Some(last) = page.last() else { return Ok(removed) };
            after = Some(last.id);
            for summary in page {
                let is_full = bytes > self.config.max_bytes;
                let is_old = self.is_old(&summary);
                if !is_full && !is_old && !summary.state.is_over() {
                    continue;
                }
                if !is_full && !is_old {
                    // Those behind it are younger.
                    return Ok(removed);
                }
                if summary.state.is_over() {
                    self.evict(&summary)?;
                    (bytes, removed) = (bytes.saturating_sub(summary.bytes), removed + 1);
                }
            }
        }
    }

    /// Whether it is over for longer than it is kept, by a clock that is known to be right.
    fn is_old(&self, summary: &ExecutionSummary) -> bool {
        let (Some(keep), Some(ended)) = (self.config.keep(), &summary.ended) else { return false };
        let now = self.archive.now();
        let is_known = |quality: TimeQuality| quality == TimeQuality::Synchronised;
        let age = now.wall.duration_since(ended.wall);
        is_known(now.time_quality)
            && is_known(ended.time_quality)
            && Duration::try_from(age).is_ok_and(|age| age > keep)
    }

    fn evict(&self, summary: &ExecutionSummary) -> Result<(), ExecutorError> {
        let key = match self.read(summary.id) {
            Ok(execution) => execution.idempotency_key,
            Err(ExecutorError::Unknown) => None,
            Err(error) => {
                warn!(execution = %summary.id, %error, "an execution that is removed cannot be read");
                None
            }
        };
        self.remove(summary.id, key, Vec::new())
    }

    fn remove(&self, id: ExecutionId, key: Option<String>, removals: Vec<Document>) -> Result<(), ExecutorError> {
        // Where it is neither shown nor taken in again; a row without a folder goes at the next start.
        let folder = self.layout.folder(id);
        self.layout.create(&self.layout.incoming())?;
        let beside = self.layout.beside(id);
        match std::fs::rename(&folder, &beside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(anyhow::Error::new(error).context(format!("rename {}", folder.display())))?;
            }
            _ => {}
        }
        crate::durable::sync_folder(&self.layout.root()).map_err(anyhow::Error::new)?;
        self.archive.store().executions().forget(id, key, removals)?;
        Ok(remove(&beside)?)
    }
}

/// Names of the files that destinations may have.
fn delivered(execution: &Execution) -> impl Iterator<Item = String> {
    let kept: Vec<String> =
        execution.files.iter().filter(|file| file.kept).map(|file| file.file.file.clone()).collect();
    let sidecar = (!kept.is_empty()).then(|| EXECUTION_SIDECAR.to_owned());
    kept.into_iter().chain(sidecar)
}
