//! Pipelines as models: pictures as files in, and tensors out of what the pipeline gave.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::catalog::{ModelDescription, TensorDescription};
use super::picture::only_file;
use super::request::{InferRequest, Refusal};
use super::tensor::{DataType, Tensor};
use crate::access::Caller;
use crate::execution::{Execution, ExecutionState};
use crate::service::{Asked, ExecutionRefusal, ExecutionRequest, GivenPicture, PipelineRefusal, Place};
use crate::web::Shared;
use crate::web::session::name_of;

/// How long a pipeline is waited for.
const WITHIN: Duration = Duration::from_secs(120);

/// Runs a pipeline on what is asked. Gives its version and what it gave.
pub(super) async fn run(
    shared: &Arc<Shared>,
    caller: &Caller,
    model: &ModelDescription,
    request: InferRequest,
    place: Place,
) -> Result<(String, Vec<Tensor>), Refusal> {
    let mut inputs = BTreeMap::new();
    for input in &request.inputs {
        if input.datatype != DataType::Bytes {
            return Err(Refusal::Invalid(format!("{}: a pipeline takes files as BYTES", input.name)));
        }
        let bytes = only_file(input)?;
        inputs.insert(input.name.clone(), GivenPicture { name: input.name.clone(), bytes, is_live: false });
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
    // Its pictures are on the disk: while it waits for its turn another request may have the place.
    drop(place);
    let id = accepted.execution().id;
    let over = executions.wait(id, WITHIN).await.map_err(|error| Refusal::Failed(error.to_string()))?;
    match over.state {
        ExecutionState::Finished => {
            let version = over.pipeline.version.to_string();
            Ok((version, outputs(shared, &over, &model.outputs).await?))
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

/// What a pipeline gave, as tensors of the types that it is described with.
async fn outputs(
    shared: &Arc<Shared>,
    execution: &Execution,
    described: &[TensorDescription],
) -> Result<Vec<Tensor>, Refusal> {
    let mut tensors = Vec::new();
    for (name, value) in &execution.outputs {
        let files = files_in(value);
        let kind = described.iter().find(|output| output.name == *name).map(|output| output.datatype);
        tensors.push(match value {
            _ if !files.is_empty() => {
                let mut contents = Vec::new();
                for file in files {
                    let path = shared.services.executions.file(execution, file).map(|(path, _)| path);
                    let path = path.ok_or_else(|| Refusal::Failed(format!("output {name} has lost its file")))?;
                    let content = tokio::fs::read(&path).await;
                    contents.push(content.map_err(|error| Refusal::Failed(format!("read output {name}: {error}")))?);
                }
                Tensor::texts(name, contents)
            }
            value if kind == Some(DataType::Fp64) => Tensor::doubles(name, numbers_in(value)),
            value => Tensor::texts(name, texts_in(value)),
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

/// The numbers of an output that is numbers; one that is missing, or is none, is NaN.
fn numbers_in(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers_in).collect(),
        other => vec![other.as_f64().unwrap_or(f64::NAN)],
    }
}

/// The texts of an output that is text, or how anything else is written as JSON.
fn texts_in(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) if items.iter().all(Value::is_string) => items.iter().flat_map(texts_in).collect(),
        other => vec![other.to_string()],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn outputs_are_read_as_what_they_are() {
        assert_eq!(numbers_in(&json!([1.5, [2, 3]])), [1.5, 2.0, 3.0]);
        assert_eq!(numbers_in(&json!([])), [] as [f64; 0]);
        assert!(matches!(numbers_in(&json!(null)).as_slice(), [number] if number.is_nan()));
        assert_eq!(texts_in(&json!(["a", "b"])), ["a", "b"]);
        assert_eq!(texts_in(&json!("a")), ["a"]);
        assert_eq!(texts_in(&json!([{ "label": "dog" }])), ["[{\"label\":\"dog\"}]"]);
        assert_eq!(files_in(&json!([{ "file": "a.png" }, { "file": "b.png" }])), ["a.png", "b.png"]);
    }
}
