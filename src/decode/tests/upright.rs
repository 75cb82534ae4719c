//! Pictures that are stored turned or mirrored, and pictures of which only a part is there.

use super::*;
use crate::frame::{Picture, upright};

/// A JPEG with EXIF data that says nothing but its orientation.
fn with_exif(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let tiff = [b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".as_slice(), &[orientation], &[0; 6]].concat();
    let length = u16::try_from(2 + 6 + tiff.len()).expect("short").to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe1], &length, b"Exif\0\0", &tiff, &jpeg[2..]].concat()
}

/// How far two pictures are apart on average, in steps of brightness.
fn distance(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.len() as f64
}

/// Works with: pictures | a JPEG with any of the eight EXIF orientations | looks at the upright picture
#[test]
fn a_still_is_made_upright_by_its_exif_orientation() {
    let (dir, path) = make("-f lavfi -i testsrc2=size=96x64 -frames:v 1", "a.jpg");
    let jpeg = std::fs::read(&path).expect("read");
    let coded = load_still(&path).expect("load");
    for (exif, orientation) in (1..).zip(Orientation::ALL) {
        std::fs::write(dir.path().join("b.jpg"), with_exif(&jpeg, exif)).expect("write");
        let still = load_still(&dir.path().join("b.jpg")).expect("load");
        let expected = upright(coded.clone(), orientation);
        assert_eq!((still.width, still.height), (expected.width(), expected.height()), "{exif}");
        assert_eq!(still, expected.rgb(still.width, still.height).expect("turn"), "{exif}");
    }
}

/// Works with: pictures | a JPEG file that ends early | says that it is cut off, instead of finding nothing in grey
#[test]
fn a_jpeg_that_ends_early_is_said_and_one_with_padding_is_taken() {
    let (dir, path) = make("-f lavfi -i testsrc2=size=640x480 -frames:v 1", "a.jpg");
    let jpeg = std::fs::read(&path).expect("read");
    let load = |bytes: &[u8]| {
        std::fs::write(dir.path().join("b.jpg"), bytes).expect("write");
        load_still(&dir.path().join("b.jpg")).map_err(|e| e.to_string())
    };
    for bytes in [jpeg.len() - 2, jpeg.len() - 40, jpeg.len() * 2 / 3, jpeg.len() / 2, 30, 3] {
        let error = load(&jpeg[..bytes]).expect_err("cut");
        assert!(error.contains("ends early") && error.contains(&format!("{bytes} bytes")), "{error}");
    }
    // A thumbnail inside has an end of its own.
    let with_thumbnail = [&jpeg[..2], &[0xff, 0xed, 0, 6, 0xff, 0xd8, 0xff, 0xd9], &jpeg[2..]].concat();
    assert!(load(&with_thumbnail[..with_thumbnail.len() * 2 / 3]).expect_err("cut").contains("ends early"));
    assert!(load(&with_thumbnail).is_ok());
    assert!(load(&[&jpeg[..], &[0; 600]].concat()).is_ok(), "padding behind the end");
    assert!(load(b"").expect_err("nothing").contains("the file is empty"));
}

/// Works with: cameras | Motion JPEG whose pictures carry EXIF orientations | looks at the upright picture
#[test]
fn motion_jpeg_is_made_upright_picture_by_picture() {
    let (_dir, path) = make("-f lavfi -i testsrc2=size=96x64:rate=10 -t 1 -c:v mjpeg -pix_fmt yuvj420p", "a.mkv");
    let packet = &packets(&path)[0];
    let coded = decoded(std::slice::from_ref(packet))[0].picture.rgb(96, 64).expect("convert");
    for (exif, orientation) in (1..).zip(Orientation::ALL) {
        let turned = Packet { data: with_exif(&packet.data, exif).into(), ..packet.clone() };
        let picture = decoded(&[turned])[0].picture.clone();
        let expected = upright(coded.clone(), orientation);
        let size = (expected.width(), expected.height());
        assert_eq!((picture.width(), picture.height()), size, "{exif}");
        let rgb = picture.rgb(size.0, size.1).expect("convert");
        assert_eq!(rgb.data, expected.rgb(size.0, size.1).expect("turn").data, "{exif}");
    }
}

/// Works with: clips | video that is stored turned or mirrored (all eight display matrices) | detects, shows and takes snapshots upright
#[test]
fn a_turned_stream_is_decoded_upright_in_colour_and_grey() {
    let (dir, path) = make(H264, "a.mp4");
    let packets = &packets(&path)[..1];
    for orientation in Orientation::ALL {
        // `ffmpeg` turns by the matrix too; the file gets it byte by byte.
        let mut file = std::fs::read(&path).expect("read");
        let matrix = orientation.display_matrix(320, 240).unwrap_or([65_536, 0, 0, 0, 65_536, 0, 0, 0, 1 << 30]);
        let at = file.windows(4).position(|four| four == b"tkhd").expect("a track header") + 44;
        let bytes: Vec<u8> = matrix.iter().flat_map(|number| number.to_be_bytes()).collect();
        file[at..at + 36].copy_from_slice(&bytes);
        std::fs::write(dir.path().join("turned.mp4"), file).expect("write");
        ffmpeg_cli(dir.path(), "-i turned.mp4 -frames:v 1 -f rawvideo -pix_fmt rgb24", "upright.raw");
        let expected = std::fs::read(dir.path().join("upright.raw")).expect("read");

        let stream = Arc::new(StreamInfo { orientation, ..(*packets[0].stream).clone() });
        let picture = decoded(&[Packet { stream: stream.clone(), ..packets[0].clone() }])[0].picture.clone();
        let (width, height) = stream.upright_size();
        assert_eq!((picture.width(), picture.height()), (width, height), "{orientation:?}");
        let rgb = picture.rgb(width, height).expect("convert");
        let apart = distance(&rgb.data, &expected);
        assert!(apart < 4.0, "{orientation:?}: {apart}");
        let grey = Picture::luma(&rgb, width / 2, height / 2).expect("grey");
        let luma = picture.luma(width / 2, height / 2).expect("convert");
        assert_eq!((luma.width, luma.height), (width / 2, height / 2));
        assert!(distance(&luma.data, &grey.data) < 6.0, "{orientation:?}");
    }
}

/// A stream that turns in the middle (a telephone) pushes out what was held back as it was.
#[test]
fn what_is_held_back_keeps_its_own_orientation() {
    let (_dir, path) = make(
        "-f lavfi -i testsrc2=size=320x240:rate=10 -t 1 -c:v libx264 -preset ultrafast -bf 2 -pix_fmt yuv420p",
        "a.mp4",
    );
    let packets = packets(&path);
    let turned = Arc::new(StreamInfo { orientation: Orientation::Rotate90, ..(*packets[0].stream).clone() });
    let mut decoder = Decoder::new(Config::default());
    for packet in &packets {
        decoder.decode(packet).expect("decode");
    }
    let frames = decoder.decode(&Packet { stream: turned, ..packets[0].clone() }).expect("decode");
    let sizes: Vec<_> = frames.iter().map(|frame| (frame.picture.width(), frame.picture.height())).collect();
    assert!(!sizes.is_empty() && sizes.iter().filter(|size| **size == (320, 240)).count() >= 1, "{sizes:?}");
}
