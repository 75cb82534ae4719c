//! What is in the picture?
//!
//! A [`Detector`] is a model with everything around it: how a picture becomes its input
//! (`preprocess`), what runs it (`engine`), and what its output means (`heads`). It never changes once
//! it is loaded, so that cameras and threads share it. A [`Scheduler`] runs detectors on threads of its own: the
//! newest frame of each camera, and [`Job`]s of people and programs beside them.
//!
//! Models come as `<name>.toml` beside an ONNX file; see [`Manifest`] and models/NOTICE.md.

mod engine;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod graph_tests;
mod heads;
mod input;
mod loader;
mod model;
mod nms;
#[cfg(test)]
mod onnx_writer;
mod preprocess;
mod repository;
mod sample;
mod scheduler;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::detection::{BBox, Detection};
use crate::frame::{Picture, PictureError};

pub use engine::{Description, Engine, Output, OutputInfo};
pub use heads::{Activation, BoxOrder, BoxUnits, HeadSpec, Misfit};
pub use input::{Colour, InputSpec, Layout, Resize};
pub(crate) use loader::{Files, files_of};
pub use loader::{Loader, Model, Tried};
pub use model::{Manifest, ModelError};
pub use preprocess::{Fit, Input};
pub use repository::{Version, find, installed, parse_reference, unknown, versions};
pub use sample::photograph;
pub use scheduler::{
    Accepted, Answer, Detected, FailureKind, Job, JobError, Jobs, ModelStatistics, Outcome, PendingAnswer, Policy,
    Priority, Refused, Reply, Scheduler, Slot, Speed, TensorJob,
};

use heads::Head;
use preprocess::Preprocessor;

/// More threads than this are a slip of the finger.
const MAX_WORKERS: usize = 256;

/// A slow board under load must not look hung.
const MIN_HUNG_AFTER: Duration = Duration::from_secs(1);

/// Inference for the whole box: `[infer]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of the models and their manifests. Default `/usr/share/outpost/models`.
    pub model_dir: PathBuf,
    /// Threads that all cameras share. 0 stands for one fewer than the cores, at least one. Default 0.
    pub workers: usize,
    /// A detector that needs longer than this for one picture counts as hung: its thread is given up
    /// and replaced. Default 10s.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub hung_after: Duration,
    /// A model that needs longer than this for one picture, measured when it is loaded, is not used. No more than
    /// `hung_after` counts. Default 5s.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub max_picture_time: Duration,
}

/// How long one picture may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// While a model is loaded: one that needs longer is refused.
    pub load: Duration,
    /// Afterwards: a run that takes longer is broken off.
    pub run: Duration,
}

impl Limits {
    /// For callers that wait for the answer.
    pub const NONE: Self = Self { load: Duration::MAX, run: Duration::MAX };
}

impl Default for Config {
    fn default() -> Self {
        Self {
            model_dir: INSTALLED.into(),
            workers: 0,
            hung_after: Duration::from_secs(10),
            max_picture_time: Duration::from_secs(5),
        }
    }
}

/// Where the installed models are.
const INSTALLED: &str = "/usr/share/outpost/models";

impl Config {
    /// Where no models are installed, those that came with the program are used: beside it, in its prefix, or in its
    /// source tree. A folder that was chosen stays.
    pub fn find_models(&mut self) {
        if self.model_dir == Path::new(INSTALLED) && !self.model_dir.is_dir() {
            self.model_dir = repository::of_program().unwrap_or_else(|| INSTALLED.into());
        }
    }

    /// How long one picture may take.
    pub fn limits(&self) -> Limits {
        Limits { load: self.max_picture_time.min(self.hung_after), run: self.hung_after }
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// In words for the operator, naming the key.
    pub fn check(&self) -> Result<(), String> {
        if self.workers > MAX_WORKERS {
            return Err(format!("workers = {} is more than {MAX_WORKERS}", self.workers));
        }
        if self.hung_after < MIN_HUNG_AFTER {
            return Err(format!("hung_after = {:?} is less than {MIN_HUNG_AFTER:?}", self.hung_after));
        }
        if self.max_picture_time.is_zero() {
            return Err("max_picture_time = 0 leaves no time for any model".to_owned());
        }
        Ok(())
    }
}

/// Inference for one camera: `[camera.<name>.detect]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CameraConfig {
    /// Whether objects are looked for at all. Default true.
    pub enabled: bool,
    /// Name of the model. Default `nanodet-g-320`.
    pub model: String,
    /// Name of a model that needs less, for when the box has too much to do; empty for none. Default empty.
    pub light_model: String,
    /// Labels that count, as the model spells them; empty for all. Default empty.
    pub labels: Vec<String>,
    /// Detections below this score are dropped, 0 to 1. Default 0.4.
    pub min_score: f32,
    /// Pictures a second that the detector is shown at most. Default 5.
    pub fps: f32,
}

impl Default for CameraConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            model: "nanodet-g-320".into(),
            light_model: String::new(),
            labels: Vec::new(),
            min_score: 0.4,
            fps: 5.0,
        }
    }
}

impl CameraConfig {
    /// Whether things of this label count.
    pub fn wants(&self, label: &str) -> bool {
        self.labels.is_empty() || self.labels.iter().any(|wanted| wanted == label)
    }

    /// Checks the numbers, without a model.
    ///
    /// # Errors
    /// In words for the operator, naming the key.
    pub fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.min_score) {
            return Err(format!("min_score = {} is not between 0 and 1", self.min_score));
        }
        if !(self.fps > 0.0 && self.fps <= 120.0) {
            return Err(format!("fps = {} is not above 0 and at most 120", self.fps));
        }
        Ok(())
    }

    /// Checks that `detector` knows every label that is asked for: a misspelt label would never be seen.
    ///
    /// # Errors
    /// In words for the operator, each with the label that is spelt most alike.
    pub fn check_labels(&self, detector: &Detector) -> Result<(), String> {
        let wrong: Vec<String> = self.labels.iter().filter_map(|label| detector.lacks(label)).collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
    }
}

/// One picture could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InferError {
    /// The picture could not be scaled or converted.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// The picture has no pixels.
    #[error("the picture is {0}x{1} pixels")]
    Empty(u32, u32),
    /// An input of one's own has another size than that of the model.
    #[error("the model takes a tensor {expected:?}, not {found}")]
    Input {
        /// Shape of its input.
        expected: Vec<usize>,
        /// What it was given.
        found: String,
    },
    /// The engine failed.
    #[error("run the model: {0}")]
    Engine(String),
    /// The engine gave something else than it gave when the model was loaded.
    #[error("the model gave {found}, not {expected} as when it was loaded")]
    Shape {
        /// What it gives.
        expected: String,
        /// What it gave.
        found: String,
    },
}

/// A loaded model. Immutable; share it in an [`Arc`].
pub struct Detector {
    name: Arc<str>,
    version: u32,
    labels: Vec<Arc<str>>,
    preprocessor: Preprocessor,
    engine: Box<dyn Engine>,
    description: Description,
    head: Head,
    nms_iou: f32,
}

impl std::fmt::Debug for Detector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (width, height) = self.input_size();
        write!(f, "{} ({width}x{height}, {} labels, {})", self.name, self.labels.len(), self.description.engine)
    }
}

impl Detector {
    /// [`Detector::load_within`] without a limit.
    ///
    /// # Errors
    /// What is wrong with the model, in words for the operator.
    pub fn load(dir: &Path, name: &str) -> Result<Self, ModelError> {
        Self::load_within(dir, name, Limits::NONE)
    }

    /// Loads model `name` from folder `dir`, the newest version that can be; `name/2` is that version alone.
    ///
    /// # Errors
    /// What is wrong with the newest version, in words for the operator.
    pub fn load_within(dir: &Path, name: &str, limits: Limits) -> Result<Self, ModelError> {
        Self::load_newer(dir, name, 0, limits).map(|(detector, _)| detector)
    }

    /// The same among the versions above `than`; also which newer ones cannot be used, and why.
    ///
    /// # Errors
    /// What is wrong with the newest version, in words for the operator.
    pub fn load_newer(
        dir: &Path,
        name: &str,
        than: u32,
        limits: Limits,
    ) -> Result<(Self, Vec<(u32, ModelError)>), ModelError> {
        let mut failed = Vec::new();
        for version in versions(dir, name).into_iter().filter(|version| version.number > than) {
            match Self::load_version(&version, parse_reference(name).0, limits) {
                Ok(detector) => return Ok((detector, failed)),
                Err(error) => failed.push((version.number, error)),
            }
        }
        let newest = failed.into_iter().next().map(|(_, error)| error);
        Err(newest.unwrap_or_else(|| unknown(dir, name)))
    }

    /// Loads one version of model `name`: reads the manifest, verifies the checksums, optimises the
    /// graph, runs it, and makes sure that its output is what the manifest says: by its shape, and by what it
    /// gives for a photograph.
    ///
    /// Takes tenths of a second to minutes; call it on a thread that may wait.
    ///
    /// # Errors
    /// What is wrong with the model, in words for the operator.
    pub fn load_version(version: &Version, name: &str, limits: Limits) -> Result<Self, ModelError> {
        let dir = &version.folder;
        let manifest = Manifest::load(dir, name)?;
        let labels = manifest.read_labels(dir)?;
        let engine = engine::tract::TractEngine::load(dir, &manifest, limits)?;
        let detector = Self { version: version.number, ..Self::with_engine(&manifest, labels, Box::new(engine))? };
        detector.look_at_sample().map_err(|doubt| ModelError::Meaning { model: manifest.name, doubt })?;
        Ok(detector)
    }

    /// Puts a detector together around an engine of one's own.
    ///
    /// # Errors
    /// When the engine's output is not what the manifest says.
    pub fn with_engine(
        manifest: &Manifest,
        labels: Vec<Arc<str>>,
        engine: Box<dyn Engine>,
    ) -> Result<Self, ModelError> {
        let description = engine.describe();
        let shapes: Vec<_> = description.outputs.iter().map(|output| output.shape.as_slice()).collect();
        let names: Vec<_> = description.outputs.iter().map(|output| output.name.as_str()).collect();
        let head = Head::fit(&manifest.head, &manifest.input, labels.len(), &names, &shapes)
            .map_err(|misfit| ModelError::Head { model: manifest.name.clone(), misfit })?;
        Ok(Self {
            name: manifest.name.as_str().into(),
            version: 1,
            labels,
            preprocessor: Preprocessor::new(&manifest.input),
            engine,
            description,
            head,
            nms_iou: manifest.head.nms_iou(),
        })
    }

    /// Which version of the model it is.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Whether this is what a configuration means by `reference`, a name or `name/2`.
    pub fn is(&self, reference: &str) -> bool {
        let (name, version) = parse_reference(reference);
        *name == *self.name && version.is_none_or(|version| version == self.version)
    }

    /// Name of the model.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Whether it says what a picture shows as a whole: each detection covers what it was shown.
    pub fn is_classifier(&self) -> bool {
        matches!(self.head, Head::Classify(_))
    }

    /// All labels that it can give, in the model's order.
    pub fn labels(&self) -> &[Arc<str>] {
        &self.labels
    }

    /// What is wrong with a label that it does not know, with the one that is spelt most alike.
    pub fn lacks(&self, label: &str) -> Option<String> {
        if self.labels.iter().any(|known| **known == *label) {
            return None;
        }
        let closeness = |known: &&Arc<str>| (strsim::jaro_winkler(known, label) * 1e6) as u32;
        let hint = self.labels.iter().max_by_key(closeness);
        let hint = hint.map(|known| format!("; did you mean {known:?}?")).unwrap_or_default();
        Some(format!("model {} knows no label {label:?}{hint}", self.name()))
    }

    /// Width and height of its input, pixels.
    pub fn input_size(&self) -> (u32, u32) {
        self.preprocessor.size()
    }

    /// Scales and converts a picture to the model's input. The picture is asked for its pixels once, at
    /// the size that the model wants.
    ///
    /// # Errors
    /// When the picture cannot be converted.
    pub fn prepare(&self, picture: &dyn Picture) -> Result<Input, InferError> {
        self.preprocessor.prepare(picture)
    }

    /// Runs the model and reads its output. Detections come best first, at least `min_score`, boxes cut
    /// to the picture.
    ///
    /// # Errors
    /// When the engine fails.
    pub fn run(&self, input: &Input, min_score: f32) -> Result<Vec<Detection>, InferError> {
        let outputs = self.engine.run(input.data())?;
        self.check_shapes(&outputs)?;
        let candidates = self.head.decode(&outputs, min_score);
        let kept = nms::suppress(candidates, self.nms_iou);
        let fit = input.fit();
        let detections = kept.into_iter().filter_map(|candidate| {
            let [x0, y0, x1, y1] = fit.to_picture(candidate.corners);
            let bbox = BBox::from_corners(x0, y0, x1, y1);
            // A box that lies in the padding has nothing left once it is cut.
            let visible = bbox.w > 0.0 && bbox.h > 0.0;
            let label = self.labels.get(candidate.class)?.clone();
            let shape = || self.head.shape(&outputs, &candidate, fit).map(Arc::new);
            visible.then(|| Detection { label, score: candidate.score, bbox, shape: shape() })
        });
        Ok(detections.collect())
    }

    /// Shape of its input tensor.
    pub fn input_shape(&self) -> &[usize] {
        &self.description.input
    }

    /// Names and shapes of its output tensors, as it gave them when it was loaded.
    pub fn output_shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.description.outputs.iter().map(|output| (output.name.as_str(), output.shape.as_slice()))
    }

    /// What the model itself gives for an input of one's own: numbers in its layout, as many as its input holds, scaled as it
    /// was trained. The outputs have their names in the model.
    ///
    /// # Errors
    /// When there are too few or too many numbers, or the engine fails.
    pub fn run_tensor(&self, input: &[f32]) -> Result<Vec<(String, Output)>, InferError> {
        let wanted = self.description.input.iter().product::<usize>();
        if input.len() != wanted {
            let found = format!("{} numbers", input.len());
            return Err(InferError::Input { expected: self.description.input.clone(), found });
        }
        let names = self.description.outputs.iter().map(|output| output.name.clone());
        Ok(names.zip(self.engine.run(input)?).collect())
    }

    /// [`Detector::prepare`] and [`Detector::run`] in one.
    ///
    /// # Errors
    /// When the picture cannot be converted or the engine fails.
    pub fn detect(&self, picture: &dyn Picture, min_score: f32) -> Result<Vec<Detection>, InferError> {
        self.run(&self.prepare(picture)?, min_score)
    }

    /// The head was fitted to the shapes seen at load time; it must never read anything else.
    fn check_shapes(&self, outputs: &[Output]) -> Result<(), InferError> {
        let expected = self.description.outputs.iter().map(|output| &output.shape);
        let sound = outputs.iter().all(|output| output.data.len() == output.shape.iter().product::<usize>());
        let fits = |(fitted, found): (&Vec<usize>, &Output)| self.head.accepts(fitted, &found.shape);
        if sound && outputs.len() == self.description.outputs.len() && expected.clone().zip(outputs).all(fits) {
            return Ok(());
        }
        let text = |shapes: Vec<&Vec<usize>>| shapes.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>().join(" + ");
        Err(InferError::Shape {
            expected: text(expected.collect()),
            found: text(outputs.iter().map(|output| &output.shape).collect()),
        })
    }
}

#[cfg(test)]
mod tests;
