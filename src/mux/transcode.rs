//! One encoding for cameras that give neither H.264 nor H.265: decode, scale to 4:2:0, encode.

use std::collections::VecDeque;
use std::ptr;

use bytes::Bytes;
use ffmpeg_next as ffmpeg;
use ffmpeg_next::codec::{self, Id, decoder, encoder, threading};
use ffmpeg_next::ffi;
use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame;

use crate::clock::Mono;
use crate::frame::{Codec, Orientation, Packet, StreamInfo};

use super::scale::{Scaler, Scaling};
use super::{Coded, Config, MuxError, encode_error, params};

/// Hardware first, then by quality; the last one is in every build, but no browser plays it.
const PREFERRED: [&str; 5] = ["h264_nvmpi", "h264_v4l2m2m", "libx264", "libopenh264", "mpeg4"];

/// Ticks a second of the encoder: milliseconds, because MPEG-4 allows no more than 65535.
const TIMESCALE: i64 = 1_000;

/// Seconds from one key frame to the next: where a player can jump to, and where a fragment can start a clip.
const KEY_FRAME_EVERY_MS: i64 = 2_000;

/// Frames a second that a camera is taken for when it does not say.
const DEFAULT_FPS: f32 = 25.0;

/// No picture is larger: 8K and a little, as for decoding.
const MAX_PIXELS: u64 = 36_000_000;

/// The encoders for clips that this build of libavcodec has, the preferred ones first.
///
/// Whether a hardware encoder opens is known only when it is used.
pub fn encoders() -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut cursor = ptr::null_mut();
    while let Some(codec) = next_codec(&mut cursor) {
        if codec.is_encoder() && is_for_clips(&codec) {
            names.push(codec.name().to_owned());
        }
    }
    let rank = |name: &String| PREFERRED.iter().position(|p| p == name).unwrap_or(PREFERRED.len());
    names.sort_by_key(rank);
    names
}

#[allow(unsafe_code)]
fn next_codec(cursor: &mut *mut std::ffi::c_void) -> Option<ffmpeg::Codec> {
    // SAFETY: `cursor` starts null and only libavcodec touches it; entries of its table live for ever.
    unsafe {
        let codec = ffi::av_codec_iterate(cursor);
        (!codec.is_null()).then(|| ffmpeg::Codec::wrap(codec))
    }
}

/// Compares codec numbers as numbers: a library newer than our headers may know more of them.
#[allow(unsafe_code)]
fn is_for_clips(codec: &ffmpeg::Codec) -> bool {
    // SAFETY: entries of libavcodec's table live for ever; `id` is a C enum, which has the size of u32.
    let number = unsafe { (&raw const (*codec.as_ptr()).id).cast::<u32>().read() };
    [Id::H264, Id::HEVC, Id::MPEG4].into_iter().any(|id| ffi::AVCodecID::from(id) as u32 == number)
}

/// What an encoder makes.
pub(super) struct Encoded {
    pub id: Id,
    /// Width and height.
    pub size: (u32, u32),
    /// Codec parameters, where the encoder states them outside its packets.
    pub extradata: Bytes,
    /// What makes the pictures upright.
    pub orientation: Orientation,
}

/// Turns one camera's packets into coded pictures for a clip.
pub(super) struct Transcoder {
    config: Config,
    stream: StreamInfo,
    /// None for YUYV, which needs no decoding.
    decoder: Option<decoder::Opened>,
    /// Opened by the first picture, which gives the size.
    encoder: Option<Encoding>,
}

/// The encoder with what feeds it.
struct Encoding {
    encoder: encoder::video::Encoder,
    id: Id,
    size: (u32, u32),
    orientation: Orientation,
    scaler: Option<Scaler>,
    start: Mono,
    last_ticks: i64,
    last_key_ticks: i64,
    /// Times of the pictures inside the encoder, by their ticks.
    times: VecDeque<(i64, Mono)>,
}

impl Transcoder {
    pub(super) fn new(stream: &StreamInfo, config: &Config) -> Result<Self, MuxError> {
        let decoder = match &stream.codec {
            Codec::Yuyv => None,
            codec => Some(open_decoder(codec, stream).ok_or_else(|| encode_error(format!("no decoder for {codec}")))?),
        };
        Ok(Self { config: config.clone(), stream: stream.clone(), decoder, encoder: None })
    }

    /// Goes on with pictures of another size or coding in the same output. Gives what the decoder still held.
    pub(super) fn change_input(&mut self, stream: &StreamInfo) -> Result<Vec<Coded>, MuxError> {
        let next = Self::new(stream, &self.config)?;
        let mut coded = Vec::new();
        self.drain_decoder(&mut coded);
        (self.decoder, self.stream) = (next.decoder, next.stream);
        Ok(coded)
    }

    /// What the encoder makes, once it is open.
    pub(super) fn output(&self) -> Option<Encoded> {
        let encoding = self.encoder.as_ref()?;
        let (extradata, orientation) = (extradata(&encoding.encoder), encoding.orientation);
        Some(Encoded { id: encoding.id, size: encoding.size, extradata, orientation })
    }

    /// Encodes the pictures in `packet`. A damaged one is left out: the clip shows the one before it for longer.
    pub(super) fn encode(&mut self, packet: &Packet) -> Result<Vec<Coded>, MuxError> {
        let mut coded = Vec::new();
        for (at, picture) in self.pictures(packet) {
            self.encode_picture(at, &picture, &mut coded)?;
        }
        Ok(coded)
    }

    /// Encodes what the decoder still holds, and gives what the encoder still holds.
    pub(super) fn finish(&mut self) -> Vec<Coded> {
        let mut coded = Vec::new();
        self.drain_decoder(&mut coded);
        if let Some(encoding) = &mut self.encoder
            && encoding.encoder.send_eof().is_ok()
        {
            encoding.receive(&mut coded);
        }
        coded
    }

    /// Encodes what the decoder still holds. It is at its end then.
    fn drain_decoder(&mut self, coded: &mut Vec<Coded>) {
        let Some(decoder) = &mut self.decoder else { return };
        if decoder.send_eof().is_ok() {
            for (at, picture) in receive_pictures(decoder, None) {
                // Nothing more comes from this decoder either way; what can still be encoded is.
                let _ = self.encode_picture(at, &picture, coded);
            }
        }
    }

    fn pictures(&mut self, packet: &Packet) -> Vec<(Mono, frame::Video)> {
        let Some(decoder) = &mut self.decoder else {
            return yuyv_picture(&self.stream, &packet.data)
                .map(|picture| (packet.pts(), picture))
                .into_iter()
                .collect();
        };
        // An empty packet would mean "end of stream" to libav.
        if packet.data.is_empty() {
            return Vec::new();
        }
        let mut input = ffmpeg::Packet::copy(&packet.data);
        input.set_pts(i64::try_from(packet.pts().0).ok());
        input.set_dts(i64::try_from(packet.at.0).ok());
        if let Err(error) = decoder.send_packet(&input) {
            tracing::debug!(%error, "damaged picture left out of the clip");
            decoder.flush();
            return Vec::new();
        }
        receive_pictures(decoder, Some(packet.pts()))
    }

    fn encode_picture(&mut self, at: Mono, picture: &frame::Video, coded: &mut Vec<Coded>) -> Result<(), MuxError> {
        let encoding = match &mut self.encoder {
            Some(encoding) => encoding,
            None => self.encoder.insert(Encoding::open(&self.config, &self.stream, picture, at)?),
        };
        encoding.encode(at, picture, &self.stream.codec)?;
        encoding.receive(coded);
        Ok(())
    }
}

impl Encoding {
    /// Opens the encoder that the config names, or the first that opens.
    fn open(config: &Config, stream: &StreamInfo, picture: &frame::Video, at: Mono) -> Result<Self, MuxError> {
        // 4:2:0 has one colour for two by two pixels; an odd last row or column is squeezed in.
        let even = |side: u32| (side & !1).max(2);
        let size = (even(picture.width()), even(picture.height()));
        let fps = stream.fps.filter(|fps| (0.1..=240.0).contains(fps)).unwrap_or(DEFAULT_FPS);
        let names = match config.encoder.as_str() {
            "auto" => PREFERRED.to_vec(),
            name => vec![name],
        };
        let mut tried = Vec::new();
        for name in names {
            match open_encoder(name, config, size, fps) {
                Ok((encoder, id)) => {
                    tracing::debug!(encoder = name, width = size.0, height = size.1, "clip encoder opened");
                    let times = VecDeque::new();
                    let (last_ticks, last_key_ticks) = (-1, -KEY_FRAME_EVERY_MS);
                    let orientation = orientation_of(picture).unwrap_or(stream.orientation);
                    return Ok(Self {
                        encoder,
                        id,
                        size,
                        orientation,
                        scaler: None,
                        start: at,
                        last_ticks,
                        last_key_ticks,
                        times,
                    });
                }
                Err(reason) => tried.push(format!("{name}: {reason}")),
            }
        }
        Err(encode_error(format!("no encoder opens for {}x{} ({})", size.0, size.1, tried.join("; "))))
    }

    fn encode(&mut self, at: Mono, picture: &frame::Video, codec: &Codec) -> Result<(), MuxError> {
        let wanted = Scaling::new(picture, codec, self.size);
        let scaler = match self.scaler.take() {
            Some(scaler) if scaler.scaling == wanted => scaler,
            _ => Scaler::new(wanted)?,
        };
        // A fresh frame each time, because the encoder may keep a reference.
        let mut frame = scaler.run(picture)?;
        self.scaler = Some(scaler);
        let since_start = i64::try_from(at.since(self.start).as_millis()).unwrap_or(i64::MAX);
        let ticks = since_start.max(self.last_ticks + 1);
        frame.set_pts(Some(ticks));
        if ticks - self.last_key_ticks >= KEY_FRAME_EVERY_MS {
            frame.set_kind(ffmpeg::picture::Type::I);
            self.last_key_ticks = ticks;
        }
        self.last_ticks = ticks;
        self.times.push_back((ticks, at));
        self.encoder.send_frame(&frame).map_err(|e| encode_error(e.to_string()))
    }

    fn receive(&mut self, coded: &mut Vec<Coded>) {
        let mut packet = ffmpeg::Packet::empty();
        while self.encoder.receive_packet(&mut packet).is_ok() {
            let ticks = packet.pts().unwrap_or(self.last_ticks);
            // No B-frames, so pictures come out in the order in which they went in.
            let mut at = self.start;
            while let Some((inside, time)) = self.times.front().copied()
                && inside <= ticks
            {
                at = time;
                self.times.pop_front();
            }
            let data = Bytes::copy_from_slice(packet.data().unwrap_or_default());
            coded.push(Coded { at, pts: at, key: packet.is_key(), gradual: false, data });
        }
    }
}

/// What the picture itself says, such as EXIF in a JPEG.
fn orientation_of(picture: &frame::Video) -> Option<Orientation> {
    let matrix = picture.side_data(frame::side_data::Type::DisplayMatrix)?;
    Some(Orientation::from_side_data(matrix.data()))
}

/// libav's own choice for the coding. Decoders have names of their own: AV1 is decoded by `libdav1d`.
#[allow(unsafe_code)]
fn find_decoder(codec: &Codec) -> Option<ffmpeg::Codec> {
    let name = std::ffi::CString::new(codec.name()).ok()?;
    // SAFETY: the name is NUL-terminated, descriptors are static, and the answers are null or live for ever.
    unsafe {
        let descriptor = ffi::avcodec_descriptor_get_by_name(name.as_ptr());
        if descriptor.is_null() {
            return None;
        }
        let found = ffi::avcodec_find_decoder((*descriptor).id);
        (!found.is_null()).then(|| ffmpeg::Codec::wrap(found))
    }
}

fn open_decoder(codec: &Codec, stream: &StreamInfo) -> Option<decoder::Opened> {
    let found = find_decoder(codec)?;
    let mut context = codec::Context::new_with_codec(found);
    params::set_extradata(&mut context, &stream.extradata)?;
    let mut decoder = context.decoder();
    decoder.set_packet_time_base((1, 1_000_000_000));
    // A cut JPEG is left out instead of shown half grey.
    decoder.check(decoder::Check::EXPLODE);
    decoder.open_as(found).ok()
}

fn receive_pictures(decoder: &mut decoder::Opened, fallback: Option<Mono>) -> Vec<(Mono, frame::Video)> {
    let mut pictures = Vec::new();
    loop {
        let mut picture = frame::Video::empty();
        if decoder.receive_frame(&mut picture).is_err() {
            return pictures;
        }
        let at = picture.pts().and_then(|pts| u64::try_from(pts).ok()).map(Mono).or(fallback);
        let sane = u64::from(picture.width()) * u64::from(picture.height()) <= MAX_PIXELS;
        if let (Some(at), true, false) = (at, sane, picture.is_corrupt()) {
            pictures.push((at, picture));
        }
    }
}

fn yuyv_picture(stream: &StreamInfo, data: &[u8]) -> Option<frame::Video> {
    let (width, height) = (stream.width, stream.height);
    // Two pixels share four bytes.
    let row = width.div_ceil(2) as usize * 4;
    if row == 0 || height == 0 || u64::from(width) * u64::from(height) > MAX_PIXELS {
        return None;
    }
    if data.len() < row * height as usize {
        tracing::debug!(bytes = data.len(), "short YUYV picture left out of the clip");
        return None;
    }
    let mut video = frame::Video::new(Pixel::YUYV422, width, height);
    if video.planes() == 0 {
        return None;
    }
    let stride = video.stride(0);
    for (to, from) in video.data_mut(0).chunks_mut(stride).zip(data.chunks_exact(row)) {
        to.get_mut(..row)?.copy_from_slice(from);
    }
    Some(video)
}

fn open_encoder(
    name: &str,
    config: &Config,
    size: (u32, u32),
    fps: f32,
) -> Result<(encoder::video::Encoder, Id), String> {
    let found = (!name.contains('\0')).then(|| encoder::find_by_name(name)).flatten();
    let found = found.filter(is_for_clips).ok_or("not in this build of libavcodec")?;
    let id = found.id();
    let context = codec::Context::new_with_codec(found);
    let mut video = context.encoder().video().map_err(|e| e.to_string())?;
    video.set_width(size.0);
    video.set_height(size.1);
    video.set_format(Pixel::YUV420P);
    video.set_time_base((1, TIMESCALE as i32));
    video.set_frame_rate(Some(((fps * 1000.0) as i32, 1000)));
    video.set_max_b_frames(0);
    video.set_gop(((fps * KEY_FRAME_EVERY_MS as f32 / 1000.0) as u32).max(1));
    video.set_colorspace(ffmpeg::color::Space::SMPTE170M);
    video.set_color_range(ffmpeg::color::Range::MPEG);
    let mut threads = threading::Config::kind(threading::Type::Slice);
    threads.count = config.threads as usize;
    video.set_threading(threads);
    let mut options = ffmpeg::Dictionary::new();
    let by_quality = name == "libx264" && config.bitrate_kbps == 0;
    if name == "libx264" {
        options.set("preset", &config.preset);
        options.set("tune", "zerolatency");
        options.set("forced-idr", "1");
    }
    if by_quality {
        options.set("crf", &config.crf.to_string());
    } else {
        video.set_bit_rate(bit_rate(config, size, fps));
    }
    if id == Id::MPEG4 {
        // MP4 wants its parameters in the header only; H.264 encoders repeat them before each key frame.
        video.set_flags(codec::Flags::GLOBAL_HEADER);
    }
    video.open_as_with(found, options).map(|encoder| (encoder, id)).map_err(|e| e.to_string())
}

#[allow(unsafe_code)]
fn extradata(encoder: &encoder::video::Encoder) -> Bytes {
    // SAFETY: the context lives as long as the encoder; libav keeps pointer and size in step.
    unsafe {
        let raw = encoder.as_ptr();
        match usize::try_from((*raw).extradata_size) {
            Ok(size) if size > 0 && !(*raw).extradata.is_null() => {
                Bytes::copy_from_slice(std::slice::from_raw_parts((*raw).extradata, size))
            }
            _ => Bytes::new(),
        }
    }
}

/// A tenth of a bit a pixel is decent H.264.
fn bit_rate(config: &Config, size: (u32, u32), fps: f32) -> usize {
    match config.bitrate_kbps {
        0 => (0.1 * size.0 as f32 * size.1 as f32 * fps) as usize,
        kbps => kbps as usize * 1000,
    }
}
