//! Inputs of a graph: the picture, and those beside it: what nothing reads is left out, the others have the values of the
//! manifest.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as DimValue;
use tract_onnx::pb::type_proto::Value as TypeValue;
use tract_onnx::pb::{GraphProto, NodeProto, TensorProto, ValueInfoProto};
use tract_onnx::prelude::f16;

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

/// The model must have one input, which must take the shape that the manifest gives.
pub(super) fn check_input(path: &Path, graph: &GraphProto, shape: &[usize]) -> Result<(), ModelError> {
    let refused = |found: String| ModelError::Input { path: path.to_owned(), expected: shape.to_vec(), found };
    // Older files list the weights among the inputs.
    let weights: HashSet<_> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let inputs: Vec<_> = graph.input.iter().filter(|input| !weights.contains(input.name.as_str())).collect();
    let [input] = inputs.as_slice() else {
        let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        let help = if names.len() > 1 { "; those beside the picture get their values from fixed_inputs" } else { "" };
        return Err(refused(format!("{} inputs ({}{help})", inputs.len(), names.join(", "))));
    };
    let Some(dims) = declared_dims(input) else { return Ok(()) };
    let fits = |(dim, &wanted): (&Option<usize>, &usize)| dim.is_none_or(|dim| dim == wanted);
    if dims.len() == shape.len() && dims.iter().zip(shape).all(fits) {
        return Ok(());
    }
    let dims: Vec<_> = dims.iter().map(|dim| dim.map_or("?".to_owned(), |dim| dim.to_string())).collect();
    Err(refused(format!("{} [{}]", input.name, dims.join(", "))))
}

/// The dimensions that the file gives for an input, `None` where one is left open.
fn declared_dims(input: &ValueInfoProto) -> Option<Vec<Option<usize>>> {
    let TypeValue::TensorType(tensor) = input.r#type.as_ref()?.value.as_ref()?;
    let dims = tensor.shape.as_ref()?.dim.iter().map(|dim| match dim.value {
        // Exporters write 0 or -1 where they mean "any".
        Some(DimValue::DimValue(size)) => usize::try_from(size).ok().filter(|&size| size > 0),
        _ => None,
    });
    Some(dims.collect())
}

/// Adds what a node reads; what its inner graphs read may come from outside as well.
pub(super) fn add_needs(node: &NodeProto, needed: &mut HashSet<String>) {
    needed.extend(node.input.iter().cloned());
    let graphs = node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs));
    for graph in graphs {
        needed.extend(graph.output.iter().map(|output| output.name.clone()));
        graph.node.iter().for_each(|node| add_needs(node, needed));
    }
}
