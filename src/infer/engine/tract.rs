//! ONNX models on tract: plain Rust, on the processor.

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tract_linalg::multithread::{Executor, multithread_tract_scope};
use tract_onnx::prelude::*;
use tract_onnx::tract_core::plan;
use tract_onnx::tract_hir::infer::Factoid;

use super::{Description, Engine, Output, OutputInfo, graph, one_line};
use crate::infer::{InferError, Limits, Manifest, ModelError};
use crate::supervise::panic_text;

/// A model that tract has optimised.
pub struct TractEngine {
    plan: Arc<TypedRunnableModel>,
    /// Run states that no thread uses at present. A state keeps the plan's bookkeeping, so that it is
    /// not built again for each picture; there are never more than threads that ran at once.
    idle: Mutex<Vec<TypedSimpleState>>,
    input_type: DatumType,
    /// Runs the large products of one picture: in place, or on threads that belong to this model.
    executor: Executor,
    description: Description,
    /// A run that takes longer is broken off.
    run_limit: Duration,
}

/// A run took longer than it may.
#[derive(Debug, thiserror::Error)]
#[error("one picture takes more than {limit:?}: broken off after {done} of {all} operations")]
struct Overdue {
    limit: Duration,
    done: usize,
    all: usize,
}

impl TractEngine {
    /// Loads the model of `manifest` in folder `dir`, and runs it once to see what it gives and how long that takes.
    pub fn load(dir: &Path, manifest: &Manifest, limits: Limits) -> Result<Self, ModelError> {
        let load = || Self::load_unguarded(dir, manifest, limits);
        // tract takes the file at its word in places: a broken graph may panic.
        std::panic::catch_unwind(AssertUnwindSafe(load)).unwrap_or_else(|panic| {
            let reason = format!("panic: {}", panic_text(&*panic));
            Err(ModelError::Load { path: dir.join(&manifest.file), reason })
        })
    }

    fn load_unguarded(dir: &Path, manifest: &Manifest, limits: Limits) -> Result<Self, ModelError> {
        let path = dir.join(&manifest.file);
        let framework = tract_onnx::onnx();
        let proto = graph::read(dir, manifest, &framework)?;
        let advice = if graph::suppresses(&proto) {
            "; it chooses among its boxes itself: export it without that (nms=False)"
        } else {
            ""
        };
        let failed = |error: TractError| ModelError::Load {
            path: path.clone(),
            reason: format!("{}{advice}", one_line(&error)),
        };

        let mut model = framework.model_for_proto_model(&proto).map_err(failed)?;
        drop(proto);
        let shape = manifest.input.shape();
        let declared = model.input_fact(0).map_err(failed)?.datum_type.concretize();
        let input_type = declared.unwrap_or_else(f32::datum_type);
        check_numbers(&path, manifest, input_type)?;
        let fact = InferenceFact::dt_shape(input_type, shape.as_slice());
        model.set_input_fact(0, fact).map_err(failed)?;
        let plan = model.into_optimized().and_then(|model| model.into_runnable()).map_err(failed)?;

        let description = Description { engine: "tract", input: shape, outputs: Vec::new() };
        let executor = match manifest.threads {
            1 => Executor::SingleThread,
            threads => Executor::multithread_with_name(threads, &format!("mm-{}", manifest.name)),
        };
        let idle = Mutex::default();
        let mut engine = Self { plan, idle, input_type, executor, description, run_limit: limits.run };
        engine.description.outputs =
            engine.try_out(limits.load).map_err(|error| match error.downcast_ref::<Overdue>() {
                Some(overdue) => ModelError::TooSlow { path: path.clone(), found: overdue.to_string() },
                None => failed(error),
            })?;
        Ok(engine)
    }

    /// What the model really gives, found by running it on a blank input: what a file says of its
    /// output shapes is often vague and sometimes wrong.
    fn try_out(&self, limit: Duration) -> TractResult<Vec<OutputInfo>> {
        let blank = vec![0.0; self.description.input.iter().product()];
        let first = self.run_plan(&blank, limit);
        // The box may have been busy with something else for a moment.
        let is_overdue = first.as_ref().is_err_and(|error| error.downcast_ref::<Overdue>().is_some());
        let outputs = if is_overdue { self.run_plan(&blank, limit) } else { first }?;
        let model = self.plan.model();
        let names = model.output_outlets()?.iter().map(|outlet| {
            let label = model.outlet_label(*outlet).map(str::to_owned);
            label.unwrap_or_else(|| model.node(outlet.node).name.clone())
        });
        Ok(names.zip(outputs).map(|(name, output)| OutputInfo { name, shape: output.shape }).collect())
    }

    fn run_plan(&self, input: &[f32], limit: Duration) -> TractResult<Vec<Output>> {
        let tensor = Tensor::from_shape(&self.description.input, input)?;
        let tensor = if self.input_type == f32::datum_type() {
            tensor
        } else {
            tensor.cast_to_dt(self.input_type)?.into_owned()
        };
        let idle = self.idle.lock().pop();
        let mut state = match idle {
            Some(state) => state,
            None => self.plan.spawn()?,
        };
        let (begun, all) = (Instant::now(), self.plan.model().nodes.len());
        let mut done = 0;
        // Between two operations is the only place where a run can be ended from within.
        let run = || {
            state.run_plan_with_eval(tvec!(tensor.into_tvalue()), |context, op_state, node, inputs| {
                if begun.elapsed() > limit {
                    return Err(TractError::new(Overdue { limit, done, all }));
                }
                done += 1;
                plan::eval(context, op_state, node, inputs)
            })
        };
        // A state that failed or panicked half way is not used again.
        let outputs = multithread_tract_scope(self.executor.clone(), run)?;
        self.idle.lock().push(state);
        outputs.iter().map(|value| copy_output(value)).collect()
    }
}

impl Engine for TractEngine {
    fn run(&self, input: &[f32]) -> Result<Vec<Output>, InferError> {
        self.run_plan(input, self.run_limit).map_err(|error| InferError::Engine(one_line(&error)))
    }

    fn describe(&self) -> Description {
        self.description.clone()
    }
}

/// Pixels that are scaled are no whole numbers any more, and other types are no numbers.
fn check_numbers(path: &Path, manifest: &Manifest, input_type: DatumType) -> Result<(), ModelError> {
    let refused = |reason: String| Err(ModelError::Load { path: path.to_owned(), reason });
    let input = &manifest.input;
    if input_type.is_float() {
        return Ok(());
    }
    if !input_type.is_integer() {
        return refused(format!("its input is of type {input_type:?}; export it for FP32, FP16 or UINT8"));
    }
    let values = [0.0, 1.0].map(|pixel| {
        let channels = input.mean.iter().zip(&input.std);
        channels.map(|(mean, std)| (pixel * input.scale - mean) / std).collect::<Vec<f32>>()
    });
    let is_whole = values.iter().flatten().all(|value| value.fract() == 0.0);
    let least = if input_type.is_signed() { -128.0 } else { 0.0 };
    if !is_whole || values.iter().flatten().any(|value| *value < least) {
        return refused(format!(
            "its input is of type {input_type:?}, whole numbers from {least}; leave out scale, mean and std in [input]"
        ));
    }
    Ok(())
}

fn copy_output(value: &Tensor) -> TractResult<Output> {
    let value = value.cast_to::<f32>()?;
    Ok(Output { shape: value.shape().to_vec(), data: value.try_as_plain_ram()?.as_slice::<f32>()?.to_vec() })
}
