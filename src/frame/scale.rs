//! Scaling of pictures in memory: by the share that each pixel has in another, so that nothing of a large one is left out.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::{PictureError, Rgb};

/// `picture` with another size.
///
/// # Errors
/// When its bytes are not those of its size, or a side is zero.
pub(super) fn scale(picture: &Rgb, width: u32, height: u32) -> Result<Rgb, PictureError> {
    let wrong = |reason: &dyn std::fmt::Display| {
        let (bytes, from) = (picture.data.len(), (picture.width, picture.height));
        PictureError(format!(
            "{bytes} bytes as {}x{} RGB cannot be scaled to {width}x{height}: {reason}",
            from.0, from.1
        ))
    };
    let from = ImageRef::new(picture.width, picture.height, &picture.data, PixelType::U8x3).map_err(|e| wrong(&e))?;
    let mut scaled = Image::new(width, height, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).use_alpha(false);
    Resizer::new().resize(&from, &mut scaled, &options).map_err(|e| wrong(&e))?;
    Ok(Rgb { width, height, data: scaled.into_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_gives_what_a_plain_filter_gives_to_one_in_256() {
        let mut random = fastrand::Rng::with_seed(5);
        for ((width, height), (to_width, to_height)) in [((97, 61), (31, 20)), ((20, 10), (64, 48)), ((64, 1), (7, 1))]
        {
            let picture = Rgb { width, height, data: (0..3 * width * height).map(|_| random.u8(..)).collect() };
            let view = image::RgbImage::from_raw(width, height, picture.data.clone()).expect("a picture");
            let plain = image::imageops::resize(&view, to_width, to_height, image::imageops::FilterType::Triangle);
            let scaled = scale(&picture, to_width, to_height).expect("scaled");
            assert_eq!((scaled.width, scaled.height), (to_width, to_height));
            let far = scaled.data.iter().zip(plain.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(far <= Some(1), "{far:?} at {width}x{height}");
        }
    }

    #[test]
    fn bytes_that_are_no_picture_are_an_error() {
        let error = scale(&Rgb { width: 4, height: 4, data: vec![0; 5] }, 2, 2).expect_err("refused");
        assert!(error.to_string().contains("5 bytes as 4x4 RGB cannot be scaled to 2x2"), "{error}");
    }
}
