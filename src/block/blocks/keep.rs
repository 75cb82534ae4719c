//! What stays with the execution.

use super::super::coded::value_file;
use super::super::settings::{Settings, Wrong};
use super::super::spec::{ANY, Group, Param, ParamKind, Port, Preset, Spec};
use super::super::{Block, BlockError, Context, Effect, Input, Models, Output};
use crate::execution::{LONGEST_NAME, is_name};

pub(in super::super) struct Keep;

const SPEC: Spec = Spec {
    name: "keep",
    version: 1,
    group: Group::Sink,
    about: "Keeps a value as a file with the execution, and delivers it: pictures as JPEG or as encode sets it, all else as JSON.",
    inputs: &[Port::new("value", ANY, "What is kept.")],
    parameters: &[Param::new(
        "name",
        ParamKind::Text { longest: LONGEST_NAME },
        "The name of the file, without its extension.",
    )
    .or(Preset::Text("result"))],
    outputs: &[],
};

impl Block for Keep {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn check(&self, settings: &Settings, _: &dyn Models) -> Vec<Wrong> {
        let name = settings.text("name");
        if is_name(name) {
            return Vec::new();
        }
        vec![Wrong::new("name", format!("{name:?} is no name"), "use letters, digits, - and _")]
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let file = value_file(input.required("value")?)?;
        Ok(Output::effect(Effect::Keep { name: input.settings.text("name").to_owned(), file }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Value;
    use super::super::super::fixture::{Seen, image, one, run, settings};
    use super::*;

    fn kept(value: Value) -> (String, &'static str, Vec<u8>) {
        let output = run("keep@1", &[("value", value)], r#"{"name": "dogs"}"#, &Seen::nothing()).expect("kept");
        match output.effects.as_slice() {
            [Effect::Keep { name, file }] => (name.clone(), file.media_type, file.bytes.clone()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pictures_are_kept_as_they_are_coded_and_values_as_json() {
        assert_eq!(kept(image(8, 8)).1, "image/jpeg");
        let encoded =
            run("encode@1", &[("image", image(8, 8))], r#"{"format": "png"}"#, &Seen::nothing()).expect("PNG");
        assert_eq!(kept(one(&encoded, "image")).1, "image/png");
        assert_eq!(kept(Value::Number(2.5)), ("dogs".to_owned(), "application/json", b"2.5".to_vec()));
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        let wrong = settings("keep", r#"{"name": "../x"}"#, &Seen::nothing()).expect_err("refused");
        assert_eq!(wrong[0].field, "name");
    }
}
