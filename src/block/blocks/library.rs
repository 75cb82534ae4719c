//! Pictures that become photos.

use super::super::coded::picture_file;
use super::super::spec::{ANY, Group, IMAGE, Param, ParamKind, Port, Preset, Spec};
use super::super::{Block, BlockError, Context, Effect, Input, Output};

pub(in super::super) struct Library;

const SPEC: Spec = Spec {
    name: "library",
    version: 1,
    group: Group::Sink,
    about: "Puts a picture into the library, with tags.",
    inputs: &[
        Port::new("image", IMAGE, "The picture."),
        Port::new("a", ANY, "A value for the tags.").optional(),
        Port::new("b", ANY, "A value for the tags.").optional(),
        Port::new("c", ANY, "A value for the tags.").optional(),
    ],
    parameters: &[Param::new(
        "tags",
        ParamKind::Templates,
        "Its tags: texts, with {{ a }}, {{ b }} and {{ c }}; empty ones are left out.",
    )
    .or(Preset::Nothing)],
    outputs: &[],
};

impl Block for Library {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let file = picture_file(input.image("image")?)?;
        let values = input.as_variables(&["image", "a", "b", "c"]);
        let mut tags: Vec<String> = Vec::new();
        for template in input.settings.expressions("tags") {
            let tag = template.render(&values).map_err(BlockError::step)?.trim().to_owned();
            if !tag.is_empty() && !tags.contains(&tag) {
                tags.push(tag);
            }
        }
        Ok(Output::effect(Effect::Photo { file, tags }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Value;
    use super::super::super::fixture::{Seen, image, run};
    use super::*;

    #[test]
    fn tags_are_filled_in_once_each() {
        let inputs = [("image", image(8, 8)), ("a", Value::Text("dog".to_owned()))];
        let parameters = r#"{"tags": ["seen", " {{ a }}", "dog", "{% if a == 'cat' %}cat{% endif %}"]}"#;
        let output = run("library@1", &inputs, parameters, &Seen::nothing()).expect("a photo");
        let [Effect::Photo { file, tags }] = output.effects.as_slice() else { panic!("{:?}", output.effects) };
        assert_eq!(file.media_type, "image/jpeg");
        assert_eq!(*tags, ["seen", "dog"]);
    }
}
