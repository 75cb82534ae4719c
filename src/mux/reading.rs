//! Packets back from a file that [`super::ClipWriter`] wrote, from any time on.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ffmpeg_next as ffmpeg;
use ffmpeg_next::format::context::{Input, StreamIo};

use crate::clock::Mono;
use crate::frame::{Audio, AudioInfo, AudioPacket, Orientation, Packet, StreamInfo};

use super::{MuxError, audio, boxes, codec_of, io_error, start_libav};

/// Times of parts are written in milliseconds.
const ROUNDED_NS: i64 = 500_000;
/// Pictures between two key frames at most: a camera that sends fewer key frames would fill the memory.
const MOST_HELD: usize = 3000;
/// The same, bytes.
const MOST_HELD_BYTES: usize = 256 << 20;

/// Packets of audio between two pictures at most.
const MOST_HEARD: usize = 5000;

/// One coded picture of a file, with times of the file: 0 is when its first picture is shown.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When it is decoded, nanoseconds; below 0 where the first pictures are reordered.
    pub decoded_ns: i64,
    /// When it is shown, nanoseconds.
    pub shown_ns: i64,
    /// How long it is shown.
    pub lasts: Duration,
    /// Decoding can begin with it.
    pub key_frame: bool,
    data: Bytes,
    audio: Option<Arc<AudioInfo>>,
    /// The audio that lies before it in the file.
    heard: Vec<Heard>,
}

/// One packet of audio, with times of the file.
#[derive(Clone, Debug)]
struct Heard {
    /// Nanoseconds.
    at: i64,
    lasts: Duration,
    data: Bytes,
}

impl Sample {
    /// The packet that is decoded at `at`.
    pub fn packet(&self, stream: &Arc<StreamInfo>, at: Mono) -> Packet {
        let offset = Duration::from_nanos(u64::try_from(self.shown_ns - self.decoded_ns).unwrap_or(0));
        let audio = self.audio.as_ref().map(|info| {
            let shifted = |heard: &Heard| {
                let at = i128::from(at.0) + i128::from(heard.at) - i128::from(self.decoded_ns);
                // What would be heard before the clock begins is left out.
                let at = Mono(u64::try_from(at).ok()?);
                Some(AudioPacket { at, lasts: heard.lasts, data: heard.data.clone() })
            };
            Arc::new(Audio { info: info.clone(), packets: self.heard.iter().filter_map(shifted).collect() })
        });
        Packet { offset, audio, ..Packet::new(stream.clone(), at, self.key_frame, self.data.clone()) }
    }
}

/// The audio of a file.
struct AudioTrack {
    info: Arc<AudioInfo>,
    index: usize,
    nanos_per_tick: (i64, i64),
    /// What no picture has taken yet, in the order of time.
    heard: VecDeque<Heard>,
    /// Some was read behind the last picture.
    is_new: bool,
}

/// Reads one file.
pub struct ClipReader {
    path: PathBuf,
    input: Input,
    index: usize,
    nanos_per_tick: (i64, i64),
    stream: Arc<StreamInfo>,
    audio: Option<AudioTrack>,
    /// What was read before the time that is wanted, from a key frame on; in reverse order.
    held: Vec<Sample>,
    /// The pictures of a fragment whose audio, which lies behind them, is not read yet.
    pending: VecDeque<Sample>,
    /// Those that have their audio.
    ready: VecDeque<Sample>,
    is_over: bool,
}

impl ClipReader {
    /// Opens `path`.
    ///
    /// # Errors
    /// [`MuxError::Io`] when it cannot be read, [`MuxError::Refused`] when it is no video of ours.
    pub fn open(path: &Path) -> Result<Self, MuxError> {
        start_libav();
        let io = |source| io_error("read clip", path, source);
        let no_video = |reason: String| MuxError::Refused { path: path.to_owned(), reason };
        let file = File::open(path).map_err(io)?;
        let layout = boxes::layout(&file).map_err(io)?.ok_or_else(|| no_video("it has no header".to_owned()))?;
        let header = boxes::read_moov(&file, layout.moov).map_err(io)?;
        let input = StreamIo::from_read_seek(file)
            .and_then(|io| ffmpeg::format::input_from_stream(io, None, None))
            .map_err(|error| no_video(error.to_string()))?;
        let video = input.streams().best(ffmpeg::media::Type::Video);
        let video = video.ok_or_else(|| no_video("it holds no video".to_owned()))?;
        let codec = codec_of(video.parameters().id().name());
        let matrix = video.side_data().find(|data| data.kind() == ffmpeg::packet::side_data::Type::DisplayMatrix);
        let orientation = matrix.map_or_else(Orientation::default, |matrix| Orientation::from_side_data(matrix.data()));
        let rate = f64::from(video.avg_frame_rate());
        #[allow(clippy::cast_possible_truncation)]
        let fps = (0.01..1000.0).contains(&rate).then_some(rate as f32);
        let extradata = boxes::codec_record(&header, &codec).unwrap_or_default();
        // The size is what the parameter sets state.
        let stream = Arc::new(StreamInfo { codec, width: 0, height: 0, extradata, fps, orientation });
        let nanos_per_tick = nanos_per_tick(video.time_base());
        let index = video.index();
        let audio = input.streams().best(ffmpeg::media::Type::Audio).and_then(|stream| {
            let (info, index) = (Arc::new(audio::info_of(&stream)?), stream.index());
            Some(AudioTrack {
                info,
                index,
                nanos_per_tick: self::nanos_per_tick(stream.time_base()),
                heard: VecDeque::new(),
                is_new: false,
            })
        });
        Ok(Self {
            path: path.to_owned(),
            input,
            index,
            nanos_per_tick,
            stream,
            audio,
            held: Vec::new(),
            pending: VecDeque::new(),
            ready: VecDeque::new(),
            is_over: false,
        })
    }

    /// What the pictures are coded with.
    pub fn stream(&self) -> &Arc<StreamInfo> {
        &self.stream
    }

    /// Goes to the last key frame that is shown at `at` or before, or with it but for rounding to milliseconds; to the first
    /// one where there is none.
    ///
    /// # Errors
    /// [`MuxError::Refused`] when the file is damaged there.
    pub fn go_to(&mut self, at: Duration) -> Result<(), MuxError> {
        self.held.clear();
        if let Some(audio) = &mut self.audio {
            audio.heard.clear();
        }
        self.pending.clear();
        self.ready.clear();
        self.is_over = false;
        let wanted = i64::try_from(at.as_nanos()).unwrap_or(i64::MAX).saturating_add(ROUNDED_NS);
        // Microseconds. The index of the file says which fragment; without one libavformat stays where it is, and what
        // comes before is read over.
        let micros = wanted / 1000;
        if micros > 0 && self.input.seek(micros, ..micros + 1).is_err() {
            let _ = self.input.seek(0, ..);
        }
        let (mut since_key, mut bytes) = (Vec::new(), 0);
        while let Some(sample) = self.read()? {
            if sample.key_frame && (sample.shown_ns <= wanted || since_key.is_empty()) {
                since_key.clear();
                bytes = 0;
            } else if since_key.is_empty() {
                continue;
            }
            let is_there = sample.shown_ns > wanted;
            bytes += sample.data.len() + sample.heard.iter().map(|heard| heard.data.len()).sum::<usize>();
            since_key.push(sample);
            if is_there || since_key.len() >= MOST_HELD || bytes >= MOST_HELD_BYTES {
                break;
            }
        }
        since_key.reverse();
        self.held = since_key;
        Ok(())
    }

    /// The next picture in the order of decoding; `None` at the end.
    ///
    /// # Errors
    /// [`MuxError::Refused`] when the file is damaged there.
    pub fn next_sample(&mut self) -> Result<Option<Sample>, MuxError> {
        match self.held.pop() {
            Some(sample) => Ok(Some(sample)),
            None => self.read(),
        }
    }

    /// The next picture with the audio before it. In a fragment all audio lies behind all pictures, so a fragment is read
    /// first.
    fn read(&mut self) -> Result<Option<Sample>, MuxError> {
        while self.ready.is_empty() && !self.is_over {
            let sample = self.read_picture()?;
            let is_complete = self.audio.as_ref().is_none_or(|audio| audio.is_new) || self.pending.len() >= MOST_HELD;
            self.is_over = sample.is_none();
            if is_complete || self.is_over {
                self.share_audio();
            }
            self.pending.extend(sample);
        }
        Ok(self.ready.pop_front())
    }

    /// Gives the pictures that were read the audio that was read.
    fn share_audio(&mut self) {
        for mut sample in self.pending.drain(..) {
            if let Some(audio) = &mut self.audio {
                let before = audio.heard.partition_point(|heard| heard.at <= sample.decoded_ns);
                sample.heard.extend(audio.heard.drain(..before));
            }
            self.ready.push_back(sample);
        }
        if let Some(audio) = &mut self.audio {
            audio.is_new = false;
            if let Some(last) = self.ready.back_mut().filter(|_| self.is_over) {
                last.heard.extend(audio.heard.drain(..));
            }
        }
    }

    fn read_picture(&mut self) -> Result<Option<Sample>, MuxError> {
        loop {
            let mut packet = ffmpeg::Packet::empty();
            match packet.read(&mut self.input) {
                Ok(()) if packet.is_corrupt() => continue,
                Ok(()) if packet.stream() != self.index => {
                    self.hear(&packet);
                    continue;
                }
                Ok(()) => {}
                Err(ffmpeg::Error::Eof) => return Ok(None),
                Err(error) => return Err(MuxError::Refused { path: self.path.clone(), reason: error.to_string() }),
            }
            let Some(data) = packet.data().filter(|data| !data.is_empty()) else { continue };
            let Some(decoded) = packet.dts().or(packet.pts()) else { continue };
            let nanos = |ticks| nanos(ticks, self.nanos_per_tick);
            let shown = packet.pts().unwrap_or(decoded).max(decoded);
            return Ok(Some(Sample {
                decoded_ns: nanos(decoded),
                shown_ns: nanos(shown),
                lasts: Duration::from_nanos(u64::try_from(nanos(packet.duration())).unwrap_or(0)),
                key_frame: packet.is_key(),
                data: Bytes::copy_from_slice(data),
                audio: self.audio.as_ref().map(|audio| audio.info.clone()),
                heard: Vec::new(),
            }));
        }
    }

    /// Keeps a packet of audio for the next picture.
    fn hear(&mut self, packet: &ffmpeg::Packet) {
        let Some(audio) = self.audio.as_mut().filter(|audio| packet.stream() == audio.index) else { return };
        let data = packet.data().filter(|data| !data.is_empty() && audio.heard.len() < MOST_HEARD);
        if let (Some(data), Some(at)) = (data, packet.pts().or(packet.dts())) {
            let nanos = |ticks| nanos(ticks, audio.nanos_per_tick);
            let lasts = Duration::from_nanos(u64::try_from(nanos(packet.duration())).unwrap_or(0));
            let heard = Heard { at: nanos(at), lasts, data: Bytes::copy_from_slice(data) };
            audio.heard.push_back(heard);
            audio.is_new = true;
        }
    }
}

/// Nanoseconds of so many ticks, and how many ticks that are.
fn nanos_per_tick(base: ffmpeg::Rational) -> (i64, i64) {
    (i64::from(base.numerator()) * 1_000_000_000, i64::from(base.denominator()).max(1))
}

fn nanos(ticks: i64, (per_tick, ticks_per): (i64, i64)) -> i64 {
    i64::try_from(i128::from(ticks) * i128::from(per_tick) / i128::from(ticks_per)).unwrap_or(i64::MAX)
}
