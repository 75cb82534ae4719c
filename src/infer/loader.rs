//! Loads models beside the cameras, and tries a broken one again.
//!
//! A [`Model`] is handed out before it is loaded, so that no camera waits for it. The thread `models` loads one after
//! the other. One that cannot be used is tried again when one of its files changes, which is looked for every
//! [`POLL`], and otherwise after growing pauses: what was missing may lie on a disk that is mounted late, and a box
//! that was too busy for a model may not be later.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use tracing::{error, info};

use super::{Config, Detector, Manifest};
use crate::clock::{Clock, Mono};
use crate::health::{Health, ModelHealth, ModelState};
use crate::supervise::{Backoff, Heartbeat, Heartbeats, panic_text, spawn_thread};

/// How often the files of a model that cannot be used are looked at.
const POLL: Duration = Duration::from_secs(2);
/// Between two tries of a model whose files stay as they are.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// A large graph takes minutes to be optimised on a small box.
const HEARTBEAT_DEADLINE: Duration = Duration::from_secs(1800);

/// A model that cameras use: there is a detector once it is loaded.
pub struct Model {
    name: Arc<str>,
    detector: OnceLock<Arc<Detector>>,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Model({}, ready: {})", self.name, self.detector.get().is_some())
    }
}

impl Model {
    /// A model that is not loaded.
    pub fn named(name: &str) -> Arc<Self> {
        Arc::new(Self { name: name.into(), detector: OnceLock::new() })
    }

    /// A model that is loaded already.
    pub fn ready(detector: Arc<Detector>) -> Arc<Self> {
        Arc::new(Self { name: detector.name().clone(), detector: OnceLock::from(detector) })
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What looks at pictures; `None` until it is loaded. Stays the same from then on.
    pub fn detector(&self) -> Option<&Arc<Detector>> {
        self.detector.get()
    }
}

/// Called after each try with the model's name and what came of it; the error is for the operator.
pub type Tried = Box<dyn Fn(&str, Result<&Detector, &str>) + Send>;

/// Owner of the thread that loads. Dropping it ends the thread after the model in hand.
pub struct Loader {
    models: BTreeMap<String, Arc<Model>>,
    untried: Arc<Untried>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// How many models were not tried yet.
type Untried = (Mutex<usize>, Condvar);

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader").field("models", &self.models).finish_non_exhaustive()
    }
}

impl Loader {
    /// Starts to load the models of these `names`, in this order.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        config: &Config,
        names: &[String],
        health: Health,
        clock: Arc<dyn Clock>,
        heartbeats: &Heartbeats,
        tried: Tried,
    ) -> Result<Self> {
        let mut work = Work::new(config, names, health, clock, tried);
        let models = work.entries.iter().map(|entry| (entry.model.name.to_string(), entry.model.clone())).collect();
        let heartbeat = heartbeats.register("models", HEARTBEAT_DEADLINE, false);
        let (untried, (stop, stopped)) = (work.untried.clone(), channel());
        let thread = spawn_thread("models", move || {
            work.run(&stopped, &heartbeat);
            heartbeat.retire();
        });
        let thread = thread.context("start the thread that loads models")?;
        Ok(Self { models, untried, stop: Some(stop), thread: Some(thread) })
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
    pub fn wait_until_tried(&self, at_most: Duration) {
        let (untried, changed) = &*self.untried;
        let untried = untried.lock().unwrap_or_else(PoisonError::into_inner);
        drop(changed.wait_timeout_while(untried, at_most, |untried| *untried > 0));
    }

    /// Ends the thread. One that is loading is left behind: nothing depends on how that ends.
    pub fn stop(mut self) {
        drop(self.stop.take());
        let Some(thread) = self.thread.take().filter(JoinHandle::is_finished) else { return };
        if thread.join().is_err() {
            error!("the thread that loads models panicked at its end");
        }
    }
}

struct Work {
    config: Config,
    entries: Vec<Entry>,
    health: Health,
    clock: Arc<dyn Clock>,
    tried: Tried,
    untried: Arc<Untried>,
}

/// A model, and when it is tried again.
struct Entry {
    model: Arc<Model>,
    /// Its files as they were before the last try.
    files: Option<Files>,
    due: Mono,
    backoff: Backoff,
    /// Why it could not be used the last time.
    reason: Option<String>,
}

/// Size and time of each file of a model that there is.
type Files = Vec<Option<(u64, Option<SystemTime>)>>;

impl Work {
    fn new(config: &Config, names: &[String], health: Health, clock: Arc<dyn Clock>, tried: Tried) -> Self {
        let entry = |name: &String| {
            health.set_model(name, ModelHealth::default());
            let backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE, Duration::MAX);
            Entry { model: Model::named(name), files: None, due: clock.mono(), backoff, reason: None }
        };
        let entries: Vec<Entry> = names.iter().map(entry).collect();
        let untried = Arc::new((Mutex::new(entries.len()), Condvar::new()));
        Self { config: config.clone(), entries, health, clock, tried, untried }
    }

    /// Until all models are loaded or the end has come.
    fn run(&mut self, stopped: &Receiver<()>, heartbeat: &Heartbeat) {
        while !self.round(stopped, heartbeat) {
            if !matches!(stopped.recv_timeout(POLL), Err(RecvTimeoutError::Timeout)) {
                return;
            }
        }
    }

    /// Tries what is due or has changed. True when nothing is left to be tried, now or later.
    fn round(&mut self, stopped: &Receiver<()>, heartbeat: &Heartbeat) -> bool {
        for at in 0..self.entries.len() {
            heartbeat.beat();
            if !matches!(stopped.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty)) {
                return true;
            }
            self.visit(at);
        }
        self.entries.iter().all(|entry| entry.model.detector().is_some())
    }

    fn visit(&mut self, at: usize) {
        let Some(entry) = self.entries.get_mut(at).filter(|entry| entry.model.detector().is_none()) else { return };
        let files = files_of(&self.config.model_dir, &entry.model.name);
        let is_first = entry.files.is_none();
        let have_changed = entry.files.replace(files.clone()).is_some_and(|before| before != files);
        if have_changed {
            entry.backoff.reset();
        } else if self.clock.mono() < entry.due {
            return;
        }
        let begun = self.clock.mono();
        let outcome = load(&self.config, &entry.model.name);
        entry.due = self.clock.mono() + entry.backoff.next_pause(Duration::ZERO);
        let (model, took_ms) = (&entry.model.name, self.clock.mono().since(begun).as_millis());
        match outcome {
            Ok(detector) => {
                info!(%model, took_ms, "model loaded");
                self.health.set_model(model, ModelHealth { state: ModelState::Ready, reason: None });
                let detector = entry.model.detector.get_or_init(|| Arc::new(detector));
                (self.tried)(model, Ok(detector));
            }
            Err(reason) => {
                if entry.reason.as_ref() != Some(&reason) {
                    error!(%model, reason, "a model cannot be used, cameras go on without it");
                }
                self.health.set_model(model, ModelHealth { state: ModelState::Broken, reason: Some(reason.clone()) });
                (self.tried)(model, Err(&reason));
                entry.reason = Some(reason);
            }
        }
        if is_first {
            let (untried, changed) = &*self.untried;
            *untried.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
            changed.notify_all();
        }
    }
}

fn load(config: &Config, name: &str) -> Result<Detector, String> {
    let load = || Detector::load_within(&config.model_dir, name, config.limits());
    match catch_unwind(AssertUnwindSafe(load)) {
        Ok(loaded) => loaded.map_err(|error| error.to_string()),
        Err(panic) => Err(format!("loading model {name} panicked: {}", panic_text(&*panic))),
    }
}

/// The manifest and what it names, as they lie there at this moment.
fn files_of(dir: &Path, name: &str) -> Files {
    let manifest = Manifest::load(dir, name).ok();
    let named = manifest.iter().flat_map(Manifest::files);
    let names = std::iter::once(format!("{name}.toml")).chain(named.map(str::to_owned));
    let look = |name: String| {
        let metadata = std::fs::metadata(dir.join(name)).ok()?;
        Some((metadata.len(), metadata.modified().ok()))
    };
    names.map(look).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::clock::SimulatedClock;
    use crate::infer::onnx_writer::{constant, install};

    struct Bench {
        dir: tempfile::TempDir,
        clock: Arc<SimulatedClock>,
        health: Health,
        tries: Arc<AtomicUsize>,
        work: Work,
        stop: (Sender<()>, Receiver<()>),
    }

    fn bench(names: &[&str]) -> Bench {
        let dir = tempfile::tempdir().expect("temporary folder");
        let clock = Arc::new(SimulatedClock::new(Mono(1), jiff::Timestamp::UNIX_EPOCH));
        let (health, tries) = (Health::default(), Arc::<AtomicUsize>::default());
        let config = Config { model_dir: dir.path().to_owned(), ..Config::default() };
        let counted = tries.clone();
        let tried = Box::new(move |_: &str, _: Result<&Detector, &str>| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let work = Work::new(&config, &names, health.clone(), clock.clone(), tried);
        Bench { dir, clock, health, tries, work, stop: channel() }
    }

    impl Bench {
        fn round(&mut self) -> bool {
            self.work.round(&self.stop.1, &Heartbeat::detached(self.clock.clone()))
        }

        fn tries(&self) -> usize {
            self.tries.load(Ordering::SeqCst)
        }

        fn install(&self) {
            let onnx = constant(&[1, 1, 5], &[8.0, 8.0, 4.0, 4.0, 0.7]);
            install(self.dir.path(), &onnx, "labels = ['lamp']", "kind = 'yolov8'");
        }

        fn reason(&self, model: &str) -> String {
            self.health.models()[model].reason.clone().unwrap_or_default()
        }
    }

    /// Works with: models | A missing or damaged model | Cameras are recorded, the reason is shown, and the model is used as soon as its file is right
    #[test]
    fn a_broken_model_is_tried_again_when_its_files_change() {
        let mut bench = bench(&["m"]);
        let model = bench.work.entries[0].model.clone();
        assert_eq!(bench.health.models()["m"].state, ModelState::Loading);
        assert!(!bench.round());
        assert!(bench.reason("m").starts_with("no model named \"m\""), "{}", bench.reason("m"));
        assert!(!bench.round() && model.detector().is_none());
        assert_eq!(bench.tries(), 1, "nothing has changed");

        bench.install();
        let whole = fs::read(bench.dir.path().join("m.onnx")).expect("read");
        fs::write(bench.dir.path().join("m.onnx"), &whole[1..]).expect("write");
        assert!(!bench.round());
        assert!(bench.reason("m").contains("m.onnx is damaged or another model"), "{}", bench.reason("m"));
        fs::remove_file(bench.dir.path().join("m.onnx")).expect("remove");
        assert!(!bench.round());
        assert!(bench.reason("m").contains("m.onnx is missing"), "{}", bench.reason("m"));
        assert_eq!(bench.tries(), 3);

        bench.install();
        assert!(bench.round(), "nothing is left to be tried");
        assert!(model.detector().is_some());
        assert_eq!(bench.health.models()["m"], ModelHealth { state: ModelState::Ready, reason: None });
        assert!(bench.round() && bench.tries() == 4, "what is loaded stays");
    }

    #[test]
    fn without_a_change_the_pauses_grow_and_another_model_does_not_wait() {
        let mut bench = bench(&["broken", "m"]);
        bench.install();
        assert!(!bench.round());
        assert_eq!(bench.health.models()["m"].state, ModelState::Ready);
        let begun = bench.tries();
        // An hour, second by second.
        for _ in 0..3600 {
            bench.clock.advance(Duration::from_secs(1));
            bench.round();
        }
        let tries = bench.tries() - begun;
        assert!((6..=20).contains(&tries), "{tries} tries in an hour");
    }

    #[test]
    fn who_waits_for_the_first_try_waits_for_no_second() {
        let bench = bench(&[]);
        bench.install();
        let config = Config { model_dir: bench.dir.path().to_owned(), ..Config::default() };
        let names = ["broken".to_owned(), "m".to_owned()];
        let heartbeats = Heartbeats::new(bench.clock.clone());
        let tried = Box::new(|_: &str, _: Result<&Detector, &str>| ());
        let loader = Loader::start(&config, &names, bench.health.clone(), bench.clock.clone(), &heartbeats, tried);
        let loader = loader.expect("start");
        loader.wait_until_tried(Duration::from_secs(60));
        assert!(loader.model("m").is_some_and(|model| model.detector().is_some()));
        assert!(loader.model("broken").is_some_and(|model| model.detector().is_none()));
        assert!(loader.model("another").is_none());
        loader.stop();
    }
}
