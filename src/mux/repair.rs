//! After a power cut: keep what is playable of a clip, cut off what is torn.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::format::context::{Input, StreamIo};

use crate::clock::Mono;
use crate::frame::Orientation;

use super::boxes::{self, Layout, TopBox};
use super::output::START_TAG;
use super::times;
use super::{ClipFacts, MuxError, codec_of, io_error, reopen, start_libav};

/// Makes a clip whose writing was interrupted into a whole one: truncates it after the last fragment that is
/// complete and consists of whole pictures, and enters its duration. Nothing is re-encoded. A clip that was
/// finished is left as it is.
///
/// Gives the clip's facts, or `None` when nothing in the file is playable; the file is left untouched then.
///
/// # Errors
/// [`MuxError::Io`] when the file cannot be read or written.
pub fn repair(path: &Path) -> Result<Option<ClipFacts>, MuxError> {
    start_libav();
    let file = reopen(path).map_err(|source| io_error("open clip", path, source))?;
    repair_file(&file).map_err(|source| io_error("repair clip", path, source))
}

fn repair_file(file: &File) -> io::Result<Option<ClipFacts>> {
    let Some(layout) = boxes::layout(file)? else { return Ok(None) };
    let moov = boxes::read_moov(file, layout.moov)?;
    let Some((scan, duration)) = kept(file, &layout, &moov)? else { return Ok(None) };
    let Some(mut facts) = scan.facts(duration) else { return Ok(None) };
    if !(layout.finished && scan.keep == layout.fragments.len()) {
        let Some((_, end)) = scan.keep.checked_sub(1).and_then(|last| layout.fragments.get(last)) else {
            return Ok(None);
        };
        file.set_len(*end)?;
        let with_duration = boxes::with_duration(moov, facts.duration);
        // In a damaged header something else may stand where the duration belongs.
        let fragments = layout.fragments.get(..scan.keep).unwrap_or_default();
        if self::scan(file, layout.moov, &with_duration, fragments)?.as_ref() == Some(&scan) {
            file.write_all_at(&with_duration, layout.moov.start)?;
        }
        file.sync_all()?;
    }
    facts.bytes = file.metadata()?.len();
    Ok(Some(facts))
}

/// The fragments that are kept, and how long they are.
///
/// libav reads ahead: in a damaged file it may find other pictures when what lies behind them is gone. So the kept
/// fragments are read once more as if the rest were cut off, until nothing more falls away.
fn kept(file: &File, layout: &Layout, moov: &[u8]) -> io::Result<Option<(Scan, Duration)>> {
    let mut fragments = layout.fragments.as_slice();
    loop {
        let Some(scan) = scan(file, layout.moov, moov, fragments)? else { return Ok(None) };
        let good = fragments.get(..scan.keep).unwrap_or_default();
        let (readable, duration) = times::duration(file, good)?;
        if readable == fragments.len() {
            return Ok(Some((scan, duration)));
        }
        fragments = good.get(..readable).unwrap_or_default();
    }
}

/// What libav finds in the complete fragments.
#[derive(Debug, PartialEq)]
struct Scan {
    start: Mono,
    codec: String,
    width: u32,
    height: u32,
    /// The fragment of each whole picture.
    pictures: Vec<usize>,
    /// How many fragments are good, from the first on.
    keep: usize,
}

impl Scan {
    /// `None` without a picture. The file's size is not known here.
    fn facts(&self, duration: Duration) -> Option<ClipFacts> {
        let frames = self.pictures.iter().filter(|fragment| **fragment < self.keep).count() as u64;
        (frames > 0).then(|| ClipFacts {
            start: self.start,
            duration,
            codec: self.codec.clone(),
            width: self.width,
            height: self.height,
            frames,
            bytes: 0,
        })
    }
}

/// Reads every packet of the complete fragments behind the header `moov`, up to the first that is not a whole picture.
fn scan(file: &File, at: TopBox, moov: &[u8], fragments: &[(u64, u64)]) -> io::Result<Option<Scan>> {
    let Some((_, end)) = fragments.last().copied() else { return Ok(None) };
    let window = Window { file: file.try_clone()?, moov: (at.start, moov.to_vec()), position: 0, end };
    let Ok(mut input) =
        StreamIo::from_read_seek(window).and_then(|io| ffmpeg::format::input_from_stream(io, None, None))
    else {
        return Ok(None);
    };
    let Some(mut scan) = describe(&input, fragments.len()) else { return Ok(None) };
    let length_size = boxes::nal_length_size(moov, &codec_of(&scan.codec));
    let video = input.streams().best(ffmpeg::media::Type::Video).map(|stream| stream.index());
    let mut packet = ffmpeg::Packet::empty();
    // Any error ends the reading; what came before it is kept.
    while packet.read(&mut input).is_ok() {
        let position = u64::try_from(packet.position()).unwrap_or(0);
        let fragment = fragments.partition_point(|(_, end)| *end <= position);
        let sample = packet.data().unwrap_or_default();
        let is_picture = Some(packet.stream()) == video;
        let whole = match length_size.filter(|_| is_picture) {
            Some(size) => boxes::is_whole_sample(sample, size),
            None if is_picture => !sample.is_empty(),
            // A block that never reached the disk is longer than a packet of audio.
            None => sample.iter().any(|byte| *byte != 0),
        };
        if !whole || packet.is_corrupt() {
            scan.keep = scan.keep.min(fragment);
            if input.nb_streams() < 2 {
                break;
            }
        }
        // The tracks are read side by side: what is left of the fragments before may still come.
        if fragment > scan.keep {
            break;
        }
        if is_picture && fragment < scan.keep {
            scan.pictures.push(fragment);
        }
        packet = ffmpeg::Packet::empty();
    }
    // A fragment without a single picture is none.
    let last = scan.pictures.iter().max().map_or(0, |fragment| fragment + 1);
    scan.keep = scan.keep.min(last);
    Ok(Some(scan))
}

#[allow(unsafe_code)]
fn describe(input: &Input, fragments: usize) -> Option<Scan> {
    let stream = input.streams().best(ffmpeg::media::Type::Video)?;
    let parameters = stream.parameters();
    // SAFETY: the parameters live as long as `input`.
    let (width, height) = unsafe {
        let raw = parameters.as_ptr();
        ((*raw).width, (*raw).height)
    };
    let matrix = stream.side_data().find(|data| data.kind() == ffmpeg::packet::side_data::Type::DisplayMatrix);
    let orientation = matrix.map_or_else(Orientation::default, |matrix| Orientation::from_side_data(matrix.data()));
    // What no player knows is no clip.
    if parameters.id() == ffmpeg::codec::Id::None {
        return None;
    }
    let (width, height) = orientation.applied_to_size((u32::try_from(width).ok()?, u32::try_from(height).ok()?));
    let start = input.metadata().get("comment").and_then(|text| text.strip_prefix(START_TAG)?.parse().ok());
    Some(Scan {
        start: Mono(start.unwrap_or(0)),
        codec: parameters.id().name().to_owned(),
        width,
        height,
        pictures: Vec::new(),
        keep: fragments,
    })
}

/// The file up to the end of its last complete fragment, so that libav never sees the torn rest, with a header that may be
/// another one.
struct Window {
    file: File,
    /// Where the header lies, and what it is.
    moov: (u64, Vec<u8>),
    position: u64,
    end: u64,
}

impl io::Read for Window {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let len = left.min(buf.len());
        let read = buf.get_mut(..len).unwrap_or_default();
        let got = self.file.read_at(read, self.position)?;
        let (start, moov) = &self.moov;
        let (from, to) = (self.position.max(*start), (self.position + got as u64).min(start + moov.len() as u64));
        // Of the header what lies in this piece.
        let within = |begin: u64| usize::try_from(from - begin).ok()..usize::try_from(to - begin).ok();
        if from < to
            && let (Range { start: Some(a), end: Some(b) }, Range { start: Some(c), end: Some(d) }) =
                (within(self.position), within(*start))
            && let (Some(piece), Some(other)) = (read.get_mut(a..b), moov.get(c..d))
        {
            piece.copy_from_slice(other);
        }
        self.position += got as u64;
        Ok(got)
    }
}

impl io::Seek for Window {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let target = match to {
            io::SeekFrom::Start(n) => Some(n),
            io::SeekFrom::Current(n) => self.position.checked_add_signed(n),
            io::SeekFrom::End(n) => self.end.checked_add_signed(n),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
