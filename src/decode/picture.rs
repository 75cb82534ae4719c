//! A decoded picture in the decoder's own form, and its one-pass conversion by swscale.

use std::cell::RefCell;
use std::ffi::CStr;
use std::mem;
use std::ptr;

use ffmpeg_next::ffi;
use ffmpeg_next::ffi::{AVColorRange, AVColorSpace, AVPixelFormat};
use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame;
use ffmpeg_next::software::scaling;

use crate::frame::{Luma, Orientation, Picture, PictureError, Rgb, StreamInfo};

use super::DecodeError;

/// Prepared conversions that a thread keeps. A gate thread needs one, an inference worker one per camera size.
const KEPT_PER_THREAD: usize = 8;

/// No side of a picture is longer: what hardware decoders and swscale are tested for.
const MAX_SIDE: u32 = 16_384;

/// From this height on an untagged picture is taken as BT.709, below as BT.601: what cameras do.
const HD_HEIGHT: u32 = 720;

/// A picture that shares the decoder's buffer.
pub(super) struct LibavPicture {
    video: frame::Video,
    colour: Colour,
}

/// How the picture's numbers become colours.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Colour {
    /// `SWS_CS_*`, which has the numbers of `AVColorSpace`.
    matrix: i32,
    /// 0..=255 instead of 16..=235.
    full_range: bool,
}

impl LibavPicture {
    pub(super) fn new(video: frame::Video) -> Self {
        let colour = colour_of(&video);
        Self { video, colour }
    }

    /// Wraps uncompressed 4:2:2, the only form that needs no decoder.
    pub(super) fn from_yuyv(stream: &StreamInfo, data: &[u8]) -> Result<Self, DecodeError> {
        let (width, height) = (stream.width, stream.height);
        if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
            return Err(DecodeError::Damaged(format!("YUYV picture of {width}x{height}")));
        }
        // Two pixels share four bytes.
        let row = width.div_ceil(2) as usize * 4;
        let needed = row * height as usize;
        if data.len() < needed {
            return Err(DecodeError::Damaged(format!("{} bytes instead of {needed} of YUYV", data.len())));
        }
        // libav's own allocation has the padding that swscale reads beyond a row's end.
        let mut video = frame::Video::new(Pixel::YUYV422, width, height);
        if video.planes() == 0 {
            return Err(DecodeError::Damaged("out of memory".to_owned()));
        }
        let stride = video.stride(0);
        for (to, from) in video.data_mut(0).chunks_mut(stride).zip(data.chunks_exact(row)) {
            if let Some(to) = to.get_mut(..row) {
                to.copy_from_slice(from);
            }
        }
        // What USB cameras give unless they say otherwise, at any size.
        Ok(Self { video, colour: Colour { matrix: AVColorSpace::AVCOL_SPC_SMPTE170M as i32, full_range: false } })
    }

    fn convert(&self, target: Target, width: u32, height: u32) -> Result<Vec<u8>, PictureError> {
        let in_bounds = |side| (1..=MAX_SIDE).contains(&side);
        if ![width, height, self.width(), self.height()].into_iter().all(in_bounds) {
            let (w, h) = (self.width(), self.height());
            return Err(PictureError(format!("{w}x{h} to {width}x{height}: sides go from 1 to {MAX_SIDE}")));
        }
        let job = Job {
            format: number_of_format(&self.video),
            colour: self.colour,
            from: (self.width(), self.height()),
            target,
            to: (width, height),
        };
        SCALERS.with_borrow_mut(|kept| {
            // Most recently used last, so that the first is the one to give up.
            let scaler = match kept.iter().position(|s| s.job == job) {
                Some(index) => kept.remove(index),
                None => Scaler::new(job)?,
            };
            if kept.len() == KEPT_PER_THREAD {
                kept.remove(0);
            }
            kept.push(scaler);
            kept.last_mut().map_or_else(|| Ok(Vec::new()), |scaler| scaler.run(&self.video))
        })
    }
}

impl Picture for LibavPicture {
    fn width(&self) -> u32 {
        self.video.width()
    }

    fn height(&self) -> u32 {
        self.video.height()
    }

    fn luma(&self, width: u32, height: u32) -> Result<Luma, PictureError> {
        Ok(Luma { width, height, data: self.convert(Target::Grey, width, height)? })
    }

    fn rgb(&self, width: u32, height: u32) -> Result<Rgb, PictureError> {
        Ok(Rgb { width, height, data: self.convert(Target::Rgb, width, height)? })
    }
}

/// What the picture itself says: EXIF in a JPEG, the display orientation message of H.264 and H.265.
pub(super) fn orientation_of(video: &frame::Video) -> Option<Orientation> {
    let matrix = video.side_data(frame::side_data::Type::DisplayMatrix)?;
    Some(Orientation::from_side_data(matrix.data()))
}

/// Reads the tags as numbers: a library newer than our headers may know more of them than the enum.
#[allow(unsafe_code)]
fn colour_of(video: &frame::Video) -> Colour {
    // SAFETY: the frame is allocated as long as `video` lives; the fields are C enums of the size of i32.
    let (space, range) = unsafe {
        let raw = video.as_ptr();
        ((&raw const (*raw).colorspace).cast::<i32>().read(), (&raw const (*raw).color_range).cast::<i32>().read())
    };
    let untagged = space == AVColorSpace::AVCOL_SPC_UNSPECIFIED as i32;
    let matrix = match untagged {
        true if video.height() >= HD_HEIGHT => AVColorSpace::AVCOL_SPC_BT709 as i32,
        true => AVColorSpace::AVCOL_SPC_SMPTE170M as i32,
        false => space,
    };
    const FULL_BY_NAME: [AVPixelFormat; 5] = [
        AVPixelFormat::AV_PIX_FMT_YUVJ420P,
        AVPixelFormat::AV_PIX_FMT_YUVJ422P,
        AVPixelFormat::AV_PIX_FMT_YUVJ444P,
        AVPixelFormat::AV_PIX_FMT_YUVJ440P,
        AVPixelFormat::AV_PIX_FMT_YUVJ411P,
    ];
    let format = number_of_format(video);
    let full_by_name = FULL_BY_NAME.iter().any(|f| *f as i32 == format);
    Colour { matrix, full_range: full_by_name || range == AVColorRange::AVCOL_RANGE_JPEG as i32 }
}

#[allow(unsafe_code)]
fn number_of_format(video: &frame::Video) -> i32 {
    // SAFETY: the frame is allocated as long as `video` lives.
    unsafe { (*video.as_ptr()).format }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Grey,
    Rgb,
}

/// What a prepared conversion is for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Job {
    format: i32,
    colour: Colour,
    from: (u32, u32),
    target: Target,
    to: (u32, u32),
}

thread_local! {
    /// Preparing a conversion costs more than a small one itself; each thread keeps its last few.
    static SCALERS: RefCell<Vec<Scaler>> = const { RefCell::new(Vec::new()) };
}

/// A prepared conversion with its output buffer, which has libav's alignment and padding.
struct Scaler {
    job: Job,
    context: *mut ffi::SwsContext,
    out: frame::Video,
}

impl Scaler {
    fn new(job: Job) -> Result<Self, PictureError> {
        let failed = |why: &str| PictureError(format!("{:?} to {:?}: {why}", job.from, job.to));
        let source = pixel_format(job.format).ok_or_else(|| failed("a pixel format that swscale does not read"))?;
        let target = match job.target {
            Target::Grey => Pixel::GRAY8,
            Target::Rgb => Pixel::RGB24,
        };
        let context = sws_context(&job, source, target.into());
        if context.is_null() {
            return Err(failed("swscale refuses"));
        }
        let scaler = Self { job, context, out: frame::Video::new(target, job.to.0, job.to.1) };
        if scaler.out.planes() == 0 { Err(failed("out of memory")) } else { Ok(scaler) }
    }

    fn run(&mut self, video: &frame::Video) -> Result<Vec<u8>, PictureError> {
        let height = self.job.to.1 as usize;
        let rows = self.scale(video);
        if usize::try_from(rows) != Ok(height) {
            return Err(PictureError(format!("swscale gave {rows} of {height} rows")));
        }
        let row = self.job.to.0 as usize * if self.job.target == Target::Rgb { 3 } else { 1 };
        let mut data = Vec::with_capacity(row * height);
        for line in self.out.data(0).chunks(self.out.stride(0)).take(height) {
            data.extend_from_slice(line.get(..row).unwrap_or_default());
        }
        Ok(data)
    }

    #[allow(unsafe_code)]
    fn scale(&mut self, video: &frame::Video) -> i32 {
        // SAFETY: `job` matches the frame's format and size (its caller looked it up by them), so all planes are
        // there with their strides; `out` was allocated by libav for the context's output format and size.
        unsafe {
            let (from, to) = (video.as_ptr(), self.out.as_mut_ptr());
            ffi::sws_scale(
                self.context,
                (*from).data.as_ptr().cast(),
                (*from).linesize.as_ptr(),
                0,
                (*from).height,
                (*to).data.as_ptr(),
                (*to).linesize.as_ptr(),
            )
        }
    }
}

impl Drop for Scaler {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: the context is ours and not shared; null is allowed.
        unsafe { ffi::sws_freeContext(self.context) }
    }
}

/// The enum for a number that this build of swscale can read.
#[allow(unsafe_code)]
fn pixel_format(number: i32) -> Option<AVPixelFormat> {
    if !(0..AVPixelFormat::AV_PIX_FMT_NB as i32).contains(&number) {
        return None;
    }
    // SAFETY: libav's pixel formats are numbered without gaps from 0 to AV_PIX_FMT_NB, so the number is a variant.
    let format = unsafe { mem::transmute::<i32, AVPixelFormat>(number) };
    // SAFETY: a table look-up.
    (unsafe { ffi::sws_isSupportedInput(format) } != 0).then_some(format)
}

#[allow(unsafe_code)]
fn sws_context(job: &Job, source: AVPixelFormat, target: AVPixelFormat) -> *mut ffi::SwsContext {
    // Area averaging for grey keeps sensor noise out of the motion gate; bilinear is what models are trained with.
    let flags = match job.target {
        Target::Grey => scaling::Flags::AREA,
        Target::Rgb => scaling::Flags::BILINEAR,
    };
    let full = i64::from(job.colour.full_range);
    let options: [(&CStr, i64); 9] = [
        (c"srcw", job.from.0.into()),
        (c"srch", job.from.1.into()),
        (c"src_format", source as i64),
        (c"src_range", full),
        (c"dstw", job.to.0.into()),
        (c"dsth", job.to.1.into()),
        (c"dst_format", target as i64),
        (c"dst_range", 1),
        (c"sws_flags", flags.bits().into()),
    ];
    // SAFETY: the context is checked for null, ours alone, and freed if its preparation fails; names are
    // NUL-terminated, the tables are static. Ranges are set before the preparation, because swscale does not
    // follow a later change for more than 8 bits. The table is the same on both sides, because swscale would
    // otherwise go from YUV to grey by way of RGB. The return value of sws_setColorspaceDetails says whether
    // brightness and contrast can be set, which is of no interest here.
    unsafe {
        let context = ffi::sws_alloc_context();
        if context.is_null() {
            return context;
        }
        let set = |(name, value): &(&CStr, i64)| ffi::av_opt_set_int(context.cast(), name.as_ptr(), *value, 0) >= 0;
        if !options.iter().all(set) || ffi::sws_init_context(context, ptr::null_mut(), ptr::null_mut()) < 0 {
            ffi::sws_freeContext(context);
            return ptr::null_mut();
        }
        let table = ffi::sws_getCoefficients(job.colour.matrix);
        let full = i32::from(job.colour.full_range);
        ffi::sws_setColorspaceDetails(context, table, full, table, 1, 0, 1 << 16, 1 << 16);
        context
    }
}
