//! The video of one event in progress: one file, or several where the camera changes its parameters meanwhile.
//!
//! Each file has one set of parameters, which every player takes. There may be only so many files, so the last one takes
//! all further changes in itself where the codec stays the same.

use std::fs;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use crate::archive::sidecar::{measure, sync_folder};
use crate::clock::{Clock, Mono};
use crate::event::{Clip, MOST_CLIPS, MediaFile};
use crate::frame::Packet;
use crate::mux::{self, ClipFacts, ClipWriter, MuxError};

pub(super) struct ClipFiles {
    folder: PathBuf,
    encoder: mux::Config,
    /// Writes the file behind those that are complete.
    writer: Option<ClipWriter>,
    /// The files behind which it goes on in another one, or not at all.
    complete: Vec<Written>,
    /// When the last packet was taken that was written.
    last: Mono,
}

/// A file that is not written any more.
struct Written {
    /// None where writing failed in the middle: what is playable is found out at the end.
    facts: Option<ClipFacts>,
    /// From when to when it holds pictures, as far as that is known; none without one.
    times: Option<(Mono, Mono)>,
}

impl ClipFiles {
    /// Without a file: nothing is to be recorded.
    pub(super) fn none(folder: &Path, encoder: &mux::Config) -> Self {
        Self {
            folder: folder.to_owned(),
            encoder: encoder.clone(),
            writer: None,
            complete: Vec::new(),
            last: Mono::default(),
        }
    }

    /// Makes the first file.
    ///
    /// # Errors
    /// As [`ClipWriter::create`].
    pub(super) fn begin(&mut self) -> Result<(), MuxError> {
        let path = self.folder.join(Clip::file_name(self.complete.len()));
        let is_last = self.complete.len() + 1 >= MOST_CLIPS;
        let create = if is_last { ClipWriter::create_for_changes } else { ClipWriter::create };
        let made = create(&path, &self.encoder);
        // A file system can make the file and fail all the same.
        self.writer = Some(made.inspect_err(|_| drop(fs::remove_file(&path)))?);
        Ok(())
    }

    /// Whether packets still go into a file.
    pub(super) fn is_writing(&self) -> bool {
        self.writer.is_some()
    }

    /// Time of the first picture in the file that is being written, once there is one.
    pub(super) fn first_at(&self) -> Option<Mono> {
        self.writer.as_ref()?.first_at()
    }

    /// The files so far, with the times that they hold.
    pub(super) fn times(&self) -> Vec<(String, Mono, Mono)> {
        let complete = self.complete.iter().map(|written| written.times);
        let open = self.first_at().map(|first| (first, self.last));
        let all = complete.chain([open]).enumerate();
        all.filter_map(|(n, times)| times.map(|(from, until)| (Clip::file_name(n), from, until))).collect()
    }

    /// Adds a packet: to the next file where the camera changed its parameters with it. The last file goes on with other
    /// parameters, unless `ends_when_full` says that another event takes the rest.
    ///
    /// # Errors
    /// As [`ClipWriter::write`]; [`MuxError::StreamChanged`] where the last file does not take it. Nothing more
    /// is written after an error, and what was written stays.
    pub(super) fn write(&mut self, packet: &Packet, ends_when_full: bool) -> Result<(), MuxError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        let mut outcome = writer.write(packet);
        if matches!(outcome, Err(MuxError::StreamChanged)) && !ends_when_full {
            outcome = writer.write_changed(packet);
        }
        match outcome {
            Ok(()) => {
                self.last = packet.at;
                return Ok(());
            }
            Err(MuxError::StreamChanged) => {}
            Err(failure) => {
                self.give_up();
                return Err(failure);
            }
        }
        self.complete()?;
        if self.complete.len() >= MOST_CLIPS {
            return Err(MuxError::StreamChanged);
        }
        self.begin()?;
        info!(folder = %self.folder.display(), stream = ?packet.stream, "the camera changed its parameters, its clip goes on in another file");
        if let Err(failure) = sync_folder(&self.folder) {
            warn!(error = format!("{failure:#}"), "a power cut may cost the rest of a clip");
        }
        let outcome = self.writer.as_mut().map_or(Ok(()), |writer| writer.write(packet));
        outcome.inspect_err(|_| self.give_up())?;
        self.last = packet.at;
        Ok(())
    }

    /// Waits until the disk has everything that was written so far.
    ///
    /// # Errors
    /// As [`ClipWriter::sync`].
    pub(super) fn sync(&mut self) -> Result<(), MuxError> {
        self.writer.as_mut().map_or(Ok(()), ClipWriter::sync)
    }

    /// Completes the files and describes those in which there is a picture. `end`: of the event.
    pub(super) fn finish(&mut self, clock: &dyn Clock, end: Mono) -> Vec<Clip> {
        if let Err(failure) = self.complete() {
            warn!(folder = %self.folder.display(), error = %failure, "complete the clip");
        }
        let files = std::mem::take(&mut self.complete).into_iter().enumerate();
        let mut clips: Vec<(Clip, Mono)> = files.filter_map(|(n, file)| self.describe(clock, n, file.facts)).collect();
        if let Some((last, until)) = clips.last_mut() {
            last.truncated = *until < end;
        }
        clips.into_iter().map(|(clip, _)| clip).collect()
    }

    /// The file and when its last picture ends.
    fn describe(&self, clock: &dyn Clock, n: usize, facts: Option<ClipFacts>) -> Option<(Clip, Mono)> {
        let name = Clip::file_name(n);
        let path = self.folder.join(&name);
        let facts = facts.map_or_else(|| mux::repair(&path), |facts| Ok(Some(facts)));
        let described = facts.map_err(anyhow::Error::from).and_then(|facts| {
            let Some(facts) = facts else { return Ok(None) };
            let until = facts.start + facts.duration;
            Ok(Some((clip_of(clock, measure(&self.folder, &name)?, &facts), until)))
        });
        match described {
            Ok(Some(clip)) => Some(clip),
            Ok(None) => {
                // Nothing is lost with an empty file, and nothing names it.
                let _ = fs::remove_file(&path);
                None
            }
            Err(failure) => {
                warn!(file = %path.display(), error = format!("{failure:#}"), "a clip cannot be used");
                None
            }
        }
    }

    /// Ends the file that is being written. One without a picture makes room for the next.
    fn complete(&mut self) -> Result<(), MuxError> {
        let times = self.first_at().map(|first| (first, self.last));
        let Some(writer) = self.writer.take() else { return Ok(()) };
        match writer.finish() {
            Ok(facts) => {
                let times = Some((facts.start, facts.start + facts.duration));
                self.complete.push(Written { facts: Some(facts), times });
                Ok(())
            }
            Err(MuxError::Empty(path)) => {
                let _ = fs::remove_file(path);
                Ok(())
            }
            Err(failure) => {
                self.complete.push(Written { facts: None, times });
                Err(failure)
            }
        }
    }

    /// Writing failed in the middle.
    fn give_up(&mut self) {
        let times = self.first_at().map(|first| (first, self.last));
        self.writer = None;
        self.complete.push(Written { facts: None, times });
    }
}

fn clip_of(clock: &dyn Clock, media: MediaFile, facts: &ClipFacts) -> Clip {
    Clip {
        media,
        start: clock.moment(facts.start),
        duration_s: facts.duration.as_secs_f64(),
        codec: facts.codec.clone(),
        width: facts.width,
        height: facts.height,
        truncated: false,
    }
}
