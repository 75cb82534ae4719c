//! The YOLO family: a row of box and class scores for each place in the picture, and what may follow behind these.

use super::mask::{Mask, Prototypes};
use super::meaning::{self, Row};
use super::table::Table;
use super::{Activation, CHOSEN, Candidate, HeadSpec, Unfit, cells, corners_of, end2end};
use crate::detection::{Keypoint, Shape};
use crate::infer::engine::Output;
use crate::infer::input::InputSpec;
use crate::infer::preprocess::Fit;

/// Columns of the box: x, y, width, height.
const BOX: usize = 4;

/// So many rows do not look chosen and sorted by chance.
const MANY_CHOSEN: usize = 8;

/// A fitted YOLO head.
#[derive(Debug)]
pub(crate) struct Yolo {
    parts: Vec<Part>,
    columns: usize,
    labels: usize,
    objectness: bool,
    activation: Activation,
    /// Column, row and stride of each cell where boxes still are in cells (YOLOX); else empty.
    cells: Vec<[f32; 3]>,
    behind: Behind,
    /// Of the input, pixels.
    side: [f32; 2],
}

/// The rows of one output.
#[derive(Debug)]
struct Part {
    output: usize,
    /// How many rows the parts before have.
    first: usize,
    rows: usize,
    transposed: bool,
}

/// What lies behind the scores of a row.
#[derive(Debug)]
enum Behind {
    Nothing,
    /// Weights of the prototypes of a mask, which are the second output.
    Masks(Prototypes),
    /// Key points of so many numbers each.
    Keypoints(usize),
}

impl Yolo {
    /// The error is what would be understood, and how many classes the output seems to have.
    pub(super) fn fit(spec: &HeadSpec, input: &InputSpec, labels: usize, shapes: &[&[usize]]) -> Result<Self, Unfit> {
        let (objectness, activation, cells) = match spec {
            HeadSpec::Yolov8(keys) | HeadSpec::Yolov8Seg(keys) => (false, keys.activation, Vec::new()),
            HeadSpec::Yolov8Pose { activation, .. } => (false, *activation, Vec::new()),
            HeadSpec::Yolov5(keys) => (true, keys.activation, Vec::new()),
            HeadSpec::Yolox { activation, strides, .. } => (true, *activation, cells(input, strides)),
            _ => return Err(("one output".to_owned(), None)),
        };
        let scores_from = BOX + usize::from(objectness);
        let plain = scores_from + labels;
        let side = [input.width as f32, input.height as f32];
        let head = |parts, columns, cells, behind| Self {
            parts,
            columns,
            labels,
            objectness,
            activation,
            cells,
            behind,
            side,
        };
        let one = |rows, transposed| vec![Part { output: 0, first: 0, rows, transposed }];
        match (spec, shapes) {
            (HeadSpec::Yolov8Seg(_), &[&[1, a, b], &[1, count, height, width]]) => {
                let columns = plain + count;
                let prototypes = Prototypes { output: 1, count, height, width };
                match rows_of(a, b, columns) {
                    Some((rows, transposed)) if count * height * width > 0 => {
                        Ok(head(one(rows, transposed), columns, cells, Behind::Masks(prototypes)))
                    }
                    _ => Err((
                        format!("two outputs [1, {columns}, N] + [1, {count}, {height}, {width}]"),
                        a.min(b).checked_sub(BOX + count).filter(|&classes| classes > 0),
                    )),
                }
            }
            (HeadSpec::Yolov8Seg(_), _) => {
                Err((format!("two outputs [1, {plain}+M, N] + [1, M, height, width]"), None))
            }
            (HeadSpec::Yolov8Pose { values, .. }, _) => {
                let understood = || (format!("one output [1, {plain}+{values}*K, N] with K key points"), None);
                let &[&[1, a, b]] = shapes else { return Err(understood()) };
                // There are more boxes than columns, unless the model is tiny.
                let sides = [a.min(b), a.max(b)];
                let holds_points = |columns: &usize| *columns > plain && (*columns - plain).is_multiple_of(*values);
                let columns = sides.into_iter().find(holds_points).ok_or_else(understood)?;
                let (rows, transposed) = rows_of(a, b, columns).ok_or_else(understood)?;
                Ok(head(one(rows, transposed), columns, cells, Behind::Keypoints(*values)))
            }
            (HeadSpec::Yolox { strides, .. }, levels) if levels.len() == strides.len() && levels.len() > 1 => {
                let parts = parts(input, strides, plain, levels);
                let understood = || {
                    let sides = strides.iter().map(|stride| {
                        let cells = |side: u32| side.div_ceil((*stride).max(1));
                        format!("[1, {plain}, {}, {}]", cells(input.height), cells(input.width))
                    });
                    (sides.collect::<Vec<_>>().join(" + "), None)
                };
                Ok(head(parts.ok_or_else(understood)?, plain, cells, Behind::Nothing))
            }
            (_, shapes) => {
                let (rows, transposed) = fit_one(spec, plain, scores_from, cells.len(), shapes)?;
                Ok(head(one(rows, transposed), plain, cells, Behind::Nothing))
            }
        }
    }

    fn tables<'a>(&'a self, outputs: &'a [Output]) -> impl Iterator<Item = (usize, Table<'a>)> + 'a {
        self.parts.iter().map(|part| {
            let data = outputs.get(part.output).map_or(&[][..], |output| &output.data);
            let Part { first, rows, transposed, .. } = *part;
            (first, Table { data, rows, columns: self.columns, transposed })
        })
    }

    fn scores_from(&self) -> usize {
        BOX + usize::from(self.objectness)
    }

    pub(super) fn decode(&self, outputs: &[Output], min_score: f32) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for (first, table) in self.tables(outputs) {
            let best = table.greatest(self.scores_from(), self.labels).into_iter().enumerate();
            candidates.extend(best.filter_map(|(row, (class, value))| {
                let mut score = self.activation.apply(value);
                if self.objectness {
                    score *= self.activation.apply(table.at(row, BOX));
                }
                // Most rows end here; a score that is not a number does, too.
                if score < min_score || score.is_nan() {
                    return None;
                }
                let corners = self.corners(&table, first, row);
                Some(Candidate::new(class, score, min_score, corners)?.of_row(first + row))
            }));
        }
        candidates
    }

    /// Why the numbers cannot be what they are read as; `None`: nothing speaks against it.
    pub(super) fn doubt(&self, outputs: &[Output]) -> Option<String> {
        let mut rows = Vec::new();
        for (first, table) in self.tables(outputs) {
            if self.looks_chosen(&table) {
                return Some(format!("its output [1, {}, {}] holds {CHOSEN}", table.rows, self.columns));
            }
            let is_corners = |row| table.at(row, 0) <= table.at(row, 2) && table.at(row, 1) <= table.at(row, 3);
            if self.cells.is_empty() && table.rows >= meaning::MANY && (0..table.rows).all(is_corners) {
                return Some(
                    "its boxes are two corners, not a centre and a size; export it with centres and sizes".to_owned(),
                );
            }
            let best = table.greatest(self.scores_from(), self.labels).into_iter().enumerate();
            rows.extend(best.map(|(row, (_, raw))| {
                let objectness = if self.objectness { self.activation.apply(table.at(row, BOX)) } else { 1.0 };
                let score = self.activation.apply(raw) * objectness;
                Row { corners: self.corners(&table, first, row), raw, score }
            }));
        }
        let form = if self.cells.is_empty() { "undecoded (kind = \"yolox\")" } else { "decoded (kind = \"yolov5\")" };
        meaning::rows(&rows, self.activation, self.side)
            .map(|doubt| if self.objectness { format!("{doubt}; or are its boxes {form}?") } else { doubt })
    }

    /// Outline or key points of what was read from a row.
    pub(super) fn shape(&self, outputs: &[Output], candidate: &Candidate, fit: Fit) -> Option<Shape> {
        let (first, table) = self.tables(outputs).filter(|(first, _)| *first <= candidate.row).last()?;
        let row = candidate.row - first;
        let behind = self.scores_from() + self.labels..self.columns;
        let numbers: Vec<f32> = behind.map(|column| table.at(row, column)).collect();
        match &self.behind {
            Behind::Nothing => None,
            Behind::Masks(prototypes) => {
                let mask = Mask::of(prototypes, outputs, &numbers, candidate.corners, self.side)?;
                let outline = mask.outline();
                let points = outline.into_iter().map(|[x, y]| fit.point_to_picture([x, y]));
                Some(Shape::Outline(points.collect()))
            }
            Behind::Keypoints(values) => {
                let point = |numbers: &[f32]| {
                    let score = numbers.get(2).copied().unwrap_or(1.0);
                    let [x, y] = fit.point_to_picture([*numbers.first()?, *numbers.get(1)?]);
                    Some(Keypoint::new(x, y, score))
                };
                Some(Shape::Keypoints(numbers.chunks_exact(*values).filter_map(point).collect()))
            }
        }
    }

    /// Whether every row is two corners, a score and a whole number, the best first.
    fn looks_chosen(&self, table: &Table<'_>) -> bool {
        let is_chosen = |row| {
            let [x0, y0, x1, y1, score, class] = [0, 1, 2, 3, 4, 5].map(|column| table.at(row, column));
            x0 <= x1 && y0 <= y1 && meaning::is_score(score) && class.fract() == 0.0
        };
        let is_sorted = |row| row == 0 || table.at(row, 4) <= table.at(row - 1, 4);
        self.columns == end2end::COLUMNS
            && !table.transposed
            && table.rows >= MANY_CHOSEN
            && (0..table.rows).all(|row| is_chosen(row) && is_sorted(row))
    }

    /// Of a row's box, in input pixels.
    fn corners(&self, table: &Table<'_>, first: usize, row: usize) -> [f32; 4] {
        let [x, y, w, h] = [0, 1, 2, 3].map(|column| table.at(row, column));
        corners_of(match self.cells.get(first + row) {
            Some([column, line, stride]) => {
                [(x + column) * stride, (y + line) * stride, w.exp() * stride, h.exp() * stride]
            }
            None => [x, y, w, h],
        })
    }
}

/// How many rows a table of `columns` has, and whether it is transposed.
fn rows_of(a: usize, b: usize, columns: usize) -> Option<(usize, bool)> {
    let fitted = if a == columns { (b, true) } else { (b == columns).then_some((a, false))? };
    (fitted.0 > 0).then_some(fitted)
}

/// One output that holds everything.
fn fit_one(
    spec: &HeadSpec,
    columns: usize,
    scores_from: usize,
    cells: usize,
    shapes: &[&[usize]],
) -> Result<(usize, bool), Unfit> {
    let understood = match (spec, cells) {
        (HeadSpec::Yolov8(_), _) => format!("one output [1, {columns}, N] or [1, N, {columns}]"),
        (HeadSpec::Yolox { .. }, rows) => format!("one output [1, {rows}, {columns}]"),
        _ => format!("one output [1, N, {columns}]"),
    };
    let &[&[1, a, b]] = shapes else { return Err((understood, None)) };
    // Boxes are always many more than classes, so the shorter axis is theirs.
    let classes = || a.min(b).checked_sub(scores_from).filter(|&classes| classes > 0);
    let (rows, transposed) = match spec {
        HeadSpec::Yolov8(_) if a == columns => (b, true),
        _ if b == columns => (a, false),
        _ => return Err((understood, classes())),
    };
    if rows == 0 || (cells > 0 && cells != rows) {
        return Err((understood, None));
    }
    Ok((rows, transposed))
}

/// One output `[1, columns, H, W]` for each stride, in any order.
fn parts(input: &InputSpec, strides: &[u32], columns: usize, shapes: &[&[usize]]) -> Option<Vec<Part>> {
    let mut first = 0;
    let part = |stride: &u32| {
        let cells = |side: u32| side.div_ceil((*stride).max(1)) as usize;
        let wanted = [1, columns, cells(input.height), cells(input.width)];
        let output = shapes.iter().position(|shape| **shape == wanted)?;
        let rows = wanted[2] * wanted[3];
        let part = Part { output, first, rows, transposed: true };
        first += rows;
        Some(part)
    };
    strides.iter().map(part).collect()
}
