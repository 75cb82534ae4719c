//! swscale to the 4:2:0 that encoders take.

use std::ffi::CStr;
use std::ptr;

use ffmpeg_next::ffi::{self, AVColorRange, AVColorSpace, AVPixelFormat};
use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame;
use ffmpeg_next::software::scaling;

use crate::frame::Codec;

use super::{MuxError, encode_error};

/// From what to what pictures are converted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Scaling {
    format: i32,
    from: (u32, u32),
    to: (u32, u32),
    matrix: i32,
    full_range: bool,
}

impl Scaling {
    #[allow(unsafe_code)]
    pub(super) fn new(picture: &frame::Video, codec: &Codec, to: (u32, u32)) -> Self {
        // SAFETY: the frame is allocated as long as `picture` lives; the fields are C enums of the size of i32.
        let (format, space, range) = unsafe {
            let raw = picture.as_ptr();
            let space = (&raw const (*raw).colorspace).cast::<i32>().read();
            ((*raw).format, space, (&raw const (*raw).color_range).cast::<i32>().read())
        };
        let tagged = space != AVColorSpace::AVCOL_SPC_UNSPECIFIED as i32 && *codec != Codec::Yuyv;
        let matrix = if tagged { space } else { AVColorSpace::AVCOL_SPC_SMPTE170M as i32 };
        let full_range = range == AVColorRange::AVCOL_RANGE_JPEG as i32;
        Self { format, from: (picture.width(), picture.height()), to, matrix, full_range }
    }
}

/// swscale, prepared for one kind of picture.
pub(super) struct Scaler {
    pub scaling: Scaling,
    context: *mut ffi::SwsContext,
}

// SAFETY: a swscale context is plain memory, bound to no thread, and only used through its one owner.
#[allow(unsafe_code)]
unsafe impl Send for Scaler {}

impl Scaler {
    #[allow(unsafe_code)]
    pub(super) fn new(scaling: Scaling) -> Result<Self, MuxError> {
        let unreadable = || encode_error(format!("pixel format {} cannot be converted", scaling.format));
        if !(0..AVPixelFormat::AV_PIX_FMT_NB as i32).contains(&scaling.format) {
            return Err(unreadable());
        }
        // SAFETY: libav numbers its pixel formats without gaps up to AV_PIX_FMT_NB, so the number is a variant.
        let format = unsafe { std::mem::transmute::<i32, AVPixelFormat>(scaling.format) };
        let full = i64::from(scaling.full_range);
        let options: [(&CStr, i64); 9] = [
            (c"srcw", scaling.from.0.into()),
            (c"srch", scaling.from.1.into()),
            (c"src_format", format as i64),
            (c"src_range", full),
            (c"dstw", scaling.to.0.into()),
            (c"dsth", scaling.to.1.into()),
            (c"dst_format", AVPixelFormat::AV_PIX_FMT_YUV420P as i64),
            (c"dst_range", 0),
            (c"sws_flags", scaling::Flags::BILINEAR.bits().into()),
        ];
        // SAFETY: names are NUL-terminated, the tables static; `context` is ours alone and freed with `scaler`,
        // which allows null.
        unsafe {
            let context = ffi::sws_alloc_context();
            let scaler = Self { scaling, context };
            let set = |(name, value): &(&CStr, i64)| ffi::av_opt_set_int(context.cast(), name.as_ptr(), *value, 0) >= 0;
            let ready = !context.is_null()
                && ffi::sws_isSupportedInput(format) != 0
                && options.iter().all(set)
                // Ranges stand before this: swscale does not follow a later change for more than 8 bits.
                && ffi::sws_init_context(context, ptr::null_mut(), ptr::null_mut()) >= 0;
            if !ready {
                return Err(unreadable());
            }
            let from = ffi::sws_getCoefficients(scaling.matrix);
            let to = ffi::sws_getCoefficients(AVColorSpace::AVCOL_SPC_SMPTE170M as i32);
            ffi::sws_setColorspaceDetails(context, from, i32::from(scaling.full_range), to, 0, 0, 1 << 16, 1 << 16);
            Ok(scaler)
        }
    }

    #[allow(unsafe_code)]
    pub(super) fn run(&self, picture: &frame::Video) -> Result<frame::Video, MuxError> {
        let (width, height) = self.scaling.to;
        let mut out = frame::Video::new(Pixel::YUV420P, width, height);
        if out.planes() == 0 {
            return Err(encode_error("out of memory".to_owned()));
        }
        // SAFETY: the caller compared the picture's format and size with the context's, so all planes are there;
        // `out` was allocated by libav for the context's output format and size.
        let rows = unsafe {
            let (from, to) = (picture.as_ptr(), out.as_mut_ptr());
            ffi::sws_scale(
                self.context,
                (*from).data.as_ptr().cast(),
                (*from).linesize.as_ptr(),
                0,
                (*from).height,
                (*to).data.as_ptr(),
                (*to).linesize.as_ptr(),
            )
        };
        if u32::try_from(rows) != Ok(height) {
            return Err(encode_error(format!("swscale gave {rows} of {height} rows")));
        }
        Ok(out)
    }
}

impl Drop for Scaler {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: the context is ours and not shared.
        unsafe { ffi::sws_freeContext(self.context) }
    }
}
