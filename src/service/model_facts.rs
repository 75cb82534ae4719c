//! What is said of models, and why one is not tried.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::detection::Detection;
use crate::frame::ForeignError;
use crate::infer::Speed;

/// How a model is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelUse {
    /// It is installed, and no camera uses it.
    Unused,
    /// It is read, optimised and tried.
    Loading,
    /// It looks at pictures.
    Ready,
    /// It cannot be used.
    Broken,
}

/// A model.
#[derive(Clone, Debug, Serialize)]
pub struct ModelStatus {
    /// Its name.
    pub name: String,
    /// How it is doing.
    pub state: ModelUse,
    /// Why it cannot be used, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The cameras that use it.
    pub cameras: Vec<String>,
    /// The version in use, or the newest that can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Its versions, the newest first.
    pub versions: Vec<VersionStatus>,
    /// What the manifest of that version says, where it can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<ManifestFacts>,
    /// How fast it is on this box, once it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<SpeedStatus>,
}

/// A version of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VersionStatus {
    /// Its number.
    pub version: u32,
    /// How it is doing.
    pub state: ModelUse,
    /// Why it cannot be used, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a model gave for a program.
#[derive(Clone, Debug, PartialEq)]
pub struct Inferred {
    /// What it found, best first.
    pub detections: Vec<Detection>,
    /// The number of each one's label in the model's list.
    pub classes: Vec<i64>,
    /// Which version looked.
    pub version: u32,
}

/// What a manifest says.
#[derive(Clone, Debug, Serialize)]
pub struct ManifestFacts {
    /// The ONNX file.
    pub file: String,
    /// Its size, bytes; absent where it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Its SHA-256, hex.
    pub sha256: String,
    /// Width of its input, pixels.
    pub width: u32,
    /// Height of its input, pixels.
    pub height: u32,
    /// Threads that share the work on one picture.
    pub threads: usize,
    /// The labels, in the model's order; empty where they cannot be read.
    pub labels: Vec<Arc<str>>,
    /// Licence of the weights.
    pub licence: String,
    /// Author and origin.
    pub origin: String,
}

/// What the last runs of a model took on this box, from the picture to the detections.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SpeedStatus {
    /// How many runs these are.
    pub runs: usize,
    /// Half of them took no longer, milliseconds.
    pub median_ms: f64,
    /// 95 of 100 took no longer, milliseconds.
    pub p95_ms: f64,
}

impl From<Speed> for SpeedStatus {
    fn from(Speed { runs, median, p95 }: Speed) -> Self {
        Self { runs, median_ms: milliseconds(median), p95_ms: milliseconds(p95) }
    }
}

/// To tenths.
pub(super) fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 10_000.0).round() / 10.0
}

/// What a model found in a picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FoundThings {
    /// The model.
    pub model: String,
    /// Width of the upright picture, pixels.
    pub width: u32,
    /// Height of the upright picture, pixels.
    pub height: u32,
    /// How long the model took, milliseconds.
    pub took_ms: f64,
    /// How long the picture waited for a thread before, milliseconds.
    pub waited_ms: f64,
    /// What it found, best first.
    pub detections: Vec<Detection>,
}

/// A model is not tried.
#[derive(Debug, thiserror::Error)]
pub enum ModelRefusal {
    /// There is no such model.
    #[error("{0}")]
    Unknown(String),
    /// It cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// The picture is none.
    #[error(transparent)]
    Picture(#[from] ForeignError),
    /// A tensor does not fit.
    #[error("{0}")]
    Tensor(String),
    /// Others are at it, or the box has too much to do.
    #[error("{0}")]
    Busy(String),
    /// The process ends.
    #[error("inference is being shut down; try again when the daemon runs")]
    Stopping,
}

/// What a model itself takes and gives, as 32-bit numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelTensors {
    /// Shape of its input.
    pub input: Vec<usize>,
    /// Names and shapes of its outputs.
    pub outputs: Vec<(String, Vec<usize>)>,
}
