//! The models of the box, as the steps of pipelines use them.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::model_facts::ModelRefusal;
use super::models::ModelService;
use crate::block::{Models, ModelsError};
use crate::detection::Detection;
use crate::frame::Rgb;
use crate::infer::Priority;

/// The models, for threads that wait.
pub(super) struct BlockModels {
    models: ModelService,
    /// Where what is waited for runs.
    runtime: Handle,
    priority: Priority,
}

impl ModelService {
    /// The models, for steps of pipelines; to be called within the runtime, or on its threads that wait.
    pub(super) fn for_blocks(&self) -> BlockModels {
        BlockModels { models: self.clone(), runtime: Handle::current(), priority: Priority::Program }
    }

    /// The same for pipelines of cameras, whose pictures are worth nothing in a second.
    pub(super) fn for_cameras(&self) -> BlockModels {
        BlockModels { priority: Priority::Camera, ..self.for_blocks() }
    }
}

impl Models for BlockModels {
    fn installed(&self) -> Vec<String> {
        self.models.installed()
    }

    fn labels(&self, model: &str) -> Option<Vec<Arc<str>>> {
        self.models.labels_of(model)
    }

    fn classifies(&self, model: &str) -> Option<bool> {
        self.models.classifies(model)
    }

    fn webhooks(&self) -> Vec<String> {
        self.models.webhooks()
    }

    fn detect(&self, model: &str, picture: Arc<Rgb>, min_score: f32) -> Result<Vec<Detection>, ModelsError> {
        let found = self.runtime.block_on(self.models.look_for_step(model, picture, min_score, self.priority));
        found.map_err(|refusal| ModelsError {
            is_transient: matches!(refusal, ModelRefusal::Busy(_) | ModelRefusal::Stopping),
            message: refusal.to_string(),
        })
    }
}
