//! Whether a pipeline can be run: names, parameters, connections, types, order. All that is wrong is found at once.

mod ports;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::plan::{Plan, PlanOutput, Source, Step, StepInput};
use super::settings::{Settings, Wrong};
use super::spec::{Gives, Port};
use super::{Block, Models, blocks, find};
use ports::Fed;

use crate::execution::{FORMAT, Kind, LONGEST_NAME, MOST_STEPS, Pipeline, StepDefinition, is_name};

/// Something that is wrong with a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepError {
    /// The step; none for the pipeline itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What of it: `type`, `inputs.image`, `parameters.model`.
    pub field: String,
    /// What is wrong.
    pub reason: String,
    /// What to do.
    pub cure: String,
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, field, reason, cure } = self;
        match step {
            Some(step) => write!(f, "step {step}, {field}: {reason}; {cure}"),
            None => write!(f, "{field}: {reason}; {cure}"),
        }
    }
}

/// What a value is, and through which steps' lists it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Typed {
    kind: Kind,
    lists: Vec<usize>,
}

/// A reference as it is written.
enum Reference<'a> {
    Input(&'a str),
    Step(&'a str, &'a str),
}

fn reference(text: &str) -> Option<Reference<'_>> {
    let mut parts = text.strip_prefix('$')?.split('.');
    let reference = match (parts.next()?, parts.next()?, parts.next()) {
        ("inputs", name, None) => Reference::Input(name),
        ("steps", step, Some(output)) => Reference::Step(step, output),
        _ => return None,
    };
    parts.next().is_none().then_some(reference)
}

impl Plan {
    /// Checks `pipeline` with the values that an execution sets, and puts its steps in order.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn new(
        pipeline: &Pipeline,
        parameters: &BTreeMap<String, Value>,
        models: &dyn Models,
    ) -> Result<Self, Vec<StepError>> {
        check(pipeline, parameters, models)
    }
}

fn check(
    pipeline: &Pipeline,
    parameters: &BTreeMap<String, Value>,
    models: &dyn Models,
) -> Result<Plan, Vec<StepError>> {
    let mut check = Check { pipeline, errors: Vec::new(), broken: BTreeSet::new() };
    check.names();
    let values = check.parameters(parameters);
    let mut prepared: Vec<Option<Prepared>> =
        pipeline.steps.iter().enumerate().map(|(at, step)| check.step(at, step, &values, models)).collect();
    let order = check.order(&prepared);
    let mut types: Vec<BTreeMap<&'static str, Typed>> = vec![BTreeMap::new(); pipeline.steps.len()];
    let (mut steps, mut place) = (Vec::new(), BTreeMap::new());
    for at in order {
        let Some(step) = prepared.get_mut(at).and_then(Option::take) else { continue };
        let Some(typed) = check.types(at, step, &mut types, &place) else { continue };
        place.insert(at, steps.len());
        steps.push(typed);
    }
    let outputs = check.outputs(&types, &place);
    if !check.errors.is_empty() {
        return Err(check.errors);
    }
    let (name, inputs) = (pipeline.name.clone(), pipeline.inputs.keys().cloned().collect());
    Ok(Plan { name, steps, outputs, inputs })
}

/// A step whose block, parameters and references are known.
struct Prepared {
    block: &'static dyn Block,
    settings: Settings,
    inputs: Vec<(&'static Port, From)>,
}

/// Where an input comes from, by the place of the step in the definition.
#[derive(Clone)]
enum From {
    Input(String, Kind),
    Step(usize, String),
}

struct Check<'a> {
    pipeline: &'a Pipeline,
    errors: Vec<StepError>,
    /// Steps of which something is known to be wrong: what follows on them is not said.
    broken: BTreeSet<usize>,
}

impl Check<'_> {
    fn error(&mut self, field: &str, reason: impl Into<String>, cure: impl Into<String>) {
        let Wrong { field, reason, cure } = Wrong::new(field, reason, cure);
        self.errors.push(StepError { step: None, field, reason, cure });
    }

    fn step_error(&mut self, at: usize, Wrong { field, reason, cure }: Wrong) {
        let step = self.pipeline.steps.get(at).map(|step| step.id.clone());
        self.broken.insert(at);
        self.errors.push(StepError { step, field, reason, cure });
    }

    fn names(&mut self) {
        let pipeline = self.pipeline;
        let cure = || format!("use letters, digits, - and _, at most {LONGEST_NAME}");
        if pipeline.format != FORMAT {
            self.error("format", format!("format {} is unknown", pipeline.format), format!("write format = {FORMAT}"));
        }
        if !is_name(&pipeline.name) {
            self.error("name", format!("{:?} is no name", pipeline.name), cure());
        }
        let inputs = pipeline.inputs.keys().map(|name| ("inputs", name));
        let parameters = pipeline.parameters.keys().map(|name| ("parameters", name));
        for (of, name) in inputs.chain(parameters).chain(pipeline.outputs.keys().map(|name| ("outputs", name))) {
            if !is_name(name) {
                self.error(&format!("{of}.{name}"), format!("{name:?} is no name"), cure());
            }
        }
        for (name, input) in &pipeline.inputs {
            if input.kind != Kind::Image {
                let reason = format!("a pipeline is given pictures, not {}", input.kind.as_str());
                self.error(&format!("inputs.{name}"), reason, "write kind = \"image\"");
            }
        }
        if pipeline.steps.is_empty() {
            self.error("steps", "there are none", "add a step");
        }
        if pipeline.steps.len() > MOST_STEPS {
            let reason = format!("there are {}", pipeline.steps.len());
            self.error("steps", reason, format!("{MOST_STEPS} are the most: make two pipelines of it"));
        }
        let mut seen = BTreeSet::new();
        for (at, step) in pipeline.steps.iter().enumerate() {
            if !is_name(&step.id) {
                self.step_error(at, Wrong::new("id", format!("{:?} is no name", step.id), cure()));
            } else if !seen.insert(step.id.as_str()) {
                self.step_error(at, Wrong::new("id", "another step has this id", "give each step its own"));
            }
        }
    }

    /// The values of the pipeline's parameters.
    fn parameters(&mut self, given: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
        let declared = &self.pipeline.parameters;
        for name in given.keys().filter(|name| !declared.contains_key(*name)) {
            let there: Vec<&str> = declared.keys().map(String::as_str).collect();
            let cure = if there.is_empty() { "it has none".to_owned() } else { format!("it has {}", there.join(", ")) };
            self.error(&format!("parameters.{name}"), "the pipeline has no such parameter", cure);
        }
        let value = |(name, declared): (&String, &crate::execution::ParameterDefinition)| {
            (name.clone(), given.get(name).unwrap_or(&declared.default).clone())
        };
        declared.iter().map(value).collect()
    }

    fn step(
        &mut self,
        at: usize,
        step: &StepDefinition,
        values: &BTreeMap<String, Value>,
        models: &dyn Models,
    ) -> Option<Prepared> {
        let block = match known_block(&step.block) {
            Ok(block) => block,
            Err(wrong) => {
                self.step_error(at, wrong);
                return None;
            }
        };
        let settings = self.settings(at, step, block, values, models);
        let mut inputs = Vec::new();
        for (name, text) in &step.inputs {
            let Some(port) = block.spec().inputs.iter().find(|port| port.name == name) else {
                let there: Vec<&str> = block.spec().inputs.iter().map(|port| port.name).collect();
                let reason = format!("{} has no such input", step.block);
                self.step_error(
                    at,
                    Wrong::new(&format!("inputs.{name}"), reason, format!("it has {}", there.join(", "))),
                );
                continue;
            };
            match self.from(text) {
                Ok(from) => inputs.push((port, from)),
                Err((reason, cure)) => self.step_error(at, Wrong::new(&format!("inputs.{name}"), reason, cure)),
            }
        }
        for port in block.spec().inputs.iter().filter(|port| port.required && !step.inputs.contains_key(port.name)) {
            let cure = format!("connect it: {}", port.about);
            self.step_error(at, Wrong::new(&format!("inputs.{}", port.name), "it is not connected", cure));
        }
        Some(Prepared { block, settings: settings?, inputs })
    }

    fn settings(
        &mut self,
        at: usize,
        step: &StepDefinition,
        block: &'static dyn Block,
        values: &BTreeMap<String, Value>,
        models: &dyn Models,
    ) -> Option<Settings> {
        let (mut given, mut is_whole) = (BTreeMap::new(), true);
        for (name, value) in &step.parameters {
            let referred = value.as_str().and_then(|text| text.strip_prefix("$parameters."));
            match referred.map(|referred| (referred, values.get(referred))) {
                None => {
                    given.insert(name.clone(), value.clone());
                }
                Some((_, Some(value))) => {
                    given.insert(name.clone(), value.clone());
                }
                Some((referred, None)) => {
                    let reason = format!("the pipeline has no parameter {referred}");
                    let cure = "declare it under [parameters], or write a value";
                    self.step_error(at, Wrong::new(&format!("parameters.{name}"), reason, cure));
                    is_whole = false;
                }
            }
        }
        let read = if is_whole { Settings::read(block.spec(), &given, models) } else { return None };
        let wrong = match read {
            Ok(settings) => {
                let mut wrong = block.check(&settings, models);
                wrong.extend(settings.wrong_variables(block.spec(), |name| step.inputs.contains_key(name)));
                if wrong.is_empty() {
                    return Some(settings);
                }
                wrong
            }
            Err(wrong) => wrong,
        };
        for Wrong { field, reason, cure } in wrong {
            self.step_error(at, Wrong::new(&format!("parameters.{field}"), reason, cure));
        }
        None
    }

    /// What a reference leads to. The error is what is wrong, and what to do.
    fn from(&self, text: &str) -> Result<From, (String, String)> {
        let listed = |names: Vec<&str>| format!("there are {}", names.join(", "));
        match reference(text) {
            None => Err((format!("{text:?} is no reference"), "write $inputs.NAME or $steps.STEP.OUTPUT".to_owned())),
            Some(Reference::Input(name)) => match self.pipeline.inputs.get(name) {
                Some(input) => Ok(From::Input(name.to_owned(), input.kind)),
                None => {
                    let names = self.pipeline.inputs.keys().map(String::as_str).collect();
                    Err((format!("the pipeline has no input {name}"), listed(names)))
                }
            },
            Some(Reference::Step(id, output)) => {
                let steps = &self.pipeline.steps;
                let Some((at, step)) = steps.iter().enumerate().find(|(_, step)| step.id == id) else {
                    let names = steps.iter().map(|step| step.id.as_str()).collect();
                    return Err((format!("there is no step {id}"), listed(names)));
                };
                let Ok(block) = known_block(&step.block) else { return Ok(From::Step(at, output.to_owned())) };
                if block.spec().outputs.iter().any(|known| known.name == output) {
                    return Ok(From::Step(at, output.to_owned()));
                }
                let names: Vec<&str> = block.spec().outputs.iter().map(|known| known.name).collect();
                let cure = if names.is_empty() { format!("{} gives nothing", step.block) } else { listed(names) };
                Err((format!("step {id} ({}) gives no {output}", step.block), cure))
            }
        }
    }

    /// The steps so that each comes after those that feed it.
    fn order(&mut self, prepared: &[Option<Prepared>]) -> Vec<usize> {
        let feeds = |at: usize| -> BTreeSet<usize> {
            let inputs =
                prepared.get(at).and_then(Option::as_ref).map(|step| step.inputs.as_slice()).unwrap_or_default();
            let of_steps = inputs.iter().filter_map(|(_, from)| match from {
                From::Step(other, _) => Some(*other),
                From::Input(..) => None,
            });
            of_steps.collect()
        };
        let (mut order, mut done) = (Vec::new(), BTreeSet::new());
        loop {
            let next: Vec<usize> =
                (0..prepared.len()).filter(|at| !done.contains(at) && feeds(*at).is_subset(&done)).collect();
            if next.is_empty() {
                break;
            }
            done.extend(&next);
            order.extend(next);
        }
        let (mut circles, mut behind) = (Vec::new(), Vec::new());
        for at in (0..prepared.len()).filter(|at| !done.contains(at)) {
            let (mut waits_for, mut open) = (BTreeSet::new(), vec![at]);
            while let Some(of) = open.pop() {
                open.extend(feeds(of).into_iter().filter(|other| waits_for.insert(*other)));
            }
            if waits_for.contains(&at) { circles.push(at) } else { behind.push(at) }
        }
        // What comes behind a circle is right itself.
        self.broken.extend(behind);
        for at in circles {
            self.step_error(
                at,
                Wrong::new("inputs", "it waits for itself, through others or directly", "cut the circle"),
            );
        }
        order
    }

    /// Checks what feeds a step, and notes what it gives.
    fn types(
        &mut self,
        at: usize,
        step: Prepared,
        types: &mut [BTreeMap<&'static str, Typed>],
        place: &BTreeMap<usize, usize>,
    ) -> Option<Step> {
        let (mut fed, mut is_whole) = (Vec::new(), true);
        for (port, from) in &step.inputs {
            let typed = match from {
                From::Input(_, kind) => Some(Typed { kind: *kind, lists: Vec::new() }),
                From::Step(other, output) => types.get(*other).and_then(|of| of.get(output.as_str())).cloned(),
            };
            // What feeds it is wrong itself.
            let Some(Typed { kind, mut lists }) = typed else {
                is_whole = false;
                continue;
            };
            if port.list {
                lists.pop();
            }
            fed.push(Fed { port, from, kind, lists });
        }
        let longest = fed.iter().map(|fed| fed.lists.clone()).max_by_key(Vec::len).unwrap_or_default();
        for wrong in ports::wrong(step.block.spec(), &fed, &longest, &step.inputs) {
            self.step_error(at, wrong);
        }
        if !is_whole || self.broken.contains(&at) {
            return None;
        }
        let spec = step.block.spec();
        for output in spec.outputs {
            let kind = match output.gives {
                Gives::Kind(kind) => Some(kind),
                Gives::Same(name) => fed.iter().find(|fed| fed.port.name == name).map(|fed| fed.kind),
            };
            let mut lists = longest.clone();
            if output.list {
                lists.push(at);
            }
            if let (Some(kind), Some(of)) = (kind, types.get_mut(at)) {
                of.insert(output.name, Typed { kind, lists });
            }
        }
        let inputs = fed.into_iter().map(|Fed { port, from, lists, .. }| {
            let source = source(from, spec_output(self.pipeline, from), place)?;
            let Port { name, list, may_lack, .. } = *port;
            Some(StepInput { port: name, source, levels: lists.len(), list, required: !may_lack })
        });
        let inputs = inputs.collect::<Option<Vec<_>>>()?;
        let id = self.pipeline.steps.get(at).map(|step| step.id.clone()).unwrap_or_default();
        let outputs = spec.outputs.iter().map(|output| output.name).collect();
        Some(Step { id, block: step.block, settings: step.settings, inputs, levels: longest.len(), outputs })
    }

    fn outputs(&mut self, types: &[BTreeMap<&'static str, Typed>], place: &BTreeMap<usize, usize>) -> Vec<PlanOutput> {
        let mut outputs = Vec::new();
        for (name, text) in &self.pipeline.outputs {
            match self.from(text) {
                Ok(from) => {
                    let kind = match &from {
                        From::Input(_, kind) => Some(*kind),
                        From::Step(at, output) => types.get(*at).and_then(|of| Some(of.get(output.as_str())?.kind)),
                    };
                    // Of a step that is wrong itself nothing more is said.
                    if let Some(kind) = kind
                        && let Some(source) = source(&from, spec_output(self.pipeline, &from), place)
                    {
                        outputs.push(PlanOutput { name: name.clone(), source, kind });
                    }
                }
                Err((reason, cure)) => self.error(&format!("outputs.{name}"), reason, cure),
            }
        }
        outputs
    }
}

/// The output that `from` names, as the block's spec has it.
fn spec_output(pipeline: &Pipeline, from: &From) -> Option<&'static str> {
    let From::Step(at, output) = from else { return None };
    let block = known_block(&pipeline.steps.get(*at)?.block).ok()?;
    block.spec().outputs.iter().map(|known| known.name).find(|name| name == output)
}

fn source(from: &From, output: Option<&'static str>, place: &BTreeMap<usize, usize>) -> Option<Source> {
    match from {
        From::Input(name, _) => Some(Source::Input(name.clone())),
        From::Step(at, _) => Some(Source::Step(*place.get(at)?, output?)),
    }
}

/// The block that `text` names: `detect@1`.
fn known_block(text: &str) -> Result<&'static dyn Block, Wrong> {
    let (name, version) = text.split_once('@').unwrap_or((text, ""));
    if let Some(block) = version.parse().ok().and_then(|version| find(name, version)) {
        return Ok(block);
    }
    let written = |block: &&'static dyn Block| format!("{}@{}", block.spec().name, block.spec().version);
    let same: Vec<String> = blocks::ALL.iter().filter(|block| block.spec().name == name).map(written).collect();
    let cure = if same.is_empty() {
        let closeness = |block: &&&'static dyn Block| (strsim::jaro_winkler(block.spec().name, name) * 1e6) as u32;
        let nearest = blocks::ALL.iter().max_by_key(closeness).map(written).unwrap_or_default();
        format!("did you mean {nearest}? GET /api/v1/blocks lists all")
    } else {
        format!("write {}", same.join(" or "))
    };
    Err(Wrong::new("type", format!("there is no block {text:?}"), cure))
}

#[cfg(test)]
mod tests;
