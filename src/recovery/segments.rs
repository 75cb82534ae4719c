//! Segments that a stop or a power cut left open, and those that only the disk knows.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use tracing::{info, warn};

use crate::archive::{Archive, Writer};
use crate::clock::Moment;
use crate::mux;
use crate::record::settle;
use crate::segment::{SCHEMA_VERSION, Segment, SegmentId, SegmentState};
use crate::store::{Class, StoreError};

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
