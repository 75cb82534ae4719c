//! The recorder's thread.

mod sharing;

use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use super::super::config::{RecordConfig, RecordMode};
use super::super::ledger::Ledger;
use super::super::main_still::StillQueue;
use super::super::progress::{InProgress, NoRoom, Unfinished};
use super::super::recording::Recording;
use super::super::segments::Segmenter;
use super::lane::{Command, DECISION, Held, Move, Moves, Which};
use crate::archive::holders::Holders;
use crate::archive::space::is_full;
use crate::archive::{Archive, RecordingLevel};
use crate::clock::Mono;
use crate::event::EventId;
use crate::frame::Packet;
use crate::load::LoadLevel;
use crate::reception::Reception;
use crate::segment::SegmentState;
use crate::store::StoreError;
use crate::supervise::{Context, spawn_thread};
use sharing::{interrupt_all, share};

/// A camera that gives nothing for longer was away, unless its pictures are rare.
const GAP: Duration = Duration::from_secs(3);
/// How often a silent camera's recordings are looked after.
const TICK: Duration = Duration::from_millis(250);
/// How often they are tried on the volume that did not take them.
const TRY_AGAIN: Duration = Duration::from_secs(15);
/// Events that wait for a volume that takes them; more are reported and lost.
const STRANDED: usize = 64;

pub(super) struct Work {
    part: Context<Held>,
    moves: Moves,
    archive: Archive,
    camera: Arc<str>,
    config: RecordConfig,
    reception: watch::Receiver<Reception>,
    /// Takes orders for stills of the main stream, where detection looks at another.
    stills: Option<StillQueue>,
    segmenter: Option<Segmenter>,
    ledger: Ledger,
    open: Vec<Recording>,
    /// Clips that events may share.
    holders: Holders,
    newest: Option<Mono>,
    /// The last clip failed because of the camera's stream, and none went well since.
    clips_fail: bool,
    /// When events that the volume did not take are tried again.
    try_again: Option<Mono>,
}

impl Work {
    pub(super) fn new(
        part: Context<Held>,
        moves: Moves,
        archive: Archive,
        camera: Arc<str>,
        config: RecordConfig,
        reception: watch::Receiver<Reception>,
        stills: Option<StillQueue>,
    ) -> Self {
        let ledger = Ledger::new(camera.clone(), archive.clock.mono(), reception.clone());
        let segmenter = segmenter(&camera, &config, &reception);
        let holders = Holders::new(reach(&config));
        Self {
            part,
            moves,
            archive,
            camera,
            config,
            reception,
            stills,
            segmenter,
            ledger,
            open: Vec::new(),
            holders,
            newest: None,
            clips_fail: false,
            try_again: None,
        }
    }

    /// Records until the stop. With `resume` goes on with what another thread had in hand.
    pub(super) fn run(&mut self, resume: bool) {
        if resume {
            self.resume(Which::All);
        }
        while self.is_current() {
            self.part.beat();
            if let Some(order) = self.moves.take() {
                self.relocate(order);
            }
            let next = self.next();
            // What waits in the queue is older than the clock.
            let is_idle = next.is_err();
            match next {
                Ok(Command::Packet(packet, queued, hole)) => {
                    self.archive.pressure.disk.note(self.archive.clock.mono().since(queued));
                    self.packet(&packet, hole);
                }
                Ok(Command::Begin(event, look)) => {
                    let known_as = event.id;
                    self.begin(InProgress { known_as, event: *event, look });
                }
                Ok(Command::Update(id, change)) => self.on(id, |recording, archive| recording.update(archive, change)),
                Ok(Command::Path(id, path)) => self.on(id, |recording, _| recording.follow(&path)),
                Ok(Command::End(id, at)) => self.end(id, at),
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return self.stop(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.close_finished(is_idle);
            if self.try_again.is_some_and(|due| self.archive.clock.mono() >= due) {
                self.resume(Which::Stranded);
            }
        }
        debug!("another thread records in the place of this one");
        self.close_old();
    }

    /// Whether no other thread records in the place of this one, or is about to.
    fn is_current(&self) -> bool {
        !self.part.stop().is_cancelled()
    }

    /// The next command; `Timeout` also where another thread records now.
    fn next(&self) -> Result<Command, RecvTimeoutError> {
        let next = |held: &mut Held| {
            if self.moves.is_asked() {
                return Err(RecvTimeoutError::Timeout);
            }
            let command = held.commands.recv_timeout(TICK)?;
            if let Command::Packet(packet, ..) = &command {
                // Before anything that may hang in the volume: the next thread finds the packet in the ring.
                match self.archive.control.switches().records(&self.camera) {
                    true => {
                        held.ring.part_at_gap(packet, self.reception.borrow().silent_after(GAP));
                        held.ring.push(packet);
                    }
                    // What is before it is no clip's past.
                    false => held.ring.clear(),
                }
            }
            Ok(command)
        };
        if self.is_current() { self.part.with(next) } else { None }.unwrap_or(Err(RecvTimeoutError::Timeout))
    }

    /// The volume was only slow: what this thread has open on it goes on elsewhere by now, and is closed here.
    fn close_old(&mut self) {
        let last = self.newest.unwrap_or_else(|| self.archive.clock.mono());
        interrupt_all(std::mem::take(&mut self.open), &self.archive, &self.holders, last);
        if let Some(segmenter) = &mut self.segmenter {
            segmenter.close(&self.archive, SegmentState::Interrupted);
        }
    }

    fn stop(&mut self) {
        let last = self.newest.unwrap_or_else(|| self.archive.clock.mono());
        let mut open = std::mem::take(&mut self.open);
        for recording in &mut open {
            refer(recording, self.segmenter.as_ref(), &self.config);
        }
        if !interrupt_all(open, &self.archive, &self.holders, last) {
            error!("an event could not be completed on disk; the next start does");
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
        if !self.archive.control.switches().records(&self.camera) {
            return self.see_only(packet, hole);
        }
        self.ledger.packet(&self.archive, packet.at, hole, rests);
        for recording in &mut self.open {
            recording.write(packet);
        }
        self.continue_in_others(packet);
        self.take_over(packet);
        match &mut self.segmenter {
            Some(segmenter) if rests.is_some() => segmenter.close(&self.archive, SegmentState::Closed),
            Some(segmenter) => segmenter.write(&self.archive, packet),
            None => {}
        }
        self.note_progress(packet, rests.is_some());
    }

    /// Notes whether what comes is recorded, or could be. Continuous recording that rests is not judged.
    fn note_progress(&mut self, packet: &Packet, rests: bool) {
        let mut failure = None;
        for outcome in self.open.iter().filter_map(Recording::clip_progress) {
            self.clips_fail = outcome.is_err();
            failure = outcome.err().map(str::to_owned).or(failure);
        }
        let segments = self.segmenter.as_ref().filter(|_| !rests).map_or(Ok(()), Segmenter::progress);
        failure = segments.err().flatten().map(str::to_owned).or(failure);
        let has_ring = self.part.with(|held| !held.ring.is_empty()).unwrap_or_default();
        let works = segments.is_ok() && !self.clips_fail && has_ring;
        let records = self.config.mode != RecordMode::Off;
        self.archive.health.stages(&self.camera, |stages| match records {
            true => {
                stages.recording.takes(packet.at, packet.key_frame);
                if works {
                    stages.recording.gives();
                } else if let Some(failure) = failure {
                    stages.recording.fails(failure);
                }
            }
            false => stages.recording.rests(),
        });
    }

    /// Recording was switched off: what comes is not kept.
    fn see_only(&mut self, packet: &Packet, hole: Option<&str>) {
        self.archive.health.stages(&self.camera, |stages| stages.recording.rests());
        self.ledger.packet(&self.archive, packet.at, hole, None);
        for recording in &mut self.open {
            recording.stop_clip(packet.at);
        }
        if let Some(segmenter) = &mut self.segmenter {
            segmenter.close(&self.archive, SegmentState::Closed);
        }
    }

    /// Why continuous recording rests, if it does.
    fn rests(&self) -> Option<&'static str> {
        if self.archive.at_most > RecordingLevel::Full {
            return Some("the archive's volume is away");
        }
        if !self.archive.level().has_continuous() {
            return Some("no space");
        }
        (self.archive.pressure.level() >= LoadLevel::RecordLess).then_some("too much to do")
    }

    /// Goes on in another event, from `packet` on, where the files of one do not take what comes.
    fn continue_in_others(&mut self, packet: &Packet) {
        let now = self.archive.clock.mono();
        let is_full = |recording: &Recording| recording.needs_successor(packet, now);
        if !self.open.iter().any(is_full) {
            return;
        }
        let pieces = self.pieces();
        let (full, open) = std::mem::take(&mut self.open).into_iter().partition(is_full);
        self.open = open;
        for mut recording in full {
            let InProgress { known_as, mut event, look } = recording.in_progress();
            share(&mut recording, &self.holders, &pieces);
            refer(&mut recording, self.segmenter.as_ref(), &self.config);
            match recording.hand_over(&self.archive, packet.at) {
                // It is known until the next one is, which takes its place.
                Ok(()) => {
                    self.holders.add(recording.pieces());
                    (event.pinned, event.annotations) = recording.said();
                }
                // It is tried again while the event lasts; one that ends is completed as every other.
                Err(Unfinished::NoRoom) => {
                    self.open.push(recording);
                    continue;
                }
                Err(Unfinished::Volume) => {
                    // What it holds is on the disk, and the next start completes it.
                    self.holders.add(recording.pieces());
                    self.strand(known_as);
                    continue;
                }
            }
            let event = event.successor(self.archive.ids.next());
            info!(event = %event.id, continues = event.continues.map(tracing::field::display), "the camera changed its parameters too often for one event, which goes on in another one");
            self.begin_at(InProgress { known_as, event, look }, packet.at);
        }
    }

    fn begin(&mut self, starting: InProgress) {
        let from = starting.event.start.mono() - self.config.pre_roll;
        self.begin_at(starting, from);
    }

    /// Begins an event with the pictures from `from` on.
    fn begin_at(&mut self, starting: InProgress, from: Mono) {
        let InProgress { known_as, mut event, look } = starting.clone();
        debug!(event = %event.id, rule = %event.rule, "begin");
        let ring: Option<Vec<Packet>> = self.part.with(|held| {
            held.start(starting);
            held.ring.since(from).cloned().collect()
        });
        let ring = ring.unwrap_or_default();
        let mut config = self.config.clone();
        if !self.archive.control.switches().records(&self.camera) {
            config.mode = RecordMode::Off;
        }
        let newest = self.newest.or_else(|| ring.last().map(|packet| packet.at)).unwrap_or_default();
        let video_from = ring.first().map_or(from, Packet::pts);
        // What was deleted meanwhile holds nothing.
        let (layout, camera) = (self.archive.layout(), self.camera.clone());
        self.holders.keep(|piece| layout.folder(&camera, piece.event).join(&piece.file).exists());
        let own = self.own_video(event.id, ring, newest);
        if config.mode != RecordMode::Off {
            let begin = own.as_ref().and_then(|own| own.first().map(Packet::pts));
            let (pieces, until) = (self.pieces(), begin.unwrap_or(newest));
            event.shares = self.holders.parts((event.id, event.start.mono()), (video_from, until), &pieces);
        }
        match Recording::begin(&self.archive, &config, event, look, (video_from, own.as_deref())) {
            Ok(mut recording) => {
                if let Some(queue) = &self.stills {
                    recording = recording.with_large_stills(&self.archive, queue.clone());
                }
                self.open.push(recording.known_as(known_as, self.config.post_roll));
            }
            Err(failure) => {
                error!(error = format!("{failure:#}"), "an event could not be recorded");
                if is_for_want_of_room(&failure) {
                    self.forget(known_as);
                } else {
                    self.strand(known_as);
                }
            }
        }
    }

    fn end(&mut self, id: EventId, at: Mono) {
        let (end, post_roll) = (self.archive.clock.moment(at), self.config.post_roll);
        self.part.with(|held| {
            for waiting in held.stranded.iter_mut().filter(|waiting| waiting.known_as == id) {
                waiting.event.end = Some(end.clone());
            }
        });
        self.on(id, |recording, archive| recording.end(archive, at, post_roll));
    }

    fn on(&mut self, id: EventId, act: impl FnOnce(&mut Recording, &Archive)) {
        // An event that could not be begun is not there; that was reported then.
        let Some(recording) = self.open.iter_mut().find(|recording| recording.is_known_as(id)) else { return };
        act(recording, &self.archive);
        let now = recording.in_progress();
        self.part.with(|held| {
            if let Some(known) = held.progress.iter_mut().find(|known| known.known_as == id) {
                *known = now;
            }
        });
    }

    /// Closes the recordings whose post-roll is over by the packets, or by the clock when the camera fell silent, which is
    /// known where nothing waits to be recorded.
    fn close_finished(&mut self, is_idle: bool) {
        let now = self.archive.clock.mono();
        let seen = (self.newest.unwrap_or_default(), is_idle);
        let is_any_over = self.open.iter().any(|recording| recording.is_finished(seen, now));
        let pieces = if is_any_over { self.pieces() } else { Vec::new() };
        for mut recording in std::mem::take(&mut self.open) {
            refer(&mut recording, self.segmenter.as_ref(), &self.config);
            if recording.stills().await_packets() {
                self.part.with(|held| recording.stills().collect(&held.ring, now));
            }
            recording.look_after(&self.archive, now);
            if !recording.is_finished(seen, now) {
                self.open.push(recording);
                continue;
            }
            share(&mut recording, &self.holders, &pieces);
            match recording.finish(&self.archive) {
                Ok(()) => {
                    self.holders.add(recording.pieces());
                    self.forget(recording.in_progress().known_as);
                }
                // Retention makes room, and the event is completed then.
                Err(Unfinished::NoRoom) => self.open.push(recording),
                Err(Unfinished::Volume) => {
                    self.holders.add(recording.pieces());
                    self.strand(recording.in_progress().known_as);
                }
            }
        }
        self.ledger.look_after(&self.archive, now);
        if let Some(segmenter) = &mut self.segmenter {
            segmenter.look_after(&self.archive, now);
        }
    }

    /// An event is over, unless it is in the hands of the thread that records now.
    fn forget(&self, known_as: EventId) {
        self.part.with(|held| held.forget(known_as));
    }

    /// Keeps an event that the volume did not take, until there is one that does.
    fn strand(&mut self, known_as: EventId) {
        self.archive.trouble.notify_one();
        let lost = self.part.with(|held| {
            let event = held.forget(known_as)?;
            if held.stranded.len() >= STRANDED {
                return Some(Some(event.event.id));
            }
            held.stranded.push_back(event);
            Some(None)
        });
        let Some(lost) = lost.flatten() else { return };
        self.try_again.get_or_insert(self.archive.clock.mono() + TRY_AGAIN);
        if let Some(event) = lost {
            error!(%event, "no volume takes events for too long, this one is lost");
        }
    }

    /// Goes on in another archive, and leaves closing the old one to a thread that may hang.
    fn relocate(&mut self, order: Move) {
        let Move { archive, moved, settled } = order;
        let old = std::mem::replace(&mut self.archive, archive);
        let (recordings, last) = (std::mem::take(&mut self.open), self.newest.unwrap_or_else(|| old.clock.mono()));
        let segmenter = std::mem::replace(&mut self.segmenter, segmenter(&self.camera, &self.config, &self.reception));
        let holders = std::mem::replace(&mut self.holders, Holders::new(reach(&self.config)));
        self.ledger.move_to(&self.archive);
        self.resume(Which::All);
        // The caller is gone where the move took too long.
        let _ = moved.try_send(());
        let close = move || {
            interrupt_all(recordings, &old, &holders, last);
            if let Some(mut segmenter) = segmenter {
                segmenter.close(&old, SegmentState::Interrupted);
            }
            drop(settled);
        };
        if let Err(failure) = spawn_thread(format!("old-{}", self.camera), close) {
            warn!(error = %failure, "what was open on the old volume is closed by the next start");
        }
    }

    /// Starts again what was in progress elsewhere, and what no volume took, one after the other: what has not had its turn
    /// when the thread hangs or panics stays where the next thread finds it.
    fn resume(&mut self, which: Which) {
        self.try_again = None;
        for known_as in self.part.with(|held| held.waiting(which)).unwrap_or_default() {
            let Some(InProgress { event, look, .. }) = self.part.with(|held| held.find(known_as)).flatten() else {
                continue;
            };
            let event = event.successor(self.archive.ids.next());
            info!(event = %event.id, continues = event.continues.map(tracing::field::display), "an event goes on on another volume");
            self.begin(InProgress { known_as, event, look });
        }
    }
}

/// Whether waiting for another volume is no help.
fn is_for_want_of_room(failure: &anyhow::Error) -> bool {
    is_full(failure)
        || failure
            .chain()
            .any(|cause| matches!(cause.downcast_ref(), Some(StoreError::Full(_) | StoreError::TooLarge { .. })))
        || failure.downcast_ref::<NoRoom>().is_some()
}

fn segmenter(camera: &Arc<str>, config: &RecordConfig, reception: &watch::Receiver<Reception>) -> Option<Segmenter> {
    let new = || Segmenter::new(camera.clone(), config.segment, reach(config), reception.clone());
    (config.mode == RecordMode::Continuous).then(new)
}

/// How far back an event in progress may reach.
fn reach(config: &RecordConfig) -> Duration {
    config.max_clip + config.pre_roll + config.post_roll + DECISION
}

/// Notes where the event's time lies in the continuous recording.
fn refer(recording: &mut Recording, segmenter: Option<&Segmenter>, config: &RecordConfig) {
    let (from, until) = recording.span(config);
    if let Some(segments) = segmenter.and_then(|segmenter| segmenter.holding(from, until)) {
        recording.refer_to(segments);
    }
}
