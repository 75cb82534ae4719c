//! One of several ways.

use super::super::settings::{Settings, Wrong};
use super::super::spec::{ANY, Group, Param, ParamKind, Port, Preset, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Input, Models, Output, Value};

pub(in super::super) struct Switch;

/// Names of the ways, and of the parameters with their texts.
const WAYS: [&str; 3] = ["a", "b", "c"];
const CASE: ParamKind = ParamKind::Text { longest: 256 };

const SPEC: Spec = Spec {
    name: "switch",
    version: 1,
    group: Group::Flow,
    about: "Hands a value on in one of several ways, by a text; steps behind the others are passed over.",
    inputs: &[
        Port::new("value", ANY, "What is handed on."),
        Port::new("by", ANY, "What decides, where that is not the value itself.").optional(),
    ],
    parameters: &[
        Param::new(
            "expression",
            ParamKind::Expression,
            "What is compared with the texts, of value and by: `by`, `value[0].label`, `'many' if by > 5 else 'few'`.",
        ),
        Param::new("a", CASE, "The text for the way a; empty for none.").or(Preset::Text("")),
        Param::new("b", CASE, "The text for the way b; empty for none.").or(Preset::Text("")),
        Param::new("c", CASE, "The text for the way c; empty for none.").or(Preset::Text("")),
    ],
    outputs: &[
        Gives::same("a", "value", "The value where the text is that of a, else nothing."),
        Gives::same("b", "value", "The value where the text is that of b, else nothing."),
        Gives::same("c", "value", "The value where the text is that of c, else nothing."),
        Gives::same("other", "value", "The value where the text is none of these, else nothing."),
    ],
};

impl Block for Switch {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn check(&self, settings: &Settings, _: &dyn Models) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        for (at, way) in WAYS.iter().enumerate() {
            let text = settings.text(way);
            let before = WAYS.iter().take(at).find(|other| settings.text(other) == text && !text.is_empty());
            if let Some(before) = before {
                wrong.push(Wrong::new(way, format!("{before} has the same text"), "give each way its own text"));
            }
        }
        wrong
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let values = input.as_variables(&["value", "by"]);
        let text = match input.expression("expression")?.value(&values).map_err(BlockError::step)? {
            Value::Text(text) => text,
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        let way = WAYS.into_iter().find(|way| !text.is_empty() && input.settings.text(way) == text);
        Ok(Output::of(way.unwrap_or("other"), input.required("value")?.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Seen, image, run, settings};
    use super::*;

    #[test]
    fn the_text_decides_which_way_a_value_goes() {
        let way = |by: Value, expression: &str| {
            let parameters = serde_json::json!({ "expression": expression, "a": "dog", "b": "2" }).to_string();
            let inputs = [("value", image(4, 4)), ("by", by)];
            let output = run("switch@1", &inputs, &parameters, &Seen::nothing()).expect("one way");
            output.items.into_keys().collect::<Vec<_>>()
        };
        let text = |text: &str| Value::Text(text.to_owned());
        assert_eq!(way(text("dog"), "by"), ["a"]);
        assert_eq!(way(Value::Number(2.0), "by"), ["b"]);
        assert_eq!(way(Value::Number(9.0), "'dog' if by > 5 else 'cat'"), ["a"]);
        assert_eq!(way(text("cat"), "by"), ["other"]);
        // A way without a text is never gone.
        assert_eq!(way(text(""), "by"), ["other"]);
    }

    #[test]
    fn two_ways_with_one_text_are_refused() {
        let wrong = settings("switch", r#"{"expression": "value", "a": "x", "c": "x"}"#, &Seen::nothing());
        assert_eq!(wrong.expect_err("refused")[0].field, "c");
    }
}
