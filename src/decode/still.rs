//! Still pictures from files.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::frame::Rgb;

use super::DecodeError;

/// A larger picture is a mistake or an attack: a few kilobytes of PNG can unpack to gigabytes.
const MAX_PIXELS: u64 = 100_000_000;

/// What unpacking may take at most, in bytes: the largest picture with 16 bits a channel does not fit by intent.
const MAX_ALLOC: u64 = 512 << 20;

/// No still is larger as a file.
const MAX_FILE: u64 = 256 << 20;

/// Loads a JPEG or PNG file and makes it upright by its EXIF orientation; transparency is dropped.
///
/// # Errors
/// [`DecodeError::Still`] says what is wrong with the file: missing, not a picture, a format that is not
/// understood, more than 100 megapixels, damaged, or cut off.
pub fn load_still(path: &Path) -> Result<Rgb, DecodeError> {
    load(path).map_err(|reason| DecodeError::Still { path: path.display().to_string(), reason })
}

fn load(path: &Path) -> Result<Rgb, String> {
    let file = File::open(path).map_err(|e| e.to_string())?;
    let metadata = file.metadata().map_err(|e| e.to_string())?;
    if !metadata.is_file() {
        return Err("not a file".to_owned());
    }
    if metadata.len() > MAX_FILE {
        return Err(format!("{} bytes are more than {MAX_FILE}", metadata.len()));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
    if bytes.is_empty() {
        return Err("the file is empty".to_owned());
    }
    // By content: names lie.
    let mut reader = ImageReader::new(Cursor::new(&bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    match reader.format() {
        // The decoder would fill up what is missing with grey, and nothing is found in grey.
        Some(ImageFormat::Jpeg) if jpeg_is_cut(&bytes) => {
            return Err(format!(
                "the file ends early, after {} bytes in the middle of the picture; copy it again",
                bytes.len()
            ));
        }
        Some(ImageFormat::Jpeg | ImageFormat::Png) => {}
        Some(other) => return Err(format!("{other:?} is not understood; convert it to JPEG or PNG")),
        None => return Err("not a picture; JPEG and PNG are understood".to_owned()),
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_ALLOC);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(format!("{width}x{height} is more than {} megapixels", MAX_PIXELS / 1_000_000));
    }
    // A picture with damaged EXIF data is one without.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?;
    picture.apply_orientation(orientation);
    let rgb = picture.into_rgb8();
    let (width, height) = rgb.dimensions();
    Ok(Rgb { width, height, data: rgb.into_raw() })
}

/// Whether a JPEG ends before its end marker. What lies behind that, cameras pad with, is of no interest.
fn jpeg_is_cut(jpeg: &[u8]) -> bool {
    const START: u8 = 0xd8;
    const END: u8 = 0xd9;
    let mut rest = jpeg;
    loop {
        // Inside coded data 0xff stands for itself with a zero behind it, and restart markers belong to the data.
        let Some(at) = rest.windows(2).position(|pair| matches!(pair, [0xff, 0x01..=0xcf | START..=0xfe])) else {
            return true;
        };
        let marker = rest.get(at + 1).copied().unwrap_or_default();
        rest = rest.get(at + 2..).unwrap_or_default();
        match marker {
            END => return false,
            START | 0x01 => {}
            _ => {
                // A segment, whose length counts itself. A thumbnail with markers of its own may be inside.
                let [high, low, ..] = *rest else { return true };
                let Some(after) = rest.get(usize::from(u16::from_be_bytes([high, low]))..) else { return true };
                rest = after;
            }
        }
    }
}
