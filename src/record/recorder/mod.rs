//! The recorder of one camera: a thread that owns the pre-roll ring and the events in progress.
//!
//! The queue, the ring and what is known of the events in progress outlive the thread: one that hangs in a dead
//! volume is left behind, and another goes on with them on the volume that there is instead.

mod lane;
mod work;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use tracing::{error, info_span, warn};

use super::config::RecordConfig;
use super::recording::{Change, Look};
use crate::archive::Archive;
use crate::clock::{Clock, Mono};
use crate::event::{Event, EventId};
use crate::frame::Packet;
use crate::metrics::{self, Metrics};
use crate::supervise::{Heartbeat, spawn_thread};
use lane::{Command, Lane};
use work::Work;

pub use lane::Moving;

/// Packets and commands waiting for the recorder: 20 s of a 25 fps camera, so that a slow disk costs nothing.
/// Full: packets are dropped up to the next key frame and counted; commands wait.
const QUEUE: usize = 512;
/// A recorder that is silent for this long hangs, in the disk or in itself: nothing helps but a fresh start.
const HANGS_AFTER: Duration = Duration::from_secs(120);
/// How long a recorder may take to move to another volume before it counts as hanging in the old one.
const MOVES_WITHIN: Duration = Duration::from_millis(if cfg!(test) { 400 } else { 3000 });

/// Handle to a camera's recorder.
pub struct Recorder {
    camera: Arc<str>,
    config: RecordConfig,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    queue: SyncSender<Command>,
    lane: Arc<Lane>,
    /// The queue was full: leave out packets up to the next key frame.
    broken: AtomicBool,
    /// Packets were left out before the next one that is taken.
    hole: AtomicBool,
    worker: Mutex<Option<Worker>>,
}

/// The thread that records at present.
struct Worker {
    thread: JoinHandle<()>,
    heartbeat: Heartbeat,
}

impl Recorder {
    /// Starts the recorder of `camera`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(archive: Archive, camera: Arc<str>, config: RecordConfig) -> Result<Self> {
        let (queue, commands) = sync_channel(QUEUE);
        let (metrics, clock) = (archive.metrics.clone(), archive.clock.clone());
        let lane = Arc::new(Lane::new(commands, &config));
        let worker = start(&lane, archive, &camera, &config, false)?;
        Ok(Self {
            camera,
            config,
            metrics,
            clock,
            queue,
            lane,
            broken: AtomicBool::new(false),
            hole: AtomicBool::new(false),
            worker: Mutex::new(Some(worker)),
        })
    }

    /// Takes a packet from the source. Never waits.
    pub fn packet(&self, packet: &Packet) {
        if self.broken.load(Ordering::Relaxed) {
            if !packet.key_frame {
                self.count_drop();
                return;
            }
            self.broken.store(false, Ordering::Relaxed);
        }
        let packet = Command::Packet(packet.clone(), self.clock.mono(), self.hole.load(Ordering::Relaxed));
        match self.queue.try_send(packet) {
            Ok(()) => self.hole.store(false, Ordering::Relaxed),
            Err(TrySendError::Full(_)) => {
                if !self.broken.swap(true, Ordering::Relaxed) {
                    warn!(camera = %self.camera, "the disk is too slow for this camera, leaving out packets up to the next key frame");
                }
                self.hole.store(true, Ordering::Relaxed);
                self.count_drop();
            }
            Err(TrySendError::Disconnected(_)) => {}
        }
    }

    /// Begins an event. Waits while the recorder is busy: events are never dropped.
    pub fn begin(&self, event: Event, look: Look) {
        self.send(Command::Begin(Box::new(event), look));
    }

    /// Something worth an update changed.
    pub fn update(&self, id: EventId, change: Change) {
        self.send(Command::Update(id, change));
    }

    /// The event ended at `at`; its clip goes on for the post-roll.
    pub fn end(&self, id: EventId, at: Mono) {
        self.send(Command::End(id, at));
    }

    /// Goes on in `archive` from the next packet on. Events in progress go on there as new ones, each with the same
    /// start and as much of its past as the ring holds; what they left on the old volume is closed there, as far as
    /// that still works. A recorder that hangs in the old volume is replaced. Blocks for some seconds at most.
    ///
    /// # Errors
    /// When no thread can be started for the one that hangs.
    pub fn move_to(&self, archive: Archive) -> Result<Moving> {
        let (moving, moved) = self.lane.ask_to_move(archive.clone());
        if moved.recv_timeout(MOVES_WITHIN).is_ok() {
            return Ok(moving);
        }
        if self.lane.leave_behind() {
            error!(camera = %self.camera, "the recorder hangs in the old volume, another one goes on");
            let worker = start(&self.lane, archive, &self.camera, &self.config, true)?;
            if let Some(old) = self.worker().replace(worker) {
                old.heartbeat.retire();
            }
        }
        Ok(moving)
    }

    /// Closes what is open (events that still go on become `interrupted`) and waits for it.
    pub fn stop(mut self) {
        self.join();
    }

    fn worker(&self) -> MutexGuard<'_, Option<Worker>> {
        self.worker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, command: Command) {
        if self.queue.send(command).is_err() {
            error!(camera = %self.camera, "the recorder is gone, an event could not be recorded");
        }
    }

    fn count_drop(&self) {
        self.metrics.dropped.get_or_create(&metrics::dropped(&self.camera, "recorder_queue")).inc();
    }

    fn join(&mut self) {
        let worker = self.worker().take();
        if let Some(Worker { thread, .. }) = worker {
            let _ = self.queue.send(Command::Stop);
            if thread.join().is_err() {
                error!(camera = %self.camera, "the recorder panicked");
            }
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.join();
    }
}

/// Starts the thread that is the lane's from now on.
fn start(lane: &Arc<Lane>, archive: Archive, camera: &Arc<str>, config: &RecordConfig, resume: bool) -> Result<Worker> {
    let heartbeat = archive.heartbeats.register(format!("recorder {camera}"), HANGS_AFTER, true);
    let work = Work::new(lane.clone(), archive, camera.clone(), config.clone(), heartbeat.clone());
    let span = info_span!("recorder", camera = %camera);
    let thread = spawn_thread(format!("rec-{camera}"), move || span.in_scope(|| work.run(resume)))
        .context("start the recorder thread")?;
    Ok(Worker { thread, heartbeat })
}
