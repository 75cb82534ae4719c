//! The packets of several files, one behind the other, in one file. Nothing is encoded again; gaps are closed.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::export::ExportedPart;
use super::pieces::Piece;
use crate::clock::Mono;
use crate::mux::{self, ClipFacts, ClipReader, ClipWriter, MuxError};

/// Less than this between two pieces is no gap: the pictures keep their distance.
const SEAM: SignedDuration = SignedDuration::from_secs(1);
/// Where the first picture lies on the clock of the file: times before it, of reordering, stay above 0.
const ORIGIN: i64 = 60_000_000_000;
/// Bytes between two waits for the disk, so that recorders never stand behind a large backlog.
const SYNC_EVERY: u64 = 8 << 20;

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemuxError {
    /// The disk is full.
    #[error("the disk is full: free some space, or export a shorter time")]
    Full,
    /// Nothing of it is there any more.
    #[error("the recordings of that time are not on the box any more")]
    Gone,
    /// The camera's coding changed to one that the file cannot hold.
    #[error("the camera changed its coding at {at}: export the time before and the time from then on separately")]
    Changed {
        /// With the picture of this time.
        at: Timestamp,
    },
    /// Recorded in a coding that is not put into another file.
    #[error("recorded as {0}, which cannot be joined: download the clips and segments one by one")]
    Coding(String),
    /// It was asked to end.
    #[error("stopped")]
    Stopped,
    /// It cannot be carried out for this reason.
    #[error("{0}")]
    Other(String),
    /// Reading or writing failed.
    #[error(transparent)]
    Mux(MuxError),
}

impl From<MuxError> for RemuxError {
    fn from(error: MuxError) -> Self {
        if error.is_full() { Self::Full } else { Self::Mux(error) }
    }
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Remuxed {
    pub(super) facts: ClipFacts,
    pub(super) parts: Vec<ExportedPart>,
}

/// Whether to go on, asked now and then with how much is done, 0 to 1.
pub(super) type GoOn<'a> = &'a mut dyn FnMut(f64) -> Result<(), RemuxError>;

/// Writes the pictures of `pieces`, each with the file that it is part of, to `target`, which must not exist.
///
/// # Errors
/// Says what to do. What was written is left for the caller to remove.
pub(super) fn remux(pieces: &[(PathBuf, Piece)], target: &Path, go_on: GoOn<'_>) -> Result<Remuxed, RemuxError> {
    let whole: f64 = pieces.iter().map(|(_, piece)| piece.length().as_secs_f64()).sum();
    let mut output = Output {
        writer: ClipWriter::create_for_changes(target, &mux::Config::default())?,
        end: ORIGIN,
        synced: 0,
        parts: Vec::new(),
    };
    let mut done = 0.0;
    for (path, piece) in pieces {
        let share = |seconds: f64| if whole > 0.0 { ((done + seconds) / whole).min(1.0) } else { 1.0 };
        match ClipReader::open(path) {
            Ok(reader) => output.add(reader, piece, &mut |seconds| go_on(share(seconds)))?,
            // Retention came first; the time is missing in the list of parts.
            Err(MuxError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        done += piece.length().as_secs_f64();
    }
    if output.parts.is_empty() {
        return Err(RemuxError::Gone);
    }
    let facts = output.writer.finish()?;
    Ok(Remuxed { facts, parts: output.parts })
}

struct Output {
    writer: ClipWriter,
    /// Until where the file reaches, nanoseconds on its clock.
    end: i64,
    /// Bytes that the disk has for sure.
    synced: u64,
    parts: Vec<ExportedPart>,
}

impl Output {
    /// Adds the pictures of one piece, from the last key frame at or before its begin on.
    fn add(&mut self, mut reader: ClipReader, piece: &Piece, go_on: GoOn<'_>) -> Result<(), RemuxError> {
        let stream = reader.stream().clone();
        if !stream.codec.is_remuxable() {
            return Err(RemuxError::Coding(stream.codec.to_string()));
        }
        let seconds = |s: f64| Duration::try_from_secs_f64(s.max(0.0)).unwrap_or_default();
        let (begin, end) = (seconds(piece.offset_s), seconds(piece.offset_s + piece.length().as_secs_f64()));
        let end = i64::try_from(end.as_nanos()).unwrap_or(i64::MAX);
        reader.go_to(begin)?;
        let Some(first) = reader.next_sample()? else { return Ok(()) };
        let file_from = piece.file_from();
        let taken = |ns: i64| file_from.checked_add(SignedDuration::from_nanos(ns)).unwrap_or(file_from);
        let from = taken(first.shown_ns);
        let gap = self.parts.last().map(|last| from.duration_since(last.until));
        let seam = gap.filter(|gap| gap.is_positive() && *gap < SEAM).unwrap_or_default();
        let starts = self.end.saturating_add(i64::try_from(seam.as_nanos()).unwrap_or(0));
        let shift = starts.saturating_sub(first.shown_ns);
        let (mut reached, mut next) = (first.shown_ns, Some(first));
        while let Some(sample) = next {
            // What is decoded behind it may be shown before it, and refer to it: two or three pictures, without which the
            // file has no hole.
            if sample.shown_ns >= end {
                break;
            }
            let at = Mono(u64::try_from(shift.saturating_add(sample.decoded_ns)).unwrap_or(0));
            self.write(&sample.packet(&stream, at), || taken(sample.shown_ns))?;
            let lasts = i64::try_from(sample.lasts.as_nanos()).unwrap_or(0);
            reached = reached.max(sample.shown_ns.saturating_add(lasts));
            if sample.key_frame {
                let written = reached as f64 / 1e9 - piece.offset_s;
                go_on(written.max(0.0))?;
                self.sync()?;
            }
            next = reader.next_sample()?;
        }
        self.end = shift.saturating_add(reached);
        let at_s = starts.saturating_sub(ORIGIN) as f64 / 1e9;
        self.parts.push(ExportedPart { at_s, from, until: taken(reached) });
        Ok(())
    }

    fn write(&mut self, packet: &crate::frame::Packet, taken: impl Fn() -> Timestamp) -> Result<(), RemuxError> {
        match self.writer.write(packet) {
            Err(MuxError::StreamChanged) => match self.writer.write_changed(packet) {
                Err(MuxError::StreamChanged) => Err(RemuxError::Changed { at: taken() }),
                other => Ok(other?),
            },
            other => Ok(other?),
        }
    }

    fn sync(&mut self) -> Result<(), RemuxError> {
        let written = self.writer.bytes();
        if written.saturating_sub(self.synced) >= SYNC_EVERY {
            self.writer.sync()?;
            self.synced = written;
        }
        Ok(())
    }
}
