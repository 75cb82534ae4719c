//! Random pipelines of random blocks are refused, or run.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value as Json, json};

use super::super::blocks;
use super::super::fixture::{Seen, picture, pipeline};
use super::super::spec::{Gives, Param, ParamKind, Spec};
use super::super::{BrokenOff, Context, Image, Memory, Plan, RunError, Value};
use super::assert_all_sound;
use crate::clock::{Clock, Mono, SystemClock};
use crate::execution::{Kind, Pipeline, StepDefinition};

/// How often a run may ask whether it is over: bounds how long one takes.
const MOST_QUESTIONS: u32 = 2000;

/// Numbers that decide what a pipeline is made of; 0 where they are at an end, which is always the simplest.
struct Choices<'a>(std::slice::Iter<'a, u32>);

impl Choices<'_> {
    fn below(&mut self, count: usize) -> usize {
        self.0.next().map_or(0, |number| *number as usize % count.max(1))
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        all.get(self.below(all.len())).copied()
    }

    fn is_one_in(&mut self, count: usize) -> bool {
        self.below(count) == count - 1
    }
}

/// What a pipeline has so far: a reference, what it is, and the steps of whose lists it is an item.
#[derive(Clone)]
struct Known {
    reference: String,
    kind: Kind,
    lists: Vec<usize>,
}

fn random_pipeline(choices: &mut Choices<'_>) -> (Pipeline, BTreeMap<String, Kind>) {
    let mut whole = pipeline("");
    let mut known = vec![Known { reference: "$inputs.image".to_owned(), kind: Kind::Image, lists: Vec::new() }];
    for at in 0..2 + choices.below(9) {
        let fits = |spec: &Spec, known: &[Known]| {
            let is_there = |kinds: &[Kind]| known.iter().any(|of| kinds.contains(&of.kind));
            spec.inputs.iter().filter(|port| port.required).all(|port| is_there(port.kinds))
        };
        let tried: Vec<&Spec> = (0..3).filter_map(|_| choices.of(blocks::ALL)).map(|block| block.spec()).collect();
        let spec = tried.iter().find(|spec| fits(spec, &known)).or(tried.last());
        let Some(spec) = spec else { continue };
        whole.steps.push(random_step(at, spec, &mut known, choices));
    }
    let named: Vec<Known> = known.into_iter().filter(|_| !choices.is_one_in(4)).collect();
    let kinds = named.iter().enumerate().map(|(at, of)| (format!("o{at}"), of.kind)).collect();
    whole.outputs = named.into_iter().enumerate().map(|(at, of)| (format!("o{at}"), of.reference)).collect();
    (whole, kinds)
}

fn random_step(at: usize, spec: &Spec, known: &mut Vec<Known>, choices: &mut Choices<'_>) -> StepDefinition {
    let mut inputs: BTreeMap<String, String> = BTreeMap::new();
    let (mut kinds, mut longest): (BTreeMap<&str, Kind>, Vec<usize>) = (BTreeMap::new(), Vec::new());
    for port in spec.inputs {
        let is_like = spec.outputs.iter().any(|output| output.gives == Gives::Same(port.name));
        if !port.required && !is_like && choices.is_one_in(2) {
            continue;
        }
        let lists = |of: &Known| {
            let kept = of.lists.len() - usize::from(port.list && !of.lists.is_empty());
            of.lists.iter().take(kept).copied().collect::<Vec<_>>()
        };
        let fits = |of: &&Known| {
            let lists = lists(of);
            port.kinds.contains(&of.kind)
                && (lists.starts_with(&longest) || longest.starts_with(&lists))
                && (!port.single || lists.is_empty())
                && port.like.and_then(|like| kinds.get(like)).is_none_or(|kind| *kind == of.kind)
        };
        // Now and then one that may not fit.
        let is_wild = choices.is_one_in(150);
        let all: Vec<&Known> = known.iter().filter(|of| is_wild || fits(of)).collect();
        if let Some(of) = choices.of(&all) {
            inputs.insert(port.name.to_owned(), of.reference.clone());
            kinds.insert(port.name, of.kind);
            longest = [longest, lists(of)].into_iter().max_by_key(Vec::len).unwrap_or_default();
        }
    }
    let mut parameters = BTreeMap::new();
    for param in spec.parameters {
        if param.preset.is_none() || choices.is_one_in(2) {
            let names: Vec<&str> = kinds.keys().copied().collect();
            parameters.insert(param.name.to_owned(), random_parameter(param, &names, choices));
        }
    }
    for output in spec.outputs {
        let kind = match output.gives {
            Gives::Kind(kind) => Some(kind),
            Gives::Same(input) => kinds.get(input).copied(),
        };
        let lists = longest.iter().copied().chain(output.list.then_some(at)).collect();
        let reference = format!("$steps.s{at}.{}", output.name);
        known.extend(kind.map(|kind| Known { reference, kind, lists }));
    }
    let block = format!("{}@{}", spec.name, spec.version);
    StepDefinition { id: format!("s{at}"), block, inputs, parameters }
}

fn random_parameter(param: &Param, names: &[&str], choices: &mut Choices<'_>) -> Json {
    if choices.is_one_in(300) {
        let junk = [json!(null), json!(-1), json!("x"), json!([]), json!({}), json!(1e300), json!([[0, "a"]])];
        return junk[choices.below(junk.len())].clone();
    }
    let name = choices.of(names);
    let of_name = |template: &str| name.map_or_else(|| "1".to_owned(), |name| template.replace('X', name));
    match param.kind {
        ParamKind::Number { min, max } => json!([min, (min + max) / 2.0, max][choices.below(3)]),
        ParamKind::Whole { min, max } => {
            // Mostly small: a picture may have this size.
            let more = if choices.is_one_in(30) { max - min } else { choices.below(30) as f64 };
            json!((min + more).min(max))
        }
        ParamKind::Text { .. } => {
            let count = if choices.is_one_in(20) { 5 } else { 3 };
            json!(["x", "dog", "gate-1", "", "\u{6f22} a"][choices.below(count)])
        }
        ParamKind::Choice(all) => json!(choices.of(all)),
        ParamKind::Flag => json!(choices.is_one_in(2)),
        ParamKind::Texts => json!([&["dog"][..], &[], &["person", "dog"]][choices.below(3)]),
        ParamKind::Model => json!("seer"),
        ParamKind::Webhook => json!("office"),
        ParamKind::Colour => json!(["#102030", "#ffffff"][choices.below(2)]),
        ParamKind::Area => {
            let areas = [json!([[0, 0], [1, 0], [1, 1]]), json!([[0.1, 0.5], [0.9, 0.6], [0.5, 0.5001]]), json!([])];
            areas[choices.below(if param.preset.is_none() { 2 } else { 3 })].clone()
        }
        ParamKind::Expression => {
            json!(of_name(["X is none", "X is defined", "1 > 2", "X", "X | length", "X + 1"][choices.below(6)]))
        }
        ParamKind::Template => {
            json!(of_name(["{{ X }}", "a", "", "{% for a in X %}{{ a }}{% endfor %}"][choices.below(4)]))
        }
        ParamKind::Templates => json!([of_name(["{{ X }}", "a"][choices.below(2)]), "b"]),
    }
}

/// How a pipeline fared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fared {
    Refused,
    Failed,
    Ran,
}

fn try_out(numbers: &[u32]) -> Fared {
    let mut choices = Choices(numbers.iter());
    let (pipeline, kinds) = random_pipeline(&mut choices);
    let things = [
        ("dog", 0.9, [0.1, 0.1, 0.5, 0.5]),
        ("person", 0.6, [0.3, 0.2, 0.3, 0.9]),
        ("dog", 0.5, [-0.5, 0.9, 4.0, 0.05]),
        ("cat", 1.0, [0.2, 0.2, 0.0, 0.0]),
    ];
    let models = Seen::things(&things[..choices.below(things.len() + 1)]);
    let plan = match Plan::new(&pipeline, &BTreeMap::new(), &models) {
        Ok(plan) => plan,
        Err(errors) => {
            assert!(!errors.is_empty());
            assert!(errors.iter().all(|error| error.reason.len() > 3 && error.cure.len() > 3), "{errors:?}");
            return Fared::Refused;
        }
    };
    let asked = AtomicU32::new(0);
    let is_over = || (asked.fetch_add(1, Ordering::Relaxed) > MOST_QUESTIONS).then_some(BrokenOff::TooSlow);
    let memory = Memory::default();
    let size = (1 + choices.below(40) as u32, 1 + choices.below(30) as u32);
    for round in 0..2 {
        let at = Mono::default() + std::time::Duration::from_secs(round);
        let context = Context::new(&models, &memory, at, SystemClock::new().now(), &is_over);
        let inputs = BTreeMap::from([("image".to_owned(), Value::Image(Image::whole(picture(size.0, size.1))))]);
        match plan.run(inputs, &context, |_| {}) {
            Ok(outcome) => {
                for step in &outcome.steps {
                    step.items.values().for_each(|item| assert_all_sound(item, &step.step));
                }
                for (name, kind) in &kinds {
                    let values = outcome.outputs.get(name).map(super::Item::values).unwrap_or_default();
                    assert!(values.iter().all(|value| value.kind() == *kind), "{name} is not {kind:?}");
                }
            }
            Err(RunError::BrokenOff(_)) => return Fared::Failed,
            Err(RunError::Failed { message, .. }) => {
                assert!(!message.contains("panicked"), "{message}");
                return Fared::Failed;
            }
        }
    }
    Fared::Ran
}

#[test]
fn a_random_pipeline_is_refused_or_runs() {
    let mut runner = TestRunner::new(Config::with_cases(256));
    let (refused, failed, ran) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let numbers = prop::collection::vec(any::<u32>(), 1..300);
    let result = runner.run(&numbers, |numbers| {
        let of = match try_out(&numbers) {
            Fared::Refused => &refused,
            Fared::Failed => &failed,
            Fared::Ran => &ran,
        };
        of.set(of.get() + 1);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    let counts = (refused.get(), failed.get(), ran.get());
    // The test would show nothing if nearly all were refused.
    assert!(counts.0 > 5 && counts.2 > 100, "refused, failed, ran: {counts:?}");
}
