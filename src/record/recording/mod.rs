//! One event in progress: its folder, its clip, its best look.
//!
//! The clip ends at `clip_until`: the post-roll after the event's end, or `max_clip` after its start; earlier when the
//! volume is full or the files take no further change of the stream. `is_finished` says when nothing more is to come.

mod sharing;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use tracing::{error, info, warn};

use super::clip_files::ClipFiles;
use super::config::{RecordConfig, RecordMode};
use super::event_stills::{EventStills, show, skip_media};
use super::main_still::StillQueue;
use super::progress::{Change, InProgress, Look, NoRoom, Unfinished};
use crate::archive::filing::{deliveries, file_if_possible};
use crate::archive::sidecar::write_event;
use crate::archive::space::is_full;
use crate::archive::{Archive, Held};
use crate::clock::Mono;
use crate::detection::BBox;
use crate::event::{Annotations, Best, Event, EventId, EventState, MOST_CLIPS, MediaSkipped, PathPoint, Phase};
use crate::frame::Packet;
use crate::mux::MuxError;
use crate::segment::SegmentRange;
use crate::store::{self, Delivery};

/// How often an open clip is forced to the disk: what a power cut costs at most.
pub(super) const SYNC_EVERY: Duration = Duration::from_secs(2);
/// Updates of one event are reported at most this often; later ones are merged.
const MIN_UPDATE_INTERVAL: Duration = Duration::from_secs(1);
/// How long after the post-roll's end a silent camera is waited for.
const SILENCE: Duration = Duration::from_secs(2);
/// How often an event that found no room to be completed is tried again, while something is being deleted for it.
const COMPLETE_AGAIN: Duration = Duration::from_secs(1);
/// An event goes on in another one for the sake of changed parameters when it has lasted for so long at least, so that a
/// camera that changes them all the time makes no flood of events.
const FILES_LAST: Duration = Duration::from_secs(30);

/// Where the object was is noted from so long before the event on, about as long as its clip may show.
const PATH_BEFORE: Duration = Duration::from_secs(30);

pub(super) struct Recording {
    /// The id by which the rules know it.
    known_as: EventId,
    event: Event,
    folder: PathBuf,
    clip: ClipFiles,
    clip_until: Mono,
    /// The clip is to be no longer than this, however long the event lasts.
    longest_until: Mono,
    /// A clip is to be written, and could be begun.
    has_clip: bool,
    /// Another event's clip holds its video for now; one of its own begins where that ends.
    follows: bool,
    /// It is to have video.
    is_filmed: bool,
    /// From when on.
    video_from: Mono,
    /// The parts that other events' clips hold are as they stay.
    has_shared: bool,
    /// The camera changed its parameters, and no file of this event takes what comes since then.
    files_are_full: bool,
    /// What made the clip fail that lies with the camera's stream, not with the volume.
    clip_failure: Option<String>,
    /// The clip failed because the volume is full; retention is to know.
    met_full_volume: bool,
    began: Mono,
    look: Look,
    stills: EventStills,
    update_pending: bool,
    last_update_sent: Mono,
    last_sync: Mono,
    /// Time of the last packet that was for the clip.
    last_written: Mono,
    /// When completing the event is tried again; there was no room for it before.
    complete_again: Option<Mono>,
    /// Keeps a recovery away until everything is written.
    _held: Held,
}

impl Recording {
    /// Makes the event durable and announces it, then starts its clip with the packets from `before` it; without them
    /// another event's clip holds its video, which begins at `video_from`. One that has an end already goes on from another volume, and is over.
    ///
    /// # Errors
    /// When the event cannot be made durable. A clip or still that fails is left out and reported.
    pub(super) fn begin(
        archive: &Archive,
        config: &RecordConfig,
        mut event: Event,
        look: Look,
        (video_from, before): (Mono, Option<&[Packet]>),
    ) -> Result<Self> {
        let decided = archive.clock.mono();
        let level = archive.level();
        if !level.has_events() {
            archive.room.low.notify_one();
            bail!(NoRoom);
        }
        let held = archive.writing.hold(event.id);
        let folder = archive.with_room(|| archive.layout.create_folder(&event.camera, event.id))?;
        event.best = Some(best_of(archive, &look));
        let (start, end) = (event.start.mono(), event.end.take());
        archive.with_room(|| write_event(&folder, &event)).inspect_err(|_| {
            // An event that is not there needs no folder.
            let _ = std::fs::remove_dir(&folder);
        })?;
        archive
            .store
            .events()
            .record(store::Change { event: event.clone(), deliveries: vec![Delivery::Alert(Phase::Start)] })?;
        let now = archive.clock.mono();
        archive.metrics.event_commit_seconds.observe(now.since(decided).as_secs_f64());
        archive.metrics.events.get_or_create(&crate::metrics::camera(&event.camera)).inc();
        archive.announce(Phase::Start, &event);
        info!(event = %event.id, rule = %event.rule, label = %event.label, score = %format_args!("{:.2}", event.score), "event started");

        let clip = ClipFiles::none(&folder, &archive.config.encoder);
        let longest_until = start + config.max_clip;
        let last_before = before.and_then(<[Packet]>::last).map_or(start, |packet| packet.at);
        let mut recording = Self {
            known_as: event.id,
            event,
            folder,
            clip,
            clip_until: longest_until,
            longest_until,
            has_clip: false,
            follows: before.is_none() && config.mode != RecordMode::Off,
            is_filmed: config.mode != RecordMode::Off,
            video_from,
            has_shared: false,
            files_are_full: false,
            clip_failure: None,
            met_full_volume: false,
            began: start.max(last_before),
            look,
            stills: EventStills::default(),
            update_pending: false,
            last_update_sent: now,
            last_sync: now,
            last_written: Mono::default(),
            complete_again: None,
            _held: held,
        };
        if let Some(before) = before.filter(|_| config.mode != RecordMode::Off) {
            recording.begin_clip(archive, before);
        } else if !level.has_clips() {
            skip_media(archive, &mut recording.event);
        }
        recording.stills.look(archive, &recording.look.frame, recording.look.bbox);
        recording.refresh_stills(archive);
        show(archive, &recording.event);
        recording.event.end = end;
        archive.room.low.notify_one();
        Ok(recording)
    }

    /// The time that the clip is to hold, by the boot clock.
    pub(super) fn span(&self, config: &RecordConfig) -> (Mono, Mono) {
        let start = self.event.start.mono();
        let end = self.event.end.as_ref().map_or(start, |end| end.mono());
        (start - config.pre_roll, end + config.post_roll)
    }

    /// Where the same time lies in the continuous recording.
    pub(super) fn refer_to(&mut self, segments: SegmentRange) {
        // The recorder forgets the first segments of a long event while it lasts.
        let first = self.event.segments.map_or(segments.first, |known| known.first);
        self.event.segments = Some(SegmentRange { first, ..segments });
    }

    /// The same, known to the rules as `id`. One that is over gets its post-roll.
    pub(super) fn known_as(mut self, id: EventId, post_roll: Duration) -> Self {
        self.known_as = id;
        if let Some(end) = &self.event.end {
            self.clip_until = self.clip_until.min(end.mono() + post_roll);
        }
        self
    }

    /// The same, with stills of the main stream that are ordered through `queue`.
    pub(super) fn with_large_stills(mut self, archive: &Archive, queue: StillQueue) -> Self {
        self.stills.order_through(queue);
        self.stills.want_large(archive, &self.look.frame, self.look.bbox);
        self
    }

    pub(super) fn stills(&mut self) -> &mut EventStills {
        &mut self.stills
    }

    /// Whether pictures reach the clip; else what is wrong with the stream. `None` while neither is known.
    pub(super) fn clip_progress(&self) -> Option<Result<(), &str>> {
        if let Some(failure) = &self.clip_failure {
            return Some(Err(failure));
        }
        self.clip.first_at().map(|_| Ok(()))
    }

    pub(super) fn is_known_as(&self, id: EventId) -> bool {
        self.known_as == id
    }

    /// What another volume has to know in order to go on with it.
    pub(super) fn in_progress(&self) -> InProgress {
        InProgress { known_as: self.known_as, event: self.event.clone(), look: self.look.clone() }
    }

    /// Adds a packet to the clip, as long as the clip is to be written.
    pub(super) fn write(&mut self, packet: &Packet) {
        if packet.at > self.clip_until {
            return;
        }
        self.last_written = packet.at;
        let Err(failure) = self.clip.write(packet, self.may_have_successor(packet.at)) else { return };
        self.met_full_volume |= failure.is_full();
        // What was written so far stays; the clip ends here.
        self.clip_until = packet.at - Duration::from_nanos(1);
        if matches!(failure, MuxError::StreamChanged) {
            self.files_are_full = true;
            if self.may_have_successor(packet.at) {
                return;
            }
            self.event.media_skipped.get_or_insert(MediaSkipped::CodecChanges);
            let (files, seconds) = (MOST_CLIPS, packet.at.since(self.began).as_secs());
            self.clip_failure =
                Some(format!("the camera changed its codec after {files} files of video within {seconds} s"));
        }
        warn!(event = %self.event.id, error = %failure, "the clip ends early");
        if matches!(failure, MuxError::Encode(_) | MuxError::Refused { .. }) {
            self.clip_failure = Some(failure.to_string());
        }
    }

    /// Whether the event has to go on in another one from `packet` on, because its files do not take what comes.
    pub(super) fn needs_successor(&self, packet: &Packet, now: Mono) -> bool {
        let is_tried = self.complete_again.is_none_or(|due| now >= due);
        self.files_are_full && packet.key_frame && is_tried && self.may_have_successor(packet.at)
    }

    fn may_have_successor(&self, at: Mono) -> bool {
        self.event.end.is_none() && at <= self.longest_until && at.since(self.began) >= FILES_LAST
    }

    /// Nothing from `at` on belongs into the clip.
    pub(super) fn stop_clip(&mut self, at: Mono) {
        self.clip_until = self.clip_until.min(at - Duration::from_nanos(1));
    }

    pub(super) fn update(&mut self, archive: &Archive, change: Change) {
        let event = &mut self.event;
        (event.label, event.score, event.count) = (change.label, change.score, change.count);
        (event.labels, event.zones) = (change.labels, change.zones);
        if let Some(look) = change.look {
            event.best = Some(best_of(archive, &look));
            self.stills.look(archive, &look.frame, look.bbox);
            self.look = look;
        }
        self.update_pending = true;
    }

    /// Notes where the object was; what is in no clip of the event is left out.
    pub(super) fn follow(&mut self, path: &[(Mono, BBox)]) {
        let start = self.event.start.mono();
        let is_shown = |at: Mono| start.since(at) <= PATH_BEFORE;
        let places = path.iter().filter(|(at, _)| is_shown(*at));
        self.event.path = places.map(|(at, bbox)| PathPoint::new(start, *at, *bbox)).collect();
    }

    pub(super) fn end(&mut self, archive: &Archive, at: Mono, post_roll: Duration) {
        self.event.end = Some(archive.clock.moment(at));
        self.clip_until = self.clip_until.min(at + post_roll);
    }

    /// Syncs the clip and reports merged updates when it is time.
    pub(super) fn look_after(&mut self, archive: &Archive, now: Mono) {
        if now.since(self.last_sync) >= SYNC_EVERY {
            self.last_sync = now;
            if let Err(failure) = self.clip.sync() {
                self.met_full_volume |= failure.is_full();
                warn!(event = %self.event.id, error = %failure, "sync the clip");
            }
        }
        if std::mem::take(&mut self.met_full_volume) {
            skip_media(archive, &mut self.event);
            archive.room.low.notify_one();
        }
        if self.clip.is_writing() && !archive.level().has_clips() && self.clip_until > self.last_written {
            warn!(event = %self.event.id, "the clip ends early for lack of space");
            self.clip_until = self.last_written;
            skip_media(archive, &mut self.event);
        }
        self.stills.look_after(archive, &self.folder, &mut self.event, now);
        if self.update_pending && self.event.end.is_none() && now.since(self.last_update_sent) >= MIN_UPDATE_INTERVAL {
            (self.update_pending, self.last_update_sent) = (false, now);
            // It was reported, and the end reports what the update would have.
            let _ = self.record(archive, Phase::Update, Vec::new());
        }
    }

    /// Whether the event is over, its stills made and its clip complete: by the camera's `newest` packet, or by the clock
    /// when the camera gives none any more and nothing waits (`is_idle`).
    pub(super) fn is_finished(&self, (newest, is_idle): (Mono, bool), now: Mono) -> bool {
        let is_over = newest > self.clip_until || is_idle && now > self.clip_until + SILENCE;
        let is_made = !self.stills.are_awaited(now);
        self.event.end.is_some() && is_over && is_made && self.complete_again.is_none_or(|due| now >= due)
    }

    /// Closes media, sidecar and index, and queues everything for delivery. After [`Unfinished::NoRoom`] it can be
    /// called again: what is written already is not written twice.
    ///
    /// # Errors
    /// When that is not on the disk.
    pub(super) fn finish(&mut self, archive: &Archive) -> Result<(), Unfinished> {
        let outcome = self.complete(archive);
        if outcome == Err(Unfinished::NoRoom) {
            archive.room.low.notify_one();
            self.complete_again = Some(archive.clock.mono() + COMPLETE_AGAIN);
        }
        outcome
    }

    fn complete(&mut self, archive: &Archive) -> Result<(), Unfinished> {
        if self.event.state == EventState::Open {
            self.event.state = EventState::Ended;
        }
        self.refresh_stills(archive);
        self.close_clip(archive);
        file_if_possible(archive, &mut self.event);
        self.take_annotations(archive);
        // Before it is complete itself: a stop in between leaves no pinned event without its video.
        self.keep_holders(archive);
        let ending = archive.ending.read();
        self.take_annotations(archive);
        let written = archive.with_room(|| write_event(&self.folder, &self.event));
        let deliveries = match written.and_then(|_| deliveries(archive, &self.event)) {
            Ok(deliveries) => deliveries,
            Err(failure) => {
                let unfinished = if is_full(&failure) { Unfinished::NoRoom } else { Unfinished::Volume };
                self.report_unfinished(unfinished, &format!("{failure:#}"), "the event could not be completed on disk");
                return Err(unfinished);
            }
        };
        self.record(archive, Phase::End, deliveries)?;
        drop(ending);
        // It may have been pinned meanwhile.
        self.keep_holders(archive);
        if self.complete_again.take().is_some() {
            info!(event = %self.event.id, "there is room again: the event is complete");
        }
        let duration_s = self.event.duration_s().unwrap_or_default();
        info!(event = %self.event.id, rule = %self.event.rule, label = %self.event.label, duration_s = %format_args!("{duration_s:.1}"), state = ?self.event.state, "event ended");
        Ok(())
    }

    fn keep_holders(&self, archive: &Archive) {
        if let Err(failure) = archive.keep_holders(&self.event) {
            warn!(event = %self.event.id, error = format!("{failure:#}"), "keep the event whose clip a pinned one shares");
        }
    }

    /// Reports once what stands in the way; a full disk is then tried again and again.
    fn report_unfinished(&self, unfinished: Unfinished, error: &str, what: &str) {
        if unfinished == Unfinished::Volume || self.complete_again.is_none() {
            error!(event = %self.event.id, error, "{what}");
        }
    }

    /// Takes over what people said of the event while it went on, and whether it is pinned, which only index and sidecar
    /// know.
    /// What people say of it, as it is known here: whether it is pinned, and the rest.
    pub(super) fn said(&self) -> (bool, Option<Annotations>) {
        (self.event.pinned, self.event.annotations.clone())
    }

    fn take_annotations(&mut self, archive: &Archive) {
        match archive.store.events().get(self.event.id).wait() {
            Ok(Some(known)) => (self.event.pinned, self.event.annotations) = (known.pinned, known.annotations),
            Ok(None) => {}
            // Recording the end fails for the same reason, and is tried again.
            Err(error) => warn!(event = %self.event.id, %error, "read what was said of an event"),
        }
    }

    /// The daemon stops: an event that still goes on ends here, marked.
    ///
    /// # Errors
    /// As [`Recording::finish`].
    pub(super) fn interrupt(&mut self, archive: &Archive, at: Mono) -> Result<(), Unfinished> {
        if self.event.end.is_none() {
            self.event.state = EventState::Interrupted;
            self.event.end = Some(archive.clock.moment(at.max(self.event.start.mono())));
        }
        self.finish(archive)
    }

    /// Ends the event because another one goes on from it. After [`Unfinished::NoRoom`] it is still open, and this can be
    /// tried again; what comes meanwhile is in neither.
    ///
    /// # Errors
    /// As [`Recording::finish`].
    pub(super) fn hand_over(&mut self, archive: &Archive, at: Mono) -> Result<(), Unfinished> {
        let outcome = self.interrupt(archive, at);
        if outcome == Err(Unfinished::NoRoom) {
            let Event { state, end, clip, more_clips, .. } = &mut self.event;
            (*state, *end) = (EventState::Open, None);
            if let Some(last) = more_clips.last_mut().or(clip.as_mut()) {
                last.truncated = true;
            }
            skip_media(archive, &mut self.event);
        }
        outcome
    }

    fn refresh_stills(&mut self, archive: &Archive) {
        let Look { frame, bbox, .. } = &self.look;
        self.stills.refresh(archive, &self.folder, &mut self.event, frame, bbox);
    }

    fn close_clip(&mut self, archive: &Archive) {
        // Once: an event that found no room is completed again.
        if !std::mem::take(&mut self.has_clip) {
            return;
        }
        let end = self.event.end.as_ref().map_or(Mono::default(), |end| end.mono());
        self.event.set_clips(self.clip.finish(&*archive.clock, end));
        if self.event.clip.is_none() && self.event.shares.is_empty() {
            let reason = self.clip_failure.as_deref().unwrap_or("no key frame came in its time");
            warn!(event = %self.event.id, reason, "the event has no clip");
        }
    }

    fn record(&self, archive: &Archive, phase: Phase, mut deliveries: Vec<Delivery>) -> Result<(), Unfinished> {
        deliveries.push(Delivery::Alert(phase));
        match archive.store.events().record(store::Change { event: self.event.clone(), deliveries }) {
            Ok(()) => archive.announce(phase, &self.event),
            Err(failure) => {
                let unfinished = if failure.is_transient() { Unfinished::NoRoom } else { Unfinished::Volume };
                let what = "the event could not be recorded in the index";
                self.report_unfinished(unfinished, &failure.to_string(), what);
                return Err(unfinished);
            }
        }
        Ok(())
    }
}

fn best_of(archive: &Archive, look: &Look) -> Best {
    Best { at: archive.clock.moment(look.frame.at), score: look.score, bbox: look.bbox }
}
