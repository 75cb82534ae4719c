//! The recorder of one camera: a thread that owns the pre-roll ring and the events in progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use tracing::{debug, error, info_span, warn};

use super::ledger::Ledger;
use super::preroll::Preroll;
use super::recording::{Change, Recording};
use super::segments::Segmenter;
use super::{Archive, Look, RecordConfig, RecordMode};
use crate::clock::{Clock, Mono};
use crate::event::{Event, EventId};
use crate::frame::Packet;
use crate::metrics::{self, Metrics};
use crate::segment::SegmentState;
use crate::supervise::governor::LoadLevel;
use crate::supervise::{Heart, spawn_thread};

/// Packets and commands waiting for the recorder: 20 s of a 25 fps camera, so that a slow disk costs nothing.
/// Full: packets are dropped up to the next key frame and counted; commands wait.
const QUEUE: usize = 512;
/// A recorder that is silent for this long hangs, in the disk or in itself: nothing helps but a fresh start.
const HANGS_AFTER: Duration = Duration::from_secs(120);
/// How often a silent camera's recordings are looked after.
const TICK: Duration = Duration::from_millis(250);

/// How much later than its picture an event may be decided: the detector is shared, and slow boxes are busy.
/// The ring reaches back that much further, or clips would begin too late exactly when much happens.
const DECISION: Duration = Duration::from_secs(10);

enum Command {
    /// A packet, when it came, and whether others were dropped before it.
    Packet(Packet, Mono, bool),
    Begin(Box<Event>, Look),
    Update(EventId, Change),
    End(EventId, Mono),
    Stop,
}

/// Handle to a camera's recorder.
pub struct Recorder {
    camera: Arc<str>,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    queue: SyncSender<Command>,
    /// The queue was full: leave out packets up to the next key frame.
    broken: AtomicBool,
    /// Packets were left out before the next one that is taken.
    hole: AtomicBool,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Starts the recorder of `camera`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(archive: Archive, camera: Arc<str>, config: RecordConfig) -> Result<Self> {
        let (queue, commands) = sync_channel(QUEUE);
        let (metrics, clock) = (archive.metrics.clone(), archive.clock.clone());
        let span = info_span!("recorder", camera = %camera);
        let keep = config.max_clip + config.pre_roll + config.post_roll + DECISION;
        let continuous = config.mode == RecordMode::Continuous;
        let heart = archive.hearts.register(format!("recorder {camera}"), HANGS_AFTER, true);
        let ledger = Ledger::new(camera.clone(), archive.clock.mono());
        let state = State {
            heart,
            ledger,
            ring: Preroll::new(config.pre_roll + DECISION),
            segmenter: continuous.then(|| Segmenter::new(camera.clone(), config.segment, keep)),
            archive,
            config,
            open: Vec::new(),
            newest: None,
            commands,
        };
        let thread = spawn_thread(format!("rec-{camera}"), move || span.in_scope(|| state.run()))
            .context("start the recorder thread")?;
        Ok(Self {
            camera,
            metrics,
            clock,
            queue,
            broken: AtomicBool::new(false),
            hole: AtomicBool::new(false),
            thread: Some(thread),
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

    /// Something worth telling changed.
    pub fn update(&self, id: EventId, change: Change) {
        self.send(Command::Update(id, change));
    }

    /// The event ended at `at`; its clip goes on for the post-roll.
    pub fn end(&self, id: EventId, at: Mono) {
        self.send(Command::End(id, at));
    }

    /// Closes what is open (events that still go on become `interrupted`) and waits for it.
    pub fn stop(mut self) {
        self.join();
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
        if let Some(thread) = self.thread.take() {
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

struct State {
    archive: Archive,
    config: RecordConfig,
    ring: Preroll,
    segmenter: Option<Segmenter>,
    ledger: Ledger,
    heart: Heart,
    open: Vec<Recording>,
    newest: Option<Mono>,
    commands: Receiver<Command>,
}

impl State {
    fn run(mut self) {
        loop {
            self.heart.beat();
            match self.commands.recv_timeout(TICK) {
                Ok(Command::Packet(packet, queued, hole)) => {
                    self.archive.pressure.disk.note(self.archive.clock.mono().since(queued));
                    self.packet(&packet, hole);
                }
                Ok(Command::Begin(event, look)) => self.begin(*event, look),
                Ok(Command::Update(id, change)) => self.on(id, |recording, archive| recording.update(archive, change)),
                Ok(Command::End(id, at)) => {
                    let post_roll = self.config.post_roll;
                    self.on(id, |recording, archive| recording.end(archive, at, post_roll));
                }
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.close_finished();
        }
        let last = self.newest.unwrap_or_else(|| self.archive.clock.mono());
        for mut recording in self.open.drain(..) {
            refer(&mut recording, self.segmenter.as_ref(), &self.config);
            recording.interrupt(&self.archive, last);
        }
        if let Some(segmenter) = &mut self.segmenter {
            segmenter.close(&self.archive, SegmentState::Closed);
        }
        self.ledger.close(&self.archive, self.archive.clock.mono());
    }

    fn packet(&mut self, packet: &Packet, hole: bool) {
        self.newest = Some(packet.at);
        let rests = self.segmenter.as_ref().and_then(|_| self.rests());
        let hole = hole.then_some("the disk is too slow");
        self.ledger.packet(&self.archive, packet.at, hole, rests);
        self.ring.push(packet);
        for recording in &mut self.open {
            recording.write(packet);
        }
        match &mut self.segmenter {
            Some(segmenter) if rests.is_some() => segmenter.close(&self.archive, SegmentState::Closed),
            Some(segmenter) => segmenter.write(&self.archive, packet),
            None => {}
        }
    }

    /// Why continuous recording rests, if it does.
    fn rests(&self) -> Option<&'static str> {
        if !self.archive.level().has_continuous() {
            return Some("no space");
        }
        (self.archive.pressure.level() >= LoadLevel::RecordLess).then_some("too much to do")
    }

    fn begin(&mut self, event: Event, look: Look) {
        debug!(event = %event.id, rule = %event.rule, "begin");
        match Recording::begin(&self.archive, &self.config, event, look, &self.ring) {
            Ok(recording) => self.open.push(recording),
            Err(failure) => error!(error = format!("{failure:#}"), "an event could not be recorded"),
        }
    }

    fn on(&mut self, id: EventId, act: impl FnOnce(&mut Recording, &Archive)) {
        // An event that could not be begun is not there; that was reported then.
        if let Some(recording) = self.open.iter_mut().find(|r| r.id() == id) {
            act(recording, &self.archive);
        }
    }

    /// Closes the recordings whose post-roll is over by the packets, or by the clock when the camera fell silent.
    fn close_finished(&mut self) {
        let now = self.archive.clock.mono();
        let (newest, open) = (self.newest.unwrap_or_default(), std::mem::take(&mut self.open));
        for mut recording in open {
            refer(&mut recording, self.segmenter.as_ref(), &self.config);
            recording.look_after(&self.archive, now);
            if recording.is_finished(newest, now) {
                recording.finish(&self.archive);
            } else {
                self.open.push(recording);
            }
        }
        self.ledger.look_after(&self.archive, now);
        if let Some(segmenter) = &mut self.segmenter {
            segmenter.look_after(&self.archive, now);
        }
    }
}

/// Notes where the event's time lies in the continuous recording.
fn refer(recording: &mut Recording, segmenter: Option<&Segmenter>, config: &RecordConfig) {
    let (from, until) = recording.span(config);
    if let Some(segments) = segmenter.and_then(|segmenter| segmenter.holding(from, until)) {
        recording.refer_to(segments);
    }
}
