//! What a picture shows as a whole: a classifier that is installed on the box looks.

use super::super::settings::{Settings, Wrong};
use super::super::spec::{Group, IMAGE, Param, ParamKind, Port, Preset, Result as Gives, Spec};
use super::super::{Block, BlockError, Context, Input, Models, Output, Table, TableCell, Value};
use crate::execution::Kind;

pub(in super::super) struct Classify;

const COLUMNS: [&str; 2] = ["label", "score"];

const SPEC: Spec = Spec {
    name: "classify",
    version: 1,
    group: Group::Vision,
    about: "Says what a picture shows as a whole, with a classifier that is installed.",
    inputs: &[Port::new("image", IMAGE, "The picture.")],
    parameters: &[
        Param::new("model", ParamKind::Model, "The classifier that looks."),
        Param::new("top", ParamKind::Whole { min: 1.0, max: 100.0 }, "How many labels are given at most.")
            .or(Preset::Number(5.0)),
        Param::new("min_score", ParamKind::Number { min: 0.0, max: 1.0 }, "Labels below this score are left out.")
            .or(Preset::Number(0.0)),
    ],
    outputs: &[
        Gives::new("label", Kind::Text, "The label with the best score; empty where none is left."),
        Gives::new("score", Kind::Number, "Its score, 0 to 1; 0 where none is left."),
        Gives::new("table", Kind::Table, "A row for each label: label, score; best first."),
    ],
};

impl Block for Classify {
    fn spec(&self) -> &'static Spec {
        &SPEC
    }

    fn check(&self, settings: &Settings, models: &dyn Models) -> Vec<Wrong> {
        let model = settings.text("model");
        if models.classifies(model) != Some(false) {
            return Vec::new();
        }
        let reason = format!("model {model} finds things and does not classify pictures");
        vec![Wrong::new("model", reason, "use detect@1, or a model with head classify".to_owned())]
    }

    fn run(&self, input: &Input<'_>, context: &Context<'_>) -> Result<Output, BlockError> {
        let (image, settings) = (input.image("image")?, input.settings);
        let found =
            context.detect(settings.text("model"), image.picture.clone(), settings.number("min_score") as f32)?;
        let found = found.get(..settings.whole("top") as usize).unwrap_or(&found);
        let row =
            |label: &str, score: f32| vec![TableCell::Text(label.to_owned()), TableCell::Number(f64::from(score))];
        let rows = found.iter().map(|found| row(&found.label, found.score)).collect();
        let best = found.first();
        let label = best.map(|best| best.label.to_string()).unwrap_or_default();
        let score = best.map_or(0.0, |best| f64::from(best.score));
        let table = Table { columns: COLUMNS.map(str::to_owned).to_vec(), rows };
        Ok(Output::of("table", Value::Table(table)).and("label", Value::Text(label)).and("score", Value::Number(score)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Seen, image, one_number, one_table, one_text, run, settings};
    use super::*;

    const WHOLE: [f32; 4] = [0.0, 0.0, 1.0, 1.0];

    fn judge() -> Seen {
        let labels = [("dog", 0.5, WHOLE), ("cat", 0.25, WHOLE), ("person", 0.125, WHOLE)];
        Seen { classifies: Some(true), ..Seen::things(&labels) }
    }

    #[test]
    fn labels_come_with_their_scores_the_best_first() {
        let given = |parameters: &str| {
            let output = run("classify@1", &[("image", image(8, 6))], parameters, &judge()).expect("classified");
            let table = one_table(&output, "table");
            assert_eq!(table.columns, COLUMNS);
            (one_text(&output, "label"), one_number(&output, "score"), table.rows)
        };
        let row = |label: &str, score: f64| vec![TableCell::Text(label.to_owned()), TableCell::Number(score)];
        let all = vec![row("dog", 0.5), row("cat", 0.25), row("person", 0.125)];
        assert_eq!(given(r#"{"model": "seer"}"#), ("dog".to_owned(), 0.5, all.clone()));
        assert_eq!(given(r#"{"model": "seer", "top": 2}"#).2, all[..2]);
        assert_eq!(given(r#"{"model": "seer", "min_score": 0.2}"#).2, all[..2]);
        assert_eq!(given(r#"{"model": "seer", "min_score": 0.6}"#), (String::new(), 0.0, Vec::new()));
    }

    #[test]
    fn a_model_that_finds_things_is_refused() {
        let finder = Seen { classifies: Some(false), ..Seen::nothing() };
        let wrong = settings("classify", r#"{"model": "seer"}"#, &finder).expect_err("refused");
        assert_eq!(wrong[0].field, "model");
        assert!(wrong[0].cure.contains("use detect@1"), "{:?}", wrong[0].cure);
        assert!(settings("classify", r#"{"model": "seer"}"#, &judge()).is_ok());
    }
}
