//! Executions that come again under their key.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{ExecutionArchive, ExecutorError, NewExecution};
use crate::execution::{Execution, Pipeline};

/// What a request says of its execution, to find out whether it is one that came before.
#[derive(Clone, Debug)]
pub struct Sent<'a> {
    /// The name of its pipeline.
    pub pipeline: &'a str,
    /// The version of that, where it names one.
    pub version: Option<u32>,
    /// The pipeline, where it brings it.
    pub definition: Option<&'a Pipeline>,
    /// Values of the pipeline's parameters.
    pub parameters: &'a BTreeMap<String, Value>,
    /// The pictures by the names under which they came; `None` for what a camera shows, which is another one each time.
    pub inputs: Vec<(&'a str, Option<Bytes>)>,
}

impl<'a> From<&'a NewExecution> for Sent<'a> {
    fn from(new: &'a NewExecution) -> Self {
        // Those of this box that come with it have no version either.
        let version = (new.pipeline.version > 0).then_some(new.pipeline.version);
        let definition = version.is_none().then_some(&*new.definition);
        let inputs = new.inputs.iter().map(|(name, file)| (name.as_str(), Some(file.bytes.clone()))).collect();
        Self { pipeline: &new.pipeline.name, version, definition, parameters: &new.parameters, inputs }
    }
}

impl Sent<'_> {
    /// Whether `known` is what is asked for.
    fn is(&self, known: &Execution) -> bool {
        let is_pipeline = known.pipeline.name == self.pipeline
            && self.version.is_none_or(|version| version == known.pipeline.version)
            && self.definition.is_none_or(|definition| *definition == *known.definition);
        is_pipeline && known.parameters == *self.parameters && self.has_pictures_of(known)
    }

    fn has_pictures_of(&self, known: &Execution) -> bool {
        let is = |name: &str, bytes: Option<&Bytes>| {
            // Senders call an only picture what they like.
            let had = if known.inputs.len() == 1 { known.inputs.values().next() } else { known.inputs.get(name) };
            had.is_some_and(|had| bytes.is_none_or(|bytes| had.file.sha256 == hex::encode(Sha256::digest(bytes))))
        };
        known.inputs.len() == self.inputs.len() && self.inputs.iter().all(|(name, bytes)| is(name, bytes.as_ref()))
    }
}

impl ExecutionArchive {
    /// The execution that `owner` sent under `key`, which must be the one that is `sent` now; `None` where there is none, or
    /// it is gone. Blocks.
    ///
    /// # Errors
    /// [`ExecutorError::Filling`], [`ExecutorError::KeyReused`]; else when index or disk fail.
    pub fn with_key(&self, owner: &str, key: &str, sent: &Sent<'_>) -> Result<Option<Execution>, ExecutorError> {
        let store = self.archive.store();
        if !store.is_filled()? {
            // What came under this key may lie on the disk, and not be in the index yet.
            return Err(ExecutorError::Filling);
        }
        let Some(id) = store.executions().with_key(owner, key).wait()? else { return Ok(None) };
        let known = match self.read(id) {
            Err(ExecutorError::Unknown) => return Ok(None),
            known => known?,
        };
        if sent.is(&known) { Ok(Some(known)) } else { Err(ExecutorError::KeyReused) }
    }
}
