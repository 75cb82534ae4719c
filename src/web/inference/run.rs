//! Answers what is asked of a model or a pipeline, whatever it came by.

use std::sync::Arc;

use super::catalog::describe;
use super::picture::picture;
use super::pipeline;
use super::request::{InferAnswer, InferRequest, Refusal};
use super::tensor::{DataType, Tensor};
use crate::access::Caller;
use crate::infer::Output;
use crate::service::{Inferred, Place};
use crate::web::Shared;

/// Score from which on things count where none is asked for.
const USUAL_SCORE: f64 = 0.25;

/// The input by which a model is given the numbers of its own input.
pub(super) const TENSOR: &str = "tensor";

/// Answers.
pub(super) async fn infer(
    shared: &Arc<Shared>,
    caller: &Caller,
    request: InferRequest,
    place: Place,
) -> Result<InferAnswer, Refusal> {
    let model = describe(shared, &request.model, &request.version).await?;
    let (id, wanted) = (request.id.clone(), request.outputs.clone());
    let (version, mut outputs) = if model.is_pipeline() {
        pipeline::run(shared, caller, &model, request, place).await?
    } else {
        let _place = place;
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
