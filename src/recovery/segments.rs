//! Segments that a stop or a power cut left open, and those that only the disk knows.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use tracing::{error, info, warn};

use crate::archive::sidecar::{Sidecar, is_plain, look_at_segment, set_aside};
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
    /// Sidecars that were set aside.
    pub damaged: u32,
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
    for segment in archive.store.ledger().open_segments()? {
        let (camera, id) = (segment.camera.clone(), segment.id);
        if id >= before || found.is_being_written(archive, id) {
            continue;
        }
        // It may have been closed since it was listed.
        let Some(segment) =
            archive.store.ledger().segment(&camera, id).wait()?.filter(|segment| segment.state == SegmentState::Open)
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
            if id >= before
                || found.is_being_written(archive, id)
                || archive.store.ledger().segment(&camera, id).wait()?.is_some()
            {
                continue;
            }
            match take_in(archive, &camera, id, &mut found.damaged) {
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
    let (id, camera) = (segment.id, segment.camera.clone());
    if !is_plain(&camera) {
        warn!(%camera, segment = %id, "the index names a segment outside the folder of recordings, forgetting it");
        archive.store.ledger().forget_segment(camera, id)?;
        return Ok(());
    }
    let path = archive.layout.recordings(&camera).join(Segment::file_name(id));
    let facts = if path.exists() { mux::repair(&path) } else { Ok(None) };
    match facts {
        Ok(facts) => {
            settle(archive, segment, facts, SegmentState::Interrupted)?;
            info!(camera = %camera, segment = %id, "closed a segment that the last stop interrupted");
        }
        Err(failure) => {
            warn!(camera = %camera, segment = %id, error = %failure, "an interrupted segment is not playable, setting it aside");
            fs::rename(&path, path.with_extension("mp4.bad")).with_context(|| format!("rename {}", path.display()))?;
            archive.store.ledger().forget_segment(camera, id)?;
        }
    }
    Ok(())
}

/// Every `<camera>/<segment-id>.mp4`, one after the other. Other names are foreign.
fn files(archive: &Archive) -> impl Iterator<Item = (String, SegmentId, PathBuf)> {
    let cameras = fs::read_dir(archive.layout.recordings_root()).into_iter().flatten().flatten();
    let cameras = cameras.filter_map(|camera| Some((camera.file_name().into_string().ok()?, camera.path())));
    cameras.flat_map(|(name, folder)| {
        let files = fs::read_dir(folder).into_iter().flatten().flatten();
        files.filter_map(move |file| {
            let path = file.path();
            let id = path.file_name()?.to_str().and_then(Segment::id_of);
            if id.is_none() && path.extension().is_some_and(|extension| extension == "mp4") {
                warn!(file = %path.display(), "a file among the recordings has not the name of a segment, leaving it");
            }
            Some((name.clone(), id?, path))
        })
    })
}

/// The sidecar of a segment, if it is usable. A damaged one is set aside.
fn look(archive: &Archive, camera: &str, id: SegmentId, damaged: &mut u32) -> Result<Option<Segment>> {
    let folder = archive.layout.recordings(camera);
    match look_at_segment(&folder, camera, id)? {
        Sidecar::Good(segment) => Ok(Some(*segment)),
        Sidecar::Missing => Ok(None),
        Sidecar::Damaged(reason) => {
            error!(%camera, segment = %id, reason, "a sidecar is damaged and was set aside");
            *damaged += 1;
            archive.metrics.damaged_files.inc();
            set_aside(&folder, &Segment::sidecar_name(id))?;
            Ok(None)
        }
    }
}

/// Records a segment by its sidecar, or by the file itself where there is none.
fn take_in(archive: &Archive, camera: &str, id: SegmentId, damaged: &mut u32) -> Result<()> {
    let folder = archive.layout.recordings(camera);
    if let Some(segment) = look(archive, camera, id, damaged)?
        && let Some(video) = &segment.video
    {
        let (media, start) = (video.media.clone(), segment.start.clone());
        archive.store.assets().hold(id, camera, Class::Continuous, media, start)?;
        archive.store.ledger().record_segment(segment)?;
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
