//! The models and pipelines of the box, as the protocol describes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::request::Refusal;
use super::tensor::DataType;
use crate::execution::Kind;
use crate::service::{ModelStatus, ModelUse, VersionStatus};
use crate::web::Shared;

/// The platform of pipelines.
const PIPELINE: &str = "outpost_pipeline";

/// A tensor that a model takes or gives.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TensorDescription {
    pub(super) name: String,
    pub(super) datatype: DataType,
    pub(super) shape: Vec<i64>,
}

/// What the index of the repository says of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) is_ready: bool,
    /// Why it is not; else empty.
    pub(super) reason: String,
}

impl IndexEntry {
    pub(super) fn state(&self) -> &'static str {
        if self.is_ready { "READY" } else { "UNAVAILABLE" }
    }
}

/// What a model takes and gives.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ModelDescription {
    pub(super) name: String,
    pub(super) versions: Vec<String>,
    /// Why versions cannot be asked; nothing of those that can.
    pub(super) failed: BTreeMap<String, String>,
    pub(super) platform: &'static str,
    pub(super) inputs: Vec<TensorDescription>,
    pub(super) outputs: Vec<TensorDescription>,
    pub(super) is_ready: bool,
    /// Why it is not.
    pub(super) reason: Option<String>,
}

impl ModelDescription {
    pub(super) fn is_pipeline(&self) -> bool {
        self.platform == PIPELINE
    }
}

fn described(name: &str, datatype: DataType, shape: &[i64]) -> TensorDescription {
    TensorDescription { name: name.to_owned(), datatype, shape: shape.to_vec() }
}

fn of_model(model: &ModelStatus) -> ModelDescription {
    ModelDescription {
        name: model.name.clone(),
        versions: model.versions.iter().rev().map(|version| version.version.to_string()).collect(),
        failed: model.versions.iter().filter_map(failure).collect(),
        platform: "onnx_tract",
        inputs: vec![described("image", DataType::Bytes, &[1])],
        outputs: vec![
            described("boxes", DataType::Fp32, &[-1, 4]),
            described("scores", DataType::Fp32, &[-1]),
            described("classes", DataType::Int64, &[-1]),
            described("labels", DataType::Bytes, &[-1]),
        ],
        is_ready: model.state != ModelUse::Broken,
        reason: model.reason.clone(),
    }
}

fn failure(version: &VersionStatus) -> Option<(String, String)> {
    let is_broken = version.state == ModelUse::Broken;
    is_broken.then(|| (version.version.to_string(), version.reason.clone().unwrap_or_default()))
}

/// All models and pipelines.
pub(super) async fn all(shared: &Arc<Shared>) -> Result<Vec<ModelDescription>, Refusal> {
    let failed = |error: anyhow::Error| Refusal::Failed(format!("{error:#}"));
    let models = shared.services.models.list().await.map_err(failed)?;
    let mut all: Vec<ModelDescription> = models.iter().map(of_model).collect();
    let pipelines = shared.services.pipelines.clone();
    let found = tokio::task::spawn_blocking(move || {
        let entries = pipelines.list()?;
        let described = entries.into_iter().map(|entry| {
            let pipeline = pipelines.get(&entry.name, None).map(|(_, pipeline)| pipeline).ok();
            let outputs = pipeline.as_ref().map(|pipeline| pipelines.outputs(pipeline)).unwrap_or_default();
            (entry, pipeline, outputs)
        });
        Ok::<_, anyhow::Error>(described.collect::<Vec<_>>())
    });
    for (entry, pipeline, outputs) in
        found.await.map_err(|error| Refusal::Failed(error.to_string()))?.map_err(failed)?
    {
        let reason = entry.errors.first().map(ToString::to_string);
        // A model goes before a pipeline of the same name.
        if all.iter().any(|known| known.name == entry.name) {
            continue;
        }
        let versions = entry.versions.iter().map(ToString::to_string).collect();
        all.push(ModelDescription {
            name: entry.name,
            versions,
            failed: BTreeMap::new(),
            platform: PIPELINE,
            inputs: pipeline
                .iter()
                .flat_map(|pipeline| pipeline.inputs.keys())
                .map(|name| described(name, DataType::Bytes, &[1]))
                .collect(),
            outputs: outputs.iter().map(|(name, kind)| described(name, datatype(*kind), &[-1])).collect(),
            is_ready: reason.is_none() && pipeline.is_some(),
            reason,
        });
    }
    Ok(all)
}

/// A model or pipeline; `version` may be empty.
pub(super) async fn describe(shared: &Arc<Shared>, name: &str, version: &str) -> Result<ModelDescription, Refusal> {
    let found = all(shared).await?.into_iter().find(|model| model.name == name);
    let found =
        found.ok_or_else(|| Refusal::NotFound(format!("there is no model or pipeline {name:?} on this box")))?;
    if !version.is_empty() && !found.versions.iter().any(|known| known == version) {
        let message = format!("{name:?} has no version {version}; it has {}", found.versions.join(", "));
        return Err(Refusal::NotFound(message));
    }
    // Without a version the newest that can be used answers.
    let of_all =
        || found.versions.iter().rev().map(|known| found.failed.get(known).cloned()).collect::<Option<Vec<_>>>();
    let failure = match version {
        "" if !found.is_pipeline() => of_all().and_then(|reasons| reasons.into_iter().next()),
        version => found.failed.get(version).cloned(),
    };
    match failure {
        Some(reason) => Ok(ModelDescription { is_ready: false, reason: Some(reason), ..found }),
        None if !version.is_empty() && !found.is_pipeline() => {
            // What another version is like does not matter.
            Ok(ModelDescription { is_ready: true, reason: None, ..found })
        }
        None => Ok(found),
    }
}

/// An entry of the index for each version of a model, and for the newest of a pipeline.
pub(super) async fn index(shared: &Arc<Shared>, ready_only: bool) -> Result<Vec<IndexEntry>, Refusal> {
    let mut entries = Vec::new();
    for model in all(shared).await? {
        let entry = |version: &String| {
            let failure = model.failed.get(version).cloned();
            let is_ready = if model.is_pipeline() { model.is_ready } else { failure.is_none() };
            let reason = failure.or_else(|| model.reason.clone().filter(|_| !is_ready)).unwrap_or_default();
            IndexEntry { name: model.name.clone(), version: version.clone(), is_ready, reason }
        };
        let newest = model.versions.last().cloned().unwrap_or_default();
        if model.is_pipeline() || model.versions.is_empty() {
            entries.push(IndexEntry { is_ready: model.is_ready, ..entry(&newest) });
        } else {
            entries.extend(model.versions.iter().map(entry));
        }
    }
    entries.retain(|entry| entry.is_ready || !ready_only);
    Ok(entries)
}

/// The type of the tensor for an output: numbers are numbers, all else is files or text.
pub(super) fn datatype(kind: Kind) -> DataType {
    if kind == Kind::Number { DataType::Fp64 } else { DataType::Bytes }
}
