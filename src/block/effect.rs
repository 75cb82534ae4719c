//! What a pipeline does to the world, carried out once by the service that runs it.

use std::sync::Arc;

use super::value::Encoded;

/// An effect, and the step that it is of.
#[derive(Clone, Debug)]
pub struct StepEffect {
    /// The step.
    pub step: String,
    /// What is to be done.
    pub effect: Effect,
}

/// Something that is to be done because of a step.
#[derive(Clone, Debug)]
pub enum Effect {
    /// A file is kept with the execution, and delivered.
    Keep {
        /// Name of the file without its extension.
        name: String,
        /// Its content.
        file: Arc<Encoded>,
    },
    /// A picture becomes a photo of the library.
    Photo {
        /// The picture.
        file: Arc<Encoded>,
        /// Tags that it gets.
        tags: Vec<String>,
    },
    /// A receiver gets values.
    Post {
        /// The receiver: name of a webhook of the configuration.
        webhook: String,
        /// What it gets, as JSON.
        body: serde_json::Value,
    },
    /// People are alerted.
    Alert {
        /// What it says.
        message: String,
        /// A picture beside it.
        picture: Option<Arc<Encoded>>,
    },
}

impl Effect {
    /// Whether it is kept with an execution, or leaves the box by one.
    pub fn is_kept(&self) -> bool {
        matches!(self, Self::Keep { .. } | Self::Photo { .. } | Self::Post { .. })
    }
}
