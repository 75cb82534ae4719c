//! What blocks need beside their inputs: models, the time, and what they remember from one run to the next.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::output::BlockError;
use crate::clock::{Moment, Mono};
use crate::detection::Detection;
use crate::execution::FailureReason;
use crate::frame::Rgb;

/// Why a model gives no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ModelsError {
    /// What happened, and what to do.
    pub message: String,
    /// The same may work later: the box has too much to do, or stops.
    pub is_transient: bool,
}

/// What blocks use of the box: its models, and its webhooks.
pub trait Models: Send + Sync {
    /// Names of all that are installed.
    fn installed(&self) -> Vec<String>;

    /// The labels that a model can give; `None` where that is not known.
    fn labels(&self, model: &str) -> Option<Vec<Arc<str>>>;

    /// Whether a model says what a picture shows as a whole, not where; `None` where that is not known.
    fn classifies(&self, _model: &str) -> Option<bool> {
        None
    }

    /// Names of the webhooks of the configuration.
    fn webhooks(&self) -> Vec<String> {
        Vec::new()
    }

    /// What a model sees in a picture, best first, at least `min_score` (0 to 1). Blocks.
    ///
    /// # Errors
    /// Why it gives no answer.
    fn detect(&self, model: &str, picture: Arc<Rgb>, min_score: f32) -> Result<Vec<Detection>, ModelsError>;
}

/// What steps remember from one run of their pipeline to the next, by step.
#[derive(Default)]
pub struct Memory(Mutex<BTreeMap<String, Box<dyn Any + Send>>>);

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memory").field("steps", &self.0.lock().keys().collect::<Vec<_>>()).finish()
    }
}

/// What a run of a pipeline works with.
pub struct Context<'a> {
    /// The models.
    pub models: &'a dyn Models,
    /// What its steps remember.
    pub memory: &'a Memory,
    /// When its picture was taken, or came, on the boot clock.
    pub at: Mono,
    /// The same on the wall.
    pub moment: Moment,
    /// Whether it is to be broken off, because it is cancelled or takes too long; asked between steps.
    pub is_over: &'a (dyn Fn() -> Option<BrokenOff> + Send + Sync),
    /// The step that runs.
    pub(super) step: &'a str,
}

/// Why a run is broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokenOff {
    /// Its owner does not want a result any more.
    Cancelled,
    /// It took too long.
    TooSlow,
    /// The process ends.
    Stopping,
}

impl<'a> Context<'a> {
    /// A context for a picture that came at `at`.
    pub fn new(
        models: &'a dyn Models,
        memory: &'a Memory,
        at: Mono,
        moment: Moment,
        is_over: &'a (dyn Fn() -> Option<BrokenOff> + Send + Sync),
    ) -> Self {
        Self { models, memory, at, moment, is_over, step: "" }
    }

    /// The same for a step.
    pub(super) fn of_step<'s>(&'s self, step: &'s str) -> Context<'s> {
        let Context { models, memory, at, is_over, .. } = *self;
        Context { models, memory, at, moment: self.moment.clone(), is_over, step }
    }

    /// Calls `with` with what this step remembers.
    pub(super) fn remember<T: Default + Send + 'static, R>(&self, with: impl FnOnce(&mut T) -> R) -> R {
        let mut memory = self.memory.0.lock();
        let of_step = memory.entry(self.step.to_owned()).or_insert_with(|| Box::<T>::default());
        match of_step.downcast_mut() {
            Some(known) => with(known),
            None => {
                // Another block had this name before the pipeline was changed.
                let mut fresh = T::default();
                let done = with(&mut fresh);
                *of_step = Box::new(fresh);
                done
            }
        }
    }

    /// What a model sees.
    pub(super) fn detect(&self, model: &str, picture: Arc<Rgb>, min_score: f32) -> Result<Vec<Detection>, BlockError> {
        self.models.detect(model, picture, min_score).map_err(|error| BlockError {
            reason: FailureReason::Model,
            message: error.message,
            is_transient: error.is_transient,
        })
    }
}
