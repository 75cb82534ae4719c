//! The settings of cameras, as page and API see and change them.

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use super::probe::ProbeSource;
use crate::status::{ConfigProblem, ConfigStatus};

/// What is to be done with the settings of a camera.
#[derive(Clone, Debug, PartialEq)]
pub enum CameraEdit {
    /// A camera more.
    Add {
        /// Its name.
        name: String,
        /// Its keys.
        settings: Map<String, Value>,
    },
    /// Other settings.
    Change {
        /// Its name.
        name: String,
        /// A JSON merge patch of its keys.
        patch: Map<String, Value>,
    },
    /// A camera less. What it recorded stays.
    Remove {
        /// Its name.
        name: String,
    },
}

impl CameraEdit {
    /// Which camera it is about.
    pub fn camera(&self) -> &str {
        match self {
            Self::Add { name, .. } | Self::Change { name, .. } | Self::Remove { name } => name,
        }
    }
}

/// The settings of a camera, without secrets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CameraSettings {
    /// Its name.
    pub camera: String,
    /// Stands for this state of the files.
    pub revision: String,
    /// The file in which they are set.
    pub file: String,
    /// The keys that are set there.
    pub settings: Value,
    /// All keys, with their defaults.
    pub effective: Value,
    /// Labels that its model knows; none where the model is not there.
    pub labels: Vec<String>,
}

/// An edit that is in use; whether it stays is not known yet while the status says `confirming`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Edited {
    /// Stands for the state of the files now.
    pub revision: String,
    /// The file that was written; absent where nothing was to be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Which configuration is in use.
    pub status: ConfigStatus,
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditRefusal {
    /// No such camera.
    #[error("the configuration has no camera {0:?}")]
    Unknown(String),
    /// There is one with this name.
    #[error("the configuration has a camera {0:?} already: choose another name")]
    Exists(String),
    /// The files are others than the caller knows.
    #[error("the configuration was changed meanwhile: read it again; its revision is {0}")]
    Changed(String),
    /// It would not be a configuration that can be used.
    #[error("{reason}")]
    Invalid {
        /// Why, in words for the operator.
        reason: String,
        /// Each thing that is wrong.
        problems: Vec<ConfigProblem>,
    },
    /// The disk or its rights.
    #[error("{0}")]
    NotWritten(String),
    /// Others wait for their turn.
    #[error("other changes of the configuration wait for their turn: try again in a moment")]
    Busy,
    /// The daemon is about to end.
    #[error("the daemon is stopping")]
    Stopping,
}

/// A request for an edit.
#[derive(Debug)]
pub struct EditRequest {
    /// What is to be done.
    pub edit: CameraEdit,
    /// The revision that the caller knows; none: any.
    pub revision: Option<String>,
    /// Gets what came of it.
    pub reply: oneshot::Sender<Result<Edited, EditRefusal>>,
}

/// A request for a source that is to be tried.
#[derive(Debug)]
pub struct SourceRequest {
    /// The camera whose source it changes; none: a new one.
    pub camera: Option<String>,
    /// Keys of the source.
    pub source: Map<String, Value>,
    /// Gets it.
    pub reply: oneshot::Sender<Result<ProbeSource, EditRefusal>>,
}

/// A request for the settings of a camera.
#[derive(Debug)]
pub struct SettingsRequest {
    /// Its name.
    pub camera: String,
    /// Gets them.
    pub reply: oneshot::Sender<Result<CameraSettings, EditRefusal>>,
}
