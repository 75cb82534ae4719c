//! What the pipeline of a camera does.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;

use crate::clock::Mono;

/// Runs that times are taken of.
const RECENT: usize = 120;

/// The middle and the slow end of the last times, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Times {
    /// Half of them are at most this.
    pub p50_ms: f64,
    /// 95 of 100 are at most this.
    pub p95_ms: f64,
}

/// The last times of something.
#[derive(Clone, Debug, Default)]
pub struct RecentTimes(VecDeque<Duration>);

impl RecentTimes {
    /// It took so long once more.
    pub fn note(&mut self, took: Duration) {
        if self.0.len() == RECENT {
            self.0.pop_front();
        }
        self.0.push_back(took);
    }

    /// The middle and the slow end of the last 120; zero before the first.
    pub fn times(&self) -> Times {
        let mut sorted: Vec<Duration> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        let at = |share: f64| {
            let index = ((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1);
            sorted.get(index).map_or(0.0, |took| (took.as_secs_f64() * 100_000.0).round() / 100.0)
        };
        Times { p50_ms: at(0.5), p95_ms: at(0.95) }
    }
}

/// What one step takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepTimes {
    /// The step.
    pub step: String,
    /// How long it takes for one picture.
    #[serde(flatten)]
    pub took: Times,
}

/// What the pipeline of a camera does.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PipelineHealth {
    /// Its name.
    pub name: String,
    /// The version that runs; absent while none does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// `beside` the camera's own detection, or `instead` of it.
    pub mode: &'static str,
    /// Pictures that went through since the camera was started.
    pub runs: u64,
    /// Pictures that a newer one replaced before the pipeline was free.
    pub replaced: u64,
    /// Results that were not kept, since the one before was kept less than a second ago.
    pub not_kept: u64,
    /// Pictures a second.
    pub fps: f32,
    /// From the time that a picture came to its result.
    pub latency: Times,
    /// What the steps take together.
    pub took: Times,
    /// What each takes.
    pub steps: Vec<StepTimes>,
    /// Numbers, texts and tables of the last picture, by output.
    pub values: BTreeMap<String, serde_json::Value>,
    /// When that picture was taken, on the boot clock.
    #[serde(skip)]
    pub at: Option<Mono>,
    /// Why it gives nothing, in words for the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}
