//! Continuous recording of one camera: segments of a minute, one behind the other.
//!
//! The order in which a segment becomes durable: the index learns that it is open, then the file is made and
//! filled, synced every few seconds; at its end the file is synced, then `<segment-id>.json` is written, then
//! the index learns that it is closed. What a stop leaves open is finished by `recovery`.

use std::collections::VecDeque;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::watch;
use tracing::warn;

use super::recording::SYNC_EVERY;
use crate::archive::sidecar::{measure, sync_folder, write_segment};
use crate::archive::times::{correct, of_same_boot};
use crate::archive::{Archive, Held};
use crate::clock::Mono;
use crate::frame::Packet;
use crate::mux::{self, ClipFacts, ClipWriter, MuxError};
use crate::reception::Reception;
use crate::segment::{SCHEMA_VERSION, Segment, SegmentId, SegmentRange, SegmentState, Video};
use crate::store::Class;

/// A camera that was silent for longer begins a new segment, so that no segment claims time it does not show. Where
/// longer pauses are usual, each picture would have a segment of its own.
const GAP: Duration = Duration::from_secs(3);
/// How long after a failure (a full disk) the next segment is tried.
const RETRY: Duration = Duration::from_secs(5);

/// Writes the segments of one camera.
pub(super) struct Segmenter {
    camera: Arc<str>,
    reception: watch::Receiver<Reception>,
    length: Duration,
    open: Option<Open>,
    /// The latest segments and their times, as far back as an event in progress may reach.
    recent: VecDeque<(SegmentId, Mono, Mono)>,
    keep: Duration,
    not_before: Mono,
    /// Why the last segment failed, until one is written again.
    failure: Option<String>,
}

struct Open {
    segment: Segment,
    writer: ClipWriter,
    last_packet: Mono,
    last_sync: Mono,
    /// Keeps a recovery away until everything is written.
    _held: Held,
}

impl Segmenter {
    /// Segments of `length`; remembers those of the last `keep` for the events that refer to them.
    pub(super) fn new(
        camera: Arc<str>,
        length: Duration,
        keep: Duration,
        reception: watch::Receiver<Reception>,
    ) -> Self {
        let (recent, not_before) = (VecDeque::new(), Mono::default());
        Self { camera, reception, length, open: None, recent, keep, not_before, failure: None }
    }

    /// Adds a packet; a new segment begins with a key frame.
    pub(super) fn write(&mut self, archive: &Archive, packet: &Packet) {
        let gap = self.reception.borrow().silent_after(GAP);
        let full = |open: &Open| {
            packet.key_frame && packet.at.since(open.segment.start.mono()) >= self.length
                || packet.at.since(open.last_packet) > gap
        };
        if self.open.as_ref().is_some_and(full) {
            self.close(archive, SegmentState::Closed);
        }
        if self.open.is_none() && !self.begin(archive, packet) {
            return;
        }
        let Some(open) = &mut self.open else { return };
        open.last_packet = packet.at;
        match open.writer.write(packet) {
            Ok(()) => {}
            Err(MuxError::StreamChanged) => {
                self.close(archive, SegmentState::Closed);
                // The packet belongs to the segment that begins now. One that fails at once waits for the next key frame.
                if self.begin(archive, packet)
                    && let Some(open) = &mut self.open
                    && let Err(failure) = open.writer.write(packet)
                {
                    self.fail(archive, packet.at, &failure);
                }
            }
            Err(failure) => self.fail(archive, packet.at, &failure),
        }
    }

    /// Whether pictures reach the file; else why not, where that is known.
    pub(super) fn progress(&self) -> Result<(), Option<&str>> {
        match &self.open {
            Some(open) if open.writer.first_at().is_some() => Ok(()),
            _ => Err(self.failure.as_deref()),
        }
    }

    /// Syncs the open segment when it is time, and closes it when the camera fell silent.
    pub(super) fn look_after(&mut self, archive: &Archive, now: Mono) {
        let gap = self.reception.borrow().silent_after(GAP);
        let Some(open) = &mut self.open else { return };
        if now.since(open.last_packet) > gap {
            self.close(archive, SegmentState::Closed);
        } else if now.since(open.last_sync) >= SYNC_EVERY {
            open.last_sync = now;
            if let Err(failure) = open.writer.sync() {
                self.fail(archive, now, &failure);
            }
        }
    }

    /// Ends the open segment.
    pub(super) fn close(&mut self, archive: &Archive, state: SegmentState) {
        let Some(open) = self.open.take() else { return };
        let (id, start) = (open.segment.id, open.segment.start.mono());
        match finish(archive, open, state) {
            Ok(end) => {
                self.recent.push_back((id, start, end));
                while self.recent.front().is_some_and(|(_, _, ended)| end.since(*ended) > self.keep) {
                    self.recent.pop_front();
                }
            }
            Err(failure) => {
                warn!(camera = %self.camera, segment = %id, error = format!("{failure:#}"), "a segment could not be completed; the next start tries again");
            }
        }
    }

    /// The segments that hold the time from `from` to `until`.
    pub(super) fn holding(&self, from: Mono, until: Mono) -> Option<SegmentRange> {
        let closed = self.recent.iter().filter(|(_, start, end)| *start <= until && *end >= from).map(|(id, ..)| *id);
        let open = self.open.iter().filter(|open| open.segment.overlaps(from, until)).map(|open| open.segment.id);
        let mut ids = closed.chain(open);
        let first = ids.next()?;
        Some(SegmentRange { first, last: ids.last().unwrap_or(first) })
    }

    fn begin(&mut self, archive: &Archive, packet: &Packet) -> bool {
        if !packet.key_frame || packet.at < self.not_before {
            return false;
        }
        match begin(archive, &self.camera, packet) {
            Ok(open) => {
                (self.open, self.failure) = (Some(open), None);
                true
            }
            Err(failure) => {
                warn!(camera = %self.camera, error = format!("{failure:#}"), retry_s = RETRY.as_secs(), "continuous recording pauses");
                self.not_before = packet.at + RETRY;
                self.failure = Some(format!("{failure:#}"));
                false
            }
        }
    }

    /// What was written stays; the next segment begins a little later.
    fn fail(&mut self, archive: &Archive, now: Mono, failure: &MuxError) {
        warn!(camera = %self.camera, error = %failure, retry_s = RETRY.as_secs(), "a segment ends early");
        self.not_before = now + RETRY;
        self.failure = Some(failure.to_string());
        // Most probably the volume is full.
        archive.room.low.notify_one();
        self.close(archive, SegmentState::Closed);
    }
}

fn begin(archive: &Archive, camera: &Arc<str>, packet: &Packet) -> Result<Open> {
    let segment = Segment {
        version: SCHEMA_VERSION,
        id: archive.ids.next(),
        device: archive.device.clone(),
        camera: camera.clone(),
        state: SegmentState::Open,
        start: archive.clock.moment(packet.pts()),
        end: None,
        video: None,
    };
    let held = archive.writing.hold(segment.id);
    let folder = archive.layout.create_recordings(camera)?;
    archive.store.ledger().record_segment(segment.clone())?;
    let writer = ClipWriter::create(&folder.join(Segment::file_name(segment.id)), &archive.config.encoder)?;
    // The entry must survive too: what the writer syncs is the file alone.
    sync_folder(&folder)?;
    Ok(Open { segment, writer, last_packet: packet.at, last_sync: packet.at, _held: held })
}

/// Closes file, sidecar and index entry. Returns when the last picture ended.
fn finish(archive: &Archive, open: Open, state: SegmentState) -> Result<Mono> {
    let folder = archive.layout.recordings(&open.segment.camera);
    let path = folder.join(Segment::file_name(open.segment.id));
    let facts = match open.writer.finish() {
        Ok(facts) => Some(facts),
        Err(MuxError::Empty(_)) => None,
        Err(_) => mux::repair(&path)?,
    };
    let end = facts.as_ref().map_or(open.last_packet, |facts| facts.start + facts.duration);
    settle(archive, open.segment, facts, state)?;
    Ok(end)
}

/// Describes a finished file in sidecar and index; a segment without a picture is forgotten.
pub fn settle(archive: &Archive, mut segment: Segment, facts: Option<ClipFacts>, state: SegmentState) -> Result<()> {
    let folder = archive.layout.recordings(&segment.camera);
    let name = Segment::file_name(segment.id);
    let Some(facts) = facts else {
        match fs::remove_file(folder.join(&name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context("remove an empty segment");
            }
            _ => {}
        }
        archive.store.ledger().forget_segment(segment.camera, segment.id)?;
        return Ok(());
    };
    let media = measure(&folder, &name)?;
    // Before the segment counts as closed: what is not in the catalogue is never deleted.
    archive.store.assets().hold(
        segment.id,
        &segment.camera,
        Class::Continuous,
        media.clone(),
        segment.start.clone(),
    )?;
    segment.start = of_same_boot(&segment.start, facts.start);
    segment.end = Some(of_same_boot(&segment.start, facts.start + facts.duration));
    for moment in std::iter::once(&mut segment.start).chain(segment.end.as_mut()) {
        correct(&*archive.clock, moment);
    }
    segment.state = state;
    segment.video = Some(Video { media, codec: facts.codec, width: facts.width, height: facts.height });
    write_segment(&folder, &segment)?;
    archive.store.ledger().record_segment(segment)?;
    Ok(())
}
