//! What a pipeline came to, as it is kept: values as JSON, pictures as files.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::block::{Effect, Encoded, Image, Item, Outcome, StepEffect, Value as Made, short};
use crate::execution::StepReport;
use crate::executor::MadeFile;

/// JPEG quality of pictures that no step has coded.
const QUALITY: u8 = 90;

/// What is kept of an outcome. The error names the output that cannot be written.
pub(super) struct Results {
    pub(super) outputs: BTreeMap<String, Value>,
    pub(super) files: Vec<MadeFile>,
    pub(super) steps: Vec<StepReport>,
}

/// Writes what a pipeline came to. Takes a while: pictures are coded.
pub(super) fn write(outcome: &Outcome) -> Result<Results, String> {
    let (mut outputs, mut files) = (BTreeMap::new(), Vec::new());
    for (name, item) in &outcome.outputs {
        let written = write_item(name, item, &mut files).map_err(|reason| format!("output {name}: {reason}"))?;
        outputs.insert(name.clone(), written);
    }
    for StepEffect { step, effect } in &outcome.effects {
        match effect {
            Effect::Keep { name, file } => {
                let name = free_name(&format!("keep-{name}"), file.extension, &files);
                files.push(made(name, file, true));
            }
            Effect::Post { webhook, body } => {
                let name = free_name(&format!("post-{step}"), "json", &files);
                files.push(posted(name, webhook, step, body));
            }
            Effect::Photo { .. } | Effect::Alert { .. } => {}
        }
    }
    let steps = outcome.steps.iter().map(|step| StepReport {
        step: step.step.clone(),
        runs: step.runs,
        took_ms: milliseconds(step.took),
    });
    Ok(Results { outputs, files, steps: steps.collect() })
}

fn write_item(name: &str, item: &Item, files: &mut Vec<MadeFile>) -> Result<Value, String> {
    match item {
        Item::Absent => Ok(Value::Null),
        Item::Many(items) => items.iter().map(|item| write_item(name, item, files)).collect(),
        Item::One(Made::Image(image)) => {
            let coded = coded(image)?;
            let file = free_name(name, coded.extension, files);
            let (width, height) = (image.picture.width, image.picture.height);
            let place = short(&image.place).unwrap_or_default();
            let written = json!({ "file": file, "width": width, "height": height, "place": place });
            files.push(made(file, &coded, false));
            Ok(written)
        }
        Item::One(value) => Ok(value.to_json()),
    }
}

fn made(name: String, file: &Encoded, kept: bool) -> MadeFile {
    MadeFile {
        name,
        media_type: file.media_type.to_owned(),
        bytes: Arc::from(file.bytes.as_slice()),
        kept,
        webhook: None,
    }
}

/// What a webhook gets of a step. Its receiver is given it with what the execution says of itself.
fn posted(name: String, webhook: &str, step: &str, body: &Value) -> MadeFile {
    let mut body = body.clone();
    body["step"] = step.into();
    let (media_type, bytes) = ("application/json".to_owned(), body.to_string().into_bytes().into());
    MadeFile { name, media_type, bytes, kept: false, webhook: Some(webhook.into()) }
}

/// A name that no other file has: `drawn.jpg`, `drawn-2.jpg`.
fn free_name(stem: &str, extension: &str, files: &[MadeFile]) -> String {
    let is_free = |name: &String| !files.iter().any(|file| file.name == *name);
    let numbered = (2..).map(|n: u32| format!("{stem}-{n}.{extension}"));
    std::iter::once(format!("{stem}.{extension}")).chain(numbered).find(is_free).unwrap_or_default()
}

fn coded(image: &Image) -> Result<Arc<Encoded>, String> {
    if let Some(coded) = &image.encoded {
        return Ok(coded.clone());
    }
    let bytes = image.picture.to_jpeg(QUALITY).map_err(|error| error.to_string())?;
    Ok(Arc::new(Encoded { bytes, media_type: "image/jpeg", extension: "jpg" }))
}

/// To hundredths.
pub(super) fn milliseconds(took: std::time::Duration) -> f64 {
    (took.as_secs_f64() * 100_000.0).round() / 100.0
}
