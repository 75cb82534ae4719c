//! Which execution is next: those whose answer is waited for, then each user's in turn.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::execution::ExecutionId;

/// Executions of which the mean time is taken.
const PACED: usize = 50;

/// How urgent an execution is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// The answer is waited for.
    Person,
    /// A program works through a list.
    Program,
}

/// What waits and what runs; the index has the same, durably.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Something waits.
    work: Notify,
}

#[derive(Default)]
struct State {
    urgent: VecDeque<(ExecutionId, Arc<str>)>,
    /// Of each user, in the order in which they came.
    waiting: BTreeMap<Arc<str>, VecDeque<ExecutionId>>,
    /// All of both.
    known: BTreeSet<ExecutionId>,
    /// The user whose turn was last.
    last: Option<Arc<str>>,
    running: BTreeMap<ExecutionId, Arc<AtomicBool>>,
    took: VecDeque<Duration>,
}

/// An execution whose turn it is; it stops running when this is dropped.
pub(super) struct Turn {
    pub(super) id: ExecutionId,
    /// Set when its owner does not want a result any more.
    pub(super) is_cancelled: Arc<AtomicBool>,
    queue: Arc<Queue>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.queue.state.lock().running.remove(&self.id);
    }
}

impl Queue {
    /// Adds an execution, unless it waits or runs already.
    pub(super) fn push(&self, id: ExecutionId, owner: &Arc<str>, urgency: Urgency) {
        let mut state = self.state.lock();
        if state.running.contains_key(&id) || !state.known.insert(id) {
            return;
        }
        match urgency {
            Urgency::Person => state.urgent.push_back((id, owner.clone())),
            Urgency::Program => state.waiting.entry(owner.clone()).or_default().push_back(id),
        }
        drop(state);
        self.work.notify_one();
    }

    /// The next execution; waits for one.
    pub(super) async fn next(self: &Arc<Self>) -> Turn {
        loop {
            if let Some(turn) = self.take() {
                return turn;
            }
            self.work.notified().await;
        }
    }

    fn take(self: &Arc<Self>) -> Option<Turn> {
        let mut state = self.state.lock();
        let id = match state.urgent.pop_front() {
            Some((id, _)) => id,
            None => state.take_in_turn()?,
        };
        state.known.remove(&id);
        let is_cancelled = Arc::new(AtomicBool::new(false));
        state.running.insert(id, is_cancelled.clone());
        drop(state);
        // Another may wait for those that are left.
        self.work.notify_one();
        Some(Turn { id, is_cancelled, queue: self.clone() })
    }

    /// Takes an execution out that waits, or asks one that runs to end; true where it runs.
    pub(super) fn cancel(&self, id: ExecutionId) -> bool {
        let mut state = self.state.lock();
        if let Some(running) = state.running.get(&id) {
            running.store(true, Ordering::Relaxed);
            return true;
        }
        if state.known.remove(&id) {
            state.urgent.retain(|(other, _)| *other != id);
            state.waiting.values_mut().for_each(|ids| ids.retain(|other| *other != id));
            state.waiting.retain(|_, ids| !ids.is_empty());
        }
        false
    }

    /// How many of one user wait.
    pub(super) fn waiting_of(&self, owner: &Arc<str>) -> usize {
        let state = self.state.lock();
        let urgent = state.urgent.iter().filter(|(_, of)| of == owner).count();
        urgent + state.waiting.get(owner).map_or(0, VecDeque::len)
    }

    /// How many wait or run.
    pub(super) fn known(&self) -> usize {
        let state = self.state.lock();
        state.known.len() + state.running.len()
    }

    /// How many run.
    pub(super) fn running(&self) -> usize {
        self.state.lock().running.len()
    }

    /// Notes how long one took.
    pub(super) fn note(&self, took: Duration) {
        let mut state = self.state.lock();
        state.took.push_back(took);
        if state.took.len() > PACED {
            state.took.pop_front();
        }
    }

    /// How long the last ones took in the mean; `None` before the first.
    pub(super) fn pace(&self) -> Option<Duration> {
        let state = self.state.lock();
        let count = u32::try_from(state.took.len()).ok().filter(|count| *count > 0)?;
        Some(state.took.iter().sum::<Duration>() / count)
    }
}

impl State {
    /// The oldest of the user whose turn it is.
    fn take_in_turn(&mut self) -> Option<ExecutionId> {
        let after = self.last.clone();
        let next = after.and_then(|last| {
            let above = (std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded);
            self.waiting.range::<Arc<str>, _>(above).next().map(|(owner, _)| owner.clone())
        });
        let owner = next.or_else(|| self.waiting.keys().next().cloned())?;
        let ids = self.waiting.get_mut(&owner)?;
        let id = ids.pop_front();
        if ids.is_empty() {
            self.waiting.remove(&owner);
        }
        self.last = Some(owner);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> ExecutionId {
        ExecutionId::from_bytes(n.to_be_bytes())
    }

    fn taken(queue: &Arc<Queue>) -> Vec<u128> {
        let number = |turn: Turn| u128::from_be_bytes(turn.id.to_bytes());
        std::iter::from_fn(|| queue.take().map(number)).collect()
    }

    #[test]
    fn those_whose_answer_is_waited_for_go_first_and_users_take_turns() {
        let queue = Arc::new(Queue::default());
        let (anna, bob): (Arc<str>, Arc<str>) = ("anna".into(), "bob".into());
        for n in 1..=3 {
            queue.push(id(n), &anna, Urgency::Program);
        }
        queue.push(id(11), &bob, Urgency::Program);
        queue.push(id(12), &bob, Urgency::Program);
        queue.push(id(13), &bob, Urgency::Person);
        queue.push(id(1), &anna, Urgency::Person);
        assert_eq!((queue.waiting_of(&anna), queue.waiting_of(&bob), queue.known()), (3, 3, 6));
        assert_eq!(taken(&queue), [13, 1, 11, 2, 12, 3]);
        assert_eq!(queue.waiting_of(&anna), 0);
    }

    #[test]
    fn one_that_waits_is_taken_out_and_one_that_runs_is_asked_to_end() {
        let queue = Arc::new(Queue::default());
        let anna: Arc<str> = "anna".into();
        (1..=2).for_each(|n| queue.push(id(n), &anna, Urgency::Program));
        let running = queue.take().expect("one");
        assert!(queue.cancel(id(1)) && running.is_cancelled.load(Ordering::Relaxed));
        assert!(!queue.cancel(id(2)));
        assert_eq!(taken(&queue), []);
        // While it runs it is not taken in again.
        queue.push(id(1), &anna, Urgency::Program);
        assert_eq!(taken(&queue), []);
        drop(running);
        queue.push(id(1), &anna, Urgency::Program);
        assert_eq!(taken(&queue), [1]);
    }

    #[tokio::test]
    async fn who_waits_for_work_is_woken() {
        let queue = Arc::new(Queue::default());
        let both = futures::future::join(queue.next(), queue.next());
        let given = async {
            queue.push(id(1), &"anna".into(), Urgency::Program);
            queue.push(id(2), &"anna".into(), Urgency::Program);
        };
        let ((first, second), ()) = futures::join!(both, given);
        assert_ne!(first.id, second.id);
    }

    #[test]
    fn the_pace_is_that_of_the_last_ones() {
        let queue = Queue::default();
        assert_eq!(queue.pace(), None);
        (0..PACED + 10).for_each(|_| queue.note(Duration::from_secs(9)));
        (0..PACED).for_each(|_| queue.note(Duration::from_secs(2)));
        assert_eq!(queue.pace(), Some(Duration::from_secs(2)));
    }
}
