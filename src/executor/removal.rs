//! Removing executions: by a person, by age, or for room.

use std::time::Duration;

use tracing::warn;

use super::layout::{document_path, remove};
use super::{ExecutionArchive, ExecutorError};
use crate::asset::EXECUTION_SIDECAR;
use crate::clock::TimeQuality;
use crate::execution::{CAMERA, Execution, ExecutionId, ExecutionSummary};
use crate::store::Document;

/// Executions that are looked at at once.
const PAGE: usize = 200;

/// What is not removed for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spared {
    /// What a destination is still to get.
    Undelivered,
    /// The same, but for what pipelines of cameras kept.
    UndeliveredOfPeople,
}

/// How old an execution is.
enum Age {
    /// Older than it may be.
    Old,
    Young,
    /// The clock was not known to be right when it ended.
    Unknown,
}

/// What a removal left.
struct Left {
    bytes: u64,
    removed: u64,
}

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

    /// Removes executions that are over: those that are older than they may be, and the oldest until all fit; but none that
    /// a destination is still to get something of. What was delivered stays where it is. Blocks. Returns how many went.
    ///
    /// # Errors
    /// When index or disk fail.
    pub fn expire(&self) -> Result<u64, ExecutorError> {
        Ok(self.expire_for(0, Spared::Undelivered)?.removed)
    }

    /// Makes room for `bytes` more. Blocks.
    ///
    /// # Errors
    /// [`ExecutorError::NoRoom`] where there is none; else when index or disk fail.
    pub(super) fn make_room(&self, bytes: u64, spared: Spared) -> Result<(), ExecutorError> {
        let most = self.config.max_bytes;
        let used = self.archive.store().executions().usage().wait()?.bytes;
        if used.saturating_add(bytes) <= most {
            return Ok(());
        }
        let Left { bytes, .. } = self.expire_for(bytes, spared)?;
        if bytes <= most { Ok(()) } else { Err(ExecutorError::NoRoom { bytes, most }) }
    }

    fn expire_for(&self, more: u64, spared: Spared) -> Result<Left, ExecutorError> {
        let executions = self.archive.store().executions();
        let bytes = executions.usage().wait()?.bytes.saturating_add(more);
        let (mut left, mut after) = (Left { bytes, removed: 0 }, None);
        // Over at times that are not known: as old as any behind them.
        let mut undated: Vec<ExecutionSummary> = Vec::new();
        loop {
            let page = executions.by_id(after, PAGE).wait()?;
            let Some(last) = page.last() else { return Ok(left) };
            after = Some(last.id);
            for summary in page.into_iter().filter(|summary| summary.state.is_over()) {
                match (self.age(&summary), left.bytes > self.config.max_bytes) {
                    // Those behind it are younger.
                    (Age::Young, false) => return Ok(left),
                    (Age::Unknown, false) => undated.push(summary),
                    (Age::Old, _) => {
                        for summary in undated.drain(..).chain([summary]) {
                            self.evict_unless(spared, &summary, &mut left)?;
                        }
                    }
                    (Age::Young | Age::Unknown, true) => self.evict_unless(spared, &summary, &mut left)?,
                }
            }
        }
    }

    /// How old it is, by a clock that is known to be right.
    fn age(&self, summary: &ExecutionSummary) -> Age {
        let now = self.archive.now();
        let is_known = |quality: TimeQuality| quality == TimeQuality::Synchronised;
        let (Some(keep), true) = (self.config.keep(), is_known(now.time_quality)) else { return Age::Young };
        let Some(ended) = summary.ended.as_ref().filter(|ended| is_known(ended.time_quality)) else {
            return Age::Unknown;
        };
        let age = now.wall.duration_since(ended.wall);
        if Duration::try_from(age).is_ok_and(|age| age > keep) { Age::Old } else { Age::Young }
    }

    fn evict_unless(&self, spared: Spared, summary: &ExecutionSummary, left: &mut Left) -> Result<(), ExecutorError> {
        let is_spared = spared == Spared::Undelivered || !summary.owner.starts_with(CAMERA);
        if is_spared && self.archive.store().outboxes().awaits_below(&document_path(summary.id, ""))? {
            return Ok(());
        }
        self.evict(summary)?;
        (left.bytes, left.removed) = (left.bytes.saturating_sub(summary.bytes), left.removed + 1);
        Ok(())
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
