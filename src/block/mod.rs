//! Blocks: what the steps of pipelines do, and how a pipeline is checked and run.
//!
//! A block is a pure function from typed inputs and parameters to typed outputs (`Block`); each is one file in `blocks/`
//! with its tests, and its `Spec` is what editor, documentation and check know of it. What a pipeline does to the world
//! (a kept picture, an alert) is an [`Effect`] that it returns; the service that runs it carries effects out once.
//!
//! # Lists
//! A block may give a list (`crop_objects` gives a picture for each object). A step that is fed by one runs once for each
//! item, and gives a list in turn; an empty list is a result like any other. Blocks that take a list as a whole (`merge`,
//! `stitch`) end it. Where a value is missing (`condition` holds it back), the steps that need it are passed over,
//! also those whose input need not be connected, but is; `first` takes what is there.

mod blocks;
mod check;
mod coded;
mod context;
mod effect;
mod expression;
#[cfg(test)]
pub(crate) mod fixture;
mod held;
mod input;
mod lettering;
mod outcome;
mod output;
mod pixels;
mod plan;
mod run;
mod schema;
mod settings;
mod spec;
#[cfg(test)]
mod tests;
mod value;

pub use check::StepError;
pub use context::{BrokenOff, Context, Memory, Models, ModelsError};
pub use effect::{Effect, StepEffect};
pub use plan::Plan;
pub use run::{Outcome, RunError, StepRun};
pub use schema::{BlockDescription, describe_blocks};
pub use value::{Encoded, Image, Item, Object, Objects, Region, Table, TableCell, Value, short};

use input::Input;
use output::{BlockError, Output};
use settings::Settings;
use spec::Spec;

/// A kind of step.
trait Block: Send + Sync {
    /// What it is, takes and gives.
    fn spec(&self) -> &'static Spec;

    /// What is wrong with `settings` beyond what the spec says of each: field, reason and cure.
    fn check(&self, _settings: &Settings, _models: &dyn Models) -> Vec<settings::Wrong> {
        Vec::new()
    }

    /// Does its work on one set of values.
    ///
    /// # Errors
    /// Why it cannot, for the person who runs the pipeline.
    fn run(&self, input: &Input<'_>, context: &Context<'_>) -> Result<Output, BlockError>;
}

/// The block of this name and version; `None` where there is none.
fn find(name: &str, version: u32) -> Option<&'static dyn Block> {
    blocks::ALL.iter().copied().find(|block| block.spec().name == name && block.spec().version == version)
}
