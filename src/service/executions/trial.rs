//! A pipeline that is tried on a picture: what each step gives, with its pictures, and how long it takes. Nothing is kept, and
//! nothing is done to the world.

use std::collections::BTreeMap;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::results::milliseconds;
use super::small::small;
use super::work::NotDecoded;
use super::{ExecutionRefusal, ExecutionRequest, ExecutionService, blocking, inputs};
use crate::block::{BrokenOff, Context, Effect, Image, Item, Memory, Plan, RunError, StepRun, Value as Made};
use crate::execution::{Failure, FailureReason};
use crate::frame::Rgb;

/// Longest side of a picture that is shown, pixels, and its quality.
const LONGEST: u32 = 480;
/// Most pictures of a list that are shown.
const MOST_SHOWN: usize = 12;

/// What one step gave.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TriedStep {
    /// The step.
    pub step: String,
    /// How often its block ran.
    pub runs: u32,
    /// How long that took, milliseconds.
    pub took_ms: f64,
    /// What it gave, by name: values; of a picture `width`, `height` and a small one as `jpeg`, in base64.
    pub gave: Value,
}

/// What came of a trial.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// The steps that ran, in that order.
    pub steps: Vec<TriedStep>,
    /// How long all took, without decoding, milliseconds.
    pub took_ms: f64,
    /// What the pipeline would do to the world.
    pub effects: Vec<Value>,
    /// Why there is no result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

impl ExecutionService {
    /// Tries a pipeline.
    ///
    /// # Errors
    /// When the pipeline or the pictures cannot be used. What fails while it runs is said in the answer.
    pub async fn try_out(&self, request: ExecutionRequest) -> Result<Trial, ExecutionRefusal> {
        let this = self.clone();
        let (plan, given) = blocking(move || {
            let (_, definition) = this.asked(request.pipeline)?;
            let plan = this.plan(&definition, &request.parameters)?;
            let given = inputs::fitting(&plan, request.inputs)?;
            Ok::<_, ExecutionRefusal>((plan, given))
        })
        .await?;
        let mut pictures = BTreeMap::new();
        for (input, file) in given {
            let decoded = self.given_picture(&file).await;
            match decoded {
                Ok(picture) => drop(pictures.insert(input, picture)),
                Err(NotDecoded::Picture(reason) | NotDecoded::Gone(reason) | NotDecoded::Later(reason)) => {
                    let failure =
                        Failure { reason: FailureReason::Picture, step: None, message: format!("{input}: {reason}") };
                    return Ok(Trial { steps: Vec::new(), took_ms: 0.0, effects: Vec::new(), failure: Some(failure) });
                }
            }
        }
        let this = self.clone();
        blocking(move || Ok(this.run_trial(&plan, pictures))).await
    }

    /// Runs the steps. Blocks.
    fn run_trial(&self, plan: &Plan, pictures: BTreeMap<String, Rgb>) -> Trial {
        let deadline = Instant::now() + self.context.configured().executions.max_time;
        let is_over = move || (Instant::now() >= deadline).then_some(BrokenOff::TooSlow);
        let (models, memory) = (self.models.for_blocks(), Memory::default());
        let clock = &self.context.clock;
        let context = Context::new(&models, &memory, clock.mono(), clock.now(), &is_over);
        let inputs = pictures.into_iter().map(|(name, picture)| (name, Made::Image(Image::whole(picture)))).collect();
        let mut steps = Vec::new();
        let seen = |step: &StepRun| steps.push(tried(step));
        let ran = plan.run(inputs, &context, seen);
        let (effects, failure) = match ran {
            Ok(outcome) => (outcome.effects.iter().map(|of_step| said(&of_step.effect)).collect(), None),
            Err(RunError::Failed { step, reason, message, .. }) => {
                (Vec::new(), Some(Failure { reason, step: Some(step), message }))
            }
            Err(RunError::BrokenOff(_)) => {
                let message = "it took longer than executions.max_time allows".to_owned();
                (Vec::new(), Some(Failure { reason: FailureReason::TooSlow, step: None, message }))
            }
        };
        // Not counted is what it takes to show the pictures.
        let took: f64 = steps.iter().map(|step: &TriedStep| step.took_ms).sum();
        Trial { steps, took_ms: (took * 100.0).round() / 100.0, effects, failure }
    }
}

fn tried(step: &StepRun) -> TriedStep {
    let gave: Map<String, Value> = step.items.iter().map(|(name, item)| ((*name).to_owned(), shown(item))).collect();
    TriedStep { step: step.step.clone(), runs: step.runs, took_ms: milliseconds(step.took), gave: gave.into() }
}

fn shown(item: &Item) -> Value {
    match item {
        Item::Absent => Value::Null,
        Item::One(Made::Image(image)) => picture(image),
        Item::One(value) => value.to_json(),
        Item::Many(items) => items.iter().take(MOST_SHOWN).map(shown).collect(),
    }
}

fn picture(image: &Image) -> Value {
    let (width, height) = (image.picture.width, image.picture.height);
    let coded = small(&image.picture, LONGEST);
    json!({ "width": width, "height": height, "jpeg": coded.map(|bytes| STANDARD.encode(bytes)).unwrap_or_default() })
}

/// What would be done.
fn said(effect: &Effect) -> Value {
    match effect {
        Effect::Keep { name, file } => {
            json!({ "keep": name, "media_type": file.media_type, "bytes": file.bytes.len() })
        }
        Effect::Photo { file, tags } => json!({ "photo": tags, "bytes": file.bytes.len() }),
        Effect::Post { webhook, body } => {
            let mut body = body.clone();
            if let Some(picture) = body.get_mut("picture") {
                *picture = true.into();
            }
            json!({ "post": webhook, "body": body })
        }
        Effect::Alert { message, picture } => json!({ "alert": message, "picture": picture.is_some() }),
    }
}
