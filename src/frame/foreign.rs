//! Pictures from elsewhere: files that people send, of which nothing is known before they are decoded.

use std::io::Cursor;

use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use super::Rgb;

/// Pixels of the largest picture that is decoded.
pub const MOST_PIXELS: u64 = 4096 * 4096;
/// No side is longer, pixels.
const LONGEST_SIDE: u32 = 16_384;
/// Memory that decoding may take, bytes: eight for each pixel.
const MOST_MEMORY: u64 = MOST_PIXELS * 8;

/// A picture is not decoded. All texts are for the person who sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignError {
    /// It is of another kind.
    #[error("this is neither a JPEG nor a PNG")]
    Kind,
    /// It has too many pixels.
    #[error("the picture is {width}x{height}, and {MOST_PIXELS} pixels are the most: send a smaller one")]
    TooLarge {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// It is damaged.
    #[error("the picture cannot be decoded: {0}")]
    Damaged(String),
}

impl Rgb {
    /// Decodes a JPEG or PNG, upright. Its size is read and judged before its pixels are.
    ///
    /// # Errors
    /// Why it is not decoded.
    pub fn decode(bytes: &[u8]) -> Result<Self, ForeignError> {
        Ok(Self::decode_if(bytes, |_| true)?.unwrap_or_else(|| Self { width: 0, height: 0, data: Vec::new() }))
    }

    /// The same of one whose pixels mean what they say: grey or RGB of eight bits, opaque, without a colour profile.
    /// `None` for any other JPEG or PNG.
    ///
    /// # Errors
    /// Why it is not decoded.
    pub fn decode_plain(bytes: &[u8]) -> Result<Option<Self>, ForeignError> {
        let is_plain = |decoder: &mut dyn ImageDecoder| {
            let is_known = matches!(decoder.original_color_type(), ExtendedColorType::L8 | ExtendedColorType::Rgb8);
            is_known && decoder.icc_profile().is_ok_and(|profile| profile.is_none())
        };
        Self::decode_if(bytes, is_plain)
    }

    fn decode_if(
        bytes: &[u8],
        is_wanted: impl FnOnce(&mut dyn ImageDecoder) -> bool,
    ) -> Result<Option<Self>, ForeignError> {
        let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|_| ForeignError::Kind)?;
        if !matches!(reader.format(), Some(ImageFormat::Jpeg | ImageFormat::Png)) {
            return Err(ForeignError::Kind);
        }
        let mut decoder = reader.into_decoder().map_err(damaged)?;
        let (width, height) = decoder.dimensions();
        let is_long = width.max(height) > LONGEST_SIDE;
        if is_long || u64::from(width) * u64::from(height) > MOST_PIXELS {
            return Err(ForeignError::TooLarge { width, height });
        }
        if !is_wanted(&mut decoder) {
            return Ok(None);
        }
        let mut limits = Limits::default();
        limits.max_alloc = Some(MOST_MEMORY);
        decoder.set_limits(limits).map_err(damaged)?;
        // A picture that does not say how it was held is upright.
        let orientation = decoder.orientation().ok();
        let mut picture = DynamicImage::from_decoder(decoder).map_err(damaged)?;
        if let Some(orientation) = orientation {
            picture.apply_orientation(orientation);
        }
        let rgb = picture.into_rgb8();
        let (width, height) = rgb.dimensions();
        if width == 0 || height == 0 {
            return Err(ForeignError::Damaged("it has no pixels".to_owned()));
        }
        Ok(Some(Self { width, height, data: rgb.into_raw() }))
    }
}

/// Whether the file is a JPEG whose picture has no end: decoders give grey for what is missing.
pub fn is_cut_off(bytes: &[u8]) -> bool {
    let Some(mut rest) = bytes.strip_prefix(&[0xff, 0xd8]) else { return false };
    // Segments, of which pictures in the headers are a part, up to the first one of the picture itself.
    while let [0xff, marker, high, low, ..] = *rest {
        if marker == 0xda {
            return !rest.windows(2).any(|pair| pair == [0xff, 0xd9]);
        }
        let length = if marker == 0xff { 1 } else { 2 + usize::from(u16::from_be_bytes([high, low])) };
        rest = rest.get(length..).unwrap_or_default();
    }
    true
}

fn damaged(error: ImageError) -> ForeignError {
    // Decoders say it over several lines.
    ForeignError::Damaged(error.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const JPEG: &[u8] = include_bytes!("../../tests/fixtures/pictures/person.jpg");

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        DynamicImage::new_rgba8(width, height).write_to(&mut bytes, ImageFormat::Png).expect("encode");
        bytes.into_inner()
    }

    /// The same with other sizes in its header, whose checksum is right.
    fn lying(mut png: Vec<u8>, width: u32, height: u32) -> Vec<u8> {
        png[16..20].copy_from_slice(&width.to_be_bytes());
        png[20..24].copy_from_slice(&height.to_be_bytes());
        let crc = crc32(&png[12..29]);
        png[29..33].copy_from_slice(&crc.to_be_bytes());
        png
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0_u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1)))
        })
    }

    /// A JPEG that was held in the way of EXIF's number 6.
    fn turned() -> Vec<u8> {
        let exif =
            [&b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08"[..], b"\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"];
        [&JPEG[..2], &exif.concat(), &JPEG[2..]].concat()
    }

    #[test]
    fn a_jpeg_that_breaks_off_is_known_wherever_it_does() {
        assert!(!is_cut_off(JPEG) && !is_cut_off(&png(4, 4)) && !is_cut_off(b"no picture"));
        assert!(!is_cut_off(&[JPEG, b"behind it"].concat()), "what stands behind the picture is not of it");
        let cut = |length: usize| is_cut_off(JPEG.get(..length).expect("shorter"));
        assert!((2..JPEG.len() - 1).step_by(97).all(cut) && cut(JPEG.len() - 1));
        // A small picture in the header has an end of its own.
        let header =
            [&[0xff, 0xd8, 0xff, 0xe1, 0, 6, 0xff, 0xd9, 0, 0][..], JPEG.get(2..2000).expect("longer")].concat();
        assert!(is_cut_off(&header));
    }

    #[test]
    fn jpeg_and_png_are_decoded_upright() {
        let upright = Rgb::decode(JPEG).expect("a JPEG");
        assert_eq!(upright.data.len() as u32, upright.width * upright.height * 3);
        let turned = Rgb::decode(&turned()).expect("a JPEG");
        assert_eq!((turned.width, turned.height), (upright.height, upright.width));
        let png = Rgb::decode(&png(7, 3)).expect("a PNG");
        assert_eq!((png.width, png.height, png.data.len()), (7, 3, 63));
    }

    #[test]
    fn what_needs_more_than_its_numbers_is_not_plain() {
        assert!(Rgb::decode_plain(JPEG).expect("a JPEG").is_some());
        let mut grey = Cursor::new(Vec::new());
        DynamicImage::new_luma8(7, 3).write_to(&mut grey, ImageFormat::Png).expect("encode");
        assert_eq!(Rgb::decode_plain(grey.get_ref()).expect("a PNG").map(|plain| plain.data.len()), Some(63));
        let mut deep = Cursor::new(Vec::new());
        DynamicImage::new_rgb16(7, 3).write_to(&mut deep, ImageFormat::Png).expect("encode");
        for bytes in [png(7, 3), deep.into_inner()] {
            assert_eq!(Rgb::decode_plain(&bytes), Ok(None));
            assert!(Rgb::decode(&bytes).is_ok());
        }
        assert_eq!(Rgb::decode_plain(b"GIF89a"), Err(ForeignError::Kind));
    }

    #[test]
    fn what_is_no_picture_is_refused_with_the_reason() {
        for bytes in [&b""[..], b"GIF89a\x01\x00\x01\x00", b"<svg/>", b"\0\0\0\x0cJXL "] {
            assert_eq!(Rgb::decode(bytes), Err(ForeignError::Kind));
        }
        for cut in [3, 40, 200] {
            assert!(matches!(Rgb::decode(&JPEG[..cut]), Err(ForeignError::Damaged(_))), "{cut}");
        }
        let refused = Rgb::decode(&lying(png(4, 4), 60_000, 60_000)).expect_err("too large");
        assert_eq!(refused, ForeignError::TooLarge { width: 60_000, height: 60_000 });
        assert!(matches!(Rgb::decode(&lying(png(4, 4), 1, 100_000)), Err(ForeignError::TooLarge { .. })));
        let lie = Rgb::decode(&lying(png(4, 4), 4000, 4000));
        assert!(matches!(lie, Err(ForeignError::Damaged(_))), "{lie:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_damaged_picture_is_decoded_or_refused(at in 2..JPEG.len(), byte: u8, cut in 2..JPEG.len()) {
            let mut bytes = JPEG.to_vec();
            bytes[at] = byte;
            bytes.truncate(cut.max(at + 1));
            let _ = Rgb::decode(&bytes);
            let mut bytes = png(16, 16);
            let place = at % bytes.len();
            bytes[place] ^= byte;
            let _ = Rgb::decode(&bytes);
        }
    }
}
