//! Pipelines of cameras: which one a camera runs, and what is kept of its pictures.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::executions::ExecutionService;
use super::models::ModelService;
use super::pipelines::PipelineService;
use crate::block::{Models, Outcome, Plan};
use crate::execution::{CameraPipeline, Kind, Pipeline, PipelineVersion};

/// A pipeline that a camera's pictures can go through.
#[derive(Debug)]
pub struct LoadedPipeline {
    /// Its name and version.
    pub named: PipelineVersion,
    /// The pipeline.
    pub definition: Arc<Pipeline>,
    /// The same, checked.
    pub plan: Plan,
    /// Its input that is the camera's picture.
    pub input: String,
    /// What the camera asked for.
    pub asked: CameraPipeline,
}

/// What an outcome is kept with.
#[derive(Debug)]
pub struct OfCamera<'a> {
    /// The camera.
    pub camera: &'a str,
    /// The picture, as JPEG.
    pub picture: Vec<u8>,
    /// How long the steps took.
    pub took: Duration,
}

/// What the pipelines of cameras need of the box. Cheap to clone.
#[derive(Clone)]
pub struct CameraPipelines {
    pipelines: PipelineService,
    executions: ExecutionService,
    models: Arc<dyn Models>,
    /// Where what is waited for runs.
    runtime: Handle,
}

impl CameraPipelines {
    /// To be made within the runtime.
    pub(super) fn new(pipelines: PipelineService, executions: ExecutionService, models: &ModelService) -> Self {
        Self { pipelines, executions, models: Arc::new(models.for_cameras()), runtime: Handle::current() }
    }

    /// The models, for steps; cameras' jobs.
    pub fn models(&self) -> &dyn Models {
        &*self.models
    }

    /// The pipeline that is asked for; `None` where that is `known` still. Blocks.
    ///
    /// # Errors
    /// Why there is none, in words for the operator.
    pub fn load(
        &self,
        asked: &CameraPipeline,
        known: Option<&PipelineVersion>,
    ) -> Result<Option<LoadedPipeline>, String> {
        let version = (asked.version > 0).then_some(asked.version);
        let (named, definition) = self.pipelines.get(&asked.name, version).map_err(|error| error.to_string())?;
        if known == Some(&named) {
            return Ok(None);
        }
        let plan = Plan::new(&definition, &asked.parameters, &*self.models).map_err(|errors| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            format!("pipeline {}: {}", named.name, errors.join("; "))
        })?;
        let pictures: Vec<&String> =
            definition.inputs.iter().filter(|(_, input)| input.kind == Kind::Image).map(|(name, _)| name).collect();
        let [input] = pictures.as_slice() else {
            let (name, count) = (&named.name, pictures.len());
            return Err(format!("pipeline {name} takes {count} pictures, and a camera gives one at a time"));
        };
        let (input, asked) = ((*input).clone(), asked.clone());
        Ok(Some(LoadedPipeline { named, definition: Arc::new(definition), plan, input, asked }))
    }

    /// Keeps an outcome as an execution that is over, with its files and photos, as if the camera had sent its picture. Blocks.
    ///
    /// # Errors
    /// Why it is not kept, in words for the operator.
    pub fn keep(&self, pipeline: &LoadedPipeline, outcome: &Outcome, of: OfCamera<'_>) -> Result<(), String> {
        self.runtime.block_on(self.executions.keep_outcome(pipeline, outcome, of))
    }
}

/// Numbers and words that a pipeline gives, by the name of its output.
pub type LiveValues = BTreeMap<String, serde_json::Value>;
