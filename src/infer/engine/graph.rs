//! An ONNX file as it is read: checked, with the weights that lie in files beside it, cut to the outputs that the
//! manifest asks for, and in a precision that this processor computes well.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use tract_onnx::pb::tensor_proto::{DataLocation, DataType};
use tract_onnx::pb::tensor_shape_proto::dimension::Value as DimValue;
use tract_onnx::pb::type_proto::Value as TypeValue;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use tract_onnx::prelude::*;

use super::inputs::{self, add_needs, check_input};
use super::one_line;
use crate::infer::{Manifest, ModelError};

/// Half precision in ONNX's numbering, as tensors and attributes spell it.
const HALF: i32 = DataType::Float16 as i32;
const SINGLE: i32 = DataType::Float as i32;

/// Reads the model of `manifest` in folder `dir`.
///
/// # Errors
/// When a file is missing, damaged or not what the manifest says, or the engine lacks an operator.
pub(super) fn read(dir: &Path, manifest: &Manifest, framework: &tract_onnx::Onnx) -> Result<ModelProto, ModelError> {
    let onnx = manifest.read_model(dir)?;
    let path = dir.join(&manifest.file);
    let mut proto = parse(&path, &onnx, framework)?;
    drop(onnx);
    let Some(graph) = &mut proto.graph else { return Ok(proto) };
    select_outputs(&path, graph, &manifest.outputs)?;
    check_operators(&path, graph, framework)?;
    inputs::fix(&path, graph, &manifest.fixed_inputs)?;
    check_input(&path, graph, &manifest.input.shape())?;
    forget_symbols(graph);
    load_external_data(dir, manifest, graph)?;
    if !computes_half_precision() {
        widen(graph);
    }
    Ok(proto)
}

/// Whether the graph chooses among overlapping boxes itself.
pub(super) fn suppresses(proto: &ModelProto) -> bool {
    let nodes = proto.graph.iter().flat_map(|graph| &graph.node);
    nodes.into_iter().any(|node| node.op_type == "NonMaxSuppression")
}

fn parse(path: &Path, onnx: &[u8], framework: &tract_onnx::Onnx) -> Result<ModelProto, ModelError> {
    let not_onnx = |reason: String| ModelError::NotOnnx { path: path.to_owned(), reason };
    let proto = framework.proto_model_for_read(&mut &*onnx).map_err(|error| not_onnx(one_line(&error)))?;
    let has_nodes = proto.graph.as_ref().is_some_and(|graph| !graph.node.is_empty());
    if has_nodes { Ok(proto) } else { Err(not_onnx("it has no graph".to_owned())) }
}

/// Makes the values named `wanted` the outputs, in this order, and takes out what they do not need.
fn select_outputs(path: &Path, graph: &mut GraphProto, wanted: &[String]) -> Result<(), ModelError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let known: HashSet<&str> = graph.node.iter().flat_map(|node| &node.output).map(String::as_str).collect();
    if let Some(missing) = wanted.iter().find(|name| !known.contains(name.as_str())) {
        let outputs = graph.output.iter().map(|output| output.name.clone()).collect();
        return Err(ModelError::Output { path: path.to_owned(), missing: missing.clone(), outputs });
    }
    let output = |name: &String| {
        let declared = graph.output.iter().chain(&graph.value_info).find(|value| value.name == *name);
        declared.cloned().unwrap_or_else(|| ValueInfoProto { name: name.clone(), ..ValueInfoProto::default() })
    };
    graph.output = wanted.iter().map(output).collect();
    let mut needed: HashSet<String> = wanted.iter().cloned().collect();
    // A graph lists its nodes in the order of their computation.
    let mut kept: Vec<NodeProto> = Vec::new();
    for node in std::mem::take(&mut graph.node).into_iter().rev() {
        if node.output.iter().any(|name| needed.contains(name)) {
            add_needs(&node, &mut needed);
            kept.push(node);
        }
    }
    kept.reverse();
    graph.node = kept;
    Ok(())
}

fn check_operators(path: &Path, graph: &GraphProto, framework: &tract_onnx::Onnx) -> Result<(), ModelError> {
    let mut unknown: Vec<String> = (graph.node.iter().map(|node| node.op_type.clone()))
        .filter(|operator| !framework.op_register.0.contains_key(operator))
        .collect();
    unknown.sort();
    unknown.dedup();
    if unknown.is_empty() { Ok(()) } else { Err(ModelError::Operators { path: path.to_owned(), operators: unknown }) }
}

/// Drops what the file says of the shapes inside of it, where those are in terms of sizes that it leaves open
/// (`batch`, `height`): the manifest gives the sizes, and the engine would find `batch` and 1 to be different.
fn forget_symbols(graph: &mut GraphProto) {
    graph.value_info.retain(|value| {
        let Some(TypeValue::TensorType(tensor)) = value.r#type.as_ref().and_then(|kind| kind.value.as_ref()) else {
            return true;
        };
        let dims = tensor.shape.iter().flat_map(|shape| &shape.dim);
        dims.into_iter().all(|dim| !matches!(dim.value, Some(DimValue::DimParam(_))))
    });
}

/// Calls `visit` with every tensor that the file holds, those of inner graphs too.
fn each_tensor<E>(graph: &mut GraphProto, visit: &mut dyn FnMut(&mut TensorProto) -> Result<(), E>) -> Result<(), E> {
    graph.initializer.iter_mut().try_for_each(&mut *visit)?;
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        attribute.t.iter_mut().chain(&mut attribute.tensors).try_for_each(&mut *visit)?;
        for inner in attribute.g.iter_mut().chain(&mut attribute.graphs) {
            each_tensor(inner, visit)?;
        }
    }
    Ok(())
}

/// Puts the weights that lie in files beside the model where the engine looks for them. Each file must be named by
/// the manifest with its checksum, as the model itself is.
fn load_external_data(dir: &Path, manifest: &Manifest, graph: &mut GraphProto) -> Result<(), ModelError> {
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    each_tensor(graph, &mut |tensor| {
        if tensor.data_location != Some(DataLocation::External as i32) {
            return Ok(());
        }
        let path = dir.join(&manifest.file);
        let wrong = |reason: String| ModelError::Load { path: path.clone(), reason };
        let entry = |key: &str| tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| &entry.value);
        let number = |key: &str| match entry(key).map(|text| text.parse::<usize>()) {
            Some(Err(_)) => Err(wrong(format!("{key} of the external data of {} is no number", tensor.name))),
            Some(Ok(number)) => Ok(Some(number)),
            None => Ok(None),
        };
        let location = entry("location").ok_or_else(|| wrong(format!("{} does not say where it lies", tensor.name)))?;
        let file = location.strip_prefix("./").unwrap_or(location).to_owned();
        if !files.contains_key(&file) {
            files.insert(file.clone(), manifest.read_external(dir, &file)?);
        }
        let bytes = files.get(&file).map_or(&[][..], Vec::as_slice);
        let from = number("offset")?.unwrap_or(0);
        let until = number("length")?.map_or(Some(bytes.len()), |length| from.checked_add(length));
        let part = until.and_then(|until| bytes.get(from..until));
        let part = part.ok_or_else(|| wrong(format!("{file} is too short for the weights {}", tensor.name)))?;
        tensor.raw_data = part.to_vec();
        tensor.external_data.clear();
        tensor.data_location = None;
        Ok(())
    })
}

/// Whether the engine has instructions for half precision here. Elsewhere it converts each number for each operation,
/// which takes a hundred times as long.
fn computes_half_precision() -> bool {
    #[cfg(target_arch = "aarch64")]
    return tract_linalg::arm64::has_fp16();
    #[cfg(not(target_arch = "aarch64"))]
    false
}

/// Turns half precision into single precision: every weight, every conversion, every declared type.
fn widen(graph: &mut GraphProto) {
    let widened: Result<(), std::convert::Infallible> = each_tensor(graph, &mut |tensor| {
        widen_tensor(tensor);
        Ok(())
    });
    let Ok(()) = widened;
    widen_types(graph);
}

fn widen_tensor(tensor: &mut TensorProto) {
    if tensor.data_type != HALF {
        return;
    }
    let halves: Vec<f16> = if tensor.raw_data.is_empty() {
        // The standard keeps their bits in 32-bit numbers.
        std::mem::take(&mut tensor.int32_data).into_iter().map(|bits| f16::from_bits(bits as u16)).collect()
    } else {
        tensor.raw_data.as_chunks::<2>().0.iter().map(|bytes| f16::from_le_bytes(*bytes)).collect()
    };
    tensor.raw_data = halves.into_iter().flat_map(|half| half.to_f32().to_le_bytes()).collect();
    tensor.data_type = SINGLE;
}

fn widen_types(graph: &mut GraphProto) {
    for value in graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info) {
        if let Some(TypeValue::TensorType(tensor)) = value.r#type.as_mut().and_then(|kind| kind.value.as_mut())
            && tensor.elem_type == HALF
        {
            tensor.elem_type = SINGLE;
        }
    }
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        // `to` of Cast, `dtype` of what makes tensors.
        if matches!(attribute.name.as_str(), "to" | "dtype") && attribute.i == i64::from(HALF) {
            attribute.i = i64::from(SINGLE);
        }
        attribute.g.iter_mut().chain(&mut attribute.graphs).for_each(widen_types);
    }
}
