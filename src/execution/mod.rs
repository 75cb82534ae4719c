//! Executions: pictures that people and programs give to the box, and what a pipeline made of them.
//!
//! The written form (`execution.json`, beside the pictures) is the truth; the index is made from it. Its schema is
//! versioned ([`SCHEMA_VERSION`]) and documented in docs/pipelines.md. Fields are only ever added; a reader ignores what it
//! does not know.

mod camera_pipeline;
mod pipeline;
mod report;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::asset::{AssetId, MediaFile};
use crate::clock::Moment;

pub use camera_pipeline::{CameraPipeline, PipelineMode};
pub use pipeline::{
    FORMAT, InputDefinition, Kind, LONGEST_NAME, MOST_STEPS, ParameterDefinition, Pipeline, StepDefinition, is_name,
};
pub use report::{Failure, FailureReason, StepReport};

/// Version of the written form.
pub const SCHEMA_VERSION: u32 = 1;

/// With this the owner begins of what a camera's pipeline kept; its name follows.
pub const CAMERA: &str = "camera ";

/// Identity of an execution on this box.
pub type ExecutionId = AssetId;

/// Longest name of a given picture in a list, bytes.
const LONGEST_GIVEN: usize = 100;

/// How far an execution is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionState {
    /// It waits for its turn.
    Queued,
    /// Its steps are being run. After a stop it is queued again.
    Running,
    /// It has a result.
    Finished,
    /// It has none, and `failure` says why.
    Failed,
    /// Its owner does not want a result any more.
    Cancelled,
}

impl ExecutionState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Finished, Self::Failed, Self::Cancelled];

    /// Whether it is over.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Finished | Self::Failed | Self::Cancelled)
    }

    /// Its written form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Which pipeline an execution runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineVersion {
    /// Its name; of one that came with the execution, what that says.
    pub name: String,
    /// Its version; 0 for one that came with the execution.
    pub version: u32,
}

/// A file that an execution was given, or has made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionFile {
    /// Name in the execution's folder, size and hash.
    #[serde(flatten)]
    pub file: MediaFile,
    /// Its media type.
    pub media_type: String,
    /// Its name as its sender gave it; empty for one that was made.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Whether it is delivered to the upload destinations.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
    /// The webhook that it is posted to, where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Arc<str>>,
}

/// One execution: what `execution.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Execution {
    /// Version of this form.
    pub version: u32,
    /// Its identity.
    pub id: ExecutionId,
    /// Which pipeline it runs.
    pub pipeline: PipelineVersion,
    /// That pipeline as it was then.
    pub definition: Arc<Pipeline>,
    /// Values of the pipeline's parameters that differ from their defaults.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Value>,
    /// The pictures, by the pipeline's inputs.
    pub inputs: BTreeMap<String, ExecutionFile>,
    /// The user or key that gave it.
    pub owner: Arc<str>,
    /// The key by which its sender may send it twice without two executions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The executions that were given together with it have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<ExecutionId>,
    /// When it was taken in.
    pub created: Moment,
    /// How far it is.
    pub state: ExecutionState,
    /// How often its steps were begun.
    #[serde(default)]
    pub attempts: u32,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Moment>,
    /// How long its steps took, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<f64>,
    /// What the pipeline's outputs came to: values as JSON, pictures as `{"file": NAME, "width", "height"}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, Value>,
    /// Files that it made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ExecutionFile>,
    /// What each step did.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepReport>,
    /// Why it has no result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What is wrong with its pictures although they can be decoded, in words for the person who sent them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Execution {
    /// Bytes of all its files but the written form.
    pub fn bytes(&self) -> u64 {
        self.inputs.values().chain(&self.files).map(|file| file.file.bytes).sum()
    }

    /// What the index keeps of it.
    pub fn summary(&self) -> ExecutionSummary {
        ExecutionSummary {
            id: self.id,
            pipeline: self.pipeline.clone(),
            owner: self.owner.clone(),
            batch: self.batch,
            created: self.created.clone(),
            state: self.state,
            attempts: self.attempts,
            ended: self.ended.clone(),
            took_ms: self.took_ms,
            bytes: self.bytes(),
            given: self.inputs.values().map(|file| shortened(&file.name)).find(|name| !name.is_empty()),
            failure: self.failure.clone().map(Failure::shortened),
        }
    }
}

/// As much of a name as a row of the index has room for.
fn shortened(name: &str) -> String {
    name.get(..name.floor_char_boundary(LONGEST_GIVEN)).unwrap_or_default().to_owned()
}

/// An execution in a list, and in the index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecutionSummary {
    /// Its identity.
    pub id: ExecutionId,
    /// Which pipeline it runs.
    pub pipeline: PipelineVersion,
    /// The user or key that gave it.
    pub owner: Arc<str>,
    /// The executions that were given together with it have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<ExecutionId>,
    /// When it was taken in.
    pub created: Moment,
    /// How far it is.
    pub state: ExecutionState,
    /// How often its steps were begun.
    pub attempts: u32,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Moment>,
    /// How long its steps took, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<f64>,
    /// Bytes of its files.
    #[serde(default)]
    pub bytes: u64,
    /// What its sender called its first picture, shortened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<String>,
    /// Why it has no result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}
