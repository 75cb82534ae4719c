//! Tasks that are started anew when they hang.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use tokio_util::sync::CancellationToken;

use super::{Backoff, Heart, Heartbeats, Restart, Supervisor};
use crate::metrics::{self, Metrics};

/// A silent task is looked at this often, or four times within its patience.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// When a task counts as hanging, and where that is told.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Where its heart is registered, as not critical.
    pub hearts: Heartbeats,
    /// Restarts are counted here.
    pub metrics: Metrics,
    /// It has to beat at least this often.
    pub patience: Duration,
}

impl Supervisor {
    /// Like [`Supervisor::spawn`], for a task that beats: one that hangs in something that no limit of its own
    /// covers is dropped where it waits, with all that it holds, and started anew. A task that blocks its
    /// thread cannot be dropped; its heart is silent for everybody who looks.
    pub fn spawn_watched<F, Fut>(&mut self, name: impl Into<String>, backoff: Backoff, watch: Watch, mut make: F)
    where
        F: FnMut(CancellationToken, Heart) -> Fut + Send + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        let name = name.into();
        // What it waited for may be a thread that is lost with it, so that there must not be many restarts.
        let rests = Arc::new(Mutex::new(Backoff::new(
            Duration::from_secs(1),
            Duration::from_secs(3600),
            2 * Duration::from_secs(3600),
        )));
        self.spawn(name.clone(), Restart::Always(backoff), move |stop| {
            let heart = watch.hearts.register(name.clone(), watch.patience, false);
            let run = make(stop.clone(), heart.clone());
            let (watch, rests, part) = (watch.clone(), rests.clone(), metrics::part(&name));
            async move {
                let started = Instant::now();
                let silent_for = tokio::select! {
                    outcome = run => return outcome,
                    silent_for = silence(&heart, watch.patience) => silent_for,
                };
                heart.retire();
                watch.metrics.part_restarts.get_or_create(&part).inc();
                let rest = rests.lock().unwrap_or_else(PoisonError::into_inner).next_pause(started.elapsed());
                tokio::select! {
                    () = tokio::time::sleep(rest) => {}
                    () = stop.cancelled() => {}
                }
                Err(anyhow!("it showed no life for {} s and was given up", silent_for.as_secs()))
            }
        });
    }
}

/// Returns when two looks in a row found the heart late: after a suspended box wakes up, every heart is for a moment.
async fn silence(heart: &Heart, patience: Duration) -> Duration {
    let mut suspected = false;
    loop {
        tokio::time::sleep(LOOK_EVERY.min(patience / 4)).await;
        let late = heart.is_late();
        if std::mem::replace(&mut suspected, late) && late {
            return heart.silent_for();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::clock::{Mono, SimulatedClock};

    #[tokio::test]
    async fn a_task_that_hangs_is_dropped_and_started_anew_and_one_that_waits_is_not() {
        let clock = Arc::new(SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH));
        let (hearts, metrics, stop) = (Heartbeats::new(clock.clone()), Metrics::new(), CancellationToken::new());
        let watch = Watch { hearts: hearts.clone(), metrics: metrics.clone(), patience: Duration::from_millis(40) };
        let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(2), Duration::from_secs(60));
        let mut supervisor = Supervisor::new(stop.clone());
        let (runs, held, end) = (Arc::<AtomicU32>::default(), Arc::new(()), stop.clone());
        let (counted, lent) = (runs.clone(), Arc::downgrade(&held));
        let holds = held.clone();
        supervisor.spawn_watched("part", backoff, watch, move |_, heart| {
            let (run, holds, clock, end) =
                (counted.fetch_add(1, Ordering::SeqCst), holds.clone(), clock.clone(), end.clone());
            async move {
                let _holds = holds;
                clock.advance(Duration::from_secs(1));
                if run == 0 {
                    std::future::pending::<()>().await;
                }
                // Much longer than its patience, and alive all the time.
                heart.beating(tokio::time::sleep(Duration::from_millis(200))).await;
                end.cancel();
                Ok(())
            }
        });
        supervisor.run(Duration::from_secs(5)).await.expect("stopped");
        assert_eq!(runs.load(Ordering::SeqCst), 2);
        assert_eq!(metrics.part_restarts.get_or_create(&metrics::part("part")).get(), 1);
        drop(held);
        assert_eq!(lent.strong_count(), 0, "what the first run held was let go");
        assert_eq!(hearts.stalled(), vec![]);
    }
}
