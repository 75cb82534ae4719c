//! The pipelines on this box: files below the state folder, each version of one a file that never changes.
//!
//! `pipelines/<name>/<n>.toml`; the highest `n` is what runs where no version is named.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use parking_lot::Mutex;
use serde::Serialize;

use super::models::ModelService;
use crate::block::{Plan, StepError};
use crate::durable;
use crate::execution::{Kind, Pipeline, PipelineVersion, is_name};

/// Most pipelines on one box.
const MOST_PIPELINES: usize = 1000;
/// Most versions of one; the oldest go.
const MOST_VERSIONS: usize = 200;
/// File beside the versions of a pipeline that was removed: the number of its last one.
const LAST: &str = "last";
/// Largest file, bytes.
const LARGEST: u64 = 64 << 10;
/// Pipelines that every box has, until one of the same name is saved.
const BUILT_IN: [&str; 2] =
    [include_str!("../../config/pipelines/objects.toml"), include_str!("../../config/pipelines/crops.toml")];

/// A pipeline in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PipelineEntry {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub about: String,
    /// The version that runs where none is named; 0 for one that every box has.
    pub version: u32,
    /// All versions that there are.
    pub versions: Vec<u32>,
    /// Why it cannot be run as it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<StepError>,
}

/// Why a pipeline is not given, or not saved.
#[derive(Debug, thiserror::Error)]
pub enum PipelineRefusal {
    /// There is none.
    #[error("there is no pipeline {0:?} on this box, or not this version of it")]
    Unknown(String),
    /// It cannot be run.
    #[error("{}", listed(.0))]
    Wrong(Vec<StepError>),
    /// It was saved meanwhile.
    #[error("version {now} is the newest, and the change is one of version {expected}: get it again")]
    Changed {
        /// The version that the change is of.
        expected: u32,
        /// The newest.
        now: u32,
    },
    /// It cannot be removed, or there are too many.
    #[error("{0}")]
    Refused(String),
    /// The disk fails.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

fn listed(errors: &[StepError]) -> String {
    errors.iter().map(StepError::to_string).collect::<Vec<_>>().join("; ")
}

/// Knows the pipelines. Cheap to clone.
#[derive(Clone)]
pub struct PipelineService {
    folder: Arc<Path>,
    models: ModelService,
    /// Held while one is saved or removed.
    saving: Arc<Mutex<()>>,
}

impl PipelineService {
    pub(super) fn new(folder: &Path, models: ModelService) -> Self {
        Self { folder: folder.into(), models, saving: Arc::default() }
    }

    /// All pipelines, by name. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> anyhow::Result<Vec<PipelineEntry>> {
        let mut entries: BTreeMap<String, PipelineEntry> =
            built_in().map(|pipeline| (pipeline.name.clone(), self.entry(pipeline, vec![0]))).collect();
        for name in names(&self.folder)? {
            match self.get(&name, None) {
                Ok((version, pipeline)) => {
                    let versions = versions(&self.folder.join(&name))?;
                    entries.insert(name, PipelineEntry { version: version.version, ..self.entry(pipeline, versions) });
                }
                Err(error) => {
                    let reason = error.to_string();
                    let cure = "correct its file, or save it again".to_owned();
                    let errors = vec![StepError { step: None, field: "file".to_owned(), reason, cure }];
                    let (about, version) = (String::new(), 0);
                    entries.insert(name.clone(), PipelineEntry { name, about, version, versions: Vec::new(), errors });
                }
            }
        }
        Ok(entries.into_values().collect())
    }

    fn entry(&self, pipeline: Pipeline, versions: Vec<u32>) -> PipelineEntry {
        let errors = self.check(&pipeline);
        let Pipeline { name, about, .. } = pipeline;
        PipelineEntry { name, about, version: 0, versions, errors }
    }

    /// A pipeline, the newest version where none is named. Blocks.
    ///
    /// # Errors
    /// [`PipelineRefusal::Unknown`]; else when its file cannot be read.
    pub fn get(&self, name: &str, version: Option<u32>) -> Result<(PipelineVersion, Pipeline), PipelineRefusal> {
        let unknown = || PipelineRefusal::Unknown(name.to_owned());
        if !is_name(name) {
            return Err(unknown());
        }
        let folder = self.folder.join(name);
        let known = versions(&folder)?;
        let of_box = || built_in().find(|pipeline| pipeline.name == name);
        let number = match (version, known.last()) {
            (Some(0), _) | (None, None) => {
                let pipeline = of_box().ok_or_else(unknown)?;
                return Ok((PipelineVersion { name: name.to_owned(), version: 0 }, pipeline));
            }
            (Some(version), _) if known.contains(&version) => version,
            (None, Some(newest)) => *newest,
            _ => return Err(unknown()),
        };
        let path = folder.join(file_name(number));
        let pipeline = read(&path)?;
        if pipeline.name != name {
            let reason = format!("{} says that its name is {:?}: it has to be {name:?}", path.display(), pipeline.name);
            return Err(PipelineRefusal::Failed(anyhow::anyhow!(reason)));
        }
        Ok((PipelineVersion { name: name.to_owned(), version: number }, pipeline))
    }

    /// The versions of a pipeline that there are, in order. Blocks.
    ///
    /// # Errors
    /// When its folder cannot be read.
    pub fn versions(&self, name: &str) -> Result<Vec<u32>, PipelineRefusal> {
        Ok(versions(&self.folder.join(name))?)
    }

    /// What is wrong with a pipeline; nothing where it can be run. Blocks.
    pub fn check(&self, pipeline: &Pipeline) -> Vec<StepError> {
        Plan::new(pipeline, &BTreeMap::new(), &self.models.for_blocks()).err().unwrap_or_default()
    }

    /// Names of the webhooks of the configuration.
    pub fn webhooks(&self) -> Vec<String> {
        self.models.webhooks()
    }

    /// What each output of a pipeline is, or is a list of; nothing of one that cannot be run.
    pub fn outputs(&self, pipeline: &Pipeline) -> BTreeMap<String, Kind> {
        let plan = Plan::new(pipeline, &BTreeMap::new(), &self.models.for_blocks());
        plan.map(|plan| plan.outputs().map(|(name, kind)| (name.to_owned(), kind)).collect()).unwrap_or_default()
    }

    /// Saves a pipeline as a new version of the one with its name; durable when it returns. One that is as the newest
    /// version stays that. `expected`: the version that it was made of, where the caller says. Blocks.
    ///
    /// # Errors
    /// [`PipelineRefusal::Wrong`], [`PipelineRefusal::Changed`], [`PipelineRefusal::Refused`]; else when the disk fails.
    pub fn save(&self, pipeline: &Pipeline, expected: Option<u32>) -> Result<PipelineVersion, PipelineRefusal> {
        let errors = self.check(pipeline);
        if !errors.is_empty() {
            return Err(PipelineRefusal::Wrong(errors));
        }
        let _saving = self.saving.lock();
        let folder = self.folder.join(&pipeline.name);
        let known = versions(&folder)?;
        let newest = known.last().copied().unwrap_or(0);
        if let Some(expected) = expected.filter(|expected| *expected != newest) {
            return Err(PipelineRefusal::Changed { expected, now: newest });
        }
        let named = |version| PipelineVersion { name: pipeline.name.clone(), version };
        if newest > 0 && read(&folder.join(file_name(newest))).is_ok_and(|saved| saved == *pipeline) {
            return Ok(named(newest));
        }
        if known.is_empty() && names(&self.folder)?.len() >= MOST_PIPELINES {
            return Err(PipelineRefusal::Refused(format!(
                "a box has {MOST_PIPELINES} pipelines at most: remove one first"
            )));
        }
        let text = toml::to_string(pipeline).context("write the pipeline as TOML")?;
        if text.len() as u64 > LARGEST {
            return Err(PipelineRefusal::Refused(format!("it has {} bytes, and {LARGEST} are the most", text.len())));
        }
        make_folder(&self.folder, &folder).with_context(|| format!("make folder {}", folder.display()))?;
        let next = newest.max(last_number(&folder)) + 1;
        let (file, draft) = (folder.join(file_name(next)), folder.join(".draft"));
        durable::replace_with(&file, &draft, |out| std::io::Write::write_all(out, text.as_bytes()))
            .with_context(|| format!("write {}", file.display()))?;
        for old in known.iter().rev().skip(MOST_VERSIONS - 1) {
            // It stays in the executions that ran it.
            let _ = fs::remove_file(folder.join(file_name(*old)));
        }
        Ok(named(next))
    }

    /// Removes all versions of a pipeline. Executions that ran it keep what they say of it. Blocks.
    ///
    /// # Errors
    /// [`PipelineRefusal::Unknown`], [`PipelineRefusal::Refused`] for one that every box has; else when the disk fails.
    pub fn remove(&self, name: &str) -> Result<(), PipelineRefusal> {
        let _saving = self.saving.lock();
        if !is_name(name) || versions(&self.folder.join(name))?.is_empty() {
            if built_in().any(|pipeline| pipeline.name == name) {
                let reason = format!("{name} is on every box: save one with this name in its place");
                return Err(PipelineRefusal::Refused(reason));
            }
            return Err(PipelineRefusal::Unknown(name.to_owned()));
        }
        let folder = self.folder.join(name);
        let known = versions(&folder)?;
        // Executions and cameras name versions: a number never stands for another one.
        let last = last_number(&folder).max(known.last().copied().unwrap_or(0));
        let file = folder.join(LAST);
        durable::replace(&file, last.to_string().as_bytes()).with_context(|| format!("write {}", file.display()))?;
        for version in known {
            let file = folder.join(file_name(version));
            fs::remove_file(&file).with_context(|| format!("remove {}", file.display()))?;
        }
        Ok(durable::sync_folder(&folder).with_context(|| format!("sync {}", folder.display()))?)
    }
}

fn make_folder(parent: &Path, folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    durable::sync_folder(parent)
}

fn file_name(version: u32) -> String {
    format!("{version}.toml")
}

/// The number of the last version before the pipeline was removed; 0 where it never was.
fn last_number(folder: &Path) -> u32 {
    fs::read_to_string(folder.join(LAST)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn built_in() -> impl Iterator<Item = Pipeline> {
    BUILT_IN.iter().filter_map(|text| toml::from_str(text).ok())
}

fn read(path: &Path) -> anyhow::Result<Pipeline> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("read {}", path.display()))
}

/// Whether a pipeline is there, by name and version (0: any), in a folder of pipelines or as one that every box has. Blocks.
pub fn is_there(folder: &Path, name: &str, version: u32) -> bool {
    let known = if is_name(name) { versions(&folder.join(name)).unwrap_or_default() } else { Vec::new() };
    let is_of_box = || built_in().any(|pipeline| pipeline.name == name);
    if version == 0 { !known.is_empty() || is_of_box() } else { known.contains(&version) }
}

/// The folders in `folder` that may be pipelines.
fn names(folder: &Path) -> anyhow::Result<Vec<String>> {
    let names = entries(folder)?.into_iter().filter(|path| path.is_dir());
    let names = names.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).filter(|name| is_name(name));
    let mut kept = Vec::new();
    for name in names {
        // Of one that was removed the folder stays, with the number of its last version.
        if !versions(&folder.join(&name))?.is_empty() {
            kept.push(name);
        }
    }
    kept.sort_unstable();
    Ok(kept)
}

/// The versions in a pipeline's folder, in order.
fn versions(folder: &Path) -> anyhow::Result<Vec<u32>> {
    let number = |path: PathBuf| path.file_name()?.to_str()?.strip_suffix(".toml")?.parse().ok().filter(|n| *n > 0);
    let mut versions: Vec<u32> = entries(folder)?.into_iter().filter_map(number).collect();
    versions.sort_unstable();
    Ok(versions)
}

fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        entries => {
            let paths: std::io::Result<Vec<PathBuf>> =
                entries.and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
            paths.with_context(|| format!("read folder {}", folder.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Bench;
    use super::*;

    fn pipeline(name: &str, label: &str) -> Pipeline {
        let text = format!(
            "name = '{name}'\n[[steps]]\nid = 'find'\ntype = 'detect@1'\ninputs.image = '$inputs.image'\n\
             parameters = {{ model = 'nanodet-g-320', labels = ['{label}'] }}\n\
             [outputs]\nfound = '$steps.find.objects'\n"
        );
        toml::from_str(&text).expect("a pipeline")
    }

    #[tokio::test]
    async fn versions_are_kept_and_never_change() {
        let bench = Bench::new();
        let pipelines = &bench.services.pipelines;
        let named = |version| PipelineVersion { name: "dogs".to_owned(), version };
        assert_eq!(pipelines.save(&pipeline("dogs", "dog"), None).expect("saved"), named(1));
        assert_eq!(pipelines.save(&pipeline("dogs", "dog"), None).expect("the same"), named(1));
        assert_eq!(pipelines.save(&pipeline("dogs", "cat"), Some(1)).expect("saved"), named(2));
        let late = pipelines.save(&pipeline("dogs", "horse"), Some(1)).expect_err("changed meanwhile");
        assert!(matches!(late, PipelineRefusal::Changed { expected: 1, now: 2 }), "{late}");
        assert_eq!(pipelines.get("dogs", None).expect("there"), (named(2), pipeline("dogs", "cat")));
        assert_eq!(pipelines.get("dogs", Some(1)).expect("there"), (named(1), pipeline("dogs", "dog")));
        assert!(matches!(pipelines.get("dogs", Some(3)), Err(PipelineRefusal::Unknown(_))));
        pipelines.remove("dogs").expect("removed");
        assert!(matches!(pipelines.get("dogs", None), Err(PipelineRefusal::Unknown(_))));
        assert!(matches!(pipelines.get("../access", None), Err(PipelineRefusal::Unknown(_))));
        // Its numbers do not come back.
        assert!(pipelines.list().expect("listed").iter().all(|entry| entry.name != "dogs"));
        assert_eq!(pipelines.save(&pipeline("dogs", "dog"), None).expect("saved"), named(3));
    }

    #[tokio::test]
    async fn what_cannot_run_is_not_saved_and_what_every_box_has_runs() {
        let bench = Bench::new();
        let pipelines = &bench.services.pipelines;
        let wrong = pipelines.save(&pipeline("dogs", "dgo"), None).expect_err("no such label");
        assert!(matches!(&wrong, PipelineRefusal::Wrong(errors) if errors[0].field == "parameters.labels"), "{wrong}");
        let all = pipelines.list().expect("listed");
        let names: Vec<(&str, u32)> = all.iter().map(|entry| (entry.name.as_str(), entry.version)).collect();
        assert_eq!(names, [("crops", 0), ("objects", 0)]);
        assert!(all.iter().all(|entry| entry.errors.is_empty()), "{all:?}");
        assert!(matches!(pipelines.remove("objects"), Err(PipelineRefusal::Refused(_))));
        assert!(matches!(pipelines.remove("nothing"), Err(PipelineRefusal::Unknown(_))));
    }
}
