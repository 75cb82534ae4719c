//! Each block with inputs at the edge of what may come: nothing, the smallest picture, things outside of it.

use std::collections::{BTreeMap, BTreeSet};

use super::super::blocks;
use super::super::fixture::{Seen, image, objects, region, settings};
use super::super::input::{Given, Input};
use super::super::spec::Port;
use super::super::{Block, Context, Memory, Output, Table, Value};
use super::assert_all_sound;
use crate::clock::{Clock, Mono, SystemClock};
use crate::execution::Kind;

/// The parameters of the blocks that need some.
const PARAMETERS: [(&str, &str); 11] = [
    ("alert", r#"{"message": "{{ a }} and {{ b }}"}"#),
    ("condition", r#"{"expression": "value is none"}"#),
    ("classify", r#"{"model": "seer"}"#),
    ("detect", r#"{"model": "seer"}"#),
    ("expression", r#"{"expression": "1 if a else 2"}"#),
    ("number", r#"{"number": 3}"#),
    ("rate_limit", r#"{"seconds": 1}"#),
    ("regions", r#"{"name": "gate", "area": [[0, 0], [1, 0], [1, 1]]}"#),
    ("rotate", r#"{"degrees": 90}"#),
    ("switch", r#"{"expression": "'dog' if by else 'cat'", "a": "dog"}"#),
    ("webhook", r#"{"webhook": "office"}"#),
];

fn parameters(block: &str) -> &'static str {
    let text = r#"{"template": "{{ a }}"}"#;
    if block == "text" {
        return text;
    }
    PARAMETERS.iter().find(|(name, _)| *name == block).map_or("{}", |(_, parameters)| parameters)
}

const ORDINARY: &[(&str, f32, [f32; 4])] = &[("dog", 0.9, [0.1, 0.1, 0.5, 0.5])];
const OUTSIDE: &[(&str, f32, [f32; 4])] = &[
    ("dog", 0.9, [-0.5, -0.5, 2.0, 2.0]),
    ("dog", 0.9, [1.5, 0.2, 0.5, 0.5]),
    ("cat", 0.0, [-3.0, -3.0, 1.0, 1.0]),
    ("cat", 1.0, [0.5, 0.5, 0.0, 0.0]),
    ("cow", 2.0, [0.9, 0.9, 1e30, 1e30]),
    ("cow", 0.5, [0.5, 0.5, -0.2, -0.2]),
];
const ENDLESS: &[(&str, f32, [f32; 4])] =
    &[("dog", f32::NAN, [0.1, 0.1, 0.2, 0.2]), ("dog", 0.5, [f32::NAN, 0.0, f32::INFINITY, 0.5])];

/// What is given in one situation.
struct Situation {
    name: &'static str,
    picture: (u32, u32),
    things: &'static [(&'static str, f32, [f32; 4])],
    /// Lists have no items.
    is_empty: bool,
}

const SITUATIONS: [Situation; 5] = [
    Situation { name: "ordinary", picture: (16, 12), things: ORDINARY, is_empty: false },
    Situation { name: "empty list", picture: (16, 12), things: &[], is_empty: true },
    Situation { name: "one pixel", picture: (1, 1), things: ORDINARY, is_empty: false },
    Situation { name: "outside", picture: (16, 12), things: OUTSIDE, is_empty: false },
    Situation { name: "endless", picture: (16, 12), things: ENDLESS, is_empty: false },
];

fn value(kind: Kind, situation: &Situation) -> Value {
    match kind {
        Kind::Image => image(situation.picture.0, situation.picture.1),
        Kind::Objects => {
            let Value::Objects(mut found) = objects(situation.things) else { panic!("no objects") };
            for (object, number) in found.objects.iter_mut().zip(1..) {
                object.track = Some(number);
            }
            Value::Objects(found)
        }
        Kind::Regions => Value::Regions(vec![region("door", &[[0.2, 0.2], [0.8, 0.2], [0.5, 0.9]])]),
        Kind::Text => Value::Text(String::new()),
        Kind::Number => Value::Number(0.0),
        Kind::Table => Value::Table(Table::default()),
    }
}

/// Runs a block with the kind at `turn` of those that each input may be; inputs that need not be connected are where
/// `is_full`.
fn run(block: &dyn Block, situation: &Situation, turn: usize, is_full: bool) -> Result<Output, String> {
    let models = Seen::things(situation.things);
    let settings = settings(block.spec().name, parameters(block.spec().name), &models).expect("parameters");
    let ports: Vec<&Port> = block.spec().inputs.iter().filter(|port| is_full || port.required).collect();
    let kind = |port: &Port| *port.kinds.iter().cycle().nth(turn).expect("a kind");
    let values: Vec<Value> = ports.iter().map(|port| value(kind(port), situation)).collect();
    let given = ports.iter().zip(&values).map(|(port, value)| match (port.list, situation.is_empty) {
        (true, true) => (port.name, Given::Many(Vec::new())),
        (true, false) => (port.name, Given::Many(vec![value, value])),
        (false, _) => (port.name, Given::One(value)),
    });
    let (memory, moment) = (Memory::default(), SystemClock::new().now());
    let context = Context::new(&models, &memory, Mono::default(), moment, &|| None);
    let input = Input { values: given.collect::<BTreeMap<_, _>>(), settings: &settings };
    block.run(&input, &context).map_err(|error| error.message)
}

#[test]
fn each_block_handles_what_lies_at_the_edge() {
    let mut refused = BTreeSet::new();
    for block in blocks::ALL {
        for situation in &SITUATIONS {
            for (turn, is_full) in (0..Kind::ALL.len()).flat_map(|turn| [(turn, true), (turn, false)]) {
                let name = block.spec().name;
                match run(*block, situation, turn, is_full) {
                    Ok(output) => output.items.values().for_each(|item| assert_all_sound(item, name)),
                    Err(message) => {
                        assert!(message.len() > 10, "{name}: {message}");
                        refused.insert((name, situation.name));
                    }
                }
            }
        }
    }
    // All others give a result.
    assert_eq!(refused, BTreeSet::from([("blur", "endless")]));
}

#[test]
fn a_preset_is_what_may_be_written_too() {
    for block in blocks::ALL {
        let (spec, models) = (block.spec(), Seen::nothing());
        let plain = settings(spec.name, parameters(spec.name), &models).expect("parameters");
        for (param, preset) in spec.parameters.iter().filter_map(|param| Some((param, param.preset?))) {
            let mut given: BTreeMap<String, serde_json::Value> =
                serde_json::from_str(parameters(spec.name)).expect("JSON");
            given.entry(param.name.to_owned()).or_insert_with(|| preset.to_json());
            let written = serde_json::to_string(&given).expect("JSON");
            let read = settings(spec.name, &written, &models);
            let read = read.unwrap_or_else(|wrong| panic!("{}: {wrong:?}", spec.name));
            assert_eq!(format!("{read:?}"), format!("{plain:?}"), "{}.{}", spec.name, param.name);
        }
    }
}
