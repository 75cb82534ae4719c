//! Fuzz targets: a model's manifest, and the ONNX file itself.

use std::fs;
use std::time::Duration;

use super::onnx_writer::{Graph, INT64, SINGLE, attribute, constant, install, numbers, singles};
use super::{Detector, Limits, Manifest};

const TOP: &str = "labels = ['lamp']";
const HEAD: &str = "kind = 'yolov8'\nactivation = 'none'\nnms_iou = 0.5";

#[test]
fn any_manifest_is_one_or_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().expect("temporary folder");
    install(dir.path(), b"", TOP, HEAD);
    let file = dir.path().join("m.toml");
    let [ours, shipped] =
        [file.as_path(), "models/nanodet-g-320.toml".as_ref()].map(|file| fs::read(file).expect("read"));
    let words =
        ["kind = 'ssd'", "kind = 'nanodet'", "[[", "strides = [8, 16]", "labels_file = '../x'", "\"\"\"", "nan", "inf"];
    crate::fuzz::run("manifest", &[&ours, &shipped], &words, |input| {
        fs::write(&file, input).expect("write");
        match Manifest::load(dir.path(), "m").and_then(|manifest| manifest.read_labels(dir.path()).map(|_| manifest)) {
            Ok(manifest) => format!("{:?}", std::mem::discriminant(&manifest.head)),
            Err(error) => crate::fuzz::kind(&error.to_string()),
        }
    });
}

/// A picture passes a convolution whose result is put into another shape.
fn convolution() -> Vec<u8> {
    let size = [numbers("kernel_shape", &[4, 4]), numbers("strides", &[4, 4])];
    let shape: Vec<u8> = [1i64, 5, 64].iter().flat_map(|side| side.to_le_bytes()).collect();
    let graph = Graph::default()
        .node("Cast", &["picture"], &["cast"], &[attribute("to", SINGLE)])
        .node("Conv", &["cast", "weights", "offsets"], &["cells"], &size)
        .node("Reshape", &["cells", "shape"], &["out"], &[])
        .tensor("weights", SINGLE, &[5, 3, 4, 4], &singles(&[0.25; 240]))
        .tensor("offsets", SINGLE, &[5], &singles(&[16.0, 16.0, 9.0, 9.0, 0.0]))
        .tensor("shape", INT64, &[3], &shape);
    graph.input("picture", SINGLE, &[1, 3, 32, 32]).output("out", SINGLE, &[1, 5, 64]).file()
}

#[test]
fn any_onnx_file_is_a_model_or_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let outside = Graph::default().external("weights", &[5], "other.bin", 0, 20).file();
    let seeds = [constant(&[1, 5, 1], &[16.0, 16.0, 8.0, 8.0, 0.9]), convolution(), outside];
    let words =
        ["Conv", "Reshape", "NonMaxSuppression", "Loop", "If", "Cast", "out", "picture", "../m.onnx", "location"];
    let limits = Limits { load: Duration::from_secs(1), run: Duration::from_secs(1) };
    crate::fuzz::run("onnx", &seeds.each_ref().map(Vec::as_slice), &words, |input| {
        install(dir.path(), input, TOP, HEAD);
        match Detector::load_within(dir.path(), "m", limits) {
            Ok(detector) => format!("{:?}", detector.input_size()),
            Err(error) => crate::fuzz::kind(&error.to_string()),
        }
    });
}
