//! What webhooks get of executions.

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::{ExecutionArchive, ExecutorError};
use crate::asset::EXECUTIONS;
use crate::execution::ExecutionId;

impl ExecutionArchive {
    /// The body for the file at `path` below the storage folder: what the step wrote, and of which execution it is. `None`
    /// where that is gone. Blocks.
    ///
    /// # Errors
    /// When the disk fails, or a file is damaged.
    pub fn post(&self, path: &str) -> Result<Option<Map<String, Value>>> {
        let Some((id, name)) = parts(path) else { return Ok(None) };
        let execution = match self.read(id) {
            Ok(execution) => execution,
            Err(ExecutorError::Unknown) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(file) = self.file(&execution, name) else { return Ok(None) };
        let text = match std::fs::read(&file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("read {}", file.display()))?,
        };
        let mut body: Map<String, Value> =
            serde_json::from_slice(&text).with_context(|| format!("read {}", file.display()))?;
        let of = [
            ("execution", json!(execution.id)),
            ("pipeline", json!(execution.pipeline)),
            ("owner", json!(execution.owner)),
            ("created", json!(execution.created)),
        ];
        body.extend(of.map(|(name, value)| (name.to_owned(), value)));
        Ok(Some(body))
    }
}

/// The execution and the name of the file at `path`.
fn parts(path: &str) -> Option<(ExecutionId, &str)> {
    let (id, name) = path.strip_prefix(EXECUTIONS)?.strip_prefix('/')?.split_once('/')?;
    Some((id.parse().ok()?, name))
}
