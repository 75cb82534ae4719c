//! What a camera's pipeline keeps: an execution that is over when it comes in.

use std::collections::BTreeMap;
use std::time::Duration;

use super::results::{self, Results, milliseconds};
use super::{ExecutionService, blocking};
use crate::block::{Effect, Outcome, StepEffect};
use crate::execution::{CAMERA, ExecutionState};
use crate::executor::{Finished, GivenFile, NewExecution};
use crate::service::loaded_pipeline::LoadedPipeline;

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

impl ExecutionService {
    /// Keeps an outcome of a camera's pipeline, and puts its photos into the library.
    pub(in crate::service) async fn keep_outcome(
        &self,
        pipeline: &LoadedPipeline,
        outcome: &Outcome,
        OfCamera { camera, picture, took }: OfCamera<'_>,
    ) -> Result<(), String> {
        let written = results::write(outcome, &|| None);
        let Results { outputs, files, steps } = written.map_err(|error| error.to_string())?;
        let (name, media_type) = (format!("{camera}.jpg"), "image/jpeg".to_owned());
        let file = GivenFile { name, media_type, extension: "jpg", bytes: picture.into() };
        let new = NewExecution {
            pipeline: pipeline.named.clone(),
            definition: pipeline.definition.clone(),
            parameters: pipeline.asked.parameters.clone(),
            inputs: BTreeMap::from([(pipeline.input.clone(), file)]),
            owner: format!("{CAMERA}{camera}").into(),
            idempotency_key: None,
            batch: None,
        };
        let state = ExecutionState::Finished;
        let finished = Finished { state, took_ms: Some(milliseconds(took)), outputs, files, steps, failure: None };
        let archive = self.archive();
        let execution = blocking(move || archive.accept_finished(new, finished)).await.map_err(|e| e.to_string())?;
        // Its alerts are events of the camera, with its video.
        let is_photo = |of_step: &&StepEffect| matches!(of_step.effect, Effect::Photo { .. });
        let photos: Vec<StepEffect> = outcome.effects.iter().filter(is_photo).cloned().collect();
        self.carry_out(&execution, &photos).await
    }
}
