//! Models that choose their boxes themselves: YOLOv10, YOLO26, PicoDet, and exports with NMS inside.

use super::meaning;
use super::{BoxUnits, Candidate, HeadSpec};
use crate::infer::engine::Output;
use crate::infer::input::InputSpec;

/// Left, top, right, bottom, score, class.
pub(super) const COLUMNS: usize = 6;

/// Scores below this belong to boxes that only fill the output up; their class may be anything.
const NO_SCORE: f32 = 0.001;

/// A fitted head. How many rows there are may depend on the picture.
#[derive(Debug)]
pub(crate) struct End2end {
    labels: usize,
    /// Pixels in one unit of a box, across and down.
    unit: [f32; 2],
    side: [f32; 2],
    /// Class and score stand before the corners, as PaddleDetection has them.
    class_first: bool,
}

impl End2end {
    /// The error is what would be understood.
    pub(super) fn fit(
        spec: &HeadSpec,
        input: &InputSpec,
        labels: usize,
        shapes: &[&[usize]],
    ) -> Result<Self, (String, Option<usize>)> {
        let (HeadSpec::End2end { units }, &[&[1, _, COLUMNS]]) = (spec, shapes) else {
            return Err((format!("one output [1, N, {COLUMNS}]"), None));
        };
        let side = [input.width as f32, input.height as f32];
        let unit = match units {
            BoxUnits::Unit => side,
            BoxUnits::Pixels => [1.0, 1.0],
        };
        Ok(Self { labels, unit, side, class_first: false })
    }

    /// PicoDet with NMS inside: rows `[N, 6]` of class, score and corners in pixels, and how many there are; `None` where
    /// the outputs are no such.
    pub(super) fn of_paddle(input: &InputSpec, labels: usize, shapes: &[&[usize]]) -> Option<Self> {
        let is_chosen = matches!(shapes, [[_, COLUMNS], ..] | [[1, _, COLUMNS], ..]);
        let is_count = matches!(shapes, [_] | [_, [] | [1]]);
        let side = [input.width as f32, input.height as f32];
        (is_chosen && is_count).then_some(Self { labels, unit: [1.0, 1.0], side, class_first: true })
    }

    /// The numbers of rows in the usual order: corners, score, class.
    fn rows<'a>(&self, output: &'a Output) -> impl Iterator<Item = [f32; COLUMNS]> + 'a {
        let class_first = self.class_first;
        output.data.as_chunks::<COLUMNS>().0.iter().map(move |row| match *row {
            [class, score, x0, y0, x1, y1] if class_first => [x0, y0, x1, y1, score, class],
            row => row,
        })
    }

    pub(super) fn decode(&self, output: &Output, min_score: f32) -> Vec<Candidate> {
        let candidates = self.rows(output).filter_map(|row| {
            let [.., score, class] = row;
            // Also false where it is not a number.
            let is_known = (0.0..self.labels as f32).contains(&class.round());
            is_known.then(|| Candidate::new(class.round() as usize, score, min_score, self.corners(&row))).flatten()
        });
        candidates.collect()
    }

    fn corners(&self, &[x0, y0, x1, y1, ..]: &[f32; COLUMNS]) -> [f32; 4] {
        let [across, down] = self.unit;
        [x0 * across, y0 * down, x1 * across, y1 * down]
    }

    /// Why the numbers cannot be what they are read as; `None`: nothing speaks against it.
    pub(super) fn doubt(&self, output: &Output) -> Option<String> {
        let rows: Vec<[f32; COLUMNS]> = self.rows(output).collect();
        // A row of class -1 says that there is nothing.
        let believed =
            || rows.iter().filter(|&&[.., score, class]| score > NO_SCORE && !(self.class_first && class < 0.0));
        let (score_column, class_column) = if self.class_first { ("second", "first") } else { ("fifth", "sixth") };
        let (kind, order) = match self.class_first {
            true => ("picodet", "class, score, two corners"),
            false => ("end2end", "two corners, score, class"),
        };
        let scores = || rows.iter().filter(|row| !self.class_first || row[5] >= 0.0).map(|&[.., score, _]| score);
        if let Some(score) = scores().find(|score| !meaning::is_score(*score)) {
            return Some(format!(
                "its {score_column} column holds {score}, which is no score from 0 to 1, so this is not what head {kind} \
                 reads ({order})"
            ));
        }
        for &[.., class] in believed() {
            if class.fract() != 0.0 || class < 0.0 {
                return Some(format!("its {class_column} column holds {class}, which is no class"));
            }
            if class >= self.labels as f32 {
                return Some(format!("it gives class {class}, but there are {} labels; check the labels", self.labels));
            }
        }
        let corners: Vec<[f32; 4]> = believed().map(|row| self.corners(row)).collect();
        meaning::boxes(&corners, self.side)
            .map(|doubt| format!("{doubt}; are its boxes in other units (units) or in another form?"))
    }

    /// Whether this is what it can read.
    pub(super) fn accepts(shape: &[usize]) -> bool {
        matches!(shape, [1, _, COLUMNS] | [_, COLUMNS])
    }
}
