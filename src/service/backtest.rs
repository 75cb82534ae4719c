//! Rules that are tried against what a camera recorded, before they are saved.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::loaded_pipeline::PipelineLoader;
use super::pipeline_trial::PipelineTrial;
use crate::clock::Clock;
use crate::execution::CameraPipeline;

/// Events that are listed one by one.
const LISTED: usize = 200;
/// Cameras whose last backtest is kept.
const KEPT: usize = 64;
/// The longest time that is looked back, hours.
pub const MOST_HOURS: f64 = 168.0;

/// Where a backtest stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BacktestState {
    /// Recordings are looked at.
    #[default]
    Running,
    /// All of them were.
    Done,
    /// It was cancelled.
    Cancelled,
    /// It could not go on; `reason` says why.
    Failed,
}

/// An event that the rules would have made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WouldBe {
    /// When it would have begun.
    pub start: Timestamp,
    /// The rule.
    pub rule: Arc<str>,
    /// Class of the object.
    pub label: Arc<str>,
    /// The zones that it was in.
    pub zones: Vec<Arc<str>>,
    /// Whether an event of that time and label was judged a false alarm; known once it would have ended.
    pub judged_false: bool,
}

/// What rules would have made of a camera's recordings.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Backtest {
    /// Where it stands.
    pub state: BacktestState,
    /// From when on.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// How much of that time is recorded, seconds.
    pub recorded_s: f64,
    /// How much of that was looked at, seconds.
    pub looked_at_s: f64,
    /// Events that these rules would have made.
    pub events: u64,
    /// Of these, events that overlap one of the same label that was judged a false alarm.
    pub judged_false: u64,
    /// The same by rule.
    pub by_rule: BTreeMap<Arc<str>, u64>,
    /// The first of them.
    pub found: Vec<WouldBe>,
    /// Events that were made in that time by the rules of then.
    pub made: u64,
    /// What the pipeline would have done that is tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<PipelineTrial>,
    /// Why it could not go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A pipeline that is tried.
#[derive(Clone)]
pub struct TriedPipeline {
    /// Which, and how.
    pub asked: CameraPipeline,
    /// What it needs of the box.
    pub pipelines: Arc<dyn PipelineLoader>,
}

impl std::fmt::Debug for TriedPipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TriedPipeline").field("asked", &self.asked).finish_non_exhaustive()
    }
}

impl Backtest {
    /// Counts an event. Gives its number.
    pub fn add(&mut self, event: WouldBe) -> u64 {
        self.events += 1;
        *self.by_rule.entry(event.rule.clone()).or_default() += 1;
        if self.found.len() < LISTED {
            self.found.push(event);
        }
        self.events
    }

    /// Event `number` overlaps one that was judged a false alarm.
    pub fn note_judged_false(&mut self, number: u64) {
        self.judged_false += 1;
        let at = usize::try_from(number).unwrap_or(usize::MAX).saturating_sub(1);
        if let Some(event) = self.found.get_mut(at) {
            event.judged_false = true;
        }
    }
}

/// A backtest that is to be run.
#[derive(Debug)]
pub struct BacktestJob {
    /// The camera.
    pub camera: String,
    /// Its keys that differ: `rules`, `zones`, `lines`.
    pub keys: Map<String, Value>,
    /// The pipeline that is tried, where one is.
    pub pipeline: Option<TriedPipeline>,
    /// From when on.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// It is not wanted any more.
    pub cancel: CancellationToken,
    kept: Arc<Mutex<Kept>>,
}

impl BacktestJob {
    /// Notes how far it is.
    pub fn note<T>(&self, change: impl FnOnce(&mut Backtest) -> T) -> Option<T> {
        self.kept.lock().by_camera.get_mut(&self.camera).map(change)
    }
}

impl Drop for BacktestJob {
    fn drop(&mut self) {
        let mut kept = self.kept.lock();
        kept.running = None;
        // One that ended without a word broke off.
        if let Some(backtest) = kept.by_camera.get_mut(&self.camera)
            && backtest.state == BacktestState::Running
        {
            backtest.state = BacktestState::Failed;
            backtest.reason.get_or_insert_with(|| "it broke off; the log says why".to_owned());
        }
    }
}

#[derive(Debug, Default)]
struct Kept {
    by_camera: BTreeMap<String, Backtest>,
    order: VecDeque<String>,
    running: Option<(String, CancellationToken)>,
}

/// Another backtest is running, or the daemon is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rules are being tried already, one camera at a time: wait for that, or cancel it")]
pub struct BacktestBusy;

/// Takes backtests in, one at a time. Cheap to clone.
#[derive(Clone)]
pub struct BacktestService {
    clock: Arc<dyn Clock>,
    jobs: mpsc::Sender<BacktestJob>,
    kept: Arc<Mutex<Kept>>,
}

/// The end that runs them.
pub type BacktestQueue = mpsc::Receiver<BacktestJob>;

impl BacktestService {
    /// The service, and the end that runs what it takes in.
    pub fn new(clock: Arc<dyn Clock>) -> (Self, BacktestQueue) {
        let (jobs, queue) = mpsc::channel(1);
        (Self { clock, jobs, kept: Arc::default() }, queue)
    }

    /// Tries `keys` of `camera`, or a pipeline, against its last `hours`.
    ///
    /// # Errors
    /// [`BacktestBusy`]
    pub fn start(
        &self,
        camera: &str,
        keys: Map<String, Value>,
        pipeline: Option<TriedPipeline>,
        hours: f64,
    ) -> Result<Backtest, BacktestBusy> {
        let until = self.clock.wall();
        let span = jiff::SignedDuration::from_secs_f64(hours.clamp(0.0, MOST_HOURS) * 3600.0);
        let since = until.checked_sub(span).unwrap_or(Timestamp::MIN);
        let cancel = CancellationToken::new();
        let asked = pipeline.as_ref().map(|tried| &tried.asked);
        let trial =
            asked.map(|asked| PipelineTrial { name: asked.name.clone(), mode: asked.mode, ..PipelineTrial::default() });
        let backtest = Backtest { since, until, pipeline: trial, ..Backtest::default() };
        let mut kept = self.kept.lock();
        if kept.running.is_some() {
            return Err(BacktestBusy);
        }
        let Ok(place) = self.jobs.try_reserve() else { return Err(BacktestBusy) };
        kept.order.retain(|known| known != camera);
        kept.order.push_back(camera.to_owned());
        if kept.order.len() > KEPT
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.by_camera.remove(&oldest);
        }
        kept.by_camera.insert(camera.to_owned(), backtest.clone());
        kept.running = Some((camera.to_owned(), cancel.clone()));
        drop(kept);
        let kept = self.kept.clone();
        place.send(BacktestJob { camera: camera.to_owned(), keys, pipeline, since, until, cancel, kept });
        Ok(backtest)
    }

    /// The last one of a camera.
    pub fn of(&self, camera: &str) -> Option<Backtest> {
        self.kept.lock().by_camera.get(camera).cloned()
    }

    /// Ends that of a camera. Whether one was running.
    pub fn cancel(&self, camera: &str) -> bool {
        let kept = self.kept.lock();
        let running = kept.running.as_ref().filter(|(known, _)| known == camera);
        running.inspect(|(_, cancel)| cancel.cancel()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn one_runs_at_a_time_and_one_that_breaks_off_has_failed() {
        let (service, mut queue) = BacktestService::new(Arc::new(SystemClock::new()));
        let begun = service.start("yard", Map::new(), None, 2.0).expect("it is free");
        assert_eq!(begun.until.duration_since(begun.since).as_secs(), 7200);
        assert_eq!(service.start("gate", Map::new(), None, 1.0), Err(BacktestBusy));
        assert!(service.cancel("yard") && !service.cancel("gate"));
        let job = queue.try_recv().expect("a job");
        assert!(job.cancel.is_cancelled());
        let (rule, label) = ("in".into(), "person".into());
        let event = WouldBe { start: begun.since, rule, label, zones: Vec::new(), judged_false: false };
        job.note(|backtest| (0..300).fold(0, |_, _| backtest.add(event.clone())));
        job.note(|backtest| [2, 300].into_iter().for_each(|number| backtest.note_judged_false(number)));
        drop(job);
        let ended = service.of("yard").expect("it is kept");
        assert_eq!((ended.state, ended.events, ended.found.len()), (BacktestState::Failed, 300, LISTED));
        assert_eq!((ended.by_rule["in"], ended.judged_false), (300, 2));
        assert!(ended.found[1].judged_false && !ended.found[0].judged_false);
        assert!(service.start("gate", Map::new(), None, 1.0).is_ok() && service.of("pier").is_none());
    }
}
