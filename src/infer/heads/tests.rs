use proptest::prelude::*;

use super::*;
use crate::infer::input::{Colour, Layout, Resize};

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
        Candidate { class: 1, score: 0.9, corners: [8.0, 9.0, 12.0, 15.0], row: 0 },
        Candidate { class: 0, score: 0.5, corners: [26.0, 12.0, 34.0, 20.0], row: 2 },
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
    assert_eq!(found, [Candidate { class: 0, score: 0.4, corners: [8.0, 9.0, 12.0, 15.0], row: 0 }]);
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
    let expected = [Candidate { class: 1, score: 0.7, corners: [16.0, 16.0, 32.0, 32.0], row: 0 }];
    assert_eq!(decode("kind = 'ssd'", 2, vec![boxes(), scores()], 0.3), expected);
    assert_eq!(decode("kind = 'ssd'", 2, vec![scores(), boxes()], 0.3), expected);
    let pixels = output(&[1, 1, 4], vec![2.0, 1.0, 6.0, 5.0]);
    let plain = output(&[1, 1, 2], vec![0.6, 0.5]);
    let head = "kind = 'ssd'\nunits = 'pixels'\norder = 'yxyx'\nbackground = false";
    let found = decode(head, 2, vec![("a", pixels), ("b", plain)], 0.3);
    assert_eq!(found, [Candidate { class: 0, score: 0.6, corners: [1.0, 2.0, 5.0, 6.0], row: 0 }]);
}

#[test]
fn tensorflows_four_outputs_are_distinguished_by_shape_and_name() {
    let boxes = || ("detection_boxes", output(&[1, 3, 4], [0.0, 0.25, 1.0, 0.5].repeat(3)));
    let classes = || ("detection_classes", output(&[1, 3], vec![2.0, 7.0, 1.0]));
    let scores = || ("detection_scores", output(&[1, 3], vec![0.9, 0.8, 0.7]));
    let count = || ("num_detections", output(&[1], vec![2.0]));
    // The second has a class without a label, the third is beyond the count.
    let expected = [Candidate { class: 1, score: 0.9, corners: [16.0, 0.0, 32.0, 32.0], row: 0 }];
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
    let message = toml::from_str::<HeadSpec>("kind = 'rcnn'").expect_err("unknown").to_string();
    assert!(message.contains("unknown variant `rcnn`, expected one of `yolov8`"), "{message}");
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

/// Thousands of boxes as a detector gives them for a picture with nothing that it looks for: centre, size, and a low
/// score for each class.
fn raw_rows(classes: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(3);
    let mut between = |low: f32, high: f32| low + random.f32() * (high - low);
    let row = |_| {
        let place = [between(0.0, 64.0), between(0.0, 32.0), between(2.0, 30.0), between(2.0, 20.0)];
        let scores: Vec<f32> = (0..classes).map(|_| between(0.0, 0.02)).collect();
        [place.to_vec(), scores].concat()
    };
    (0..300).flat_map(row).collect()
}

/// 300 boxes that a model has chosen: two corners, score, class; the best first.
fn chosen_rows(classes: u32, best: f32) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(4);
    let row = |i: i32| {
        let (x, y) = (random.f32() * 50.0, random.f32() * 24.0);
        let class = random.u32(0..classes) as f32;
        [x, y, x + 2.0 + random.f32() * 10.0, y + 2.0 + random.f32() * 6.0, best / (1.0 + i as f32), class]
    };
    (0..300).flat_map(row).collect()
}

fn doubt(head: &str, labels: usize, outputs: Vec<Output>) -> Option<String> {
    let described: Vec<_> = outputs.iter().map(|output| ("out", output.shape.as_slice())).collect();
    fit(head, labels, &described).expect("fits").doubt(&outputs)
}

/// Works with: models | YOLOv10, YOLO26 and exports with NMS inside (`[1, 300, 6]`) | Reads them with head `end2end`
#[test]
fn boxes_that_the_model_has_chosen_are_read_as_such() {
    let rows = vec![
        8.0, 4.0, 24.0, 16.0, 0.9, 1.0, //
        9.0, 4.0, 24.0, 16.0, 0.8, 1.0, //
        0.0, 0.0, 10.0, 10.0, 0.7, 2.0, //
        0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
    ];
    let found = decode("kind = 'end2end'", 2, vec![("out", output(&[1, 4, 6], rows.clone()))], 0.4);
    // The third has a class without a label. Overlaps are the model's own affair.
    let corners = found.iter().map(|found| (found.class, found.score, found.corners)).collect::<Vec<_>>();
    assert_eq!(corners, [(1, 0.9, [8.0, 4.0, 24.0, 16.0]), (1, 0.8, [9.0, 4.0, 24.0, 16.0])]);
    assert_eq!(spec("kind = 'end2end'").nms_iou(), 1.0);
    let shares =
        rows.chunks(6).flat_map(|row| [row[0] / 64.0, row[1] / 32.0, row[2] / 64.0, row[3] / 32.0, row[4], row[5]]);
    let shares = output(&[1, 4, 6], shares.collect());
    let same = decode("kind = 'end2end'\nunits = 'unit'", 2, vec![("out", shares)], 0.4);
    assert_eq!(same.iter().map(|found| found.corners).collect::<Vec<_>>(), [corners[0].2, corners[1].2]);
    let head =
        fit("kind = 'end2end'", 2, &[("out", &[1, 0, 6])]).expect("a model that found nothing when it was loaded");
    assert!(head.accepts(&[1, 0, 6], &[1, 9, 6]) && !head.accepts(&[1, 0, 6], &[1, 9, 7]));
}

/// Works with: models | PicoDet with NMS inside (`[N, 6]`, class first, beside a count) | Head `picodet` reads them as they are
#[test]
fn picodet_that_has_chosen_its_boxes_is_read_class_first() {
    let head = "kind = 'picodet'";
    let rows = [[1.0, 0.9, 10.0, 20.0, 30.0, 40.0], [0.0, 0.2, 0.0, 0.0, 9.0, 9.0], [7.0, 0.9, 0.0, 0.0, 9.0, 9.0]];
    let count = || ("count", output(&[1], vec![3.0]));
    let found = decode(head, 2, vec![("out", output(&[3, 6], rows.concat())), count()], 0.4);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].class, found[0].score, found[0].corners), (1, 0.9, [10.0, 20.0, 30.0, 40.0]));
    let alone = decode(head, 2, vec![("out", output(&[1, 3, 6], rows.concat()))], 0.4);
    assert_eq!(alone, found);
    assert!(fit(head, 2, &[("out", &[3, 6]), ("more", &[3, 6])]).is_err());
    // Nothing found is one row of -1.
    let none = || output(&[1, 6], vec![-1.0; 6]);
    assert!(decode(head, 2, vec![("out", none()), count()], 0.0).is_empty());
    assert_eq!(doubt(head, 2, vec![none(), output(&[1], vec![1.0])]), None);
    let swapped = doubt(head, 2, vec![output(&[1, 6], vec![10.0, 20.0, 30.0, 40.0, 0.9, 1.0])]).expect("doubt");
    assert!(swapped.contains("second column holds 20") && swapped.contains("head picodet"), "{swapped}");
}

/// Works with: models | NMS-inside exports under another head | Refused, with `end2end` or `nms=False` as advice
#[test]
fn chosen_boxes_under_another_head_are_refused_with_the_right_advice() {
    let advice = "boxes that the model has chosen itself (two corners, score, class); use kind = \"end2end\", or export \
                  it with end2end=False or nms=False";
    let message = fit("kind = 'yolov8'", 80, &[("output0", &[1, 300, 6])]).expect_err("80 labels");
    assert!(message.ends_with(advice) && !message.contains("classes"), "{message}");
    // With two labels the shape alone fits.
    for (head, labels, best) in
        [("kind = 'yolov8'", 2, 0.9), ("kind = 'yolov8'", 2, 0.001), ("kind = 'yolov5'", 1, 0.9)]
    {
        let message = doubt(head, labels, vec![output(&[1, 300, 6], chosen_rows(2, best))]).expect(head);
        assert_eq!(message, format!("its output [1, 300, 6] holds {advice}"));
    }
    let nothing_found = output(&[1, 300, 6], vec![0.0; 1800]);
    assert!(doubt("kind = 'yolov8'", 2, vec![nothing_found]).is_some_and(|message| message.ends_with(advice)));
}

/// Works with: models | TensorFlow detectors whose classes and scores have the same shape | Refused when they are the other way round; `outputs` in the manifest puts them right
#[test]
fn classes_that_are_read_as_scores_are_refused() {
    let boxes = || output(&[1, 3, 4], [0.0, 0.25, 1.0, 0.5].repeat(3));
    let (classes, scores, count) =
        (|| output(&[1, 3], vec![2.0, 7.0, 0.5]), || output(&[1, 3], vec![0.9, 0.8, 7.0]), 2.0);
    let count = || output(&[1], vec![count]);
    assert_eq!(doubt("kind = 'ssd'", 7, vec![boxes(), classes(), scores(), count()]), None);
    let message = doubt("kind = 'ssd'", 6, vec![boxes(), classes(), scores(), count()]).expect("six labels");
    assert!(message.starts_with("it gives class 7, but the 6 labels begin with 1"), "{message}");
    let message = doubt("kind = 'ssd'", 7, vec![boxes(), scores(), classes(), count()]).expect("the other way round");
    assert!(message.starts_with("it gives class 0.9 with score 2; are classes and scores the other way"), "{message}");
}

#[test]
fn labels_that_a_model_chose_and_that_there_are_not_are_refused() {
    let outputs = || {
        let boxes = output(&[1, 2, 4], vec![1.0, 2.0, 30.0, 40.0, 1.0, 2.0, 30.0, 40.0]);
        vec![output(&[1, 2], vec![79.0, 90.0]), boxes, output(&[1, 2], vec![0.9, 0.1])]
    };
    let manifest = "kind = 'detr'";
    assert_eq!(doubt(manifest, 80, outputs()), None, "what has a low score counts for nothing");
    let message = doubt(manifest, 79, outputs()).expect("a line is missing");
    assert!(message.contains("it gives label 79, but there are 79 labels"), "{message}");
}

#[test]
fn honest_outputs_raise_no_doubt_whatever_is_in_the_picture() {
    for classes in [1, 2, 80] {
        let shape = [1, 300, 4 + classes];
        let rows = raw_rows(classes);
        assert_eq!(doubt("kind = 'yolov8'", classes, vec![output(&shape, rows.clone())]), None);
        let columns = output(&[1, 4 + classes, 300], transpose(300, 4 + classes, &rows));
        assert_eq!(doubt("kind = 'yolov8'", classes, vec![columns]), None);
    }
    assert_eq!(doubt("kind = 'end2end'", 2, vec![output(&[1, 300, 6], chosen_rows(2, 0.9))]), None);
    assert_eq!(doubt("kind = 'end2end'", 2, vec![output(&[1, 300, 6], vec![0.0; 1800])]), None);
    // Cells of 4x2 and 2x1: undecoded boxes are small numbers.
    let cells = [0.3, 0.6, 0.2, -0.4, 0.01, 0.5].repeat(10);
    assert_eq!(doubt("kind = 'yolox'\nstrides = [16, 32]", 1, vec![output(&[1, 10, 6], cells)]), None);
    let anchors: Vec<f32> =
        raw_rows(1).chunks(5).flat_map(|row| [0.0, 0.1, row[2] / 64.0, 0.1 + row[3] / 32.0]).collect();
    let scores = [0.97, 0.02, 0.01].repeat(300);
    assert_eq!(doubt("kind = 'ssd'", 2, vec![output(&[1, 300, 4], anchors), output(&[1, 300, 3], scores)]), None);
}

/// Works with: models | Outputs of the right shape and another meaning (logits, shares for pixels, corners for centres) | Refused at load, by what the model gives for a photograph
#[test]
fn what_fits_by_its_shape_and_means_something_else_is_refused() {
    let change = |change: &dyn Fn(&mut [f32])| {
        let mut rows = raw_rows(2);
        rows.chunks_mut(6).for_each(change);
        vec![output(&[1, 300, 6], rows)]
    };
    let yolov8 = "kind = 'yolov8'";
    let cases: [(&str, Vec<Output>, &str); 8] = [
        (yolov8, change(&|row| row[4..].iter_mut().for_each(|score| *score = -4.0)), "activation = \"sigmoid\""),
        ("kind = 'yolov8'\nactivation = 'sigmoid'", change(&|_| ()), "leave out activation"),
        (yolov8, change(&|row| row[5] = 0.9), "it believes in 300 of its 300 boxes"),
        (yolov8, change(&|row| row[..4].iter_mut().for_each(|side| *side /= 64.0)), "as if they were shares"),
        (yolov8, change(&|row| row[..2].iter_mut().for_each(|side| *side *= 64.0)), "far outside of the picture"),
        (yolov8, change(&|row| row[2..4].iter_mut().for_each(|side| *side *= -1.0)), "have no area"),
        (yolov8, change(&|row| (row[2], row[3]) = (row[0] + row[2], row[1] + row[3])), "two corners, not a centre"),
        ("kind = 'end2end'", change(&|_| ()), "its sixth column holds 0.0"),
    ];
    for (head, outputs, expected) in cases {
        let message = doubt(head, 2, outputs).unwrap_or_else(|| panic!("{head} should be refused: {expected}"));
        assert!(message.contains(expected), "{message}");
    }
    let unlabelled = doubt("kind = 'end2end'", 1, vec![output(&[1, 300, 6], chosen_rows(3, 0.9))]).expect("class 2");
    assert!(unlabelled.contains("but there are 1 labels; check the labels"), "{unlabelled}");
    // Decoded boxes under a head that decodes them once more.
    let decoded = raw_rows(2)
        .chunks(6)
        .flat_map(|row| [row[0], row[1], row[2] * 4.0, row[3] * 6.0, 0.01, 0.5])
        .collect::<Vec<_>>();
    let input = InputSpec { width: 640, height: 320, ..input() };
    let head =
        Head::fit(&spec("kind = 'yolox'\nstrides = [16, 32]"), &input, 1, &["out"], &[&[1, 1000, 6]]).expect("fits");
    let rows = decoded.into_iter().cycle().take(6000).collect();
    let message = head.doubt(&[output(&[1, 1000, 6], rows)]).expect("decoded twice");
    assert!(message.ends_with("or are its boxes decoded (kind = \"yolov5\")?"), "{message}");
}
