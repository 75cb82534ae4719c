//! What became of the executions of each version of a pipeline since the start.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Moment;
use crate::execution::{Execution, ExecutionState, Failure, FailureReason};

/// Versions of pipelines that are counted; inline ones come with any name.
const MOST_VERSIONS: usize = 1000;

/// Of one version of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PipelineStatistics {
    /// Executions with a result.
    pub finished: u64,
    /// Executions without one, by reason; those that were cancelled are not counted.
    pub failed: BTreeMap<FailureReason, u64>,
    /// How long those with a result waited until they were begun, all together.
    pub queue: Duration,
    /// How long they ran, all together.
    pub compute: Duration,
    /// How long those without a result ran, all together.
    pub failing: Duration,
    /// When the last result came, milliseconds since 1970 by the wall clock; 0 for none.
    pub last_ms: u64,
}

/// By names and versions of pipelines. Clones are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters(Arc<Mutex<BTreeMap<(String, u32), PipelineStatistics>>>);

impl Counters {
    pub(super) fn of(&self, name: &str, version: u32) -> PipelineStatistics {
        self.0.lock().get(&(name.to_owned(), version)).cloned().unwrap_or_default()
    }

    /// Counts an execution that ran for `took` and is over `now`.
    pub(super) fn note(
        &self,
        execution: &Execution,
        state: ExecutionState,
        failure: Option<&Failure>,
        (took, now): (Duration, &Moment),
    ) {
        let mut counters = self.0.lock();
        if counters.len() >= MOST_VERSIONS {
            counters.clear();
        }
        let key = (execution.pipeline.name.clone(), execution.pipeline.version);
        let statistics = counters.entry(key).or_default();
        match (state, failure) {
            (ExecutionState::Finished, _) => {
                // What was taken in before the box was started again waited for longer than can be known.
                let is_of_boot = execution.created.boot_id == now.boot_id;
                let waited = now.mono().since(execution.created.mono()).saturating_sub(took);
                statistics.finished += 1;
                statistics.queue += if is_of_boot { waited } else { Duration::ZERO };
                statistics.compute += took;
                statistics.last_ms = u64::try_from(now.wall.as_millisecond()).unwrap_or_default();
            }
            (_, Some(failure)) => {
                *statistics.failed.entry(failure.reason).or_default() += 1;
                statistics.failing += took;
            }
            (_, None) => {}
        }
    }
}
