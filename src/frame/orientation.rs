//! How a coded picture has to be turned or mirrored to be upright.

use std::sync::Arc;

use super::{Luma, Picture, PictureError, Rgb};

/// One in the 16.16 fixed point of the first two columns of a display matrix.
const ONE: i32 = 1 << 16;
/// One in the 2.30 fixed point of its last column.
const LAST_ONE: i32 = 1 << 30;

/// What has to be done with a coded picture before it is upright: one of the eight ways that EXIF and the display
/// matrix of MP4 files know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Orientation {
    /// Nothing.
    #[default]
    Upright,
    /// Exchange left and right.
    MirrorHorizontally,
    /// Turn by 180°.
    Rotate180,
    /// Exchange top and bottom.
    MirrorVertically,
    /// Mirror at the diagonal from the upper left.
    Transpose,
    /// Turn by 90° clockwise.
    Rotate90,
    /// Mirror at the diagonal from the upper right.
    Transverse,
    /// Turn by 90° counter-clockwise.
    Rotate270,
}

impl Orientation {
    /// All eight, in the order of EXIF, which counts from 1.
    pub const ALL: [Self; 8] = [
        Self::Upright,
        Self::MirrorHorizontally,
        Self::Rotate180,
        Self::MirrorVertically,
        Self::Transpose,
        Self::Rotate90,
        Self::Transverse,
        Self::Rotate270,
    ];

    /// The one nearest to a display matrix of libav (`a b u, c d v, x y w`); upright where it states nothing.
    pub fn from_display_matrix(matrix: &[i32; 9]) -> Self {
        let [a, b, _, c, d, ..] = *matrix;
        let size = |one: i32, other: i32| u64::from(one.unsigned_abs()) + u64::from(other.unsigned_abs());
        let swaps = size(b, c) > size(a, d);
        let (mirrors_x, mirrors_y) = if swaps { (b < 0, c < 0) } else { (a < 0, d < 0) };
        let same = |way: &&Self| way.steps() == Steps { swaps, mirrors_x, mirrors_y };
        Self::ALL.iter().find(same).copied().unwrap_or_default()
    }

    /// The display matrix for coded pictures of `width` x `height` pixels; `None` where none is needed.
    pub fn display_matrix(self, width: u32, height: u32) -> Option<[i32; 9]> {
        if self == Self::Upright {
            return None;
        }
        let Steps { swaps, mirrors_x, mirrors_y } = self.steps();
        // Mirroring moves the picture to the other side of the origin, so it is shifted back by its size, in 16.16.
        let along = |mirrors: bool, side: u32| {
            let side = i32::try_from(side).unwrap_or(0).saturating_mul(ONE);
            if mirrors { (-ONE, side) } else { (ONE, 0) }
        };
        let ((x, x_shift), (y, y_shift)) = (along(mirrors_x, width), along(mirrors_y, height));
        Some(match swaps {
            false => [x, 0, 0, 0, y, 0, x_shift, y_shift, LAST_ONE],
            true => [0, x, 0, y, 0, 0, y_shift, x_shift, LAST_ONE],
        })
    }

    /// Reads the display matrix that libav hands over as bytes in the machine's order.
    pub fn from_side_data(data: &[u8]) -> Self {
        let mut matrix = [0; 9];
        for (number, bytes) in matrix.iter_mut().zip(data.chunks_exact(4)) {
            *number = i32::from_ne_bytes(bytes.try_into().unwrap_or_default());
        }
        Self::from_display_matrix(&matrix)
    }

    /// Width and height of the upright picture, or of the coded one where the upright one is given.
    pub fn applied_to_size(self, (width, height): (u32, u32)) -> (u32, u32) {
        if self.steps().swaps { (height, width) } else { (width, height) }
    }

    fn steps(self) -> Steps {
        let (swaps, mirrors_x, mirrors_y) = match self {
            Self::Upright => (false, false, false),
            Self::MirrorHorizontally => (false, true, false),
            Self::Rotate180 => (false, true, true),
            Self::MirrorVertically => (false, false, true),
            Self::Transpose => (true, false, false),
            Self::Rotate90 => (true, false, true),
            Self::Transverse => (true, true, true),
            Self::Rotate270 => (true, true, false),
        };
        Steps { swaps, mirrors_x, mirrors_y }
    }

    /// Makes a coded picture of `width` x `height` pixels with `channels` bytes each upright.
    fn apply(self, data: &[u8], width: usize, height: usize, channels: usize) -> Vec<u8> {
        let Steps { swaps, mirrors_x, mirrors_y } = self.steps();
        let (columns, rows) = if swaps { (height, width) } else { (width, height) };
        let mut upright = Vec::with_capacity(data.len());
        for row in 0..rows {
            for column in 0..columns {
                let (x, y) = if swaps { (row, column) } else { (column, row) };
                let x = if mirrors_x { width - 1 - x } else { x };
                let y = if mirrors_y { height - 1 - y } else { y };
                let at = (y * width + x) * channels;
                upright.extend_from_slice(data.get(at..at + channels).unwrap_or_default());
            }
        }
        upright
    }
}

/// An orientation as an exchange of the axes and mirrors of the coded picture's axes.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Steps {
    swaps: bool,
    mirrors_x: bool,
    mirrors_y: bool,
}

/// The picture with its orientation applied whenever it is converted.
pub fn upright(picture: impl Picture + 'static, orientation: Orientation) -> Arc<dyn Picture> {
    match orientation {
        Orientation::Upright => Arc::new(picture),
        orientation => Arc::new(Turned { coded: picture, orientation }),
    }
}

struct Turned<P> {
    coded: P,
    orientation: Orientation,
}

impl<P: Picture> Turned<P> {
    fn size(&self) -> (u32, u32) {
        self.orientation.applied_to_size((self.coded.width(), self.coded.height()))
    }
}

impl<P: Picture> Picture for Turned<P> {
    fn width(&self) -> u32 {
        self.size().0
    }

    fn height(&self) -> u32 {
        self.size().1
    }

    // Scaled first, so that as few pixels as possible are moved.
    fn luma(&self, width: u32, height: u32) -> Result<Luma, PictureError> {
        let (w, h) = self.orientation.applied_to_size((width, height));
        let coded = self.coded.luma(w, h)?;
        Ok(Luma { width, height, data: self.orientation.apply(&coded.data, w as usize, h as usize, 1) })
    }

    fn rgb(&self, width: u32, height: u32) -> Result<Rgb, PictureError> {
        let (w, h) = self.orientation.applied_to_size((width, height));
        let coded = self.coded.rgb(w, h)?;
        Ok(Rgb { width, height, data: self.orientation.apply(&coded.data, w as usize, h as usize, 3) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Picture;

    /// `R G B` over `W K Y`.
    fn card() -> Rgb {
        const R: [u8; 3] = [255, 0, 0];
        const G: [u8; 3] = [0, 255, 0];
        const B: [u8; 3] = [0, 0, 255];
        Rgb { width: 3, height: 2, data: [R, G, B, [255; 3], [0; 3], [255, 255, 0]].concat() }
    }

    /// The picture that EXIF readers make of `card`.
    fn expected(exif: u8) -> image::RgbImage {
        let card = card();
        let image = image::RgbImage::from_raw(card.width, card.height, card.data).expect("a picture");
        let mut image = image::DynamicImage::from(image);
        image.apply_orientation(image::metadata::Orientation::from_exif(exif).expect("one of eight"));
        image.into_rgb8()
    }

    #[test]
    fn all_eight_are_what_exif_means_by_them() {
        for (orientation, exif) in Orientation::ALL.into_iter().zip(1..) {
            let expected = expected(exif);
            let turned = upright(card(), orientation);
            assert_eq!((turned.width(), turned.height()), expected.dimensions(), "{orientation:?}");
            let rgb = turned.rgb(turned.width(), turned.height()).expect("convert");
            assert_eq!(rgb.data, expected.into_raw(), "{orientation:?}");
            let luma = turned.luma(turned.width(), turned.height()).expect("convert");
            assert_eq!(luma.data, Picture::luma(&rgb, rgb.width, rgb.height).expect("grey").data, "{orientation:?}");
        }
    }

    #[test]
    fn a_display_matrix_leads_back_to_its_orientation() {
        assert_eq!(Orientation::Upright.display_matrix(640, 480), None);
        for orientation in Orientation::ALL.into_iter().skip(1) {
            let matrix = orientation.display_matrix(640, 480).expect("a matrix");
            assert_eq!(Orientation::from_display_matrix(&matrix), orientation);
            let bytes: Vec<u8> = matrix.iter().flat_map(|number| number.to_ne_bytes()).collect();
            assert_eq!(Orientation::from_side_data(&bytes), orientation);
        }
        // As telephones write it that were held upright.
        let portrait = [0, ONE, 0, -ONE, 0, 0, 480 * ONE, 0, LAST_ONE];
        assert_eq!(Orientation::Rotate90.display_matrix(640, 480), Some(portrait));
    }

    #[test]
    fn an_oblique_or_empty_matrix_is_taken_as_the_nearest() {
        let tilted = [65_446, 3_430, 0, -3_430, 65_446, 0, 0, 0, LAST_ONE];
        assert_eq!(Orientation::from_display_matrix(&tilted), Orientation::Upright);
        assert_eq!(Orientation::from_display_matrix(&[0; 9]), Orientation::Upright);
        assert_eq!(Orientation::from_side_data(&[]), Orientation::Upright);
        let extremes = [i32::MIN, i32::MIN, 0, i32::MIN, i32::MIN, 0, 0, 0, 0];
        assert_eq!(Orientation::from_display_matrix(&extremes), Orientation::Rotate180);
    }
}
