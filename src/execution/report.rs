//! What the steps of an execution did, and why there is no result.

use serde::{Deserialize, Serialize};

/// Longest reason in a list, bytes.
const LONGEST_REASON: usize = 500;

/// What one step did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// The step.
    pub step: String,
    /// How often its block ran: once for each item of a list.
    pub runs: u32,
    /// How long that took in all, milliseconds.
    pub took_ms: f64,
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The kind of reason.
    pub reason: FailureReason,
    /// The step at which it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// What happened, and what to do.
    pub message: String,
}

impl Failure {
    /// The same with a message that fits into a list.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        if self.message.len() > LONGEST_REASON {
            let end = self.message.floor_char_boundary(LONGEST_REASON);
            self.message.truncate(end);
            self.message.push_str("...");
        }
        self
    }
}

/// Kinds of reasons why there is no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// A picture cannot be decoded.
    Picture,
    /// The pipeline cannot be run on this box as it is: a model is missing.
    Pipeline,
    /// A model failed.
    Model,
    /// A step failed.
    Step,
    /// It took too long.
    TooSlow,
    /// It needs too much: more pixels, or more items of lists, than are allowed.
    TooLarge,
    /// The process ended while it ran, again and again.
    Crashed,
    /// The disk or the index failed.
    Storage,
}

impl FailureReason {
    /// Its written form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Picture => "picture",
            Self::Pipeline => "pipeline",
            Self::Model => "model",
            Self::Step => "step",
            Self::TooSlow => "too_slow",
            Self::TooLarge => "too_large",
            Self::Crashed => "crashed",
            Self::Storage => "storage",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let failure = Failure { reason: FailureReason::Step, step: None, message: "é".repeat(600) };
        let short = failure.clone().shortened();
        assert!(short.message.len() <= LONGEST_REASON + 3 && short.message.ends_with("é..."), "{}", short.message);
        let fits = Failure { message: "é".to_owned(), ..failure };
        assert_eq!(fits.clone().shortened(), fits);
    }

    #[test]
    fn reasons_are_written_as_they_are_named() {
        for reason in [FailureReason::Picture, FailureReason::TooSlow, FailureReason::Crashed] {
            let written = serde_json::to_string(&reason).expect("JSON");
            assert_eq!(written, format!("{:?}", reason.as_str()));
        }
    }
}
