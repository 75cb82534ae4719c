//! Continuous recording of one camera: segments of a minute, one behind the other.
//!
//! The order in which a segment becomes durable: the index learns that it is open, then the file is made and
//! filled, synced every few seconds; at its end the file is synced, then `<segment-id>.json` is written, then
//! the index learns that it is closed. What a stop leaves open is finished by [`recover_segments`].

use std::collections::VecDeque;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::watch;
use tracing::{info, warn};

use super::Archive;
use super::mux::{self, ClipFacts, ClipWriter, MuxError};
use super::recording::SYNC_EVERY;
use super::sidecar::{measure, sync_folder, write_durable};
use super::timekeeper::correct;
use super::writing::{Held, Writer};
use crate::clock::{Moment, Mono};
use crate::frame::Packet;
use crate::reception::Reception;
use crate::segment::{SCHEMA_VERSION, Segment, SegmentId, SegmentRange, SegmentState, Video};
use crate::store::{Class, StoreError};

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
    archive.store.record_segment(segment.clone())?;
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
fn settle(archive: &Archive, mut segment: Segment, facts: Option<ClipFacts>, state: SegmentState) -> Result<()> {
    let folder = archive.layout.recordings(&segment.camera);
    let name = Segment::file_name(segment.id);
    let Some(facts) = facts else {
        match fs::remove_file(folder.join(&name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context("remove an empty segment");
            }
            _ => {}
        }
        archive.store.forget_segment(segment.camera, segment.id)?;
        return Ok(());
    };
    let media = measure(&folder, &name)?;
    // Before the segment counts as closed: what is not in the catalogue is never deleted.
    archive.store.hold(segment.id, &segment.camera, Class::Continuous, media.clone(), segment.start.clone())?;
    segment.start = of_same_boot(&segment.start, facts.start);
    segment.end = Some(of_same_boot(&segment.start, facts.start + facts.duration));
    for moment in std::iter::once(&mut segment.start).chain(segment.end.as_mut()) {
        correct(&*archive.clock, moment);
    }
    segment.state = state;
    segment.video = Some(Video { media, codec: facts.codec, width: facts.width, height: facts.height });
    write_sidecar(&folder, &segment)?;
    archive.store.record_segment(segment)?;
    Ok(())
}

/// The instant `at` of the boot that `known` belongs to.
pub(super) fn of_same_boot(known: &Moment, at: Mono) -> Moment {
    let wall = known.wall + at.since(known.mono()) - known.mono().since(at);
    Moment { wall, mono_ns: at.0, ..known.clone() }
}

pub(super) fn write_sidecar(folder: &std::path::Path, segment: &Segment) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(segment).context("encode the segment's sidecar")?;
    text.push(b'\n');
    write_durable(folder, &Segment::sidecar_name(segment.id), &text)?;
    Ok(())
}

/// What became of the segments of the last run.
#[derive(Debug, Default)]
pub(super) struct Segments {
    /// Were open and are finished.
    pub finished: u32,
    /// Were only on the disk and are in the index now.
    pub taken: u32,
    /// Could not be finished yet, and why the first of them.
    pub left: Option<(u32, anyhow::Error)>,
    /// Are still being written by recorders that left this archive.
    pub still_written: u32,
}

impl Segments {
    fn is_being_written(&mut self, archive: &Archive, id: SegmentId) -> bool {
        let writer = archive.writing.writer_of(id);
        self.still_written += u32::from(writer == Some(Writer::Elsewhere));
        writer.is_some()
    }
}

/// Finishes the segments that the last stop left open; with `whole` also takes in everything that lies in the
/// recordings folders. Segments from `before` on belong to this run.
///
/// # Errors
/// When the index is out of service; what is wrong with a single segment is reported, and the others go on.
pub(super) fn recover_segments(archive: &Archive, before: SegmentId, whole: bool) -> Result<Segments> {
    let mut found = Segments::default();
    for segment in archive.store.open_segments()? {
        let (camera, id) = (segment.camera.clone(), segment.id);
        if id >= before || found.is_being_written(archive, id) {
            continue;
        }
        // It may have been closed since it was listed.
        let Some(segment) = archive.store.segment(&camera, id)?.filter(|segment| segment.state == SegmentState::Open)
        else {
            continue;
        };
        match repair(archive, segment) {
            Ok(()) => found.finished += 1,
            Err(failure) if is_of_the_index(&failure) => return Err(failure),
            Err(failure) => {
                warn!(%camera, segment = %id, error = format!("{failure:#}"), "an interrupted segment could not be finished yet");
                found.left.get_or_insert((0, failure)).0 += 1;
            }
        }
    }
    if whole {
        for (camera, id, path) in files(archive) {
            if id >= before || found.is_being_written(archive, id) || archive.store.segment(&camera, id)?.is_some() {
                continue;
            }
            match take_in(archive, &camera, id) {
                Ok(()) => found.taken += 1,
                Err(failure) => {
                    warn!(file = %path.display(), error = format!("{failure:#}"), "a segment cannot be taken in, leaving it");
                }
            }
        }
    }
    Ok(found)
}

/// Whether nothing else can be done either.
fn is_of_the_index(failure: &anyhow::Error) -> bool {
    match failure.downcast_ref() {
        None | Some(StoreError::Full(_) | StoreError::Busy) => false,
        Some(StoreError::TooLarge { .. } | StoreError::Unreadable(_)) => false,
        Some(_) => true,
    }
}

/// Closes a segment that the last stop left open. One that cannot be played is set aside as `<file>.bad`.
fn repair(archive: &Archive, segment: Segment) -> Result<()> {
    let path = archive.layout.recordings(&segment.camera).join(Segment::file_name(segment.id));
    let (id, camera) = (segment.id, segment.camera.clone());
    let facts = if path.exists() { mux::repair(&path) } else { Ok(None) };
    match facts {
        Ok(facts) => {
            settle(archive, segment, facts, SegmentState::Interrupted)?;
            info!(camera = %camera, segment = %id, "closed a segment that the last stop interrupted");
        }
        Err(failure) => {
            warn!(camera = %camera, segment = %id, error = %failure, "an interrupted segment is not playable, setting it aside");
            fs::rename(&path, path.with_extension("mp4.bad")).with_context(|| format!("rename {}", path.display()))?;
            archive.store.forget_segment(camera, id)?;
        }
    }
    Ok(())
}

/// Every `<camera>/<segment-id>.mp4`, one after the other.
fn files(archive: &Archive) -> impl Iterator<Item = (String, SegmentId, PathBuf)> {
    let cameras = fs::read_dir(archive.layout.recordings_root()).into_iter().flatten().flatten();
    cameras.flat_map(|camera| {
        let name = camera.file_name().to_string_lossy().into_owned();
        let files = fs::read_dir(camera.path()).into_iter().flatten().flatten();
        files.filter_map(move |file| {
            let id = file.file_name().to_str()?.strip_suffix(".mp4")?.parse().ok()?;
            Some((name.clone(), id, file.path()))
        })
    })
}

/// Records a segment by its sidecar, or by the file itself where there is none.
fn take_in(archive: &Archive, camera: &str, id: SegmentId) -> Result<()> {
    let folder = archive.layout.recordings(camera);
    if let Ok(text) = fs::read(folder.join(Segment::sidecar_name(id)))
        && let Ok(segment) = serde_json::from_slice::<Segment>(&text)
        && segment.version <= SCHEMA_VERSION
        && let Some(video) = &segment.video
    {
        let (media, start) = (video.media.clone(), segment.start.clone());
        archive.store.hold(id, camera, Class::Continuous, media, start)?;
        archive.store.record_segment(segment)?;
        return Ok(());
    }
    let facts = mux::repair(&folder.join(Segment::file_name(id)))?;
    let start = Moment {
        wall: id.made_at(),
        mono_ns: facts.as_ref().map_or(0, |facts| facts.start.0),
        boot_id: "unknown".into(),
        time_quality: crate::clock::TimeQuality::Unsynchronised,
    };
    let segment = Segment {
        version: SCHEMA_VERSION,
        id,
        device: archive.device.clone(),
        camera: camera.into(),
        state: SegmentState::Open,
        start,
        end: None,
        video: None,
    };
    settle(archive, segment, facts, SegmentState::Interrupted)
}
