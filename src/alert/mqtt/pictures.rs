//! The newest picture of each camera, small enough for the line.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::decode::load_still;
use crate::event::Event;
use crate::frame::{Frame, Picture, Rgb};

use super::Config;
use super::device::StatusProvider;

/// JPEG qualities that are tried before the picture is made smaller.
const QUALITIES: [u8; 3] = [80, 60, 40];
/// Below this width nothing can be seen.
const LEAST_WIDTH: u32 = 48;

/// Where a picture comes from.
#[derive(Clone, Debug)]
pub(super) enum Shot {
    /// What the camera shows now.
    Live,
    /// The best look of an event.
    Of(Box<Event>),
}

/// A picture, ready to be sent.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub jpeg: Vec<u8>,
    /// What is known of it, for the message's properties.
    pub origin: Vec<(String, String)>,
}

/// Makes the picture of `camera` that `shot` asks for. Blocks on the disk.
///
/// # Errors
/// When there is no such picture, or it does not become small enough.
pub(super) fn take(status: &dyn StatusProvider, camera: &str, shot: &Shot, config: &Config) -> Result<Snapshot> {
    let (width, most) = (config.snapshot_width, config.snapshot_max_bytes);
    match shot {
        Shot::Live => {
            let Frame { picture, .. } =
                status.picture(camera).with_context(|| format!("camera {camera:?} gives no pictures at present"))?;
            Ok(Snapshot { jpeg: shrink(&*picture, width, most)?, origin: Vec::new() })
        }
        Shot::Of(event) => {
            let path = status.still(event).context("the event has no picture")?;
            let picture = load(&path)?;
            let at = event.best.as_ref().map_or(&event.start, |best| &best.at);
            let of = |key: &str, value: String| (key.to_owned(), value);
            let origin = vec![of("event", event.id.to_string()), of("taken", at.wall.to_string())];
            Ok(Snapshot { jpeg: shrink(&picture, width, most)?, origin })
        }
    }
}

fn load(path: &Path) -> Result<Rgb> {
    load_still(path).context("load the picture of the event")
}

/// As JPEG of at most `most` bytes, not wider than `width`.
fn shrink(picture: &dyn Picture, width: u32, most: usize) -> Result<Vec<u8>> {
    let (full_width, full_height) = (picture.width(), picture.height());
    let mut wide = width.min(full_width);
    while wide >= LEAST_WIDTH.min(full_width) && wide > 0 {
        // Even sides suit every scaler.
        let height = u64::from(full_height) * u64::from(wide) / u64::from(full_width.max(1));
        let height = (u32::try_from(height).unwrap_or(full_height) & !1).max(2);
        let rgb = picture.rgb((wide & !1).max(2), height)?;
        for quality in QUALITIES {
            let jpeg = rgb.to_jpeg(quality)?;
            if jpeg.len() <= most {
                return Ok(jpeg);
            }
        }
        wide /= 2;
    }
    bail!("no size of it fits into {most} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noise, which does not compress.
    fn noise(width: u32, height: u32) -> Rgb {
        let mut random = fastrand::Rng::with_seed(7);
        Rgb { width, height, data: (0..3 * width * height).map(|_| random.u8(..)).collect() }
    }

    #[test]
    fn a_picture_is_made_as_small_as_it_has_to_be() {
        for (most, widths) in [(4 << 20, 640..=640), (4 << 10, 48..=320)] {
            let jpeg = shrink(&noise(1280, 720), 640, most).expect("fits");
            assert!(jpeg.len() <= most, "{} bytes for {most}", jpeg.len());
            let image = image::load_from_memory(&jpeg).expect("a JPEG");
            assert!(widths.contains(&image.width()), "{} wide for {most}", image.width());
        }
        assert!(shrink(&noise(1280, 720), 640, 500).is_err());
        let narrow = image::load_from_memory(&shrink(&noise(320, 240), 640, 1 << 20).expect("fits")).expect("a JPEG");
        assert_eq!((narrow.width(), narrow.height()), (320, 240), "never larger than it is");
    }
}
