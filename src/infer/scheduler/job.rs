//! A job and what is answered to it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::oneshot;
use tracing::error;

use super::counters::{Counted, FailureKind};
use super::schedule::{Schedulable, SourceId};
use super::{Detected, Slot};
use crate::detection::Detection;
use crate::frame::{Frame, Picture};
use crate::infer::{Detector, InferError, Model, Output};
use crate::supervise::panic_text;

/// How urgent a job is; the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// A live camera: its picture is worth nothing in a second.
    Camera,
    /// A person waits for the result.
    Person,
    /// A program works through a list.
    Program,
}

impl Priority {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Camera, Self::Person, Self::Program];

    /// Its name in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Camera => "camera",
            Self::Person => "person",
            Self::Program => "program",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What becomes of a job while all threads are busy.
#[derive(Clone, Copy, Debug)]
pub enum Policy<'a> {
    /// It replaces the one that waits in this slot of a camera: the newest wins. Its priority is [`Priority::Camera`].
    ReplaceOlder(&'a Slot),
    /// It waits, where fewer than `most` jobs of its priority do; otherwise it is refused at once.
    Queue {
        /// How urgent it is.
        priority: Priority,
        /// How many may wait.
        most: usize,
    },
}

impl Policy<'_> {
    /// How urgent the job is.
    pub fn priority(&self) -> Priority {
        match self {
            Self::ReplaceOlder(_) => Priority::Camera,
            Self::Queue { priority, .. } => *priority,
        }
    }
}

/// What a model looks at.
#[derive(Clone)]
pub(super) enum Look {
    /// A picture: what is in it is asked for.
    Picture(Arc<dyn Picture>),
    /// Numbers as its input holds them: its outputs are asked for.
    Tensor(Arc<[f32]>),
}

/// A model's own input for it, of a person or a program.
pub struct TensorJob {
    /// The numbers, in the layout of the model's input.
    pub numbers: Arc<[f32]>,
    /// What runs on them.
    pub model: Arc<Model>,
    /// How urgent it is.
    pub priority: Priority,
    /// How many of its priority may wait.
    pub most: usize,
    /// For how long it may wait, as of a [`Job`].
    pub start_within: Duration,
    /// Where the answer goes.
    pub reply: Reply,
}

/// One picture for one model.
pub struct Job<'a> {
    /// The picture.
    pub picture: Arc<dyn Picture>,
    /// What looks at it. A job for a model that is not loaded is refused.
    pub model: Arc<Model>,
    /// Lowest score of a detection, 0 to 1.
    pub min_score: f32,
    /// How urgent it is, and what becomes of it while all threads are busy.
    pub policy: Policy<'a>,
    /// For how long it may wait in a queue; afterwards it is answered with [`JobError::Expired`], within about a second.
    /// A job that has started is not ended by this.
    pub start_within: Duration,
    /// Where the answer goes.
    pub reply: Reply,
}

/// What a model found in the picture of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// What is in it; best first. None for a tensor.
    pub detections: Vec<Detection>,
    /// For a tensor what the model gave, by the names of its outputs.
    pub outputs: Vec<(String, Output)>,
    /// How long the job waited for its start.
    pub waited: Duration,
    /// How long it took, from the picture to the detections.
    pub took: Duration,
}

/// Why a job was not taken in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As many jobs of its priority wait as may.
    #[error(
        "{waiting} jobs of priority {priority} wait already, which is as many as may; try again when some are done"
    )]
    QueueFull {
        /// The priority.
        priority: Priority,
        /// How many wait.
        waiting: usize,
    },
    /// The model is not loaded.
    #[error("model {0} is not loaded; its state says why")]
    NoModel(Arc<str>),
    /// The process ends.
    #[error("inference is being shut down; try again when the daemon runs")]
    ShutDown,
}

impl Refused {
    /// Whether the same job may be taken in later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::QueueFull { .. } | Self::NoModel(_) | Self::ShutDown => true,
        }
    }
}

/// Why there is no result of a job.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// It was not taken in.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A newer job took its place.
    #[error("a newer picture took the place of this one")]
    Replaced,
    /// It did not start in time.
    #[error("the job did not start within {0:?}: the box has too much to do")]
    Expired(Duration),
    /// Its slot is gone.
    #[error("the job was cancelled")]
    Cancelled,
    /// The model failed.
    #[error(transparent)]
    Infer(#[from] InferError),
    /// The model panicked.
    #[error("model {model} panicked: {panic}")]
    Panicked {
        /// The model.
        model: Arc<str>,
        /// Its last words.
        panic: String,
    },
    /// The model took too long; its thread was given up.
    #[error("model {model} did not answer within {after:?} and was given up")]
    Hung {
        /// The model.
        model: Arc<str>,
        /// For how long it ran.
        after: Duration,
    },
    /// The process ends.
    #[error("inference was shut down before the job started")]
    ShutDown,
}

impl JobError {
    /// How it is counted.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Refused(Refused::ShutDown) | Self::ShutDown => FailureKind::Other,
            Self::Refused(_) | Self::Expired(_) => FailureKind::Rejected,
            Self::Replaced | Self::Cancelled => FailureKind::Canceled,
            Self::Infer(_) | Self::Panicked { .. } | Self::Hung { .. } => FailureKind::Backend,
        }
    }
}

/// What a job comes to.
pub type Outcome = Result<Answer, JobError>;

/// Receiver of the results of a camera.
pub(super) type Results = Arc<dyn Fn(Detected) + Send + Sync>;

enum To {
    Pending(oneshot::Sender<Outcome>),
    Callback(Box<dyn FnOnce(Outcome) + Send>),
    Camera { camera: Arc<str>, frame: Frame, results: Results },
}

/// Where the one answer to a job goes. One that is dropped without an answer answers [`JobError::Cancelled`].
pub struct Reply(Option<To>);

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

impl Reply {
    /// A reply and what waits for it. When the [`PendingAnswer`] is dropped before the job starts, it never does.
    pub fn pending() -> (Self, PendingAnswer) {
        let (sender, receiver) = oneshot::channel();
        (Self(Some(To::Pending(sender))), PendingAnswer(receiver))
    }

    /// Calls `answer` once. The call comes from an inference thread, from the task that looks after their jobs or from what
    /// submits, and must not block: a thread that waits in it runs nothing else and counts as hung in the end.
    pub fn callback(answer: impl FnOnce(Outcome) + Send + 'static) -> Self {
        Self(Some(To::Callback(Box::new(answer))))
    }

    /// Calls `results` with the frame when the model gave a result, and not otherwise.
    pub(super) fn camera(camera: Arc<str>, frame: Frame, results: Results) -> Self {
        Self(Some(To::Camera { camera, frame, results }))
    }

    /// Answers. Call it without a lock: what the receiver does with it may take a while.
    pub(super) fn answer(mut self, outcome: Outcome) {
        self.give(outcome);
    }

    /// Whether the receiver is gone.
    pub(super) fn is_cancelled(&self) -> bool {
        matches!(&self.0, Some(To::Pending(sender)) if sender.is_closed())
    }

    fn give(&mut self, outcome: Outcome) {
        let Some(to) = self.0.take() else { return };
        let camera = match &to {
            To::Camera { camera, .. } => Some(camera.clone()),
            To::Pending(_) | To::Callback(_) => None,
        };
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| to.give(outcome))) else { return };
        let panic = panic_text(&*panic);
        match camera {
            Some(camera) => error!(%camera, panic, "handing on detections panicked"),
            None => error!(panic, "handing on the answer to a job panicked"),
        }
    }
}

impl To {
    fn give(self, outcome: Outcome) {
        match (self, outcome) {
            // A receiver that is gone wants no answer.
            (Self::Pending(sender), outcome) => drop(sender.send(outcome)),
            (Self::Callback(answer), outcome) => answer(outcome),
            (Self::Camera { frame, results, .. }, Ok(Answer { detections, took, .. })) => {
                results(Detected { frame, detections, took });
            }
            (Self::Camera { .. }, Err(_)) => {}
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if self.0.is_some() {
            self.give(Err(JobError::Cancelled));
        }
    }
}

/// The answer to a job, which comes once. Dropping it cancels a job that has not started.
#[derive(Debug)]
pub struct PendingAnswer(oneshot::Receiver<Outcome>);

impl Future for PendingAnswer {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(JobError::Cancelled)))
    }
}

/// A job within the schedule.
pub(super) struct Entry {
    pub source: SourceId,
    pub detector: Arc<Detector>,
    pub look: Look,
    pub min_score: f32,
    pub subject: Subject,
    pub reply: Reply,
    pub counted: Counted,
}

impl Entry {
    /// Counts and answers; `now` is the time on the wall. Call it without a lock: what the receiver does with it may take a
    /// while.
    pub(super) fn answer(self, outcome: Outcome, now: Timestamp) {
        match &outcome {
            Ok(Answer { waited, took, .. }) => {
                self.counted.succeed(*waited, *took, u64::try_from(now.as_millisecond()).unwrap_or(0));
            }
            Err(error) => self.counted.end(error.kind()),
        }
        self.reply.answer(outcome);
    }
}

impl Schedulable for Entry {
    fn is_cancelled(&self) -> bool {
        self.reply.is_cancelled()
    }
}

/// What a job is about, for logs and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    /// The camera, unless others sent it.
    pub camera: Option<Arc<str>>,
    pub priority: Priority,
    pub model: Arc<str>,
}
