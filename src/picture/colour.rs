//! Colours of a picture as sRGB, by the profile that it comes with.

use image::RgbImage;
use moxcms::{ColorProfile, DataColorSpace, Layout, TransformOptions};

use super::coded::Profile;

/// Changes the colours of `picture` to sRGB; a profile that is broken or of other colours changes nothing.
pub(super) fn to_srgb(picture: &mut RgbImage, profile: &Profile) {
    let Some(profile) = open(profile) else { return };
    let count = picture.as_raw().len();
    let mut shown = vec![0; count];
    let is_done = match profile.color_space {
        DataColorSpace::Rgb => transform(&profile, Layout::Rgb, picture.as_raw(), &mut shown),
        // A grey picture has three times the same.
        DataColorSpace::Gray => {
            let grey: Vec<u8> = picture.as_raw().iter().step_by(3).copied().collect();
            transform(&profile, Layout::Gray, &grey, &mut shown)
        }
        _ => None,
    };
    let (width, height) = picture.dimensions();
    if let Some(shown) = is_done.and_then(|()| RgbImage::from_raw(width, height, shown)) {
        *picture = shown;
    }
}

/// A picture of inks, four bytes a pixel, as sRGB; `None` where the profile is not one of inks.
pub(super) fn of_inks(inks: &[u8], width: u32, height: u32, profile: &[u8]) -> Option<RgbImage> {
    let profile =
        open(&Profile::Icc(profile.to_vec())).filter(|profile| profile.color_space == DataColorSpace::Cmyk)?;
    let mut shown = vec![0; inks.len() / 4 * 3];
    // moxcms calls the layout of four inks by that of its memory.
    transform(&profile, Layout::Rgba, inks, &mut shown)?;
    RgbImage::from_raw(width, height, shown)
}

fn open(profile: &Profile) -> Option<ColorProfile> {
    match profile {
        Profile::Icc(bytes) => ColorProfile::new_from_slice(bytes).ok(),
        Profile::P3 => Some(ColorProfile::new_display_p3()),
    }
}

fn transform(profile: &ColorProfile, layout: Layout, from: &[u8], to: &mut [u8]) -> Option<()> {
    let srgb = ColorProfile::new_srgb();
    let options = TransformOptions::default();
    profile.create_transform_8bit(layout, &srgb, Layout::Rgb, options).ok()?.transform(from, to).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_colours_become_those_of_a_screen_and_broken_profiles_change_nothing() {
        let mut picture = RgbImage::from_pixel(2, 1, image::Rgb([200, 100, 50]));
        to_srgb(&mut picture, &Profile::Icc(b"nonsense".to_vec()));
        assert_eq!(picture.get_pixel(0, 0).0, [200, 100, 50]);
        to_srgb(&mut picture, &Profile::P3);
        // As LittleCMS has it.
        for (found, wanted) in picture.get_pixel(1, 0).0.into_iter().zip([215u8, 93, 31]) {
            assert!(found.abs_diff(wanted) <= 2, "{picture:?}");
        }
    }
}
