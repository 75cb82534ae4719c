//! Files as exporters write them: half precision, weights beside the file, more outputs than one reads.

use std::fs;
use std::time::Duration;

use tempfile::TempDir;
use tract_onnx::prelude::f16;

use crate::frame::Rgb;
use crate::infer::onnx_writer::{Graph, HALF, INT64, SINGLE, attribute, constant, install, numbers, sha256, singles};
use crate::infer::{Detector, InferError, Limits, ModelError};

/// A picture that is not the same everywhere.
fn picture() -> Rgb {
    let data = (0..32 * 32 * 3).map(|i: u32| (i * 7 % 251) as u8).collect();
    Rgb { width: 32, height: 32, data }
}

/// Numbers between -1 and 1 that half precision holds exactly.
fn weights(seed: u64, count: usize, scale: f32) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..count).map(|_| f16::from_f32((random.f32() * 2.0 - 1.0) * scale).to_f32()).collect()
}

/// A detector of one class, whose 64 boxes and scores come from a convolution with seeded weights.
fn convolution(kind: u64) -> Vec<u8> {
    convolving(kind).file()
}

fn convolving(kind: u64) -> Graph {
    let bytes = |values: &[f32]| match kind {
        HALF => values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect(),
        _ => singles(values),
    };
    let size = [numbers("kernel_shape", &[4, 4]), numbers("strides", &[4, 4])];
    let shape: Vec<u8> = [1i64, 5, 64].iter().flat_map(|side| side.to_le_bytes()).collect();
    let graph = Graph::default()
        .node("Cast", &["picture"], &["cast"], &[attribute("to", kind)])
        .node("Conv", &["cast", "weights", "offsets"], &["cells"], &size)
        .node("Reshape", &["cells", "shape"], &["out"], &[])
        .tensor("weights", kind, &[5, 3, 4, 4], &bytes(&weights(7, 240, 0.3)))
        .tensor("offsets", kind, &[5], &bytes(&[16.0, 16.0, 9.0, 9.0, 0.0]))
        .tensor("shape", INT64, &[3], &shape);
    graph.input("picture", SINGLE, &[1, 3, 32, 32]).output("out", kind, &[1, 5, 64])
}

/// Works with: models | Exports with dynamic axes (`dynamic=True`) | Runs them at the size that the manifest gives
#[test]
fn shapes_in_terms_of_open_sizes_are_left_to_the_engine() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let dynamic = convolving(SINGLE).symbolic("cells", &["batch", "5", "(height+1)/4", "(width+1)/4"]);
    install(dir.path(), &dynamic.file(), ONE_CLASS, LOGITS);
    assert!(!load(&dir).expect("load").detect(&picture(), 0.3).expect("detect").is_empty());
}

const ONE_CLASS: &str = "labels = ['lamp']";
const LOGITS: &str = "kind = 'yolov8'\nactivation = 'sigmoid'\nnms_iou = 1.0";

fn load(dir: &TempDir) -> Result<Detector, String> {
    Detector::load(dir.path(), "m").map_err(|error| error.to_string())
}

/// Works with: models | Exports in half precision (FP16) on a processor without half precision | Computes them in single precision: the same boxes, as fast as an FP32 export
#[cfg(not(target_arch = "aarch64"))]
#[test]
fn half_precision_is_computed_in_single_precision_and_gives_the_same_boxes() {
    let found = [SINGLE, HALF].map(|kind| {
        let dir = tempfile::tempdir().expect("temporary folder");
        install(dir.path(), &convolution(kind), ONE_CLASS, LOGITS);
        load(&dir).expect("load").detect(&picture(), 0.3).expect("detect")
    });
    assert!(found[0].len() > 10, "{found:?}");
    // Not nearly: every weight is exact in both, so a difference means that something was computed in half precision.
    assert_eq!(found[0], found[1]);
}

/// Works with: models | A model that is too slow for the box | Refused after `max_picture_time` with the figure and what helps; cameras are recorded without detection
#[test]
fn a_model_that_takes_too_long_is_refused_with_the_figure_and_what_helps() {
    let dir = tempfile::tempdir().expect("temporary folder");
    install(dir.path(), &convolution(SINGLE), ONE_CLASS, LOGITS);
    let none = Limits { load: Duration::ZERO, run: Duration::MAX };
    let refused = Detector::load_within(dir.path(), "m", none).expect_err("no time at all");
    let message = refused.to_string();
    assert!(matches!(refused, ModelError::TooSlow { .. }), "{message}");
    let parts =
        ["m.onnx is too slow for this box: one picture takes more than 0ns", "broken off after 0 of ", "smaller"];
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
}

#[test]
fn a_run_that_takes_too_long_ends_by_itself() {
    let dir = tempfile::tempdir().expect("temporary folder");
    install(dir.path(), &convolution(SINGLE), ONE_CLASS, LOGITS);
    // The photograph at load time is a run, too.
    let limits = Limits { load: Duration::MAX, run: Duration::ZERO };
    let refused = Detector::load_within(dir.path(), "m", limits).expect_err("no time for the photograph");
    assert!(refused.to_string().contains("one picture takes more than 0ns"), "{refused}");
    let manifest = crate::infer::Manifest::load(dir.path(), "m").expect("manifest");
    let engine = super::tract::TractEngine::load(dir.path(), &manifest, limits).expect("load");
    let failure = super::Engine::run(&engine, &vec![0.0; 3 * 32 * 32]).expect_err("no time");
    assert!(matches!(failure, InferError::Engine(_)), "{failure}");
}

/// The class score and the box lie in a file of their own.
fn with_external_data() -> (Vec<u8>, Vec<u8>) {
    let values = singles(&[16.0, 16.0, 8.0, 8.0, 0.9]);
    let graph = Graph::default()
        .node("ReduceMean", &["picture"], &["mean"], &[attribute("keepdims", 0)])
        .node("Mul", &["mean", "nothing"], &["dark"], &[])
        .node("Add", &["values", "dark"], &["out"], &[])
        .tensor("nothing", SINGLE, &[], &singles(&[0.0]))
        .external("values", &[1, 1, 5], "m.onnx.data", 8, values.len());
    let onnx = graph.input("picture", SINGLE, &[1, 3, 32, 32]).output("out", SINGLE, &[1, 1, 5]).file();
    (onnx, [vec![0; 8], values].concat())
}

/// Works with: models | Weights in a file beside the model (`model.onnx.data`, torch's default) | Loads them; the manifest names the file and its checksum
#[test]
fn weights_beside_the_file_are_loaded_and_verified() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let (onnx, data) = with_external_data();
    let sum = sha256(&data);
    let named = format!("{ONE_CLASS}\nexternal_data = {{ 'm.onnx.data' = '{sum}' }}");
    let refusal = || load(&dir).expect_err("must be refused");

    install(dir.path(), &onnx, ONE_CLASS, "kind = 'yolov8'");
    assert!(refusal().contains("/m.onnx.data is missing"), "{}", refusal());
    fs::write(dir.path().join("m.onnx.data"), &data).expect("write");
    let advice = format!(
        "keeps weights in m.onnx.data, which the manifest does not name; add external_data = \
                          {{ \"m.onnx.data\" = \"{sum}\" }}"
    );
    assert!(refusal().contains(&advice), "{}", refusal());

    install(dir.path(), &onnx, &named, "kind = 'yolov8'");
    let found = load(&dir).expect("load").detect(&picture(), 0.5).expect("detect");
    assert_eq!(found.iter().map(|found| found.score).collect::<Vec<_>>(), [0.9]);

    fs::write(dir.path().join("m.onnx.data"), &data[1..]).expect("write");
    assert!(refusal().contains("/m.onnx.data is damaged or another model"), "{}", refusal());
    fs::write(dir.path().join("m.onnx.data"), &data[..20]).expect("write");
    install(dir.path(), &onnx, &named.replace(&sum, &sha256(&data[..20])), "kind = 'yolov8'");
    assert!(refusal().contains("m.onnx.data is too short for the weights values"), "{}", refusal());
}

#[test]
fn weights_are_not_read_from_another_folder() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let (onnx, _) = with_external_data();
    let at = onnx.windows(11).position(|window| window == b"m.onnx.data").expect("the name of the file");
    let mut elsewhere = onnx;
    elsewhere[at..at + 11].copy_from_slice(b"../../x.dat");
    install(dir.path(), &elsewhere, ONE_CLASS, "kind = 'yolov8'");
    let message = load(&dir).expect_err("another folder");
    assert!(message.contains("\"../../x.dat\", which is not a file in the same folder"), "{message}");
}

/// Works with: models | Models with more outputs than boxes and scores, or in another order | `outputs` in the manifest names those that are read
#[test]
fn a_manifest_names_the_outputs_that_are_read_and_the_rest_is_not_computed() {
    let dir = tempfile::tempdir().expect("temporary folder");
    // Boxes and scores of two rows; with four labels both have the same shape. A third output needs an operator
    // that there is not.
    let graph = Graph::default()
        .node("ReduceMean", &["picture"], &["mean"], &[attribute("keepdims", 0)])
        .node("Mul", &["mean", "nothing"], &["dark"], &[])
        .node("Add", &["first", "dark"], &["sure"], &[])
        .node("Add", &["second", "dark"], &["places"], &[])
        .node("Unheard", &["sure"], &["masks"], &[])
        .tensor("nothing", SINGLE, &[], &singles(&[0.0]))
        .tensor("first", SINGLE, &[1, 2, 4], &singles(&[0.1, 0.8, 0.0, 0.0, 0.2, 0.2, 0.2, 0.9]))
        .tensor("second", SINGLE, &[1, 2, 4], &singles(&[0.0, 0.0, 0.5, 0.5, 0.5, 0.5, 1.0, 1.0]));
    let graph = graph.input("picture", SINGLE, &[1, 3, 32, 32]).output("masks", SINGLE, &[1, 2, 4]);
    let onnx = graph.output("sure", SINGLE, &[1, 2, 4]).output("places", SINGLE, &[1, 2, 4]).file();
    let (labels, head) = ("labels = ['a', 'b', 'c', 'd']", "kind = 'ssd'\nbackground = false");

    install(dir.path(), &onnx, labels, head);
    let message = load(&dir).expect_err("too many outputs");
    assert!(message.contains("operators that the engine does not have: Unheard"), "{message}");
    install(dir.path(), &onnx, &format!("{labels}\noutputs = ['boxes', 'sure']"), head);
    let message = load(&dir).expect_err("no such output");
    assert!(message.contains("gives no \"boxes\"; its outputs are masks, sure, places; correct outputs"), "{message}");
    install(dir.path(), &onnx, &format!("{labels}\noutputs = ['places', 'sure']"), head);
    let found = load(&dir).expect("load").detect(&picture(), 0.5).expect("detect");
    let found: Vec<_> = found.iter().map(|found| (&*found.label, found.score, found.bbox.x)).collect();
    assert_eq!(found, [("d", 0.9, 0.5), ("b", 0.8, 0.0)]);
}

#[test]
fn a_model_that_gives_the_same_for_every_picture_is_no_model_but_can_be_written() {
    let dir = tempfile::tempdir().expect("temporary folder");
    install(dir.path(), &constant(&[1, 1, 5], &[8.0, 8.0, 4.0, 4.0, 0.7]), ONE_CLASS, "kind = 'yolov8'");
    let found = load(&dir).expect("load").detect(&picture(), 0.5).expect("detect");
    assert_eq!(found.len(), 1);
}

/// Works with: models | Exports with NonMaxSuppression inside (`nms=True`), whose number of boxes depends on the picture | Runs them with head `end2end`; where the engine cannot, `nms=False` is the advice
#[test]
fn a_graph_that_chooses_among_its_boxes_is_run_with_as_many_as_there_are() {
    let dir = tempfile::tempdir().expect("temporary folder");
    // Four places, the first two of them nearly the same. The last is believed in by the brightness of the picture.
    let places = [0.0, 0.0, 16.0, 16.0, 1.0, 0.0, 16.0, 16.0, 16.0, 16.0, 30.0, 30.0, 2.0, 20.0, 10.0, 28.0];
    let whole = |values: &[i64]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let graph = Graph::default()
        .node("ReduceMean", &["picture"], &["mean"], &[attribute("keepdims", 0)])
        .node("Mul", &["mean", "nothing"], &["dark"], &[])
        .node("Add", &["places", "dark"], &["boxes"], &[])
        .node("Mul", &["mean", "light"], &["brightness"], &[])
        .node("Add", &["brightness", "sure"], &["scores"], &[])
        .node("NonMaxSuppression", &["boxes", "scores", "most", "overlap", "least"], &["chosen"], &[])
        .node("Gather", &["chosen", "two"], &["rows"], &[attribute("axis", 1)])
        .node("Gather", &["boxes", "rows"], &["corners"], &[attribute("axis", 1)])
        .node("Gather", &["scores", "rows"], &["flat"], &[attribute("axis", 2)])
        .node("Transpose", &["flat"], &["score"], &[numbers("perm", &[0, 2, 1])])
        .node("Mul", &["score", "nothing"], &["class"], &[])
        .node("Concat", &["corners", "score", "class"], &["out"], &[attribute("axis", 2)])
        .tensor("nothing", SINGLE, &[], &singles(&[0.0]))
        .tensor("places", SINGLE, &[1, 4, 4], &singles(&places))
        .tensor("light", SINGLE, &[1, 1, 4], &singles(&[0.0, 0.0, 0.0, 0.9]))
        .tensor("sure", SINGLE, &[1, 1, 4], &singles(&[0.8, 0.7, 0.6, 0.0]))
        .tensor("most", INT64, &[1], &whole(&[10]))
        .tensor("overlap", SINGLE, &[1], &singles(&[0.5]))
        .tensor("least", SINGLE, &[1], &singles(&[0.4]))
        .tensor("two", INT64, &[], &whole(&[2]));
    let onnx = graph.input("picture", SINGLE, &[1, 3, 32, 32]).output("out", SINGLE, &[]).file();
    install(dir.path(), &onnx, ONE_CLASS, "kind = 'end2end'");
    let detector = load(&dir).expect("load");
    let scores = |value: u8| {
        let picture = Rgb { width: 32, height: 32, data: vec![value; 32 * 32 * 3] };
        let found = detector.detect(&picture, 0.3).expect("detect");
        found.iter().map(|found| (found.score * 10.0).round() as u32).collect::<Vec<_>>()
    };
    assert_eq!((scores(0), scores(255)), (vec![8, 6], vec![9, 8, 6]));

    install(dir.path(), &onnx, ONE_CLASS, "kind = 'yolov8'");
    let message = load(&dir).expect_err("another head");
    assert!(message.contains("use kind = \"end2end\", or export it with end2end=False or nms=False"), "{message}");
}
