//! The picture of a HEIC or AVIF file: one coded picture or a grid of them, turned as the container says.

use ffmpeg_next::codec::Id;
use image::imageops::FilterType;
use image::{DynamicImage, RgbImage};

use super::super::bytes::{Bytes, number};
use super::super::{MAX_PIXELS, over_white};
use super::container::{Axis, Container, Item, Property};
use super::libav::{self, Colours};

/// Largest coded picture or tile, bytes.
const LARGEST: usize = 256 << 20;
/// Number of Display P3 among primaries (ITU-T H.273).
const P3: u16 = 12;

/// A decoded picture.
#[derive(Debug)]
pub(in crate::picture) struct Still {
    /// Upright: its own turns are made. EXIF's orientation says the same once more and counts for nothing.
    pub picture: RgbImage,
    /// What its colours mean, where that is not sRGB.
    pub profile: Option<Profile>,
}

/// What the colours of a picture mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::picture) enum Profile {
    /// An ICC profile.
    Icc(Vec<u8>),
    /// Display P3.
    P3,
}

/// How large the upright picture is, by what the container says: width and height.
pub(in crate::picture) fn size(container: &Container) -> Option<(u32, u32)> {
    let (width, height) = coded_size(container, container.primary)?;
    let quarters = container.properties(container.primary).filter(|p| matches!(p, Property::Turned(1 | 3))).count();
    Some(if quarters % 2 == 1 { (height, width) } else { (width, height) })
}

fn coded_size(container: &Container, item: Item) -> Option<(u32, u32)> {
    container.properties(item).find_map(|property| match property {
        Property::Size(width, height) => Some((*width, *height)),
        _ => None,
    })
}

/// Decodes the picture of a file.
///
/// # Errors
/// A sentence that says why it cannot be shown.
pub(in crate::picture) fn decode<B: Bytes + ?Sized>(bytes: &B, container: &Container) -> Result<Still, String> {
    let item = container.primary;
    let (width, height) = coded_size(container, item).ok_or("the picture is damaged or cut off: it has no size")?;
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        let most = MAX_PIXELS / 1_000_000;
        return Err(format!("{width}x{height} pixels are more than the {most} megapixels that are unpacked"));
    }
    let mut flat = whole(bytes, container, item, (width, height))?;
    if let Some((alpha, is_multiplied)) = container.alpha(item) {
        // Of another size it is stretched; one that is damaged takes nothing away.
        if let Ok(alpha) = whole(bytes, container, alpha, coded_size(container, alpha).unwrap_or((width, height))) {
            put_on_paper(&mut flat, &alpha, is_multiplied);
        }
    }
    let mut picture = DynamicImage::ImageRgb8(flat);
    for property in container.properties(item) {
        picture = match property {
            Property::Turned(1) => picture.rotate270(),
            Property::Turned(2) => picture.rotate180(),
            Property::Turned(3) => picture.rotate90(),
            Property::Mirrored(Axis::Horizontal) => picture.flipv(),
            Property::Mirrored(Axis::Vertical) => picture.fliph(),
            _ => picture,
        };
    }
    Ok(Still { picture: picture.into_rgb8(), profile: profile(container, item) })
}

/// A picture or a grid, as large as the container says.
fn whole<B: Bytes + ?Sized>(
    bytes: &B,
    container: &Container,
    item: Item,
    (width, height): (u32, u32),
) -> Result<RgbImage, String> {
    let picture = match &container.kind(item) {
        b"grid" => grid(bytes, container, item)?,
        _ => coded(bytes, container, item)?,
    };
    // Codecs fill up to whole blocks.
    Ok(cut(picture, width, height))
}

/// Puts what `alpha`, which is grey, leaves of a picture on white.
fn put_on_paper(picture: &mut RgbImage, alpha: &RgbImage, is_multiplied: bool) {
    let (width, height) = picture.dimensions();
    let stretched;
    let alpha = if alpha.dimensions() == (width, height) {
        alpha
    } else {
        stretched = image::imageops::resize(alpha, width, height, FilterType::Triangle);
        &stretched
    };
    for (pixel, alpha) in picture.pixels_mut().zip(alpha.pixels()) {
        let [alpha, ..] = alpha.0;
        let colour =
            |colour: u8| if is_multiplied { colour.saturating_add(255 - alpha) } else { over_white(colour, alpha) };
        pixel.0 = pixel.0.map(colour);
    }
}

/// That of the picture; of a grid without one that of its first tile. A profile says more than numbers.
fn profile(container: &Container, item: Item) -> Option<Profile> {
    let items = [Some(item), container.tiles(item).first().copied()];
    let properties = || items.into_iter().flatten().flat_map(|item| container.properties(item));
    let icc = properties().find_map(|property| match property {
        Property::Profile(profile) => Some(Profile::Icc(profile.clone())),
        _ => None,
    });
    icc.or_else(|| properties().any(|p| matches!(p, Property::Numbers(P3, ..))).then_some(Profile::P3))
}

fn coded<B: Bytes + ?Sized>(bytes: &B, container: &Container, item: Item) -> Result<RgbImage, String> {
    let codec = match &container.kind(item) {
        b"hvc1" | b"hev1" => Id::HEVC,
        b"av01" => Id::AV1,
        other => {
            let name = String::from_utf8_lossy(other);
            return Err(format!("this box cannot show pictures of the kind {name:?}; the original is kept as it is"));
        }
    };
    let data = container.content(bytes, item, LARGEST).ok_or("the picture is damaged or cut off: a part is missing")?;
    let (mut configuration, mut colours) = (&[][..], None);
    for property in container.properties(item) {
        match property {
            // AV1 has its parameters in the picture as well.
            Property::Configuration(found) if codec == Id::HEVC => configuration = found,
            Property::Numbers(_, _, matrix, is_full) => {
                colours = Some(Colours { matrix: i32::from(*matrix), is_full: *is_full });
            }
            _ => {}
        }
    }
    let video = libav::decode(codec, configuration, &data)?;
    libav::rgb(&video, colours)
}

/// Tiles side by side; what hangs over is cut off.
fn grid<B: Bytes + ?Sized>(bytes: &B, container: &Container, item: Item) -> Result<RgbImage, String> {
    let damaged = || "the picture is damaged or cut off: its grid of tiles is wrong".to_owned();
    let content = container.content(bytes, item, 64).ok_or_else(damaged)?;
    let size = if content.get(1).ok_or_else(damaged)? & 1 == 1 { 4 } else { 2 };
    let read = |at, size| number(&content, at, size).and_then(|number| u32::try_from(number).ok()).ok_or_else(damaged);
    let (rows, columns) = (read(2, 1)? + 1, read(3, 1)? + 1);
    let (width, height) = (read(4, size)?, read(4 + size, size)?);
    let tiles = container.tiles(item);
    let is_whole = tiles.len() == (rows * columns) as usize && u64::from(width) * u64::from(height) <= MAX_PIXELS;
    if !is_whole || width == 0 || height == 0 {
        return Err(damaged());
    }
    let mut canvas = RgbImage::new(width, height);
    let mut tile_size = None;
    for (tile, place) in tiles.iter().zip(0u32..) {
        // Its own parts are no grids again.
        let picture = coded(bytes, container, *tile)?;
        let (tile_width, tile_height) = *tile_size.get_or_insert(picture.dimensions());
        if picture.dimensions() != (tile_width, tile_height) {
            return Err(damaged());
        }
        let (x, y) =
            (i64::from(place % columns) * i64::from(tile_width), i64::from(place / columns) * i64::from(tile_height));
        image::imageops::replace(&mut canvas, &picture, x, y);
    }
    Ok(canvas)
}

fn cut(picture: RgbImage, width: u32, height: u32) -> RgbImage {
    if width == 0 || height == 0 || picture.width() < width || picture.height() < height {
        return picture;
    }
    if picture.dimensions() == (width, height) {
        return picture;
    }
    image::imageops::crop_imm(&picture, 0, 0, width, height).to_image()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_transparent_becomes_white_also_where_colours_are_multiplied_or_alpha_is_smaller() {
        let shown = |colour: u8, alpha: &RgbImage, is_multiplied| {
            let mut picture = RgbImage::from_pixel(4, 2, image::Rgb([colour, 0, 0]));
            put_on_paper(&mut picture, alpha, is_multiplied);
            (picture.get_pixel(0, 0).0, picture.get_pixel(3, 1).0)
        };
        let mut half = RgbImage::from_pixel(4, 2, image::Rgb([0; 3]));
        half.put_pixel(3, 1, image::Rgb([128; 3]));
        assert_eq!(shown(255, &half, false), ([255; 3], [255, 127, 127]));
        assert_eq!(shown(128, &half, true).1, [255, 127, 127]);
        let small = RgbImage::from_pixel(2, 1, image::Rgb([255; 3]));
        assert_eq!(shown(200, &small, false), ([200, 0, 0], [200, 0, 0]));
    }
}
