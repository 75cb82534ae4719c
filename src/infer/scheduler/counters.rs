//! What became of the jobs of each model and version, as metrics and programs read it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use crate::infer::Detector;
use crate::metrics::{self, Metrics};

/// Why a job has no result, in the terms of Triton.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureKind {
    /// It was not taken in, or did not start in time.
    Rejected,
    /// Its sender did not want it any more, or a newer one took its place.
    Canceled,
    /// The model failed, panicked or hung.
    Backend,
    /// The process ends.
    Other,
}

impl FailureKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rejected, Self::Canceled, Self::Backend, Self::Other];

    /// Its name in metrics and statistics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Canceled => "canceled",
            Self::Backend => "backend",
            Self::Other => "other",
        }
    }
}

/// What became of the jobs of one version of a model since the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelStatistics {
    /// Jobs with a result.
    pub succeeded: u64,
    /// Jobs without one, by reason.
    pub failed: BTreeMap<FailureKind, u64>,
    /// Jobs that wait or run.
    pub pending: u64,
    /// How long the jobs with a result waited for a thread, all together.
    pub queue: Duration,
    /// How long they ran, from the picture to the result, all together.
    pub compute: Duration,
    /// How long the jobs without a result took until that was known, all together.
    pub failing: Duration,
    /// When the last result came, milliseconds since 1970 by the wall clock; 0 for none.
    pub last_ms: u64,
}

/// By the names and versions of the models.
type ByVersion = BTreeMap<(Arc<str>, u32), Arc<ModelCounter>>;

/// The counters of all models that were asked.
#[derive(Debug, Default)]
pub(super) struct Counters(Mutex<ByVersion>);

impl Counters {
    /// Counts a job from now until it is answered.
    pub(super) fn begin(&self, detector: &Detector, metrics: &Metrics) -> Counted {
        let key = (detector.name().clone(), detector.version());
        let new = || Arc::new(ModelCounter::new(metrics, detector.name(), detector.version()));
        let counter = self.0.lock().entry(key).or_insert_with(new).clone();
        counter.pending.inc();
        Counted { counter, begun: Instant::now(), is_over: false }
    }

    /// Of one version; `None` where it was never asked.
    pub(super) fn of(&self, model: &str, version: u32) -> Option<ModelStatistics> {
        self.0.lock().get(&(model.into(), version)).map(|counter| counter.read())
    }
}

/// Counters of one version: the values are those of the metrics.
#[derive(Debug)]
struct ModelCounter {
    succeeded: Counter,
    failed: [(FailureKind, Counter); 4],
    pending: Gauge,
    queue: Counter<f64, AtomicU64>,
    compute: Counter<f64, AtomicU64>,
    failing_ns: AtomicU64,
    last_ms: AtomicU64,
}

impl ModelCounter {
    fn new(metrics: &Metrics, model: &str, version: u32) -> Self {
        let label = metrics::model(model, version);
        let failed = FailureKind::ALL.map(|kind| {
            let label = metrics::model_failure(model, version, kind.as_str());
            (kind, metrics.model_failures.get_or_create(&label).clone())
        });
        Self {
            succeeded: metrics.model_successes.get_or_create(&label).clone(),
            failed,
            pending: metrics.model_pending.get_or_create(&label).clone(),
            queue: metrics.model_queue_seconds.get_or_create(&label).clone(),
            compute: metrics.model_compute_seconds.get_or_create(&label).clone(),
            failing_ns: AtomicU64::new(0),
            last_ms: AtomicU64::new(0),
        }
    }

    fn read(&self) -> ModelStatistics {
        ModelStatistics {
            succeeded: self.succeeded.get(),
            failed: self.failed.iter().map(|(kind, counter)| (*kind, counter.get())).collect(),
            pending: self.pending.get().try_into().unwrap_or(0),
            queue: Duration::try_from_secs_f64(self.queue.get()).unwrap_or_default(),
            compute: Duration::try_from_secs_f64(self.compute.get()).unwrap_or_default(),
            failing: Duration::from_nanos(self.failing_ns.load(Ordering::Relaxed)),
            last_ms: self.last_ms.load(Ordering::Relaxed),
        }
    }
}

/// A job that is counted once, as what it comes to; as cancelled when it is dropped before.
#[derive(Debug)]
pub(super) struct Counted {
    counter: Arc<ModelCounter>,
    begun: Instant,
    is_over: bool,
}

impl Counted {
    /// It came to a result after so long in the queue and so long of computing; `now_ms` is the wall clock.
    pub(super) fn succeed(mut self, waited: Duration, took: Duration, now_ms: u64) {
        self.is_over = true;
        self.counter.succeeded.inc();
        self.counter.queue.inc_by(waited.as_secs_f64());
        self.counter.compute.inc_by(took.as_secs_f64());
        self.counter.last_ms.store(now_ms, Ordering::Relaxed);
    }

    /// It came to nothing.
    pub(super) fn end(mut self, kind: FailureKind) {
        self.is_over = true;
        self.fail(kind);
    }

    fn fail(&self, kind: FailureKind) {
        if let Some((_, counter)) = self.counter.failed.iter().find(|(known, _)| *known == kind) {
            counter.inc();
        }
        let took = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.counter.failing_ns.fetch_add(took, Ordering::Relaxed);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counter.pending.dec();
        if !self.is_over {
            self.fail(FailureKind::Canceled);
        }
    }
}
