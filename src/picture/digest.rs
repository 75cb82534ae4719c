//! What a picture looks like in a few bytes: a placeholder until it is loaded, and a number by which similar ones are found.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;

/// Side of the picture that frequencies are counted in.
const SIDE: usize = 32;
/// Frequencies that count, in each direction.
const LOW: usize = 8;
/// Longest side of the picture that a placeholder is made of.
const PLACEHOLDER_SIDE: u32 = 100;

/// The perceptual hash of a picture, 16 hexadecimal digits: a bit for each of the 64 lowest frequencies of its brightness,
/// which says whether it is above the median. Pictures that look alike differ in few bits.
pub(super) fn perceptual(picture: &RgbImage) -> Option<String> {
    let brightness: Vec<u8> = picture
        .pixels()
        .map(|pixel| {
            let [red, green, blue] = pixel.0.map(u32::from);
            u8::try_from((red * 19_595 + green * 38_470 + blue * 7471 + 0x8000) >> 16).unwrap_or(u8::MAX)
        })
        .collect();
    let (width, height) = picture.dimensions();
    let from = ImageRef::new(width, height, &brightness, PixelType::U8).ok()?;
    let mut small = Image::new(SIDE as u32, SIDE as u32, PixelType::U8);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
    Resizer::new().resize(&from, &mut small, &options).ok()?;
    let low = lowest(small.buffer());
    let mut sorted = low;
    sorted.sort_by(f64::total_cmp);
    let median = f64::midpoint(sorted[LOW * LOW / 2 - 1], sorted[LOW * LOW / 2]);
    let bits = low.iter().fold(0u64, |bits, value| bits << 1 | u64::from(*value > median));
    Some(format!("{bits:016x}"))
}

/// The lowest frequencies of a square picture, row by row (type II of the discrete cosine transform).
fn lowest(picture: &[u8]) -> [f64; LOW * LOW] {
    let cosine = |frequency: usize, place: usize| {
        (std::f64::consts::PI * frequency as f64 * (2 * place + 1) as f64 / (2 * SIDE) as f64).cos()
    };
    let table: Vec<f64> = (0..LOW * SIDE).map(|at| cosine(at / SIDE, at % SIDE)).collect();
    let rows: Vec<f64> = (0..SIDE * LOW)
        .map(|at| {
            let (row, frequency) = (at / LOW, at % LOW);
            let line = picture.get(row * SIDE..(row + 1) * SIDE).unwrap_or_default();
            line.iter().zip(&table[frequency * SIDE..]).map(|(value, cosine)| f64::from(*value) * cosine).sum()
        })
        .collect();
    std::array::from_fn(|at| {
        let (down, across) = (at / LOW, at % LOW);
        (0..SIDE).map(|row| rows[row * LOW + across] * table[down * SIDE + row]).sum()
    })
}

/// A placeholder in about 25 bytes, base64: a ThumbHash, which browsers turn into a blurred picture.
pub(super) fn placeholder(picture: &RgbImage) -> Option<String> {
    let (width, height) = picture.dimensions();
    let longest = width.max(height);
    let side = |side: u32| (side * PLACEHOLDER_SIDE.min(longest)).div_ceil(longest.max(1)).max(1);
    let (small_width, small_height) = (side(width), side(height));
    let from = ImageRef::new(width, height, picture.as_raw(), PixelType::U8x3).ok()?;
    let mut small = Image::new(small_width, small_height, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new().resize(&from, &mut small, &options).ok()?;
    Some(STANDARD.encode(thumb_hash(small_width as usize, small_height as usize, small.buffer())))
}

/// One channel's mean, its frequencies, and the largest of them.
struct Channel {
    mean: f64,
    frequencies: Vec<f64>,
    largest: f64,
}

impl Channel {
    /// `across` and `down` frequencies of `values`, but for the triangle of the highest.
    fn of(values: &[f64], width: usize, height: usize, across: usize, down: usize) -> Self {
        let mut channel = Self { mean: 0.0, frequencies: Vec::new(), largest: 0.0 };
        for y in 0..down {
            for x in (0..across).take_while(|x| x * down < across * (down - y)) {
                let wave = |frequency: usize, place: usize, length: usize| {
                    (std::f64::consts::PI * frequency as f64 * (place as f64 + 0.5) / length as f64).cos()
                };
                let columns: Vec<f64> = (0..width).map(|column| wave(x, column, width)).collect();
                let line = |(row, line): (usize, &[f64])| {
                    line.iter().zip(&columns).map(|(value, wave)| value * wave).sum::<f64>() * wave(y, row, height)
                };
                let sum: f64 = values.chunks_exact(width).enumerate().map(line).sum();
                let strength = sum / (width * height) as f64;
                if (x, y) == (0, 0) {
                    channel.mean = strength;
                } else {
                    channel.largest = channel.largest.max(strength.abs());
                    channel.frequencies.push(strength);
                }
            }
        }
        channel
    }

    /// Four bits for each frequency.
    fn digits(&self) -> impl Iterator<Item = u8> {
        let of = |strength: &f64| 0.5 + 0.5 * strength / self.largest;
        self.frequencies
            .iter()
            .map(move |strength| if self.largest > 0.0 { whole(15.0 * of(strength)) as u8 } else { 0 })
    }
}

fn whole(number: f64) -> u32 {
    (number + 0.5).floor().max(0.0) as u32
}

/// The format of Evan Wallace's ThumbHash, of a picture without transparency of at most 100 pixels.
fn thumb_hash(width: usize, height: usize, pixels: &[u8]) -> Vec<u8> {
    const MOST: f64 = 7.0;
    let parts = |of: fn(f64, f64, f64) -> f64| -> Vec<f64> {
        let unit = |part: u8| f64::from(part) / 255.0;
        pixels.chunks_exact(3).map(|p| of(unit(p[0]), unit(p[1]), unit(p[2]))).collect()
    };
    let longest = width.max(height) as f64;
    let across = (whole(MOST * width as f64 / longest) as usize).max(1);
    let down = (whole(MOST * height as f64 / longest) as usize).max(1);
    let bright = Channel::of(&parts(|r, g, b| (r + g + b) / 3.0), width, height, across.max(3), down.max(3));
    let yellow = Channel::of(&parts(|r, g, b| (r + g) / 2.0 - b), width, height, 3, 3);
    let red = Channel::of(&parts(|r, g, _| r - g), width, height, 3, 3);
    let is_landscape = width > height;
    let head = whole(63.0 * bright.mean)
        | whole(31.5 + 31.5 * yellow.mean) << 6
        | whole(31.5 + 31.5 * red.mean) << 12
        | whole(31.0 * bright.largest) << 18;
    let tail = if is_landscape { down } else { across } as u32
        | whole(63.0 * yellow.largest) << 3
        | whole(63.0 * red.largest) << 9
        | u32::from(is_landscape) << 15;
    let mut hash = vec![head as u8, (head >> 8) as u8, (head >> 16) as u8, tail as u8, (tail >> 8) as u8];
    let digits: Vec<u8> = [&bright, &yellow, &red].into_iter().flat_map(Channel::digits).collect();
    hash.extend(digits.chunks(2).map(|pair| pair[0] | pair.get(1).copied().unwrap_or(0) << 4));
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 6) as u8, (y * 8) as u8, (x * y % 256) as u8]))
    }

    #[test]
    fn a_placeholder_is_what_the_reference_in_javascript_makes_of_the_same_pixels() {
        assert_eq!(placeholder(&pattern(40, 30)).as_deref(), Some("XAgOHZhgdndwh4h2iGiIh/GxD/eI"));
    }

    #[test]
    fn a_picture_keeps_its_hash_when_it_is_scaled_and_differs_from_others() {
        let bits = |picture: &RgbImage| u64::from_str_radix(&perceptual(picture).expect("a hash"), 16).expect("digits");
        let picture = pattern(42, 31);
        let large = image::imageops::resize(&picture, 420, 310, image::imageops::FilterType::CatmullRom);
        let other = image::imageops::rotate90(&picture);
        assert!((bits(&picture) ^ bits(&large)).count_ones() <= 4);
        assert!((bits(&picture) ^ bits(&other)).count_ones() >= 16);
    }
}
