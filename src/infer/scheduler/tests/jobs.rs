//! Jobs of people and programs, as a made-up client submits them, alone and beside cameras.

use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use super::*;
use crate::frame::Picture;
use crate::infer::onnx_writer::{constant, install};

/// Jobs of one priority that may wait.
const MOST: usize = 2;

fn job(detector: &Arc<Detector>, priority: Priority, reply: Reply) -> Job<'static> {
    Job {
        picture: frame(1).picture,
        model: Model::ready(detector.clone()),
        min_score: 0.4,
        policy: Policy::Queue { priority, most: MOST },
        start_within: Duration::from_secs(60),
        reply,
    }
}

impl Bench {
    fn submit(&self, detector: &Arc<Detector>) -> PendingAnswer {
        let (reply, answer) = Reply::pending();
        let accepted = self.scheduler.jobs().submit(job(detector, Priority::Person, reply));
        assert_eq!(accepted, Ok(Accepted::Waits));
        answer
    }
}

/// A detector that waits at the gate, and counts.
fn gated(gate: &Arc<Gate>) -> (Arc<Detector>, Arc<AtomicUsize>) {
    let (door, runs) = (gate.clone(), Arc::<AtomicUsize>::default());
    let counted = runs.clone();
    let detector = detector(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        door.wait();
        Ok(())
    });
    (detector, runs)
}

async fn within_patience(answer: PendingAnswer) -> Outcome {
    tokio::time::timeout(PATIENCE, answer).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_client_and_a_camera_get_what_the_detector_itself_gives() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let onnx = constant(&[1, 2, 5], &[8.0, 8.0, 4.0, 4.0, 0.7, 20.0, 8.0, 6.0, 4.0, 0.5]);
    install(dir.path(), &onnx, "labels = ['lamp']", "kind = 'yolov8'");
    let detector = Arc::new(Detector::load(dir.path(), "m").expect("load"));
    let picture: Arc<dyn Picture> = Arc::new(Rgb { width: 40, height: 20, data: vec![90; 2400] });
    let expected = detector.detect(&*picture, 0.4).expect("detect");
    assert_eq!(expected.len(), 2);

    let bench = bench(2);
    for priority in [Priority::Camera, Priority::Person, Priority::Program] {
        let (reply, answer) = Reply::pending();
        let job = Job { picture: picture.clone(), ..job(&detector, priority, reply) };
        bench.scheduler.jobs().submit(job).expect("taken in");
        assert_eq!(within_patience(answer).await.expect("a result").detections, expected);
    }
    let (sender, receiver) = channel();
    let slot = bench.scheduler.slot("yard".into(), Model::ready(detector), 0.4, move |detected| {
        let _ = sender.send(detected.detections);
    });
    slot.offer(Frame { at: Mono(1), picture }).expect("taken in");
    assert_eq!(receiver.recv_timeout(PATIENCE), Ok(expected));
    bench.scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_full_queue_refuses_at_once_and_says_how_many_wait() {
    let (bench, gate) = (bench(1), Arc::<Gate>::default());
    let (detector, _) = gated(&gate);
    let mut accepted = vec![bench.submit(&detector)];
    gate.wait_for(1);
    accepted.extend((0..MOST).map(|_| bench.submit(&detector)));
    let (reply, refused) = Reply::pending();
    let refusal = bench.scheduler.jobs().submit(job(&detector, Priority::Person, reply));
    let refusal = refusal.expect_err("the queue is full");
    assert_eq!(refusal, Refused::QueueFull { priority: Priority::Person, waiting: MOST });
    assert_eq!(
        refusal.to_string(),
        "2 jobs of priority person wait already, which is as many as may; try again when some are done"
    );
    assert!(matches!(within_patience(refused).await, Err(JobError::Refused(Refused::QueueFull { waiting: MOST, .. }))));

    let waiting = |kind| bench.metrics.infer_waiting.get_or_create(&metrics::priority(kind)).get();
    // The watching task may still write what it read before the jobs came.
    block_until("the metrics say how many wait", || {
        bench.scheduler.shared.check();
        ["camera", "person", "program"].map(waiting) == [0, MOST as i64, 0]
    });
    // One that is not wanted any more takes up no place.
    drop(accepted.pop());
    accepted.push(bench.submit(&detector));
    gate.open();
    for answer in accepted {
        within_patience(answer).await.expect("a result");
    }
    bench.scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_job_that_nothing_waits_for_or_that_comes_too_late_does_not_run() {
    let (bench, gate) = (bench(1), Arc::<Gate>::default());
    let (detector, runs) = gated(&gate);
    let first = bench.submit(&detector);
    gate.wait_for(1);
    let (cancelled, late) = (bench.submit(&detector), bench.submit(&detector));
    drop(cancelled);
    bench.clock.advance(Duration::from_secs(5));
    let in_time = bench.submit(&detector);
    // Of the two that are left, one has waited for a minute; the one in work must not count as hung.
    let running = bench.scheduler.shared.lock().schedule.finish(0, bench.clock.mono());
    bench.clock.advance(Duration::from_secs(56));
    bench.scheduler.shared.check();
    match within_patience(late).await {
        Err(JobError::Expired(waited)) => assert_eq!(waited, Duration::from_secs(61)),
        other => panic!("{other:?}"),
    }
    drop(running);
    assert!(matches!(within_patience(first).await, Err(JobError::Cancelled)));
    gate.open();
    within_patience(in_time).await.expect("a result");
    bench.scheduler.stop().await;
    assert_eq!(runs.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_job_that_hangs_is_answered_and_the_next_one_runs_on_another_thread() {
    let (bench, gate) = (quick_to_give_up(1), Arc::<Gate>::default());
    let (hangs, _) = gated(&gate);
    let hung = bench.submit(&hangs);
    gate.wait_for(1);
    let next = bench.submit(&detector(|| Ok(())));
    bench.let_hang();
    match within_patience(hung).await {
        Err(error @ JobError::Hung { .. }) => {
            assert_eq!(error.to_string(), "model scripted did not answer within 1s and was given up");
        }
        other => panic!("{other:?}"),
    }
    within_patience(next).await.expect("a result");
    until("it is counted", || bench.restarts() == 1);
    gate.open();
    bench.scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn errors_and_panics_are_answered_and_cost_their_job_only() {
    let (bench, calls) = (bench(1), AtomicUsize::new(0));
    let fails = detector(move || match calls.fetch_add(1, Ordering::SeqCst) {
        0 => panic!("a bug in the engine"),
        1 => Err(InferError::Engine("no memory".into())),
        _ => Ok(()),
    });
    let said = |outcome: Outcome| outcome.expect_err("no result").to_string();
    assert_eq!(said(within_patience(bench.submit(&fails)).await), "model scripted panicked: a bug in the engine");
    assert_eq!(said(within_patience(bench.submit(&fails)).await), "run the model: no memory");

    // A receiver that panics is no better than one that is gone.
    let (sender, called) = channel();
    let reply = Reply::callback(move |outcome: Outcome| {
        let _ = sender.send(outcome.is_ok());
        panic!("a bug in the client");
    });
    bench.scheduler.jobs().submit(job(&fails, Priority::Program, reply)).expect("taken in");
    assert_eq!(called.recv_timeout(PATIENCE), Ok(true));
    assert_eq!(within_patience(bench.submit(&fails)).await.expect("a result").detections.len(), 1);
    bench.scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_stop_answers_what_waits_and_finishes_what_runs() {
    let (first, gate) = (bench(1), Arc::<Gate>::default());
    let (detector, _) = gated(&gate);
    let (running, jobs) = (first.submit(&detector), first.scheduler.jobs());
    gate.wait_for(1);
    let waiting = first.submit(&detector);
    let stop = tokio::spawn(first.scheduler.stop());
    let answer = tokio::time::timeout(PATIENCE, waiting).await;
    // Before anything is judged: a test that fails here must not wait for the one in work.
    gate.open();
    assert!(matches!(answer, Ok(Err(JobError::ShutDown))));
    within_patience(running).await.expect("a result");
    stop.await.expect("stopped");

    let (reply, answer) = Reply::pending();
    assert_eq!(jobs.submit(job(&detector, Priority::Person, reply)), Err(Refused::ShutDown));
    assert!(matches!(within_patience(answer).await, Err(JobError::Refused(Refused::ShutDown))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_a_model_and_without_its_slot_a_job_is_refused() {
    let (bench, other) = (bench(1), bench(1));
    let (reply, answer) = Reply::pending();
    let ready = detector(|| Ok(()));
    let unloaded = Job { model: Model::named("m"), ..job(&ready, Priority::Person, reply) };
    assert_eq!(bench.scheduler.jobs().submit(unloaded), Err(Refused::NoModel("m".into())));
    let refused = within_patience(answer).await.expect_err("no result");
    assert_eq!(refused.to_string(), "model m is not loaded; its state says why");

    // The first slot of each: their numbers are the same.
    let (_own, _results) = bench.slot("yard", &ready);
    let (slot, results) = other.slot("yard", &ready);
    let (reply, _answer) = Reply::pending();
    let stray = Job { policy: Policy::ReplaceOlder(&slot), ..job(&ready, Priority::Camera, reply) };
    assert_eq!(bench.scheduler.jobs().submit(stray), Err(Refused::ShutDown));
    assert!(results.try_recv().is_err());
    bench.scheduler.stop().await;
    other.scheduler.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_job_that_a_newer_one_replaces_is_answered_too() {
    let (bench, gate) = (bench(1), Arc::<Gate>::default());
    let (detector, runs) = gated(&gate);
    let (slot, _results) = bench.slot("yard", &detector);
    slot.offer(frame(1)).expect("taken in");
    gate.wait_for(1);
    let submit = || {
        let (reply, answer) = Reply::pending();
        let job = Job { policy: Policy::ReplaceOlder(&slot), ..job(&detector, Priority::Camera, reply) };
        (bench.scheduler.jobs().submit(job), answer)
    };
    let ((first, replaced), (second, newest)) = (submit(), submit());
    assert_eq!((first, second), (Ok(Accepted::Waits), Ok(Accepted::ReplacedOlder)));
    assert!(matches!(within_patience(replaced).await, Err(JobError::Replaced)));
    gate.open();
    within_patience(newest).await.expect("a result");
    assert_eq!((runs.load(Ordering::SeqCst), bench.dropped("yard", "infer_slot")), (2, 1));
    bench.scheduler.stop().await;
}

/// Cameras that always have a next frame: each result brings one. Every run takes a tenth of a second.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn beside_cameras_that_want_all_the_time_each_job_is_answered_and_cameras_keep_nine_tenths() {
    let (bench, stop, log) = (bench(1), Arc::<AtomicBool>::default(), Arc::<Mutex<String>>::default());
    // Shut until both cameras have a frame: one that is alone would be ahead.
    let gate = Arc::<Gate>::default();
    let logs = |letter: char| {
        let (clock, log, door) = (bench.clock.clone(), log.clone(), gate.clone());
        detector(move || {
            door.wait();
            clock.advance(Duration::from_millis(100));
            log.lock().push(letter);
            Ok(())
        })
    };
    let (of_camera, of_client) = (logs('c'), logs('j'));
    let slots: [Arc<OnceLock<Slot>>; 2] = Default::default();
    for (slot, camera) in slots.iter().zip(["gate", "yard"]) {
        let (own, stopped) = (Arc::downgrade(slot), stop.clone());
        let again = move |detected: Detected| {
            let slot = own.upgrade().filter(|_| !stopped.load(Ordering::SeqCst));
            if let Some(slot) = slot.as_ref().and_then(|slot| slot.get()) {
                let _ = slot.offer(detected.frame);
            }
        };
        let made = bench.scheduler.slot(camera.into(), Model::ready(of_camera.clone()), 0.4, again);
        assert!(slot.set(made).is_ok());
        slot.get().expect("just set").offer(frame(1)).expect("taken in");
    }
    gate.open();
    let submit = || {
        let (reply, answer) = Reply::pending();
        // Simulated minutes go by while this thread has to wait for a core.
        let job = Job { start_within: Duration::MAX, ..job(&of_client, Priority::Person, reply) };
        bench.scheduler.jobs().submit(job).expect("taken in");
        answer
    };
    for _ in 0..4 {
        let answers = [(); MOST].map(|()| submit());
        for answer in answers {
            let answer = within_patience(answer).await.expect("a result");
            assert!(answer.waited >= Duration::from_secs(1), "cameras first: {answer:?}");
        }
    }
    stop.store(true, Ordering::SeqCst);
    let log = log.lock().clone();
    let between: Vec<usize> = log.split('j').skip(1).map(str::len).collect();
    assert_eq!(between.len(), 4 * MOST);
    assert!(between[..4 * MOST - 1].iter().all(|cameras| *cameras >= 9), "{log}");
    bench.scheduler.stop().await;
    let looked = |camera| bench.metrics.frames_detected.get_or_create(&metrics::camera(camera)).get();
    assert!(looked("gate").abs_diff(looked("yard")) <= 1, "both had the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn each_job_is_counted_once_as_what_it_comes_to() {
    let (bench, gate) = (bench(1), Arc::<Gate>::default());
    let (slow, _) = gated(&gate);
    let jobs = bench.scheduler.jobs();
    let statistics = || jobs.statistics("scripted", 1).expect("it was asked");
    assert_eq!(jobs.statistics("scripted", 2), None);
    let first = bench.submit(&slow);
    gate.wait_for(1);
    let second = bench.submit(&slow);
    let unwanted = bench.submit(&slow);
    let (reply, refused) = Reply::pending();
    bench.scheduler.jobs().submit(job(&slow, Priority::Person, reply)).expect_err("the queue is full");
    drop((unwanted, refused));
    bench.scheduler.shared.check();
    assert_eq!(statistics().pending, 2, "one in work, one that waits");
    bench.clock.advance(Duration::from_secs(3));
    gate.open();
    for answer in [first, second] {
        within_patience(answer).await.expect("a result");
    }
    let (slot, results) = bench.slot("yard", &slow);
    slot.offer(frame(1)).expect("taken in");
    results.recv_timeout(PATIENCE).expect("a result");
    let failing = detector(|| Err(InferError::Engine("no".to_owned())));
    assert!(matches!(within_patience(bench.submit(&failing)).await, Err(JobError::Infer(_))));
    let panics = detector(|| panic!("oh"));
    assert!(matches!(within_patience(bench.submit(&panics)).await, Err(JobError::Panicked { .. })));
    bench.scheduler.stop().await;

    let found = statistics();
    let of = |kind: FailureKind| found.failed[&kind];
    assert_eq!((found.succeeded, found.pending), (3, 0));
    assert_eq!(FailureKind::ALL.map(of), [1, 1, 2, 0]);
    // The first ran for three seconds while the second waited.
    assert_eq!((found.queue.as_secs(), found.compute.as_secs()), (3, 3));
    let text = bench.metrics.encode().expect("encode");
    for line in [
        "outpost_model_successes_total{model=\"scripted\",version=\"1\"} 3",
        "outpost_model_failures_total{model=\"scripted\",version=\"1\",reason=\"backend\"} 2",
        "outpost_model_pending{model=\"scripted\",version=\"1\"} 0",
        "outpost_model_queue_seconds_total{model=\"scripted\",version=\"1\"} 3",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}
