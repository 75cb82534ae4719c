//! Pipelines of cameras: which one a camera runs, and what is kept of its pictures.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::executions::{ExecutionService, OfCamera};
use super::loaded_pipeline::{LoadedPipeline, PipelineLoader};
use super::models::ModelService;
use super::pipelines::PipelineService;
use crate::block::{Models, Outcome, Plan};
use crate::execution::{CameraPipeline, Kind, PipelineVersion};

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

    /// For pipelines that are tried against recordings: cameras and people go first. To be made within the runtime.
    pub(super) fn for_trials(pipelines: PipelineService, executions: ExecutionService, models: &ModelService) -> Self {
        Self { models: Arc::new(models.for_blocks()), ..Self::new(pipelines, executions, models) }
    }

    /// Keeps an outcome as an execution that is over, with its files and photos, as if the camera had sent its picture. Blocks.
    ///
    /// # Errors
    /// Why it is not kept, in words for the operator.
    pub fn keep(&self, pipeline: &LoadedPipeline, outcome: &Outcome, of: OfCamera<'_>) -> Result<(), String> {
        self.runtime.block_on(self.executions.keep_outcome(pipeline, outcome, of))
    }
}

impl PipelineLoader for CameraPipelines {
    fn models(&self) -> &dyn Models {
        &*self.models
    }

    fn load(&self, asked: &CameraPipeline, known: Option<&PipelineVersion>) -> Result<Option<LoadedPipeline>, String> {
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
}
