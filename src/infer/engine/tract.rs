//! ONNX models on tract: plain Rust, on the processor.

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tract_linalg::multithread::{Executor, multithread_tract_scope};
use tract_onnx::pb::tensor_shape_proto::dimension::Value as DimValue;
use tract_onnx::pb::type_proto::Value as TypeValue;
use tract_onnx::pb::{ModelProto, ValueInfoProto};
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;

use super::{Description, Engine, Output, OutputInfo};
use crate::infer::{InferError, Manifest, ModelError};
use crate::supervise::panic_text;

/// A model that tract has optimised.
pub struct TractEngine {
    plan: Arc<TypedRunnableModel>,
    /// Run states that no thread uses at present. A state keeps the plan's bookkeeping, so that it is
    /// not built anew for each picture; there are never more than threads that ran at once.
    idle: Mutex<Vec<TypedSimpleState>>,
    input_type: DatumType,
    /// Runs the large products of one picture: in place, or on threads that belong to this model.
    executor: Executor,
    description: Description,
}

impl TractEngine {
    /// Loads the ONNX file whose bytes are `onnx`; `path` is for messages only. Runs it once.
    pub fn load(path: &Path, onnx: Vec<u8>, manifest: &Manifest) -> Result<Self, ModelError> {
        // tract takes the file at its word in places: a broken graph may panic.
        std::panic::catch_unwind(AssertUnwindSafe(|| Self::load_unguarded(path, &onnx, manifest))).unwrap_or_else(
            |panic| Err(ModelError::Load { path: path.to_owned(), reason: format!("panic: {}", panic_text(&*panic)) }),
        )
    }

    fn load_unguarded(path: &Path, onnx: &[u8], manifest: &Manifest) -> Result<Self, ModelError> {
        let failed = |error: TractError| ModelError::Load { path: path.to_owned(), reason: one_line(&error) };
        let framework = tract_onnx::onnx();
        let proto = parse(path, onnx, &framework)?;
        check_operators(path, &proto, &framework)?;
        let shape = manifest.input.shape();
        check_input(path, &proto, &shape)?;

        let mut model = framework.model_for_proto_model(&proto).map_err(failed)?;
        drop(proto);
        let declared = model.input_fact(0).map_err(failed)?.datum_type.concretize();
        let input_type = declared.unwrap_or_else(f32::datum_type);
        let fact = InferenceFact::dt_shape(input_type, shape.as_slice());
        model.set_input_fact(0, fact).map_err(failed)?;
        let plan = model.into_optimized().and_then(|model| model.into_runnable()).map_err(failed)?;

        let description = Description { engine: "tract", input: shape, outputs: Vec::new() };
        let executor = match manifest.threads {
            1 => Executor::SingleThread,
            threads => Executor::multithread_with_name(threads, &format!("mm-{}", manifest.name)),
        };
        let mut engine = Self { plan, idle: Mutex::default(), input_type, executor, description };
        engine.description.outputs = engine.outputs().map_err(failed)?;
        Ok(engine)
    }

    /// What the model really gives, found by running it on a blank input: what a file says of its
    /// output shapes is often vague and sometimes wrong.
    fn outputs(&self) -> TractResult<Vec<OutputInfo>> {
        let blank = vec![0.0; self.description.input.iter().product()];
        let outputs = self.run_plan(&blank)?;
        let model = self.plan.model();
        let names = model.output_outlets()?.iter().map(|outlet| {
            let label = model.outlet_label(*outlet).map(str::to_owned);
            label.unwrap_or_else(|| model.node(outlet.node).name.clone())
        });
        Ok(names.zip(outputs).map(|(name, output)| OutputInfo { name, shape: output.shape }).collect())
    }

    fn run_plan(&self, input: &[f32]) -> TractResult<Vec<Output>> {
        let tensor = Tensor::from_shape(&self.description.input, input)?;
        let tensor = if self.input_type == f32::datum_type() {
            tensor
        } else {
            tensor.cast_to_dt(self.input_type)?.into_owned()
        };
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut state = match idle {
            Some(state) => state,
            None => self.plan.spawn()?,
        };
        // A state that failed or panicked half way is not used again.
        let outputs = multithread_tract_scope(self.executor.clone(), || state.run(tvec!(tensor.into_tvalue())))?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(state);
        outputs.iter().map(|value| copy_output(value)).collect()
    }
}

impl Engine for TractEngine {
    fn run(&self, input: &[f32]) -> Result<Vec<Output>, InferError> {
        self.run_plan(input).map_err(|error| InferError::Engine(one_line(&error)))
    }

    fn describe(&self) -> Description {
        self.description.clone()
    }
}

fn copy_output(value: &Tensor) -> TractResult<Output> {
    let value = value.cast_to::<f32>()?;
    Ok(Output { shape: value.shape().to_vec(), data: value.try_as_plain_ram()?.as_slice::<f32>()?.to_vec() })
}

fn parse(path: &Path, onnx: &[u8], framework: &tract_onnx::Onnx) -> Result<ModelProto, ModelError> {
    let not_onnx = |reason: String| ModelError::NotOnnx { path: path.to_owned(), reason };
    let proto = framework.proto_model_for_read(&mut &*onnx).map_err(|error| not_onnx(one_line(&error)))?;
    let has_nodes = proto.graph.as_ref().is_some_and(|graph| !graph.node.is_empty());
    if has_nodes { Ok(proto) } else { Err(not_onnx("it has no graph".to_owned())) }
}

fn check_operators(path: &Path, proto: &ModelProto, framework: &tract_onnx::Onnx) -> Result<(), ModelError> {
    let nodes = proto.graph.iter().flat_map(|graph| &graph.node);
    let mut unknown: Vec<String> = nodes
        .map(|node| node.op_type.clone())
        .filter(|operator| !framework.op_register.0.contains_key(operator))
        .collect();
    unknown.sort();
    unknown.dedup();
    if unknown.is_empty() { Ok(()) } else { Err(ModelError::Operators { path: path.to_owned(), operators: unknown }) }
}

/// The model must have one input, which must take the shape that the manifest gives.
fn check_input(path: &Path, proto: &ModelProto, shape: &[usize]) -> Result<(), ModelError> {
    let refused = |found: String| ModelError::Input { path: path.to_owned(), expected: shape.to_vec(), found };
    let Some(graph) = &proto.graph else { return Ok(()) };
    // Older files list the weights among the inputs.
    let weights: HashSet<_> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
    let inputs: Vec<_> = graph.input.iter().filter(|input| !weights.contains(input.name.as_str())).collect();
    let [input] = inputs.as_slice() else {
        return Err(refused(format!("{} inputs", inputs.len())));
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

/// tract's errors are chains of several lines; a log line or a message holds one.
fn one_line(error: &TractError) -> String {
    let text = format!("{error:#}");
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(400).collect()
}
