//! One picture out of libavcodec, as RGB.

use std::ffi::CStr;
use std::ptr;
use std::sync::Once;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::codec::{Id, decoder, threading};
use ffmpeg_next::ffi;
use ffmpeg_next::ffi::{AVColorRange, AVColorSpace, AVPixelFormat};
use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame;
use ffmpeg_next::software::scaling;
use image::RgbImage;

use super::super::MAX_PIXELS;

static START: Once = Once::new();

/// Prepares libav once: its error texts, and its silence.
pub(super) fn start() {
    START.call_once(|| {
        // Never fails; it only fills the table of error texts.
        let _ = ffmpeg::init();
        ffmpeg::log::set_level(ffmpeg::log::Level::Quiet);
    });
}

/// How numbers become colours, where the container says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Colours {
    /// Number of the matrix (ITU-T H.273).
    pub matrix: i32,
    /// 0..=255 instead of 16..=235.
    pub is_full: bool,
}

/// Decodes one coded picture.
///
/// # Errors
/// A sentence: this system has no such decoder, or the picture is damaged.
pub(super) fn decode(codec: Id, configuration: &[u8], data: &[u8]) -> Result<frame::Video, String> {
    start();
    let decoder = ffmpeg::decoder::find(codec).ok_or_else(|| {
        let name = format!("{codec:?}").to_lowercase();
        format!(
            "this box cannot show it: its FFmpeg libraries have no decoder for {name}; the original is kept as it is"
        )
    })?;
    let mut context = ffmpeg::codec::Context::new_with_codec(decoder);
    let damaged = |error: ffmpeg::Error| format!("the picture is damaged or cut off: {error}");
    configure(&mut context, configuration).map_err(damaged)?;
    let mut threads = threading::Config::kind(threading::Type::Slice);
    threads.count = 1;
    context.set_threading(threads);
    let mut opened = context.decoder().open_as(decoder).map_err(damaged)?;
    opened.send_packet(&ffmpeg::Packet::copy(data)).map_err(damaged)?;
    opened.send_eof().map_err(damaged)?;
    receive(&mut opened).map_err(damaged)
}

/// The next picture of a decoder.
pub(super) fn receive(opened: &mut decoder::Opened) -> Result<frame::Video, ffmpeg::Error> {
    let mut picture = frame::Video::empty();
    opened.receive_frame(&mut picture)?;
    match picture.is_corrupt() || picture.has_decode_errors() {
        true => Err(ffmpeg::Error::InvalidData),
        false => Ok(picture),
    }
}

#[allow(unsafe_code)]
fn configure(context: &mut ffmpeg::codec::Context, configuration: &[u8]) -> Result<(), ffmpeg::Error> {
    let out_of_memory = ffmpeg::Error::Other { errno: ffmpeg::error::ENOMEM };
    let size = i32::try_from(configuration.len()).map_err(|_| ffmpeg::Error::InvalidData)?;
    // SAFETY: the context is ours alone and not open yet. The block comes from libav's allocator, zeroed and with the
    // padding its readers need, holds at least `size` bytes, and is freed with the context.
    unsafe {
        let raw = context.as_mut_ptr().as_mut().ok_or(out_of_memory)?;
        raw.max_pixels = i64::try_from(MAX_PIXELS).unwrap_or(i64::MAX);
        if size > 0 {
            let block = ffi::av_mallocz(configuration.len() + ffi::AV_INPUT_BUFFER_PADDING_SIZE as usize);
            if block.is_null() {
                return Err(out_of_memory);
            }
            ptr::copy_nonoverlapping(configuration.as_ptr(), block.cast(), configuration.len());
            (raw.extradata, raw.extradata_size) = (block.cast(), size);
        }
    }
    Ok(())
}

/// A decoded picture as RGB; the colours are those of the picture where `said` says nothing.
///
/// # Errors
/// A sentence.
pub(super) fn rgb(video: &frame::Video, said: Option<Colours>) -> Result<RgbImage, String> {
    let (width, height) = (video.width(), video.height());
    if width == 0 || height == 0 || u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(format!("{width}x{height} pixels are none, or more than are unpacked"));
    }
    let refused =
        || "this box cannot show it: swscale does not read its pixels; the original is kept as it is".to_owned();
    let mut out = frame::Video::new(Pixel::RGB24, width, height);
    if out.planes() == 0 || !convert(video, said.unwrap_or_else(|| colours_of(video)), &mut out) {
        return Err(refused());
    }
    let row = width as usize * 3;
    let mut data = Vec::with_capacity(row * height as usize);
    for line in out.data(0).chunks(out.stride(0)).take(height as usize) {
        data.extend_from_slice(line.get(..row).unwrap_or_default());
    }
    RgbImage::from_raw(width, height, data).ok_or_else(refused)
}

/// Reads the tags as numbers: a library newer than our headers may know more of them than the enum.
#[allow(unsafe_code)]
fn colours_of(video: &frame::Video) -> Colours {
    // SAFETY: the frame is allocated as long as `video` lives; the fields are C enums of the size of i32.
    let (space, range, format) = unsafe {
        let raw = video.as_ptr();
        (
            (&raw const (*raw).colorspace).cast::<i32>().read(),
            (&raw const (*raw).color_range).cast::<i32>().read(),
            (*raw).format,
        )
    };
    let is_unknown = space == AVColorSpace::AVCOL_SPC_UNSPECIFIED as i32;
    let hd = video.height() >= 720;
    let usual = if hd { AVColorSpace::AVCOL_SPC_BT709 } else { AVColorSpace::AVCOL_SPC_SMPTE170M };
    const FULL_BY_NAME: [AVPixelFormat; 3] =
        [AVPixelFormat::AV_PIX_FMT_YUVJ420P, AVPixelFormat::AV_PIX_FMT_YUVJ422P, AVPixelFormat::AV_PIX_FMT_YUVJ444P];
    let is_full = range == AVColorRange::AVCOL_RANGE_JPEG as i32 || FULL_BY_NAME.iter().any(|f| *f as i32 == format);
    Colours { matrix: if is_unknown { usual as i32 } else { space }, is_full }
}

#[allow(unsafe_code)]
fn convert(video: &frame::Video, colours: Colours, out: &mut frame::Video) -> bool {
    let flags = scaling::Flags::BILINEAR | scaling::Flags::ACCURATE_RND | scaling::Flags::FULL_CHR_H_INT;
    // SAFETY: the frame is allocated as long as `video` lives.
    let format = unsafe { (*video.as_ptr()).format };
    let options: [(&CStr, i64); 9] = [
        (c"srcw", video.width().into()),
        (c"srch", video.height().into()),
        (c"src_format", format.into()),
        (c"src_range", colours.is_full.into()),
        (c"dstw", video.width().into()),
        (c"dsth", video.height().into()),
        (c"dst_format", AVPixelFormat::from(Pixel::RGB24) as i64),
        (c"dst_range", 1),
        (c"sws_flags", flags.bits().into()),
    ];
    // SAFETY: the context is checked for null, ours alone, and freed; names are NUL-terminated, the tables static. swscale
    // itself refuses pixel formats that it does not read when it is prepared. Both frames have the sizes and formats that
    // it was prepared for, with all their planes.
    unsafe {
        let context = ffi::sws_alloc_context();
        if context.is_null() {
            return false;
        }
        let set = |(name, value): &(&CStr, i64)| ffi::av_opt_set_int(context.cast(), name.as_ptr(), *value, 0) >= 0;
        let is_ready = options.iter().all(set) && ffi::sws_init_context(context, ptr::null_mut(), ptr::null_mut()) >= 0;
        let mut rows = 0;
        if is_ready {
            let table = ffi::sws_getCoefficients(colours.matrix);
            ffi::sws_setColorspaceDetails(context, table, colours.is_full.into(), table, 1, 0, 1 << 16, 1 << 16);
            let (from, to) = (video.as_ptr(), out.as_mut_ptr());
            rows = ffi::sws_scale(
                context,
                (*from).data.as_ptr().cast(),
                (*from).linesize.as_ptr(),
                0,
                (*from).height,
                (*to).data.as_ptr(),
                (*to).linesize.as_ptr(),
            );
        }
        ffi::sws_freeContext(context);
        u32::try_from(rows) == Ok(video.height())
    }
}
