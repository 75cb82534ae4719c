//! Stills of an event: the best frame clean and with its box, and a thumbnail around the object.

use std::path::Path;

use anyhow::{Context, Result};
use image::imageops::{self, FilterType};
use image::{ImageBuffer, Rgb as Pixel, RgbImage};

use crate::archive::sidecar::write_durable;
use crate::asset::{SNAPSHOT, SNAPSHOT_BOXES, THUMBNAIL};
use crate::detection::BBox;
use crate::event::MediaFile;
use crate::frame::{Frame, Rgb};

/// Longest side of a thumbnail in pixels.
const THUMB_SIDE: u32 = 320;
/// Colour of boxes: seen on grass, sea, snow and at night.
const BOX_COLOUR: Pixel<u8> = Pixel([255, 196, 0]);

/// The coded stills of one look, each with the name of its file.
#[derive(Debug)]
pub struct Stills([(&'static str, Vec<u8>); 3]);

impl Stills {
    /// Makes the stills of `frame`, with the object in `bbox`; `quality` is that of JPEG, 1 to 100.
    ///
    /// # Errors
    /// When the picture does not convert.
    pub fn of(frame: &Frame, bbox: &BBox, quality: u8) -> Result<Self> {
        let (width, height) = (frame.picture.width(), frame.picture.height());
        let clean = frame.picture.rgb(width, height)?;
        let snapshot = clean.to_jpeg(quality)?;
        let mut image: RgbImage =
            ImageBuffer::from_raw(width, height, clean.data).context("the picture has fewer pixels than it says")?;
        let thumb = thumbnail(&image, bbox).to_jpeg(quality.min(80))?;
        draw_box(&mut image, bbox);
        let boxes = as_rgb(image).to_jpeg(quality)?;
        Ok(Self([(THUMBNAIL, thumb), (SNAPSHOT, snapshot), (SNAPSHOT_BOXES, boxes)]))
    }

    /// Writes them into `folder`, durably, and puts each into `pictures` in the place of what was known of it. What was
    /// written before an error is known too.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn write(&self, folder: &Path, pictures: &mut Vec<MediaFile>) -> Result<()> {
        for (name, jpeg) in &self.0 {
            let written = write_durable(folder, name, jpeg)?;
            match pictures.iter_mut().find(|known| known.file == *name) {
                Some(known) => *known = written,
                None => pictures.push(written),
            }
        }
        Ok(())
    }
}

/// The surroundings of the object: twice its size, at least a third of the picture, in 4:3.
fn thumbnail(image: &RgbImage, bbox: &BBox) -> Rgb {
    let (w, h) = (image.width() as f32, image.height() as f32);
    let side = (2.0 * bbox.w * w).max(2.0 * bbox.h * h * 4.0 / 3.0).max(w / 3.0);
    let (crop_w, crop_h) = (side.min(w), (side * 3.0 / 4.0).min(h));
    let [cx, cy] = bbox.centre();
    let x = (cx * w - crop_w / 2.0).clamp(0.0, w - crop_w);
    let y = (cy * h - crop_h / 2.0).clamp(0.0, h - crop_h);
    let (crop_w, crop_h) = ((crop_w as u32).max(1), (crop_h as u32).max(1));
    let crop = imageops::crop_imm(image, x as u32, y as u32, crop_w, crop_h).to_image();
    let scale = (THUMB_SIDE as f32 / crop_w.max(crop_h) as f32).min(1.0);
    let size = |v: u32| ((v as f32 * scale).round() as u32).max(1);
    as_rgb(imageops::resize(&crop, size(crop_w), size(crop_h), FilterType::Triangle))
}

/// Draws the outline of `bbox`, as thick as the picture's size asks for.
fn draw_box(image: &mut RgbImage, bbox: &BBox) {
    let (w, h) = (image.width(), image.height());
    if w == 0 || h == 0 {
        return;
    }
    let pixel = |v: f32, size: u32| ((v * size as f32).round().max(0.0) as u32).min(size - 1);
    let (x0, x1) = (pixel(bbox.x, w), pixel(bbox.x + bbox.w, w));
    let (y0, y1) = (pixel(bbox.y, h), pixel(bbox.y + bbox.h, h));
    let thick = (w.max(h) / 320).max(1);
    for y in y0..=y1 {
        for x in x0..=x1 {
            let inner = x >= x0 + thick && x + thick <= x1 && y >= y0 + thick && y + thick <= y1;
            if !inner {
                image.put_pixel(x, y, BOX_COLOUR);
            }
        }
    }
}

fn as_rgb(image: RgbImage) -> Rgb {
    Rgb { width: image.width(), height: image.height(), data: image.into_raw() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Mono;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn stills(width: u32, height: u32, bbox: &BBox) -> Stills {
        let data = vec![90; (3 * width * height) as usize];
        let frame = Frame { at: Mono(0), picture: Arc::new(Rgb { width, height, data }) };
        Stills::of(&frame, bbox, 90).expect("stills")
    }

    #[test]
    fn what_was_written_before_a_failure_is_known_as_it_is() {
        let dir = tempfile::tempdir().expect("tempdir");
        let whole = BBox { x: 0.0, y: 0.0, w: 1.0, h: 1.0 };
        let mut files = Vec::new();
        stills(320, 240, &whole).write(dir.path(), &mut files).expect("write");
        // Of the next look, the last picture finds no room.
        let boxes = dir.path().join("snapshot-boxes.jpg");
        std::fs::remove_file(&boxes).and_then(|()| std::fs::create_dir_all(boxes.join("full"))).expect("an obstacle");
        let before = files.clone();
        stills(200, 150, &whole).write(dir.path(), &mut files).expect_err("an obstacle");
        for (then, now) in before.iter().zip(&files).take(2) {
            assert_ne!(then, now);
            assert_eq!(&crate::archive::sidecar::measure(dir.path(), &now.file).expect("measure"), now);
        }
        assert_eq!((files.len(), &files[2]), (3, &before[2]));
    }

    #[test]
    fn stills_are_pictures_of_the_frame_one_with_a_box() {
        let dir = tempfile::tempdir().expect("tempdir");
        let bbox = BBox { x: 0.25, y: 0.25, w: 0.5, h: 0.5 };
        let mut files = Vec::new();
        stills(640, 480, &bbox).write(dir.path(), &mut files).expect("write");
        assert_eq!(
            files.iter().map(|f| f.file.as_str()).collect::<Vec<_>>(),
            ["thumb.jpg", "snapshot.jpg", "snapshot-boxes.jpg"]
        );
        let open = |name: &str| image::open(dir.path().join(name)).expect("a picture").into_rgb8();
        let (clean, boxed) = (open("snapshot.jpg"), open("snapshot-boxes.jpg"));
        assert_eq!((clean.width(), clean.height()), (640, 480));
        assert!(clean.get_pixel(160, 240).0[0] < 120, "the clean one has no box");
        assert!(boxed.get_pixel(160, 240).0[0] > 200, "the left edge of the box is drawn");
        assert!(boxed.get_pixel(320, 240).0[0] < 120, "its inside is not");
        assert!(open("thumb.jpg").width() <= THUMB_SIDE);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_box_and_no_picture_size_panics(w in 1u32..90, h in 1u32..90, x in -0.5f32..1.5, y in -0.5f32..1.5, bw in 0f32..2.0, bh in 0f32..2.0) {
            let bbox = BBox { x, y, w: bw, h: bh };
            let mut image = RgbImage::new(w, h);
            draw_box(&mut image, &bbox);
            let thumb = thumbnail(&image, &bbox);
            prop_assert_eq!(thumb.data.len() as u32, 3 * thumb.width * thumb.height);
        }
    }
}
