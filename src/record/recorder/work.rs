//! The recorder's thread.

use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::super::config::{RecordConfig, RecordMode};
use super::super::ledger::Ledger;
use super::super::recording::{InProgress, NoRoom, Recording, Unfinished};
use super::super::segments::Segmenter;
use super::lane::{Command, DECISION, Lane, Move};
use crate::archive::space::is_full;
use crate::archive::{Archive, RecordingLevel};
use crate::clock::Mono;
use crate::event::{Event, EventId, EventState};
use crate::frame::Packet;
use crate::segment::SegmentState;
use crate::store::StoreError;
use crate::supervise::governor::LoadLevel;
use crate::supervise::{Heartbeat, spawn_thread};

/// How often a silent camera's recordings are looked after.
const TICK: Duration = Duration::from_millis(250);
/// How often they are tried on the volume that did not take them.
const TRY_AGAIN: Duration = Duration::from_secs(15);
/// Events that wait for a volume that takes them; more are reported and lost.
const STRANDED: usize = 64;

pub(super) struct Work {
    lane: Arc<Lane>,
    archive: Archive,
    camera: Arc<str>,
    config: RecordConfig,
    segmenter: Option<Segmenter>,
    ledger: Ledger,
    heartbeat: Heartbeat,
    open: Vec<Recording>,
    newest: Option<Mono>,
    /// The last clip failed because of the camera's stream, and none went well since.
    clips_fail: bool,
    /// When events that the volume did not take are tried again.
    try_again: Option<Mono>,
    /// What this thread is in the lane's count.
    number: u32,
}

impl Work {
    pub(super) fn new(
        lane: Arc<Lane>,
        archive: Archive,
        camera: Arc<str>,
        config: RecordConfig,
        heartbeat: Heartbeat,
    ) -> Self {
        let ledger = Ledger::new(camera.clone(), archive.clock.mono());
        let segmenter = segmenter(&camera, &config);
        let number = lane.take_over();
        Self {
            lane,
            archive,
            camera,
            config,
            segmenter,
            ledger,
            heartbeat,
            open: Vec::new(),
            newest: None,
            clips_fail: false,
            try_again: None,
            number,
        }
    }

    /// Records until the stop. With `resume` goes on with what another thread had in hand.
    pub(super) fn run(mut self, resume: bool) {
        if resume {
            let in_progress = std::mem::take(&mut *self.lane.progress());
            self.go_on_with(in_progress);
        }
        while self.lane.is_held_by(self.number) {
            self.heartbeat.beat();
            if let Some(order) = self.lane.asked_to_move() {
                self.relocate(order);
            }
            match self.lane.next(self.number, TICK) {
                Ok(Command::Packet(packet, queued, hole)) => {
                    self.archive.pressure.disk.note(self.archive.clock.mono().since(queued));
                    self.packet(&packet, hole);
                }
                Ok(Command::Begin(event, look)) => {
                    let known_as = event.id;
                    self.begin(InProgress { known_as, event: *event, look });
                }
                Ok(Command::Update(id, change)) => self.on(id, |recording, archive| recording.update(archive, change)),
                Ok(Command::End(id, at)) => self.end(id, at),
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return self.stop(),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.close_finished();
            if self.try_again.is_some_and(|due| self.archive.clock.mono() >= due) {
                self.go_on_with(Vec::new());
            }
        }
        debug!("another thread records in the place of this one");
        self.close_old();
    }

    /// The volume was only slow: what this thread has open on it goes on elsewhere by now, and is closed here.
    fn close_old(&mut self) {
        let last = self.newest.unwrap_or_else(|| self.archive.clock.mono());
        for mut recording in std::mem::take(&mut self.open) {
            let _ = recording.interrupt(&self.archive, last);
        }
        if let Some(segmenter) = &mut self.segmenter {
            segmenter.close(&self.archive, SegmentState::Interrupted);
        }
        self.lane.settle(self.number);
    }

    fn stop(mut self) {
        let last = self.newest.unwrap_or_else(|| self.archive.clock.mono());
        for mut recording in std::mem::take(&mut self.open) {
            refer(&mut recording, self.segmenter.as_ref(), &self.config);
            if recording.interrupt(&self.archive, last).is_err() {
                error!("an event could not be completed on disk; the next start does");
            }
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
        // Before anything that may hang in the volume: the next user of the ring finds the packet in it.
        self.lane.ring().push(packet);
        self.ledger.packet(&self.archive, packet.at, hole, rests);
        for recording in &mut self.open {
            recording.write(packet);
        }
        self.continue_in_others(packet);
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
        let works = segments.is_ok() && !self.clips_fail && !self.lane.ring().is_empty();
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

    /// Recording was switched off: what comes is not kept, and what is before it is no clip's past.
    fn see_only(&mut self, packet: &Packet, hole: Option<&str>) {
        self.lane.ring().clear();
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
        let (full, open) = std::mem::take(&mut self.open).into_iter().partition(is_full);
        self.open = open;
        for mut recording in full {
            let InProgress { known_as, event, look } = recording.in_progress();
            refer(&mut recording, self.segmenter.as_ref(), &self.config);
            match recording.hand_over(&self.archive, packet.at) {
                Ok(()) => drop(self.forget(known_as)),
                // It is tried again while the event lasts; one that ends is completed as every other.
                Err(Unfinished::NoRoom) => {
                    self.open.push(recording);
                    continue;
                }
                Err(Unfinished::Volume) => {
                    let unfinished = self.forget(known_as);
                    self.strand(unfinished);
                    continue;
                }
            }
            let event = successor(event, self.archive.ids.next());
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
        let InProgress { known_as, event, look } = starting.clone();
        debug!(event = %event.id, rule = %event.rule, "begin");
        self.lane.progress().push(starting);
        let ring: Vec<Packet> = self.lane.ring().since(from).cloned().collect();
        let mut config = self.config.clone();
        if !self.archive.control.switches().records(&self.camera) {
            config.mode = RecordMode::Off;
        }
        match Recording::begin(&self.archive, &config, event, look, &ring) {
            Ok(recording) => self.open.push(recording.known_as(known_as, self.config.post_roll)),
            Err(failure) => {
                error!(error = format!("{failure:#}"), "an event could not be recorded");
                let failed = self.forget(known_as);
                if !is_for_want_of_room(&failure) {
                    self.strand(failed);
                }
            }
        }
    }

    fn end(&mut self, id: EventId, at: Mono) {
        let (end, post_roll) = (self.archive.clock.moment(at), self.config.post_roll);
        for waiting in self.lane.stranded().iter_mut().filter(|waiting| waiting.known_as == id) {
            waiting.event.end = Some(end.clone());
        }
        self.on(id, |recording, archive| recording.end(archive, at, post_roll));
    }

    fn on(&mut self, id: EventId, act: impl FnOnce(&mut Recording, &Archive)) {
        // An event that could not be begun is not there; that was reported then.
        let Some(recording) = self.open.iter_mut().find(|recording| recording.is_known_as(id)) else { return };
        act(recording, &self.archive);
        let now = recording.in_progress();
        if let Some(known) = self.lane.progress().iter_mut().find(|known| known.known_as == id) {
            *known = now;
        }
    }

    /// Closes the recordings whose post-roll is over by the packets, or by the clock when the camera fell silent.
    fn close_finished(&mut self) {
        let now = self.archive.clock.mono();
        let (newest, open) = (self.newest.unwrap_or_default(), std::mem::take(&mut self.open));
        for mut recording in open {
            refer(&mut recording, self.segmenter.as_ref(), &self.config);
            recording.look_after(&self.archive, now);
            if !recording.is_finished(newest, now) {
                self.open.push(recording);
                continue;
            }
            match recording.finish(&self.archive) {
                Ok(()) => drop(self.forget(recording.in_progress().known_as)),
                // Retention makes room, and the event is completed then.
                Err(Unfinished::NoRoom) => self.open.push(recording),
                Err(Unfinished::Volume) => {
                    let unfinished = self.forget(recording.in_progress().known_as);
                    self.strand(unfinished);
                }
            }
        }
        self.ledger.look_after(&self.archive, now);
        if let Some(segmenter) = &mut self.segmenter {
            segmenter.look_after(&self.archive, now);
        }
    }

    fn forget(&self, known_as: EventId) -> Option<InProgress> {
        if !self.lane.is_held_by(self.number) {
            // It is in the hands of the thread that records now.
            return None;
        }
        let mut progress = self.lane.progress();
        let place = progress.iter().position(|known| known.known_as == known_as)?;
        Some(progress.swap_remove(place))
    }

    /// Keeps an event that the volume did not take, until there is one that does.
    fn strand(&mut self, event: Option<InProgress>) {
        self.archive.trouble.notify_one();
        let Some(event) = event else { return };
        self.try_again.get_or_insert(self.archive.clock.mono() + TRY_AGAIN);
        let mut stranded = self.lane.stranded();
        if stranded.len() >= STRANDED {
            error!(event = %event.event.id, "no volume takes events for too long, this one is lost");
            return;
        }
        stranded.push_back(event);
    }

    /// Goes on in another archive, and leaves closing the old one to a thread that may hang.
    fn relocate(&mut self, order: Move) {
        let Move { archive, moved, settled } = order;
        let old = std::mem::replace(&mut self.archive, archive);
        let (recordings, last) = (std::mem::take(&mut self.open), self.newest.unwrap_or_else(|| old.clock.mono()));
        let segmenter = std::mem::replace(&mut self.segmenter, segmenter(&self.camera, &self.config));
        self.ledger.move_to(&self.archive);
        let in_progress = std::mem::take(&mut *self.lane.progress());
        self.go_on_with(in_progress);
        // The caller is gone where the move took too long.
        let _ = moved.try_send(());
        let close = move || {
            for mut recording in recordings {
                let _ = recording.interrupt(&old, last);
            }
            if let Some(mut segmenter) = segmenter {
                segmenter.close(&old, SegmentState::Interrupted);
            }
            drop(settled);
        };
        if let Err(failure) = spawn_thread(format!("old-{}", self.camera), close) {
            warn!(error = %failure, "what was open on the old volume is closed by the next start");
        }
    }

    /// Starts again what was in progress elsewhere, and what no volume took.
    fn go_on_with(&mut self, in_progress: Vec<InProgress>) {
        let stranded = std::mem::take(&mut *self.lane.stranded());
        self.try_again = None;
        for InProgress { known_as, event, look } in stranded.into_iter().chain(in_progress) {
            let event = successor(event, self.archive.ids.next());
            info!(event = %event.id, continues = event.continues.map(tracing::field::display), "an event goes on on another volume");
            self.begin(InProgress { known_as, event, look });
        }
    }
}

/// The event that goes on from `event`, with nothing of its files.
fn successor(event: Event, id: EventId) -> Event {
    Event {
        id,
        continues: Some(event.id),
        state: EventState::Open,
        clip: None,
        more_clips: Vec::new(),
        pictures: Vec::new(),
        filed: None,
        segments: None,
        evicted: Vec::new(),
        media_skipped: None,
        ..event
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

fn segmenter(camera: &Arc<str>, config: &RecordConfig) -> Option<Segmenter> {
    let keep = config.max_clip + config.pre_roll + config.post_roll + DECISION;
    (config.mode == RecordMode::Continuous).then(|| Segmenter::new(camera.clone(), config.segment, keep))
}

/// Notes where the event's time lies in the continuous recording.
fn refer(recording: &mut Recording, segmenter: Option<&Segmenter>, config: &RecordConfig) {
    let (from, until) = recording.span(config);
    if let Some(segments) = segmenter.and_then(|segmenter| segmenter.holding(from, until)) {
        recording.refer_to(segments);
    }
}
