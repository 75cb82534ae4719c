//! People are alerted.

use super::super::coded::picture_file;
use super::super::spec::{ANY, Group, IMAGE, Param, ParamKind, Port, Spec};
use super::super::{Block, BlockError, Context, Effect, Input, Output};

pub(in super::super) struct Alert;

const SPEC: Spec = Spec {
    name: "alert",
    version: 1,
    group: Group::Sink,
    about: "Alerts people each time it runs; a condition before it says when.",
    inputs: &[
        Port::new("image", IMAGE, "A picture beside the message.").may_lack(),
        Port::new("a", ANY, "A value for the message.").optional(),
        Port::new("b", ANY, "A value for the message.").optional(),
        Port::new("c", ANY, "A value for the message.").optional(),
    ],
    parameters: &[Param::new("message", ParamKind::Template, "What it says: text, with {{ a }}, {{ b }} and {{ c }}.")],
    outputs: &[],
};

impl Block for Alert {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let values = input.as_variables(&["image", "a", "b", "c"]);
        let message = input.expression("message")?.render(&values).map_err(BlockError::step)?;
        let picture = input.optional_image("image").map(picture_file).transpose()?;
        Ok(Output::effect(Effect::Alert { message, picture }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Value;
    use super::super::super::fixture::{Seen, image, run, settings};
    use super::*;

    #[test]
    fn the_message_is_filled_in_and_the_picture_is_coded() {
        let parameters = r#"{"message": "{{ a }} people"}"#;
        let alert = |inputs: &[(&'static str, Value)]| {
            let output = run("alert@1", inputs, parameters, &Seen::nothing()).expect("an alert");
            match output.effects.as_slice() {
                [Effect::Alert { message, picture }] => (message.clone(), picture.as_ref().map(|file| file.media_type)),
                other => panic!("{other:?}"),
            }
        };
        let with = [("a", Value::Number(3.0)), ("image", image(8, 8))];
        assert_eq!(alert(&with), ("3 people".to_owned(), Some("image/jpeg")));
        assert_eq!(alert(&with[..1]), ("3 people".to_owned(), None));
    }

    #[test]
    fn a_name_that_is_no_input_is_refused() {
        let wrong = settings("alert", r#"{"message": "{{ people }} people"}"#, &Seen::nothing()).expect_err("refused");
        assert!(wrong[0].reason.contains("uses people") && wrong[0].cure.contains("a, b, c"), "{wrong:?}");
    }
}
