//! Whether numbers can mean what they are read as.
//!
//! Shapes are not enough: a score looks like half a box to another head. The numbers that a model gives for a
//! photograph are, since boxes and scores are unlike. The rules say nothing about what is in the picture: a model
//! that looks for fire finds none in it, and still gives thousands of boxes of plausible sizes with scores near 0.

use super::Activation;

/// With fewer rows a single odd one weighs too much.
pub(super) const MANY: usize = 100;
/// Scores of quantised models lie a little beside 0 and 1.
const SLACK: f32 = 0.05;
/// A score from which on a box is believed.
pub(super) const BELIEVED: f32 = 0.5;
/// Boxes of models that count in shares lie a little outside of the picture at most.
const SHARES: f32 = 2.0;
/// Inputs of fewer pixels a side may have boxes as small as shares.
const LARGE_SIDE: f32 = 32.0;

/// What a head reads from one row, whatever the score.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// Left, top, right, bottom in input pixels.
    pub corners: [f32; 4],
    /// The greatest class score as the model gives it.
    pub raw: f32,
    /// From 0 to 1.
    pub score: f32,
}

/// Whether this may be a score from 0 to 1.
pub(super) fn is_score(value: f32) -> bool {
    (-SLACK..=1.0 + SLACK).contains(&value)
}

/// Why rows that hold everything that a model gives cannot be right; `None`: nothing speaks against them.
pub(super) fn rows(rows: &[Row], activation: Activation, side: [f32; 2]) -> Option<String> {
    let raw = || rows.iter().map(|row| row.raw).filter(|raw| raw.is_finite());
    match activation {
        Activation::None => {
            if let Some(value) = raw().find(|value| !is_score(*value)) {
                return Some(format!(
                    "{value} is among its scores, which should be 0 to 1; if they are logits, say activation = \
                     \"sigmoid\""
                ));
            }
        }
        Activation::Sigmoid | Activation::Softmax if rows.len() >= MANY && raw().all(is_score) => {
            return Some("all of its scores are 0 to 1 already; leave out activation".to_owned());
        }
        Activation::Sigmoid | Activation::Softmax => {}
    }
    let believed = rows.iter().filter(|row| row.score >= BELIEVED).count();
    if rows.len() >= MANY && believed > rows.len() / 2 {
        return Some(format!("it believes in {believed} of its {} boxes; check [head]", rows.len()));
    }
    boxes(&rows.iter().map(|row| row.corners).collect::<Vec<_>>(), side)
}

/// Why these cannot be boxes in input pixels.
pub(super) fn boxes(boxes: &[[f32; 4]], [width, height]: [f32; 2]) -> Option<String> {
    if boxes.len() < MANY {
        return None;
    }
    let most =
        |what: &dyn Fn(&[f32; 4]) -> bool| boxes.iter().filter(|corners| what(corners)).count() * 2 > boxes.len();
    if most(&|corners| !corners.iter().all(|value| value.is_finite())) {
        return Some("most of its boxes are not finite numbers".to_owned());
    }
    if most(&|[x0, y0, x1, y1]| x1 <= x0 || y1 <= y0) {
        return Some("most of its boxes have no area".to_owned());
    }
    let is_outside = |low: f32, high: f32, side: f32| !(-side..=2.0 * side).contains(&f32::midpoint(low, high));
    if most(&|&[x0, y0, x1, y1]| is_outside(x0, x1, width) || is_outside(y0, y1, height)) {
        return Some("most of its boxes lie far outside of the picture".to_owned());
    }
    let are_shares = boxes.iter().flatten().all(|value| value.abs() <= SHARES);
    if are_shares && width.min(height) >= LARGE_SIDE {
        return Some("its boxes are smaller than two pixels, as if they were shares of the picture".to_owned());
    }
    None
}
