//! The models on this box: what they are, how fast they are here, and what one sees in a picture that a person sends.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::context::Context;
use crate::detection::Detection;
use crate::frame::{ForeignError, Picture, Rgb};
use crate::health::{ModelHealth, ModelState};
use crate::infer::{
    Answer, Detector, Job, JobError, Manifest, Model, ModelError, Policy, Priority, Refused, Reply, Speed, installed,
    photograph,
};
use crate::load::LoadLevel;

/// Bytes of the largest picture that is taken.
pub const MOST_PICTURE_BYTES: usize = 16 << 20;
/// Runs of a measurement, and when fewer have to do.
const RUNS: usize = 20;
const MEASURED_WITHIN: Duration = Duration::from_secs(6);
/// Jobs of people, and of measurements, that may wait for a thread.
const MOST_WAITING: usize = 4;
/// How long one may wait for a thread.
const START_WITHIN: Duration = Duration::from_secs(8);
/// Tries that are under way or wait for their turn, and how long one waits.
const PLACES: usize = 3;
const TURN_WITHIN: Duration = Duration::from_secs(10);
/// How long loading is waited for. It goes on behind that.
const LOADED_WITHIN: Duration = Duration::from_secs(15);
/// Models beside those of cameras that stay in memory.
const MOST_OWN: usize = 3;
/// Jobs of executions that may wait for a thread.
const MOST_OF_EXECUTIONS: usize = 64;
/// Scores below are no detections, whatever is asked for.
pub const LEAST_SCORE: f32 = 0.05;

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
    /// What its manifest says, where that can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<ManifestFacts>,
    /// How fast it is on this box, once it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<SpeedStatus>,
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
fn milliseconds(took: Duration) -> f64 {
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
    /// Others are at it, or the box has too much to do.
    #[error("{0}")]
    Busy(String),
    /// The process ends.
    #[error("inference is being shut down; try again when the daemon runs")]
    Stopping,
}

/// Knows the models. Cheap to clone.
#[derive(Clone)]
pub struct ModelService {
    context: Arc<Context>,
    /// One model is tried at a time: it costs memory and time.
    turn: Arc<Semaphore>,
    /// A few wait for that, each with its picture.
    places: Arc<Semaphore>,
    /// Those that were loaded here, since no camera had them; the one that was used last is the last.
    own: Arc<Mutex<Vec<Arc<Detector>>>>,
    /// One is loaded at a time.
    loading: Arc<tokio::sync::Mutex<()>>,
}

impl ModelService {
    pub(super) fn new(context: Arc<Context>) -> Self {
        let (turn, places) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(PLACES)));
        Self { context, turn, places, own: Arc::default(), loading: Arc::default() }
    }

    /// All models that are installed or asked for, in the order of their names.
    ///
    /// # Errors
    /// When the folder of the models hangs.
    pub async fn list(&self) -> anyhow::Result<Vec<ModelStatus>> {
        let configured = self.context.configured();
        let (health, folder) = (self.context.health.models(), configured.infer.model_dir.clone());
        let found = tokio::task::spawn_blocking(move || manifests(&folder)).await?;
        let names: BTreeSet<&String> = found.keys().chain(configured.models.keys()).collect();
        let status = |name: &String| {
            let (manifest, unreadable) = match found.get(name) {
                Some(Ok(manifest)) => (Some(manifest.clone()), None),
                Some(Err(reason)) => (None, Some(reason.clone())),
                None => (None, None),
            };
            let (state, reason) = state(health.get(name), unreadable);
            let cameras = configured.models.get(name).cloned().unwrap_or_default();
            let speed = self.context.jobs.speed(name).map(SpeedStatus::from);
            ModelStatus { name: name.clone(), state, reason, cameras, manifest, speed }
        };
        Ok(names.into_iter().map(status).collect())
    }

    /// How fast model `name` is: from the runs for cameras, or else by some runs that every camera goes before.
    ///
    /// # Errors
    /// Why it is not known.
    pub async fn measure(&self, name: &str) -> Result<SpeedStatus, ModelRefusal> {
        let _turn = self.turn().await?;
        let model = self.model(name).await?;
        let picture: Arc<dyn Picture> =
            Arc::new(photograph().map_err(|error| ModelRefusal::Unusable(error.to_string()))?);
        let started = tokio::time::Instant::now();
        for run in 0..RUNS {
            if run > 0 && (started.elapsed() > MEASURED_WITHIN || self.overload().is_some()) {
                break;
            }
            match self.run(&model, picture.clone(), LEAST_SCORE, Priority::Program).await {
                Err(ModelRefusal::Busy(_)) if run > 0 => break,
                outcome => outcome?,
            };
        }
        let speed = self.context.jobs.speed(name).map(SpeedStatus::from);
        speed.ok_or_else(|| ModelRefusal::Busy("nothing was measured; try again".to_owned()))
    }

    /// What model `name` sees in a JPEG or PNG, from `min_score` on.
    ///
    /// # Errors
    /// Why it does not look.
    pub async fn detect(&self, name: &str, picture: bytes::Bytes, min_score: f32) -> Result<FoundThings, ModelRefusal> {
        let _turn = self.turn().await?;
        let decoded = tokio::task::spawn_blocking(move || Rgb::decode(&picture)).await;
        let picture = decoded.map_err(|_| ForeignError::Damaged("its decoder gave up".to_owned()))??;
        let (width, height) = (picture.width, picture.height);
        let model = self.model(name).await?;
        let answer = self.run(&model, Arc::new(picture), min_score.max(LEAST_SCORE), Priority::Person).await?;
        let Answer { detections, waited, took } = answer;
        let (took_ms, waited_ms) = (milliseconds(took), milliseconds(waited));
        Ok(FoundThings { model: name.to_owned(), width, height, took_ms, waited_ms, detections })
    }

    /// What model `name` sees in a picture of the library, from `min_score` on. People's tries go before it.
    ///
    /// # Errors
    /// Why it does not look.
    pub(super) async fn look(
        &self,
        name: &str,
        picture: Arc<dyn Picture>,
        min_score: f32,
    ) -> Result<Vec<Detection>, ModelRefusal> {
        let (_place, _turn) = self.turn().await?;
        let model = self.model(name).await?;
        Ok(self.run(&model, picture, min_score, Priority::Program).await?.detections)
    }

    /// What model `name` sees in a picture of an execution, from `min_score` on. Executions take turns by themselves.
    ///
    /// # Errors
    /// Why it does not look.
    pub(super) async fn look_for_program(
        &self,
        name: &str,
        picture: Arc<dyn Picture>,
        min_score: f32,
    ) -> Result<Vec<Detection>, ModelRefusal> {
        let model = self.model(name).await?;
        Ok(self.run(&model, picture, min_score, Priority::Program).await?.detections)
    }

    /// What model `name` sees in a picture that a program sends, from `min_score` on, and the number of each label in the
    /// model's list.
    ///
    /// # Errors
    /// Why it does not look.
    pub async fn infer(
        &self,
        name: &str,
        picture: Arc<dyn Picture>,
        min_score: f32,
    ) -> Result<(Vec<Detection>, Vec<i64>), ModelRefusal> {
        let model = self.model(name).await?;
        let found = self.run(&model, picture, min_score.max(LEAST_SCORE), Priority::Program).await?.detections;
        let labels = model.detector().map(|detector| detector.labels()).unwrap_or_default();
        let number = |thing: &Detection| labels.iter().position(|label| *label == thing.label);
        let classes = found.iter().map(|thing| number(thing).map_or(-1, |number| number as i64)).collect();
        Ok((found, classes))
    }

    /// Loads a model, where neither a camera nor another program has.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub async fn load(&self, name: &str) -> Result<(), ModelRefusal> {
        self.model(name).await.map(drop)
    }

    /// Gives up a model that was loaded here; it stays while it looks, or a camera uses it.
    pub fn unload(&self, name: &str) {
        self.own.lock().retain(|own| &**own.name() != name);
    }

    /// Names of the models that are installed. Blocks on the disk.
    pub(super) fn installed(&self) -> Vec<String> {
        installed(&self.context.configured().infer.model_dir)
    }

    /// The labels of a model; `None` where they cannot be read. Blocks on the disk.
    pub(super) fn labels_of(&self, name: &str) -> Option<Vec<Arc<str>>> {
        let folder = &self.context.configured().infer.model_dir;
        Manifest::load(folder, name).and_then(|manifest| manifest.read_labels(folder)).ok()
    }

    /// Whether a model says what a picture shows as a whole; `None` where its manifest cannot be read. Blocks on the disk.
    pub(super) fn classifies(&self, name: &str) -> Option<bool> {
        let manifest = Manifest::load(&self.context.configured().infer.model_dir, name).ok()?;
        Some(manifest.head.is_classifier())
    }

    /// Waits for a turn.
    async fn turn(&self) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), ModelRefusal> {
        if let Some(reason) = self.overload() {
            return Err(ModelRefusal::Busy(format!("the box has too much to do already: {reason}")));
        }
        let busy =
            || ModelRefusal::Busy("other models or pictures are being tried; try again in a few seconds".to_owned());
        let place = self.places.clone().try_acquire_owned().map_err(|_| busy())?;
        let turn = tokio::time::timeout(TURN_WITHIN, self.turn.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| busy())?.map_err(|_| ModelRefusal::Stopping)?;
        Ok((place, turn))
    }

    /// Why the box sheds load, where it does.
    fn overload(&self) -> Option<String> {
        let load = self.context.health.load();
        (load.level > LoadLevel::Normal).then_some(load.reason)
    }

    /// A model that was loaded here.
    fn own(&self, name: &str) -> Option<Arc<Detector>> {
        let mut own = self.own.lock();
        let at = own.iter().position(|own| &**own.name() == name)?;
        let used = own.remove(at);
        own.push(used.clone());
        Some(used)
    }

    /// The model as cameras have it; loaded for this where none has.
    async fn model(&self, name: &str) -> Result<Arc<Model>, ModelRefusal> {
        if let Some(reason) = self.context.health.models().remove(name).and_then(|model| model.reason) {
            return Err(ModelRefusal::Unusable(reason));
        }
        if let Some(detector) = self.context.jobs.detector(name) {
            return Ok(Model::ready(detector));
        }
        if let Some(own) = self.own(name) {
            return Ok(Model::ready(own));
        }
        let loading = self.loading.clone().lock_owned().await;
        if let Some(own) = self.own(name) {
            return Ok(Model::ready(own));
        }
        let configured = self.context.configured();
        let (own, asked) = (self.own.clone(), name.to_owned());
        let load = tokio::task::spawn_blocking(move || {
            let _loading = loading;
            let oldest = {
                let mut own = own.lock();
                // The oldest goes first: one more would take the memory of all.
                (own.len() >= MOST_OWN).then(|| own.remove(0))
            };
            drop(oldest);
            let loaded = Detector::load_within(&configured.infer.model_dir, &asked, configured.infer.limits())?;
            let detector = Arc::new(loaded);
            own.lock().push(detector.clone());
            Ok(detector)
        });
        match tokio::time::timeout(LOADED_WITHIN, load).await {
            Ok(Ok(Ok(detector))) => Ok(Model::ready(detector)),
            Ok(Ok(Err(unknown @ ModelError::Unknown { .. }))) => Err(ModelRefusal::Unknown(unknown.to_string())),
            Ok(Ok(Err(failure))) => Err(ModelRefusal::Unusable(failure.to_string())),
            Ok(Err(_)) => Err(ModelRefusal::Unusable(format!("loading model {name} failed; the log says why"))),
            Err(_) => Err(ModelRefusal::Busy(format!("model {name} is still being loaded; try again in a minute"))),
        }
    }

    async fn run(
        &self,
        model: &Arc<Model>,
        picture: Arc<dyn Picture>,
        min_score: f32,
        priority: Priority,
    ) -> Result<Answer, ModelRefusal> {
        let (reply, answer) = Reply::pending();
        let most = if priority == Priority::Program { MOST_OF_EXECUTIONS } else { MOST_WAITING };
        let policy = Policy::Queue { priority, most };
        let job = Job { picture, model: model.clone(), min_score, policy, start_within: START_WITHIN, reply };
        // What is refused is answered, too.
        let _ = self.context.jobs.submit(job);
        answer.await.map_err(|error| match error {
            JobError::ShutDown | JobError::Refused(Refused::ShutDown) => ModelRefusal::Stopping,
            JobError::Refused(_) | JobError::Expired(_) | JobError::Replaced | JobError::Cancelled => {
                ModelRefusal::Busy(error.to_string())
            }
            JobError::Infer(_) | JobError::Panicked { .. } | JobError::Hung { .. } => {
                ModelRefusal::Unusable(error.to_string())
            }
        })
    }
}

/// What cameras know of a model goes before what its manifest does.
fn state(health: Option<&ModelHealth>, unreadable: Option<String>) -> (ModelUse, Option<String>) {
    match (health, unreadable) {
        (Some(ModelHealth { state: ModelState::Broken, reason }), unreadable) => {
            (ModelUse::Broken, reason.clone().or(unreadable))
        }
        (_, Some(unreadable)) => (ModelUse::Broken, Some(unreadable)),
        (Some(ModelHealth { state: ModelState::Loading, .. }), None) => (ModelUse::Loading, None),
        (Some(ModelHealth { state: ModelState::Ready, .. }), None) => (ModelUse::Ready, None),
        (None, None) => (ModelUse::Unused, None),
    }
}

/// The manifests in a folder, by name; the errors are for the operator. Blocks on the disk.
fn manifests(folder: &Path) -> BTreeMap<String, Result<ManifestFacts, String>> {
    let facts = |name: &str| {
        let manifest = Manifest::load(folder, name).map_err(|error| error.to_string())?;
        let labels = manifest.read_labels(folder).unwrap_or_default();
        let bytes = std::fs::metadata(folder.join(&manifest.file)).ok().map(|file| file.len());
        Ok(ManifestFacts {
            file: manifest.file,
            bytes,
            sha256: manifest.sha256,
            width: manifest.input.width,
            height: manifest.input.height,
            threads: manifest.threads,
            labels,
            licence: manifest.licence,
            origin: manifest.origin,
        })
    };
    installed(folder).into_iter().map(|name| (name.clone(), facts(&name))).collect()
}
