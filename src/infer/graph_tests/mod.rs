//! Small graphs with random weights, as exporters write them, against the same arithmetic written down plainly.

mod heads;
mod inputs;
mod shapes;

use std::path::Path;

use super::onnx_writer::{Graph, INT64, SINGLE, install, numbers, sha256, singles};
use super::{Detector, ModelError};
use crate::detection::Detection;
use crate::frame::Rgb;

/// Sides of the input, pixels.
const SIDE: usize = 32;

/// A picture that is not the same everywhere.
fn picture() -> Rgb {
    let data = (0..SIDE * SIDE * 3).map(|at| (at * 11 % 253) as u8).collect();
    Rgb { width: SIDE as u32, height: SIDE as u32, data }
}

/// Pixels as the graphs get them: plane after plane, 0 to 1.
fn planes() -> Vec<f64> {
    let picture = picture();
    (0..3).flat_map(|c| picture.data.iter().skip(c).step_by(3).map(|&v| f64::from(v) / 256.0)).collect()
}

/// A convolution with kernels as large as its stride: each cell of the grid is weighed sums of its own pixels.
struct Net {
    name: &'static str,
    stride: usize,
    columns: usize,
    weights: Vec<f32>,
    offsets: Vec<f32>,
}

impl Net {
    /// Weights by which sums lie between -1 and 1 or so, around the offsets.
    fn new(name: &'static str, stride: usize, offsets: &[f32]) -> Self {
        let mut random = fastrand::Rng::with_seed(stride as u64 + 100 * offsets.len() as u64);
        let count = offsets.len() * 3 * stride * stride;
        let scale = 8.0 / stride as f32;
        let weights = (0..count).map(|_| (random.f32() * 2.0 - 1.0) * 0.2 * scale).collect();
        Self { name, stride, columns: offsets.len(), weights, offsets: offsets.to_vec() }
    }

    /// The same with sums close to the offsets.
    fn quiet(name: &'static str, stride: usize, offsets: &[f32]) -> Self {
        let net = Self::new(name, stride, offsets);
        Self { weights: net.weights.iter().map(|weight| weight / 8.0).collect(), ..net }
    }

    fn cells(&self) -> usize {
        (SIDE / self.stride).pow(2)
    }

    /// Adds the convolution of `input` to a graph; the value `<name>` is `[1, columns, H, W]`.
    fn add(&self, graph: Graph, input: &str) -> Graph {
        let (stride, columns) = (self.stride as u64, self.columns as u64);
        let (weights, offsets) = (format!("{}.w", self.name), format!("{}.b", self.name));
        let size = [numbers("kernel_shape", &[stride, stride]), numbers("strides", &[stride, stride])];
        graph
            .node("Conv", &[input, &weights, &offsets], &[self.name], &size)
            .tensor(&weights, SINGLE, &[columns, 3, stride, stride], &singles(&self.weights))
            .tensor(&offsets, SINGLE, &[columns], &singles(&self.offsets))
    }

    /// What it gives, cell after cell.
    fn rows(&self) -> Vec<Vec<f64>> {
        let (planes, across) = (planes(), SIDE / self.stride);
        let value = |cell: usize, column: usize| {
            let mut sum = f64::from(self.offsets[column]);
            for c in 0..3 {
                for y in 0..self.stride {
                    for x in 0..self.stride {
                        let (line, place) = (cell / across * self.stride + y, cell % across * self.stride + x);
                        let weight = self.weights[((column * 3 + c) * self.stride + y) * self.stride + x];
                        sum += planes[(c * SIDE + line) * SIDE + place] * f64::from(weight);
                    }
                }
            }
            sum
        };
        (0..self.cells()).map(|cell| (0..self.columns).map(|column| value(cell, column)).collect()).collect()
    }
}

fn whole(values: &[i64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Adds `<name>.rows`, the cells of a net as rows: `[1, N, columns]`.
fn as_rows(graph: Graph, net: &Net) -> Graph {
    let (name, flat, shape, rows) =
        (net.name, format!("{}.flat", net.name), format!("{}.shape", net.name), format!("{}.rows", net.name));
    graph
        .node("Reshape", &[name, &shape], &[&flat], &[])
        .node("Transpose", &[&flat], &[&rows], &[numbers("perm", &[0, 2, 1])])
        .tensor(&shape, INT64, &[3], &whole(&[1, net.columns as i64, net.cells() as i64]))
}

fn load(onnx: &[u8], top: &str, head: &str) -> Result<Detector, ModelError> {
    let dir = tempfile::tempdir().expect("temporary folder");
    install(dir.path(), onnx, top, head);
    Detector::load(dir.path(), "m")
}

/// Writes model `m` with an `[input]` of one's own.
fn install_with_input(dir: &Path, onnx: &[u8], top: &str, input: &str, head: &str) {
    std::fs::write(dir.join("m.onnx"), onnx).expect("write");
    let manifest = format!(
        "name = 'm'\nfile = 'm.onnx'\nsha256 = '{}'\nlicence = ''\norigin = ''\n{top}\n[input]\nwidth = {SIDE}\n\
         height = {SIDE}\n{input}\n[head]\n{head}\n",
        sha256(onnx)
    );
    std::fs::write(dir.join("m.toml"), manifest).expect("write");
}

/// A label's number, its score, and corners in pixels of the input.
type Thing = (usize, f64, [f64; 4]);

/// Checks that the model finds exactly these things from `min_score` on.
fn finds(detector: &Detector, min_score: f64, things: &[Thing]) {
    let mut expected: Vec<Thing> = things.iter().copied().filter(|thing| thing.1 >= min_score).collect();
    expected.sort_by(|a, b| b.1.total_cmp(&a.1));
    let cut = |side: f64| (side / SIDE as f64).clamp(0.0, 1.0);
    let visible: Vec<Thing> = expected
        .into_iter()
        .map(|(class, score, corners)| (class, score, corners.map(cut)))
        .filter(|(_, _, [x0, y0, x1, y1])| x1 > x0 && y1 > y0)
        .collect();
    assert!(visible.len() > 3, "a test that shows something: {things:?}");
    let found = detector.detect(&picture(), min_score as f32).expect("detect");
    let described = |found: &Detection| {
        let class = detector.labels().iter().position(|label| *label == found.label).expect("a label");
        let b = found.bbox;
        (class, found.score, [b.x, b.y, b.x + b.w, b.y + b.h])
    };
    let found: Vec<_> = found.iter().map(described).collect();
    assert_eq!(found.len(), visible.len(), "{found:?}\n{visible:?}");
    for ((class, score, corners), (wanted, sure, place)) in found.iter().zip(&visible) {
        let is_near = corners.iter().zip(place).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-3);
        assert!(class == wanted && (f64::from(*score) - sure).abs() < 1e-3 && is_near, "{found:?}\n{visible:?}");
    }
}

fn sigmoid(value: f64) -> f64 {
    1.0 / (1.0 + (-value).exp())
}

/// The greatest and where it is.
fn best(values: &[f64]) -> (usize, f64) {
    let mut best = (0, f64::MIN);
    for (at, value) in values.iter().enumerate() {
        if *value > best.1 {
            best = (at, *value);
        }
    }
    best
}

const THREE: &str = "labels = ['a', 'b', 'c']";
