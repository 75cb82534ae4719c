//! What happens to executions, for those who follow them.
//!
//! Each event of an execution has a number that grows: the try in its upper bits, what happened in that in its lower ones.
//! Numbers are the same before and after a restart, so that who follows goes on behind the last one that it knows.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::broadcast;

use crate::execution::{Execution, ExecutionId, ExecutionState, Failure};

/// Events that a slow follower may be behind.
const BEHIND: usize = 4096;
/// Executions whose events are remembered.
const REMEMBERED: usize = 256;
/// Events of one try.
const OF_A_TRY: u64 = 1 << 20;

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ProgressKind {
    /// It waits.
    Queued,
    /// Its steps are begun.
    Started {
        /// For the how-manieth time.
        attempt: u32,
        /// How many steps there are.
        steps: usize,
    },
    /// A step is done.
    StepFinished {
        /// The step.
        step: String,
        /// How many are done.
        done: usize,
        /// How many there are.
        steps: usize,
        /// How often its block ran.
        runs: u32,
        /// How long that took, milliseconds.
        took_ms: f64,
    },
    /// It is over, with a result.
    Finished,
    /// It is over without one.
    Failed {
        /// Why.
        failure: Option<Failure>,
    },
    /// It is over, since its owner wanted that.
    Cancelled,
}

impl ProgressKind {
    /// Its name.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Started { .. } => "started",
            Self::StepFinished { .. } => "step_finished",
            Self::Finished => "finished",
            Self::Failed { .. } => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing comes behind it.
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Finished | Self::Failed { .. } | Self::Cancelled)
    }

    fn of_state(state: ExecutionState, failure: Option<Failure>) -> Self {
        match state {
            ExecutionState::Finished => Self::Finished,
            ExecutionState::Cancelled => Self::Cancelled,
            _ => Self::Failed { failure },
        }
    }
}

/// Something that happened to an execution.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProgressEvent {
    /// The execution.
    pub id: ExecutionId,
    /// The user or key that gave it.
    pub owner: Arc<str>,
    /// Grows from one event of it to the next.
    pub number: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: ProgressKind,
}

/// The events of the last executions, and who follows them. Clones are one.
#[derive(Clone)]
pub(super) struct Progress {
    sender: broadcast::Sender<Arc<ProgressEvent>>,
    last: Arc<Mutex<Last>>,
}

#[derive(Default)]
struct Last {
    events: BTreeMap<ExecutionId, Vec<Arc<ProgressEvent>>>,
    order: VecDeque<ExecutionId>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(BEHIND), last: Arc::default() }
    }
}

impl Progress {
    pub(super) fn queued(&self, of: &Execution) {
        self.send(of, 1, ProgressKind::Queued);
    }

    pub(super) fn started(&self, of: &Execution) {
        let (attempt, steps) = (of.attempts, of.definition.steps.len());
        self.send(of, begun(attempt), ProgressKind::Started { attempt, steps });
    }

    /// The step at place `done`, counted from 1, is done.
    pub(super) fn step(&self, of: &Execution, done: usize, kind: ProgressKind) {
        self.send(of, begun(of.attempts) + done as u64, kind);
    }

    pub(super) fn over(&self, of: &Execution, state: ExecutionState, failure: Option<Failure>) {
        self.send(of, over(of.attempts), ProgressKind::of_state(state, failure));
    }

    fn send(&self, of: &Execution, number: u64, kind: ProgressKind) {
        let id = of.id;
        let event = Arc::new(ProgressEvent { id, owner: of.owner.clone(), number, kind });
        let mut last = self.last.lock();
        if !last.events.contains_key(&id) {
            last.order.push_back(id);
            if last.order.len() > REMEMBERED
                && let Some(oldest) = last.order.pop_front()
            {
                last.events.remove(&oldest);
            }
        }
        last.events.entry(id).or_default().push(event.clone());
        // There may be no follower. Sent under the lock: who begins to follow finds it in one of both, and not in both.
        let _ = self.sender.send(event);
    }

    /// Follows an execution from now on.
    pub(super) fn follow(&self, id: ExecutionId) -> Followed {
        let last = self.last.lock();
        let known = last.events.get(&id).cloned().unwrap_or_default();
        Followed { id, known: known.into(), receiver: self.sender.subscribe(), sent: 0, is_over: false }
    }

    /// Follows all executions from now on.
    pub(super) fn follow_all(&self) -> FollowedAll {
        FollowedAll { receiver: self.sender.subscribe() }
    }
}

/// The number of the beginning of a try, counted from 1.
fn begun(attempt: u32) -> u64 {
    u64::from(attempt.max(1)) * OF_A_TRY
}

/// The number of the end of an execution, in this try.
fn over(attempt: u32) -> u64 {
    u64::from(attempt) * OF_A_TRY + OF_A_TRY - 1
}

/// What happens to one execution.
pub struct Followed {
    id: ExecutionId,
    /// What happened already.
    known: VecDeque<Arc<ProgressEvent>>,
    receiver: broadcast::Receiver<Arc<ProgressEvent>>,
    /// The last number that was given.
    sent: u64,
    is_over: bool,
}

impl Followed {
    /// The same behind the number `after`, with what `execution` says of the time before it was followed.
    pub(super) fn from(mut self, execution: &Execution, after: Option<u64>) -> Self {
        let (id, attempts) = (execution.id, execution.attempts);
        let event = |number, kind| Arc::new(ProgressEvent { id, owner: execution.owner.clone(), number, kind });
        if self.known.is_empty() {
            self.known.push_back(event(1, ProgressKind::Queued));
        }
        if execution.state.is_over() && !self.known.iter().any(|event| event.kind.is_last()) {
            let kind = ProgressKind::of_state(execution.state, execution.failure.clone());
            self.known.push_back(event(over(attempts), kind));
        }
        self.sent = after.unwrap_or(0);
        self
    }

    /// The next event; `None` behind the last one. One that was passed over, since who follows is slow, is left out.
    pub async fn next(&mut self) -> Option<Arc<ProgressEvent>> {
        while !self.is_over {
            let event = match self.known.pop_front() {
                Some(event) => event,
                None => match self.receiver.recv().await {
                    Ok(event) => event,
                    Err(broadcast::error::RecvError::Lagged(_)) => continue,
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
            };
            if event.id != self.id {
                continue;
            }
            self.is_over = event.kind.is_last();
            if event.number > self.sent {
                self.sent = event.number;
                return Some(event);
            }
        }
        None
    }

    /// Waits until it may be over.
    pub(super) async fn until_over(&mut self) {
        loop {
            match self.receiver.recv().await {
                Ok(event) if event.id == self.id && event.kind.is_last() => return,
                Ok(_) => {}
                // It may have been among those that were passed over.
                Err(_) => return,
            }
        }
    }
}

/// What happens to all executions.
pub struct FollowedAll {
    receiver: broadcast::Receiver<Arc<ProgressEvent>>,
}

/// What comes next of all executions.
#[derive(Clone, Debug)]
pub enum NextOfAll {
    /// Something happened to one.
    Event(Arc<ProgressEvent>),
    /// So many events were passed over, since who follows is slow: list the executions again.
    Missed(u64),
}

impl FollowedAll {
    /// What happens next; `None` when the process ends.
    pub async fn next(&mut self) -> Option<NextOfAll> {
        match self.receiver.recv().await {
            Ok(event) => Some(NextOfAll::Event(event)),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(NextOfAll::Missed(missed)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
