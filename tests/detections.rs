//! The shipped model on real pictures, compared with what another preprocessing (Pillow, numpy) and another
//! engine (onnxruntime) make of them; and models that are broken in all the ways that files break.
//!
//! tests/reference/make_reference.py made the values; no Python is needed to compare with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use outpost::detection::{BBox, Detection};
use outpost::frame::Rgb;
use outpost::infer::{Detector, installed};
use serde::Deserialize;
use sha2::{Digest, Sha256};

const MODEL: &str = "nanodet-g-320";

#[derive(Deserialize)]
struct Reference {
    pictures: std::collections::BTreeMap<String, PictureReference>,
}

#[derive(Deserialize)]
struct PictureReference {
    /// Left, top, width, height in the model's input.
    place: [f32; 4],
    detections: Vec<DetectionReference>,
}

#[derive(Deserialize)]
struct DetectionReference {
    label: String,
    score: f32,
    in_input: [f32; 4],
    in_picture: [f32; 4],
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn reference() -> Reference {
    let text = fs::read_to_string(root().join("tests/reference/detections.json")).expect("reference values");
    serde_json::from_str(&text).expect("reference values")
}

fn picture(path: &str) -> Rgb {
    let rgb = image::open(root().join(path)).expect("picture").into_rgb8();
    Rgb { width: rgb.width(), height: rgb.height(), data: rgb.into_raw() }
}

fn shipped() -> Detector {
    Detector::load(&root().join("models"), MODEL).expect("the shipped model loads")
}

fn bbox([x0, y0, x1, y1]: [f32; 4]) -> BBox {
    BBox::from_corners(x0, y0, x1, y1)
}

/// The detection of this label that lies most like `at`, and how much it does.
fn nearest<'a>(found: &'a [Detection], label: &str, at: BBox) -> Option<(&'a Detection, f32)> {
    let alike = found.iter().filter(|d| &*d.label == label).map(|d| (d, d.bbox.iou(&at)));
    alike.max_by(|a, b| a.1.total_cmp(&b.1))
}

#[test]
fn the_same_input_gives_what_onnxruntime_sees() {
    let detector = shipped();
    for (name, expected) in reference().pictures {
        let input = detector.prepare(&picture(&format!("tests/reference/{name}.png"))).expect("prepare");
        let found = detector.run(&input, 0.3).expect("run");
        assert_eq!(found.len(), expected.detections.len(), "{name}: {found:?}");
        for (found, expected) in found.iter().zip(&expected.detections) {
            let iou = found.bbox.iou(&bbox(expected.in_input));
            println!("{name} {} score {:+.6} iou {iou:.6}", found.label, found.score - expected.score);
            assert_eq!(*found.label, *expected.label, "{name}");
            assert!((found.score - expected.score).abs() < 0.001, "{name}: {found:?}, expected {}", expected.score);
            assert!(iou > 0.995, "{name}: {found:?}, expected {:?}", expected.in_input);
        }
    }
}

#[test]
fn our_own_scaling_gives_nearly_the_same_input() {
    let detector = shipped();
    for (name, expected) in reference().pictures {
        let ours = detector.prepare(&picture(&format!("tests/fixtures/pictures/{name}.jpg"))).expect("prepare");
        let theirs = detector.prepare(&picture(&format!("tests/reference/{name}.png"))).expect("prepare");
        let fit = ours.fit();
        assert_eq!([fit.left, fit.top, fit.width, fit.height], expected.place, "{name}");
        let differences = ours.data().iter().zip(theirs.data()).map(|(a, b)| (a - b).abs());
        let mean = differences.clone().sum::<f32>() / ours.data().len() as f32;
        let most = differences.fold(0.0, f32::max);
        println!("{name}: {:.3} steps of 255 in the mean, {:.1} at most", mean * 255.0, most * 255.0);
        // JPEG decoders round differently, and so do scalers: half a step of 255 in the mean, a few at most.
        assert!(mean < 0.5 / 255.0 && most < 12.0 / 255.0, "{name}: mean {mean}, most {most}");
    }
}

#[test]
fn pictures_show_what_is_in_them() {
    let detector = shipped();
    for (name, expected) in reference().pictures {
        let picture = picture(&format!("tests/fixtures/pictures/{name}.jpg"));
        let found = detector.detect(&picture, 0.25).expect("detect");
        // Things close to the threshold may fall to either side of it.
        for expected in expected.detections.iter().filter(|d| d.score > 0.37) {
            let best = nearest(&found, &expected.label, bbox(expected.in_picture));
            let (detection, iou) = best.unwrap_or_else(|| panic!("{name}: no {} in {found:?}", expected.label));
            println!("{name} {} score {:+.4} iou {iou:.4}", detection.label, detection.score - expected.score);
            assert!(iou > 0.9, "{name}: {detection:?}, expected {:?}", expected.in_picture);
            assert!((detection.score - expected.score).abs() < 0.05, "{name}: {detection:?}, {}", expected.score);
        }
    }
}

#[test]
fn threads_may_share_a_detector_and_see_the_same() {
    let detector = Arc::new(shipped());
    let dog = Arc::new(picture("tests/fixtures/pictures/dog.jpg"));
    let alone = detector.detect(&*dog, 0.3).expect("detect");
    assert!(!alone.is_empty());
    let threads = [0, 1, 2].map(|_| {
        let (detector, dog) = (detector.clone(), dog.clone());
        let look = move || [0, 1].map(|_| detector.detect(&*dog, 0.3).expect("detect"));
        std::thread::Builder::new().spawn(look).expect("spawn")
    });
    for thread in threads {
        for found in thread.join().expect("join") {
            assert_eq!(found, alone);
        }
    }
}

#[test]
fn a_model_with_threads_of_its_own_sees_the_same() {
    let dog = picture("tests/fixtures/pictures/dog.jpg");
    let alone = shipped().detect(&dog, 0.3).expect("detect");
    let mut copy = Spoilt::new();
    copy.manifest = copy.manifest.replacen("[input]", "threads = 3\n\n[input]", 1);
    copy.write_manifest();
    let detector = Detector::load(copy.dir.path(), MODEL).expect("load");
    assert_eq!(detector.detect(&dog, 0.3).expect("detect"), alone);
    assert_eq!(threads_named("mm-nanodet-g"), 3, "threads that bear the model's name");
    drop(detector);
}

/// Threads of this process whose names begin so; the system keeps 15 bytes of a name.
fn threads_named(start: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("threads of this process");
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with(start)).count()
}

#[test]
fn labels_are_spelt_as_people_know_them() {
    let detector = shipped();
    assert_eq!(detector.labels().len(), 80);
    for label in ["person", "motorcycle", "airplane", "couch", "potted plant", "dining table", "tv", "cell phone"] {
        assert!(detector.labels().iter().any(|known| **known == *label), "{label}");
    }
    assert_eq!(installed(&root().join("models")), [MODEL]);
}

/// A copy of the shipped model that can be spoilt.
struct Spoilt {
    dir: tempfile::TempDir,
    manifest: String,
}

impl Spoilt {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        for file in ["nanodet-g-320.onnx", "coco.labels"] {
            fs::copy(root().join("models").join(file), dir.path().join(file)).expect("copy");
        }
        let manifest = fs::read_to_string(root().join("models/nanodet-g-320.toml")).expect("manifest");
        Self { dir, manifest }
    }

    fn onnx(&self) -> PathBuf {
        self.dir.path().join("nanodet-g-320.onnx")
    }

    /// Writes other bytes, and their checksum into the manifest.
    fn replace_onnx(&mut self, bytes: &[u8]) {
        fs::write(self.onnx(), bytes).expect("write");
        let sum: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let line = self.manifest.lines().find(|line| line.starts_with("sha256")).expect("checksum").to_owned();
        self.manifest = self.manifest.replace(&line, &format!("sha256 = \"{sum}\""));
    }

    fn write_manifest(&self) {
        fs::write(self.dir.path().join("nanodet-g-320.toml"), &self.manifest).expect("write");
    }

    fn refusal(&self) -> String {
        self.write_manifest();
        Detector::load(self.dir.path(), MODEL).expect_err("must be refused").to_string()
    }
}

fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} does not say {part:?}");
    }
    assert!(!message.contains('\n') && message.len() < 1000, "{message}");
}

#[test]
fn a_damaged_or_foreign_file_is_refused_before_it_is_parsed() {
    let mut spoilt = Spoilt::new();
    let whole = fs::read(spoilt.onnx()).expect("read");
    fs::write(spoilt.onnx(), &whole[..whole.len() / 2]).expect("write");
    assert_says(&spoilt.refusal(), &["is damaged or another model", "the manifest says 32d3943325e7802a"]);
    for junk in [&b""[..], b"\x7fELF\x02\x01\x01", b"<html>not found</html>", &whole[..1000]] {
        spoilt.replace_onnx(junk);
        assert_says(&spoilt.refusal(), &["nanodet-g-320.onnx is not an ONNX model: "]);
    }
    fs::remove_file(spoilt.onnx()).expect("remove");
    assert_says(&spoilt.refusal(), &["nanodet-g-320.onnx is missing, though the model's manifest names it"]);
}

#[test]
fn a_file_that_was_cut_off_unseen_does_not_bring_the_process_down() {
    let mut spoilt = Spoilt::new();
    let whole = fs::read(spoilt.onnx()).expect("read");
    for part in [3, 5, 9] {
        spoilt.replace_onnx(&whole[..whole.len() / 10 * part]);
        assert_says(&spoilt.refusal(), &["nanodet-g-320.onnx"]);
    }
}

#[test]
fn operators_that_the_engine_lacks_are_named() {
    let mut spoilt = Spoilt::new();
    let mut bytes = fs::read(spoilt.onnx()).expect("read");
    let at = bytes.windows(7).position(|window| window == b"Softmax").expect("the model has a Softmax");
    bytes[at..at + 7].copy_from_slice(b"Zoftmax");
    spoilt.replace_onnx(&bytes);
    assert_says(&spoilt.refusal(), &["uses operators that the engine does not have: Zoftmax"]);
}

#[test]
fn a_manifest_that_does_not_fit_the_file_is_refused_with_both_sides() {
    let refusal = |from: &str, to: &str| {
        let mut spoilt = Spoilt::new();
        assert!(spoilt.manifest.contains(from));
        spoilt.manifest = spoilt.manifest.replace(from, to);
        spoilt.refusal()
    };
    let message = refusal("height = 320", "height = 416");
    assert_says(&message, &["takes images [1, 3, 320, 320]", "one input [1, 3, 416, 320]"]);
    let message = refusal("labels_file = \"coco.labels\"", "labels = [\"person\", \"car\"]");
    assert_says(&message, &["output0 [1, 84, 2100]", "[1, 6, N] or [1, N, 6]", "looks like 80 classes"]);
    let message = refusal("kind = \"yolov8\"", "kind = \"ssd\"");
    assert_says(&message, &["output0 [1, 84, 2100]", "head ssd with 80 labels understands two outputs"]);
    let message = refusal("kind = \"yolov8\"", "kind = \"rcnn\"");
    assert_says(&message, &["nanodet-g-320.toml: line ", "unknown variant `rcnn`, expected one of `yolov8`"]);
}
