//! What is in the picture: a model that is installed on the box looks.

use super::super::settings::{Settings, Wrong};
use super::super::spec::{Group, IMAGE, Param, ParamKind, Port, Preset, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Input, Models, Object, Objects, Output, Value};
use crate::execution::Kind;

pub(in super::super) struct Detect;

const SPEC: Spec = Spec {
    name: "detect",
    version: 1,
    group: Group::Vision,
    about: "Finds things in a picture with a model that is installed.",
    inputs: &[Port::new("image", IMAGE, "The picture.")],
    parameters: &[
        Param::new("model", ParamKind::Model, "The model that looks."),
        Param::new("min_score", ParamKind::Number { min: 0.01, max: 1.0 }, "Things below this score are left out.")
            .or(Preset::Number(0.4)),
        Param::new("labels", ParamKind::Texts, "Labels that count; none for all.").or(Preset::Nothing),
    ],
    outputs: &[Gives::new("objects", Kind::Objects, "What was found, best first.")],
};

impl Block for Detect {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn check(&self, settings: &Settings, models: &dyn Models) -> Vec<Wrong> {
        let Some(known) = models.labels(settings.text("model")) else { return Vec::new() };
        let unknown = settings.texts("labels").iter().filter(|label| !known.iter().any(|known| **known == ***label));
        let wrong = unknown.map(|label| {
            let closeness = |known: &&std::sync::Arc<str>| (strsim::jaro_winkler(known, label) * 1e6) as u32;
            let nearest =
                known.iter().max_by_key(closeness).map_or_else(String::new, |known| format!("did you mean {known}?"));
            Wrong::new("labels", format!("model {} knows no label {label:?}", settings.text("model")), nearest)
        });
        wrong.collect()
    }

    fn run(&self, input: &Input<'_>, context: &Context<'_>) -> Result<Output, BlockError> {
        let (image, settings) = (input.image("image")?, input.settings);
        let labels = settings.texts("labels");
        let found =
            context.detect(settings.text("model"), image.picture.clone(), settings.number("min_score") as f32)?;
        let wanted =
            found.into_iter().filter(|found| labels.is_empty() || labels.iter().any(|label| **label == *found.label));
        let objects = wanted.map(Object::from).collect();
        Ok(Output::of("objects", Value::Objects(Objects { objects, place: image.place })))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Seen, image, one_objects, run, settings};

    const MODEL: &str = r#"{"model": "seer"}"#;

    #[test]
    fn labels_and_scores_that_are_not_asked_for_are_left_out() {
        let models = Seen::things(&[("dog", 0.9, [0.1, 0.1, 0.2, 0.2]), ("person", 0.5, [0.5, 0.5, 0.2, 0.2])]);
        let labels = |parameters: &str| {
            let output = run("detect@1", &[("image", image(8, 6))], parameters, &models).expect("found");
            one_objects(&output, "objects").objects.iter().map(|found| found.label.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(labels(MODEL), ["dog", "person"]);
        assert_eq!(labels(r#"{"model": "seer", "min_score": 0.6}"#), ["dog"]);
        assert_eq!(labels(r#"{"model": "seer", "labels": ["person"]}"#), ["person"]);
        assert_eq!(*models.shown.lock(), [(8, 6); 3]);
    }

    #[test]
    fn a_picture_without_things_has_an_empty_result() {
        let output = run("detect@1", &[("image", image(8, 6))], MODEL, &Seen::nothing()).expect("nothing found");
        assert!(one_objects(&output, "objects").objects.is_empty());
    }

    #[test]
    fn a_label_that_the_model_does_not_know_is_refused() {
        let wrong =
            settings("detect", r#"{"model": "seer", "labels": ["parson"]}"#, &Seen::nothing()).expect_err("refused");
        assert_eq!((wrong[0].field.as_str(), wrong[0].cure.as_str()), ("labels", "did you mean person?"));
    }
}
