//! One test for each policy.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use parking_lot::Mutex;

use super::*;
use crate::clock::{Mono, SimulatedClock};
use crate::metrics;

/// So long a test waits for what must come; only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(120);
/// A part hangs when it is silent for this long on the test's clock.
const DEADLINE: Duration = Duration::from_millis(40);
const SILENT: Duration = Duration::from_secs(1);
const GRACE: Duration = Duration::from_secs(60);

fn quick() -> Restart {
    Restart::Always(Backoff::new(Duration::from_millis(1), Duration::from_millis(2), Duration::from_secs(60)))
}

/// Pauses that no test outlasts.
fn slow() -> Restart {
    Restart::Always(Backoff::new(Duration::from_secs(7200), Duration::from_secs(7200), Duration::from_secs(60)))
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn begin() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn has(&self, words: &str) -> bool {
        String::from_utf8_lossy(&self.0.lock()).contains(words)
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A supervisor whose heartbeats go by a clock of the test.
struct Bench {
    supervisor: Supervisor,
    stop: CancellationToken,
    clock: Arc<SimulatedClock>,
    heartbeats: Heartbeats,
    metrics: Metrics,
}

fn bench() -> Bench {
    let clock = Arc::new(SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH));
    let (heartbeats, metrics, stop) = (Heartbeats::new(clock.clone()), Metrics::new(), CancellationToken::new());
    let supervisor = Supervisor::new(stop.clone(), &heartbeats, &metrics);
    Bench { supervisor, stop, clock, heartbeats, metrics }
}

fn restarts(metrics: &Metrics, part: &str) -> u64 {
    metrics.part_restarts.get_or_create(&metrics::part(part)).get()
}

#[tokio::test]
async fn a_failing_and_a_panicking_task_are_started_again_until_the_stop() {
    let Bench { mut supervisor, stop, metrics, .. } = bench();
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    supervisor.task(Spec::new("flaky").restart(quick()), move |_| {
        let (run, end) = (counted.fetch_add(1, Ordering::SeqCst), stop.clone());
        assert!(run != 2, "third run panics before it begins");
        async move {
            assert!(run != 1, "second run panics");
            if run == 4 {
                end.cancel();
            }
            anyhow::bail!("run {run} fails")
        }
    });
    supervisor.run(GRACE).await.expect("a restartable task never fails the daemon");
    assert_eq!(runs.load(Ordering::SeqCst), 5);
    assert_eq!(restarts(&metrics, "flaky"), 0, "tasks count their failures themselves");
}

#[tokio::test]
async fn a_task_that_had_worked_is_started_again_after_the_shortest_pause() {
    let Bench { mut supervisor, stop, .. } = bench();
    let runs = Arc::new(AtomicU32::new(0));
    // Were the pauses to grow, the last of them would take weeks.
    let backoff = Backoff::new(Duration::from_millis(1), Duration::MAX / 2, Duration::MAX);
    supervisor.task(Spec::new("hanging camera").restart(Restart::Always(backoff)), move |_| {
        if runs.fetch_add(1, Ordering::SeqCst) == 31 {
            stop.cancel();
        }
        let failure = Failure { reason: "it hangs".to_owned(), is_logged: true, had_worked: true };
        async { Err(failure.into()) }
    });
    tokio::time::timeout(PATIENCE, supervisor.run(GRACE)).await.expect("the pauses grow").expect("stopped");
}

#[tokio::test]
async fn a_vital_task_that_fails_stops_everything_and_is_named() {
    let Bench { mut supervisor, .. } = bench();
    let ended = Arc::new(AtomicBool::new(false));
    supervisor.task(Spec::new("store").restart(Restart::Fatal), |_| async { anyhow::bail!("disk is gone") });
    let noted = ended.clone();
    supervisor.thread(Spec::new("patient"), (), move || {
        let noted = noted.clone();
        Some(Box::new(move |part| {
            while !part.stop().is_cancelled() {
                std::thread::yield_now();
            }
            noted.store(true, Ordering::SeqCst);
            Ok(())
        }))
    });
    let failure = supervisor.run(GRACE).await.expect_err("must fail");
    assert_eq!(format!("{failure:#}"), "store failed: disk is gone");
    assert!(ended.load(Ordering::SeqCst), "the rest is joined");
}

#[tokio::test]
async fn a_supervisor_that_is_dropped_asks_its_parts_to_stop() {
    let Bench { mut supervisor, .. } = bench();
    let (ended, asked) = channel();
    supervisor.task(Spec::new("patient"), move |part| {
        let ended = ended.clone();
        async move {
            part.stop().cancelled().await;
            let _ = ended.send(());
            Ok(())
        }
    });
    drop(supervisor.start(GRACE));
    until("it ends", || asked.try_recv().is_ok()).await;
}

#[tokio::test]
async fn a_part_that_is_not_restarted_is_named_and_the_rest_goes_on() {
    let (log, _guard) = Log::begin();
    let Bench { mut supervisor, stop, .. } = bench();
    let runs = Arc::new(AtomicU32::new(0));
    let counted = runs.clone();
    supervisor.task(Spec::new("once").restart(Restart::Never), move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { anyhow::bail!("no luck") }
    });
    let mut running = supervisor.start(GRACE);
    until("its failure", || log.has("no luck")).await;
    assert!(log.has("part=\"once\""));
    let ended = tokio::time::timeout(Duration::ZERO, running.ended()).await;
    assert!(ended.is_err() && !stop.is_cancelled(), "the rest goes on");
    running.stop().await.expect("stopped");
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_task_that_hangs_is_dropped_and_restarted_and_one_that_waits_is_not() {
    let Bench { mut supervisor, stop, clock, heartbeats, metrics } = bench();
    let (runs, held) = (Arc::<AtomicU32>::default(), Arc::new(()));
    let (counted, lent) = (runs.clone(), Arc::downgrade(&held));
    let spec = Spec::new("part").restart(quick()).heartbeat(DEADLINE, Hang::Replace { most: MOST_ABANDONED });
    supervisor.task(spec, move |part| {
        let (run, holds, clock, end) =
            (counted.fetch_add(1, Ordering::SeqCst), held.clone(), clock.clone(), stop.clone());
        async move {
            let _holds = holds;
            clock.advance(SILENT);
            if run == 0 {
                std::future::pending::<()>().await;
            }
            // Much longer than its deadline, and alive all the time.
            part.heartbeat().beating(tokio::time::sleep(Duration::from_millis(200))).await;
            end.cancel();
            Ok(())
        }
    });
    supervisor.run(GRACE).await.expect("stopped");
    assert_eq!((runs.load(Ordering::SeqCst), restarts(&metrics, "part")), (2, 1));
    assert_eq!(lent.strong_count(), 0, "what the first run held was let go");
    assert_eq!(heartbeats.stalled(), vec![]);
}

#[tokio::test]
async fn a_critical_part_that_hangs_is_left_to_the_watchdog() {
    let Bench { mut supervisor, clock, heartbeats, metrics, .. } = bench();
    supervisor.task(Spec::new("vital").heartbeat(DEADLINE, Hang::Critical), |part| async move {
        part.stop().cancelled().await;
        Ok(())
    });
    let running = supervisor.start(GRACE);
    until("its heartbeat", || {
        clock.advance(SILENT);
        heartbeats.stalled().iter().any(|stalled| stalled.name == "vital" && stalled.critical)
    })
    .await;
    running.stop().await.expect("stopped");
    assert_eq!(restarts(&metrics, "vital"), 0);
}

#[tokio::test]
async fn a_critical_part_that_is_down_is_as_good_as_silent() {
    let (log, _guard) = Log::begin();
    let Bench { mut supervisor, clock, heartbeats, .. } = bench();
    let spec = Spec::new("vital").restart(slow()).heartbeat(DEADLINE, Hang::Critical);
    supervisor.thread(spec, (), || Some(Box::new(|_| panic!("injected"))));
    let running = supervisor.start(GRACE);
    until("its failure", || log.has("trying again from now on")).await;
    clock.advance(SILENT);
    assert!(heartbeats.stalled().iter().any(|stalled| stalled.critical));
    running.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_thread_that_panics_or_fails_is_started_again_with_its_state_and_joined_at_the_stop() {
    let (log, _guard) = Log::begin();
    let Bench { mut supervisor, stop, metrics, .. } = bench();
    let (runs, alive) = (Arc::<AtomicU32>::default(), Arc::new(()));
    let (counted, lent) = (runs.clone(), Arc::downgrade(&alive));
    supervisor.thread(Spec::new("part").restart(quick()), Vec::new(), move || {
        let (run, alive, end) = (counted.fetch_add(1, Ordering::SeqCst), alive.clone(), stop.clone());
        Some(Box::new(move |part| {
            let _alive = alive;
            let seen = part.with(|seen: &mut Vec<u32>| {
                seen.push(run);
                assert!(run != 0, "injected");
                seen.clone()
            });
            if run == 1 {
                anyhow::bail!("failed");
            }
            assert_eq!(seen.as_deref(), Some(&[0, 1, 2][..]), "what was known before is there");
            end.cancel();
            while !part.stop().is_cancelled() {
                std::thread::yield_now();
            }
            Ok(())
        }))
    });
    supervisor.run(GRACE).await.expect("stopped");
    assert_eq!((runs.load(Ordering::SeqCst), restarts(&metrics, "part")), (3, 2));
    assert_eq!(lent.strong_count(), 0, "the thread has ended");
    assert!(log.has("task{name=part}") && log.has("panicked: injected") && log.has("error=\"failed\""));
}

#[tokio::test]
async fn a_thread_that_panics_waits_before_it_is_started_again() {
    let Bench { mut supervisor, metrics, .. } = bench();
    for (name, restart) in [("poisoned", slow()), ("flaky", quick())] {
        let body = |_: Context| -> Result<()> { panic!("injected") };
        let make = move || Some(Box::new(body) as ThreadBody<()>);
        supervisor.thread(Spec::new(name).restart(restart), (), make);
    }
    let running = supervisor.start(GRACE);
    until("others are restarted many times", || restarts(&metrics, "flaky") >= 50).await;
    running.stop().await.expect("stopped, without waiting for the pause");
    assert_eq!(restarts(&metrics, "poisoned"), 0);
}

#[tokio::test]
async fn a_thread_whose_preparation_panics_is_tried_again() {
    let Bench { mut supervisor, .. } = bench();
    let tries = Arc::<AtomicU32>::default();
    let counted = tries.clone();
    // The first one is prepared at once; what it prepares fails.
    supervisor.thread(Spec::new("picky").restart(quick()), (), move || {
        let tried = counted.fetch_add(1, Ordering::SeqCst);
        assert!(tried == 0 || tried > 2, "injected");
        (tried == 0).then(|| Box::new(|_: Context| Err(anyhow::anyhow!("it fails"))) as ThreadBody<()>)
    });
    let ended = supervisor.parts.join_next().await.expect("one part");
    ended.expect("its supervisor goes on").1.expect("it went well");
    assert_eq!(tries.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_thread_that_has_done_its_work_or_has_none_is_not_started_again() {
    let Bench { mut supervisor, metrics, .. } = bench();
    let (runs, state) = (Arc::<AtomicU32>::default(), Arc::new(()));
    let (counted, lent) = (runs.clone(), Arc::downgrade(&state));
    supervisor.thread(Spec::new("job").restart(quick()), state, move || {
        counted.fetch_add(1, Ordering::SeqCst);
        Some(Box::new(|_| Ok(())))
    });
    let asked = Arc::<AtomicU32>::default();
    let counted = asked.clone();
    supervisor.thread(Spec::new("none"), (), move || {
        counted.fetch_add(1, Ordering::SeqCst);
        None
    });
    while let Some(ended) = supervisor.parts.join_next().await {
        ended.expect("join").1.expect("it went well");
    }
    assert_eq!((runs.load(Ordering::SeqCst), restarts(&metrics, "job")), (1, 0));
    assert_eq!((lent.strong_count(), asked.load(Ordering::SeqCst)), (0, 2), "its state went with it");
}

/// A thread whose runs count in their state with each order, and hang or panic on request.
struct Counting {
    clock: Arc<SimulatedClock>,
    heartbeats: Heartbeats,
    metrics: Metrics,
    /// One for each run.
    orders: Receiver<Sender<&'static str>>,
    counted: Receiver<Option<usize>>,
    doors: Vec<Sender<()>>,
    closed: Receiver<Sender<()>>,
    running: Running,
}

fn counting(spec: Spec) -> Counting {
    let Bench { mut supervisor, clock, heartbeats, metrics, .. } = bench();
    let (report_orders, orders) = channel();
    let (count, counted) = channel();
    let (report_closed, closed) = channel();
    supervisor.thread(spec, Vec::new(), move || {
        let (order, orders) = channel();
        report_orders.send(order).ok()?;
        let (count, report_closed) = (count.clone(), report_closed.clone());
        Some(Box::new(move |part: Context<Vec<&'static str>>| {
            for order in orders {
                part.beat();
                match order {
                    "panic" => panic!("as ordered"),
                    "hang" => {
                        let (door, open) = channel::<()>();
                        report_closed.send(door).expect("the bench listens");
                        let _ = open.recv();
                    }
                    order => {
                        let number = part.with(|seen| {
                            seen.push(order);
                            seen.len()
                        });
                        // The test may be over.
                        let _ = count.send(number);
                        if number.is_none() {
                            return Ok(());
                        }
                    }
                }
            }
            Ok(())
        }))
    });
    let (doors, running) = (Vec::new(), supervisor.start(GRACE));
    Counting { clock, heartbeats, metrics, orders, counted, doors, closed, running }
}

impl Counting {
    async fn next_run(&mut self) -> Sender<&'static str> {
        let mut run = None;
        until("a run", || {
            run = self.orders.try_recv().ok();
            run.is_some()
        })
        .await;
        run.expect("just seen")
    }

    async fn counted(&mut self) -> Option<usize> {
        let mut counted = None;
        until("an answer", || {
            counted = self.counted.try_recv().ok();
            counted.is_some()
        })
        .await;
        counted.expect("just seen")
    }

    async fn hang(&mut self, run: &Sender<&'static str>) {
        run.send("hang").expect("a thread");
        let mut door = None;
        until("it hangs", || {
            door = self.closed.try_recv().ok();
            door.is_some()
        })
        .await;
        self.doors.extend(door);
        self.clock.advance(SILENT);
    }
}

fn replaced() -> Spec {
    Spec::of_camera("part", &"yard".into())
        .restart(quick())
        .heartbeat(DEADLINE, Hang::Replace { most: MOST_ABANDONED })
        .consequence("so what")
}

#[tokio::test]
async fn a_thread_that_hangs_is_replaced_and_finds_its_state_gone_when_it_wakes_up() {
    let (log, _guard) = Log::begin();
    let mut counting = counting(replaced());
    let first = counting.next_run().await;
    first.send("one").expect("order");
    assert_eq!(counting.counted().await, Some(1));
    counting.hang(&first).await;
    let second = counting.next_run().await;
    second.send("two").expect("order");
    assert_eq!(counting.counted().await, Some(2), "what the first one knew is there");
    assert_eq!(counting.heartbeats.stalled(), vec![]);
    until("it is counted", || restarts(&counting.metrics, "part yard") == 1).await;
    assert!(
        log.has("ERROR") && log.has("it hangs and was restarted: so what camera=\"yard\" part=\"part\" silent_s=1")
    );

    first.send("late").expect("order");
    counting.doors.clear();
    assert_eq!(counting.counted().await, None, "the first one has no business there any more");
    drop(second);
    counting.running.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_thread_that_panics_says_what_follows_from_its_restart() {
    let (log, _guard) = Log::begin();
    let mut counting = counting(replaced());
    let first = counting.next_run().await;
    first.send("panic").expect("order");
    let second = counting.next_run().await;
    second.send("one").expect("order");
    assert_eq!(counting.counted().await, Some(1));
    until("it is logged", || log.has("it panicked and was restarted: so what camera=\"yard\" part=\"part\"")).await;
    assert!(!log.has("trying again"), "one line is enough");
    drop(second);
    counting.running.stop().await.expect("stopped");
}

#[tokio::test]
async fn when_too_many_hang_it_is_left_to_the_watchdog_until_one_comes_back() {
    let (log, _guard) = Log::begin();
    let mut counting = counting(replaced());
    for _ in 0..MOST_ABANDONED {
        let run = counting.next_run().await;
        counting.hang(&run).await;
    }
    let last = counting.next_run().await;
    assert!(counting.heartbeats.stalled().iter().all(|part| !part.critical), "so far it helps itself");
    counting.hang(&last).await;
    let heartbeats = counting.heartbeats.clone();
    until("it is critical", || heartbeats.stalled().iter().any(|part| part.critical)).await;
    until("it is logged", || log.has("it hangs and cannot be restarted")).await;
    assert!(log.has("abandoned=3") && counting.orders.try_recv().is_err(), "no other is started");
    counting.doors.remove(0);
    let next = counting.next_run().await;
    until("all is well", || heartbeats.stalled().is_empty()).await;
    drop(next);
    counting.doors.clear();
    counting.running.stop().await.expect("stopped");
}

#[tokio::test]
async fn a_thread_that_hangs_over_its_state_is_not_replaced_and_not_waited_for_for_ever() {
    let (log, _guard) = Log::begin();
    let Bench { mut supervisor, clock, heartbeats, metrics, .. } = bench();
    let ((door, open), (arrive, arrived)) = (channel::<()>(), channel());
    let mut bodies = Some((open, arrive));
    let spec = replaced().ends_within(Duration::from_millis(10));
    supervisor.thread(spec, (), move || {
        let (open, arrive) = bodies.take()?;
        Some(Box::new(move |part: Context| {
            part.with(|()| {
                arrive.send(()).expect("the test listens");
                let _ = open.recv();
            });
            Ok(())
        }))
    });
    let running = supervisor.start(GRACE);
    until("it holds its state", || arrived.try_recv().is_ok()).await;
    clock.advance(SILENT);
    until("it is critical", || heartbeats.stalled().iter().any(|part| part.critical)).await;
    running.stop().await.expect("stopped");
    assert!(log.has("it did not come to an orderly end, leaving it behind"));
    assert_eq!(restarts(&metrics, "part yard"), 0);
    drop(door);
}
