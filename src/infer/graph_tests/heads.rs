//! Heads of models that find things or say what a picture shows.

use super::super::onnx_writer::{Graph, SINGLE, attribute, numbers};
use super::{Net, SIDE, THREE, Thing, as_rows, best, finds, load, picture, sigmoid};

const BINS: usize = 8;

fn input() -> Graph {
    Graph::default().input("picture", SINGLE, &[1, 3, SIDE as u64, SIDE as u64])
}

/// Three scores, then four distributions over eight bins.
fn distributed() -> Vec<f32> {
    let bins = (0..4 * BINS).map(|at| if at % BINS == 1 { 2.0 } else { at as f32 * 0.03 });
    [0.0, -0.5, 0.2].into_iter().chain(bins).collect()
}

/// The things of one grid as the papers have them: the mean distance of each side in strides, from the cell's point.
fn from_distributions(net: &Net, offset: f64) -> Vec<Thing> {
    let across = SIDE / net.stride;
    let thing = |(cell, row): (usize, Vec<f64>)| {
        let distance = |side: usize| {
            let powers: Vec<f64> = (0..BINS).map(|bin| row[3 + side * BINS + bin].exp()).collect();
            let mean = powers.iter().enumerate().map(|(bin, power)| bin as f64 * power).sum::<f64>();
            mean / powers.iter().sum::<f64>() * net.stride as f64
        };
        let point = [cell % across, cell / across].map(|at| (at as f64 + offset) * net.stride as f64);
        let (class, score) = best(&row[..3]);
        let corners = [point[0] - distance(0), point[1] - distance(1), point[0] + distance(2), point[1] + distance(3)];
        (class, sigmoid(score), corners)
    };
    net.rows().into_iter().enumerate().map(thing).collect()
}

/// Works with: models | NanoDet-Plus and NanoDet as they are exported, without decoding | Head `nanodet` reads the distributions of the sides
#[test]
fn nanodet_boxes_are_mean_distances_from_a_cells_corner() {
    let net = Net::new("net", 8, &distributed());
    let graph = as_rows(net.add(input(), "picture"), &net).output("net.rows", SINGLE, &[1, 16, 35]);
    let head = "kind = 'nanodet'\nstrides = [8]\nactivation = 'sigmoid'\nnms_iou = 1.0";
    let onnx = graph.file();
    finds(&load(&onnx, THREE, head).expect("load"), 0.5, &from_distributions(&net, 0.0));
    let older = format!("{head}\noffset = 0.5");
    finds(&load(&onnx, THREE, &older).expect("load"), 0.5, &from_distributions(&net, 0.5));
}

/// Works with: models | PicoDet without post-processing: scores and distributions of each stride in outputs of their own | Head `picodet` puts them together, in whatever order they come
#[test]
fn picodet_outputs_of_each_stride_are_put_together() {
    let nets = [Net::new("fine", 8, &distributed()), Net::new("coarse", 16, &distributed())];
    let mut graph = input();
    for net in &nets {
        graph = as_rows(net.add(graph, "picture"), net);
        let [rows, scores, sides, parts] =
            ["rows", "scores", "sides", "parts"].map(|part| format!("{}.{part}", net.name));
        graph = graph.node("Split", &[&rows, &parts], &[&scores, &sides], &[attribute("axis", 2)]).tensor(
            &parts,
            super::INT64,
            &[2],
            &super::whole(&[3, 32]),
        );
    }
    let out = |graph: Graph, name: &str, shape: &[u64]| graph.output(name, SINGLE, shape);
    graph = out(out(graph, "fine.scores", &[1, 16, 3]), "coarse.scores", &[1, 4, 3]);
    graph = out(out(graph, "fine.sides", &[1, 16, 32]), "coarse.sides", &[1, 4, 32]);
    let head = "kind = 'picodet'\nstrides = [8, 16]\nactivation = 'sigmoid'\nnms_iou = 1.0";
    let things: Vec<Thing> = nets.iter().flat_map(|net| from_distributions(net, 0.5)).collect();
    finds(&load(&graph.file(), THREE, head).expect("load"), 0.5, &things);
}

/// Works with: models | PicoDet with post-processing and without NMS (`[1, N, 4]` + `[1, C, N]`) | Head `picodet` reads the corners; NMS is done here
#[test]
fn picodet_boxes_that_are_decoded_are_taken_as_corners() {
    let net = Net::new("net", 8, &[0.0, -0.5, 0.2, 2.0, 3.0, 20.0, 24.0]);
    let graph = as_rows(net.add(input(), "picture"), &net)
        .node("Split", &["net.rows", "parts"], &["logits", "boxes"], &[attribute("axis", 2)])
        .node("Sigmoid", &["logits"], &["sure"], &[])
        .node("Transpose", &["sure"], &["scores"], &[numbers("perm", &[0, 2, 1])])
        .tensor("parts", super::INT64, &[2], &super::whole(&[3, 4]))
        .output("boxes", SINGLE, &[1, 16, 4])
        .output("scores", SINGLE, &[1, 3, 16]);
    let things = net.rows().into_iter().map(|row| {
        let (class, score) = best(&row[..3]);
        (class, sigmoid(score), [row[3], row[4], row[5], row[6]])
    });
    let head = "kind = 'picodet'\nstrides = [8]\nnms_iou = 1.0";
    finds(&load(&graph.file(), THREE, head).expect("load"), 0.5, &things.collect::<Vec<_>>());
}

/// Works with: models | YOLOX with an output for each stride | Head `yolox` reads them as it reads the one of the usual export
#[test]
fn yolox_is_read_the_same_from_one_output_and_from_one_for_each_stride() {
    let offsets = [0.3, 0.6, 0.2, 0.1, 0.4, 0.5, -0.2, 0.1];
    let nets = [Net::new("fine", 8, &offsets), Net::new("coarse", 16, &offsets)];
    let of_net = |net: &Net| -> Vec<Thing> {
        let (stride, across) = (net.stride as f64, SIDE / net.stride);
        let thing = |(cell, row): (usize, Vec<f64>)| {
            let (x, y) = ((row[0] + (cell % across) as f64) * stride, (row[1] + (cell / across) as f64) * stride);
            let (w, h) = (row[2].exp() * stride, row[3].exp() * stride);
            let (class, score) = best(&row[5..]);
            (class, sigmoid(score) * sigmoid(row[4]), [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0])
        };
        net.rows().into_iter().enumerate().map(thing).collect()
    };
    let things: Vec<Thing> = nets.iter().flat_map(of_net).collect();
    let head = "kind = 'yolox'\nstrides = [8, 16]\nactivation = 'sigmoid'\nnms_iou = 1.0";
    let both = || nets.iter().fold(input(), |graph, net| net.add(graph, "picture"));
    let levels = both().output("coarse", SINGLE, &[1, 8, 2, 2]).output("fine", SINGLE, &[1, 8, 4, 4]);
    finds(&load(&levels.file(), THREE, head).expect("load"), 0.3, &things);
    let one = nets.iter().fold(both(), as_rows);
    let one = one.node("Concat", &["fine.rows", "coarse.rows"], &["out"], &[attribute("axis", 1)]).output(
        "out",
        SINGLE,
        &[1, 20, 8],
    );
    finds(&load(&one.file(), THREE, head).expect("load"), 0.3, &things);
}

/// Works with: models | DETR, RT-DETR, D-FINE, RF-DETR: logits and boxes without NMS, with sigmoid or with softmax and a class for no thing | Head `detr`
#[test]
fn detr_boxes_are_centres_and_sizes_in_shares_and_all_of_them_stay() {
    let with = |no_thing: bool| {
        let scores: &[f32] = if no_thing { &[0.6, 0.2, 0.9, 0.5] } else { &[0.6, 0.2, 0.9] };
        Net::quiet("net", 8, &[scores, &[0.5, 0.4, 0.3, 0.2]].concat())
    };
    let things = |net: &Net, score: &dyn Fn(&[f64]) -> (usize, f64)| -> Vec<Thing> {
        let thing = |row: Vec<f64>| {
            let (numbers, place) = row.split_at(net.columns - 4);
            let [x, y, w, h] = [place[0], place[1], place[2], place[3]].map(|share| share * SIDE as f64);
            let (class, score) = score(numbers);
            (class, score, [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0])
        };
        // A negative size is no box.
        net.rows().into_iter().map(thing).filter(|(_, _, [x0, y0, x1, y1])| x1 > x0 && y1 > y0).collect()
    };
    let graph = |net: &Net| {
        let scores = net.columns as u64 - 4;
        as_rows(net.add(input(), "picture"), net)
            .node("Split", &["net.rows", "parts"], &["logits", "pred_boxes"], &[attribute("axis", 2)])
            .tensor("parts", super::INT64, &[2], &super::whole(&[scores as i64, 4]))
            .output("logits", SINGLE, &[1, 16, scores])
            .output("pred_boxes", SINGLE, &[1, 16, 4])
            .file()
    };
    let each = with(false);
    let sure = |numbers: &[f64]| {
        let (class, logit) = best(numbers);
        (class, sigmoid(logit))
    };
    finds(&load(&graph(&each), THREE, "kind = 'detr'").expect("load"), 0.5, &things(&each, &sure));

    let only = with(true);
    let alone = |numbers: &[f64]| {
        let powers: Vec<f64> = numbers.iter().map(|number| number.exp()).collect();
        let (class, power) = best(&powers[..3]);
        (class, power / powers.iter().sum::<f64>())
    };
    let softmax = "kind = 'detr'\nactivation = 'softmax'";
    finds(&load(&graph(&only), THREE, softmax).expect("load"), 0.2, &things(&only, &alone));
    // The class for no thing is not there under sigmoid.
    let message = load(&graph(&only), THREE, "kind = 'detr'").expect_err("four scores").to_string();
    assert!(
        message.contains(
            "logits [1, 16, 4] + pred_boxes [1, 16, 4], but head detr with 3 labels understands scores [1, N, 3]"
        ) && message.contains("looks like 4 classes"),
        "{message}"
    );
}

#[test]
fn detr_is_read_from_one_output_and_with_labels_that_the_model_has_chosen() {
    let net = Net::quiet("net", 8, &[0.5, 0.4, 0.3, 0.2, 0.6, 0.2, 0.4]);
    let one = as_rows(net.add(input(), "picture"), &net).output("net.rows", SINGLE, &[1, 16, 7]).file();
    let things = net.rows().into_iter().map(|row| {
        let [x, y, w, h] = [row[0], row[1], row[2], row[3]].map(|share| share * SIDE as f64);
        let (class, logit) = best(&row[4..]);
        (class, sigmoid(logit), [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0])
    });
    let things: Vec<Thing> = things.filter(|(_, _, [x0, y0, x1, y1])| x1 > x0 && y1 > y0).collect();
    finds(&load(&one, THREE, "kind = 'detr'").expect("load"), 0.5, &things);

    let net = Net::new("net", 8, &[2.0, 3.0, 20.0, 24.0, 0.4, 0.1, 0.2]);
    let chosen = as_rows(net.add(input(), "picture"), &net)
        .node("Split", &["net.rows", "parts"], &["boxes", "logits"], &[attribute("axis", 2)])
        .tensor("parts", super::INT64, &[2], &super::whole(&[4, 3]))
        .node("Sigmoid", &["logits"], &["sure"], &[])
        .node("ReduceMax", &["sure"], &["scores"], &[numbers("axes", &[2]), attribute("keepdims", 0)])
        .node("ArgMax", &["sure"], &["labels"], &[attribute("axis", 2), attribute("keepdims", 0)])
        .output("labels", super::INT64, &[1, 16])
        .output("boxes", SINGLE, &[1, 16, 4])
        .output("scores", SINGLE, &[1, 16])
        .file();
    let things = net.rows().into_iter().map(|row| {
        let (class, logit) = best(&row[4..]);
        (class, sigmoid(logit), [row[0], row[1], row[2], row[3]])
    });
    finds(&load(&chosen, THREE, "kind = 'detr'").expect("load"), 0.5, &things.collect::<Vec<_>>());
}

/// Works with: models | Classifiers: logits for softmax or sigmoid, or probabilities | Head `classify`: labels with scores, of the picture as a whole
#[test]
fn a_classifier_gives_each_label_with_its_score_for_the_whole_picture() {
    let net = Net::new("net", 32, &[0.4, -0.3, 0.9]);
    let row = net.rows().remove(0);
    let graph = |last: Option<&str>| {
        let graph = net.add(input(), "picture").node("Flatten", &["net"], &["flat"], &[]);
        let out = last.map_or("flat", |_| "out");
        let graph = last.into_iter().fold(graph, |graph, last| graph.node(last, &["flat"], &["out"], &[]));
        graph.output(out, SINGLE, &[1, 3]).file()
    };
    let powers: Vec<f64> = row.iter().map(|logit| logit.exp()).collect();
    let alone: Vec<f64> = powers.iter().map(|power| power / powers.iter().sum::<f64>()).collect();
    let each: Vec<f64> = row.iter().map(|logit| sigmoid(*logit)).collect();
    let cases = [
        (graph(None), "activation = 'softmax'", &alone),
        (graph(None), "activation = 'sigmoid'", &each),
        (graph(Some("Softmax")), "", &alone),
    ];
    for (onnx, activation, expected) in cases {
        let detector = load(&onnx, THREE, &format!("kind = 'classify'\n{activation}")).expect("load");
        assert!(detector.is_classifier());
        let found = detector.detect(&picture(), 0.0).expect("classify");
        assert_eq!(found.len(), 3);
        assert!(found.windows(2).all(|pair| pair[0].score >= pair[1].score));
        for found in found {
            let at = detector.labels().iter().position(|label| *label == found.label).expect("a label");
            assert!((f64::from(found.score) - expected[at]).abs() < 1e-3, "{activation}: {found:?} {expected:?}");
            assert_eq!(<[f32; 4]>::from(found.bbox), [0.0, 0.0, 1.0, 1.0]);
        }
    }
    let message = load(&graph(Some("Softmax")), THREE, "kind = 'classify'\nactivation = 'softmax'").expect_err("twice");
    assert!(message.to_string().contains("are probabilities already; leave out activation"), "{message}");
    let message = load(&graph(None), "labels = ['a', 'b']", "kind = 'classify'").expect_err("two labels").to_string();
    let expected = "its output is flat [1, 3], but head classify with 2 labels understands one output [1, 2]; the output \
                    looks like 3 classes, so check the labels";
    assert!(message.contains(expected), "{message}");
    let net = Net::new("net", 32, &[40.0, -30.0, 9.0]);
    let loud = net.add(input(), "picture").node("Flatten", &["net"], &["flat"], &[]).output("flat", SINGLE, &[1, 3]);
    let message = load(&loud.file(), THREE, "kind = 'classify'").expect_err("logits").to_string();
    assert!(message.contains("if they are logits, say activation = \"softmax\""), "{message}");
}

#[test]
fn what_a_head_cannot_read_is_refused_with_what_it_understands() {
    let net = Net::new("net", 8, &distributed());
    let onnx = as_rows(net.add(input(), "picture"), &net).output("net.rows", SINGLE, &[1, 16, 35]).file();
    let refused = |labels: &str, head: &str| load(&onnx, labels, head).expect_err(head).to_string();
    let cases = [
        (THREE, "kind = 'nanodet'", "understands one output [1, 22, 3+4*B] with B bins"),
        (
            "labels = ['a', 'b']",
            "kind = 'nanodet'\nstrides = [8]",
            "net.rows [1, 16, 35], but head nanodet with 2 labels",
        ),
        (THREE, "kind = 'yolov8-seg'", "two outputs [1, 7+M, N] + [1, M, height, width]"),
        ("labels = ['a', 'b']", "kind = 'yolov8-pose'", "one output [1, 6+3*K, N] with K key points"),
        (THREE, "kind = 'detr'", "one output [1, N, 7]"),
        (THREE, "kind = 'yolov8'\nactivation = 'softmax'", "is for detr and classify; yolov8 takes none or sigmoid"),
        (THREE, "kind = 'picodet'\noffset = 3.0", "head.offset = 3 is not between 0 and 1"),
    ];
    for (labels, head, expected) in cases {
        let message = refused(labels, head);
        assert!(message.contains(expected), "{message}");
    }
}
