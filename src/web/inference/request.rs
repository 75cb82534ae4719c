//! What is asked by whatever protocol, what is answered, and why there is no answer.

use std::collections::BTreeMap;

use serde_json::Value;

use super::tensor::Tensor;
use crate::service::ModelRefusal;

/// What is asked.
#[derive(Clone, Debug, Default)]
pub(super) struct InferRequest {
    pub(super) model: String,
    pub(super) version: String,
    pub(super) id: String,
    /// `min_score` of a model, or the parameters of a pipeline.
    pub(super) parameters: BTreeMap<String, Value>,
    pub(super) inputs: Vec<Tensor>,
    /// Names of the outputs that are wanted; none for all.
    pub(super) outputs: Vec<String>,
}

/// What is answered.
#[derive(Clone, Debug)]
pub(super) struct InferAnswer {
    pub(super) model: String,
    pub(super) version: String,
    pub(super) id: String,
    pub(super) outputs: Vec<Tensor>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no such model.
    NotFound(String),
    /// What is asked makes no sense.
    Invalid(String),
    /// It may be answered later.
    Busy(String),
    /// It cannot be answered.
    Failed(String),
}

impl Refusal {
    pub(super) fn message(&self) -> &str {
        match self {
            Self::NotFound(message) | Self::Invalid(message) | Self::Busy(message) | Self::Failed(message) => message,
        }
    }
}

impl From<ModelRefusal> for Refusal {
    fn from(refusal: ModelRefusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            ModelRefusal::Unknown(_) => Self::NotFound(message),
            ModelRefusal::Picture(_) | ModelRefusal::Tensor(_) => Self::Invalid(message),
            ModelRefusal::Busy(_) | ModelRefusal::Stopping => Self::Busy(message),
            ModelRefusal::Unusable(_) => Self::Failed(message),
        }
    }
}
