//! The whole video of an event as one file, where it lies in several files or in clips of other events: cut when it is asked
//! for, without encoding.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};

use super::pieces::{Piece, PieceKind, PlaybackService};
use super::remux::{RemuxError, Remuxed, remux};
use crate::archive::{Archive, Layout};
use crate::clock::TimeQuality;
use crate::event::{Event, EventId, seconds_after};

/// The folder below the storage folder.
const FOLDER: &str = "cuts";
/// What one that is being made is called.
const DRAFT: &str = "part";
/// How long the last picture of a file is shown is a guess.
const LAST_PICTURE: SignedDuration = SignedDuration::from_millis(500);
/// A cut is kept for so long.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// Why there is no file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CutRefusal {
    /// The event has no video, or its files are gone.
    NoVideo(String),
    /// The volume has no room for it.
    NoRoom(String),
    /// It cannot be joined; why, and what to do.
    Senseless(String),
}

impl PlaybackService {
    /// The file with the whole video of `event`: its own, or one that is made of its parts.
    ///
    /// # Errors
    /// When the disk fails; within, why there is none.
    pub async fn whole_video(&self, event: &Event) -> Result<Result<PathBuf, CutRefusal>> {
        let (archive, event, cutting) = (self.context.volume.archive(), event.clone(), self.cutting.clone());
        let work = move || {
            // Each may be as large as a clip.
            let _one = cutting.lock();
            whole(&archive, &event)
        };
        tokio::task::spawn_blocking(work).await?
    }
}

fn whole(archive: &Archive, event: &Event) -> Result<Result<PathBuf, CutRefusal>> {
    let layout = archive.layout();
    let parts = parts(layout, event);
    match parts.as_slice() {
        [] => return Ok(Err(CutRefusal::NoVideo("the event has no video".to_owned()))),
        [(path, _)] if event.shares.is_empty() => return Ok(Ok(path.clone())),
        _ => {}
    }
    let folder = layout.create(&layout.storage().join(FOLDER))?;
    remove_older(&folder, KEPT_FOR);
    let name = name_of(event, &parts);
    // A clip that goes on may not hold all of its part yet.
    let (whole, begun) = (folder.join(format!("{name}.mp4")), folder.join(format!("{name}-begun.mp4")));
    if whole.exists() {
        return Ok(Ok(whole));
    }
    if is_newer(&begun, parts.iter().map(|(path, _)| path)) {
        return Ok(Ok(begun));
    }
    if archive.level().left_out().is_some() {
        let why = "the volume is too full: free some space, or download the clips that hold the parts one by one";
        return Ok(Err(CutRefusal::NoRoom(why.to_owned())));
    }
    let draft = folder.join(format!("{}.{DRAFT}", event.id));
    let _ = fs::remove_file(&draft);
    let outcome = remux(&parts, &draft, &mut |_| Ok(()));
    match outcome {
        Ok(made) => {
            let target = if is_whole(&made, &parts) { whole } else { begun };
            fs::rename(&draft, &target).with_context(|| format!("rename {}", draft.display()))?;
            Ok(Ok(target))
        }
        Err(failure) => {
            let _ = fs::remove_file(&draft);
            refusal(failure).map(Err)
        }
    }
}

fn refusal(failure: RemuxError) -> Result<CutRefusal> {
    let text = failure.to_string();
    match failure {
        RemuxError::Full => Ok(CutRefusal::NoRoom(text)),
        RemuxError::Gone => Ok(CutRefusal::NoVideo("the video of the event is not on the box any more".to_owned())),
        RemuxError::Changed { .. } => Ok(CutRefusal::Senseless(
            "the camera changed its coding meanwhile, which one file cannot hold: download the clips one by one"
                .to_owned(),
        )),
        RemuxError::Coding(_) => Ok(CutRefusal::Senseless(text)),
        RemuxError::Stopped | RemuxError::Other(_) | RemuxError::Mux(_) => Err(failure.into()),
    }
}

/// Removes the cuts that were not made lately.
pub(super) fn remove_expired(archive: &Archive) {
    remove_older(&archive.layout().storage().join(FOLDER), KEPT_FOR);
}

/// Removes the cuts with video of the event `id`, which is deleted.
pub(in crate::service) fn remove_with(archive: &Archive, id: EventId) {
    let id = id.to_string();
    let has_it = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().contains(&id));
    remove_files(&archive.layout().storage().join(FOLDER), has_it);
}

/// Its parts in order, those that are still there, each with the file that it lies in.
fn parts(layout: &Layout, event: &Event) -> Vec<(PathBuf, Piece)> {
    let shared = event.shares.iter().map(|part| {
        let path = layout.folder(&event.camera, part.event).join(&part.file);
        let start = seconds_after(event.start.wall, part.after_s);
        (path, piece(part.event, &part.file, start, part.offset_s, part.duration_s))
    });
    let own = event.clips().map(|clip| {
        let path = layout.folder(&event.camera, event.id).join(&clip.media.file);
        (path, piece(event.id, &clip.media.file, clip.start.wall, 0.0, clip.duration_s))
    });
    shared.chain(own).filter(|(path, _)| path.exists()).collect()
}

fn piece(id: EventId, file: &str, from: Timestamp, offset_s: f64, duration_s: f64) -> Piece {
    let until = seconds_after(from, duration_s);
    Piece {
        kind: PieceKind::Clip,
        id,
        file: file.to_owned(),
        from,
        until,
        offset_s,
        file_s: offset_s + duration_s,
        bytes: 0,
        codec: String::new(),
        width: 0,
        height: 0,
        time_quality: TimeQuality::Unsynchronised,
        extent: (from, until),
    }
}

/// Names the events whose video is in it, and which parts: an event that goes on has more of them later.
fn name_of(event: &Event, parts: &[(PathBuf, Piece)]) -> String {
    let holders: BTreeSet<EventId> = parts.iter().map(|(_, part)| part.id).filter(|id| *id != event.id).collect();
    let ids = [event.id].into_iter().chain(holders).map(|id| id.to_string()).collect::<Vec<_>>().join("+");
    format!("{ids}-{:016x}", mark_of(parts))
}

/// Whether all of the last part was there.
fn is_whole(made: &Remuxed, parts: &[(PathBuf, Piece)]) -> bool {
    let (Some(last), Some((_, wanted))) = (made.parts.last(), parts.last()) else { return false };
    wanted.until.duration_since(last.until) < LAST_PICTURE
}

fn mark_of(parts: &[(PathBuf, Piece)]) -> u64 {
    let mut hash = DefaultHasher::new();
    for (path, piece) in parts {
        (path, piece.offset_s.to_bits(), piece.file_s.to_bits()).hash(&mut hash);
    }
    hash.finish()
}

/// Whether the cut was made after all of its `sources` were written. One that is used stays for longer.
fn is_newer<'a>(cut: &Path, mut sources: impl Iterator<Item = &'a PathBuf>) -> bool {
    let Some(made) = written(cut) else { return false };
    sources.all(|source| written(source).is_some_and(|written| written < made))
}

fn written(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|at| at.modified()).ok()
}

fn remove_older(folder: &Path, than: Duration) {
    // A clock that was set back makes it no younger.
    remove_files(folder, |file| written(file).is_some_and(|at| at.elapsed().map_or(true, |age| age >= than)));
}

fn remove_files(folder: &Path, which: impl Fn(&Path) -> bool) {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path());
    // One that is being made is removed before the next one is.
    let is_made = |file: &PathBuf| file.extension().is_none_or(|kind| kind != DRAFT);
    for file in files.filter(|file| is_made(file) && which(file)) {
        // One that is being read stays readable.
        let _ = fs::remove_file(file);
    }
}
