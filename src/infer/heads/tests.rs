use proptest::prelude::*;

use super::*;
use crate::infer::model::{Colour, Layout, Resize};

/// Names and shapes.
type Outputs<'a> = &'a [(&'a str, &'a [usize])];

fn input() -> InputSpec {
    InputSpec {
        width: 64,
        height: 32,
        layout: Layout::Nchw,
        colour: Colour::Rgb,
        scale: 1.0,
        mean: [0.0; 3],
        std: [1.0; 3],
        resize: Resize::Letterbox,
        pad: 0,
    }
}

fn spec(toml: &str) -> HeadSpec {
    toml::from_str(toml).expect("head")
}

fn fit(head: &str, labels: usize, outputs: Outputs) -> Result<Head, String> {
    let (names, shapes): (Vec<_>, Vec<_>) = outputs.iter().copied().unzip();
    Head::fit(&spec(head), &input(), labels, &names, &shapes).map_err(|misfit| misfit.to_string())
}

fn output(shape: &[usize], data: Vec<f32>) -> Output {
    assert_eq!(shape.iter().product::<usize>(), data.len());
    Output { shape: shape.to_vec(), data }
}

fn decode(head: &str, labels: usize, outputs: Vec<(&str, Output)>, min_score: f32) -> Vec<Candidate> {
    let described: Vec<_> = outputs.iter().map(|(name, output)| (*name, output.shape.as_slice())).collect();
    let head = fit(head, labels, &described).expect("fits");
    head.decode(&outputs.into_iter().map(|(_, output)| output).collect::<Vec<_>>(), min_score)
}

fn transpose(rows: usize, columns: usize, data: &[f32]) -> Vec<f32> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| data[row * columns + column])).collect()
}

/// Three boxes, two classes: a class 1, something too weak, a class 0.
const YOLOV8: [f32; 18] = [
    10.0, 12.0, 4.0, 6.0, 0.1, 0.9, //
    20.0, 10.0, 2.0, 2.0, 0.2, 0.3, //
    30.0, 16.0, 8.0, 8.0, 0.5, 0.4,
];

#[test]
fn yolov8_is_read_the_same_in_both_layouts() {
    let expected = [
        Candidate { class: 1, score: 0.9, corners: [8.0, 9.0, 12.0, 15.0] },
        Candidate { class: 0, score: 0.5, corners: [26.0, 12.0, 34.0, 20.0] },
    ];
    let rows = output(&[1, 3, 6], YOLOV8.to_vec());
    assert_eq!(decode("kind = 'yolov8'", 2, vec![("output0", rows)], 0.4), expected);
    let columns = output(&[1, 6, 3], transpose(3, 6, &YOLOV8));
    assert_eq!(decode("kind = 'yolov8'", 2, vec![("output0", columns)], 0.4), expected);
}

#[test]
fn yolov5_multiplies_objectness_and_score() {
    let data = vec![10.0, 12.0, 4.0, 6.0, 0.5, 0.8, 10.0, 12.0, 4.0, 6.0, 1.0, 0.39];
    let found = decode("kind = 'yolov5'", 1, vec![("out", output(&[1, 2, 6], data))], 0.395);
    assert_eq!(found, [Candidate { class: 0, score: 0.4, corners: [8.0, 9.0, 12.0, 15.0] }]);
}

#[test]
fn yolox_boxes_are_in_cells_of_their_grid() {
    // 64x32 pixels have 4x2 cells of 16 pixels, then 2x1 of 32. The last of each holds a box.
    let mut data = vec![0.0; 10 * 6];
    data[7 * 6..8 * 6].copy_from_slice(&[0.5, 0.25, 0.0, std::f32::consts::LN_2, 0.8, 0.5]);
    data[9 * 6..].copy_from_slice(&[0.5, 0.5, 0.0, -std::f32::consts::LN_2, 1.0, 1.0]);
    let head = "kind = 'yolox'\nstrides = [16, 32]";
    let found = decode(head, 1, vec![("out", output(&[1, 10, 6], data))], 0.3);
    assert_eq!(found.len(), 2);
    let expected = [(0.4, [48.0, 4.0, 64.0, 36.0]), (1.0, [32.0, 8.0, 64.0, 24.0])];
    for (candidate, (score, corners)) in found.iter().zip(expected) {
        assert!((candidate.score - score).abs() < 1e-6, "{candidate:?}");
        assert!(candidate.corners.iter().zip(corners).all(|(a, b)| (a - b).abs() < 1e-4), "{candidate:?}");
    }
}

#[test]
fn logits_go_through_the_sigmoid() {
    let data = vec![10.0, 12.0, 4.0, 6.0, 0.0, 10.0, 12.0, 4.0, 6.0, -2.0];
    let head = "kind = 'yolov8'\nactivation = 'sigmoid'";
    let found = decode(head, 1, vec![("out", output(&[1, 2, 5], data))], 0.4);
    assert_eq!(found.iter().map(|c| c.score).collect::<Vec<_>>(), [0.5]);
}

#[test]
fn ssd_reads_boxes_and_scores_in_either_order_without_the_background() {
    let boxes = || ("boxes", output(&[1, 2, 4], vec![0.25, 0.5, 0.5, 1.0, 0.0, 0.0, 0.5, 0.5]));
    let scores = || ("scores", output(&[1, 2, 3], vec![0.1, 0.2, 0.7, 0.9, 0.05, 0.05]));
    let expected = [Candidate { class: 1, score: 0.7, corners: [16.0, 16.0, 32.0, 32.0] }];
    assert_eq!(decode("kind = 'ssd'", 2, vec![boxes(), scores()], 0.3), expected);
    assert_eq!(decode("kind = 'ssd'", 2, vec![scores(), boxes()], 0.3), expected);
    let pixels = output(&[1, 1, 4], vec![2.0, 1.0, 6.0, 5.0]);
    let plain = output(&[1, 1, 2], vec![0.6, 0.5]);
    let head = "kind = 'ssd'\nunits = 'pixels'\norder = 'yxyx'\nbackground = false";
    let found = decode(head, 2, vec![("a", pixels), ("b", plain)], 0.3);
    assert_eq!(found, [Candidate { class: 0, score: 0.6, corners: [1.0, 2.0, 5.0, 6.0] }]);
}

#[test]
fn tensorflows_four_outputs_are_told_apart_by_shape_and_name() {
    let boxes = || ("detection_boxes", output(&[1, 3, 4], [0.0, 0.25, 1.0, 0.5].repeat(3)));
    let classes = || ("detection_classes", output(&[1, 3], vec![2.0, 7.0, 1.0]));
    let scores = || ("detection_scores", output(&[1, 3], vec![0.9, 0.8, 0.7]));
    let count = || ("num_detections", output(&[1], vec![2.0]));
    // The second has a class without a label, the third is beyond the count.
    let expected = [Candidate { class: 1, score: 0.9, corners: [16.0, 0.0, 32.0, 32.0] }];
    assert_eq!(decode("kind = 'ssd'", 2, vec![boxes(), classes(), scores(), count()], 0.3), expected);
    assert_eq!(decode("kind = 'ssd'", 2, vec![count(), boxes(), scores(), classes()], 0.3), expected);
}

#[test]
fn numbers_that_are_not_finite_are_passed_over() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for spoilt in 0..6 {
            let mut data = YOLOV8.to_vec();
            data[spoilt] = bad;
            let found = decode("kind = 'yolov8'", 2, vec![("out", output(&[1, 3, 6], data))], 0.4);
            // A spoilt score leaves the other class's; a spoilt box or the only good score costs the box.
            let left = if spoilt == 4 { 2 } else { 1 };
            assert_eq!(found.len(), left, "{bad} at {spoilt}: {found:?}");
        }
    }
}

#[test]
fn a_head_that_does_not_fit_says_what_was_found_and_what_is_understood() {
    let cases: [(&str, usize, Outputs, &str); 6] = [
        (
            "kind = 'yolov8'",
            79,
            &[("output0", &[1, 84, 2100])],
            "its output is output0 [1, 84, 2100], but head yolov8 with 79 labels understands one output \
             [1, 83, N] or [1, N, 83]; the output looks like 80 classes, so check the labels",
        ),
        (
            "kind = 'yolov5'",
            80,
            &[("output0", &[1, 84, 2100])],
            "understands one output [1, N, 85]; the output looks like 79 classes, so check the labels",
        ),
        ("kind = 'yolox'", 1, &[("out", &[1, 41, 6])], "understands one output [1, 42, 6]"),
        ("kind = 'yolov8'", 2, &[("a", &[1, 3, 6]), ("b", &[1, 3])], "its output is a [1, 3, 6] + b [1, 3], but"),
        (
            "kind = 'ssd'",
            2,
            &[("boxes", &[1, 9, 4]), ("scores", &[1, 9, 6])],
            "the output looks like 5 classes, so check the labels",
        ),
        ("kind = 'ssd'", 2, &[("boxes", &[1, 9, 4]), ("scores", &[1, 8, 3])], "two outputs [1, N, 4] + [1, N, 3]"),
    ];
    for (head, labels, outputs, expected) in cases {
        let message = fit(head, labels, outputs).expect_err(head);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn an_unknown_head_or_parameter_is_refused_with_the_known_ones() {
    let message = toml::from_str::<HeadSpec>("kind = 'detr'").expect_err("unknown").to_string();
    assert!(message.contains("unknown variant `detr`, expected one of `yolov8`"), "{message}");
    let message = toml::from_str::<HeadSpec>("kind = 'yolov8'\nnms = 0.5").expect_err("unknown").to_string();
    assert!(message.contains("unknown field `nms`, expected `nms_iou` or `activation`"), "{message}");
}

fn any_number() -> impl Strategy<Value = f32> {
    prop_oneof![4 => -2.0..80.0f32, 1 => any::<f32>(), 1 => Just(f32::NAN)]
}

proptest! {
    #[test]
    fn whatever_a_model_gives_candidates_are_sound(
        data in prop::collection::vec(any_number(), 42 * 7),
        min_score in 0.0..1.0f32,
    ) {
        let wide = |columns: usize| output(&[1, 42, columns], data[..42 * columns].to_vec());
        let flat = || output(&[1, 42], data[..42].to_vec());
        let cases = [
            ("kind = 'yolov8'", 3, vec![("o", wide(7))]),
            ("kind = 'yolov8'\nactivation = 'sigmoid'", 38, vec![("o", output(&[1, 7, 42], data.clone()))]),
            ("kind = 'yolov5'", 2, vec![("o", wide(7))]),
            ("kind = 'yolox'", 2, vec![("o", wide(7))]),
            ("kind = 'ssd'", 6, vec![("b", wide(4)), ("s", wide(7))]),
            ("kind = 'ssd'", 6, vec![("b", wide(4)), ("c", flat()), ("s", flat()), ("n", output(&[1], vec![data[0]]))]),
        ];
        for (head, labels, outputs) in cases {
            for candidate in decode(head, labels, outputs, min_score) {
                prop_assert!(candidate.class < labels, "{head}: {candidate:?}");
                prop_assert!((min_score..=1.0).contains(&candidate.score), "{head}: {candidate:?}");
                let [x0, y0, x1, y1] = candidate.corners;
                prop_assert!(candidate.corners.iter().all(|v| v.is_finite()) && x1 > x0 && y1 > y0);
            }
        }
    }
}
