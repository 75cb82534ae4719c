//! Pipelines as they are written: TOML in a file, JSON in the API, the same fields in both.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Version of the format.
pub const FORMAT: u32 = 1;
/// Longest name of a pipeline, step, input, output or parameter, bytes.
pub const LONGEST_NAME: usize = 64;
/// Most steps of a pipeline.
pub const MOST_STEPS: usize = 100;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A picture.
    Image,
    /// Things in a picture: label, score, box.
    Objects,
    /// Areas of a picture, with names.
    Regions,
    /// Text.
    Text,
    /// A number.
    Number,
    /// Rows of named values.
    Table,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Image, Self::Objects, Self::Regions, Self::Text, Self::Number, Self::Table];

    /// Its written form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Objects => "objects",
            Self::Regions => "regions",
            Self::Text => "text",
            Self::Number => "number",
            Self::Table => "table",
        }
    }
}

/// A pipeline: a directed acyclic graph of steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Version of this format: 1.
    #[serde(default = "format")]
    pub format: u32,
    /// Its name: letters, digits, `-` and `_`.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// What it is given.
    #[serde(default = "one_image")]
    pub inputs: BTreeMap<String, InputDefinition>,
    /// Values that an execution may set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, ParameterDefinition>,
    /// The steps, in any order.
    #[serde(default)]
    pub steps: Vec<StepDefinition>,
    /// What it gives: names, and what of which step that is (`$steps.find.objects`).
    #[serde(default)]
    pub outputs: BTreeMap<String, String>,
    /// Where the editor draws its steps. Means nothing.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub ui: Value,
}

/// One input of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputDefinition {
    /// What it is. Pictures alone come in.
    pub kind: Kind,
}

/// A value that an execution may set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParameterDefinition {
    /// Its value where none is set.
    pub default: Value,
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepDefinition {
    /// Its name in the pipeline: letters, digits, `-` and `_`.
    pub id: String,
    /// Its block and the version of that: `detect@1`.
    #[serde(rename = "type")]
    pub block: String,
    /// Where its inputs come from: `$inputs.image`, `$steps.find.objects`.
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
    /// Its settings: values, or `$parameters.NAME`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, Value>,
}

fn format() -> u32 {
    FORMAT
}

fn one_image() -> BTreeMap<String, InputDefinition> {
    BTreeMap::from([("image".to_owned(), InputDefinition { kind: Kind::Image })])
}

/// Whether `name` may be the name of a pipeline, step, input, output or parameter.
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITTEN: &str = r#"
        name = "people"
        about = "Who is in the picture?"

        [parameters.least]
        default = 0.5

        [[steps]]
        id = "find"
        type = "detect@1"
        inputs = { image = "$inputs.image" }
        parameters = { model = "nanodet-g-320", min_score = "$parameters.least" }

        [outputs]
        found = "$steps.find.objects"

        [ui.find]
        x = 40
    "#;

    #[test]
    fn the_file_and_the_api_have_the_same_form() {
        let pipeline: Pipeline = toml::from_str(WRITTEN).expect("TOML");
        assert_eq!((pipeline.format, pipeline.inputs["image"].kind), (FORMAT, Kind::Image));
        let json = serde_json::to_string(&pipeline).expect("JSON");
        assert_eq!(serde_json::from_str::<Pipeline>(&json).expect("read again"), pipeline);
        let text = toml::to_string(&pipeline).expect("TOML again");
        assert_eq!(toml::from_str::<Pipeline>(&text).expect("read again"), pipeline);
    }

    #[test]
    fn a_field_that_is_misspelt_is_refused() {
        let wrong = toml::from_str::<Pipeline>("name = 'a'\nstep = []\n").expect_err("refused");
        assert!(wrong.to_string().contains("unknown field `step`"), "{wrong}");
    }

    #[test]
    fn names_are_plain() {
        for name in ["a", "find-2", "Count_all", "1"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "-a", "a b", "a.b", "../a", "ä", &"a".repeat(LONGEST_NAME + 1)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
