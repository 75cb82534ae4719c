//! The threads: what cameras get, and what becomes of detectors that hang, fail or panic.

mod jobs;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};

use jiff::Timestamp;

use super::*;
use crate::clock::{Mono, SimulatedClock};
use crate::frame::Rgb;
use crate::infer::{Description, Detector, Engine, InferError, Output, OutputInfo};
use crate::supervise::MOST_ABANDONED;
use crate::waiting::{PATIENCE, block_until};

/// A door that engines wait at.
#[derive(Default)]
struct Gate {
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Gate {
    fn wait(&self) {
        let mut state = self.state.lock();
        state.1 += 1;
        self.changed.notify_all();
        while !state.0 {
            self.changed.wait(&mut state);
        }
    }

    /// Until so many have come to the door since the beginning.
    fn wait_for(&self, arrived: usize) {
        let timeout = self.changed.wait_while_for(&mut self.state.lock(), |s| s.1 < arrived, PATIENCE);
        assert!(!timeout.timed_out(), "{arrived} engines should have been started");
    }

    fn open(&self) {
        self.state.lock().0 = true;
        self.changed.notify_all();
    }
}

struct Scripted<F>(F);

impl<F: Fn() -> Result<(), InferError> + Send + Sync> Engine for Scripted<F> {
    fn run(&self, _input: &[f32]) -> Result<Vec<Output>, InferError> {
        (self.0)()?;
        Ok(vec![Output { shape: vec![1, 1, 5], data: vec![2.0, 2.0, 2.0, 2.0, 0.9] }])
    }

    fn describe(&self) -> Description {
        let outputs = vec![OutputInfo { name: "out".into(), shape: vec![1, 1, 5] }];
        Description { engine: "scripted", input: vec![1, 3, 4, 4], outputs }
    }
}

fn detector(script: impl Fn() -> Result<(), InferError> + Send + Sync + 'static) -> Arc<Detector> {
    let manifest = "name = 'scripted'\nfile = 'f'\nsha256 = ''\nlicence = ''\norigin = ''\n\
                    [input]\nwidth = 4\nheight = 4\n[head]\nkind = 'yolov8'";
    let manifest = toml::from_str(manifest).expect("manifest");
    Arc::new(Detector::with_engine(&manifest, vec!["cat".into()], Box::new(Scripted(script))).expect("fits"))
}

fn frame(at: u64) -> Frame {
    Frame { at: Mono(at), picture: Arc::new(Rgb { width: 4, height: 4, data: vec![0; 48] }) }
}

struct Bench {
    scheduler: Scheduler,
    clock: Arc<SimulatedClock>,
    metrics: Metrics,
    heartbeats: Heartbeats,
}

fn bench(threads: usize) -> Bench {
    bench_with(Config { workers: threads, ..Config::default() })
}

/// A bench whose supervisor looks at its threads without a pause.
fn quick_to_give_up(threads: usize) -> Bench {
    bench_with(Config { workers: threads, hung_after: Duration::from_millis(40), ..Config::default() })
}

fn bench_with(config: Config) -> Bench {
    let clock = Arc::new(SimulatedClock::new(Mono(0), Timestamp::UNIX_EPOCH));
    let (metrics, heartbeats) = (Metrics::new(), Heartbeats::new(clock.clone()));
    let scheduler = Scheduler::start(&config, metrics.clone(), clock.clone(), &heartbeats);
    Bench { scheduler, clock, metrics, heartbeats }
}

impl Bench {
    /// A slot, and what it gives: camera and time of each frame.
    fn slot(&self, camera: &'static str, detector: &Arc<Detector>) -> (Slot, Receiver<(&'static str, u64)>) {
        let (sender, receiver) = channel();
        let report = move |detected: Detected| {
            assert_eq!(detected.detections.len(), 1);
            // The test may have stopped listening.
            let _ = sender.send((camera, detected.frame.at.0));
        };
        (self.scheduler.slot(camera.into(), Model::ready(detector.clone()), 0.4, report), receiver)
    }

    fn dropped(&self, camera: &str, reason: &str) -> u64 {
        self.metrics.dropped.get_or_create(&metrics::dropped(camera, reason)).get()
    }

    /// Lets so much time go by that every frame in work counts as hung, and looks.
    fn let_hang(&self) {
        self.clock.advance(Duration::from_secs(1));
        self.scheduler.shared.check();
    }

    /// How often another thread has taken the place of `infer-0`.
    fn restarts(&self) -> u64 {
        self.metrics.part_restarts.get_or_create(&metrics::part("infer-0")).get()
    }

    /// Until the thread that was started as this one has come to its end.
    fn wait_for_the_end_of(&self, thread: u64) {
        until("the end of a lost thread", || !self.scheduler.shared.lock().subjects.contains_key(&thread));
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let patient_until = std::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(std::time::Instant::now() < patient_until, "never came true: {what}");
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_newest_frame_wins_and_the_replaced_one_is_counted() {
    let (bench, gate) = (bench(1), Arc::new(Gate::default()));
    let door = gate.clone();
    let (slot, results) = bench.slot(
        "yard",
        &detector(move || {
            door.wait();
            Ok(())
        }),
    );
    assert_eq!(slot.offer(frame(1)), Ok(Accepted::Waits));
    gate.wait_for(1);
    assert_eq!(slot.offer(frame(2)), Ok(Accepted::Waits));
    assert_eq!(slot.offer(frame(3)), Ok(Accepted::ReplacedOlder));
    gate.open();
    assert_eq!(results.recv_timeout(PATIENCE), Ok(("yard", 1)));
    assert_eq!(results.recv_timeout(PATIENCE), Ok(("yard", 3)));
    assert_eq!(bench.dropped("yard", "infer_slot"), 1);
    bench.scheduler.stop().await;
    assert_eq!(bench.metrics.frames_detected.get_or_create(&metrics::camera("yard")).get(), 2);
    assert!(results.try_recv().is_err());
}

#[test]
fn the_speed_of_a_model_is_that_of_its_last_runs_and_ends_with_it() {
    let mut speeds = Speeds::default();
    let first = detector(|| Ok(()));
    (1..=100).rev().for_each(|ms| speeds.note(&first, Duration::from_millis(ms)));
    let (median, p95) = (Duration::from_millis(50), Duration::from_millis(95));
    assert_eq!(speeds.of("scripted"), Some(Speed { runs: 100, median, p95 }));
    assert_eq!(speeds.of("other"), None);
    let second = detector(|| Ok(()));
    speeds.note(&second, p95);
    assert_eq!(speeds.of("scripted").map(|speed| speed.runs), Some(101), "the same model, loaded twice");
    assert!(speeds.detector("scripted").is_some_and(|found| Arc::ptr_eq(&found, &first)));
    drop(first);
    assert!(speeds.detector("scripted").is_none());
    (0..300).for_each(|_| speeds.note(&second, median));
    assert_eq!(speeds.of("scripted"), Some(Speed { runs: 256, median, p95: median }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_hung_detector_costs_its_thread_and_its_frame_only() {
    let (bench, gate, calls) = (quick_to_give_up(1), Arc::new(Gate::default()), AtomicUsize::new(0));
    let door = gate.clone();
    let hangs_once = detector(move || {
        if calls.fetch_add(1, Ordering::SeqCst) == 0 {
            door.wait();
        }
        Ok(())
    });
    let (slot, results) = bench.slot("yard", &hangs_once);
    slot.offer(frame(1)).expect("taken in");
    gate.wait_for(1);
    bench.let_hang();
    slot.offer(frame(2)).expect("taken in");
    assert_eq!(results.recv_timeout(PATIENCE), Ok(("yard", 2)), "another thread took the place");
    until("it is counted", || bench.restarts() == 1);
    assert_eq!(bench.dropped("yard", "infer_hung"), 1);
    gate.open();
    bench.wait_for_the_end_of(0);
    bench.scheduler.stop().await;
    assert!(results.try_recv().is_err(), "the late result of frame 1 must not be reported");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn when_too_many_threads_hang_it_is_left_to_the_watchdog_until_they_come_back() {
    let (bench, gate) = (quick_to_give_up(1), Arc::new(Gate::default()));
    let door = gate.clone();
    let (slot, results) = bench.slot(
        "yard",
        &detector(move || {
            door.wait();
            Ok(())
        }),
    );
    for n in 1..=MOST_ABANDONED + 1 {
        slot.offer(frame(n as u64)).expect("taken in");
        gate.wait_for(n);
        bench.let_hang();
    }
    let critical = || bench.heartbeats.stalled().into_iter().filter(|part| part.critical).map(|part| part.name);
    until("it is critical", || critical().eq(["infer-0"]));
    assert_eq!(bench.restarts(), MOST_ABANDONED as u64, "no more threads are started");
    assert_eq!(bench.dropped("yard", "infer_hung"), MOST_ABANDONED as u64 + 1, "each job is answered all the same");
    gate.open();
    until("all is well", || bench.heartbeats.stalled().is_empty());
    slot.offer(frame(100)).expect("taken in");
    assert_eq!(results.recv_timeout(PATIENCE), Ok(("yard", 100)));
    bench.scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_panicking_or_failing_detector_costs_its_frame_only() {
    let (bench, calls) = (bench(1), AtomicUsize::new(0));
    let (slot, results) = bench.slot(
        "yard",
        &detector(move || match calls.fetch_add(1, Ordering::SeqCst) {
            0 => panic!("a bug in the engine"),
            1 => Err(InferError::Engine("no memory".into())),
            _ => Ok(()),
        }),
    );
    for at in 1..=3 {
        slot.offer(frame(at)).expect("taken in");
        if at < 3 {
            // The next frame must not replace this one.
            let shared = &bench.scheduler.shared;
            block_until("the frame failed", || {
                bench.dropped("yard", "infer_failed") >= at && !shared.lock().schedule.is_busy()
            });
        }
    }
    assert_eq!(results.recv_timeout(PATIENCE), Ok(("yard", 3)));
    assert_eq!(bench.restarts(), 0);
    bench.scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_panic_in_the_callback_leaves_the_thread_and_the_slot_working() {
    let bench = bench(1);
    let (sender, receiver) = channel();
    let slot = bench.scheduler.slot("yard".into(), Model::ready(detector(|| Ok(()))), 0.4, move |detected| {
        let _ = sender.send((detected.frame.at.0, std::thread::current().id()));
        assert!(detected.frame.at.0 != 1, "a bug in the pipeline");
    });
    slot.offer(frame(1)).expect("taken in");
    let (first, thread) = receiver.recv_timeout(PATIENCE).expect("the first result");
    slot.offer(frame(2)).expect("taken in");
    // Not another one that took its place.
    assert_eq!((first, receiver.recv_timeout(PATIENCE)), (1, Ok((2, thread))));
    bench.scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_dropped_slot_gets_no_more_results_and_its_thread_goes_on() {
    let (bench, gate) = (bench(1), Arc::new(Gate::default()));
    let door = gate.clone();
    let (gone, gone_results) = bench.slot(
        "gone",
        &detector(move || {
            door.wait();
            Ok(())
        }),
    );
    let (slot, results) = bench.slot("yard", &detector(|| Ok(())));
    gone.offer(frame(1)).expect("taken in");
    gate.wait_for(1);
    drop(gone);
    slot.offer(frame(2)).expect("taken in");
    gate.open();
    assert_eq!(results.recv_timeout(PATIENCE), Ok(("yard", 2)));
    // The sender went with the callback, so this ends without a wait.
    assert!(gone_results.recv().is_err());
    bench.scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stop_joins_all_threads() {
    let bench = bench(3);
    let (slot, results) = bench.slot("yard", &detector(|| Ok(())));
    slot.offer(frame(1)).expect("taken in");
    assert_eq!(results.recv_timeout(PATIENCE), Ok(("yard", 1)));
    drop(slot);
    let shared = Arc::downgrade(&bench.scheduler.shared);
    bench.scheduler.stop().await;
    assert_eq!(shared.strong_count(), 0, "a thread that lives has one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stop_leaves_hung_threads_behind() {
    let (bench, gate) = (quick_to_give_up(2), Arc::new(Gate::default()));
    let door = gate.clone();
    let (slot, _results) = bench.slot(
        "yard",
        &detector(move || {
            door.wait();
            Ok(())
        }),
    );
    slot.offer(frame(1)).expect("taken in");
    gate.wait_for(1);
    let (metrics, shared) = (bench.metrics.clone(), Arc::downgrade(&bench.scheduler.shared));
    bench.scheduler.stop().await;
    let hung = metrics.dropped.get_or_create(&metrics::dropped("yard", "infer_hung")).get();
    assert_eq!(hung, 1, "its job is answered");
    gate.open();
    drop(slot);
    until("the thread comes to its end", || shared.strong_count() == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn until_its_model_is_loaded_a_camera_keeps_no_frame() {
    let bench = bench(1);
    let model = Model::named("m");
    let slot = bench.scheduler.slot("yard".into(), model, 0.4, |_| ());
    assert!(!slot.is_ready());
    assert_eq!(slot.offer(frame(1)), Err(Refused::NoModel("m".into())));
    assert_eq!(bench.dropped("yard", "infer_slot"), 0);
}
