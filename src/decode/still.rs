//! Still pictures from files.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::frame::Rgb;

use super::DecodeError;

/// A larger picture is a mistake or an attack: a few kilobytes of PNG can unpack to gigabytes.
const MAX_PIXELS: u64 = 100_000_000;

/// What unpacking may take at most, in bytes: the largest picture with 16 bits a channel does not fit by intent.
const MAX_ALLOC: u64 = 512 << 20;

/// No still is larger as a file.
const MAX_FILE: u64 = 256 << 20;

/// Loads a JPEG or PNG file. The EXIF orientation is not applied; transparency is dropped.
///
/// # Errors
/// [`DecodeError::Still`] says what is wrong with the file: missing, not a picture, a format that is not
/// understood, more than 100 megapixels, or damaged.
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
    // By content: names lie.
    let mut reader = ImageReader::new(BufReader::new(file)).with_guessed_format().map_err(|e| e.to_string())?;
    match reader.format() {
        Some(ImageFormat::Jpeg | ImageFormat::Png) => {}
        Some(other) => return Err(format!("{other:?} is not understood; convert it to JPEG or PNG")),
        None => return Err("not a picture; JPEG and PNG are understood".to_owned()),
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_ALLOC);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(format!("{width}x{height} is more than {} megapixels", MAX_PIXELS / 1_000_000));
    }
    let rgb = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?.into_rgb8();
    Ok(Rgb { width, height, data: rgb.into_raw() })
}
