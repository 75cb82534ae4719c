//! Values that a receiver gets by HTTP.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::super::coded::picture_file;
use super::super::settings::{Settings, Wrong};
use super::super::spec::{ANY, Group, IMAGE, Param, ParamKind, Port, Preset, Spec};
use super::super::{Block, BlockError, Context, Effect, Input, Models, Output};

const VALUES: [&str; 3] = ["a", "b", "c"];

pub(in super::super) struct Webhook;

const SPEC: Spec = Spec {
    name: "webhook",
    version: 1,
    group: Group::Sink,
    about: "Posts values as JSON to a webhook of the configuration, once the execution is kept; without a link they wait.",
    inputs: &[
        Port::new("image", IMAGE, "A picture beside the values.").may_lack(),
        Port::new("a", ANY, "A value.").optional(),
        Port::new("b", ANY, "A value.").optional(),
        Port::new("c", ANY, "A value.").optional(),
    ],
    parameters: &[
        Param::new("webhook", ParamKind::Webhook, "Which one: name in [webhook.<name>]."),
        Param::new("message", ParamKind::Template, "A text beside the values, with {{ a }}, {{ b }} and {{ c }}.")
            .or(Preset::Text("")),
    ],
    outputs: &[],
};

impl Block for Webhook {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn check(&self, settings: &Settings, models: &dyn Models) -> Vec<Wrong> {
        let (name, known) = (settings.text("webhook"), models.webhooks());
        if known.iter().any(|known| known == name) {
            return Vec::new();
        }
        let cure = match known.as_slice() {
            [] => "configure one: [webhook.<name>] with its url".to_owned(),
            known => format!("use one of {}", known.join(", ")),
        };
        vec![Wrong::new("webhook", format!("there is no webhook {name:?}"), cure)]
    }

    fn run(&self, input: &Input<'_>, _: &Context<'_>) -> Result<Output, BlockError> {
        let message = input.expression("message")?.render(&input.as_variables(&["image", "a", "b", "c"]));
        let message = message.map_err(BlockError::step)?;
        let values: Map<String, Value> =
            VALUES.iter().filter_map(|name| Some(((*name).to_owned(), input.value(name)?.to_json()))).collect();
        let mut body = json!({ "values": values });
        if !message.is_empty() {
            body["message"] = message.into();
        }
        if let Some(file) = input.optional_image("image").map(picture_file).transpose()? {
            body["picture"] = json!({ "media_type": file.media_type, "base64": STANDARD.encode(&file.bytes) });
        }
        Ok(Output::effect(Effect::Post { webhook: input.settings.text("webhook").to_owned(), body }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Value as Made;
    use super::super::super::fixture::{Seen, image, objects, run, settings};
    use super::*;

    #[test]
    fn values_are_json_the_message_is_filled_in_and_the_picture_is_coded() {
        let parameters = r#"{"webhook": "office", "message": "{{ a }} dogs"}"#;
        let post = |inputs: &[(&'static str, Made)]| {
            let output = run("webhook@1", inputs, parameters, &Seen::nothing()).expect("a post");
            match output.effects.as_slice() {
                [Effect::Post { webhook, body }] => (webhook.clone(), body.clone()),
                other => panic!("{other:?}"),
            }
        };
        let dogs = objects(&[("dog", 0.5, [0.0, 0.0, 0.5, 0.5])]);
        let (webhook, body) = post(&[("a", Made::Number(2.0)), ("b", dogs), ("image", image(8, 8))]);
        assert_eq!((webhook.as_str(), &body["message"]), ("office", &"2 dogs".into()));
        assert_eq!(body["values"]["a"], 2.0);
        assert_eq!(body["values"]["b"][0]["label"], "dog");
        let picture = STANDARD.decode(body["picture"]["base64"].as_str().expect("a text")).expect("base64");
        assert_eq!((&body["picture"]["media_type"], &picture[..2]), (&"image/jpeg".into(), &[0xff, 0xd8][..]));
        let (_, bare) = post(&[("a", Made::Number(2.0))]);
        assert!(bare.get("picture").is_none() && bare["values"].get("b").is_none(), "{bare}");
    }

    #[test]
    fn a_webhook_that_is_not_configured_is_refused() {
        let wrong = settings("webhook", r#"{"webhook": "ofice"}"#, &Seen::nothing()).expect_err("refused");
        assert_eq!((wrong[0].field.as_str(), wrong[0].cure.as_str()), ("webhook", "use one of office"));
    }
}
