//! The models on this box: what they are, how fast they are here, and what one sees in a picture that a person sends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::context::Context;
use super::model_facts::{FoundThings, Inferred, ModelRefusal, ModelStatus, ModelTensors, SpeedStatus, milliseconds};
use super::model_versions::{self, Own};
use super::own_models::{OwnModels, Place};
use crate::detection::Detection;
use crate::frame::{ForeignError, Picture, Rgb};
use crate::health::ModelHealth;
use crate::infer::{
    Answer, Detector, Job, JobError, Model, ModelStatistics, Output, Policy, Priority, Refused, Reply, TensorJob, find,
    installed, parse_reference, photograph,
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
/// Jobs of executions that may wait for a thread.
const MOST_OF_EXECUTIONS: usize = 64;
/// Scores below are no detections, whatever is asked for.
pub const LEAST_SCORE: f32 = 0.05;

/// Knows the models. Cheap to clone.
#[derive(Clone)]
pub struct ModelService {
    context: Arc<Context>,
    /// One model is tried at a time: it costs memory and time.
    turn: Arc<Semaphore>,
    /// A few wait for that, each with its picture.
    places: Arc<Semaphore>,
    /// Those that were loaded here, since no camera had them.
    own: Arc<OwnModels>,
}

impl ModelService {
    pub(super) fn new(context: Arc<Context>) -> Self {
        let (turn, places) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(PLACES)));
        Self { context, turn, places, own: Arc::default() }
    }

    /// Names of the webhooks of the configuration, for the steps that post to one.
    pub(super) fn webhooks(&self) -> Vec<String> {
        let configured = self.context.configured();
        configured.outlets.iter().filter_map(|outlet| outlet.webhook_name().map(str::to_owned)).collect()
    }

    /// All models that are installed or asked for, in the order of their names.
    ///
    /// # Errors
    /// When the folder of the models hangs.
    pub async fn list(&self) -> anyhow::Result<Vec<ModelStatus>> {
        let configured = self.context.configured();
        let (health, folder) = (self.context.health.models(), configured.infer.model_dir.clone());
        let found = tokio::task::spawn_blocking(move || model_versions::manifests(&folder)).await?;
        let asked = configured.models.keys().map(|reference| parse_reference(reference).0);
        let names: BTreeSet<&str> = found.keys().map(String::as_str).chain(asked).collect();
        let status = |name: &str| {
            let is_named = |reference: &String| parse_reference(reference).0 == name;
            let of_cameras: Vec<(&String, &ModelHealth)> =
                health.iter().filter(|(reference, _)| is_named(reference)).collect();
            let asked = configured.models.iter().filter(|(reference, _)| is_named(reference));
            let mut cameras: Vec<String> = asked.flat_map(|(_, cameras)| cameras.iter().cloned()).collect();
            cameras.sort();
            cameras.dedup();
            let speed = self.context.jobs.speed(name).map(SpeedStatus::from);
            let own = Own { models: &self.own, version: self.own.version(name) };
            let found = found.get(name).map_or(&[][..], Vec::as_slice);
            model_versions::status(name, found, &of_cameras, &own, cameras, speed)
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
        let Answer { detections, waited, took, .. } = answer;
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

    /// What model `name` sees in a picture of a pipeline, from `min_score` on. Pipelines take turns by themselves.
    ///
    /// # Errors
    /// Why it does not look.
    pub(super) async fn look_for_step(
        &self,
        name: &str,
        picture: Arc<dyn Picture>,
        min_score: f32,
        priority: Priority,
    ) -> Result<Vec<Detection>, ModelRefusal> {
        let model = self.model(name).await?;
        Ok(self.run(&model, picture, min_score, priority).await?.detections)
    }

    /// What model `name` sees in a picture that a program sends, from `min_score` on; `name/2` is one version.
    ///
    /// # Errors
    /// Why it does not look.
    pub async fn infer(&self, name: &str, picture: Arc<dyn Picture>, min_score: f32) -> Result<Inferred, ModelRefusal> {
        let model = self.model(name).await?;
        let detections = self.run(&model, picture, min_score.max(LEAST_SCORE), Priority::Program).await?.detections;
        let detector = model.detector();
        let labels = detector.as_ref().map(|detector| detector.labels()).unwrap_or_default();
        let number = |thing: &Detection| labels.iter().position(|label| *label == thing.label);
        let classes = detections.iter().map(|thing| number(thing).map_or(-1, |number| number as i64)).collect();
        let version = detector.as_ref().map_or(1, |detector| detector.version());
        Ok(Inferred { detections, classes, version })
    }

    /// What a model itself gives for the numbers that its input holds, in a tensor of this shape: its version, and its outputs by
    /// their names.
    ///
    /// # Errors
    /// Why it does not run.
    pub async fn run_tensor(
        &self,
        name: &str,
        shape: &[i64],
        numbers: Arc<[f32]>,
    ) -> Result<(u32, Vec<(String, Output)>), ModelRefusal> {
        let model = self.model(name).await?;
        let detector = model.detector();
        let wanted: Vec<i64> =
            detector.iter().flat_map(|detector| detector.input_shape()).map(|side| *side as i64).collect();
        if wanted != shape {
            return Err(ModelRefusal::Tensor(format!("{name} takes a tensor {wanted:?}, not {shape:?}")));
        }
        let ((reply, answer), priority, most) = (Reply::pending(), Priority::Program, MOST_OF_EXECUTIONS);
        let job = TensorJob { numbers, model: model.clone(), priority, most, start_within: START_WITHIN, reply };
        // What is refused is answered, too.
        let _ = self.context.jobs.submit_tensor(job);
        let outputs = answer.await.map_err(refused)?.outputs;
        Ok((detector.map_or(1, |detector| detector.version()), outputs))
    }

    /// What a model itself takes and gives; `None` where it is not in memory.
    pub fn tensors(&self, name: &str) -> Option<ModelTensors> {
        let version = self.context.health.models().remove(name).and_then(|known| known.version);
        let version = version.or(parse_reference(name).1);
        let of_camera = version.and_then(|version| self.ran(name, version));
        let detector = of_camera.or_else(|| self.own.peek(name))?;
        let outputs = detector.output_shapes().map(|(name, shape)| (name.to_owned(), shape.to_vec()));
        Some(ModelTensors { input: detector.input_shape().to_vec(), outputs: outputs.collect() })
    }

    /// What became of the jobs of each version of a model since the start, for each of `versions`.
    pub fn statistics(&self, name: &str, versions: &[u32]) -> Vec<(u32, ModelStatistics)> {
        let of = |version: &u32| (*version, self.context.jobs.statistics(name, *version).unwrap_or_default());
        versions.iter().map(of).collect()
    }

    /// Loads a model, where neither a camera nor another program has, and its newest version where that is not in use.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub async fn load(&self, name: &str) -> Result<(), ModelRefusal> {
        let held = self.own.version(name);
        if let (Some(version), None) = (held, parse_reference(name).1) {
            return self.own.load(name, self.place(), version, true).await.map(drop);
        }
        self.model(name).await.map(drop)
    }

    /// Gives up a model that was loaded here; it stays while it looks, or a camera uses it.
    pub fn unload(&self, name: &str) {
        self.own.give_up(name);
    }

    /// Names of the models that are installed. Blocks on the disk.
    pub(super) fn installed(&self) -> Vec<String> {
        installed(&self.context.configured().infer.model_dir)
    }

    /// The labels of a model; `None` where they cannot be read. Blocks on the disk.
    pub(super) fn labels_of(&self, name: &str) -> Option<Vec<Arc<str>>> {
        let folder = &self.context.configured().infer.model_dir;
        find(folder, name).and_then(|(version, manifest)| manifest.read_labels(&version.folder)).ok()
    }

    /// Whether a model says what a picture shows as a whole; `None` where its manifest cannot be read. Blocks on the disk.
    pub(super) fn classifies(&self, name: &str) -> Option<bool> {
        let (_, manifest) = find(&self.context.configured().infer.model_dir, name).ok()?;
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

    fn place(&self) -> Place {
        let infer = &self.context.configured().infer;
        Place { folder: infer.model_dir.clone(), limits: infer.limits() }
    }

    /// The model as cameras have it; loaded for this where none has. `name/2` is one version.
    async fn model(&self, name: &str) -> Result<Arc<Model>, ModelRefusal> {
        if let Some(known) = self.context.health.models().remove(name) {
            if let Some(reason) = known.reason {
                return Err(ModelRefusal::Unusable(reason));
            }
            let of_camera = known.version.and_then(|version| self.ran(name, version));
            if let Some(detector) = of_camera {
                return Ok(Model::ready(detector));
            }
        }
        if let Some(own) = self.own.get(name, &self.place()) {
            return Ok(Model::ready(own));
        }
        if let (_, Some(version)) = parse_reference(name)
            && let Some(detector) = self.ran(name, version)
        {
            return Ok(Model::ready(detector));
        }
        Ok(Model::ready(self.own.load(name, self.place(), 0, false).await?))
    }

    /// One version of a model, where it ran and something holds it.
    fn ran(&self, reference: &str, version: u32) -> Option<Arc<Detector>> {
        self.context.jobs.detector(&format!("{}/{version}", parse_reference(reference).0))
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
        answer.await.map_err(refused)
    }
}

fn refused(error: JobError) -> ModelRefusal {
    match error {
        JobError::ShutDown | JobError::Refused(Refused::ShutDown) => ModelRefusal::Stopping,
        JobError::Refused(_) | JobError::Expired(_) | JobError::Replaced | JobError::Cancelled => {
            ModelRefusal::Busy(error.to_string())
        }
        JobError::Infer(_) | JobError::Panicked { .. } | JobError::Hung { .. } => {
            ModelRefusal::Unusable(error.to_string())
        }
    }
}
