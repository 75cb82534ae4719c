//! Runs a pipeline that was checked: each step once it has its inputs, over lists item by item.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::context::{BrokenOff, Context};
use super::effect::StepEffect;
use super::held::Held;
use super::input::{Given, Input};
use super::output::{BlockError, Output};
use super::plan::{Plan, PlanOutput, Source, Step};
use super::settings::Settings;
use super::value::{Item, Value};
use crate::execution::FailureReason;
use crate::supervise::panic_text;

/// Runs of blocks in one run of a pipeline: a tiling of a tiling must end somewhere.
const MOST_RUNS: u32 = 10_000;

/// Why a pipeline has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// A step failed.
    #[error("step {step}: {message}")]
    Failed {
        /// The step.
        step: String,
        /// The kind of reason.
        reason: FailureReason,
        /// What happened, and what to do.
        message: String,
        /// The same may work later.
        is_transient: bool,
    },
    /// It was broken off.
    #[error("it was broken off")]
    BrokenOff(BrokenOff),
}

/// What one step did.
#[derive(Clone, Debug)]
pub struct StepRun {
    /// The step.
    pub step: String,
    /// How often its block ran.
    pub runs: u32,
    /// How long that took in all.
    pub took: Duration,
    /// What it gave, by name.
    pub items: BTreeMap<&'static str, Item>,
}

/// What a pipeline came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Its outputs, by name.
    pub outputs: BTreeMap<String, Item>,
    /// What its steps did, in the order in which they ran.
    pub steps: Vec<StepRun>,
    /// What is to be done, in that order.
    pub effects: Vec<StepEffect>,
}

impl Plan {
    /// Runs the pipeline on `inputs`, by name. Blocks. `seen` is called with each step that is done.
    ///
    /// # Errors
    /// Why there is no result; effects of the steps before are not to be carried out then.
    pub fn run(
        &self,
        inputs: BTreeMap<String, Value>,
        context: &Context<'_>,
        mut seen: impl FnMut(&StepRun),
    ) -> Result<Outcome, RunError> {
        let mut outcome = Outcome::default();
        let (mut runs, mut held) = (0, Held::default());
        for step in &self.steps {
            if let Some(why) = (context.is_over)() {
                return Err(RunError::BrokenOff(why));
            }
            let begun = Instant::now();
            let mut of_step = Runs { runs: 0, most: MOST_RUNS - runs, effects: Vec::new(), held: &mut held };
            let sources = step.inputs.iter().map(|input| {
                let item = match &input.source {
                    Source::Input(name) => inputs.get(name).map_or(Item::Absent, |value| Item::One(value.clone())),
                    Source::Step(at, output) => {
                        outcome.steps.get(*at).and_then(|done| done.items.get(output)).cloned().unwrap_or(Item::Absent)
                    }
                };
                (input, item)
            });
            let sources: Vec<_> = sources.collect();
            let borrowed: Vec<Fed<'_>> = sources
                .iter()
                .map(|(input, item)| Fed {
                    port: input.port,
                    levels: input.levels,
                    list: input.list,
                    required: input.required,
                    item,
                })
                .collect();
            let items = of_step.level(step, &borrowed, step.levels, &context.of_step(&step.id))?;
            runs += of_step.runs;
            outcome.effects.append(&mut of_step.effects);
            let done = StepRun { step: step.id.clone(), runs: of_step.runs, took: begun.elapsed(), items };
            seen(&done);
            outcome.steps.push(done);
        }
        for PlanOutput { name, source, .. } in &self.outputs {
            let item = match source {
                Source::Input(input) => inputs.get(input).map_or(Item::Absent, |value| Item::One(value.clone())),
                Source::Step(at, output) => {
                    outcome.steps.get(*at).and_then(|done| done.items.get(output)).cloned().unwrap_or(Item::Absent)
                }
            };
            outcome.outputs.insert(name.clone(), item);
        }
        Ok(outcome)
    }
}

/// An input of a step at some level of its lists.
#[derive(Clone, Copy)]
struct Fed<'a> {
    port: &'static str,
    /// Levels of lists that the step goes through item by item.
    levels: usize,
    list: bool,
    required: bool,
    item: &'a Item,
}

/// The runs of one step.
struct Runs<'a> {
    runs: u32,
    most: u32,
    effects: Vec<StepEffect>,
    held: &'a mut Held,
}

type Items = BTreeMap<&'static str, Item>;

impl Runs<'_> {
    /// Runs the step at `levels` above its single values.
    fn level(
        &mut self,
        step: &Step,
        inputs: &[Fed<'_>],
        levels: usize,
        context: &Context<'_>,
    ) -> Result<Items, RunError> {
        if levels == 0 {
            return self.once(step, inputs, context);
        }
        // Those that have this level have the same items: the check saw to that. Where one holds nothing, none has any.
        let is_held = inputs.iter().any(|fed| fed.levels > 0 && matches!(fed.item, Item::Absent));
        let length = inputs.iter().filter(|fed| fed.levels > 0).find_map(|fed| match fed.item {
            Item::Many(items) => Some(items.len()),
            _ => None,
        });
        let Some(length) = length.filter(|_| !is_held) else { return Ok(absent(step)) };
        let mut all: BTreeMap<&'static str, Vec<Item>> =
            step.outputs.iter().map(|name| (*name, Vec::with_capacity(length))).collect();
        for at in 0..length {
            let items: Vec<Fed<'_>> = inputs
                .iter()
                .map(|fed| match fed.item {
                    Item::Many(items) if fed.levels > 0 => {
                        Fed { levels: fed.levels - 1, item: items.get(at).unwrap_or(&Item::Absent), ..*fed }
                    }
                    _ => *fed,
                })
                .collect();
            let mut done = self.level(step, &items, levels - 1, context)?;
            for (name, list) in &mut all {
                list.push(done.remove(name).unwrap_or(Item::Absent));
            }
        }
        Ok(all.into_iter().map(|(name, items)| (name, Item::Many(items))).collect())
    }

    /// Runs the block on single values.
    fn once(&mut self, step: &Step, inputs: &[Fed<'_>], context: &Context<'_>) -> Result<Items, RunError> {
        let mut values = BTreeMap::new();
        for fed in inputs {
            let given = match fed.item {
                Item::Absent => None,
                Item::One(value) if fed.list => Some(Given::Many(vec![value])),
                Item::One(value) => Some(Given::One(value)),
                item @ Item::Many(_) => Some(Given::Many(item.values())),
            };
            match given {
                Some(given) => {
                    values.insert(fed.port, given);
                }
                None if fed.required => return Ok(absent(step)),
                None => {}
            }
        }
        if self.runs >= self.most {
            let message = format!("its lists are too long: {MOST_RUNS} runs of blocks in one execution are the most");
            return Err(failed(step, BlockError::too_large(message)));
        }
        if let Some(why) = (context.is_over)() {
            return Err(RunError::BrokenOff(why));
        }
        self.runs += 1;
        let mut output = call(step, values, context).map_err(|error| failed(step, error))?;
        output.items.values().try_for_each(|item| self.held.take(item)).map_err(|error| failed(step, error))?;
        let of_step = |effect| StepEffect { step: step.id.clone(), effect };
        self.effects.extend(output.effects.drain(..).map(of_step));
        for name in &step.outputs {
            output.items.entry(name).or_insert(Item::Absent);
        }
        Ok(output.items)
    }
}

fn call(step: &Step, values: BTreeMap<&'static str, Given<'_>>, context: &Context<'_>) -> Result<Output, BlockError> {
    let settings: &Settings = &step.settings;
    let input = Input { values, settings };
    // One picture that a block cannot handle costs its own execution.
    catch_unwind(AssertUnwindSafe(|| step.block.run(&input, context)))
        .unwrap_or_else(|panic| Err(BlockError::step(format!("the block panicked: {}", panic_text(&*panic)))))
}

fn failed(step: &Step, error: BlockError) -> RunError {
    let BlockError { reason, message, is_transient } = error;
    RunError::Failed { step: step.id.clone(), reason, message, is_transient }
}

fn absent(step: &Step) -> Items {
    step.outputs.iter().map(|name| (*name, Item::Absent)).collect()
}

#[cfg(test)]
mod tests;
