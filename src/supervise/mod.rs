//! Long-lived tasks and threads with a name and an owner: restarts with back-off, heartbeats, signals, systemd.
//!
//! A body only knows how to run once; whether it runs again lives here, in the policies of its [`Spec`]:
//!
//! | what happens | what follows |
//! |---|---|
//! | it fails or panics | [`Restart`]: it is started again after a growing pause, or everything stops, or it stays away |
//! | it misses the deadline of its heartbeat | [`Hang`]: that is logged, or another run takes over its state, or it is left to the watchdog |
//! | it hangs, and others of its part hang already | its heartbeat becomes critical: systemd restarts the process |
//! | the stop is asked for | it is joined; what does not end in time is named and left behind |

mod backoff;
mod context;
mod drive;
mod heartbeat;
mod quiet;
mod shutdown;
mod spec;
pub mod systemd;
mod task;
#[cfg(test)]
mod tests;
mod thread;

use std::future::Future;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, error, info_span, warn};

use crate::metrics::Metrics;
use drive::{Driver, Part, Reports};

pub use backoff::Backoff;
pub use context::Context;
pub use heartbeat::{Heartbeat, Heartbeats, PartLife, Stalled};
pub use quiet::without_panic_message;
pub use shutdown::{end_within, on_hangup, on_signals};
pub use spec::{Failure, Hang, MOST_ABANDONED, Restart, Spec};
pub use thread::{OwnedThread, ThreadBody};

/// Owner of long-lived tasks and threads.
#[derive(Debug)]
pub struct Supervisor {
    parts: JoinSet<(String, Result<()>)>,
    reports: Reports,
    stop: CancellationToken,
}

impl Supervisor {
    /// Parts run until `stop` is cancelled. Their heartbeats are registered in `heartbeats`, their restarts counted in
    /// `metrics`.
    pub fn new(stop: CancellationToken, heartbeats: &Heartbeats, metrics: &Metrics) -> Self {
        let reports = Reports { heartbeats: heartbeats.clone(), metrics: metrics.clone() };
        Self { parts: JoinSet::new(), reports, stop }
    }

    /// Runs `body(context)` as a task. A panic counts as an error. A task that returns `Ok` has finished its work and is
    /// not started again. One that hangs in something that no limit of its own covers is dropped where it waits, with all
    /// that it holds. A task that blocks its thread cannot be dropped; its heartbeat is silent.
    pub fn task<F, Fut>(&mut self, spec: Spec, body: F)
    where
        F: FnMut(Context) -> Fut + Send + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.drive(spec, task::Task(body));
    }

    /// Runs what `make` gives on a thread of its own, for work that blocks; `None`: nothing is left to be done. A panic
    /// counts as an error. A thread that returns `Ok` has finished its work and is not started again.
    ///
    /// `state` outlives the thread: the next one goes on with it, and one that was given up finds it gone.
    pub fn thread<T, F>(&mut self, spec: Spec, state: T, make: F)
    where
        T: Send + 'static,
        F: FnMut() -> Option<ThreadBody<T>> + Send + 'static,
    {
        let part = thread::Thread::new(spec.os_thread_name(), state, make);
        self.drive(spec, part);
    }

    fn drive<P: Part + 'static>(&mut self, spec: Spec, part: P) {
        let name = spec.name.clone();
        let span = info_span!("task", name = %name);
        let driver = Driver::new(spec, part, self.reports.clone(), self.stop.clone());
        self.parts.spawn(async move { (name, driver.run().await) }.instrument(span));
    }

    /// Runs in the background until it is stopped, or a vital part fails.
    pub fn start(self, grace: Duration) -> Running {
        let stop = self.stop.clone();
        Running { stop, parts: tokio::spawn(self.run(grace)) }
    }

    /// Waits until a stop is asked for or a vital part fails; then waits up to `grace` for the rest,
    /// naming stragglers, and aborts what is left.
    ///
    /// # Errors
    /// The failure of the vital part that ended the run.
    pub async fn run(mut self, grace: Duration) -> Result<()> {
        let mut outcome = Ok(());
        while !self.stop.is_cancelled() {
            tokio::select! {
                () = self.stop.cancelled() => {}
                joined = self.parts.join_next() => match joined {
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
            match tokio::time::timeout_at(deadline, self.parts.join_next()).await {
                Ok(None) => return,
                Ok(Some(Ok((name, result)))) => debug!(task = %name, ?result, "stopped"),
                Ok(Some(Err(failure))) => error!(error = %failure, "a task could not be joined"),
                Err(_) => {
                    warn!(left = self.parts.len(), "tasks did not stop in time, aborting them");
                    self.parts.abort_all();
                    // One that is in a call to a dead disk ends when that does.
                    let ended = async { while self.parts.join_next().await.is_some() {} };
                    let _ = tokio::time::timeout(grace, ended).await;
                    return;
                }
            }
        }
    }
}

/// A supervisor at work. Dropping it asks all parts to stop, and does not wait for them.
#[derive(Debug)]
pub struct Running {
    stop: CancellationToken,
    parts: JoinHandle<Result<()>>,
}

impl Running {
    /// Waits until all parts have ended, because of a stop or because a vital one failed. May be dropped and called again
    /// until there is an answer.
    ///
    /// # Errors
    /// The failure of the vital part.
    pub async fn ended(&mut self) -> Result<()> {
        (&mut self.parts).await.unwrap_or_else(|failure| Err(anyhow!("a supervisor could not be joined: {failure}")))
    }

    /// Asks all parts to stop, and waits for them.
    ///
    /// # Errors
    /// The failure of a vital part.
    pub async fn stop(mut self) -> Result<()> {
        self.stop.cancel();
        self.ended().await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Starts a named OS thread for work with an end of its own. The caller keeps its handle and joins it; what works for as
/// long as the daemon belongs to [`Supervisor::thread`].
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
