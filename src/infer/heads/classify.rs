//! Classifiers: a score for each label, of the picture as a whole.

use super::meaning;
use super::{Activation, Candidate, Unfit};
use crate::infer::engine::Output;
use crate::infer::input::InputSpec;

/// Probabilities of all labels add up to 1 but for what rounding takes.
const SUM: std::ops::RangeInclusive<f32> = 0.98..=1.02;

/// A fitted classifier.
#[derive(Debug)]
pub(crate) struct Classify {
    activation: Activation,
    side: [f32; 2],
}

impl Classify {
    /// The error is what would be understood, and how many classes the output seems to have.
    pub(super) fn fit(
        activation: Activation,
        input: &InputSpec,
        labels: usize,
        shapes: &[&[usize]],
    ) -> Result<Self, Unfit> {
        let understood = || format!("one output [1, {labels}]");
        let [shape] = shapes else { return Err((understood(), None)) };
        let (longest, all) = (shape.iter().copied().max().unwrap_or(0), shape.iter().product::<usize>());
        if longest != all {
            return Err((understood(), None));
        }
        if all != labels {
            return Err((understood(), Some(all)));
        }
        Ok(Self { activation, side: [input.width as f32, input.height as f32] })
    }

    /// Each label with a score of at least `min_score`; its box is what the model was shown.
    pub(super) fn decode(&self, output: &Output, min_score: f32) -> Vec<Candidate> {
        let [width, height] = self.side;
        let scores = self.activation.scores(&output.data).into_iter().enumerate();
        scores.filter_map(|(class, score)| Candidate::new(class, score, min_score, [0.0, 0.0, width, height])).collect()
    }

    /// Why the numbers cannot be what they are read as; `None`: nothing speaks against it.
    pub(super) fn doubt(&self, output: &Output) -> Option<String> {
        let finite = || output.data.iter().copied().filter(|value| value.is_finite());
        if finite().next().is_none() {
            return Some("none of its scores is a finite number".to_owned());
        }
        match self.activation {
            Activation::None => finite().find(|value| !meaning::is_score(*value)).map(|value| {
                format!(
                    "{value} is among its scores, which should be 0 to 1; if they are logits, say activation = \
                     \"softmax\", or \"sigmoid\" where several labels may apply"
                )
            }),
            Activation::Sigmoid | Activation::Softmax => {
                let are_probabilities = finite().all(meaning::is_score) && SUM.contains(&finite().sum::<f32>());
                (are_probabilities && output.data.len() > 1)
                    .then(|| "its scores are probabilities already; leave out activation".to_owned())
            }
        }
    }
}
