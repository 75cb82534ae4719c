//! The pipeline of a camera, as it is configured.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::is_name;

/// What the pipeline of a camera is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PipelineMode {
    /// It runs beside the camera's own detection.
    #[default]
    Beside,
    /// The objects that it gives take the place of what the camera's model finds: they are followed, and rules make events of
    /// them.
    Instead,
}

impl PipelineMode {
    /// Its name in the configuration and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Beside => "beside",
            Self::Instead => "instead",
        }
    }
}

/// The pipeline that a camera's pictures go through. TOML `[camera.<name>.pipeline]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CameraPipeline {
    /// Its name; empty: none. Default: empty.
    pub name: String,
    /// The version that runs; 0: the newest, soon after it is saved. Default: 0.
    pub version: u32,
    /// Whether it runs `beside` the camera's own detection, or `instead` of it. Default: beside.
    pub mode: PipelineMode,
    /// Values of the pipeline's parameters that differ from their defaults. Default: none.
    pub parameters: BTreeMap<String, Value>,
}

impl CameraPipeline {
    /// Whether there is one.
    pub fn is_set(&self) -> bool {
        !self.name.is_empty()
    }

    /// Whether its objects take the place of what a model finds.
    pub fn replaces_model(&self) -> bool {
        self.is_set() && self.mode == PipelineMode::Instead
    }

    /// Checks the values.
    ///
    /// # Errors
    /// A sentence that names the key.
    pub fn validate(&self) -> Result<(), String> {
        if self.is_set() && !is_name(&self.name) {
            return Err(format!("name is {:?}: names of pipelines have letters, digits, - and _", self.name));
        }
        if !self.is_set() && *self != Self::default() {
            return Err("name is missing: write which pipeline the camera's pictures go through".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_has_a_name_that_there_can_be() {
        let read = |text: &str| toml::from_str::<CameraPipeline>(text).expect("a table");
        assert!(!read("").is_set() && read("").validate().is_ok());
        let instead = read("name = 'people'\nmode = 'instead'\nparameters = { min_score = 0.5 }");
        assert!(instead.replaces_model() && instead.validate().is_ok());
        assert!(!read("name = 'people'").replaces_model());
        let wrong = |text: &str| read(text).validate().expect_err("refused");
        assert!(wrong("name = '../people'").contains("letters"));
        assert!(wrong("mode = 'instead'").contains("name is missing"));
    }
}
