//! The pipeline that is tried, picture by picture.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::block::{BrokenOff, Context, Image, Memory, Outcome, RunError, Value};
use crate::clock::{Clock, Moment};
use crate::detection::Detection;
use crate::frame::Frame;
use crate::service::{LoadedPipeline, PipelineTally, PipelineTrial, TriedPipeline};

/// How long one picture may take.
const MOST_TIME: Duration = Duration::from_secs(60);

/// A pipeline, with what its steps remember and what it did so far. Clones are one.
#[derive(Clone)]
pub(super) struct Steps {
    tried: TriedPipeline,
    loaded: Arc<LoadedPipeline>,
    memory: Arc<Memory>,
    tally: Arc<Mutex<PipelineTally>>,
    cancel: CancellationToken,
}

/// What became of a picture.
pub(super) enum Put {
    /// It is through: the objects in it.
    Through(Vec<Detection>),
    /// The box has too much to do.
    Later,
    /// The trial was cancelled.
    Cancelled,
}

impl Steps {
    /// Loads the pipeline. Blocks.
    pub(super) fn load(tried: &TriedPipeline, cancel: &CancellationToken) -> Result<Self, String> {
        let loaded = tried.pipelines.load(&tried.asked, None)?.ok_or("the pipeline could not be loaded")?;
        let tally = PipelineTally::new(&loaded.named.name, loaded.named.version, tried.asked.mode);
        let (loaded, tally) = (Arc::new(loaded), Arc::new(Mutex::new(tally)));
        Ok(Self { tried: tried.clone(), loaded, memory: Arc::default(), tally, cancel: cancel.clone() })
    }

    /// Whether its objects take the place of what the camera's model finds.
    pub(super) fn replaces_model(&self) -> bool {
        self.tried.asked.replaces_model()
    }

    /// What it did so far.
    pub(super) fn trial(&self) -> PipelineTrial {
        self.tally.lock().trial()
    }

    /// Puts a picture of the time `at` through. Blocks.
    pub(super) fn put_through(&self, frame: &Frame, at: Timestamp, clock: &dyn Clock) -> Put {
        let begun = Instant::now();
        match self.run(frame, at, clock) {
            Ok(outcome) => {
                self.tally.lock().note(&outcome, begun.elapsed(), at);
                let objects = outcome.objects().unwrap_or_default();
                Put::Through(objects.into_iter().map(Detection::from).collect())
            }
            Err(RunError::BrokenOff(BrokenOff::Cancelled)) => Put::Cancelled,
            Err(RunError::Failed { is_transient: true, .. }) => Put::Later,
            Err(error) => {
                let reason = match error {
                    RunError::BrokenOff(_) => format!("a picture took longer than {MOST_TIME:?}"),
                    failed @ RunError::Failed { .. } => failed.to_string(),
                };
                self.tally.lock().note_failure(reason);
                Put::Through(Vec::new())
            }
        }
    }

    fn run(&self, frame: &Frame, at: Timestamp, clock: &dyn Clock) -> Result<Outcome, RunError> {
        let (width, height) = (frame.picture.width(), frame.picture.height());
        let picture = frame.picture.rgb(width, height).map_err(|error| RunError::Failed {
            step: self.loaded.input.clone(),
            reason: crate::execution::FailureReason::Picture,
            message: error.to_string(),
            is_transient: false,
        })?;
        let deadline = Instant::now() + MOST_TIME;
        let cancel = self.cancel.clone();
        let is_over = move || match () {
            () if cancel.is_cancelled() => Some(BrokenOff::Cancelled),
            () if Instant::now() >= deadline => Some(BrokenOff::TooSlow),
            () => None,
        };
        let moment = Moment { wall: at, ..clock.now() };
        let context = Context::new(self.tried.pipelines.models(), &self.memory, frame.at, moment, &is_over);
        let inputs = BTreeMap::from([(self.loaded.input.clone(), Value::Image(Image::whole(picture)))]);
        self.loaded.plan.run(inputs, &context, |_| {})
    }
}
