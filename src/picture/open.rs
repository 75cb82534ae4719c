//! The picture in a file, whatever its coding: decoded, without transparency, with what turns it and what its colours mean.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::coded::{self, Container, Profile};
use super::{MAX_PIXELS, colour, over_white, raw};
use crate::photo::{PictureFacts, PictureFormat};

/// What unpacking may take at most, in bytes.
const MAX_ALLOC: u64 = 1 << 30;

/// A decoded picture.
pub(super) struct Opened {
    /// As it is coded.
    pub picture: RgbImage,
    /// What makes it upright.
    pub orientation: Orientation,
    /// What its colours mean, where that is not sRGB.
    pub profile: Option<Profile>,
}

/// Decodes the picture in `file`, which lies at `path`, and notes in `facts` how large and how turned it is; of a video the
/// picture that stands for it, of raw data the camera's own preview.
///
/// # Errors
/// A sentence that says why it cannot be shown.
pub(super) fn picture(path: &Path, file: &File, facts: &mut PictureFacts) -> Result<Opened, String> {
    let format = match facts.format {
        PictureFormat::Jpeg => ImageFormat::Jpeg,
        PictureFormat::Png => ImageFormat::Png,
        PictureFormat::Webp => ImageFormat::WebP,
        PictureFormat::Gif => ImageFormat::Gif,
        PictureFormat::Tiff => ImageFormat::Tiff,
        PictureFormat::Heic | PictureFormat::Avif => return heif(file, facts),
        PictureFormat::Raw => return preview(file, facts),
        PictureFormat::Mp4 | PictureFormat::Mov | PictureFormat::Matroska => return poster(path, facts),
    };
    let reader = File::open(path).map_err(|error| format!("read the file: {error}"))?;
    plain(BufReader::with_capacity(256 << 10, reader), format, facts)
}

/// What the decoders of `image` know.
fn plain<R: BufRead + Seek>(mut from: R, format: ImageFormat, facts: &mut PictureFacts) -> Result<Opened, String> {
    let mut reader = ImageReader::with_format(&mut from, format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_ALLOC);
    reader.limits(limits);
    let damaged = |error: image::ImageError| format!("the picture is damaged or cut off: {error}");
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    // A picture with damaged EXIF data is one without.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    note(facts, orientation.to_exif(), (width, height));
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        let most = MAX_PIXELS / 1_000_000;
        return Err(format!("{width}x{height} pixels are more than the {most} megapixels that are unpacked"));
    }
    let profile = decoder.icc_profile().ok().flatten();
    if format == ImageFormat::Jpeg && profile.as_ref().is_some_and(|profile| profile.get(16..20) == Some(b"CMYK")) {
        drop(decoder);
        let inks = of_inks(&mut from, profile.as_deref().unwrap_or_default(), width, height);
        if let Some(picture) = inks {
            return Ok(Opened { picture, orientation, profile: None });
        }
        from.seek(SeekFrom::Start(0)).map_err(|error| format!("read the file: {error}"))?;
        let picture = image::load(from, format).map_err(damaged)?;
        return Ok(Opened { picture: flat(picture), orientation, profile: None });
    }
    let picture = flat(DynamicImage::from_decoder(decoder).map_err(damaged)?);
    Ok(Opened { picture, orientation, profile: profile.map(Profile::Icc) })
}

/// A JPEG of inks, by its profile. Programs write inks inverted: 255 is bare paper.
fn of_inks<R: BufRead + Seek>(from: &mut R, profile: &[u8], width: u32, height: u32) -> Option<RgbImage> {
    let mut coded = Vec::new();
    from.seek(SeekFrom::Start(0)).ok()?;
    from.take(MAX_ALLOC).read_to_end(&mut coded).ok()?;
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX)
        .jpeg_set_out_colorspace(ColorSpace::CMYK);
    let mut inks = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(coded.as_slice()), options).decode().ok()?;
    inks.iter_mut().for_each(|ink| *ink = 255 - *ink);
    colour::of_inks(&inks, width, height, profile)
}

fn heif(file: &File, facts: &mut PictureFacts) -> Result<Opened, String> {
    let container = Container::open(file)?;
    facts.orientation = 1;
    if let Some(size) = coded::size(&container) {
        (facts.width, facts.height) = size;
    }
    let still = coded::decode(file, &container)?;
    (facts.width, facts.height) = still.picture.dimensions();
    Ok(Opened { picture: still.picture, orientation: Orientation::NoTransforms, profile: still.profile })
}

/// A camera turns either its preview's own EXIF or that of the raw data; both together would turn it twice.
fn preview(file: &File, facts: &mut PictureFacts) -> Result<Opened, String> {
    let jpeg = raw::preview(file).ok_or(
        "this box cannot develop raw data, and the camera put no preview into it; the original is kept as it is",
    )?;
    let said = (facts.orientation, facts.width, facts.height);
    let mut opened = plain(Cursor::new(jpeg), ImageFormat::Jpeg, facts)?;
    if opened.orientation == Orientation::NoTransforms {
        opened.orientation = Orientation::from_exif(said.0).unwrap_or(Orientation::NoTransforms);
        note(facts, said.0, opened.picture.dimensions());
    }
    if said.1 > 0 && said.2 > 0 {
        (facts.width, facts.height) = (said.1, said.2);
    }
    Ok(opened)
}

fn poster(path: &Path, facts: &mut PictureFacts) -> Result<Opened, String> {
    let video = coded::look(path)?;
    facts.orientation = video.orientation;
    facts.duration_s = video.duration_s.or(facts.duration_s);
    (facts.width, facts.height) = video.poster.dimensions();
    Ok(Opened { picture: video.poster, orientation: Orientation::NoTransforms, profile: None })
}

/// The size is that of the upright picture.
fn note(facts: &mut PictureFacts, orientation: u8, (width, height): (u32, u32)) {
    facts.orientation = orientation;
    (facts.width, facts.height) = if orientation >= 5 { (height, width) } else { (width, height) };
}

/// Without transparency: over white, as paper is.
fn flat(picture: DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let rgba = picture.into_rgba8();
    let mut flat = RgbImage::new(rgba.width(), rgba.height());
    for (from, to) in rgba.pixels().zip(flat.pixels_mut()) {
        let [r, g, b, alpha] = from.0;
        to.0 = [r, g, b].map(|colour| over_white(colour, alpha));
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transparency_becomes_white() {
        let mut glass = image::RgbaImage::from_pixel(2, 1, image::Rgba([255, 0, 0, 0]));
        glass.put_pixel(1, 0, image::Rgba([255, 0, 0, 128]));
        let flat = flat(DynamicImage::ImageRgba8(glass));
        assert_eq!((flat.get_pixel(0, 0).0, flat.get_pixel(1, 0).0), ([255; 3], [255, 127, 127]));
    }
}
