//! A number that is always the same.

use super::super::spec::{Group, Param, ParamKind, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Input, Output, Value};
use crate::execution::Kind;

pub(in super::super) struct Number;

const SPEC: Spec = Spec {
    name: "number",
    version: 1,
    group: Group::Value,
    about: "Gives a number that is always the same.",
    inputs: &[],
    parameters: &[Param::new("number", ParamKind::Number { min: -1e15, max: 1e15 }, "The number.")],
    outputs: &[Gives::new("number", Kind::Number, "The number.")],
};

impl Block for Number {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        Ok(Output::of("number", Value::Number(input.settings.number("number"))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Seen, one_number, run};

    #[test]
    fn it_gives_what_is_set() {
        let output = run("number@1", &[], r#"{"number": -2.5}"#, &Seen::nothing()).expect("a number");
        assert_eq!(one_number(&output, "number"), -2.5);
    }
}
