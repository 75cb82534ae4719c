//! NanoDet and PicoDet: for each side of a box the distribution of its distance from a cell ("distribution focal loss").

use super::meaning::{self, Row};
use super::table::Table;
use super::{Activation, Candidate, Unfit};
use crate::infer::engine::Output;
use crate::infer::input::InputSpec;

/// Sides of a box: left, top, right, bottom.
const SIDES: usize = 4;

/// Where the rows of the outputs lie in the picture.
pub(super) struct Grid<'a> {
    /// Column, row and stride of each cell.
    pub(super) cells: Vec<[f32; 3]>,
    pub(super) strides: &'a [u32],
    /// Where in a cell distances begin, in cells.
    pub(super) offset: f32,
}

/// A fitted head.
#[derive(Debug)]
pub(crate) struct Distribution {
    parts: Vec<Part>,
    cells: Vec<[f32; 3]>,
    offset: f32,
    labels: usize,
    /// Bins of a side's distribution; 1 where boxes are two corners in input pixels already.
    bins: usize,
    activation: Activation,
    side: [f32; 2],
}

/// Scores and sides of some cells that follow each other.
#[derive(Debug)]
struct Part {
    first: usize,
    rows: usize,
    scores: Columns,
    sides: Columns,
}

/// Some columns of an output.
#[derive(Clone, Copy, Debug)]
struct Columns {
    output: usize,
    /// Of the whole output.
    columns: usize,
    from: usize,
    transposed: bool,
}

impl Columns {
    fn table<'a>(&self, outputs: &'a [Output], rows: usize) -> Table<'a> {
        let data = outputs.get(self.output).map_or(&[][..], |output| &output.data);
        Table { data, rows, columns: self.columns, transposed: self.transposed }
    }
}

impl Distribution {
    /// The error is what would be understood, and how many classes the output seems to have.
    pub(super) fn fit(
        grid: Grid<'_>,
        activation: Activation,
        input: &InputSpec,
        labels: usize,
        shapes: &[&[usize]],
    ) -> Result<Self, Unfit> {
        let Grid { cells, strides, offset } = grid;
        let all = cells.len();
        let understood = || {
            let text = format!(
                "one output [1, {all}, {labels}+4*B] with B bins, scores [1, {all}, {labels}] + sides [1, {all}, 4*B], \
                 or these for each of the strides {strides:?}"
            );
            (text, None)
        };
        let has_all = shapes.iter().any(|shape| columns_of(shape, all).is_some());
        let groups: Vec<usize> = if has_all {
            vec![all]
        } else {
            strides.iter().map(|stride| cells.iter().filter(|cell| cell[2] == *stride as f32).count()).collect()
        };
        let (mut parts, mut first, mut used) = (Vec::new(), 0, 0);
        for rows in groups {
            let (part, outputs) = fit_part(first, rows, labels, shapes).ok_or_else(understood)?;
            parts.push(part);
            first += rows;
            used += outputs;
        }
        let bins = |part: &Part| (part.sides.columns - part.sides.from) / SIDES;
        let of_first = parts.first().map_or(0, bins);
        if used != shapes.len() || of_first == 0 || parts.iter().any(|part| bins(part) != of_first) {
            return Err(understood());
        }
        let side = [input.width as f32, input.height as f32];
        Ok(Self { parts, cells, offset, labels, bins: of_first, activation, side })
    }

    pub(super) fn decode(&self, outputs: &[Output], min_score: f32) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for part in &self.parts {
            let (scores, sides) = (part.scores.table(outputs, part.rows), part.sides.table(outputs, part.rows));
            for (row, (class, value)) in scores.greatest(part.scores.from, self.labels).into_iter().enumerate() {
                let score = self.activation.apply(value);
                if score >= min_score {
                    let corners = self.corners(part, &sides, row);
                    candidates.extend(Candidate::new(class, score, min_score, corners));
                }
            }
        }
        candidates
    }

    /// Why the numbers cannot be what they are read as; `None`: nothing speaks against it.
    pub(super) fn doubt(&self, outputs: &[Output]) -> Option<String> {
        let mut rows = Vec::new();
        for part in &self.parts {
            let (scores, sides) = (part.scores.table(outputs, part.rows), part.sides.table(outputs, part.rows));
            let best = scores.greatest(part.scores.from, self.labels).into_iter().enumerate();
            rows.extend(best.map(|(row, (_, raw))| Row {
                corners: self.corners(part, &sides, row),
                raw,
                score: self.activation.apply(raw),
            }));
        }
        meaning::rows(&rows, self.activation, self.side)
    }

    fn corners(&self, part: &Part, sides: &Table<'_>, row: usize) -> [f32; 4] {
        let from = part.sides.from;
        if self.bins == 1 {
            return [0, 1, 2, 3].map(|side| sides.at(row, from + side));
        }
        let Some([column, line, stride]) = self.cells.get(part.first + row) else { return [f32::NAN; SIDES] };
        let bins = |side: usize| {
            let first = from + side * self.bins;
            (first..first + self.bins).map(|column| sides.at(row, column)).collect::<Vec<f32>>()
        };
        let [left, top, right, bottom] = [0, 1, 2, 3].map(|side| expected(&bins(side)) * stride);
        let (x, y) = ((column + self.offset) * stride, (line + self.offset) * stride);
        [x - left, y - top, x + right, y + bottom]
    }
}

/// The mean of a distribution over 0, 1, 2 and so on that is given by its logits; not a number where one of these is none.
fn expected(logits: &[f32]) -> f32 {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (mut sum, mut weighted) = (0.0, 0.0);
    for (bin, logit) in logits.iter().enumerate() {
        let power = (logit - greatest).exp();
        sum += power;
        weighted += power * bin as f32;
    }
    weighted / sum
}

/// How many columns an output has for `rows` cells, and whether it is transposed.
fn columns_of(shape: &[usize], rows: usize) -> Option<(usize, bool)> {
    match *shape {
        [1, a, columns] if a == rows => Some((columns, false)),
        [1, columns, b] if b == rows => Some((columns, true)),
        [1, columns, height, width] if height * width == rows => Some((columns, true)),
        _ => None,
    }
}

/// The outputs for `rows` cells: one that holds both, or one for scores and one for sides; and how many these are.
fn fit_part(first: usize, rows: usize, labels: usize, shapes: &[&[usize]]) -> Option<(Part, usize)> {
    let of_shape = |(output, shape): (usize, &&[usize])| {
        let (columns, transposed) = columns_of(shape, rows)?;
        Some(Columns { output, columns, from: 0, transposed })
    };
    let found: Vec<Columns> = shapes.iter().enumerate().filter_map(of_shape).collect();
    let are_sides = |columns: usize| columns >= SIDES && columns.is_multiple_of(SIDES);
    let (scores, sides) = match *found.as_slice() {
        [both] if both.columns > labels && are_sides(both.columns - labels) => (both, Columns { from: labels, ..both }),
        // Of two that look alike the first has the scores.
        [a, b] if a.columns == labels && are_sides(b.columns) => (a, b),
        [a, b] if b.columns == labels && are_sides(a.columns) => (b, a),
        _ => return None,
    };
    Some((Part { first, rows, scores, sides }, found.len()))
}
