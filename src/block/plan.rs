//! A pipeline that was checked, with its steps in the order in which they run.

use super::Block;
use super::settings::Settings;
use crate::execution::Kind;

/// A pipeline that can be run. Immutable; what its steps remember lies in [`super::Memory`].
pub struct Plan {
    pub(super) name: String,
    pub(super) steps: Vec<Step>,
    pub(super) outputs: Vec<PlanOutput>,
    /// Names of its inputs.
    pub(super) inputs: Vec<String>,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plan({}, {} steps)", self.name, self.steps.len())
    }
}

impl Plan {
    /// Names of the inputs that it needs.
    pub fn inputs(&self) -> &[String] {
        &self.inputs
    }

    /// Names of the models that its steps use.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|step| step.settings.text("model")).filter(|model| !model.is_empty())
    }

    /// Its outputs, and what each is, or is a list of.
    pub fn outputs(&self) -> impl Iterator<Item = (&str, Kind)> {
        self.outputs.iter().map(|output| (output.name.as_str(), output.kind))
    }

    /// The name of the pipeline.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// What the pipeline gives under a name.
pub(super) struct PlanOutput {
    pub(super) name: String,
    pub(super) source: Source,
    pub(super) kind: Kind,
}

/// One step.
pub(super) struct Step {
    pub(super) id: String,
    pub(super) block: &'static dyn Block,
    pub(super) settings: Settings,
    pub(super) inputs: Vec<StepInput>,
    /// Levels of lists that it goes through item by item.
    pub(super) levels: usize,
    /// Names of its outputs.
    pub(super) outputs: Vec<&'static str>,
}

/// An input that is connected.
pub(super) struct StepInput {
    pub(super) port: &'static str,
    pub(super) source: Source,
    /// Levels of lists of it that the step goes through item by item.
    pub(super) levels: usize,
    /// It takes the level below as a whole.
    pub(super) list: bool,
    /// The step is passed over where it holds nothing.
    pub(super) required: bool,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// An input of the pipeline.
    Input(String),
    /// The step at this place in order, and which output of it.
    Step(usize, &'static str),
}
