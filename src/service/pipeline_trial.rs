//! What a pipeline would have done with what a camera recorded.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use crate::block::{Effect, Outcome, StepEffect};
use crate::execution::PipelineMode;
use crate::health::{RecentTimes, StepTimes, Times};

/// Alerts that are listed one by one.
const LISTED: usize = 200;
/// Without an alert for this long, what it was about is over: as it is for live cameras.
const QUIET_S: f64 = 10.0;

/// An alert that there would have been.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WouldAlert {
    /// When it would have begun.
    pub start: Timestamp,
    /// The step.
    pub step: String,
    /// What it would have said.
    pub message: String,
}

/// A number that the pipeline gives.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct NumberSpan {
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
    /// The mean over the pictures that had one.
    pub mean: f64,
    /// In how many pictures there was one.
    pub pictures: u64,
}

/// What a pipeline would have done.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PipelineTrial {
    /// Its name.
    pub name: String,
    /// The version that is tried.
    pub version: u32,
    /// Whether beside the camera's detection, or in its place.
    pub mode: PipelineMode,
    /// Pictures that it looked at.
    pub pictures: u64,
    /// Of these, such for which it gave nothing.
    pub failures: u64,
    /// Why, for the last of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Alerts that there would have been.
    pub alerts: u64,
    /// The first of them.
    pub found: Vec<WouldAlert>,
    /// Pictures whose result would have been kept, or put into the library; of these at most one a second is.
    pub kept: u64,
    /// In how many pictures there were objects of each label.
    pub labels: BTreeMap<String, u64>,
    /// The numbers that it gave, by output.
    pub numbers: BTreeMap<String, NumberSpan>,
    /// What a picture takes.
    pub took: Times,
    /// What each step takes.
    pub steps: Vec<StepTimes>,
}

/// Sums up what a pipeline does picture by picture.
#[derive(Debug, Default)]
pub struct PipelineTally {
    trial: PipelineTrial,
    took: RecentTimes,
    steps: Vec<(String, RecentTimes)>,
    /// When each step alerted last.
    alerted: BTreeMap<String, Timestamp>,
}

impl PipelineTally {
    /// For a version of a pipeline.
    pub fn new(name: &str, version: u32, mode: PipelineMode) -> Self {
        let trial = PipelineTrial { name: name.to_owned(), version, mode, ..PipelineTrial::default() };
        Self { trial, ..Self::default() }
    }

    /// A picture of the time `at` gave nothing.
    pub fn note_failure(&mut self, reason: String) {
        self.trial.pictures += 1;
        self.trial.failures += 1;
        self.trial.failure = Some(reason);
    }

    /// What a picture of the time `at` gave.
    pub fn note(&mut self, outcome: &Outcome, took: Duration, at: Timestamp) {
        self.trial.pictures += 1;
        self.took.note(took);
        for step in &outcome.steps {
            match self.steps.iter_mut().find(|(name, _)| *name == step.step) {
                Some((_, times)) => times.note(step.took),
                None => {
                    let mut times = RecentTimes::default();
                    times.note(step.took);
                    self.steps.push((step.step.clone(), times));
                }
            }
        }
        let labels: std::collections::BTreeSet<String> =
            outcome.objects().into_iter().flatten().map(|object| object.label.to_string()).collect();
        labels.into_iter().for_each(|label| *self.trial.labels.entry(label).or_default() += 1);
        for (output, value) in outcome.values() {
            if let Some(number) = value.as_f64() {
                self.note_number(output, number);
            }
        }
        let is_kept = |of: &StepEffect| of.effect.is_kept();
        self.trial.kept += u64::from(outcome.effects.iter().any(is_kept));
        for StepEffect { step, effect } in &outcome.effects {
            if let Effect::Alert { message, .. } = effect {
                self.note_alert(step, message, at);
            }
        }
    }

    fn note_number(&mut self, output: String, number: f64) {
        let first = NumberSpan { least: number, most: number, mean: number, pictures: 0 };
        let span = self.trial.numbers.entry(output).or_insert(first);
        span.pictures += 1;
        (span.least, span.most) = (span.least.min(number), span.most.max(number));
        span.mean += (number - span.mean) / span.pictures as f64;
    }

    fn note_alert(&mut self, step: &str, message: &str, at: Timestamp) {
        let last = self.alerted.insert(step.to_owned(), at);
        if last.is_some_and(|last| at.duration_since(last).as_secs_f64() < QUIET_S) {
            return;
        }
        self.trial.alerts += 1;
        if self.trial.found.len() < LISTED {
            let (step, message) = (step.to_owned(), message.to_owned());
            self.trial.found.push(WouldAlert { start: at, step, message });
        }
    }

    /// What it would have done so far.
    pub fn trial(&self) -> PipelineTrial {
        let steps = self.steps.iter().map(|(step, times)| StepTimes { step: step.clone(), took: times.times() });
        PipelineTrial { took: self.took.times(), steps: steps.collect(), ..self.trial.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{Item, Value};

    #[test]
    fn what_alerts_again_soon_is_one_alert_and_numbers_have_their_span() {
        let mut tally = PipelineTally::new("people", 2, PipelineMode::Beside);
        let at = |second: i64| Timestamp::from_second(second).expect("a time");
        for (second, number) in [(0, 1.0), (5, 4.0), (14, 1.0), (30, 2.0)] {
            let effect = Effect::Alert { message: format!("{number} people"), picture: None };
            let effects = vec![StepEffect { step: "alert".to_owned(), effect }];
            let outputs = BTreeMap::from([("people".to_owned(), Item::One(Value::Number(number)))]);
            let outcome = Outcome { outputs, effects, ..Outcome::default() };
            tally.note(&outcome, Duration::from_millis(10), at(second));
        }
        tally.note_failure("no model".to_owned());
        let trial = tally.trial();
        assert_eq!((trial.pictures, trial.failures, trial.alerts), (5, 1, 2));
        assert_eq!(trial.found.iter().map(|alert| alert.start).collect::<Vec<_>>(), [at(0), at(30)]);
        assert_eq!(trial.numbers["people"], NumberSpan { least: 1.0, most: 4.0, mean: 2.0, pictures: 4 });
        assert_eq!((trial.took.p50_ms, trial.kept), (10.0, 0));
    }
}
