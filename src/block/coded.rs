//! Pictures and other values as files.

use std::sync::Arc;

use image::codecs::png::PngEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageError};

use super::output::BlockError;
use super::value::{Encoded, Image, Value};
use crate::frame::Rgb;

/// Quality of JPEGs where none is asked for: hardly a difference can be seen.
const QUALITY: u8 = 90;

/// How a picture is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// With this quality, 1 to 100.
    Jpeg(u8),
    Png,
    /// Without loss.
    Webp,
}

/// Codes a picture.
///
/// # Errors
/// When the format has no pictures of this size.
pub(super) fn encode(picture: &Rgb, format: Format) -> Result<Encoded, BlockError> {
    let Rgb { width, height, ref data } = *picture;
    let failed = |reason: String| BlockError::step(format!("a picture of {width}x{height} cannot be coded: {reason}"));
    let with = |encode: &dyn Fn(&mut Vec<u8>) -> Result<(), ImageError>| {
        let mut bytes = Vec::with_capacity(data.len() / 4);
        encode(&mut bytes).map_err(|error| failed(error.to_string())).map(|()| bytes)
    };
    let colours = ExtendedColorType::Rgb8;
    let (bytes, media_type, extension) = match format {
        Format::Jpeg(quality) => {
            (picture.to_jpeg(quality).map_err(|error| failed(error.to_string()))?, "image/jpeg", "jpg")
        }
        Format::Png => {
            let bytes = with(&|bytes| PngEncoder::new(bytes).write_image(data, width, height, colours))?;
            (bytes, "image/png", "png")
        }
        Format::Webp => {
            let bytes = with(&|bytes| WebPEncoder::new_lossless(bytes).write_image(data, width, height, colours))?;
            (bytes, "image/webp", "webp")
        }
    };
    Ok(Encoded { bytes, media_type, extension })
}

/// A picture as a file: as a step coded it, else as JPEG.
pub(super) fn picture_file(image: &Image) -> Result<Arc<Encoded>, BlockError> {
    match &image.encoded {
        Some(encoded) => Ok(encoded.clone()),
        None => encode(&image.picture, Format::Jpeg(QUALITY)).map(Arc::new),
    }
}

/// A value as a file: a picture as such, all else as JSON.
pub(super) fn value_file(value: &Value) -> Result<Arc<Encoded>, BlockError> {
    if let Value::Image(image) = value {
        return picture_file(image);
    }
    let bytes = value.to_json().to_string().into_bytes();
    Ok(Arc::new(Encoded { bytes, media_type: "application/json", extension: "json" }))
}

#[cfg(test)]
mod tests {
    use super::super::fixture::picture;
    use super::*;

    #[test]
    fn each_format_can_be_read_again() {
        let whole = picture(16, 8);
        for (format, extension) in [(Format::Jpeg(95), "jpg"), (Format::Png, "png"), (Format::Webp, "webp")] {
            let encoded = encode(&whole, format).expect("a file");
            assert_eq!(encoded.extension, extension);
            let read = image::load_from_memory(&encoded.bytes).expect("a picture").into_rgb8();
            assert_eq!((read.width(), read.height()), (16, 8));
            assert!(format == Format::Jpeg(95) || *read.as_raw() == whole.data, "{format:?}");
        }
    }

    #[test]
    fn a_picture_that_a_format_cannot_hold_is_an_error() {
        let long = Rgb { width: 70_000, height: 1, data: vec![0; 210_000] };
        for format in [Format::Jpeg(90), Format::Webp] {
            assert!(encode(&long, format).expect_err("too long").message.contains("70000x1 cannot be coded"));
        }
    }
}
