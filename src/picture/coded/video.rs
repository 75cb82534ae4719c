//! A video: how long it is, how it is turned, and the picture that stands for it.

use std::path::Path;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::media::Type;
use image::{DynamicImage, RgbImage};

use super::libav;
use crate::frame::Orientation;

/// Pictures that are decoded in search of one that shows something.
const MOST_PICTURES: usize = 100;
/// Packets that are read for them.
const MOST_PACKETS: usize = 5000;
/// A picture whose brightness differs by less from pixel to pixel is dark or empty: standard deviation, of 255.
const LEAST_CONTRAST: f64 = 12.0;

/// What was found.
#[derive(Debug)]
pub(in crate::picture) struct Video {
    /// Upright; the first that shows something, else the one that shows most.
    pub poster: RgbImage,
    /// EXIF's number of how the coded pictures are turned.
    pub orientation: u8,
    /// Seconds.
    pub duration_s: Option<f64>,
}

fn damaged(error: ffmpeg::Error) -> String {
    format!("the video is damaged or cut off: {error}")
}

/// Opens the video at `path`.
///
/// # Errors
/// A sentence that says why it cannot be read.
pub(super) fn open(path: &Path) -> Result<ffmpeg::format::context::Input, String> {
    libav::start();
    let mut options = ffmpeg::Dictionary::new();
    // It is known what the file is; a list of addresses is none of it.
    options.set("format_whitelist", "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm");
    options.set("protocol_whitelist", "file");
    ffmpeg::format::input_with_dictionary(path, options).map_err(damaged)
}

/// Opens the video at `path` and decodes its beginning.
///
/// # Errors
/// A sentence that says why it cannot be shown.
pub(in crate::picture) fn look(path: &Path) -> Result<Video, String> {
    let mut input = open(path)?;
    let duration = (input.duration() > 0).then(|| input.duration() as f64 / f64::from(ffmpeg::ffi::AV_TIME_BASE));
    let stream = input.streams().best(Type::Video).ok_or("the file has sound and no video")?;
    let (index, parameters) = (stream.index(), stream.parameters());
    let matrix = stream.side_data().find(|data| data.kind() == ffmpeg::packet::side_data::Type::DisplayMatrix);
    let orientation = matrix.map_or_else(Orientation::default, |matrix| Orientation::from_side_data(matrix.data()));
    let context = ffmpeg::codec::Context::from_parameters(parameters).map_err(damaged)?;
    let mut decoder = context.decoder();
    let name = format!("{:?}", decoder.id()).to_lowercase();
    let codec = ffmpeg::decoder::find(decoder.id()).ok_or_else(|| {
        format!(
            "this box cannot show it: its FFmpeg libraries have no decoder for {name}; the original is kept as it is"
        )
    })?;
    decoder.set_threading(ffmpeg::codec::threading::Config::count(1));
    let mut opened = decoder.open_as(codec).map_err(damaged)?;

    let mut search = Search::default();
    for (_, packet) in input.packets().filter(|(stream, _)| stream.index() == index).take(MOST_PACKETS) {
        // A damaged packet costs its picture.
        let _ = opened.send_packet(&packet);
        if search.take(&mut opened)? {
            break;
        }
    }
    if !search.is_over() && opened.send_eof().is_ok() {
        search.take(&mut opened)?;
    }
    let (_, coded) = search.best.ok_or("the video is damaged or cut off: not one picture of it can be decoded")?;
    let mut poster = DynamicImage::ImageRgb8(coded);
    let exif = Orientation::ALL.iter().zip(1u8..).find(|(way, _)| **way == orientation).map_or(1, |(_, number)| number);
    if let Some(turn) = image::metadata::Orientation::from_exif(exif) {
        poster.apply_orientation(turn);
    }
    Ok(Video { poster: poster.into_rgb8(), orientation: exif, duration_s: duration })
}

/// The search for a picture that shows something.
#[derive(Default)]
struct Search {
    /// The one with most contrast so far.
    best: Option<(f64, RgbImage)>,
    seen: usize,
}

impl Search {
    fn is_over(&self) -> bool {
        self.seen >= MOST_PICTURES || self.best.as_ref().is_some_and(|(contrast, _)| *contrast >= LEAST_CONTRAST)
    }

    /// Takes what the decoder has; says whether the search is over.
    fn take(&mut self, opened: &mut ffmpeg::codec::decoder::Opened) -> Result<bool, String> {
        while !self.is_over() {
            let Ok(picture) = libav::receive(opened) else { break };
            self.seen += 1;
            let shown = libav::rgb(&picture, None)?;
            let contrast = contrast(&shown);
            if self.best.as_ref().is_none_or(|(most, _)| contrast > *most) {
                self.best = Some((contrast, shown));
            }
        }
        Ok(self.is_over())
    }
}

/// Standard deviation of the brightness, of some thousand pixels.
fn contrast(picture: &RgbImage) -> f64 {
    let every = (picture.len() / 3 / 4096).max(1);
    let bright = |pixel: &image::Rgb<u8>| pixel.0.iter().map(|part| f64::from(*part)).sum::<f64>() / 3.0;
    let values: Vec<f64> = picture.pixels().step_by(every).map(bright).collect();
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt()
}
