//! The YOLO family: one tensor, a row of box and class scores for each place in the picture.

use super::meaning::{self, Row};
use super::table::Table;
use super::{Activation, CHOSEN, Candidate, HeadSpec, end2end};
use crate::infer::input::InputSpec;

/// Columns of the box: x, y, width, height.
const BOX: usize = 4;

/// So many rows do not look chosen and sorted by chance.
const MANY_CHOSEN: usize = 8;

/// A fitted YOLO head.
#[derive(Debug)]
pub(crate) struct Yolo {
    rows: usize,
    columns: usize,
    transposed: bool,
    objectness: bool,
    activation: Activation,
    /// Column, row and stride of each cell where boxes still are in cells (YOLOX); else empty.
    cells: Vec<[f32; 3]>,
    /// Of the input, pixels.
    side: [f32; 2],
}

impl Yolo {
    /// The error is what would be understood, and how many classes the output seems to have.
    pub(super) fn fit(
        spec: &HeadSpec,
        input: &InputSpec,
        labels: usize,
        shapes: &[&[usize]],
    ) -> Result<Self, (String, Option<usize>)> {
        let (objectness, activation, cells) = match spec {
            HeadSpec::Yolov8 { activation, .. } => (false, *activation, Vec::new()),
            HeadSpec::Yolov5 { activation, .. } => (true, *activation, Vec::new()),
            HeadSpec::Yolox { activation, strides, .. } => (true, *activation, cells(input, strides)),
            HeadSpec::Ssd { .. } | HeadSpec::End2end { .. } => return Err(("one output".to_owned(), None)),
        };
        let scores_from = BOX + usize::from(objectness);
        let columns = scores_from + labels;
        let understood = match (spec, cells.len()) {
            (HeadSpec::Yolov8 { .. }, _) => format!("one output [1, {columns}, N] or [1, N, {columns}]"),
            (HeadSpec::Yolox { .. }, rows) => format!("one output [1, {rows}, {columns}]"),
            _ => format!("one output [1, N, {columns}]"),
        };
        let &[&[1, a, b]] = shapes else { return Err((understood, None)) };
        // Boxes are always many more than classes, so the shorter axis is theirs.
        let classes = || a.min(b).checked_sub(scores_from).filter(|&classes| classes > 0);
        let (rows, transposed) = match spec {
            HeadSpec::Yolov8 { .. } if a == columns => (b, true),
            _ if b == columns => (a, false),
            _ => return Err((understood, classes())),
        };
        if rows == 0 || (!cells.is_empty() && cells.len() != rows) {
            return Err((understood, None));
        }
        let side = [input.width as f32, input.height as f32];
        Ok(Self { rows, columns, transposed, objectness, activation, cells, side })
    }

    fn table<'a>(&self, data: &'a [f32]) -> Table<'a> {
        Table { data, rows: self.rows, columns: self.columns, transposed: self.transposed }
    }

    pub(super) fn decode(&self, data: &[f32], min_score: f32) -> Vec<Candidate> {
        let table = self.table(data);
        let scores_from = BOX + usize::from(self.objectness);
        let best = table.greatest(scores_from).into_iter().enumerate();
        let probable = best.filter_map(|(row, (class, value))| {
            let mut score = self.activation.apply(value);
            if self.objectness {
                score *= self.activation.apply(table.at(row, BOX));
            }
            // Most rows end here; a score that is not a number does, too.
            (score >= min_score).then_some((row, class, score))
        });
        let candidates = probable.filter_map(|(row, class, score)| {
            let numbers = [0, 1, 2, 3].map(|column| table.at(row, column));
            Candidate::centred(class, score, min_score, self.in_pixels(row, numbers))
        });
        candidates.collect()
    }

    /// Why the numbers cannot be what they are read as; `None`: nothing speaks against it.
    pub(super) fn doubt(&self, data: &[f32]) -> Option<String> {
        let table = self.table(data);
        if self.looks_chosen(&table) {
            return Some(format!("its output [1, {}, {}] holds {CHOSEN}", self.rows, self.columns));
        }
        let is_corners = |row| table.at(row, 0) <= table.at(row, 2) && table.at(row, 1) <= table.at(row, 3);
        if self.cells.is_empty() && self.rows >= meaning::MANY && (0..self.rows).all(is_corners) {
            return Some(
                "its boxes are two corners, not a centre and a size; export it with centres and sizes".to_owned(),
            );
        }
        let best = table.greatest(BOX + usize::from(self.objectness)).into_iter().enumerate();
        let rows: Vec<Row> = best
            .map(|(row, (_, raw))| {
                let [x, y, w, h] = self.in_pixels(row, [0, 1, 2, 3].map(|column| table.at(row, column)));
                let objectness = if self.objectness { self.activation.apply(table.at(row, BOX)) } else { 1.0 };
                let corners = [x - w / 2.0, y - h / 2.0, x + w / 2.0, y + h / 2.0];
                Row { corners, raw, score: self.activation.apply(raw) * objectness }
            })
            .collect();
        let form = if self.cells.is_empty() { "undecoded (kind = \"yolox\")" } else { "decoded (kind = \"yolov5\")" };
        meaning::rows(&rows, self.activation, self.side)
            .map(|doubt| if self.objectness { format!("{doubt}; or are its boxes {form}?") } else { doubt })
    }

    /// Whether every row is two corners, a score and a whole number, the best first.
    fn looks_chosen(&self, table: &Table<'_>) -> bool {
        let is_chosen = |row| {
            let [x0, y0, x1, y1, score, class] = [0, 1, 2, 3, 4, 5].map(|column| table.at(row, column));
            x0 <= x1 && y0 <= y1 && meaning::is_score(score) && class.fract() == 0.0
        };
        let is_sorted = |row| row == 0 || table.at(row, 4) <= table.at(row - 1, 4);
        self.columns == end2end::COLUMNS
            && !self.transposed
            && self.rows >= MANY_CHOSEN
            && (0..self.rows).all(|row| is_chosen(row) && is_sorted(row))
    }

    fn in_pixels(&self, row: usize, [x, y, w, h]: [f32; 4]) -> [f32; 4] {
        match self.cells.get(row) {
            Some([column, line, stride]) => {
                [(x + column) * stride, (y + line) * stride, w.exp() * stride, h.exp() * stride]
            }
            None => [x, y, w, h],
        }
    }
}

/// The cells of all grids, line by line, grid after grid.
fn cells(input: &InputSpec, strides: &[u32]) -> Vec<[f32; 3]> {
    let mut cells = Vec::new();
    for &stride in strides {
        for line in 0..input.height / stride.max(1) {
            for column in 0..input.width / stride.max(1) {
                cells.push([column as f32, line as f32, stride as f32]);
            }
        }
    }
    cells
}
