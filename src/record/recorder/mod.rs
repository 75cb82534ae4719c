//! The recorder of one camera: a thread that owns the pre-roll ring and the events in progress.
//!
//! The queue, the ring and what is known of the events in progress outlive the thread: one that hangs in a dead
//! volume is left behind, and another goes on with them on the volume that there is instead.

mod lane;
mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info_span, warn};

use super::config::RecordConfig;
use super::main_still::StillQueue;
use super::progress::{Change, Look};
use crate::archive::Archive;
use crate::clock::{Clock, Mono};
use crate::detection::BBox;
use crate::event::{Event, EventId};
use crate::frame::Packet;
use crate::metrics::{self, Metrics};
use crate::reception::Reception;
use crate::supervise::{Context, Hang, OwnedThread, Spec};
use lane::{Command, Held, Moves, Settled};
use work::Work;

pub use lane::Moving;

/// Packets and commands waiting for the recorder: 20 s of a 25 fps camera, so that a slow disk costs nothing.
/// Full: packets are dropped up to the next key frame and counted; commands wait.
const QUEUE: usize = 512;
/// A recorder that is silent for this long hangs or has panicked, which only a fresh process mends: it closes what was open,
/// and what made a recorder panic is not begun again. In a dead volume another thread goes on before that.
const HANGS_AFTER: Duration = Duration::from_secs(120);
/// How often a stop tries to get into a full queue.
const STOP_AGAIN: Duration = Duration::from_millis(10);
/// How long a recorder may take to move to another volume before it counts as hanging in the old one.
const MOVES_WITHIN: Duration = Duration::from_millis(if cfg!(test) { 400 } else { 3000 });

/// Handle to a camera's recorder.
pub struct Recorder {
    camera: Arc<str>,
    config: RecordConfig,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    queue: SyncSender<Command>,
    moves: Moves,
    reception: watch::Receiver<Reception>,
    stills: Option<StillQueue>,
    /// The queue was full: leave out packets up to the next key frame.
    broken: AtomicBool,
    /// Packets were left out before the next one that is taken.
    hole: AtomicBool,
    worker: Mutex<Option<Worker>>,
}

/// The thread that records at present.
struct Worker {
    part: Context<Held>,
    /// `None` where the system had no thread left; what it would work on is kept.
    thread: Option<OwnedThread<Held>>,
    settled: Settled,
}

impl Recorder {
    /// Starts the recorder of `camera`, whose feed reports its `reception`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        archive: Archive,
        camera: Arc<str>,
        config: RecordConfig,
        reception: watch::Receiver<Reception>,
    ) -> Result<Self> {
        Self::start_with(archive, camera, config, reception, None)
    }

    /// The same for a camera with a substream: `stills` takes orders for stills of the main stream.
    ///
    /// # Errors
    /// As [`Recorder::start`].
    pub fn start_with(
        archive: Archive,
        camera: Arc<str>,
        config: RecordConfig,
        reception: watch::Receiver<Reception>,
        stills: Option<StillQueue>,
    ) -> Result<Self> {
        let (queue, commands) = sync_channel(QUEUE);
        let (metrics, clock) = (archive.metrics.clone(), archive.clock.clone());
        let held = Held::new(commands, &config);
        let recorder = Self {
            camera,
            config,
            metrics,
            clock,
            queue,
            moves: Moves::default(),
            reception,
            stills,
            broken: AtomicBool::new(false),
            hole: AtomicBool::new(false),
            worker: Mutex::default(),
        };
        recorder.start_thread(&mut recorder.worker(), archive, held, false)?;
        Ok(recorder)
    }

    /// Starts the thread that records from now on.
    fn start_thread(&self, worker: &mut Option<Worker>, archive: Archive, held: Held, resume: bool) -> Result<()> {
        let camera = self.camera.clone();
        let spec = Spec::of_camera("recorder", &camera).heartbeat(HANGS_AFTER, Hang::Critical);
        let part = Context::new(CancellationToken::new(), spec.register(&archive.heartbeats), held);
        let (moves, settled) = (self.moves.clone(), Settled::default());
        let (config, reception, stills) = (self.config.clone(), self.reception.clone(), self.stills.clone());
        let mut work = Work::new(part.clone(), moves, archive, camera.clone(), config, reception, stills);
        let (span, unsettled) = (info_span!("recorder", camera = %camera), settled.clone());
        let body = move |_| {
            let _unsettled = unsettled;
            span.in_scope(|| work.run(resume));
            Ok(())
        };
        let (thread, failure) = match OwnedThread::start(&format!("rec-{camera}"), &part, body) {
            Ok(thread) => (Some(thread), None),
            Err(failure) => (None, Some(failure)),
        };
        *worker = Some(Worker { part, thread, settled });
        failure.map_or(Ok(()), Err).context("start the recorder thread")
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

    /// Where the event's object was so far, oldest first.
    pub fn path(&self, id: EventId, path: Vec<(Mono, BBox)>) {
        self.send(Command::Path(id, path));
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
    /// When no thread can be started for the one that hangs, or that one does not let go of its queue.
    pub fn move_to(&self, archive: Archive) -> Result<Moving> {
        let (moving, moved) = self.moves.ask(archive.clone());
        if moved.recv_timeout(MOVES_WITHIN).is_ok() {
            return Ok(moving);
        }
        // Otherwise it has begun to move just now.
        if let Some(order) = self.moves.take() {
            error!(camera = %self.camera, "the recorder hangs in the old volume, another one goes on");
            let mut worker = self.worker();
            let old = worker.as_ref().context("the recorder was stopped")?;
            let Some(held) = old.part.take_over_within(MOVES_WITHIN) else {
                bail!("the recorder of {} does not let go of its queue", self.camera);
            };
            old.settled.set(order.settled);
            old.part.heartbeat().retire();
            self.start_thread(&mut worker, archive, held, true)?;
        }
        Ok(moving)
    }

    /// Closes what is open (events that still go on become `interrupted`) and waits for it, even while others have handles.
    /// What is sent from then on is refused.
    pub fn stop(&self) {
        let worker = self.worker().take();
        if let Some(Worker { thread: Some(thread), .. }) = worker {
            // One that panicked takes nothing out of the queue any more, which may be full.
            while !thread.is_finished() && matches!(self.queue.try_send(Command::Stop), Err(TrySendError::Full(_))) {
                std::thread::sleep(STOP_AGAIN);
            }
            if thread.join().is_err() {
                error!(camera = %self.camera, "the recorder panicked");
            }
        }
    }

    fn worker(&self) -> MutexGuard<'_, Option<Worker>> {
        self.worker.lock()
    }

    fn send(&self, command: Command) {
        if self.queue.send(command).is_err() {
            error!(camera = %self.camera, "the recorder is gone, an event could not be recorded");
        }
    }

    fn count_drop(&self) {
        self.metrics.dropped.get_or_create(&metrics::dropped(&self.camera, "recorder_queue")).inc();
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop();
    }
}
