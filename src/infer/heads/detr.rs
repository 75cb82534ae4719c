//! DETR and its kin: a fixed number of boxes, of which no two are meant for one thing.

use super::meaning::{self, Row};
use super::{Activation, BoxUnits, Candidate, Unfit, corners_of};
use crate::infer::engine::Output;
use crate::infer::input::InputSpec;

/// Columns of a box.
const BOX: usize = 4;

/// A fitted head.
#[derive(Debug)]
pub(crate) struct Detr {
    layout: Layout,
    labels: usize,
    activation: Activation,
    /// Pixels in one unit of a box, across and down.
    unit: [f32; 2],
    side: [f32; 2],
}

/// Which output is what. Boxes are centre and size, chosen ones two corners.
#[derive(Debug)]
enum Layout {
    /// A score for every box and class, in `columns` numbers from `from` on; of `stride` numbers a box has the first 4.
    Scores { boxes: usize, stride: usize, scores: usize, row: usize, from: usize, columns: usize },
    /// The model has chosen a label for every box already.
    Labels { labels: usize, boxes: usize, scores: usize },
}

impl Detr {
    /// The error is what would be understood, and how many classes the output seems to have.
    pub(super) fn fit(
        activation: Activation,
        units: Option<BoxUnits>,
        input: &InputSpec,
        labels: usize,
        names: &[&str],
        shapes: &[&[usize]],
    ) -> Result<Self, Unfit> {
        // No thing at all is a class as well where exactly one class applies.
        let columns = labels + usize::from(activation == Activation::Softmax);
        let layout = fit_layout(columns, names, shapes).map_err(|found| {
            let understood = format!(
                "scores [1, N, {columns}] + boxes [1, N, 4], one output [1, N, {}], or labels [1, N] + boxes [1, N, 4] \
                 + scores [1, N]",
                BOX + columns
            );
            (understood, found.map(|found| found.saturating_sub(columns - labels)))
        })?;
        let usual = if matches!(layout, Layout::Labels { .. }) { BoxUnits::Pixels } else { BoxUnits::Unit };
        let side = [input.width as f32, input.height as f32];
        let unit = match units.unwrap_or(usual) {
            BoxUnits::Unit => side,
            BoxUnits::Pixels => [1.0, 1.0],
        };
        Ok(Self { layout, labels, activation, unit, side })
    }

    pub(super) fn decode(&self, outputs: &[Output], min_score: f32) -> Vec<Candidate> {
        let rows = self.rows(outputs).into_iter();
        rows.filter_map(|(class, row)| Candidate::new(class?, row.score, min_score, row.corners)).collect()
    }

    /// Why the numbers cannot be what they are read as; `None`: nothing speaks against it.
    pub(super) fn doubt(&self, outputs: &[Output]) -> Option<String> {
        if let Layout::Labels { labels, scores, .. } = self.layout {
            let data = |at: usize| outputs.get(at).map_or(&[][..], |output| &output.data);
            let is_sound = |label: f32, score: f32| label.fract() == 0.0 && meaning::is_score(score);
            let wrong = data(labels).iter().zip(data(scores)).find(|&(&label, &score)| !is_sound(label, score));
            if let Some((label, score)) = wrong {
                return Some(format!(
                    "it gives label {label} with score {score}; are labels and scores the other way round? Then name \
                     them: outputs = [labels, boxes, scores]"
                ));
            }
            let mut chosen = data(labels).iter().zip(data(scores)).filter(|(_, score)| **score >= meaning::BELIEVED);
            if let Some((label, _)) = chosen.find(|(label, _)| !(0.0..self.labels as f32).contains(*label)) {
                return Some(format!("it gives label {label}, but there are {} labels; check the labels", self.labels));
            }
        }
        let rows: Vec<Row> = self.rows(outputs).into_iter().map(|(_, row)| row).collect();
        let activation = if matches!(self.layout, Layout::Labels { .. }) { Activation::None } else { self.activation };
        meaning::rows(&rows, activation, self.side).map(|doubt| format!("{doubt}; check activation and units"))
    }

    /// Each box with its best label; `None` for one that has no label.
    fn rows(&self, outputs: &[Output]) -> Vec<(Option<usize>, Row)> {
        let data = |at: usize| outputs.get(at).map_or(&[][..], |output| &output.data);
        let [across, down] = self.unit;
        let in_pixels = |[a, b, c, d]: [f32; 4]| [a * across, b * down, c * across, d * down];
        match self.layout {
            Layout::Labels { labels, boxes, scores } => {
                let of_boxes = data(boxes).as_chunks::<BOX>().0.iter().zip(data(labels)).zip(data(scores));
                let row = |((corners, &label), &score): ((&[f32; 4], &f32), &f32)| {
                    // Also false where it is not a number.
                    let is_known = (0.0..self.labels as f32).contains(&label);
                    (is_known.then_some(label as usize), Row { corners: in_pixels(*corners), raw: score, score })
                };
                of_boxes.map(row).collect()
            }
            Layout::Scores { boxes, stride, scores, row, from, columns } => {
                let of_boxes = data(boxes).chunks_exact(stride).zip(data(scores).chunks_exact(row));
                let read = |(place, numbers): (&[f32], &[f32])| {
                    let numbers = numbers.get(from..from + columns).unwrap_or_default();
                    let of_labels = self.activation.scores(numbers).into_iter().take(self.labels).enumerate();
                    let (class, score) = of_labels.max_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap_or((0, 0.0));
                    let place = place.first_chunk().copied().unwrap_or([f32::NAN; BOX]);
                    let raw = numbers.get(class).copied().unwrap_or(f32::NAN);
                    (Some(class), Row { corners: in_pixels(corners_of(place)), raw, score })
                };
                of_boxes.map(read).collect()
            }
        }
    }
}

/// The error is the number of columns that the scores have instead, where that is known.
fn fit_layout(columns: usize, names: &[&str], shapes: &[&[usize]]) -> Result<Layout, Option<usize>> {
    let is_named = |at: usize, part: &str| names.get(at).is_some_and(|name| name.to_lowercase().contains(part));
    match *shapes {
        [&[1, n, all]] if n > 0 && all == BOX + columns => {
            Ok(Layout::Scores { boxes: 0, stride: all, scores: 0, row: all, from: BOX, columns })
        }
        [&[1, _, all]] => Err(all.checked_sub(BOX)),
        [&[1, n, a], &[1, m, b]] if n == m && n > 0 => {
            let boxes_first = match (a, b) {
                (BOX, BOX) => is_named(0, "box") || is_named(0, "det"),
                (BOX, _) => true,
                (_, BOX) => false,
                _ => return Err(None),
            };
            let (boxes, scores, found) = if boxes_first { (0, 1, b) } else { (1, 0, a) };
            if found != columns {
                return Err(Some(found));
            }
            Ok(Layout::Scores { boxes, stride: BOX, scores, row: columns, from: 0, columns })
        }
        [_, _, _] => {
            let boxes = shapes.iter().position(|shape| matches!(shape, [1, n, BOX] if *n > 0)).ok_or(None)?;
            let rows = shapes.get(boxes).and_then(|shape| shape.get(1)).copied().unwrap_or(0);
            let mut alike = (0..shapes.len()).filter(|&at| shapes.get(at) == Some(&&[1, rows][..]));
            let (Some(first), Some(second)) = (alike.next(), alike.next()) else { return Err(None) };
            let (labels, scores) = if is_named(first, "score") { (second, first) } else { (first, second) };
            Ok(Layout::Labels { labels, boxes, scores })
        }
        _ => Err(None),
    }
}
