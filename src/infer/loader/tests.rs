//! Models that are broken, hang, or come later.

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::SimulatedClock;
use crate::infer::onnx_writer::{constant, install};
use crate::metrics::Metrics;
use crate::supervise::{Heartbeat, Heartbeats, OwnedThread};

/// So long a test waits for what must come; only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(120);

struct Bench {
    dir: tempfile::TempDir,
    clock: Arc<SimulatedClock>,
    health: Health,
    tries: Arc<AtomicUsize>,
    context: Context<Work>,
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
    let context = run_of(work, &clock);
    Bench { dir, clock, health, tries, context }
}

fn run_of(work: Work, clock: &Arc<SimulatedClock>) -> Context<Work> {
    Context::new(CancellationToken::new(), Heartbeat::detached(clock.clone()), work)
}

impl Bench {
    fn round(&self) -> bool {
        round(&self.context).expect("nothing took over")
    }

    fn model(&self, at: usize) -> Arc<Model> {
        self.context.with(|work| work.entries[at].model.clone()).expect("nothing took over")
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
    let bench = bench(&["m"]);
    let model = bench.model(0);
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
    assert_eq!(
        bench.health.models()["m"],
        ModelHealth { state: ModelState::Ready, version: Some(1), ..Default::default() }
    );
    assert!(bench.round() && bench.tries() == 4, "what is loaded stays");
}

#[test]
fn without_a_change_the_pauses_grow_and_another_model_does_not_wait() {
    let bench = bench(&["broken", "m"]);
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
fn a_load_that_hangs_is_given_up_and_the_other_models_are_loaded() {
    let bench = bench(&["hangs", "m"]);
    bench.install();
    // A pipe, on which a reader waits until there is a writer.
    let manifest = fs::read_to_string(bench.dir.path().join("m.toml")).expect("read");
    let manifest = manifest.replace("'m'", "'hangs'").replace("m.onnx", "hangs.onnx");
    fs::write(bench.dir.path().join("hangs.toml"), manifest).expect("write");
    let pipe = bench.dir.path().join("hangs.onnx");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());

    let first = OwnedThread::start("models", &bench.context, run).expect("start");
    // Waits for the reader in turn.
    let writer = fs::OpenOptions::new().write(true).open(&pipe).expect("open");
    bench.clock.advance(HEARTBEAT_DEADLINE);
    let next = run_of(first.take_over().expect("it lets go of the rest"), &bench.clock);
    next.with(Work::resume);
    assert_eq!(round(&next), Some(true), "nothing is left to be tried");
    let reason = "loading it hung or panicked after 1800 s; it is tried again at the next start";
    assert_eq!((bench.reason("hangs").as_str(), bench.reason("m").as_str()), (reason, ""));
    assert_eq!(bench.health.models()["m"].state, ModelState::Ready);
    assert_eq!((bench.tries(), next.with(|work| work.progress.borrow().untried)), (2, Some(0)));

    drop(writer);
    first.join().expect("an orderly end");
    assert_eq!(bench.reason("hangs"), reason, "what it found then is not asked for any more");
}

#[tokio::test]
async fn who_waits_for_the_first_try_waits_for_no_second() {
    let bench = bench(&[]);
    bench.install();
    let config = Config { model_dir: bench.dir.path().to_owned(), ..Config::default() };
    let names = ["broken".to_owned(), "m".to_owned()];
    let heartbeats = Heartbeats::new(bench.clock.clone());
    let tried = Box::new(|_: &str, _: Result<&Detector, &str>| ());
    let supervisor = Supervisor::new(CancellationToken::new(), &heartbeats, &Metrics::new());
    let loader = Loader::start(&config, &names, bench.health.clone(), bench.clock.clone(), supervisor, tried);
    loader.wait_until_tried(PATIENCE).await;
    assert!(loader.model("m").is_some_and(|model| model.detector().is_some()));
    assert!(loader.model("broken").is_some_and(|model| model.detector().is_none()));
    assert!(loader.model("another").is_none());
    loader.stop().await;
}

/// Works with: models | Versions side by side (`<name>/<number>/`), one that is half copied or cannot be used | The newest that can be used is; a broken or half-copied one leaves the one before in use, and is named on page, API and log
#[test]
fn a_newer_version_takes_over_once_it_is_whole_and_a_broken_one_does_not() {
    let bench = bench(&["m", "m/1"]);
    let version = |number: u32, score: f32| {
        let folder = bench.dir.path().join(format!("m/{number}"));
        fs::create_dir_all(&folder).expect("create");
        install(&folder, &constant(&[1, 1, 5], &[8.0, 8.0, 4.0, 4.0, score]), "labels = ['lamp']", "kind = 'yolov8'");
        folder
    };
    let score = |model: &Model| {
        let detector = model.detector().expect("loaded");
        let found = detector.detect(&crate::infer::photograph().expect("a picture"), 0.1).expect("detect");
        (detector.version(), (found[0].score * 10.0).round() as u32)
    };
    version(1, 0.5);
    assert!(bench.round());
    let (newest, first) = (bench.model(0), bench.model(1));
    let in_work = newest.detector().expect("loaded");
    assert_eq!(score(&newest), (1, 5));

    // Half of a file is there, then all of it; in between one look sees that something changes.
    let folder = version(2, 0.7);
    let whole = fs::read(folder.join("m.onnx")).expect("read");
    fs::write(folder.join("m.onnx"), &whole[1..]).expect("write");
    bench.round();
    assert!(bench.health.models()["m"].failed.is_empty(), "it is not looked into at once");
    bench.round();
    let health = bench.health.models()["m"].clone();
    assert_eq!((health.state, health.version, score(&newest)), (ModelState::Ready, Some(1), (1, 5)));
    assert!(health.failed[&2].contains("m.onnx is damaged or another model"), "{health:?}");
    let tries = bench.tries();
    bench.round();
    assert_eq!(bench.tries(), tries, "nothing has changed");
    fs::write(folder.join("m.onnx"), &whole).expect("write");
    bench.round();
    bench.round();
    assert_eq!(score(&newest), (2, 7));
    let health = bench.health.models()["m"].clone();
    assert_eq!((health.version, health.failed.len()), (Some(2), 0));
    assert_eq!((in_work.version(), score(&first)), (1, (1, 5)), "who asks for a version keeps it");

    let rounds = |count: usize| assert!((0..count).all(|_| bench.round()));
    // One that is away for a look is being replaced; one that stays away was deleted, and the one before takes over.
    let aside = bench.dir.path().join("aside");
    fs::rename(&folder, &aside).expect("rename");
    bench.round();
    fs::rename(&aside, &folder).expect("rename");
    bench.round();
    bench.round();
    assert_eq!(score(&newest), (2, 7));
    fs::rename(&folder, &aside).expect("rename");
    rounds(2);
    assert_eq!(score(&newest), (2, 7), "until it is clear that it was deleted");
    rounds(2);
    assert_eq!(score(&newest), (1, 5));
    assert_eq!(bench.health.models()["m"].version, Some(1));
    // There is no other one: what is loaded stays.
    let only = bench.dir.path().join("m/1");
    fs::rename(&only, bench.dir.path().join("only")).expect("rename");
    let tries = bench.tries();
    rounds(5);
    assert_eq!((score(&newest), score(&first), bench.tries()), ((1, 5), (1, 5), tries));
    fs::rename(bench.dir.path().join("only"), &only).expect("rename");
    fs::rename(&aside, &folder).expect("rename");
    rounds(2);
    assert_eq!(score(&newest), (2, 7));

    // A fresh start with a broken newest version takes the one before.
    fs::write(version(3, 0.9).join("m.onnx"), b"none").expect("write");
    let work = Work::new(
        &Config { model_dir: bench.dir.path().to_owned(), ..Config::default() },
        &["m".to_owned()],
        bench.health.clone(),
        bench.clock.clone(),
        Box::new(|_: &str, _: Result<&Detector, &str>| ()),
    );
    let context = run_of(work, &bench.clock);
    assert_eq!(round(&context), Some(true));
    let model = context.with(|work| work.entries[0].model.clone()).expect("nothing took over");
    assert_eq!(score(&model), (2, 7));
    assert!(bench.health.models()["m"].failed[&3].contains("m.onnx is damaged"), "{:?}", bench.health.models());
}
