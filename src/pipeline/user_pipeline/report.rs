//! What is said of a camera's pipeline: how fast it is, and what it gives.

use std::collections::VecDeque;
use std::time::Duration;

use crate::block::Outcome;
use crate::clock::Mono;
use crate::execution::CameraPipeline;
use crate::health::{PipelineHealth, RecentTimes, StepTimes};

/// Pictures that the rate is taken of.
const RATE_OF: usize = 120;

/// What the pipeline of a camera does, as it is said.
#[derive(Debug)]
pub(super) struct Report {
    shown: PipelineHealth,
    latency: RecentTimes,
    took: RecentTimes,
    steps: Vec<(String, RecentTimes)>,
    /// When the last pictures were looked at.
    looked: VecDeque<Mono>,
    /// Why results are not kept.
    not_keeping: Option<String>,
}

impl Report {
    pub(super) fn new(asked: &CameraPipeline) -> Self {
        let shown = PipelineHealth { name: asked.name.clone(), mode: asked.mode.as_str(), ..PipelineHealth::default() };
        let (latency, took, steps, looked) =
            (RecentTimes::default(), RecentTimes::default(), Vec::new(), VecDeque::new());
        Self { shown, latency, took, steps, looked, not_keeping: None }
    }

    /// Another version runs from now on; none: there is none that could.
    pub(super) fn begin(&mut self, version: Option<u32>) {
        self.shown.version = version;
        self.shown.values.clear();
        (self.latency, self.took, self.steps) = (RecentTimes::default(), RecentTimes::default(), Vec::new());
    }

    /// Newer pictures took the place of so many.
    pub(super) fn note_replaced(&mut self, count: u64) {
        self.shown.replaced += count;
    }

    /// A result was not kept, so soon after another.
    pub(super) fn note_not_kept(&mut self) {
        self.shown.not_kept += 1;
    }

    /// Whether results can be kept. Gives why not, where that was not known.
    pub(super) fn note_kept(&mut self, kept: Result<(), String>) -> Option<&str> {
        let failure = kept.err().map(|reason| format!("a result could not be kept: {reason}"));
        let is_new = failure.is_some() && failure != self.not_keeping;
        self.not_keeping = failure;
        self.not_keeping.as_deref().filter(|_| is_new)
    }

    /// Names of the values that it gave.
    pub(super) fn outputs(&self) -> impl Iterator<Item = &str> {
        self.shown.values.keys().map(String::as_str)
    }

    /// A picture that was taken at `at` is through, at `now`.
    pub(super) fn note_run(&mut self, outcome: &Outcome, took: Duration, at: Mono, now: Mono) {
        self.shown.runs += 1;
        self.shown.failure = None;
        self.shown.values = outcome.values();
        self.shown.at = Some(at);
        self.latency.note(now.since(at));
        self.took.note(took);
        for step in &outcome.steps {
            match self.steps.iter_mut().find(|(name, _)| *name == step.step) {
                Some((_, last)) => last.note(step.took),
                None => {
                    let mut last = RecentTimes::default();
                    last.note(step.took);
                    self.steps.push((step.step.clone(), last));
                }
            }
        }
        if self.looked.len() == RATE_OF {
            self.looked.pop_front();
        }
        self.looked.push_back(now);
    }

    /// Why it gives nothing. Whether that was not known.
    pub(super) fn note_failure(&mut self, reason: &str) -> bool {
        let is_new = self.shown.failure.as_deref() != Some(reason);
        self.shown.failure = Some(reason.to_owned());
        is_new
    }

    /// Why it gave nothing for the last picture.
    pub(super) fn failure(&self) -> Option<&str> {
        self.shown.failure.as_deref()
    }

    /// How all of that stands at `now`.
    pub(super) fn health(&self, now: Mono) -> PipelineHealth {
        let steps = self.steps.iter().map(|(step, last)| StepTimes { step: step.clone(), took: last.times() });
        let span = self.looked.front().map_or(Duration::ZERO, |first| now.since(*first));
        let fps = if span.is_zero() { 0.0 } else { (self.looked.len() - 1) as f32 / span.as_secs_f32() };
        PipelineHealth {
            fps: (fps * 100.0).round() / 100.0,
            latency: self.latency.times(),
            took: self.took.times(),
            steps: steps.collect(),
            failure: self.shown.failure.clone().or_else(|| self.not_keeping.clone()),
            ..self.shown.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::block::StepRun;

    #[test]
    fn times_are_those_of_the_last_runs() {
        let asked = CameraPipeline { name: "people".to_owned(), ..CameraPipeline::default() };
        let mut report = Report::new(&asked);
        report.begin(Some(3));
        let mut now = Mono(1_000_000_000);
        for run in 0..200_u64 {
            let took = Duration::from_millis(if run < 100 { 500 } else { run - 99 });
            let step = StepRun { step: "find".to_owned(), runs: 1, took, items: BTreeMap::new() };
            let outcome = Outcome { steps: vec![step], ..Outcome::default() };
            report.note_run(&outcome, took, now, now + took);
            now = now + Duration::from_millis(500);
        }
        let health = report.health(now);
        // Of the last 120, 20 took 500 ms, the others 1 to 100 ms.
        assert_eq!((health.took.p50_ms, health.took.p95_ms), (60.0, 500.0));
        assert_eq!((health.latency, health.steps[0].took, health.runs), (health.took, health.took, 200));
        assert!((health.fps - 2.0).abs() < 0.1, "{}", health.fps);
        assert!(report.note_failure("no model") && !report.note_failure("no model"));
        assert_eq!(report.health(now).failure.as_deref(), Some("no model"));
    }
}
