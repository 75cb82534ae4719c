//! Small pictures of a picture: scaled in linear light, upright, sRGB.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer, create_srgb_mapper};
use image::codecs::jpeg::JpegEncoder;
use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};
use serde::{Deserialize, Serialize};

use super::coded::Profile;
use super::open::Opened;
use super::{colour, digest};
use crate::photo::PictureFacts;

/// A size of thumbnails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Name of its file.
    pub name: &'static str,
    /// Longest side in pixels; a smaller picture keeps its size.
    pub longest: u32,
}

/// For lists of many.
pub const SMALL: Size = Size { name: "small.jpg", longest: 256 };
/// For one that is looked at.
pub const LARGE: Size = Size { name: "large.jpg", longest: 1440 };

/// For people who are to see the picture, and nothing of what its file says.
pub const STRIPPED: Size = Size { name: "stripped.jpg", longest: 8192 };

/// JPEG quality of thumbnails.
const QUALITY: u8 = 80;
/// The same of pictures that stand for the original.
const FULL_QUALITY: u8 = 90;
/// A picture is at least so many times as large as its thumbnail when it is filtered.
const LEFT_TO_FILTER: f64 = 1.3;

/// A thumbnail that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thumbnail {
    /// Name of its file.
    pub file: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// Writes thumbnails of a picture into `folder`, the large one and the small one, and notes in `facts` what it looks like.
/// `stripped`: and all of it, as pixels alone.
///
/// # Errors
/// A sentence that says why it cannot be shown.
pub(super) fn make(
    opened: Opened,
    facts: &mut PictureFacts,
    folder: &Path,
    stripped: bool,
) -> Result<Vec<Thumbnail>, String> {
    let mut scaler = Scaler::default();
    if stripped {
        let whole = scaler.scale(&opened.picture, STRIPPED.longest)?;
        write(folder, STRIPPED, &upright(whole, &opened.profile, opened.orientation), FULL_QUALITY)?;
    }
    let large = scaler.scale(&opened.picture, LARGE.longest)?;
    drop(opened.picture);
    let large = upright(large, &opened.profile, opened.orientation);
    let small = scaler.scale(&large, SMALL.longest)?;
    facts.placeholder = digest::placeholder(&small);
    facts.perceptual = digest::perceptual(&large);
    [(LARGE, &large), (SMALL, &small)]
        .into_iter()
        .map(|(size, picture)| write(folder, size, picture, QUALITY))
        .collect()
}

/// A picture of at most `most` pixels, upright, in the colours of sRGB.
pub(super) fn bounded(opened: Opened, most: u64) -> Result<RgbImage, String> {
    let (width, height) = opened.picture.dimensions();
    let share = (most as f64 / (f64::from(width) * f64::from(height)).max(1.0)).sqrt();
    let longest = if share < 1.0 { (f64::from(width.max(height)) * share).floor() as u32 } else { width.max(height) };
    let picture = Scaler::default().scale(&opened.picture, longest.max(1))?;
    Ok(upright(picture, &opened.profile, opened.orientation))
}

/// In the colours of sRGB, and turned as it is to be seen.
fn upright(mut picture: RgbImage, profile: &Option<Profile>, orientation: Orientation) -> RgbImage {
    if let Some(profile) = profile {
        colour::to_srgb(&mut picture, profile);
    }
    let mut picture = DynamicImage::ImageRgb8(picture);
    picture.apply_orientation(orientation);
    picture.into_rgb8()
}

/// Scales in linear light, with what that takes kept from one picture to the next.
struct Scaler {
    resizer: Resizer,
    srgb: fast_image_resize::PixelComponentMapper,
    /// Light of each number of a colour, 0 to 65,535.
    light: [u32; 256],
}

impl Default for Scaler {
    fn default() -> Self {
        let light = |number: usize| {
            let part = number as f64 / 255.0;
            let light = if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) };
            (light * 65_535.0).round() as u32
        };
        Self { resizer: Resizer::new(), srgb: create_srgb_mapper(), light: std::array::from_fn(light) }
    }
}

impl Scaler {
    /// `picture` with a longest side of `longest` pixels; one that is smaller as it is.
    fn scale(&mut self, picture: &RgbImage, longest: u32) -> Result<RgbImage, String> {
        let (width, height) = picture.dimensions();
        if width.max(height) <= longest {
            return Ok(picture.clone());
        }
        let (to_width, to_height) = fitting(width, height, longest);
        let unscaled = |error: &dyn std::fmt::Display| format!("the picture cannot be scaled: {error}");
        // Whole pixels are averaged first: that takes little time, and a fraction of the memory.
        let step = (f64::from(width.max(height)) / f64::from(longest) / LEFT_TO_FILTER).floor().max(1.0) as u32;
        let linear = match step {
            1 => {
                let from = ImageRef::new(width, height, picture.as_raw(), PixelType::U8x3).map_err(|e| unscaled(&e))?;
                let mut linear = Image::new(width, height, PixelType::U16x3);
                self.srgb.forward_map(&from, &mut linear).map_err(|e| unscaled(&e))?;
                linear
            }
            _ => self.averaged(picture, step).map_err(|e| unscaled(&e))?,
        };
        let mut small = Image::new(to_width, to_height, PixelType::U16x3);
        let (covered_width, covered_height) = (f64::from(width) / f64::from(step), f64::from(height) / f64::from(step));
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3)).crop(
            0.0,
            0.0,
            covered_width,
            covered_height,
        );
        self.resizer.resize(&linear, &mut small, &options).map_err(|e| unscaled(&e))?;
        let mut shown = Image::new(to_width, to_height, PixelType::U8x3);
        self.srgb.backward_map(&small, &mut shown).map_err(|e| unscaled(&e))?;
        RgbImage::from_raw(to_width, to_height, shown.into_vec())
            .ok_or_else(|| "the picture cannot be scaled: its size is wrong".to_owned())
    }

    /// The mean light of each square of `step` pixels; the last ones of a row and column may be smaller.
    fn averaged(&self, picture: &RgbImage, step: u32) -> Result<Image<'static>, String> {
        let (width, height) = (picture.width().div_ceil(step), picture.height().div_ceil(step));
        let (row, step) = (picture.width() as usize * 3, step as usize);
        let mut light = Vec::with_capacity(width as usize * height as usize * 6);
        let mut sums = vec![0u32; width as usize * 3];
        for rows in picture.as_raw().chunks(row * step) {
            sums.fill(0);
            for row in rows.chunks_exact(row) {
                for (pixels, sum) in row.chunks(step * 3).zip(sums.chunks_exact_mut(3)) {
                    for pixel in pixels.chunks_exact(3) {
                        for (part, sum) in pixel.iter().zip(&mut *sum) {
                            *sum += self.light[usize::from(*part)];
                        }
                    }
                }
            }
            let lines = (rows.len() / row) as u32;
            for (column, sum) in sums.chunks_exact(3).enumerate() {
                let covered = step.min(picture.width() as usize - column * step) as u32;
                let count = (covered * lines).max(1);
                light.extend(sum.iter().flat_map(|sum| (((sum + count / 2) / count).min(65_535) as u16).to_ne_bytes()));
            }
        }
        Image::from_vec_u8(width, height, light, PixelType::U16x3).map_err(|error| error.to_string())
    }
}

/// Width and height with the same proportions and a longest side of `longest`; no side is 0.
fn fitting(width: u32, height: u32, longest: u32) -> (u32, u32) {
    let of = |side: u32| {
        let scaled = (u64::from(side) * u64::from(longest) * 2 / u64::from(width.max(height).max(1))).div_ceil(2);
        u32::try_from(scaled).unwrap_or(longest).clamp(1, longest)
    };
    (of(width), of(height))
}

fn write(folder: &Path, size: Size, picture: &RgbImage, quality: u8) -> Result<Thumbnail, String> {
    let unwritten = |error: &dyn std::fmt::Display| format!("write a thumbnail: {error}");
    let file = File::create(folder.join(size.name)).map_err(|e| unwritten(&e))?;
    let mut out = BufWriter::new(file);
    picture.write_with_encoder(JpegEncoder::new_with_quality(&mut out, quality)).map_err(|e| unwritten(&e))?;
    out.flush().map_err(|e| unwritten(&e))?;
    Ok(Thumbnail { file: size.name.to_owned(), width: picture.width(), height: picture.height() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proportions_are_kept_and_no_side_vanishes() {
        assert_eq!(fitting(4000, 3000, 256), (256, 192));
        assert_eq!(fitting(3000, 4000, 1440), (1080, 1440));
        assert_eq!(fitting(50_000, 10, 256), (256, 1));
        assert_eq!(fitting(3, 2, 2), (2, 1));
    }

    #[test]
    fn light_is_averaged_not_numbers() {
        // Black and white lines of one pixel are as bright as 188, not 128.
        let lines = RgbImage::from_fn(512, 512, |_, y| image::Rgb([if y % 2 == 0 { 0 } else { 255 }; 3]));
        let small = Scaler::default().scale(&lines, 64).expect("scale");
        let middle = small.get_pixel(32, 32).0[0];
        assert!((186..=190).contains(&middle), "{middle}");
    }

    #[test]
    fn a_picture_that_is_averaged_first_looks_like_one_that_is_not() {
        // 3 by 3 pixels at first, with a rest in both directions.
        let wave = |x: u32, y: u32| image::Rgb([(x * 255 / 1001) as u8, (y * 255 / 701) as u8, ((x + y) / 8) as u8]);
        let small = Scaler::default().scale(&RgbImage::from_fn(1001, 701, wave), 200).expect("scale");
        assert_eq!(small.dimensions(), (200, 140));
        for (x, y) in [(20, 20), (100, 70), (180, 120), (190, 130)] {
            let wanted = wave(x * 1001 / 200 + 2, y * 701 / 140 + 2).0;
            let found = small.get_pixel(x, y).0;
            assert!(found.iter().zip(wanted).all(|(a, b)| a.abs_diff(b) <= 2), "{x} {y}: {found:?} {wanted:?}");
        }
    }
}
