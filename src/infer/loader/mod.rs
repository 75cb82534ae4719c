//! Loads models beside the cameras, and tries a broken one again.
//!
//! A [`Model`] is handed out before it is loaded, so that no camera waits for it. The thread `models` loads one after
//! the other. One that cannot be used is tried again when one of its files changes, which is looked for every
//! [`POLL`], and otherwise after growing pauses: what was missing may lie on a disk that is mounted late, and a box
//! that was too busy for a model may not be later. A load that hangs costs its thread: another takes its place and goes on
//! with the other models.
//!
//! Of a model with versions the newest that can be loaded is used. One that appears later takes the place of the one in use
//! once it is loaded and tried, and its files did not change from one look to the next; one that cannot be used leaves the
//! one in use as it is. Jobs in work end with the version that they began with.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use parking_lot::RwLock;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::{Config, Detector, Manifest, ModelError, parse_reference, versions};
use crate::clock::{Clock, Mono};
use crate::health::{Health, ModelHealth, ModelState};
use crate::supervise::{Backoff, Context, Hang, MOST_ABANDONED, Running, Spec, Supervisor, panic_text};

/// How often the files of a model that cannot be used are looked at.
const POLL: Duration = Duration::from_secs(2);
/// Parts of that wait, so that a stop is noticed in between.
const STEP: Duration = Duration::from_millis(50);
/// Between two tries of a model whose files stay as they are.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// A large graph takes minutes to be optimised on a small box.
const HEARTBEAT_DEADLINE: Duration = Duration::from_secs(1800);

/// A model that cameras use: there is a detector once it is loaded.
pub struct Model {
    name: Arc<str>,
    detector: RwLock<Option<Arc<Detector>>>,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Model({}, ready: {})", self.name, self.detector.read().is_some())
    }
}

impl Model {
    /// A model that is not loaded.
    pub fn named(name: &str) -> Arc<Self> {
        Arc::new(Self { name: name.into(), detector: RwLock::default() })
    }

    /// A model that is loaded already.
    pub fn ready(detector: Arc<Detector>) -> Arc<Self> {
        Arc::new(Self { name: detector.name().clone(), detector: RwLock::new(Some(detector)) })
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What looks at pictures; `None` until it is loaded. A newer version may take its place.
    pub fn detector(&self) -> Option<Arc<Detector>> {
        self.detector.read().clone()
    }

    /// The version in use; 0 for none.
    fn version(&self) -> u32 {
        self.detector.read().as_ref().map_or(0, |detector| detector.version())
    }
}

/// Called after each try with the model's name and what came of it; the error is for the operator.
pub type Tried = Box<dyn Fn(&str, Result<&Detector, &str>) + Send>;

/// Owner of the thread that loads. Dropping it ends the thread after the model in hand.
pub struct Loader {
    models: BTreeMap<String, Arc<Model>>,
    progress: watch::Receiver<Progress>,
    thread: Running,
}

/// What the thread does.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// How many models were not tried yet.
    untried: usize,
    /// It is loading one.
    is_loading: bool,
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader").field("models", &self.models).finish_non_exhaustive()
    }
}

impl Loader {
    /// Starts to load the models of these `names`, in this order, on a thread of `supervisor`.
    pub fn start(
        config: &Config,
        names: &[String],
        health: Health,
        clock: Arc<dyn Clock>,
        mut supervisor: Supervisor,
        tried: Tried,
    ) -> Self {
        let work = Work::new(config, names, health, clock, tried);
        let models = work.entries.iter().map(|entry| (entry.model.name.to_string(), entry.model.clone())).collect();
        let progress = work.progress.subscribe();
        let spec = Spec::new("models").heartbeat(HEARTBEAT_DEADLINE, Hang::Replace { most: MOST_ABANDONED });
        supervisor.thread(spec, work, || Some(Box::new(run)));
        Self { models, progress, thread: supervisor.start(HEARTBEAT_DEADLINE) }
    }

    /// The model of this name, loaded or not; `None` when it was not asked for at the start.
    pub fn model(&self, name: &str) -> Option<Arc<Model>> {
        self.models.get(name).cloned()
    }

    /// The names of its models.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.models.keys().map(String::as_str)
    }

    /// Waits until every model was tried once, `at_most` so long.
    pub async fn wait_until_tried(&self, at_most: Duration) {
        let mut progress = self.progress.clone();
        // Late or never: the cameras go on.
        let _ = tokio::time::timeout(at_most, progress.wait_for(|progress| progress.untried == 0)).await;
    }

    /// Ends the thread. One that is loading is left behind: nothing depends on how that ends.
    pub async fn stop(mut self) {
        tokio::select! {
            // First, so that the stop is asked for before it is seen whether there is to be waited for it.
            biased;
            ended = self.thread.stop() => if let Err(failure) = ended {
                error!(error = format!("{failure:#}"), "stop the thread that loads models");
            },
            Ok(_) = self.progress.wait_for(|progress| progress.is_loading) => {}
        }
    }
}

struct Work {
    config: Config,
    entries: Vec<Entry>,
    health: Health,
    clock: Arc<dyn Clock>,
    tried: Tried,
    progress: watch::Sender<Progress>,
}

/// A model, and when it is tried again.
struct Entry {
    model: Arc<Model>,
    was_tried: bool,
    /// When the try in work began.
    begun: Option<Mono>,
    /// It is not tried again: each try would cost a thread.
    has_hung: bool,
    /// Its files as they were when they were looked at last.
    files: Option<Files>,
    /// These have changed since the last try, while a version is in use.
    is_changing: bool,
    due: Mono,
    backoff: Backoff,
    /// In how many looks one after the other the version in use was not on the disk.
    missing: u32,
    /// Why it could not be used the last time.
    reason: Option<String>,
    /// Why versions that are newer than the one in use could not be.
    failed: BTreeMap<u32, String>,
}

/// Size and time of each file of each version that there is.
pub(crate) type Files = BTreeMap<u32, Vec<Option<(u64, Option<SystemTime>)>>>;

/// A detector and the newer versions that cannot be used.
type Loaded = (Detector, Vec<(u32, ModelError)>);

impl Work {
    fn new(config: &Config, names: &[String], health: Health, clock: Arc<dyn Clock>, tried: Tried) -> Self {
        let entry = |name: &String| {
            health.set_model(name, ModelHealth::default());
            let backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE, Duration::MAX);
            let (model, due) = (Model::named(name), clock.mono());
            Entry {
                model,
                was_tried: false,
                begun: None,
                has_hung: false,
                files: None,
                is_changing: false,
                due,
                backoff,
                missing: 0,
                reason: None,
                failed: BTreeMap::new(),
            }
        };
        let entries: Vec<Entry> = names.iter().map(entry).collect();
        let progress = watch::Sender::new(Progress { untried: entries.len(), is_loading: false });
        Self { config: config.clone(), entries, health, clock, tried, progress }
    }

    /// Gives up the model that a thread was at which was given up itself.
    fn resume(&mut self) {
        for at in 0..self.entries.len() {
            let Some(entry) = self.entries.get_mut(at) else { continue };
            let Some(begun) = entry.begun else { continue };
            entry.has_hung = true;
            let for_s = self.clock.mono().since(begun).as_secs();
            let reason = format!("loading it hung or panicked after {for_s} s; it is tried again at the next start");
            self.settle(at, Err((0, reason)));
        }
    }

    /// Turns to a model; gives its name and the version in use, 0 for none.
    fn begin(&mut self, at: usize) -> Option<(Arc<str>, u32)> {
        let entry = self.entries.get_mut(at).filter(|entry| !entry.has_hung)?;
        entry.begun = Some(self.clock.mono());
        self.progress.send_modify(|progress| progress.is_loading = true);
        Some((entry.model.name.clone(), entry.model.version()))
    }

    /// Notes whether the version `in_use` of a model is on the disk. Gives above which one others take its place: all do
    /// where it was deleted.
    fn above(&mut self, at: usize, in_use: u32, is_gone: bool) -> u32 {
        let Some(entry) = self.entries.get_mut(at) else { return in_use };
        entry.missing = if is_gone { entry.missing.saturating_add(1) } else { 0 };
        // It may be being replaced: the next look shows whether it is.
        if entry.missing < 2 {
            return in_use;
        }
        if entry.missing == 2 {
            let model = &entry.model.name;
            warn!(%model, version = in_use, "the version of a model in use was deleted; another one takes its place if there is one");
        }
        0
    }

    /// Turns away from a model.
    fn leave(&mut self, at: usize) {
        if let Some(entry) = self.entries.get_mut(at) {
            entry.begun = None;
        }
        self.progress.send_modify(|progress| progress.is_loading = false);
    }

    /// Whether a try is due, or these `files` of the model are others than the last time; turns away from it otherwise.
    fn is_due(&mut self, at: usize, files: Files) -> bool {
        let Some(entry) = self.entries.get_mut(at) else { return false };
        let in_use = entry.model.version() > 0;
        let have_changed = entry.files.as_ref().is_some_and(|before| *before != files);
        let is_due = if in_use && files.is_empty() {
            // Nothing is newer.
            false
        } else if in_use && have_changed {
            // It may be being copied: the next look shows whether that is over.
            entry.is_changing = true;
            false
        } else {
            have_changed || std::mem::take(&mut entry.is_changing) || self.clock.mono() >= entry.due
        };
        if have_changed {
            entry.backoff.reset();
        }
        entry.files = Some(files);
        if !is_due {
            self.leave(at);
        }
        is_due
    }

    /// Notes what came of a try.
    fn settle(&mut self, at: usize, outcome: Result<Loaded, (u32, String)>) {
        let Some(entry) = self.entries.get_mut(at) else { return };
        let begun = entry.begun.take().unwrap_or_else(|| self.clock.mono());
        let is_first = !std::mem::replace(&mut entry.was_tried, true);
        entry.due = self.clock.mono() + entry.backoff.next_pause(Duration::ZERO);
        let (model, took_ms) = (&entry.model.name, self.clock.mono().since(begun).as_millis());
        let before = entry.model.detector();
        match outcome {
            Ok((detector, failed)) => {
                let detector = Arc::new(detector);
                info!(%model, version = detector.version(), took_ms, "model loaded");
                *entry.model.detector.write() = Some(detector.clone());
                let reasons = failed.into_iter().map(|(version, error)| (version, error.to_string())).collect();
                note_failed(model, &mut entry.failed, reasons, detector.version());
                (self.tried)(model, Ok(&detector));
            }
            // Which one it was at is not known: it hung.
            Err((0, reason)) if before.is_some() => {
                error!(%model, reason, "a newer version of a model cannot be loaded, an older one stays in use");
            }
            Err((version, reason)) if before.is_some() => {
                note_failed(model, &mut entry.failed, BTreeMap::from([(version, reason)]), entry.model.version());
            }
            Err((_, reason)) => {
                if entry.reason.as_ref() != Some(&reason) {
                    error!(%model, reason, "a model cannot be used, cameras go on without it");
                }
                let state = ModelState::Broken;
                self.health.set_model(model, ModelHealth { state, reason: Some(reason.clone()), ..Default::default() });
                (self.tried)(model, Err(&reason));
                entry.reason = Some(reason);
            }
        }
        if let Some(detector) = entry.model.detector() {
            let (version, failed) = (Some(detector.version()), entry.failed.clone());
            self.health.set_model(model, ModelHealth { state: ModelState::Ready, reason: None, version, failed });
        }
        self.progress.send_modify(|progress| {
            progress.is_loading = false;
            progress.untried -= usize::from(is_first);
        });
    }

    fn is_done(&self) -> bool {
        self.entries.iter().all(|entry| entry.model.detector().is_some() || entry.has_hung)
    }
}

/// Notes which versions cannot be used while another one is; the log has each reason once.
fn note_failed(model: &str, known: &mut BTreeMap<u32, String>, failed: BTreeMap<u32, String>, in_use: u32) {
    for (version, reason) in failed.iter().filter(|(version, reason)| known.get(version) != Some(reason)) {
        if *version > in_use {
            error!(%model, version, reason, "a newer version of a model cannot be used, an older one stays in use");
        } else {
            error!(%model, version, reason, "an older version of a model cannot be used, the deleted one stays in use");
        }
    }
    *known = failed;
}

/// Until the end has come.
fn run(context: Context<Work>) -> Result<()> {
    context.with(Work::resume);
    while round(&context).is_some() && !context.stop().is_cancelled() {
        let mut left = POLL;
        while !left.is_zero() && !context.stop().is_cancelled() {
            context.beat();
            std::thread::sleep(STEP);
            left = left.saturating_sub(STEP);
        }
    }
    Ok(())
}

/// Tries what is due or has changed. True when every model is loaded or given up; `None` when this run has to end.
fn round(context: &Context<Work>) -> Option<bool> {
    let (config, models) = context.with(|work| (work.config.clone(), work.entries.len()))?;
    for at in 0..models {
        context.beat();
        let Some((name, in_use)) = context.with(|work| work.begin(at))? else { continue };
        if context.stop().is_cancelled() {
            return None;
        }
        // Both without the state: a disk or a graph that hangs must let go of the rest.
        let is_gone = in_use > 0 && versions(&config.model_dir, &name).iter().all(|version| version.number != in_use);
        let above = context.with(|work| work.above(at, in_use, is_gone))?;
        let files = files_of(&config.model_dir, &name, above);
        if context.with(|work| work.is_due(at, files))? {
            let outcome = load(&config, &name, above);
            context.with(|work| work.settle(at, outcome))?;
        }
    }
    context.with(|work| work.is_done())
}

/// The error has the version that it is about.
fn load(config: &Config, name: &str, in_use: u32) -> Result<Loaded, (u32, String)> {
    let newest = || versions(&config.model_dir, name).first().map_or(0, |version| version.number);
    let load = || Detector::load_newer(&config.model_dir, name, in_use, config.limits());
    match catch_unwind(AssertUnwindSafe(load)) {
        Ok(loaded) => loaded.map_err(|error| (newest(), error.to_string())),
        Err(panic) => Err((newest(), format!("loading model {name} panicked: {}", panic_text(&*panic)))),
    }
}

/// The manifests and what they name, as they lie there at this moment, of the versions above the one in use.
pub(crate) fn files_of(dir: &Path, reference: &str, in_use: u32) -> Files {
    let (name, _) = parse_reference(reference);
    let of_version = |folder: &Path| {
        let manifest = Manifest::load(folder, name).ok();
        let named = manifest.iter().flat_map(Manifest::files);
        let names = std::iter::once(format!("{name}.toml")).chain(named.map(str::to_owned));
        let look = |name: String| {
            let metadata = std::fs::metadata(folder.join(name)).ok()?;
            Some((metadata.len(), metadata.modified().ok()))
        };
        names.map(look).collect()
    };
    let newer = versions(dir, reference).into_iter().filter(|version| version.number > in_use);
    newer.map(|version| (version.number, of_version(&version.folder))).collect()
}

#[cfg(test)]
mod tests;
