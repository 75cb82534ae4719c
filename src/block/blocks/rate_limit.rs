//! Not too often.

use super::super::spec::{ANY, Group, Param, ParamKind, Port, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Input, Output};
use crate::clock::Mono;

pub(in super::super) struct RateLimit;

const SPEC: Spec = Spec {
    name: "rate_limit",
    version: 1,
    group: Group::Flow,
    about: "Hands a value on at most once in a time; of a list at most the first item.",
    inputs: &[Port::new("value", ANY, "What is handed on.")],
    parameters: &[Param::new(
        "seconds",
        ParamKind::Number { min: 0.001, max: 2_678_400.0 },
        "How long it then hands nothing on, seconds.",
    )],
    outputs: &[Gives::same("value", "value", "The value, or nothing.")],
};

impl Block for RateLimit {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, context: &Context<'_>) -> Result<Output, BlockError> {
        let value = input.required("value")?;
        let seconds = input.settings.number("seconds");
        let is_due = context.remember(|last: &mut Option<Mono>| {
            let is_due = last.is_none_or(|last| context.at.since(last).as_secs_f64() >= seconds);
            if is_due {
                *last = Some(context.at);
            }
            is_due
        });
        Ok(if is_due { Output::of("value", value.clone()) } else { Output::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Seen, run_with};
    use super::super::super::{Memory, Value};
    use super::*;

    #[test]
    fn the_next_value_passes_when_the_time_is_over() {
        let memory = Memory::default();
        let passes = |milliseconds: u64| {
            let at = Mono::default() + std::time::Duration::from_millis(milliseconds);
            let inputs = [("value", Value::Number(1.0))];
            let output = run_with("rate_limit@1", &inputs, r#"{"seconds": 2}"#, &Seen::nothing(), &memory, at);
            output.expect("a result").items.contains_key("value")
        };
        let expected = [(0, true), (0, false), (1999, false), (2000, true), (3000, false), (4000, true)];
        for (at, is_expected) in expected {
            assert_eq!(passes(at), is_expected, "at {at}");
        }
    }
}
