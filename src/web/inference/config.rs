//! What Triton calls the configuration of a model, as far as clients read it.

use serde_json::{Value, json};

use super::catalog::{ModelDescription, TensorDescription};
use super::messages::{ModelConfig, ModelInput, ModelOutput};
use super::run::TENSOR;
use super::tensor::DataType;
use crate::service::ModelTensors;

/// Number of a type in Triton's definition, and its name there.
fn type_of(datatype: DataType) -> (i32, &'static str) {
    match datatype {
        DataType::Bool => (1, "TYPE_BOOL"),
        DataType::Uint8 => (2, "TYPE_UINT8"),
        DataType::Int32 => (8, "TYPE_INT32"),
        DataType::Int64 => (9, "TYPE_INT64"),
        DataType::Fp32 => (11, "TYPE_FP32"),
        DataType::Fp64 => (12, "TYPE_FP64"),
        DataType::Bytes => (13, "TYPE_STRING"),
    }
}

/// The configuration of `model`. `own`: the tensors of the model itself, where it is in memory; they may be asked for in the
/// place of a picture.
pub(super) fn config_of(model: &ModelDescription, own: Option<&ModelTensors>) -> ModelConfig {
    let dims = |shape: &[usize]| shape.iter().map(|side| i64::try_from(*side).unwrap_or(i64::MAX)).collect();
    let (float, _) = type_of(DataType::Fp32);
    let input = |tensor: &TensorDescription| ModelInput {
        name: tensor.name.clone(),
        data_type: type_of(tensor.datatype).0,
        dims: tensor.shape.clone(),
        optional: own.is_some(),
    };
    let output = |tensor: &TensorDescription| ModelOutput {
        name: tensor.name.clone(),
        data_type: type_of(tensor.datatype).0,
        dims: tensor.shape.clone(),
    };
    let own_input =
        own.map(|own| ModelInput { name: TENSOR.to_owned(), data_type: float, dims: dims(&own.input), optional: true });
    let own_outputs = own.iter().flat_map(|own| &own.outputs).map(|(name, shape)| ModelOutput {
        name: name.clone(),
        data_type: float,
        dims: dims(shape),
    });
    ModelConfig {
        name: model.name.clone(),
        platform: model.platform.to_owned(),
        max_batch_size: 0,
        input: model.inputs.iter().map(input).chain(own_input).collect(),
        output: model.outputs.iter().map(output).chain(own_outputs).collect(),
        backend: String::new(),
    }
}

/// As HTTP has it.
pub(super) fn as_json(config: &ModelConfig) -> Value {
    let name_of = |number: i32| {
        DataType::ALL
            .into_iter()
            .map(type_of)
            .find(|(known, _)| *known == number)
            .map_or("TYPE_INVALID", |(_, name)| name)
    };
    let input = |input: &ModelInput| {
        json!({
            "name": input.name, "data_type": name_of(input.data_type), "dims": input.dims, "optional": input.optional,
        })
    };
    let output = |output: &ModelOutput| json!({ "name": output.name, "data_type": name_of(output.data_type), "dims": output.dims });
    json!({
        "name": config.name,
        "platform": config.platform,
        "max_batch_size": config.max_batch_size,
        "input": config.input.iter().map(input).collect::<Vec<_>>(),
        "output": config.output.iter().map(output).collect::<Vec<_>>(),
    })
}
