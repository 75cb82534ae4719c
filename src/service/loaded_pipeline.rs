//! A pipeline of the box, ready for a camera's pictures.

use std::sync::Arc;

use crate::block::{Models, Plan};
use crate::execution::{CameraPipeline, Pipeline, PipelineVersion};

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

/// Where pipelines for cameras come from.
pub trait PipelineLoader: Send + Sync {
    /// The models, for steps.
    fn models(&self) -> &dyn Models;

    /// The pipeline that is asked for; `None` where that is `known` still. Blocks.
    ///
    /// # Errors
    /// Why there is none, in words for the operator.
    fn load(&self, asked: &CameraPipeline, known: Option<&PipelineVersion>) -> Result<Option<LoadedPipeline>, String>;
}
