//! How models and their versions are doing, of what cameras, programs and the disk know of them.

use std::collections::BTreeMap;
use std::path::Path;

use super::model_facts::{ManifestFacts, ModelStatus, ModelUse, SpeedStatus, VersionStatus};
use super::own_models::OwnModels;
use crate::health::{ModelHealth, ModelState};
use crate::infer::{Manifest, Version, installed, versions};

/// A version as it lies on the disk, and what its manifest says; the error is for the operator.
pub(super) struct Found {
    number: u32,
    manifest: Result<ManifestFacts, String>,
}

/// What programs have of a model.
pub(super) struct Own<'a> {
    pub(super) models: &'a OwnModels,
    /// The version that its name means.
    pub(super) version: Option<u32>,
}

/// All versions in a folder, by the names of the models; the newest first. Blocks on the disk.
pub(super) fn manifests(folder: &Path) -> BTreeMap<String, Vec<Found>> {
    let found =
        |name: &str, version: &Version| Found { number: version.number, manifest: facts(name, &version.folder) };
    let of_model = |name: String| {
        let all = versions(folder, &name).iter().map(|version| found(&name, version)).collect();
        (name, all)
    };
    installed(folder).into_iter().map(of_model).collect()
}

fn facts(name: &str, folder: &Path) -> Result<ManifestFacts, String> {
    let manifest = Manifest::load(folder, name).map_err(|error| error.to_string())?;
    let labels = manifest.read_labels(folder).unwrap_or_default();
    let bytes = std::fs::metadata(folder.join(&manifest.file)).ok().map(|file| file.len());
    Ok(ManifestFacts {
        file: manifest.file,
        bytes,
        sha256: manifest.sha256,
        width: manifest.input.width,
        height: manifest.input.height,
        threads: manifest.threads,
        labels,
        licence: manifest.licence,
        origin: manifest.origin,
    })
}

/// How a model is doing. What cameras know goes before what programs do, and that before what lies on the disk.
pub(super) fn status(
    name: &str,
    found: &[Found],
    of_cameras: &[(&String, &ModelHealth)],
    own: &Own<'_>,
    cameras: Vec<String>,
    speed: Option<SpeedStatus>,
) -> ModelStatus {
    // Who asks for the newest says more than who asks for one version.
    let by_name = of_cameras.iter().find(|(reference, _)| *reference == name).or(of_cameras.first());
    let health = by_name.map(|(_, health)| *health);
    let versions: Vec<VersionStatus> = found.iter().map(|found| version_status(name, found, of_cameras, own)).collect();
    let readable = found.iter().find(|found| found.manifest.is_ok()).map(|found| found.number);
    let version = health.and_then(|health| health.version).or(own.version).or(readable);
    let in_use = found.iter().find(|found| Some(found.number) == version);
    let manifest = in_use.and_then(|found| found.manifest.clone().ok());
    let unreadable = match (readable, found.first()) {
        (None, Some(newest)) => newest.manifest.as_ref().err().cloned(),
        _ => None,
    };
    let (state, reason) = match (health, unreadable) {
        (Some(ModelHealth { state: ModelState::Broken, reason, .. }), unreadable) => {
            (ModelUse::Broken, reason.clone().or(unreadable))
        }
        (_, Some(unreadable)) => (ModelUse::Broken, Some(unreadable)),
        (Some(ModelHealth { state: ModelState::Loading, .. }), None) => (ModelUse::Loading, None),
        (Some(ModelHealth { state: ModelState::Ready, .. }), None) => (ModelUse::Ready, None),
        (None, None) => (ModelUse::Unused, None),
    };
    ModelStatus { name: name.to_owned(), state, reason, cameras, version, versions, manifest, speed }
}

fn version_status(name: &str, found: &Found, of_cameras: &[(&String, &ModelHealth)], own: &Own<'_>) -> VersionStatus {
    let version = found.number;
    let is_in_use = of_cameras.iter().any(|(_, health)| health.version == Some(version));
    let reference = format!("{name}/{version}");
    let asked_alone = of_cameras.iter().find(|(known, _)| **known == reference);
    let failure = of_cameras
        .iter()
        .find_map(|(_, health)| health.failed.get(&version).cloned())
        .or_else(|| asked_alone.and_then(|(_, health)| health.reason.clone()))
        .or_else(|| own.models.failure(name, version));
    let (state, reason) = match (&found.manifest, failure) {
        _ if is_in_use || own.models.has(name, version) => (ModelUse::Ready, None),
        (_, Some(reason)) => (ModelUse::Broken, Some(reason)),
        (Err(reason), None) => (ModelUse::Broken, Some(reason.clone())),
        (Ok(_), None) => (ModelUse::Unused, None),
    };
    VersionStatus { version, state, reason }
}
