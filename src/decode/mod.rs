//! Stage 3: packets to pictures.
//!
//! libavcodec does the work, with whatever decoders the system's build brings. Pictures stay in the
//! decoder's own form; scaling and colour conversion happen once per request, on request.
//!
//! A picture is shown whole or not at all: after a loss, an error or a picture that libav marks as
//! damaged, everything up to the next key frame is skipped, because what follows a damaged picture
//! inherits its damage without being marked.

mod libav;
mod picture;
mod still;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use ffmpeg_next as ffmpeg;
use serde::{Deserialize, Serialize};

use crate::clock::Mono;
use crate::frame::{Codec, Frame, Packet, StreamInfo, upright};

use libav::Received;
use picture::LibavPicture;

pub use still::load_still;

/// More threads than any box of this kind has cores.
const MAX_THREADS: u32 = 64;

/// How many packets a decoder may hold back before we forget their exact times.
const REMEMBERED_TIMES: usize = 64;

/// How one camera's packets are decoded; `[camera.<name>.decode]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `"auto"` lets libavcodec choose (its software decoder). Otherwise the name of one of its decoders,
    /// such as `"h264_nvv4l2dec"` or `"h264_v4l2m2m"`, to decode in hardware. Default `"auto"`.
    pub decoder: String,
    /// Decoding threads, which share the slices of one picture so that no picture is delayed; 0 lets libav choose.
    /// Default 1: cheap cameras send one slice a picture, and several cameras share the cores anyway.
    pub threads: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { decoder: "auto".to_owned(), threads: 1 }
    }
}

impl Config {
    /// Checks that this system has the decoder, and that it understands `codec` where that is known.
    ///
    /// # Errors
    /// A sentence that names the field, the reason and the decoders there are.
    pub fn validate(&self, codec: Option<&Codec>) -> Result<(), String> {
        if self.threads > MAX_THREADS {
            return Err(format!("threads = {} is more than {MAX_THREADS}", self.threads));
        }
        if self.decoder == "auto" {
            return Ok(());
        }
        let names = codec.map_or_else(libav::video_decoder_names, decoders_for);
        if names.contains(&self.decoder) {
            return Ok(());
        }
        let what = codec.map_or_else(|| "video".to_owned(), Codec::to_string);
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Err(format!("decoder {:?} is not one for {what} on this system; use \"auto\" or one of: {names}", self.decoder))
    }
}

/// The decoders this system has for `codec`, libav's own choice first. YUYV needs none.
pub fn decoders_for(codec: &Codec) -> Vec<String> {
    libav::decoder_names(codec)
}

/// Why packets do not become pictures.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// This system cannot decode such packets; a person must change the config or install a decoder.
    #[error("no decoder for {codec}{}", .wanted.as_ref().map(|n| format!(" named {n:?}")).unwrap_or_default())]
    NoDecoder {
        /// What the packets are.
        codec: Codec,
        /// The decoder that the config asks for.
        wanted: Option<String>,
    },
    /// The decoder exists but does not start: bad parameters, or hardware that is absent or busy.
    #[error("open decoder {decoder}: {reason}")]
    Open {
        /// libav's name of it.
        decoder: String,
        /// libav's words.
        reason: String,
    },
    /// This packet, or one before it, is damaged. Decoding goes on at the next key frame.
    #[error("damaged picture: {0}")]
    Damaged(String),
    /// A still picture could not be loaded.
    #[error("load picture {path}: {reason}")]
    Still {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl DecodeError {
    /// Whether decoding recovers by itself at a later key frame.
    pub fn is_transient(&self) -> bool {
        matches!(self, DecodeError::Damaged(_))
    }
}

/// Decodes the packets of one camera, one after the other.
///
/// It opens itself with the first key frame, and again when the stream's parameters change.
pub struct Decoder {
    config: Config,
    stream: Option<Arc<StreamInfo>>,
    open: Option<libav::Open>,
    /// Times of the packets that went in, oldest first: hardware decoders round what they carry through.
    times: VecDeque<Mono>,
    needs_key_frame: bool,
    /// When the key frame that decoding began with is shown. What follows it and is shown earlier (an open GOP)
    /// refers to pictures that were not decoded.
    shown_from: Mono,
}

impl Decoder {
    /// Opens nothing yet.
    pub fn new(config: Config) -> Self {
        libav::start();
        let times = VecDeque::with_capacity(REMEMBERED_TIMES);
        Self { config, stream: None, open: None, times, needs_key_frame: true, shown_from: Mono::default() }
    }

    /// Gives the pictures that `packet` completes: none while a key frame is awaited, more than one when
    /// a changed stream pushes out what was held back. Each carries the time of its own packet.
    ///
    /// Pictures that libav marks as corrupt or concealed are dropped, never shown.
    ///
    /// # Errors
    /// [`DecodeError::Damaged`] recovers at the next key frame without the caller's doing; the others come
    /// back with every key frame until config or stream change.
    pub fn decode(&mut self, packet: &Packet) -> Result<Vec<Frame>, DecodeError> {
        let mut frames = self.follow(&packet.stream);
        if packet.stream.codec == Codec::Yuyv {
            let picture = LibavPicture::from_yuyv(&packet.stream, &packet.data)?;
            frames.push(Frame { at: packet.pts(), picture: upright(picture, packet.stream.orientation) });
            return Ok(frames);
        }
        if packet.loss > 0 {
            self.await_key_frame();
        }
        let refers_back = !packet.key_frame && packet.pts() < self.shown_from;
        if (self.needs_key_frame && !packet.key_frame) || refers_back {
            return Ok(frames);
        }
        if self.needs_key_frame {
            self.shown_from = packet.pts();
        }
        match self.decode_coded(packet) {
            Ok(more) => frames.extend(more),
            // What a changed stream pushed out is good; the error comes again if it is lasting.
            Err(_) if !frames.is_empty() => {}
            Err(e) => return Err(e),
        }
        Ok(frames)
    }

    /// Gives the pictures still held back (streams with B-frames only). Decoding goes on at the next key frame.
    pub fn flush(&mut self) -> Vec<Frame> {
        self.needs_key_frame = true;
        let Some(mut open) = self.open.take() else { return Vec::new() };
        let received = open.drain();
        self.frames(received)
    }

    /// libav's name of the decoder in use, once one is open.
    pub fn decoder_name(&self) -> Option<&str> {
        match &self.stream {
            Some(stream) if stream.codec == Codec::Yuyv => Some("rawvideo"),
            _ => self.open.as_ref().map(libav::Open::name),
        }
    }

    /// Notes the stream's parameters; when they changed, closes the decoder and gives what it still held.
    fn follow(&mut self, stream: &Arc<StreamInfo>) -> Vec<Frame> {
        if self.stream.as_ref().is_some_and(|s| Arc::ptr_eq(s, stream)) {
            return Vec::new();
        }
        let changed = self.stream.as_ref().is_some_and(|s| s != stream);
        let held_back = if changed { self.flush() } else { Vec::new() };
        self.stream = Some(stream.clone());
        held_back
    }

    fn await_key_frame(&mut self) {
        self.needs_key_frame = true;
        self.times.clear();
        if let Some(open) = &mut self.open {
            open.forget();
        }
    }

    fn decode_coded(&mut self, packet: &Packet) -> Result<Vec<Frame>, DecodeError> {
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(libav::Open::new(packet, &self.config)?),
        };
        if self.times.len() == REMEMBERED_TIMES {
            self.times.pop_front();
        }
        self.times.push_back(packet.pts());
        self.needs_key_frame = false;
        let outcome = open.decode(packet);
        match outcome {
            Ok(received) if received.damaged.is_none() => Ok(self.frames(received)),
            Ok(mut received) => {
                let why = received.damaged.take().unwrap_or_default();
                let frames = self.frames(received);
                self.await_key_frame();
                if frames.is_empty() { Err(DecodeError::Damaged(why)) } else { Ok(frames) }
            }
            Err(e) => {
                // Opening afresh is the one reset that every decoder, hardware included, honours after an error.
                self.open = None;
                self.await_key_frame();
                Err(DecodeError::Damaged(e.to_string()))
            }
        }
    }

    fn frames(&mut self, received: Received) -> Vec<Frame> {
        let last = self.times.back().copied().unwrap_or_default();
        let stated = self.stream.as_ref().map(|stream| stream.orientation).unwrap_or_default();
        let frame = |video: ffmpeg::frame::Video| {
            let at = video.pts().and_then(|pts| u64::try_from(pts).ok()).map_or(last, |pts| self.exact_time(Mono(pts)));
            // What the picture itself states is newer than what was said of the stream.
            let orientation = picture::orientation_of(&video).unwrap_or(stated);
            Frame { at, picture: upright(LibavPicture::new(video), orientation) }
        };
        received.pictures.into_iter().map(frame).collect()
    }

    /// The packet time that a decoder handed back as `pts`, which V4L2 rounds to microseconds.
    fn exact_time(&self, pts: Mono) -> Mono {
        self.times.iter().copied().find(|at| at.0.abs_diff(pts.0) < 1_000).unwrap_or(pts)
    }
}
