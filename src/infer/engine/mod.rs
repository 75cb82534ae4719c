//! What runs a model: numbers in, numbers out.

mod graph;
mod inputs;
#[cfg(test)]
mod tests;
pub(super) mod tract;

use tract_onnx::prelude::TractError;

use super::InferError;

/// One output tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Length of each axis.
    pub shape: Vec<usize>,
    /// The numbers; as many as the product of `shape`.
    pub data: Vec<f32>,
}

/// Name and shape of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputInfo {
    /// Name in the model.
    pub name: String,
    /// Length of each axis.
    pub shape: Vec<usize>,
}

/// What a loaded engine takes and gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Name of the engine, for people.
    pub engine: &'static str,
    /// Shape of the input.
    pub input: Vec<usize>,
    /// The outputs, in the model's order.
    pub outputs: Vec<OutputInfo>,
}

/// A loaded model. May be run from several threads at once.
pub trait Engine: Send + Sync {
    /// Runs the model once. `input` is row-major and has the shape that [`Engine::describe`] gives.
    ///
    /// # Errors
    /// When the input has another length, or the engine fails.
    fn run(&self, input: &[f32]) -> Result<Vec<Output>, InferError>;

    /// What it takes and gives.
    fn describe(&self) -> Description;
}

/// tract's errors are chains of several lines; a log line or a message holds one.
fn one_line(error: &TractError) -> String {
    let text = format!("{error:#}");
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(400).collect()
}
