//! libavformat's MP4 muxer, writing into a file of ours.

use std::fs::File;
use std::io::{self, Write};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ffmpeg_next as ffmpeg;
use ffmpeg_next::codec::Id;
use ffmpeg_next::ffi;
use ffmpeg_next::format::context::{Output, StreamIo};
use parking_lot::Mutex;

use crate::clock::Mono;
use crate::frame::{AudioInfo, AudioPacket, Codec, Orientation, StreamInfo};

use super::audio::{self, AudioTrack};
use super::joined::Joined;
use super::times::TIMESCALE;
use super::transcode::Encoded;
use super::{ClipFacts, Coded, params};

/// What the last picture's duration is taken for when the camera does not say.
const DEFAULT_FPS: f32 = 25.0;

/// Where the header keeps the recording's start on the boot clock, for [`super::repair()`].
pub(super) const START_TAG: &str = "outpost-start-ns=";

/// The clip's file, counted, with the error that libav would reduce to a number.
pub(super) struct Sink {
    pub file: File,
    written: AtomicU64,
    error: Mutex<Option<io::Error>>,
}

impl Sink {
    pub(super) fn new(file: File) -> Self {
        Self { file, written: AtomicU64::new(0), error: Mutex::new(None) }
    }

    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(super) fn take_error(&self) -> Option<io::Error> {
        self.error.lock().take()
    }
}

struct SinkWriter(Arc<Sink>);

impl Write for SinkWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let outcome = (&self.0.file).write(buf);
        match &outcome {
            Ok(n) => {
                self.0.written.fetch_add(*n as u64, Ordering::Relaxed);
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => {
                // io::Error is not Clone; its code and kind are what a caller branches on.
                let copy = e.raw_os_error().map_or_else(|| e.kind().into(), io::Error::from_raw_os_error);
                *self.0.error.lock() = Some(copy);
            }
        }
        outcome
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is written into memory.
#[derive(Clone, Default)]
struct MemoryWriter(Arc<Mutex<Vec<u8>>>);

impl Write for MemoryWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.lock().write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the file's header states.
pub(super) struct Header {
    id: Id,
    pub(super) codec: Codec,
    width: i32,
    height: i32,
    /// Codec record or Annex B parameter sets.
    pub(super) extradata: Bytes,
    orientation: Orientation,
    /// Whether key frames bring their parameter sets, because these may change within the file.
    in_band: bool,
    start: Mono,
    /// Whether the first picture is decoded before it is shown.
    is_reordered: bool,
    fps: f32,
    /// Of the audio track, where there is one.
    audio: Option<Arc<AudioInfo>>,
}

impl Header {
    /// The same, with a track for this audio.
    pub(super) fn with_audio(self, audio: Option<Arc<AudioInfo>>) -> Self {
        Self { audio: audio.filter(|info| info.is_complete()), ..self }
    }

    /// For a camera's own H.264 or H.265, from its first key frame; `None` when that does not say enough.
    pub(super) fn remuxed(stream: &StreamInfo, first: &Coded, in_band: bool) -> Option<Self> {
        let id = if stream.codec == Codec::H265 { Id::HEVC } else { Id::H264 };
        Some(Self { in_band, ..Self::new(id, stream, first)? })
    }

    /// For what an encoder gave.
    pub(super) fn encoded(encoded: Encoded, first: &Coded, fps: Option<f32>) -> Option<Self> {
        let Encoded { id, size: (width, height), extradata, orientation } = encoded;
        let codec = match id {
            Id::H264 => Codec::H264,
            Id::HEVC => Codec::H265,
            other => Codec::Other(other.name().into()),
        };
        Self::new(id, &StreamInfo { codec, width, height, extradata, fps, orientation }, first)
    }

    fn new(id: Id, stream: &StreamInfo, first: &Coded) -> Option<Self> {
        let needs_parameters = stream.codec.is_remuxable();
        let extradata = match needs_parameters {
            true => params::current(&stream.codec, &stream.extradata, &first.data),
            false => stream.extradata.clone(),
        };
        if extradata.is_empty() && needs_parameters {
            return None;
        }
        let announced = (stream.width > 0 && stream.height > 0).then_some((stream.width, stream.height));
        let stated = || params::coded_size(stream, &extradata, &first.data);
        let (width, height) = if needs_parameters { stated().or(announced)? } else { announced? };
        Some(Self {
            id,
            codec: stream.codec.clone(),
            width: i32::try_from(width).ok()?,
            height: i32::try_from(height).ok()?,
            extradata,
            orientation: stream.orientation,
            in_band: false,
            start: first.pts,
            is_reordered: first.at < first.pts,
            fps: stream.fps.filter(|fps| fps.is_finite() && *fps > 0.1).unwrap_or(DEFAULT_FPS),
            audio: None,
        })
    }

    /// Width and height as the pictures are shown, pixels.
    pub(super) fn upright_size(&self) -> (u32, u32) {
        let size = |side| u32::try_from(side).unwrap_or(0);
        self.orientation.applied_to_size((size(self.width), size(self.height)))
    }

    /// Whether a key frame brings another SPS than the header has: the size or more has changed.
    pub(super) fn differs_in(&self, data: &[u8]) -> bool {
        let Self { codec, extradata, .. } = self;
        if !codec.is_remuxable() || !params::is_annex_b(data) || !params::is_annex_b(extradata) {
            return false;
        }
        let now = params::in_band_parameters(codec, data);
        let known = params::sequences(codec, extradata);
        params::sequences(codec, &now).iter().any(|sequence| !known.contains(sequence))
    }

    /// The header by itself, in memory: `ftyp` and `moov`, for fragments with times of their own.
    pub(super) fn alone(&self) -> Result<Bytes, ffmpeg::Error> {
        let memory = MemoryWriter::default();
        let mut output = self.output(StreamIo::from_write(memory.clone())?)?;
        let mut options = ffmpeg::Dictionary::new();
        options.set("movflags", "frag_keyframe+empty_moov+default_base_moof");
        options.set("flush_packets", "1");
        output.write_header_with(options)?;
        drop(output);
        let written = std::mem::take(&mut *memory.0.lock());
        Ok(written.into())
    }

    /// libavformat's side of a file with this track.
    fn output(&self, io: StreamIo) -> Result<Output, ffmpeg::Error> {
        let mut output = ffmpeg::format::output_to_stream(io, None, Some("mp4"))?;
        let mut stream = output.add_stream(None::<ffmpeg::Codec>)?;
        stream.set_time_base((1, TIMESCALE));
        describe(&mut stream, self)?;
        set_display_matrix(&mut stream, self)?;
        if let Some(info) = &self.audio {
            AudioTrack::add(&mut output, info)?;
        }
        Ok(output)
    }
}

/// The video track of a clip, with its audio.
pub(super) struct Track {
    output: Output,
    header: Header,
    /// Decoding time of the last picture in ticks and how long it is shown, as far as known.
    last: Option<(i64, i64)>,
    /// Up to here the samples reach that were flushed last, in ticks. libavformat moves the next picture there, with its
    /// show time, or drops that where the picture is decoded before.
    flushed_until: Option<i64>,
    /// Pictures are shown in another order than they are decoded in.
    reorders: bool,
    /// For H.264.
    joined: Option<Joined>,
    frames: u64,
    audio: Option<AudioTrack>,
}

/// A fragment is no longer than this, microseconds.
const LONGEST_FRAGMENT_US: i64 = 1_000_000;

impl Track {
    /// Writes the header.
    pub(super) fn open(sink: &Arc<Sink>, header: Header) -> Result<Self, ffmpeg::Error> {
        let mut output = header.output(StreamIo::from_write(SinkWriter(sink.clone()))?)?;
        let mut metadata = ffmpeg::Dictionary::new();
        metadata.set("comment", &format!("{START_TAG}{}", header.start.0));
        output.set_metadata(metadata);
        let mut options = ffmpeg::Dictionary::new();
        let has_audio = header.audio.is_some();
        audio::movie_flags(&mut options, "frag_keyframe+empty_moov+default_base_moof", has_audio);
        if header.is_reordered {
            // Decoding begins before 0, where the first picture is shown. The header says so in an edit list, which
            // libavformat can write only once it has the first fragment.
            audio::movie_flags(&mut options, "frag_keyframe+empty_moov+default_base_moof+delay_moov", has_audio);
            options.set("use_editlist", "1");
        }
        options.set("frag_duration", &LONGEST_FRAGMENT_US.to_string());
        options.set("flush_packets", "1");
        output.write_header_with(options)?;
        let joined = Joined::of(&header.codec, &header.extradata);
        let audio = header.audio.clone().and_then(|info| AudioTrack::of(&output, info));
        Ok(Self { output, header, last: None, flushed_until: None, reorders: false, joined, frames: 0, audio })
    }

    pub(super) fn start(&self) -> Mono {
        self.header.start
    }

    /// Whether a key frame brings another SPS than the header has.
    pub(super) fn parameters_changed(&self, data: &[u8]) -> bool {
        self.header.differs_in(data)
    }

    /// Goes on with other parameters of the same codec, from the next key frame on. Gives whether this file can hold them.
    pub(super) fn change_parameters(&mut self, stream: &StreamInfo, key_frame: &[u8]) -> bool {
        let Header { codec, orientation, in_band, extradata, .. } = &mut self.header;
        let same_kind = *in_band && stream.codec == *codec && stream.orientation == *orientation;
        let parameters = params::current(codec, &stream.extradata, key_frame);
        let fits = same_kind
            && !parameters.is_empty()
            && params::Framing::of(codec, &parameters) == params::Framing::of(codec, extradata);
        if fits {
            *extradata = parameters;
            self.joined = Joined::of(&self.header.codec, &self.header.extradata);
        }
        fits
    }

    /// Whether a player may begin with this key frame behind others.
    fn is_to_be_jumped_to(&self, coded: &Coded) -> bool {
        // At a gradual refresh it would have to wait until that is complete. Behind a recovery point of a stream with
        // B-frames come pictures that refer to those before it, and commands about them, which Chromium takes for damage.
        let is_open = || self.reorders && self.joined.as_ref().is_some_and(|joined| !joined.is_idr(&coded.data));
        !coded.gradual && !is_open()
    }

    /// A key frame with the parameter sets that it is decoded with.
    fn with_parameters(&self, data: &Bytes) -> Bytes {
        let Header { codec, extradata, .. } = &self.header;
        if params::is_annex_b(data) && !params::in_band_parameters(codec, data).is_empty() {
            return data.clone();
        }
        [&params::as_units(codec, extradata)[..], &data[..]].concat().into()
    }

    pub(super) fn write(&mut self, coded: &Coded) -> Result<(), ffmpeg::Error> {
        let since_start = |at: Mono| {
            let ns = i128::from(at.0) - i128::from(self.header.start.0);
            i64::try_from(ns * i128::from(TIMESCALE) / 1_000_000_000).unwrap_or(i64::MAX)
        };
        // A picture is taken to last as long as the one before it, until the next one is known.
        let (dts, lasts) = match self.last {
            Some((before, _)) => {
                let dts = self.flushed_until.take().unwrap_or_else(|| since_start(coded.at).max(before + 1));
                (dts, dts - before)
            }
            None => (since_start(coded.at), (TIMESCALE as f32 / self.header.fps) as i64),
        };
        let pts = since_start(coded.pts);
        if pts < 0 {
            // It refers to pictures before the clip.
            return Ok(());
        }
        let pts = pts.max(dts);
        let mended = self.joined.as_mut().and_then(|joined| joined.mended(&coded.data));
        let data = mended.as_ref().unwrap_or(&coded.data);
        let mut packet = match self.header.in_band && coded.key {
            true => ffmpeg::Packet::copy(&self.with_parameters(data)),
            false => ffmpeg::Packet::copy(data),
        };
        packet.set_stream(0);
        packet.set_pts(Some(pts));
        packet.set_dts(Some(dts));
        packet.set_duration(lasts);
        self.reorders |= coded.at < coded.pts;
        if coded.key && (self.frames == 0 || self.is_to_be_jumped_to(coded)) {
            packet.set_flags(ffmpeg::packet::Flags::KEY);
        }
        packet.write(&mut self.output)?;
        if self.frames == 0 && self.header.is_reordered && self.audio.is_some() {
            // The header with it. One that is written later would hold edits of the audio too, which has its times in its
            // fragments.
            self.flush()?;
        }
        self.last = Some((dts, lasts));
        self.frames += 1;
        Ok(())
    }

    /// Adds audio packets where the file has a track for them. One that libavformat refuses is left out, unless the file
    /// is the cause: pictures go on without it.
    pub(super) fn write_audio(&mut self, info: &Arc<AudioInfo>, packets: &[AudioPacket]) -> Result<(), ffmpeg::Error> {
        let Some(track) = self.audio.as_mut().filter(|track| track.takes(info)) else { return Ok(()) };
        audio::end_fragments(&mut self.output, false, LONGEST_FRAGMENT_US);
        let mut written = Ok(());
        for packet in packets {
            written = written.and(track.write(&mut self.output, self.header.start, packet));
        }
        audio::end_fragments(&mut self.output, true, LONGEST_FRAGMENT_US);
        written
    }

    #[allow(unsafe_code)]
    fn flush(&mut self) -> Result<(), ffmpeg::Error> {
        // SAFETY: the context is open for writing with its header written; a null packet means "flush".
        let outcome = unsafe { ffi::av_write_frame(self.output.as_mut_ptr(), ptr::null_mut()) };
        if outcome < 0 { Err(outcome.into()) } else { Ok(()) }
    }

    /// Hands the fragment in progress to the kernel.
    pub(super) fn end_fragment(&mut self) -> Result<(), ffmpeg::Error> {
        // A header that waits for the first fragment is all that the first flush gives.
        for _ in 0..if self.header.is_reordered { 2 } else { 1 } {
            self.flush()?;
        }
        // How long the last picture lasts was a guess, and stands in the file now.
        self.flushed_until = self.last.map(|(dts, lasts)| dts + lasts);
        Ok(())
    }

    /// Writes the rest and closes libav's side; size and duration are the file's, and not known here.
    pub(super) fn finish(mut self) -> Result<ClipFacts, ffmpeg::Error> {
        self.output.write_trailer()?;
        let (width, height) = self.header.upright_size();
        Ok(ClipFacts {
            start: self.header.start,
            duration: Duration::ZERO,
            codec: self.header.codec.name().to_owned(),
            width,
            height,
            frames: self.frames,
            bytes: 0,
        })
    }
}

#[allow(unsafe_code)]
fn describe(stream: &mut ffmpeg::StreamMut<'_>, header: &Header) -> Result<(), ffmpeg::Error> {
    // SAFETY: the stream was just made and its parameters are empty; they own the extradata block from here on.
    unsafe {
        let raw = (*stream.as_mut_ptr()).codecpar.as_mut().ok_or(ffmpeg::Error::Bug)?;
        raw.codec_type = ffi::AVMediaType::AVMEDIA_TYPE_VIDEO;
        raw.codec_id = header.id.into();
        (raw.width, raw.height) = (header.width, header.height);
        if header.id == Id::HEVC {
            // Browsers refuse the muxer's default, hev1.
            raw.codec_tag = u32::from_le_bytes(*b"hvc1");
        }
        if !header.extradata.is_empty() {
            let out_of_memory = ffmpeg::Error::Other { errno: ffmpeg::error::ENOMEM };
            (raw.extradata, raw.extradata_size) = params::padded(&header.extradata).ok_or(out_of_memory)?;
        }
    }
    Ok(())
}

/// Pictures are stored as they were coded; the matrix shows players how they are shown.
#[allow(unsafe_code)]
fn set_display_matrix(stream: &mut ffmpeg::StreamMut<'_>, header: &Header) -> Result<(), ffmpeg::Error> {
    let side = |side| u32::try_from(side).unwrap_or(0);
    let Some(matrix) = header.orientation.display_matrix(side(header.width), side(header.height)) else {
        return Ok(());
    };
    // SAFETY: the stream was just made; the block that libav gives belongs to it, is checked for null and has the
    // size that was asked for, with the alignment of its allocator.
    unsafe {
        let kind = ffi::AVPacketSideDataType::AV_PKT_DATA_DISPLAYMATRIX;
        let block = ffi::av_stream_new_side_data(stream.as_mut_ptr(), kind, size_of_val(&matrix));
        if block.is_null() {
            return Err(ffmpeg::Error::Other { errno: ffmpeg::error::ENOMEM });
        }
        ptr::copy_nonoverlapping(matrix.as_ptr().cast::<u8>(), block, size_of_val(&matrix));
    }
    Ok(())
}
