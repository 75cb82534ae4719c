//! Threads that work for as long as the daemon does: owned like tasks, and started again when they end.

use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{Backoff, Restart, Supervisor, panic_text, spawn_thread};
use crate::metrics::{self, Metrics};

impl Supervisor {
    /// Like [`Supervisor::spawn`], for work that blocks: each run has a thread of its own, which is joined when it
    /// ends. A panic counts as an error, and every restart is counted in `metrics`. The work looks at the token between
    /// its steps; one that hangs in a dead disk when the daemon stops is left behind after the grace.
    pub fn spawn_on_thread<F, W>(&mut self, name: impl Into<String>, backoff: Backoff, metrics: Metrics, mut make: F)
    where
        F: FnMut(CancellationToken) -> W + Send + 'static,
        W: FnOnce() -> Result<()> + Send + 'static,
    {
        let name = name.into();
        let mut is_restart = false;
        self.spawn(name.clone(), Restart::Always(backoff), move |stop| {
            if std::mem::replace(&mut is_restart, true) {
                metrics.part_restarts.get_or_create(&metrics::part(&name)).inc();
            }
            let started = start(&name, make(stop));
            async move {
                let (thread, ended) = started?;
                // Answered, or dropped by a panic.
                let _ = ended.await;
                thread.join().unwrap_or_else(|panic| Err(anyhow!("panicked: {}", panic_text(&*panic))))
            }
        });
    }
}

/// A thread and the signal of its end.
type Started = (JoinHandle<Result<()>>, oneshot::Receiver<()>);

fn start(name: &str, work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<Started> {
    let (end, ended) = oneshot::channel();
    let run = move || {
        // Dropped at the end, whichever that is.
        let _end = end;
        work()
    };
    Ok((spawn_thread(name, run).with_context(|| format!("start the thread {name}"))?, ended))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_thread_that_panics_or_fails_is_started_again_and_joined_at_the_stop() {
        let (stop, metrics) = (CancellationToken::new(), Metrics::new());
        let mut supervisor = Supervisor::new(stop.clone());
        let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(2), Duration::from_secs(60));
        let (runs, alive) = (Arc::<AtomicU32>::default(), Arc::new(()));
        let (counted, lent, end) = (runs.clone(), Arc::downgrade(&alive), stop.clone());
        supervisor.spawn_on_thread("part", backoff, metrics.clone(), move |stop| {
            let (run, alive, end) = (counted.fetch_add(1, Ordering::SeqCst), alive.clone(), end.clone());
            move || {
                let _alive = alive;
                match run {
                    0 => panic!("injected"),
                    1 => Err(anyhow!("failed")),
                    _ => {
                        end.cancel();
                        while !stop.is_cancelled() {
                            std::thread::yield_now();
                        }
                        Ok(())
                    }
                }
            }
        });
        supervisor.run(Duration::from_secs(20)).await.expect("stopped");
        assert_eq!(runs.load(Ordering::SeqCst), 3);
        assert_eq!(metrics.part_restarts.get_or_create(&metrics::part("part")).get(), 2);
        assert_eq!(lent.strong_count(), 0, "the thread has ended");
    }

    #[tokio::test]
    async fn a_thread_that_has_done_its_work_is_not_started_again() {
        let (stop, metrics) = (CancellationToken::new(), Metrics::new());
        let mut supervisor = Supervisor::new(stop.clone());
        let runs = Arc::<AtomicU32>::default();
        let counted = runs.clone();
        supervisor.spawn_on_thread("job", Backoff::for_connections(), metrics, move |_| {
            let counted = counted.clone();
            move || {
                counted.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
        });
        while let Some(ended) = supervisor.tasks.join_next().await {
            ended.expect("join").1.expect("it went well");
        }
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    }
}
