//! Inputs as exports have them: bytes, other layouts, half precision, an open batch, and values beside the picture.

use super::super::onnx_writer::{Graph, HALF, INT64, SINGLE, UINT8, attribute, numbers, singles};
use super::{Net, SIDE, Thing, as_rows, best, finds, install_with_input, load, sigmoid, whole};
use crate::frame::Rgb;
use crate::infer::Detector;

const SIDES: u64 = SIDE as u64;
const LAMP: &str = "labels = ['lamp', 'lantern']";
const HEAD: &str = "kind = 'yolov8'\nactivation = 'sigmoid'\nnms_iou = 1.0";

fn net() -> Net {
    Net::new("net", 8, &[16.0, 16.0, 9.0, 9.0, 0.2, 0.1])
}

fn things(net: &Net) -> Vec<Thing> {
    let thing = |row: Vec<f64>| {
        let [x, y, w, h] = [row[0], row[1], row[2], row[3]];
        let (class, logit) = best(&row[4..]);
        (class, sigmoid(logit), [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0])
    };
    net.rows().into_iter().map(thing).collect()
}

/// The graph behind `planes`, which are numbers from 0 to 1.
fn behind(graph: Graph) -> Vec<u8> {
    let net = net();
    as_rows(net.add(graph, "planes"), &net).output("net.rows", SINGLE, &[1, 16, 6]).file()
}

fn check(onnx: &[u8], input: &str) {
    let dir = tempfile::tempdir().expect("temporary folder");
    install_with_input(dir.path(), onnx, LAMP, input, HEAD);
    finds(&Detector::load(dir.path(), "m").expect("load"), 0.5, &things(&net()));
}

fn bytes_as_planes(graph: Graph) -> Graph {
    graph
        .node("Cast", &["picture"], &["cast"], &[attribute("to", SINGLE)])
        .node("Mul", &["cast", "unit"], &["shares"], &[])
        .node("Transpose", &["shares"], &["planes"], &[numbers("perm", &[0, 3, 1, 2])])
        .tensor("unit", SINGLE, &[], &singles(&[1.0 / 256.0]))
}

/// Works with: models | Inputs of bytes (UINT8), pixel after pixel (NHWC), as TensorFlow exports have them | Run as they are; a scale or mean in the manifest is refused
#[test]
fn bytes_pixel_after_pixel_are_what_the_graph_gets() {
    let onnx = behind(bytes_as_planes(Graph::default().input("picture", UINT8, &[1, SIDES, SIDES, 3])));
    check(&onnx, "layout = 'nhwc'");
    let dir = tempfile::tempdir().expect("temporary folder");
    install_with_input(dir.path(), &onnx, LAMP, "layout = 'nhwc'\nscale = 0.00390625", HEAD);
    let message = Detector::load(dir.path(), "m").expect_err("shares").to_string();
    assert!(
        message.contains("its input is of type U8, whole numbers from 0; leave out scale, mean and std"),
        "{message}"
    );
    install_with_input(dir.path(), &onnx, LAMP, "", HEAD);
    let message = Detector::load(dir.path(), "m").expect_err("another layout").to_string();
    assert!(
        message.contains("takes picture [1, 32, 32, 3], but the manifest says one input [1, 3, 32, 32]"),
        "{message}"
    );
}

/// Works with: models | Inputs in half precision (FP16) | Converted; the same boxes
#[test]
fn an_input_in_half_precision_gets_converted_numbers() {
    let graph = Graph::default().input("picture", HALF, &[1, 3, SIDES, SIDES]);
    // Whole 256ths of what a byte holds are exact in half precision.
    check(&behind(graph.node("Cast", &["picture"], &["planes"], &[attribute("to", SINGLE)])), "scale = 0.00390625");
}

#[test]
fn an_open_batch_is_run_with_one_picture() {
    let graph = Graph::default().open_input("picture", SINGLE, &[3, SIDES, SIDES]);
    check(&behind(graph.node("Identity", &["picture"], &["planes"], &[])), "scale = 0.00390625");
    let two = Graph::default().input("picture", SINGLE, &[2, 3, SIDES, SIDES]);
    let onnx = behind(two.node("Identity", &["picture"], &["planes"], &[]));
    let message = load(&onnx, LAMP, HEAD).expect_err("two pictures at once").to_string();
    assert!(
        message.contains("takes picture [2, 3, 32, 32], but the manifest says one input [1, 3, 32, 32]"),
        "{message}"
    );
}

/// Works with: models | Inputs beside the picture (`scale_factor`, `im_shape`, `orig_target_sizes` of PaddleDetection and RT-DETR) | `fixed_inputs` in the manifest gives them their values
#[test]
fn inputs_beside_the_picture_have_the_values_of_the_manifest() {
    let graph = Graph::default()
        .input("image", SINGLE, &[1, 3, SIDES, SIDES])
        .open_input("scale_factor", SINGLE, &[2])
        .input("size", INT64, &[1, 2])
        .input("unread", SINGLE, &[1])
        // Both are 1 in the end: (0.5 + 0.5) and 32 / 32.
        .node("ReduceSum", &["scale_factor"], &["sum"], &[attribute("keepdims", 0)])
        .node("Gather", &["size", "first"], &["side"], &[attribute("axis", 1)])
        .node("Cast", &["side"], &["long"], &[attribute("to", SINGLE)])
        .node("Div", &["long", "usual"], &["share"], &[])
        .node("Mul", &["image", "sum"], &["once"], &[])
        .node("Mul", &["once", "share"], &["planes"], &[])
        .tensor("first", INT64, &[], &whole(&[0]))
        .tensor("usual", SINGLE, &[], &singles(&[32.0]));
    let onnx = behind(graph);
    let with = |line: &str| load(&onnx, &format!("{LAMP}\n{line}"), HEAD);
    let fixed = "fixed_inputs = { scale_factor = [0.5, 0.5], size = [32, 48] }";
    finds(&with(fixed).expect("load"), 0.5, &things(&net()));
    let cases = [
        ("", "takes 3 inputs (image, scale_factor, size; those beside the picture get their values from fixed_inputs)"),
        ("fixed_inputs = { scale = [1] }", "fixed_inputs: there is no input \"scale\"; there are image, scale_factor"),
        (
            "fixed_inputs = { size = [32] }",
            "fixed_inputs: size: it takes [1, 2], which is another number of values than 1",
        ),
    ];
    for (line, expected) in cases {
        let message = with(line).expect_err(line).to_string();
        assert!(message.contains(expected), "{message}");
    }
}

/// Works with: models | Classifiers that were trained on the middle of pictures | `resize = "crop"` shows them that
#[test]
fn the_middle_of_a_picture_fills_the_input_without_distortion() {
    // Red in the middle third of a wide picture, blue elsewhere.
    let width = 96;
    let pixel = |at: usize| if (32..64).contains(&(at % width)) { [255, 0, 0] } else { [0, 0, 255] };
    let wide = Rgb { width: width as u32, height: 32, data: (0..width * 32).flat_map(pixel).collect() };
    let graph = Graph::default().input("picture", SINGLE, &[1, 3, SIDES, SIDES]);
    let onnx = behind(graph.node("Identity", &["picture"], &["planes"], &[]));
    let dir = tempfile::tempdir().expect("temporary folder");
    install_with_input(dir.path(), &onnx, LAMP, "resize = 'crop'\nscale = 0.00392156862745098", HEAD);
    let detector = Detector::load(dir.path(), "m").expect("load");
    let input = detector.prepare(&wide).expect("prepare");
    let (red, rest) = input.data().split_at(SIDE * SIDE);
    assert!(red.iter().all(|value| (value - 1.0).abs() < 1e-6) && rest.iter().all(|value| *value == 0.0));
    let middle = input.fit().to_picture([0.0, 0.0, 32.0, 32.0]);
    let expected = [1.0 / 3.0, 0.0, 2.0 / 3.0, 1.0];
    assert!(middle.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{middle:?}");
}
