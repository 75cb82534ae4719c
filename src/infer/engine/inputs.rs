//! Inputs of a graph beside the picture: what nothing reads is left out, the others have the values of the manifest.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::type_proto::Value as TypeValue;
use tract_onnx::pb::{GraphProto, TensorProto, ValueInfoProto};
use tract_onnx::prelude::f16;

use super::graph::{add_needs, declared_dims};
use crate::infer::ModelError;

/// Makes weights of the inputs that `values` names, and takes out those that no operation reads.
///
/// # Errors
/// When there is no such input, or it does not take these values.
pub(super) fn fix(path: &Path, graph: &mut GraphProto, values: &BTreeMap<String, Vec<f64>>) -> Result<(), ModelError> {
    let refused = |reason: String| ModelError::FixedInput { path: path.to_owned(), reason };
    for (name, values) in values {
        let Some(at) = graph.input.iter().position(|input| input.name == *name) else {
            let names: Vec<&str> = graph.input.iter().map(|input| input.name.as_str()).collect();
            return Err(refused(format!("there is no input {name:?}; there are {}", names.join(", "))));
        };
        let input = graph.input.remove(at);
        graph.initializer.push(tensor(&input, values).map_err(|reason| refused(format!("{name}: {reason}")))?);
    }
    let mut needed: HashSet<String> = graph.output.iter().map(|output| output.name.clone()).collect();
    graph.node.iter().for_each(|node| add_needs(node, &mut needed));
    graph.input.retain(|input| needed.contains(&input.name));
    Ok(())
}

fn tensor(input: &ValueInfoProto, values: &[f64]) -> Result<TensorProto, String> {
    let Some(TypeValue::TensorType(declared)) = input.r#type.as_ref().and_then(|kind| kind.value.as_ref()) else {
        return Err("the file does not say of what type it is".to_owned());
    };
    // A size that is left open is that of a batch, which is one.
    let dims = declared_dims(input).unwrap_or_else(|| vec![Some(values.len())]);
    let dims: Vec<usize> = dims.into_iter().map(|dim| dim.unwrap_or(1)).collect();
    if dims.iter().product::<usize>() != values.len() {
        return Err(format!("it takes {dims:?}, which is another number of values than {}", values.len()));
    }
    let kind = declared.elem_type;
    let is = |wanted: DataType| kind == wanted as i32;
    let each = |bytes: &dyn Fn(f64) -> Vec<u8>| values.iter().flat_map(|value| bytes(*value)).collect();
    let raw_data = if is(DataType::Float) {
        each(&|value| (value as f32).to_le_bytes().to_vec())
    } else if is(DataType::Float16) {
        each(&|value| f16::from_f64(value).to_le_bytes().to_vec())
    } else if is(DataType::Double) {
        each(&|value| value.to_le_bytes().to_vec())
    } else if is(DataType::Int64) {
        each(&|value| (value as i64).to_le_bytes().to_vec())
    } else if is(DataType::Int32) {
        each(&|value| (value as i32).to_le_bytes().to_vec())
    } else {
        return Err(format!("it is of type {kind}, and values are given for floats and whole numbers alone"));
    };
    let dims = dims.into_iter().map(|dim| dim as i64).collect();
    Ok(TensorProto { name: input.name.clone(), data_type: kind, dims, raw_data, ..TensorProto::default() })
}
