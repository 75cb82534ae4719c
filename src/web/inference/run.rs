//! What is asked of a model or a pipeline, whatever it came by, and what it answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::tensor::{DataType, Tensor};
use crate::access::Caller;
use crate::execution::{Execution, ExecutionState};
use crate::frame::Rgb;
use crate::infer::Output;
use crate::service::{
    Asked, ExecutionRefusal, ExecutionRequest, GivenPicture, Inferred, ModelRefusal, ModelStatus, ModelUse,
    PipelineRefusal, VersionStatus,
};
use crate::web::Shared;
use crate::web::session::name_of;

/// Score from which on things count where none is asked for.
const USUAL_SCORE: f64 = 0.25;
/// Largest side of a picture that comes as pixels.
const LONGEST_SIDE: i64 = 16_384;
/// How long a pipeline is waited for.
const WITHIN: Duration = Duration::from_secs(120);

/// The input by which a model is given the numbers of its own input.
const TENSOR: &str = "tensor";
/// The platform of pipelines.
const PIPELINE: &str = "outpost_pipeline";

/// What is asked.
#[derive(Clone, Debug, Default)]
pub(super) struct InferRequest {
    pub(super) model: String,
    pub(super) version: String,
    pub(super) id: String,
    /// `min_score` of a model, or the parameters of a pipeline.
    pub(super) parameters: BTreeMap<String, Value>,
    pub(super) inputs: Vec<Tensor>,
    /// Names of the outputs that are wanted; none for all.
    pub(super) outputs: Vec<String>,
}

/// What is answered.
#[derive(Clone, Debug)]
pub(super) struct InferAnswer {
    pub(super) model: String,
    pub(super) version: String,
    pub(super) id: String,
    pub(super) outputs: Vec<Tensor>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no such model.
    NotFound(String),
    /// What is asked makes no sense.
    Invalid(String),
    /// It may be answered later.
    Busy(String),
    /// It cannot be answered.
    Failed(String),
}

impl Refusal {
    pub(super) fn message(&self) -> &str {
        match self {
            Self::NotFound(message) | Self::Invalid(message) | Self::Busy(message) | Self::Failed(message) => message,
        }
    }
}

impl From<ModelRefusal> for Refusal {
    fn from(refusal: ModelRefusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            ModelRefusal::Unknown(_) => Self::NotFound(message),
            ModelRefusal::Picture(_) | ModelRefusal::Tensor(_) => Self::Invalid(message),
            ModelRefusal::Busy(_) | ModelRefusal::Stopping => Self::Busy(message),
            ModelRefusal::Unusable(_) => Self::Failed(message),
        }
    }
}

/// A tensor that a model takes or gives.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TensorDescription {
    pub(super) name: String,
    pub(super) datatype: DataType,
    pub(super) shape: Vec<i64>,
}

/// What the index of the repository says of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) is_ready: bool,
    /// Why it is not; else empty.
    pub(super) reason: String,
}

impl IndexEntry {
    pub(super) fn state(&self) -> &'static str {
        if self.is_ready { "READY" } else { "UNAVAILABLE" }
    }
}

/// What a model takes and gives.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ModelDescription {
    pub(super) name: String,
    pub(super) versions: Vec<String>,
    /// Why versions cannot be asked; nothing of those that can.
    pub(super) failed: BTreeMap<String, String>,
    pub(super) platform: &'static str,
    pub(super) inputs: Vec<TensorDescription>,
    pub(super) outputs: Vec<TensorDescription>,
    pub(super) is_ready: bool,
    /// Why it is not.
    pub(super) reason: Option<String>,
}

impl ModelDescription {
    pub(super) fn is_pipeline(&self) -> bool {
        self.platform == PIPELINE
    }
}

fn described(name: &str, datatype: DataType, shape: &[i64]) -> TensorDescription {
    TensorDescription { name: name.to_owned(), datatype, shape: shape.to_vec() }
}

fn of_model(model: &ModelStatus) -> ModelDescription {
    ModelDescription {
        name: model.name.clone(),
        versions: model.versions.iter().rev().map(|version| version.version.to_string()).collect(),
        failed: model.versions.iter().filter_map(failure).collect(),
        platform: "onnx_tract",
        inputs: vec![described("image", DataType::Bytes, &[1])],
        outputs: vec![
            described("boxes", DataType::Fp32, &[-1, 4]),
            described("scores", DataType::Fp32, &[-1]),
            described("classes", DataType::Int64, &[-1]),
            described("labels", DataType::Bytes, &[-1]),
        ],
        is_ready: model.state != ModelUse::Broken,
        reason: model.reason.clone(),
    }
}

fn failure(version: &VersionStatus) -> Option<(String, String)> {
    let is_broken = version.state == ModelUse::Broken;
    is_broken.then(|| (version.version.to_string(), version.reason.clone().unwrap_or_default()))
}

/// All models and pipelines.
pub(super) async fn all(shared: &Arc<Shared>) -> Result<Vec<ModelDescription>, Refusal> {
    let failed = |error: anyhow::Error| Refusal::Failed(format!("{error:#}"));
    let models = shared.services.models.list().await.map_err(failed)?;
    let mut all: Vec<ModelDescription> = models.iter().map(of_model).collect();
    let pipelines = shared.services.pipelines.clone();
    let found = tokio::task::spawn_blocking(move || {
        let entries = pipelines.list()?;
        let described = entries.into_iter().map(|entry| {
            let pipeline = pipelines.get(&entry.name, None).map(|(_, pipeline)| pipeline).ok();
            (entry, pipeline)
        });
        Ok::<_, anyhow::Error>(described.collect::<Vec<_>>())
    });
    for (entry, pipeline) in found.await.map_err(|error| Refusal::Failed(error.to_string()))?.map_err(failed)? {
        let reason = entry.errors.first().map(ToString::to_string);
        // A model goes before a pipeline of the same name.
        if all.iter().any(|known| known.name == entry.name) {
            continue;
        }
        let versions = entry.versions.iter().map(ToString::to_string).collect();
        all.push(ModelDescription {
            name: entry.name,
            versions,
            failed: BTreeMap::new(),
            platform: PIPELINE,
            inputs: pipeline
                .iter()
                .flat_map(|pipeline| pipeline.inputs.keys())
                .map(|name| described(name, DataType::Bytes, &[1]))
                .collect(),
            outputs: pipeline
                .iter()
                .flat_map(|pipeline| pipeline.outputs.keys())
                .map(|name| described(name, DataType::Bytes, &[-1]))
                .collect(),
            is_ready: reason.is_none() && pipeline.is_some(),
            reason,
        });
    }
    Ok(all)
}

/// A model or pipeline; `version` may be empty.
pub(super) async fn describe(shared: &Arc<Shared>, name: &str, version: &str) -> Result<ModelDescription, Refusal> {
    let found = all(shared).await?.into_iter().find(|model| model.name == name);
    let found =
        found.ok_or_else(|| Refusal::NotFound(format!("there is no model or pipeline {name:?} on this box")))?;
    if !version.is_empty() && !found.versions.iter().any(|known| known == version) {
        let message = format!("{name:?} has no version {version}; it has {}", found.versions.join(", "));
        return Err(Refusal::NotFound(message));
    }
    match found.failed.get(version).cloned() {
        Some(reason) => Ok(ModelDescription { is_ready: false, reason: Some(reason), ..found }),
        None if !version.is_empty() && !found.is_pipeline() => {
            // What another version is like does not matter.
            Ok(ModelDescription { is_ready: true, reason: None, ..found })
        }
        None => Ok(found),
    }
}

/// An entry of the index for each version of a model, and for the newest of a pipeline.
pub(super) async fn index(shared: &Arc<Shared>, ready_only: bool) -> Result<Vec<IndexEntry>, Refusal> {
    let mut entries = Vec::new();
    for model in all(shared).await? {
        let entry = |version: &String| {
            let failure = model.failed.get(version).cloned();
            let is_ready = if model.is_pipeline() { model.is_ready } else { failure.is_none() };
            let reason = failure.or_else(|| model.reason.clone().filter(|_| !is_ready)).unwrap_or_default();
            IndexEntry { name: model.name.clone(), version: version.clone(), is_ready, reason }
        };
        let newest = model.versions.last().cloned().unwrap_or_default();
        if model.is_pipeline() || model.versions.is_empty() {
            entries.push(IndexEntry { is_ready: model.is_ready, ..entry(&newest) });
        } else {
            entries.extend(model.versions.iter().map(entry));
        }
    }
    entries.retain(|entry| entry.is_ready || !ready_only);
    Ok(entries)
}

/// Answers.
pub(super) async fn infer(
    shared: &Arc<Shared>,
    caller: &Caller,
    request: InferRequest,
) -> Result<InferAnswer, Refusal> {
    let model = describe(shared, &request.model, &request.version).await?;
    let (id, wanted) = (request.id.clone(), request.outputs.clone());
    let (version, mut outputs) = if model.is_pipeline() {
        of_pipeline(shared, caller, &model, request).await?
    } else {
        detect(shared, request).await?
    };
    if let Some(unknown) = wanted.iter().find(|name| !outputs.iter().any(|output| output.name == **name)) {
        let names: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
        return Err(Refusal::Invalid(format!("{} has no output {unknown:?}; it has {}", model.name, names.join(", "))));
    }
    if !wanted.is_empty() {
        outputs.retain(|output| wanted.contains(&output.name));
    }
    Ok(InferAnswer { model: model.name, version, id, outputs })
}

/// Which version looked, and what it saw.
async fn detect(shared: &Arc<Shared>, request: InferRequest) -> Result<(String, Vec<Tensor>), Refusal> {
    let [input] = request.inputs.as_slice() else {
        return Err(Refusal::Invalid(format!("a model takes one input, image; there are {}", request.inputs.len())));
    };
    let reference = match request.version.as_str() {
        "" => request.model.clone(),
        version => format!("{}/{version}", request.model),
    };
    if input.name == TENSOR {
        return run_tensor(shared, &reference, input).await;
    }
    if input.name != "image" {
        let message = format!("a model takes the input image, or {TENSOR} as its own input is, not {:?}", input.name);
        return Err(Refusal::Invalid(message));
    }
    let mut min_score = USUAL_SCORE;
    for (name, value) in &request.parameters {
        match (name.as_str(), value.as_f64()) {
            ("min_score", Some(score)) if (0.0..=1.0).contains(&score) => min_score = score,
            ("min_score", _) => return Err(Refusal::Invalid(format!("min_score is {value}; it goes from 0 to 1"))),
            // Clients send what they like beside it.
            _ => {}
        }
    }
    let picture = picture(input.clone()).await?;
    let models = &shared.services.models;
    let Inferred { detections: found, classes, version } =
        models.infer(&reference, Arc::new(picture), min_score as f32).await?;
    let count = found.len() as i64;
    let tensors = vec![
        Tensor::floats("boxes", vec![count, 4], found.iter().flat_map(|thing| <[f32; 4]>::from(thing.bbox))),
        Tensor::floats("scores", vec![count], found.iter().map(|thing| thing.score)),
        Tensor::integers("classes", classes),
        Tensor::texts("labels", found.iter().map(|thing| thing.label.as_bytes())),
    ];
    Ok((version.to_string(), tensors))
}

/// Runs a model on its own input, as numbers; its outputs have their own names.
async fn run_tensor(shared: &Arc<Shared>, reference: &str, input: &Tensor) -> Result<(String, Vec<Tensor>), Refusal> {
    let numbers: Arc<[f32]> = match input.datatype {
        DataType::Fp32 => input.data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        DataType::Uint8 => input.data.iter().map(|byte| f32::from(*byte)).collect(),
        other => {
            let message = format!("{TENSOR} is {}; send FP32, or UINT8 for a model that takes bytes", other.as_str());
            return Err(Refusal::Invalid(message));
        }
    };
    if input.count() != Some(numbers.len()) {
        let message = format!("{TENSOR} has {} numbers for the shape {:?}", numbers.len(), input.shape);
        return Err(Refusal::Invalid(message));
    }
    let (version, outputs) = shared.services.models.run_tensor(reference, &input.shape, numbers).await?;
    let tensor = |(name, output): (String, Output)| {
        Tensor::floats(&name, output.shape.iter().map(|side| *side as i64).collect(), output.data)
    };
    Ok((version.to_string(), outputs.into_iter().map(tensor).collect()))
}

/// The picture of an input: a file, or pixels.
async fn picture(input: Tensor) -> Result<Rgb, Refusal> {
    let file = match input.datatype {
        DataType::Bytes => only_file(&input)?,
        DataType::Uint8 => return pixels(&input),
        other => {
            let message = format!("{} is {}; send a file as BYTES, or pixels as UINT8", input.name, other.as_str());
            return Err(Refusal::Invalid(message));
        }
    };
    let decoded = tokio::task::spawn_blocking(move || Rgb::decode(&file)).await;
    let decoded = decoded.map_err(|_| Refusal::Invalid("the picture cannot be decoded".to_owned()))?;
    decoded.map_err(|error| Refusal::Invalid(format!("{}: {error}", input.name)))
}

fn only_file(input: &Tensor) -> Result<Bytes, Refusal> {
    let files = input.elements().unwrap_or_default();
    match <[Bytes; 1]>::try_from(files) {
        Ok([file]) => Ok(file),
        Err(files) => {
            let message = format!("{} has {} files; send one in each request", input.name, files.len());
            Err(Refusal::Invalid(message))
        }
    }
}

fn pixels(input: &Tensor) -> Result<Rgb, Refusal> {
    let shape = match input.shape.as_slice() {
        [1, shape @ ..] if shape.len() == 3 => shape,
        shape => shape,
    };
    let wrong = || {
        let message = format!("{} has the shape {:?}; pixels are [height, width, 3]", input.name, input.shape);
        Refusal::Invalid(message)
    };
    let &[height, width, 3] = shape else { return Err(wrong()) };
    if !(1..=LONGEST_SIDE).contains(&height) || !(1..=LONGEST_SIDE).contains(&width) {
        return Err(wrong());
    }
    if input.count() != Some(input.data.len()) {
        let message = format!("{} has {} bytes for the shape {:?}", input.name, input.data.len(), input.shape);
        return Err(Refusal::Invalid(message));
    }
    let side = |side: i64| u32::try_from(side).unwrap_or_default();
    Ok(Rgb { width: side(width), height: side(height), data: input.data.to_vec() })
}

async fn of_pipeline(
    shared: &Arc<Shared>,
    caller: &Caller,
    model: &ModelDescription,
    request: InferRequest,
) -> Result<(String, Vec<Tensor>), Refusal> {
    let mut inputs = BTreeMap::new();
    for input in &request.inputs {
        if input.datatype != DataType::Bytes {
            return Err(Refusal::Invalid(format!("{}: a pipeline takes files as BYTES", input.name)));
        }
        let bytes = only_file(input)?;
        inputs.insert(input.name.clone(), GivenPicture { name: input.name.clone(), bytes });
    }
    let version = request.version.parse().ok();
    let is_wanted = |name: &String| {
        !matches!(
            name.as_str(),
            "binary_data_output" | "sequence_id" | "sequence_start" | "sequence_end" | "priority" | "timeout"
        )
    };
    let asked = ExecutionRequest {
        pipeline: Asked::Named(model.name.clone(), version),
        parameters: request.parameters.into_iter().filter(|(name, _)| is_wanted(name)).collect(),
        inputs,
        owner: name_of(caller),
        idempotency_key: None,
        batch: None,
        is_urgent: true,
    };
    let executions = &shared.services.executions;
    let accepted = executions.submit(asked).await.map_err(refused)?;
    let id = accepted.execution().id;
    let over = executions.wait(id, WITHIN).await.map_err(|error| Refusal::Failed(error.to_string()))?;
    match over.state {
        ExecutionState::Finished => {
            let version = over.pipeline.version.to_string();
            Ok((version, outputs(shared, &over).await?))
        }
        ExecutionState::Failed => {
            let reason = over.failure.map(|failure| failure.message).unwrap_or_default();
            Err(Refusal::Failed(format!("execution {id}: {reason}")))
        }
        _ => Err(Refusal::Busy(format!("execution {id} goes on: ask for it, GET /api/v1/executions/{id}"))),
    }
}

fn refused(refusal: ExecutionRefusal) -> Refusal {
    let message = refusal.to_string();
    match refusal {
        ExecutionRefusal::Pipeline(PipelineRefusal::Unknown(_)) => Refusal::NotFound(message),
        ExecutionRefusal::Pipeline(PipelineRefusal::Wrong(_)) | ExecutionRefusal::Inputs(_) => {
            Refusal::Invalid(message)
        }
        ExecutionRefusal::Pipeline(_) => Refusal::Failed(message),
        ExecutionRefusal::Executor(_) => Refusal::Busy(message),
    }
}

/// What a pipeline gave, as tensors.
async fn outputs(shared: &Arc<Shared>, execution: &Execution) -> Result<Vec<Tensor>, Refusal> {
    let mut tensors = Vec::new();
    for (name, value) in &execution.outputs {
        let files = files_in(value);
        if !files.is_empty() {
            let mut contents = Vec::new();
            for file in files {
                let path = shared.services.executions.file(execution, file).map(|(path, _)| path);
                let path = path.ok_or_else(|| Refusal::Failed(format!("output {name} has lost its file")))?;
                let content = tokio::fs::read(&path).await;
                contents.push(content.map_err(|error| Refusal::Failed(format!("read output {name}: {error}")))?);
            }
            tensors.push(Tensor::texts(name, contents));
            continue;
        }
        tensors.push(match value {
            Value::Number(number) => Tensor::doubles(name, number.as_f64()),
            Value::String(text) => Tensor::texts(name, [text]),
            other => Tensor::texts(name, [other.to_string()]),
        });
    }
    Ok(tensors)
}

/// The files of an output that is pictures.
fn files_in(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(fields) => fields.get("file").and_then(Value::as_str).into_iter().collect(),
        Value::Array(items) => items.iter().flat_map(files_in).collect(),
        _ => Vec::new(),
    }
}

/// Loads a model, so that its first picture does not wait. A pipeline needs nothing.
pub(super) async fn load(shared: &Arc<Shared>, name: &str) -> Result<(), Refusal> {
    let model = describe(shared, name, "").await?;
    if model.is_pipeline() {
        return Ok(());
    }
    Ok(shared.services.models.load(name).await?)
}

/// Gives up the memory of a model that no camera uses; it is loaded again when it is asked.
pub(super) async fn unload(shared: &Arc<Shared>, name: &str) -> Result<(), Refusal> {
    describe(shared, name, "").await?;
    shared.services.models.unload(name);
    Ok(())
}
