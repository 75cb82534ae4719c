//! Clips: fragmented MP4 files, playable up to the last complete fragment whatever happens to the box.
//!
//! H.264 and H.265 go in as the camera sent them. What cameras send otherwise (Motion JPEG, uncompressed
//! YUYV) is encoded to H.264 once, here.
//!
//! A fragment ends before every key frame and after a second at the latest, and goes to the kernel at once,
//! so that a killed process loses about a second. [`ClipWriter::sync`] makes it safe from a power cut too;
//! afterwards [`repair()`] cuts off what was torn.
//!
//! Packets stand in the order of decoding, each with the time at which its picture is shown, so streams with
//! B-frames play as the camera meant them. The first picture is shown at 0; that it is decoded earlier stands in an
//! edit list. Pictures that follow a clip's first key frame but are shown before it (an open GOP) refer to pictures
//! before the clip and are left out; so is what slice headers say of such pictures (`joined`).
//!
//! Live video is made of the same packets, in memory ([`Fragmenter`]).

mod audio;
mod bits;
mod boxes;
mod fragments;
mod joined;
mod output;
mod params;
mod reading;
mod repair;
mod scale;
#[cfg(test)]
pub(crate) mod tests;
mod times;
mod transcode;

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};
use std::time::Duration;

use bytes::Bytes;
use ffmpeg_next as ffmpeg;
use serde::{Deserialize, Serialize};

use crate::clock::Mono;
use crate::frame::{Audio, AudioInfo, Codec, Packet, StreamInfo};

use output::{Header, Sink, Track};
use transcode::{Encoded, Transcoder};

pub use fragments::{Fragmenter, InitSegment, LivePicture, fragment, within};
pub use reading::{ClipReader, Sample};
pub use repair::repair;
pub use transcode::encoders;

/// How cameras that give neither H.264 nor H.265 are encoded for recording; `[archive.encoder]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `"auto"` takes the first that opens of `h264_nvmpi`, `h264_v4l2m2m`, `libx264`, `libopenh264` and
    /// `mpeg4` (which browsers do not play); or the name of one encoder. Default `"auto"`.
    pub encoder: String,
    /// x264's speed: `"ultrafast"` to `"medium"`; slower ones make smaller files. Default `"veryfast"`.
    pub preset: String,
    /// x264's constant quality, 0 (lossless) to 51 (worst); 6 more halve the size. Default 23.
    pub crf: u8,
    /// Kilobits a second, instead of constant quality; 0 takes `crf`, and for encoders without it a rate that
    /// fits the size of the picture. Default 0.
    pub bitrate_kbps: u32,
    /// Encoding threads of one camera; 0 lets the encoder choose. Default 2.
    pub threads: u32,
}

impl Default for Config {
    fn default() -> Self {
        let (encoder, preset) = ("auto".to_owned(), "veryfast".to_owned());
        Self { encoder, preset, crf: 23, bitrate_kbps: 0, threads: 2 }
    }
}

impl Config {
    /// Checks that this system has the encoder and that the figures are in range.
    ///
    /// # Errors
    /// A sentence that names the field, the reason and what there is instead.
    pub fn validate(&self) -> Result<(), String> {
        const PRESETS: [&str; 6] = ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium"];
        let have = encoders();
        if self.encoder != "auto" && !have.contains(&self.encoder) {
            let have = if have.is_empty() { "none".to_owned() } else { have.join(", ") };
            return Err(format!(
                "encoder {:?} is not one for clips on this system; use \"auto\" or one of: {have}",
                self.encoder
            ));
        }
        if !PRESETS.contains(&self.preset.as_str()) {
            return Err(format!("preset {:?} is not one of: {}", self.preset, PRESETS.join(", ")));
        }
        if self.crf > 51 {
            return Err(format!("crf = {} is not between 0 and 51", self.crf));
        }
        if self.bitrate_kbps > 200_000 {
            return Err(format!("bitrate_kbps = {} is more than 200000", self.bitrate_kbps));
        }
        if self.threads > 64 {
            return Err(format!("threads = {} is more than 64", self.threads));
        }
        Ok(())
    }
}

/// What a clip turned out to be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClipFacts {
    /// Time of the first picture, on the clock of the boot that recorded it.
    pub start: Mono,
    /// From the first picture to the end of the last.
    pub duration: Duration,
    /// What is in the file: `h264`, `hevc` or `mpeg4`.
    pub codec: String,
    /// Width in pixels, as it is shown.
    pub width: u32,
    /// Height in pixels, as it is shown.
    pub height: u32,
    /// Number of pictures.
    pub frames: u64,
    /// Size of the file.
    pub bytes: u64,
}

/// Why a clip cannot be written or repaired.
#[derive(Debug, thiserror::Error)]
pub enum MuxError {
    /// The disk is full, gone or refuses.
    #[error("{action} {path}: {source}")]
    Io {
        /// What was tried, in the present tense.
        action: &'static str,
        /// The clip.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The camera changed its parameters (size, codec) in mid-stream. The clip is intact: finish it and
    /// begin another one with this same packet.
    #[error("the camera changed its stream parameters")]
    StreamChanged,
    /// Nothing can encode this camera's pictures; a person must change the config or install an encoder.
    #[error("encode clip: {0}")]
    Encode(String),
    /// The muxer refuses.
    #[error("write clip {path}: {reason}")]
    Refused {
        /// The clip.
        path: PathBuf,
        /// libav's words.
        reason: String,
    },
    /// No key frame came, so there is no clip; the file is empty and can be deleted.
    #[error("clip {0} has no picture")]
    Empty(PathBuf),
}

impl MuxError {
    /// Whether the volume, or the quota on it, is full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

/// One coded picture on its way into the file.
struct Coded {
    /// When it is decoded.
    at: Mono,
    /// When it is shown.
    pts: Mono,
    key: bool,
    /// It becomes whole only some time later.
    gradual: bool,
    data: Bytes,
}

/// Writes one clip. Dropping it without [`ClipWriter::finish`] leaves a file for [`repair()`].
pub struct ClipWriter {
    path: PathBuf,
    config: Config,
    sink: Arc<Sink>,
    stream: Option<Arc<StreamInfo>>,
    transcoder: Option<Transcoder>,
    track: Option<Track>,
    /// Whether parameters may change within the file.
    takes_changes: bool,
    /// The parameters changed within the file; its pictures go on with the next key frame.
    awaits_key_frame: bool,
    /// The audio in force when the last key frame was written.
    audio: Option<Arc<AudioInfo>>,
}

impl ClipWriter {
    /// Creates the file. Nothing is written before the first key frame.
    ///
    /// # Errors
    /// [`MuxError::Io`], also when the file exists already: recordings are never overwritten.
    pub fn create(path: &Path, config: &Config) -> Result<Self, MuxError> {
        start_libav();
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
        let file = file.map_err(|source| io_error("create clip", path, source))?;
        Ok(Self {
            path: path.to_owned(),
            config: config.clone(),
            sink: Arc::new(Sink::new(file)),
            stream: None,
            transcoder: None,
            track: None,
            takes_changes: false,
            awaits_key_frame: false,
            audio: None,
        })
    }

    /// The same, prepared for parameters that change within the file: each key frame brings its parameter sets, so that
    /// a player may begin with any of them. See [`ClipWriter::write_changed`].
    ///
    /// # Errors
    /// As [`ClipWriter::create`].
    pub fn create_for_changes(path: &Path, config: &Config) -> Result<Self, MuxError> {
        Ok(Self { takes_changes: true, ..Self::create(path, config)? })
    }

    /// Adds a packet. Those before the first key frame (with parameter sets) are skipped.
    ///
    /// # Errors
    /// [`MuxError::StreamChanged`] asks for a new clip; after any other the clip should be finished or dropped.
    pub fn write(&mut self, packet: &Packet) -> Result<(), MuxError> {
        let Some(stream) = &self.stream else {
            if !packet.key_frame {
                return Ok(());
            }
            self.stream = Some(packet.stream.clone());
            self.audio = info_of(packet).cloned();
            return self.accept(packet);
        };
        let changed = !Arc::ptr_eq(stream, &packet.stream) && differs(stream, &packet.stream);
        if changed || self.has_other_audio(packet) {
            return Err(MuxError::StreamChanged);
        }
        if self.awaits_key_frame && !packet.key_frame {
            return Ok(());
        }
        self.awaits_key_frame = false;
        self.accept(packet)
    }

    /// Adds the packet that [`ClipWriter::write`] refused as changed, and goes on with its parameters in the same file.
    ///
    /// # Errors
    /// [`MuxError::StreamChanged`] where this file cannot hold it: another codec, turned otherwise, nothing written yet,
    /// or not made by [`ClipWriter::create_for_changes`]. The file is as it was then.
    pub fn write_changed(&mut self, packet: &Packet) -> Result<(), MuxError> {
        let (Some(stream), Some(track)) = (&self.stream, &mut self.track) else { return Err(MuxError::StreamChanged) };
        let fits = self.takes_changes
            && stream.codec.is_remuxable() == packet.stream.codec.is_remuxable()
            && stream.orientation == packet.stream.orientation;
        if !fits {
            return Err(MuxError::StreamChanged);
        }
        // What the file's track does not take of it is left out.
        self.audio = info_of(packet).or(self.audio.as_ref()).cloned();
        if !differs(stream, &packet.stream) {
            return self.accept(packet);
        }
        match &mut self.transcoder {
            Some(transcoder) => {
                for coded in transcoder.change_input(&packet.stream)? {
                    track.write(&coded).map_err(|e| refused(&self.path, &self.sink, e))?;
                }
            }
            None if !packet.key_frame => {
                // Its parameters may come with the key frame alone.
                self.awaits_key_frame = true;
                return Ok(());
            }
            None if !track.change_parameters(&packet.stream, &packet.data) => return Err(MuxError::StreamChanged),
            None => {}
        }
        self.stream = Some(packet.stream.clone());
        self.awaits_key_frame = false;
        self.accept(packet)
    }

    /// Ends the fragment in progress and waits until the disk has everything written so far.
    ///
    /// # Errors
    /// [`MuxError::Io`] when the disk does not take it; nothing may be promised about the clip then.
    pub fn sync(&mut self) -> Result<(), MuxError> {
        if let Some(track) = &mut self.track {
            track.end_fragment().map_err(|e| refused(&self.path, &self.sink, e))?;
        }
        self.sink.file.sync_data().map_err(|source| io_error("sync clip", &self.path, source))
    }

    /// Ends the clip and waits until the disk has it. The folder's entry is the caller's to sync.
    ///
    /// # Errors
    /// [`MuxError::Empty`] when nothing was recorded, [`MuxError::Io`] when the disk does not take the rest.
    pub fn finish(mut self) -> Result<ClipFacts, MuxError> {
        if let Some(mut transcoder) = self.transcoder.take() {
            for coded in transcoder.finish() {
                self.put(&coded, || transcoder.output())?;
            }
        }
        let track = self.track.take().ok_or_else(|| MuxError::Empty(self.path.clone()))?;
        let mut facts = track.finish().map_err(|e| refused(&self.path, &self.sink, e))?;
        let file = &self.sink.file;
        let mut close = || {
            if let Some(layout) = boxes::layout(file)? {
                facts.duration = times::duration(file, &layout.fragments)?.1;
                boxes::set_duration(file, layout.moov, facts.duration)?;
            }
            facts.bytes = file.metadata()?.len();
            file.sync_all()
        };
        close().map_err(|source| io_error("finish clip", &self.path, source))?;
        Ok(facts)
    }

    /// Time of the first picture in the clip, once there is one.
    pub fn first_at(&self) -> Option<Mono> {
        self.track.as_ref().map(Track::start)
    }

    /// Bytes handed to the kernel so far; up to a second of video waits for its fragment to end.
    pub fn bytes(&self) -> u64 {
        self.sink.written()
    }

    /// Whether a file that begins with this key frame would have another audio track.
    fn has_other_audio(&self, packet: &Packet) -> bool {
        let info = info_of(packet).filter(|_| packet.key_frame && self.track.is_some());
        info.is_some_and(|info| self.audio.as_ref() != Some(info))
    }

    /// The picture, with the audio that came before it.
    fn accept(&mut self, packet: &Packet) -> Result<(), MuxError> {
        let Some(audio) = &packet.audio else { return self.accept_picture(packet) };
        // The file begins with a picture.
        let begins = self.track.is_none();
        if !begins {
            self.put_audio(audio)?;
        }
        self.accept_picture(packet)?;
        if begins { self.put_audio(audio) } else { Ok(()) }
    }

    fn put_audio(&mut self, audio: &Audio) -> Result<(), MuxError> {
        let Some(track) = &mut self.track else { return Ok(()) };
        if let Err(error) = track.write_audio(&audio.info, &audio.packets) {
            if let Some(source) = self.sink.take_error() {
                return Err(io_error("write clip", &self.path, source));
            }
            tracing::debug!(%error, "audio packet left out of the clip");
        }
        Ok(())
    }

    fn accept_picture(&mut self, packet: &Packet) -> Result<(), MuxError> {
        if packet.stream.codec.is_remuxable() {
            let Packet { at, key_frame: key, gradual, .. } = *packet;
            let coded = Coded { at, pts: packet.pts(), key, gradual, data: packet.data.clone() };
            return self.put(&coded, || None);
        }
        let mut transcoder = match self.transcoder.take() {
            Some(transcoder) => transcoder,
            None => Transcoder::new(&packet.stream, &self.config)?,
        };
        let coded = transcoder.encode(packet);
        let mut outcome = Ok(());
        for coded in coded? {
            outcome = outcome.and_then(|()| self.put(&coded, || transcoder.output()));
        }
        self.transcoder = Some(transcoder);
        outcome
    }

    /// Writes one coded picture: of the camera, or of the encoder that `encoded` describes.
    fn put(&mut self, coded: &Coded, encoded: impl FnOnce() -> Option<Encoded>) -> Result<(), MuxError> {
        if let Some(track) = &mut self.track {
            if coded.key && track.parameters_changed(&coded.data) {
                return Err(MuxError::StreamChanged);
            }
            return track.write(coded).map_err(|e| refused(&self.path, &self.sink, e));
        }
        let Some(stream) = self.stream.as_ref().filter(|_| coded.key) else { return Ok(()) };
        let header = match encoded() {
            Some(encoded) => Header::encoded(encoded, coded, stream.fps),
            None => Header::remuxed(stream, coded, self.takes_changes),
        };
        let Some(header) = header else {
            // The camera sends its parameter sets with some later key frame, or none that can be read.
            tracing::debug!(stream = ?stream, "key frame without usable parameter sets, clip waits for the next");
            return Ok(());
        };
        let header = header.with_audio(self.audio.clone());
        let track = Track::open(&self.sink, header).and_then(|mut track| {
            track.write(coded)?;
            Ok(track)
        });
        self.track = Some(track.map_err(|e| refused(&self.path, &self.sink, e))?);
        Ok(())
    }
}

fn info_of(packet: &Packet) -> Option<&Arc<AudioInfo>> {
    packet.audio.as_ref().map(|audio| &audio.info)
}

/// Whether a clip of the one cannot hold packets of the other.
fn differs(a: &StreamInfo, b: &StreamInfo) -> bool {
    let parts = |stream: &StreamInfo| (stream.codec.clone(), stream.width, stream.height, stream.orientation);
    parts(a) != parts(b) || a.extradata != b.extradata
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> MuxError {
    MuxError::Io { action, path: path.to_owned(), source }
}

/// libav's error, or the system's where the file was the cause.
fn refused(path: &Path, sink: &Sink, error: ffmpeg::Error) -> MuxError {
    match sink.take_error() {
        Some(source) => io_error("write clip", path, source),
        None => MuxError::Refused { path: path.to_owned(), reason: error.to_string() },
    }
}

/// Prepares libav once: its error texts, and its silence, for it writes to standard error by itself otherwise.
fn start_libav() {
    static START: Once = Once::new();
    START.call_once(|| {
        // Never fails; it only fills the table of error texts.
        let _ = ffmpeg::init();
        let verbose = tracing::enabled!(tracing::Level::TRACE);
        ffmpeg::log::set_level(if verbose { ffmpeg::log::Level::Info } else { ffmpeg::log::Level::Quiet });
    });
}

/// Reads the codec back from its name in [`ClipFacts`].
fn codec_of(name: &str) -> Codec {
    match name {
        "h264" => Codec::H264,
        "hevc" => Codec::H265,
        other => Codec::Other(other.into()),
    }
}

fn reopen(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

fn encode_error(reason: String) -> MuxError {
    MuxError::Encode(reason)
}
