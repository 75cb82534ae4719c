//! Parts of pictures, and pictures in another size.

use super::held::check;
use super::output::BlockError;
use crate::detection::BBox;
use crate::frame::{MOST_PIXELS, Picture, Rgb};

/// Within this of the edge of a pixel a box ends there.
const ON_EDGE: f32 = 1e-2;

/// A rectangle of pixels; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rectangle {
    pub left: u32,
    pub top: u32,
    pub width: u32,
    pub height: u32,
}

impl Rectangle {
    /// The pixels of a picture of this size that `part` covers, at least one; `None` where it lies outside.
    pub(super) fn of(part: BBox, width: u32, height: u32) -> Option<Self> {
        let inner = |from: f32, length: f32, size: u32| {
            if !from.is_finite() || !length.is_finite() || size == 0 {
                return None;
            }
            let (begin, end) = (from.max(0.0) * size as f32, (from + length).min(1.0) * size as f32);
            if begin >= end {
                return None;
            }
            // An edge that lies on one of pixels, but for rounding, is that.
            let first = ((begin + ON_EDGE).floor() as u32).min(size - 1);
            Some((first, ((end - ON_EDGE).ceil() as u32).clamp(first + 1, size) - first))
        };
        let ((left, width), (top, height)) = (inner(part.x, part.w, width)?, inner(part.y, part.h, height)?);
        Some(Self { left, top, width, height })
    }

    /// The same in shares of a picture of this size.
    pub(super) fn share(self, width: u32, height: u32) -> BBox {
        let (w, h) = (width.max(1) as f32, height.max(1) as f32);
        BBox { x: self.left as f32 / w, y: self.top as f32 / h, w: self.width as f32 / w, h: self.height as f32 / h }
    }
}

/// The pixels of a part of a picture.
pub(super) fn crop(picture: &Rgb, part: Rectangle) -> Rgb {
    let (line, from, length) = (3 * picture.width as usize, 3 * part.left as usize, 3 * part.width as usize);
    let mut data = Vec::with_capacity(length * part.height as usize);
    for row in picture.data.chunks_exact(line.max(1)).skip(part.top as usize).take(part.height as usize) {
        data.extend_from_slice(row.get(from..from + length).unwrap_or_default());
    }
    Rgb { width: part.width, height: part.height, data }
}

/// Puts `piece` into `picture` with its left upper corner at `left`, `top`; what lies outside is cut off.
pub(super) fn paste(picture: &mut Rgb, piece: &Rgb, left: u32, top: u32) {
    let (line, from) = (3 * picture.width as usize, 3 * left as usize);
    let rows = picture.data.chunks_exact_mut(line.max(1)).skip(top as usize);
    for (row, source) in rows.zip(piece.data.chunks_exact((3 * piece.width as usize).max(1))) {
        let Some(row) = row.get_mut(from..) else { return };
        let length = row.len().min(source.len());
        row[..length].copy_from_slice(&source[..length]);
    }
}

/// Fills a rectangle with a colour; what of it lies outside of the picture is cut off.
pub(super) fn fill(picture: &mut Rgb, left: i64, top: i64, width: u32, height: u32, colour: [u8; 3]) {
    let inner = |from: i64, length: u32, size: u32| {
        let within = |at: i64| at.clamp(0, i64::from(size)) as usize;
        (within(from), within(from + i64::from(length)))
    };
    let (first, last) = inner(left, width, picture.width);
    let (begin, end) = inner(top, height, picture.height);
    let line = (3 * picture.width as usize).max(1);
    for row in picture.data.chunks_exact_mut(line).skip(begin).take(end - begin) {
        row.as_chunks_mut::<3>().0.get_mut(first..last).unwrap_or_default().fill(colour);
    }
}

/// A picture of one colour.
///
/// # Errors
/// When it would be too large.
pub(super) fn plain(width: u32, height: u32, colour: [u8; 3]) -> Result<Rgb, BlockError> {
    check_size(width, height)?;
    Ok(Rgb { width, height, data: colour.repeat(width as usize * height as usize) })
}

/// The picture in another size, stretched.
///
/// # Errors
/// When it would be too large.
pub(super) fn resize(picture: &Rgb, width: u32, height: u32) -> Result<Rgb, BlockError> {
    check_size(width, height)?;
    Picture::rgb(picture, width, height).map_err(|error| BlockError::step(error.to_string()))
}

/// The picture scaled to fit into a width and a height, in its shape.
///
/// # Errors
/// When it would be too large.
pub(super) fn fit(picture: &Rgb, width: u32, height: u32) -> Result<Rgb, BlockError> {
    let (from_width, from_height) = (f64::from(picture.width.max(1)), f64::from(picture.height.max(1)));
    let factor = (f64::from(width) / from_width).min(f64::from(height) / from_height);
    let side = |length: f64, most: u32| ((length * factor).round() as u32).clamp(1, most.max(1));
    resize(picture, side(from_width, width), side(from_height, height))
}

/// Whether pictures of these sizes may be cut out together.
///
/// # Errors
/// When they would be too large.
pub(super) fn check_parts<'a>(parts: impl IntoIterator<Item = &'a Rectangle>) -> Result<(), BlockError> {
    let bytes = parts.into_iter().map(|part| 3 * u64::from(part.width) * u64::from(part.height));
    check(bytes.fold(0, u64::saturating_add))
}

/// Whether a picture of this size may be made.
///
/// # Errors
/// When it would be too large.
pub(super) fn check_size(width: u32, height: u32) -> Result<(), BlockError> {
    if width == 0 || height == 0 || u64::from(width) * u64::from(height) > MOST_PIXELS {
        let message = format!("the picture would have {width}x{height} pixels; {MOST_PIXELS} are the most");
        return Err(BlockError::too_large(message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::picture;
    use super::*;

    #[test]
    fn a_part_covers_at_least_a_pixel_and_never_more_than_the_picture() {
        let of = |bbox: [f32; 4]| Rectangle::of(BBox::from(bbox), 10, 4);
        let rectangle = |left, top, width, height| Some(Rectangle { left, top, width, height });
        assert_eq!(of([0.0, 0.0, 1.0, 1.0]), rectangle(0, 0, 10, 4));
        assert_eq!(of([0.55, 0.5, 0.001, 0.001]), rectangle(5, 2, 1, 1));
        assert_eq!(of([-0.5, 0.5, 2.0, 2.0]), rectangle(0, 2, 10, 2));
        assert_eq!(of([0.5, 0.5, 0.0, 0.2]), None);
        assert_eq!(of([1.5, 0.0, 1.0, 1.0]), None);
        assert_eq!(of([f32::NAN, 0.0, 1.0, 1.0]), None);
    }

    #[test]
    fn what_is_cut_out_fits_where_it_was() {
        let whole = picture(9, 6);
        let part = Rectangle { left: 3, top: 2, width: 4, height: 3 };
        let cut = crop(&whole, part);
        assert_eq!((cut.width, cut.height, cut.data.len()), (4, 3, 36));
        assert_eq!(cut.data[..3], whole.data[3 * (2 * 9 + 3)..][..3]);
        let mut again = plain(9, 6, [0; 3]).expect("a picture");
        paste(&mut again, &whole, 0, 0);
        paste(&mut again, &cut, 3, 2);
        assert_eq!(again, whole);
        paste(&mut again, &cut, 8, 5);
        paste(&mut again, &cut, 20, 20);
        assert_eq!(again.data.len(), whole.data.len());
    }

    #[test]
    fn a_picture_that_is_too_large_is_not_made() {
        assert!(resize(&picture(2, 2), 100_000, 100_000).is_err());
        assert!(plain(0, 5, [0; 3]).is_err());
    }
}
