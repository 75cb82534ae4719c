//! A number that is computed.

use super::super::spec::{ANY, Group, Param, ParamKind, Port, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Input, Output, Value};
use crate::execution::Kind;

pub(in super::super) struct Expression;

const SPEC: Spec = Spec {
    name: "expression",
    version: 1,
    group: Group::Value,
    about: "Computes a number; what is true is 1, what is false 0.",
    inputs: &[
        Port::new("a", ANY, "A value for the expression.").optional(),
        Port::new("b", ANY, "A value for the expression.").optional(),
        Port::new("c", ANY, "A value for the expression.").optional(),
        Port::new("d", ANY, "A value for the expression.").optional(),
    ],
    parameters: &[Param::new(
        "expression",
        ParamKind::Expression,
        "What is computed of a, b, c and d: `a / b`, `a | length`.",
    )],
    outputs: &[Gives::new("number", Kind::Number, "What it comes to.")],
};

impl Block for Expression {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let values = input.as_variables(&["a", "b", "c", "d"]);
        match input.expression("expression")?.value(&values).map_err(BlockError::step)? {
            Value::Number(number) if number.is_finite() => Ok(Output::of("number", Value::Number(number))),
            Value::Text(text) => {
                let text = text.get(..text.floor_char_boundary(40)).unwrap_or_default();
                Err(BlockError::step(format!(
                    "it comes to the text {text:?}, which is no number; the block text gives texts"
                )))
            }
            _ => Err(BlockError::step("it comes to no finite number; is something divided by 0?")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Seen, objects, one_number, run};
    use super::*;

    #[test]
    fn numbers_are_computed_of_values() {
        let things = objects(&[("dog", 0.9, [0.0, 0.0, 0.1, 0.1]), ("cat", 0.5, [0.0, 0.0, 0.1, 0.1])]);
        let inputs = [("a", things), ("b", Value::Number(4.0)), ("c", Value::Text("x".to_owned()))];
        let computed = |expression: &str| {
            let parameters = serde_json::json!({ "expression": expression }).to_string();
            run("expression@1", &inputs, &parameters, &Seen::nothing()).map_err(|error| error.message)
        };
        for (expression, expected) in [("a | length / b", 0.5), ("b * 2.5", 10.0), ("c == 'x'", 1.0), ("7", 7.0)] {
            assert_eq!(one_number(&computed(expression).expect(expression), "number"), expected, "{expression}");
        }
        assert!(computed("c").expect_err("a text").contains("block text"));
        assert!(computed("b / 0").is_err());
        assert!(computed("b * 1e308 * 1e308").expect_err("endless").contains("no finite number"));
    }
}
