//! Models that say more of a thing than its box: outlines and key points.

use super::super::onnx_writer::{Graph, SINGLE, attribute, singles};
use super::{Net, SIDE, as_rows, load, picture, sigmoid};
use crate::detection::Shape;

fn input() -> Graph {
    Graph::default().input("picture", SINGLE, &[1, 3, SIDE as u64, SIDE as u64])
}

/// Gives the same tensors for every picture.
fn constant(tensors: &[(&str, &[u64], &[f32])]) -> Vec<u8> {
    let mut graph = input()
        .node("ReduceMean", &["picture"], &["mean"], &[attribute("keepdims", 0)])
        .node("Mul", &["mean", "nothing"], &["dark"], &[])
        .tensor("nothing", SINGLE, &[], &singles(&[0.0]));
    for (name, shape, values) in tensors {
        let held = format!("{name}.held");
        graph = graph.node("Add", &[&held, "dark"], &[name], &[]).tensor(&held, SINGLE, shape, &singles(values));
        graph = graph.output(name, SINGLE, shape);
    }
    graph.file()
}

fn area(points: &[[f32; 2]]) -> f32 {
    let next = points.iter().cycle().skip(1);
    let twice: f32 = points.iter().zip(next).map(|([x0, y0], [x1, y1])| x0 * y1 - x1 * y0).sum();
    twice.abs() / 2.0
}

/// Works with: models | Segmentation of YOLOv8 and later (`[1, 4+C+M, N]` + `[1, M, H, W]`) | Head `yolov8-seg`: each thing with its outline
#[test]
fn the_outline_of_a_thing_is_where_its_weighed_prototypes_are_above_zero() {
    // A grid of 64x64 points, two on a pixel. The first prototype is a disc of 20 points around (24, 32), the second the
    // left half; together they are the left part of the disc.
    let (mut disc, mut half) = (vec![0.0; 4096], vec![0.0; 4096]);
    let from_centre = |at: usize| ((at % 64) as f32 + 0.5 - 24.0).hypot((at / 64) as f32 + 0.5 - 32.0);
    for at in 0..4096 {
        disc[at] = 20.0 - from_centre(at);
        half[at] = if at % 64 < 24 { 0.0 } else { -100.0 };
    }
    let whole = [12.0, 16.0, 24.0, 24.0, 0.9, 1.0, 0.0];
    let left = [12.0, 16.0, 24.0, 24.0, 0.8, 1.0, 1.0];
    // A box that holds only the upper part.
    let upper = [12.0, 9.0, 24.0, 14.0, 0.7, 1.0, 0.0];
    let none = [12.0, 16.0, 24.0, 24.0, 0.6, -1.0, 1.0];
    let rows = [whole, left, upper, none].concat();
    let onnx = constant(&[("out", &[1, 4, 7], &rows), ("protos", &[1, 2, 64, 64], &[disc, half].concat())]);
    let detector = load(&onnx, "labels = ['lamp']", "kind = 'yolov8-seg'\nnms_iou = 1.0").expect("load");
    let found = detector.detect(&picture(), 0.5).expect("detect");
    let outlines: Vec<Vec<[f32; 2]>> = found
        .iter()
        .map(|found| match found.shape.as_deref() {
            Some(Shape::Outline(points)) => points.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    // In shares of the picture the disc has the radius 20/64.
    let disc = std::f32::consts::PI * (20.0_f32 / 64.0).powi(2);
    let areas: Vec<f32> = outlines.iter().map(|outline| area(outline) / disc).collect();
    // The upper part reaches down to line 32 of the grid, which is the middle.
    for (area, expected) in areas.iter().zip([1.0, 0.5, 0.5]) {
        assert!((area - expected).abs() < 0.04, "{areas:?}");
    }
    let far = outlines[0].iter().map(|[x, y]| ((x - 24.0 / 64.0).hypot(y - 0.5) - 20.0 / 64.0).abs());
    assert!(far.fold(0.0, f32::max) < 1.5 / 64.0, "{outlines:?}");
    assert!(outlines[0].len() > 7 && outlines[0].len() < 40, "{}", outlines[0].len());
    assert!(outlines[1].iter().all(|[x, _]| *x <= 24.0 / 64.0 + 1e-4));
    assert!(outlines[3].iter().len() < 200, "the outside of the disc");
    let json = serde_json::to_value(&found[1]).expect("JSON");
    assert_eq!(json["outline"].as_array().map(Vec::len), Some(outlines[1].len()), "{json}");
}

/// Works with: models | Pose of YOLOv8 and later (`[1, 4+C+3*K, N]`) | Head `yolov8-pose`: each thing with its key points
#[test]
fn key_points_are_read_behind_the_scores() {
    // A box, a score, and two points of which one lies outside of the picture.
    let offsets = [16.0, 16.0, 8.0, 8.0, 0.3, 4.0, 8.0, 0.5, 60.0, -3.0, -1.0];
    let net = Net::new("net", 16, &offsets);
    let graph = as_rows(net.add(input(), "picture"), &net).output("net.rows", SINGLE, &[1, 4, 11]);
    let head = "kind = 'yolov8-pose'\nactivation = 'sigmoid'\nnms_iou = 1.0";
    let detector = load(&graph.file(), "labels = ['lamp']", head).expect("load");
    let mut rows = net.rows();
    rows.sort_by(|a, b| b[4].total_cmp(&a[4]));
    let found = detector.detect(&picture(), 0.0).expect("detect");
    assert_eq!(found.len(), 4);
    for (found, row) in found.iter().zip(&rows) {
        assert!((f64::from(found.score) - sigmoid(row[4])).abs() < 1e-3);
        let Some(Shape::Keypoints(points)) = found.shape.as_deref() else { panic!("{found:?}") };
        let share = |value: f64| (value / SIDE as f64).clamp(0.0, 1.0);
        for (point, numbers) in points.iter().zip([&row[5..8], &row[8..11]]) {
            let expected = [share(numbers[0]), share(numbers[1]), numbers[2].clamp(0.0, 1.0)];
            let is_near =
                [point.x, point.y, point.score].iter().zip(expected).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-3);
            assert!(is_near && points.len() == 2, "{point:?} {expected:?}");
        }
    }
    let json = serde_json::to_value(&found[0]).expect("JSON");
    assert_eq!(json["keypoints"][1][1], 0.0, "{json}");
    let pairs = "kind = 'yolov8-pose'\nactivation = 'sigmoid'\nvalues = 2";
    let detector = load(&graph_of_pairs(), "labels = ['lamp']", pairs).expect("load");
    let found = detector.detect(&picture(), 0.0).expect("detect");
    let Some(Shape::Keypoints(points)) = found[0].shape.as_deref() else { panic!("{found:?}") };
    assert_eq!((points.len(), points[0].score), (3, 1.0));
}

fn graph_of_pairs() -> Vec<u8> {
    let net = Net::new("net", 16, &[16.0, 16.0, 8.0, 8.0, 0.3, 4.0, 8.0, 6.0, 7.0, 9.0, 9.0]);
    as_rows(net.add(input(), "picture"), &net).output("net.rows", SINGLE, &[1, 4, 11]).file()
}
