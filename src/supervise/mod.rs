//! Long-lived tasks with a name and an owner: restarts with back-off, heartbeats, signals, systemd.
//!
//! A worker only knows how to run once; restarting it lives here.

mod backoff;
pub mod governor;
mod heartbeat;
pub mod load;
pub mod replaceable;
mod shutdown;
pub mod systemd;
mod thread;
mod watch;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::FutureExt;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info_span, warn};

pub use backoff::Backoff;
pub use heartbeat::{Heartbeat, Heartbeats, Stalled};
pub use shutdown::{end_within, ignore_hangup, on_signals};
pub use watch::Watch;

/// A failure after so long a run is worth a line even if it is the same as the last.
const WORTH_A_LINE: Duration = Duration::from_secs(60);

/// What to do when a task ends without a stop request.
#[derive(Clone, Debug)]
pub enum Restart {
    /// Start it again after a pause, for ever.
    Always(Backoff),
    /// Nothing works without it: the whole daemon stops, so that the service manager starts it afresh.
    Fatal,
}

/// Why a task ended, with what its supervisor should know of it. Other errors are logged, and count as failures of a task
/// that did not work yet.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// In words for the operator.
    pub reason: String,
    /// The task has logged it.
    pub is_logged: bool,
    /// The task did its work before, however short: it is started again after the shortest pause.
    pub had_worked: bool,
}

/// Owner of all async tasks.
#[derive(Debug)]
pub struct Supervisor {
    tasks: JoinSet<(String, Result<()>)>,
    stop: CancellationToken,
}

impl Supervisor {
    /// Tasks run until `stop` is cancelled.
    pub fn new(stop: CancellationToken) -> Self {
        Self { tasks: JoinSet::new(), stop }
    }

    /// Runs `make(stop)` under `name`. A panic counts as an error. A task that returns `Ok` has finished
    /// its work and is not started again (under [`Restart::Fatal`] only a stop makes `Ok` acceptable).
    pub fn spawn<F, Fut>(&mut self, name: impl Into<String>, restart: Restart, mut make: F)
    where
        F: FnMut(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        let (name, stop) = (name.into(), self.stop.clone());
        let span = info_span!("task", name = %name);
        let run = async move {
            let mut restart = restart;
            // A failure is worth a line when it is new; the same one again and again is not.
            let mut reported = String::new();
            loop {
                let started = Instant::now();
                let outcome = AssertUnwindSafe(async { make(stop.child_token()).await }).catch_unwind().await;
                let outcome = outcome.unwrap_or_else(|panic| Err(anyhow::anyhow!("panicked: {}", panic_text(&*panic))));
                if stop.is_cancelled() {
                    // What fails because everything is being stopped is no failure.
                    debug!(error = ?outcome.err(), "stopped");
                    return (name, Ok(()));
                }
                let Restart::Always(backoff) = &mut restart else { return (name, outcome) };
                let Err(failure) = outcome else { return (name, Ok(())) };
                let known = failure.downcast_ref::<Failure>();
                if known.is_some_and(|known| known.had_worked) {
                    backoff.reset();
                }
                let pause = backoff.next_pause(started.elapsed());
                let said = format!("{failure:#}");
                let again_in_s = pause.as_secs_f32();
                if started.elapsed() >= WORTH_A_LINE {
                    reported.clear();
                }
                if known.is_some_and(|known| known.is_logged) || said == reported {
                    debug!(error = said, again_in_s, "task failed again");
                } else {
                    warn!(error = said, again_in_s, "task failed, trying again from now on");
                }
                reported = said;
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = stop.cancelled() => return (name, Ok(())),
                }
            }
        };
        self.tasks.spawn(run.instrument(span));
    }

    /// Waits until a stop is asked for or a fatal task ends; then waits up to `grace` for the rest,
    /// naming stragglers, and aborts what is left.
    ///
    /// # Errors
    /// The failure of the fatal task that ended the run.
    pub async fn run(mut self, grace: Duration) -> Result<()> {
        let mut outcome = Ok(());
        while !self.stop.is_cancelled() {
            tokio::select! {
                () = self.stop.cancelled() => {}
                joined = self.tasks.join_next() => match joined {
                    None => self.stop.cancelled().await,
                    Some(Ok((name, Err(failure)))) => {
                        error!(task = %name, error = format!("{failure:#}"), "a vital task failed, stopping");
                        outcome = Err(failure.context(format!("{name} failed")));
                        self.stop.cancel();
                    }
                    Some(Ok((name, Ok(())))) => debug!(task = %name, "finished"),
                    Some(Err(failure)) => error!(error = %failure, "a task could not be joined"),
                },
            }
        }
        self.drain(grace).await;
        outcome
    }

    async fn drain(&mut self, grace: Duration) {
        let deadline = tokio::time::Instant::now() + grace;
        loop {
            match tokio::time::timeout_at(deadline, self.tasks.join_next()).await {
                Ok(None) => return,
                Ok(Some(Ok((name, result)))) => debug!(task = %name, ?result, "stopped"),
                Ok(Some(Err(failure))) => error!(error = %failure, "a task could not be joined"),
                Err(_) => {
                    warn!(left = self.tasks.len(), "tasks did not stop in time, aborting them");
                    self.tasks.abort_all();
                    // One that is in a call to a dead disk ends when that does.
                    let ended = async { while self.tasks.join_next().await.is_some() {} };
                    let _ = tokio::time::timeout(grace, ended).await;
                    return;
                }
            }
        }
    }
}

/// Starts a named OS thread, for work that blocks. The caller keeps its handle and joins it; what works for as
/// long as the daemon belongs on [`Supervisor::spawn_on_thread`].
///
/// # Errors
/// When the system has no thread left.
pub fn spawn_thread<T: Send + 'static>(
    name: impl Into<String>,
    work: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<T>> {
    // Linux shows 15 bytes of a thread's name.
    let name: String = name.into().chars().take(15).collect();
    std::thread::Builder::new().name(name).spawn(work)
}

/// The message of a panic.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn quick() -> Backoff {
        Backoff::new(Duration::from_millis(1), Duration::from_millis(2), Duration::from_secs(60))
    }

    #[tokio::test]
    async fn a_failing_and_a_panicking_task_are_started_again_until_the_stop() {
        let stop = CancellationToken::new();
        let mut supervisor = Supervisor::new(stop.clone());
        let runs = Arc::new(AtomicU32::new(0));
        let (counted, end) = (runs.clone(), stop.clone());
        supervisor.spawn("flaky", Restart::Always(quick()), move |_| {
            let (run, end) = (counted.fetch_add(1, Ordering::SeqCst), end.clone());
            async move {
                assert!(run != 1, "second run panics");
                if run == 3 {
                    end.cancel();
                }
                anyhow::bail!("run {run} fails")
            }
        });
        supervisor.run(Duration::from_secs(5)).await.expect("a restartable task never fails the daemon");
        assert_eq!(runs.load(Ordering::SeqCst), 4);
    }

    #[tokio::test]
    async fn a_task_that_had_worked_is_started_again_after_the_shortest_pause() {
        let stop = CancellationToken::new();
        let mut supervisor = Supervisor::new(stop.clone());
        let (runs, end) = (Arc::new(AtomicU32::new(0)), stop.clone());
        // Were the pauses to grow, the last of them would take weeks.
        let backoff = Backoff::new(Duration::from_millis(1), Duration::MAX / 2, Duration::MAX);
        supervisor.spawn("hanging camera", Restart::Always(backoff), move |_| {
            if runs.fetch_add(1, Ordering::SeqCst) == 31 {
                end.cancel();
            }
            let failure = Failure { reason: "it hangs".to_owned(), is_logged: true, had_worked: true };
            async { Err(failure.into()) }
        });
        let stopped = tokio::time::timeout(Duration::from_secs(60), supervisor.run(Duration::from_secs(5))).await;
        stopped.expect("the pauses grow").expect("stopped");
    }

    #[tokio::test]
    async fn a_vital_task_that_fails_stops_everything_and_is_named() {
        let mut supervisor = Supervisor::new(CancellationToken::new());
        supervisor.spawn("store", Restart::Fatal, |_| async { anyhow::bail!("disk is gone") });
        supervisor.spawn("patient", Restart::Fatal, |stop| async move {
            stop.cancelled().await;
            Ok(())
        });
        let failure = supervisor.run(Duration::from_secs(5)).await.expect_err("must fail");
        assert_eq!(format!("{failure:#}"), "store failed: disk is gone");
    }
}
