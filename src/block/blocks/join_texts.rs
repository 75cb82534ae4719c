//! Many texts as one.

use super::super::expression::LONGEST_TEXT;
use super::super::spec::{Group, Param, ParamKind, Port, Preset, Result as Gives, Spec, TEXT};
use super::super::{Block, BlockError, Context, Input, Output, Value};
use crate::execution::Kind;

pub(in super::super) struct JoinTexts;

const SPEC: Spec = Spec {
    name: "join_texts",
    version: 1,
    group: Group::Value,
    about: "Joins the texts of a list to one.",
    inputs: &[Port::new("texts", TEXT, "The texts.").list()],
    parameters: &[
        Param::new("separator", ParamKind::Text { longest: 64 }, "What stands between two.").or(Preset::Text(", "))
    ],
    outputs: &[Gives::new("text", Kind::Text, "All of them; empty where there are none.")],
};

impl Block for JoinTexts {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let values = input.values("texts");
        let texts =
            values.iter().filter_map(|value| if let Value::Text(text) = value { Some(text.as_str()) } else { None });
        let text = texts.collect::<Vec<_>>().join(input.settings.text("separator"));
        if text.len() > LONGEST_TEXT {
            let message = format!("the texts have {} bytes together, and {LONGEST_TEXT} are the most", text.len());
            return Err(BlockError::too_large(message));
        }
        Ok(Output::of("text", Value::Text(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Seen, one_text, run};
    use super::*;

    fn joined(texts: &[&str]) -> Result<String, String> {
        let inputs: Vec<_> = texts.iter().map(|text| ("texts", Value::Text((*text).to_owned()))).collect();
        let output = run("join_texts@1", &inputs, r#"{"separator": "; "}"#, &Seen::nothing());
        output.map(|output| one_text(&output, "text")).map_err(|error| error.message)
    }

    #[test]
    fn texts_are_joined_in_order() {
        assert_eq!(joined(&["a", "b", "a"]), Ok("a; b; a".to_owned()));
        assert_eq!(joined(&[]), Ok(String::new()));
        assert!(joined(&[&"x".repeat(LONGEST_TEXT), "y"]).expect_err("too long").contains("the most"));
    }
}
