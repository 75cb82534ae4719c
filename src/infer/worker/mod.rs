//! Inference threads that all cameras share.
//!
//! Each camera has a [`Slot`] that holds one frame, the newest: while the detector is behind, older
//! frames are replaced, because a late frame is worthless. Threads take frames from the slots in turn,
//! so that a busy camera cannot starve a quiet one; a camera never has two frames in work at once.
//!
//! A detector that hangs costs its thread: a watching thread gives it up, starts another in its place,
//! and the camera goes on with its next frame. A detector that panics costs its frame only. When too
//! many threads are lost, the heartbeat `infer` stops beating, so that the service manager starts the
//! process afresh.

mod board;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, available_parallelism};
use std::time::Duration;

use anyhow::{Context, Result};
use tracing::{error, trace, warn};

use super::{Config, InferError, Model};
use crate::clock::Clock;
use crate::detection::Detection;
use crate::frame::Frame;
use crate::metrics::{self, Metrics};
use crate::supervise::{Heartbeat, Heartbeats, panic_text, spawn_thread};
use board::{Board, Job};

/// How often hung threads are looked for.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// The heartbeat `infer` beats every second while all threads are well.
const HEARTBEAT_DEADLINE: Duration = Duration::from_secs(30);

/// Hung threads that may be around at once; each holds memory, and a core if it spins.
const MOST_LOST: usize = 8;

/// What a camera gets back.
#[derive(Clone, Debug)]
pub struct Detected {
    /// The frame that was looked at.
    pub frame: Frame,
    /// What is in it; best first.
    pub detections: Vec<Detection>,
    /// How long it took, from the picture to the detections.
    pub took: Duration,
}

/// What became of an offered frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It waits for a thread.
    Taken,
    /// It waits for a thread in place of an older frame, which was dropped and counted.
    ReplacedOlder,
    /// The model is not loaded: the frame was dropped.
    NoModel,
}

type Results = Arc<dyn Fn(Detected) + Send + Sync>;

/// Why there is no result of a frame.
enum Failure {
    Error(InferError),
    Panic(String),
}

/// The threads. Dropping it ends them; [`Workers::stop`] also waits for that.
pub struct Workers {
    shared: Arc<Shared>,
    watch: Option<JoinHandle<()>>,
}

struct Shared {
    board: Mutex<Board>,
    /// A frame waits, or the end has come.
    work: Condvar,
    /// A thread has left, or the end has come.
    changed: Condvar,
    hung_after: Duration,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    heartbeat: Heartbeat,
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("threads", &self.shared.lock().threads()).finish_non_exhaustive()
    }
}

impl Workers {
    /// Starts the threads `infer-0`, `infer-1`, ... and the one that watches them.
    ///
    /// # Errors
    /// When the system has no threads left.
    pub fn start(config: &Config, metrics: Metrics, clock: Arc<dyn Clock>, heartbeats: Heartbeats) -> Result<Self> {
        let spare_one = || available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1));
        let wanted = if config.workers == 0 { spare_one() } else { config.workers };
        let shared = Arc::new(Shared {
            board: Mutex::new(Board::new(wanted, MOST_LOST)),
            work: Condvar::new(),
            changed: Condvar::new(),
            hung_after: config.hung_after,
            metrics,
            clock,
            heartbeat: heartbeats.register("infer", HEARTBEAT_DEADLINE, true),
        });
        // From here on, dropping `workers` ends whatever has been started.
        let mut workers = Self { shared: shared.clone(), watch: None };
        shared.refill(&mut shared.lock()).context("start an inference thread")?;
        let watched = shared.clone();
        workers.watch = Some(spawn_thread("infer-watch", move || watched.watch()).context("start infer-watch")?);
        Ok(workers)
    }

    /// A place for the frames of one camera. `results` is called on an inference thread for each frame
    /// that was looked at, never twice at once for one slot; it must hand the result on without blocking,
    /// because a thread that waits in it looks at nothing else and counts as hung in the end.
    /// There is no call for a frame that was replaced, or on which the detector failed or hung. Until `model` is
    /// loaded no frame is taken in.
    pub fn slot(
        &self,
        camera: Arc<str>,
        model: Arc<Model>,
        min_score: f32,
        results: impl Fn(Detected) + Send + Sync + 'static,
    ) -> Slot {
        let id = self.shared.lock().add_slot(camera.clone(), model.clone(), min_score, Arc::new(results));
        Slot { id, camera, model, shared: self.shared.clone() }
    }

    /// Ends all threads once they are through with the frame in work, and waits for them: no longer than
    /// `hung_after`, because then they count as hung and are left behind.
    pub fn stop(mut self) {
        self.shared.end();
        let shared = self.shared.clone();
        let board = shared.lock();
        let mut board =
            shared.changed.wait_while(board, |board| board.threads() > 0).unwrap_or_else(PoisonError::into_inner);
        let ended = board.take_ended();
        drop(board);
        for thread in ended.into_iter().chain(self.watch.take()) {
            if thread.join().is_err() {
                error!("an inference thread panicked at its end");
            }
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.shared.end();
    }
}

/// Where one camera's frames wait. Dropping it takes the camera out; a result that is being computed is
/// then not delivered any more.
pub struct Slot {
    id: u64,
    camera: Arc<str>,
    model: Arc<Model>,
    shared: Arc<Shared>,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({})", self.camera)
    }
}

impl Slot {
    /// Whether the model is loaded.
    pub fn is_ready(&self) -> bool {
        self.model.detector().is_some()
    }

    /// Puts a frame in, in place of an older one that no thread has taken yet. Never waits for a detector.
    pub fn offer(&self, frame: Frame) -> Offer {
        if !self.is_ready() {
            return Offer::NoModel;
        }
        let replaced = self.shared.lock().offer(self.id, frame);
        self.shared.work.notify_one();
        if replaced.is_none() {
            return Offer::Taken;
        }
        self.shared.metrics.dropped.get_or_create(&metrics::dropped(&self.camera, "infer_slot")).inc();
        Offer::ReplacedOlder
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // What the callback owns is dropped after the lock is gone.
        let removed = self.shared.lock().remove_slot(self.id);
        drop(removed);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.lock().stopping = true;
        self.work.notify_all();
        self.changed.notify_all();
    }

    /// Starts threads until there are as many as wanted or too many are lost.
    fn refill(self: &Arc<Self>, board: &mut Board) -> std::io::Result<()> {
        while let Some(id) = board.next_thread() {
            let shared = self.clone();
            let handle = spawn_thread(format!("infer-{id}"), move || {
                let leave = Leave { shared: &shared, thread: id };
                while shared.run_next(id) {}
                drop(leave);
            })?;
            board.add_thread(id, handle);
        }
        Ok(())
    }

    /// Waits for a frame and looks at it. False when the thread must end.
    fn run_next(&self, thread: u64) -> bool {
        let Some((slot, job)) = self.next_job(thread) else { return false };
        let started = self.clock.mono();
        let result = catch_unwind(AssertUnwindSafe(|| job.detector.detect(&*job.frame.picture, job.min_score)));
        let took = self.clock.mono().since(started);
        let results = self.lock().results(thread, slot);
        // A thread that was given up in the meantime has no business here any more.
        let Some(results) = results else { return self.lock().is_member(thread) };
        match result {
            Ok(Ok(detections)) => self.deliver(&job, &results, detections, took),
            Ok(Err(failure)) => self.complain(slot, &job, Failure::Error(failure)),
            Err(panic) => self.complain(slot, &job, Failure::Panic(panic_text(&*panic))),
        }
        self.lock().finish(thread, slot)
    }

    fn next_job(&self, thread: u64) -> Option<(u64, Job)> {
        let mut board = self.lock();
        loop {
            if board.stopping || !board.is_member(thread) {
                return None;
            }
            if let Some(taken) = board.take_job(thread, self.clock.mono()) {
                return Some(taken);
            }
            board = self.work.wait(board).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn deliver(&self, job: &Job, results: &Results, detections: Vec<Detection>, took: Duration) {
        trace!(camera = %job.camera, found = detections.len(), took_ms = took.as_secs_f64() * 1e3, "looked at a frame");
        self.metrics.frames_detected.get_or_create(&metrics::camera(&job.camera)).inc();
        self.metrics.detect_seconds.observe(took.as_secs_f64());
        let detected = Detected { frame: job.frame.clone(), detections, took };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| results(detected))) {
            error!(camera = %job.camera, panic = panic_text(&*panic), "handing on detections panicked");
        }
    }

    /// Says that a frame was lost, once a minute at most for each camera.
    fn complain(&self, slot: u64, job: &Job, failure: Failure) {
        self.metrics.dropped.get_or_create(&metrics::dropped(&job.camera, "infer_failed")).inc();
        let frames = self.lock().failures_to_log(slot, self.clock.mono());
        let Some(frames) = frames else { return };
        let (camera, model) = (&job.camera, job.detector.name());
        match failure {
            Failure::Error(error) => warn!(%camera, %model, %error, frames, "the detector failed"),
            Failure::Panic(panic) => error!(%camera, %model, panic, frames, "the detector panicked"),
        }
    }

    fn watch(self: &Arc<Self>) {
        let mut board = self.lock();
        while !(board.stopping && board.threads() == 0) {
            (board, _) = self.changed.wait_timeout(board, WATCH_EVERY).unwrap_or_else(PoisonError::into_inner);
            drop(board);
            self.check();
            board = self.lock();
        }
    }

    /// Gives up hung threads, starts others in their place, and beats when all is well.
    fn check(self: &Arc<Self>) {
        let now = self.clock.mono();
        let mut board = self.lock();
        let hung = board.give_up_hung(now, self.hung_after);
        let refilled = self.refill(&mut board);
        let exhausted = board.newly_exhausted();
        if board.is_complete() {
            self.heartbeat.beat();
        }
        drop(board);
        if !hung.is_empty() {
            // The slot is free again, perhaps with a frame in it; and `stop` may be waiting.
            self.work.notify_all();
            self.changed.notify_all();
        }
        for (camera, model, since) in hung {
            self.metrics.dropped.get_or_create(&metrics::dropped(&camera, "infer_hung")).inc();
            let for_s = now.since(since).as_secs_f32();
            error!(%camera, %model, for_s, "the detector hangs, its thread is given up");
        }
        if let Err(error) = refilled {
            warn!(%error, "no thread for inference, trying again");
        }
        if exhausted {
            error!(lost = MOST_LOST, "too many inference threads hang, the process must be restarted");
        }
    }
}

/// Takes a thread off the board however it ends.
struct Leave<'a> {
    shared: &'a Shared,
    thread: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.shared.lock().leave(self.thread);
        self.shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests;
