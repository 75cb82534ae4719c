//! Files of all kinds, whole and broken.

use std::path::Path;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};

use super::*;
use crate::photo::TakenFrom;

fn card() -> DynamicImage {
    DynamicImage::ImageRgb8(RgbImage::from_fn(600, 400, |x, y| Rgb([(x / 3) as u8, (y / 2) as u8, 90])))
}

fn write(folder: &Path, name: &str, format: ImageFormat) -> std::path::PathBuf {
    let path = folder.join(name);
    card().save_with_format(&path, format).expect("write a picture");
    path
}

fn request(path: &std::path::Path, name: &str, folder: &std::path::Path) -> Request {
    Request {
        path: path.to_owned(),
        name: name.to_owned(),
        folder: Some(folder.to_owned()),
        stripped: true,
        pixels: false,
    }
}

#[test]
fn pictures_of_each_kind_are_measured_and_get_thumbnails() {
    let dir = tempfile::tempdir().expect("tempdir");
    for (format, image) in [
        (PictureFormat::Jpeg, ImageFormat::Jpeg),
        (PictureFormat::Png, ImageFormat::Png),
        (PictureFormat::Webp, ImageFormat::WebP),
        (PictureFormat::Gif, ImageFormat::Gif),
        (PictureFormat::Tiff, ImageFormat::Tiff),
    ] {
        // The name lies.
        let path = write(dir.path(), "picture.bin", image);
        let Inspected { facts, thumbnails, .. } =
            inspect(&request(&path, "picture.bin", dir.path())).expect("a picture");
        assert_eq!((facts.format, facts.width, facts.height, facts.unreadable), (format, 600, 400, None));
        let sizes: Vec<_> = thumbnails.iter().map(|made| (&*made.file, made.width, made.height)).collect();
        assert_eq!(sizes, [("large.jpg", 600, 400), ("small.jpg", 256, 171)], "{format:?}");
        let small = image::open(dir.path().join("small.jpg")).expect("a thumbnail");
        assert_eq!((small.width(), small.height()), (256, 171));
    }
}

#[test]
fn a_phone_photo_is_turned_once_and_says_when_and_with_what_it_was_taken() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("a.jpg");
    std::fs::write(&path, with_exif(&jpeg(), 6)).expect("write");
    let Inspected { facts, thumbnails, .. } = inspect(&request(&path, "a.jpg", dir.path())).expect("a picture");
    assert_eq!((facts.orientation, facts.width, facts.height), (6, 400, 600));
    assert_eq!((thumbnails[0].width, thumbnails[0].height), (400, 600));
    let taken = facts.taken.expect("a time");
    assert_eq!((taken.local.to_string().as_str(), taken.from), ("2024-03-31T02:30:00", TakenFrom::Original));
    assert_eq!(taken.offset_s, None, "the zone of a change is not that of the picture");
    assert_eq!(facts.device.model.as_deref(), Some("Box 1"));
}

#[test]
fn what_cannot_be_shown_is_kept_with_the_reason_and_what_is_no_picture_is_refused() {
    let dir = tempfile::tempdir().expect("tempdir");
    let look = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).expect("write");
        inspect(&request(&path, name, dir.path()))
    };
    let reason = |name: &str, content: &[u8]| look(name, content).expect("kept").facts.unreadable.unwrap_or_default();
    assert!(reason("a.png", b"\x89PNG\r\n\x1a\nno more").contains("damaged or cut off"));
    let heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic";
    assert!(reason("a.heic", heic).contains("damaged or cut off: it has no list of its parts"));
    assert!(
        reason("a.dng", b"II*\0\x08\0\0\0\0\0").contains("the camera put no preview into it; the original is kept")
    );
    assert!(reason("a.mp4", b"\0\0\0\x14ftypisom\0\0\0\0isom").contains("the video is damaged or cut off"));
    assert!(reason("huge.png", &huge_png()).contains("50000x50000 pixels are more than the 250 megapixels"));
    assert_eq!(look("a.jpg", b"%PDF-1.7"), Err(PictureError::NotAPicture));
    assert_eq!(look("empty.jpg", b""), Err(PictureError::NotAPicture));
}

/// The header of a PNG of 50,000 by 50,000 pixels, and nothing else.
fn huge_png() -> Vec<u8> {
    let mut chunk = b"IHDR".to_vec();
    for side in [50_000u32, 50_000] {
        chunk.extend(side.to_be_bytes());
    }
    chunk.extend([8, 2, 0, 0, 0]);
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    png.extend(13u32.to_be_bytes());
    png.extend(&chunk);
    png.extend(crc32(&chunk).to_be_bytes());
    png.extend([0, 0, 0, 0]);
    png.extend(b"IDAT");
    png.extend(crc32(b"IDAT").to_be_bytes());
    png
}

fn crc32(bytes: &[u8]) -> u32 {
    let step =
        |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)));
    !bytes.iter().fold(u32::MAX, step)
}

fn jpeg() -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    card().write_to(&mut out, ImageFormat::Jpeg).expect("encode");
    out.into_inner()
}

/// `jpeg` with EXIF: a model, an orientation, a time of taking without a zone, and the zone of a change.
fn with_exif(jpeg: &[u8], orientation: u16) -> Vec<u8> {
    let entry = |tag: u16, kind: u16, count: u32, value: [u8; 4]| {
        let head = [tag.to_be_bytes(), kind.to_be_bytes()].concat();
        [head, count.to_be_bytes().to_vec(), value.to_vec()].concat()
    };
    let [high, low] = orientation.to_be_bytes();
    // First directory at 8: 3 entries; texts behind it; the second one behind these.
    let (model, time, zone) = (b"Box 1\0", b"2024:03:31 02:30:00\0", b"+09:00\0");
    let texts = 8 + 2 + 3 * 12 + 4;
    let exif_at = texts + model.len() as u32;
    let exif_texts = exif_at + 2 + 2 * 12 + 4;
    let mut tiff = b"MM\0*\0\0\0\x08".to_vec();
    tiff.extend(3u16.to_be_bytes());
    tiff.extend(entry(0x0110, 2, model.len() as u32, u32::to_be_bytes(texts)));
    tiff.extend(entry(0x0112, 3, 1, [high, low, 0, 0]));
    tiff.extend(entry(0x8769, 4, 1, exif_at.to_be_bytes()));
    tiff.extend(0u32.to_be_bytes());
    tiff.extend(model);
    tiff.extend(2u16.to_be_bytes());
    tiff.extend(entry(0x9003, 2, time.len() as u32, exif_texts.to_be_bytes()));
    tiff.extend(entry(0x9010, 2, zone.len() as u32, (exif_texts + time.len() as u32).to_be_bytes()));
    tiff.extend(0u32.to_be_bytes());
    tiff.extend(time);
    tiff.extend(zone);
    let segment = [b"Exif\0\0".as_slice(), &tiff].concat();
    let length = u16::try_from(segment.len() + 2).expect("short");
    [&jpeg[..2], &[0xff, 0xe1], &length.to_be_bytes(), &segment, &jpeg[2..]].concat()
}
