//! One way or the other.

use super::super::spec::{ANY, Group, Param, ParamKind, Port, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Input, Output};

pub(in super::super) struct Condition;

const SPEC: Spec = Spec {
    name: "condition",
    version: 1,
    group: Group::Flow,
    about: "Hands a value on in one of two ways; steps behind the other one are passed over.",
    inputs: &[
        Port::new("value", ANY, "What is handed on."),
        Port::new("a", ANY, "A further value for the expression.").optional(),
        Port::new("b", ANY, "A further value for the expression.").optional(),
        Port::new("c", ANY, "A further value for the expression.").optional(),
    ],
    parameters: &[Param::new(
        "expression",
        ParamKind::Expression,
        "The condition, of value, a, b and c: `a > 2`, `value | length > 0`.",
    )],
    outputs: &[
        Gives::same("then", "value", "The value where the condition holds, else nothing."),
        Gives::same("otherwise", "value", "The value where the condition does not hold, else nothing."),
    ],
};

impl Block for Condition {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let values = input.as_variables(&["value", "a", "b", "c"]);
        let holds = input.expression("expression")?.holds(&values).map_err(BlockError::step)?;
        Ok(Output::of(if holds { "then" } else { "otherwise" }, input.required("value")?.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Value;
    use super::super::super::fixture::{Seen, image, objects, one_image, run, settings};

    #[test]
    fn a_value_goes_one_way_only() {
        let people = objects(&[("person", 0.9, [0.1, 0.1, 0.2, 0.2])]);
        let inputs = [("value", image(4, 4)), ("a", people), ("b", Value::Number(1.0))];
        for (expression, way, other) in [
            ("a | length >= b", "then", "otherwise"),
            ("a | selectattr('label', 'eq', 'dog') | list | length > 0", "otherwise", "then"),
            ("value.width == 4 and a[0].score > 0.5", "then", "otherwise"),
        ] {
            let parameters = serde_json::json!({ "expression": expression }).to_string();
            let output = run("condition@1", &inputs, &parameters, &Seen::nothing()).expect("one way");
            assert_eq!(one_image(&output, way).picture.width, 4, "{expression}");
            assert!(!output.items.contains_key(other), "{expression}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_and_what_cannot_be_computed_fails() {
        let wrong = |expression: &str| {
            let parameters = serde_json::json!({ "expression": expression }).to_string();
            settings("condition", &parameters, &Seen::nothing()).expect_err("refused").remove(0).reason
        };
        assert!(wrong("a >").contains("cannot be read"));
        assert!(wrong("people > 1").contains("uses people"));
        let failed =
            run("condition@1", &[("value", Value::Number(1.0))], r#"{"expression": "value / 0"}"#, &Seen::nothing());
        assert!(failed.is_ok() || failed.is_err_and(|error| error.message.contains("cannot be computed")));
        let failed =
            run("condition@1", &[("value", Value::Number(1.0))], r#"{"expression": "value + 'x'"}"#, &Seen::nothing());
        assert!(failed.expect_err("failed").message.contains("cannot be computed"));
    }
}
