//! SSD and its kin: boxes and scores in tensors of their own.

use super::meaning::{self, Row};
use super::table::Table;
use super::{Activation, BoxOrder, BoxUnits, Candidate, HeadSpec};
use crate::infer::engine::Output;
use crate::infer::input::InputSpec;

/// A fitted SSD head. The numbers in [`Layout`] are indices of outputs.
#[derive(Debug)]
pub(crate) struct Ssd {
    layout: Layout,
    rows: usize,
    labels: usize,
    activation: Activation,
    order: BoxOrder,
    /// Pixels in one unit of a box, across and down.
    unit: [f32; 2],
    background: bool,
    /// Of the input, pixels.
    side: [f32; 2],
}

#[derive(Debug)]
enum Layout {
    /// A score for every box and class.
    Raw { boxes: usize, scores: usize, columns: usize },
    /// The model has chosen already: a class and a score for every box, and how many boxes count.
    Chosen { boxes: usize, classes: usize, scores: usize, count: usize },
}

impl Ssd {
    /// The error is what would be understood, and how many classes the output seems to have.
    pub(super) fn fit(
        spec: &HeadSpec,
        input: &InputSpec,
        labels: usize,
        names: &[&str],
        shapes: &[&[usize]],
    ) -> Result<Self, (String, Option<usize>)> {
        let HeadSpec::Ssd { activation, order, units, background, .. } = *spec else {
            return Err(("boxes and scores".to_owned(), None));
        };
        let columns = labels + usize::from(background);
        let fitted = match shapes.len() {
            4 => fit_chosen(names, shapes).ok_or(None),
            _ => fit_raw(columns, shapes),
        };
        let (layout, rows) = fitted.map_err(|found| {
            let with = if background { " (the background and the labels)" } else { "" };
            let understood = format!(
                "two outputs [1, N, 4] + [1, N, {columns}]{with} or four: \
                 boxes [1, N, 4], classes [1, N], scores [1, N], count [1]"
            );
            (understood, found.map(|found| found.saturating_sub(usize::from(background))))
        })?;
        let default_order = match layout {
            Layout::Raw { .. } => BoxOrder::Xyxy,
            Layout::Chosen { .. } => BoxOrder::Yxyx,
        };
        let side = [input.width as f32, input.height as f32];
        let unit = match units {
            BoxUnits::Unit => side,
            BoxUnits::Pixels => [1.0, 1.0],
        };
        Ok(Self { layout, rows, labels, activation, order: order.unwrap_or(default_order), unit, background, side })
    }

    pub(super) fn decode(&self, outputs: &[Output], min_score: f32) -> Vec<Candidate> {
        let data = |at: usize| outputs.get(at).map_or(&[][..], |output| &output.data);
        match self.layout {
            Layout::Raw { boxes, scores, columns } => self.decode_raw(data(boxes), data(scores), columns, min_score),
            Layout::Chosen { boxes, classes, scores, count } => {
                let count = self.counted(data(count));
                let chosen = data(boxes).chunks_exact(4).zip(data(classes)).zip(data(scores)).take(count);
                let candidates = chosen.filter_map(|((corners, &class), &score)| {
                    let class = class - f32::from(u8::from(self.background));
                    // Also false where it is not a number.
                    let known = (0.0..self.labels as f32).contains(&class.round());
                    let corners = self.in_pixels(corners)?;
                    let score = self.activation.apply(score);
                    known.then(|| Candidate::new(class.round() as usize, score, min_score, corners)).flatten()
                });
                candidates.collect()
            }
        }
    }

    /// How many rows count. A number that is none, or too great, means all.
    fn counted(&self, count: &[f32]) -> usize {
        let count = count.first().copied().filter(|n| (0.0..=self.rows as f32).contains(n));
        count.map_or(self.rows, |n| n as usize)
    }

    /// Classes and scores are alike by their shapes. The rows beyond the count may hold anything.
    fn doubt_chosen(&self, classes: &[f32], scores: &[f32], count: &[f32]) -> Option<String> {
        let pairs = || classes.iter().zip(scores).take(self.counted(count));
        let is_sound = |class: f32, score: f32| class.fract() == 0.0 && meaning::is_score(self.activation.apply(score));
        if let Some((class, score)) = pairs().find(|&(&class, &score)| !is_sound(class, score)) {
            return Some(format!(
                "it gives class {class} with score {score}; are classes and scores the other way round? Then name them: \
                 outputs = [boxes, classes, scores, count]"
            ));
        }
        let first = f32::from(u8::from(self.background));
        let known = first..first + self.labels as f32;
        let mut believed = pairs().filter(|(_, score)| self.activation.apply(**score) >= meaning::BELIEVED);
        believed.find(|(class, _)| !known.contains(*class)).map(|(class, _)| {
            format!(
                "it gives class {class}, but the {} labels begin with {first}; check the labels, and background",
                self.labels
            )
        })
    }

    /// Why the numbers cannot be what they are read as; `None`: nothing speaks against it.
    pub(super) fn doubt(&self, outputs: &[Output]) -> Option<String> {
        let data = |at: usize| outputs.get(at).map_or(&[][..], |output| &output.data);
        let (boxes, scores): (_, Vec<f32>) = match self.layout {
            Layout::Raw { boxes, scores, columns } => {
                let table = Table { data: data(scores), rows: self.rows, columns, transposed: false };
                (
                    data(boxes),
                    table.greatest(usize::from(self.background), self.labels).into_iter().map(|(_, raw)| raw).collect(),
                )
            }
            Layout::Chosen { classes, scores, count, .. } => {
                return self.doubt_chosen(data(classes), data(scores), data(count));
            }
        };
        let row = |(corners, raw): (&[f32], f32)| {
            let corners = self.in_pixels(corners)?;
            Some(Row { corners, raw, score: self.activation.apply(raw) })
        };
        let rows: Vec<Row> = boxes.chunks_exact(4).zip(scores).filter_map(row).collect();
        meaning::rows(&rows, self.activation, self.side)
            .map(|doubt| format!("{doubt}; check units and order of the boxes, and background"))
    }

    fn decode_raw(&self, boxes: &[f32], scores: &[f32], columns: usize, min_score: f32) -> Vec<Candidate> {
        let table = Table { data: scores, rows: self.rows, columns, transposed: false };
        let best = table.greatest(usize::from(self.background), self.labels);
        let candidates = best.into_iter().zip(boxes.chunks_exact(4)).filter_map(|((class, value), corners)| {
            Candidate::new(class, self.activation.apply(value), min_score, self.in_pixels(corners)?)
        });
        candidates.collect()
    }

    fn in_pixels(&self, corners: &[f32]) -> Option<[f32; 4]> {
        let &[a, b, c, d] = corners else { return None };
        let [x0, y0, x1, y1] = match self.order {
            BoxOrder::Xyxy => [a, b, c, d],
            BoxOrder::Yxyx => [b, a, d, c],
        };
        let [across, down] = self.unit;
        Some([x0 * across, y0 * down, x1 * across, y1 * down])
    }
}

/// The error is the number of columns that the scores have instead, where that is known.
fn fit_raw(columns: usize, shapes: &[&[usize]]) -> Result<(Layout, usize), Option<usize>> {
    let &[&[1, n, a], &[1, m, b]] = shapes else { return Err(None) };
    if n != m || n == 0 {
        return Err(None);
    }
    match (a, b) {
        (4, b) if b == columns => Ok((Layout::Raw { boxes: 0, scores: 1, columns }, n)),
        (a, 4) if a == columns => Ok((Layout::Raw { boxes: 1, scores: 0, columns }, n)),
        (4, other) | (other, 4) => Err(Some(other)),
        _ => Err(None),
    }
}

/// Boxes and count are recognised by their shapes; classes and scores look alike, so names decide, and where
/// they do not, TensorFlow's order.
fn fit_chosen(names: &[&str], shapes: &[&[usize]]) -> Option<(Layout, usize)> {
    let at = |wanted: &dyn Fn(&[usize]) -> bool| shapes.iter().position(|shape| wanted(shape));
    let boxes = at(&|shape| matches!(shape, [1, n, 4] if *n > 0))?;
    let rows = *shapes.get(boxes)?.get(1)?;
    let count = at(&|shape| matches!(shape, [] | [1]))?;
    let mut alike = (0..shapes.len()).filter(|&i| i != boxes && i != count && shapes.get(i) == Some(&&[1, rows][..]));
    let (first, second) = (alike.next()?, alike.next()?);
    let is_scores = |i: usize| names.get(i).is_some_and(|name| name.to_lowercase().contains("score"));
    let (classes, scores) = if is_scores(first) { (second, first) } else { (first, second) };
    Some((Layout::Chosen { boxes, classes, scores, count }, rows))
}
