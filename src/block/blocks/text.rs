//! A text that is filled in.

use super::super::spec::{ANY, Group, Param, ParamKind, Port, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Input, Output, Value};
use crate::execution::Kind;

pub(in super::super) struct Text;

const SPEC: Spec = Spec {
    name: "text",
    version: 1,
    group: Group::Value,
    about: "Fills in a text.",
    inputs: &[
        Port::new("a", ANY, "A value for the text.").optional(),
        Port::new("b", ANY, "A value for the text.").optional(),
        Port::new("c", ANY, "A value for the text.").optional(),
        Port::new("d", ANY, "A value for the text.").optional(),
    ],
    parameters: &[Param::new("template", ParamKind::Template, "The text, with {{ a }}, {{ b }}, {{ c }} and {{ d }}.")],
    outputs: &[Gives::new("text", Kind::Text, "The text that is filled in.")],
};

impl Block for Text {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let values = input.as_variables(&["a", "b", "c", "d"]);
        let text = input.expression("template")?.render(&values).map_err(BlockError::step)?;
        Ok(Output::of("text", Value::Text(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Seen, objects, one_text, run};
    use super::*;

    #[test]
    fn templates_see_all_kinds_of_values() {
        let inputs = [("a", objects(&[("dog", 0.5, [0.0, 0.0, 0.1, 0.1])])), ("b", Value::Number(2.0))];
        let parameters = r#"{"template": "{% for thing in a %}{{ thing.label }} {% endfor %}of {{ b }}"}"#;
        let output = run("text@1", &inputs, parameters, &Seen::nothing()).expect("a text");
        assert_eq!(one_text(&output, "text"), "dog of 2");
    }
}
