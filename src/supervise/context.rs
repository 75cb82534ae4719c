//! What the body of a part is given: the stop request, its heartbeat, and the state that outlives it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::Heartbeat;

/// How often it is tried to take the state of a thread that works on it.
const RETRY: Duration = Duration::from_millis(1);

/// Handed to each run of a part. Clones are one.
pub struct Context<T = ()> {
    stop: CancellationToken,
    heartbeat: Heartbeat,
    state: Arc<Mutex<Option<T>>>,
}

impl<T> Context<T> {
    /// For a run that works on `state` until `stop` is cancelled.
    pub fn new(stop: CancellationToken, heartbeat: Heartbeat, state: T) -> Self {
        Self { stop, heartbeat, state: Arc::new(Mutex::new(Some(state))) }
    }

    /// Cancelled when the part is to end, or was given up.
    pub fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Its heartbeat.
    pub fn heartbeat(&self) -> &Heartbeat {
        &self.heartbeat
    }

    /// Notes that it made progress.
    pub fn beat(&self) {
        self.heartbeat.beat();
    }

    /// Runs `act` on the state. `None` when another run took over: this one ends then. A thread that hangs inside of `act`
    /// cannot be replaced.
    pub fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.state.lock().as_mut().map(act)
    }

    /// Whether no other run took over.
    pub fn is_current(&self) -> bool {
        self.with(|_| ()).is_some()
    }

    /// The work is done: there is nothing to be taken over.
    pub(super) fn leave(&self) {
        let state = self.state.lock().take();
        // What it owns may have a lot to do at its end.
        drop(state);
    }

    /// Asks the run to stop, and takes the state as soon as the run does not work on it; `None` when `limit` is over before.
    pub fn take_over_within(&self, limit: Duration) -> Option<T> {
        self.stop.cancel();
        let give_up_at = Instant::now() + limit;
        loop {
            let state = self.take_over();
            if state.is_some() || Instant::now() >= give_up_at {
                return state;
            }
            std::thread::sleep(RETRY);
        }
    }

    /// Takes the state away, unless the run works on it at this moment. The run is asked to stop.
    pub fn take_over(&self) -> Option<T> {
        // A thread that panicked over it has let go of it all the same.
        let state = self.state.try_lock().and_then(|mut state| state.take());
        if state.is_some() {
            self.stop.cancel();
        }
        state
    }
}

impl<T> Clone for Context<T> {
    fn clone(&self) -> Self {
        Self { stop: self.stop.clone(), heartbeat: self.heartbeat.clone(), state: self.state.clone() }
    }
}

impl<T> fmt::Debug for Context<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("heartbeat", &self.heartbeat).finish_non_exhaustive()
    }
}
