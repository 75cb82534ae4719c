//! libavcodec: which decoders there are, opening one, feeding it.

use std::ffi::CString;
use std::ptr;
use std::sync::Once;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::codec::{Capabilities, Flags, Id, decoder, threading};
use ffmpeg_next::ffi;
use ffmpeg_next::frame;

use crate::clock::Mono;
use crate::frame::{Codec, Packet, StreamInfo};

use super::{Config, DecodeError};

/// Time stamps go through libav in nanoseconds, so that they come back exactly.
const TIME_BASE: (i32, i32) = (1, 1_000_000_000);

/// The largest picture we decode: 8K and a little. A damaged header can ask for gigabytes otherwise.
const MAX_PIXELS: i64 = 36_000_000;

/// The largest coded picture we hand to libav.
const MAX_PACKET: usize = 64 << 20;

/// How many pictures a stream with B-frames that refer to each other reorders.
const USUAL_REORDERING: i32 = 2;

static START: Once = Once::new();

/// Prepares libav once: its error texts, and its silence. It writes to standard error by itself otherwise,
/// per damaged picture; to debug, turn on TRACE for this module and gets it there.
pub(super) fn start() {
    START.call_once(|| {
        // Never fails; it only fills the table of error texts.
        let _ = ffmpeg::init();
        let verbose = tracing::enabled!(tracing::Level::TRACE);
        ffmpeg::log::set_level(if verbose { ffmpeg::log::Level::Info } else { ffmpeg::log::Level::Quiet });
    });
}

/// All video decoders by name.
pub(super) fn video_decoder_names() -> Vec<String> {
    video_decoders().iter().map(|c| c.name().to_owned()).collect()
}

/// The decoders for `codec` by name, libav's own choice first.
pub(super) fn decoder_names(codec: &Codec) -> Vec<String> {
    decoders(codec).iter().map(|c| c.name().to_owned()).collect()
}

fn decoders(codec: &Codec) -> Vec<ffmpeg::Codec> {
    let id = match codec {
        Codec::H264 => codec_number(Id::H264),
        Codec::H265 => codec_number(Id::HEVC),
        Codec::Mjpeg => codec_number(Id::MJPEG),
        Codec::Yuyv => return Vec::new(),
        Codec::Other(name) => {
            let Some(id) = codec_number_by_name(name) else { return Vec::new() };
            id
        }
    };
    let experimental = |c: &ffmpeg::Codec| c.capabilities().contains(Capabilities::EXPERIMENTAL);
    let mut found: Vec<_> = video_decoders().into_iter().filter(|c| number_of(c) == id).collect();
    // libavcodec's table is in its order of preference, but for those it calls experimental.
    found.sort_by_key(experimental);
    found
}

fn codec_number(id: Id) -> u32 {
    ffi::AVCodecID::from(id) as u32
}

/// Codec numbers are compared as numbers: a library newer than our headers may know more of them.
#[allow(unsafe_code)]
fn number_of(codec: &ffmpeg::Codec) -> u32 {
    // SAFETY: entries of libavcodec's table live for ever; `id` is a C enum, which has the size of u32.
    unsafe { (&raw const (*codec.as_ptr()).id).cast::<u32>().read() }
}

#[allow(unsafe_code)]
fn codec_number_by_name(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: `name` is NUL-terminated; the answer is null or a static descriptor, whose `id` is a C enum
    // of the size of u32.
    unsafe {
        let descriptor = ffi::avcodec_descriptor_get_by_name(name.as_ptr());
        (!descriptor.is_null()).then(|| (&raw const (*descriptor).id).cast::<u32>().read())
    }
}

#[allow(unsafe_code)]
fn video_decoders() -> Vec<ffmpeg::Codec> {
    let mut cursor = ptr::null_mut();
    let mut found = Vec::new();
    loop {
        // SAFETY: `cursor` starts null and is only ever touched by libavcodec, which ends the walk with null.
        let codec = unsafe { ffi::av_codec_iterate(&raw mut cursor) };
        if codec.is_null() {
            return found;
        }
        // SAFETY: not null, and entries of libavcodec's table live for ever.
        let codec = unsafe { ffmpeg::Codec::wrap(codec) };
        if codec.is_decoder() && codec.is_video() {
            found.push(codec);
        }
    }
}

/// What a decoder gave back.
#[derive(Default)]
pub(super) struct Received {
    /// Whole pictures, in the order in which they are shown.
    pub pictures: Vec<frame::Video>,
    /// Why pictures had to be dropped, if any.
    pub damaged: Option<String>,
}

/// A decoder that is open.
pub(super) struct Open {
    decoder: decoder::Opened,
    name: String,
}

impl Open {
    /// Opens the decoder that `config` asks for, with the parameters of the stream that `first` begins.
    pub(super) fn new(first: &Packet, config: &Config) -> Result<Self, DecodeError> {
        let stream = &*first.stream;
        let wanted = (config.decoder != "auto").then_some(config.decoder.as_str());
        let codec = decoders(&stream.codec).into_iter().find(|c| wanted.is_none_or(|name| c.name() == name));
        let codec = codec
            .ok_or_else(|| DecodeError::NoDecoder { codec: stream.codec.clone(), wanted: wanted.map(str::to_owned) })?;
        let name = codec.name().to_owned();
        let mut context = ffmpeg::codec::Context::new_with_codec(codec);
        set_parameters(&mut context, stream).map_err(|e| open_error(&name, e))?;
        match first.offset.is_zero() {
            true => context.set_flags(Flags::LOW_DELAY),
            false => expect_reordering(&mut context),
        }
        // Slices only: threads that each take a picture would delay every picture by their number.
        let mut threads = threading::Config::kind(threading::Type::Slice);
        threads.count = config.threads as usize;
        context.set_threading(threads);
        let mut decoder = context.decoder();
        decoder.set_packet_time_base(TIME_BASE);
        if stream.codec == Codec::Mjpeg {
            // Without it a cut JPEG comes out half grey and unmarked.
            decoder.check(decoder::Check::EXPLODE);
        }
        let decoder = decoder.open_as(codec).map_err(|e| open_error(&name, e))?;
        Ok(Self { decoder, name })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Feeds one packet and takes what comes out.
    pub(super) fn decode(&mut self, coded: &Packet) -> Result<Received, ffmpeg::Error> {
        // An empty packet would mean "end of stream" to libav.
        if coded.data.is_empty() || coded.data.len() > MAX_PACKET {
            return Err(ffmpeg::Error::InvalidData);
        }
        let ticks = |at: Mono| i64::try_from(at.0).unwrap_or(i64::MAX);
        let mut packet = ffmpeg::Packet::copy(&coded.data);
        packet.set_pts(Some(ticks(coded.pts())));
        packet.set_dts(Some(ticks(coded.at)));
        if coded.key_frame {
            packet.set_flags(ffmpeg::packet::Flags::KEY);
        }
        let mut received = Received::default();
        match self.decoder.send_packet(&packet) {
            // A hardware decoder's queue may be full of pictures to be fetched first.
            Err(ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) => {
                self.receive(&mut received)?;
                self.decoder.send_packet(&packet)?;
            }
            sent => sent?,
        }
        self.receive(&mut received)?;
        Ok(received)
    }

    /// Takes what the decoder still holds; it accepts nothing more afterwards.
    pub(super) fn drain(&mut self) -> Received {
        let mut received = Received::default();
        if let Err(e) = self.decoder.send_eof().and_then(|()| self.receive(&mut received)) {
            received.damaged = Some(e.to_string());
        }
        received
    }

    /// Drops what the decoder still holds, references included.
    pub(super) fn forget(&mut self) {
        self.decoder.flush();
    }

    fn receive(&mut self, received: &mut Received) -> Result<(), ffmpeg::Error> {
        loop {
            let mut picture = frame::Video::empty();
            match self.decoder.receive_frame(&mut picture) {
                Ok(()) if picture.is_corrupt() => received.damaged = Some("references are missing".to_owned()),
                Ok(()) if picture.has_decode_errors() => received.damaged = Some("parts are missing".to_owned()),
                Ok(()) => received.pictures.push(picture),
                Err(ffmpeg::Error::Eof | ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) => return Ok(()),
                Err(e) => return Err(e),
            }
        }
    }
}

fn open_error(decoder: &str, error: ffmpeg::Error) -> DecodeError {
    DecodeError::Open { decoder: decoder.to_owned(), reason: error.to_string() }
}

/// H.264 need not say how many pictures it reorders. libav learns it at the cost of the pictures that come too late,
/// unless it is set.
#[allow(unsafe_code)]
fn expect_reordering(context: &mut ffmpeg::codec::Context) {
    // SAFETY: the context is ours alone and not open yet.
    if let Some(raw) = unsafe { context.as_mut_ptr().as_mut() } {
        raw.has_b_frames = USUAL_REORDERING;
    }
}

#[allow(unsafe_code)]
fn set_parameters(context: &mut ffmpeg::codec::Context, stream: &StreamInfo) -> Result<(), ffmpeg::Error> {
    let out_of_memory = ffmpeg::Error::Other { errno: ffmpeg::error::ENOMEM };
    let size = i32::try_from(stream.extradata.len()).map_err(|_| ffmpeg::Error::InvalidData)?;
    let (width, height) = (i32::try_from(stream.width), i32::try_from(stream.height));
    // SAFETY: the context is ours alone and not open yet. The extradata block comes from libav's allocator,
    // zeroed and with the padding its readers need, holds at least `size` bytes, and is freed with the context.
    unsafe {
        let raw = context.as_mut_ptr().as_mut().ok_or(out_of_memory)?;
        (raw.width, raw.height) = (width.unwrap_or(0), height.unwrap_or(0));
        raw.max_pixels = MAX_PIXELS;
        if size > 0 {
            let block = ffi::av_mallocz(stream.extradata.len() + ffi::AV_INPUT_BUFFER_PADDING_SIZE as usize);
            if block.is_null() {
                return Err(out_of_memory);
            }
            ptr::copy_nonoverlapping(stream.extradata.as_ptr(), block.cast(), stream.extradata.len());
            (raw.extradata, raw.extradata_size) = (block.cast(), size);
        }
    }
    Ok(())
}
