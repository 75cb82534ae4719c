//! Tasks that are restarted when they hang.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use tokio_util::sync::CancellationToken;

use super::{Backoff, Heartbeat, Heartbeats, Restart, Supervisor};
use crate::metrics::{self, Metrics};

/// A silent task is looked at this often, or four times within its patience.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// When a task counts as hanging, and where that is reported.
#[derive(Clone, Debug)]
pub struct Watch {
    /// Where its heartbeat is registered, as not critical.
    pub heartbeats: Heartbeats,
    /// Restarts are counted here.
    pub metrics: Metrics,
    /// It has to beat at least this often.
    pub patience: Duration,
}

impl Supervisor {
    /// Like [`Supervisor::spawn`], for a task that beats: one that hangs in something that no limit of its own
    /// covers is dropped where it waits, with all that it holds, and restarted. A task that blocks its
    /// thread cannot be dropped; its heartbeat is silent.
    pub fn spawn_watched<F, Fut>(&mut self, name: impl Into<String>, backoff: Backoff, watch: Watch, mut make: F)
    where
        F: FnMut(CancellationToken, Heartbeat) -> Fut + Send + 'static,
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
            let heartbeat = watch.heartbeats.register(name.clone(), watch.patience, false);
            let run = make(stop.clone(), heartbeat.clone());
            let (watch, rests, part) = (watch.clone(), rests.clone(), metrics::part(&name));
            async move {
                let started = Instant::now();
                let silent_for = tokio::select! {
                    outcome = run => return outcome,
                    silent_for = silence(&heartbeat, watch.patience) => silent_for,
                };
                heartbeat.retire();
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

/// Returns when two looks in a row found the heartbeat late: after a suspended box wakes up, every heartbeat is for a moment.
async fn silence(heartbeat: &Heartbeat, patience: Duration) -> Duration {
    let mut suspected = false;
    loop {
        tokio::time::sleep(LOOK_EVERY.min(patience / 4)).await;
        let late = heartbeat.is_late();
        if std::mem::replace(&mut suspected, late) && late {
            return heartbeat.silent_for();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::clock::{Mono, SimulatedClock};

    #[tokio::test]
    async fn a_task_that_hangs_is_dropped_and_restarted_and_one_that_waits_is_not() {
        let clock = Arc::new(SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH));
        let (heartbeats, metrics, stop) = (Heartbeats::new(clock.clone()), Metrics::new(), CancellationToken::new());
        let watch =
            Watch { heartbeats: heartbeats.clone(), metrics: metrics.clone(), patience: Duration::from_millis(40) };
        let backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(2), Duration::from_secs(60));
        let mut supervisor = Supervisor::new(stop.clone());
        let (runs, held, end) = (Arc::<AtomicU32>::default(), Arc::new(()), stop.clone());
        let (counted, lent) = (runs.clone(), Arc::downgrade(&held));
        let holds = held.clone();
        supervisor.spawn_watched("part", backoff, watch, move |_, heartbeat| {
            let (run, holds, clock, end) =
                (counted.fetch_add(1, Ordering::SeqCst), holds.clone(), clock.clone(), end.clone());
            async move {
                let _holds = holds;
                clock.advance(Duration::from_secs(1));
                if run == 0 {
                    std::future::pending::<()>().await;
                }
                // Much longer than its patience, and alive all the time.
                heartbeat.beating(tokio::time::sleep(Duration::from_millis(200))).await;
                end.cancel();
                Ok(())
            }
        });
        supervisor.run(Duration::from_secs(5)).await.expect("stopped");
        assert_eq!(runs.load(Ordering::SeqCst), 2);
        assert_eq!(metrics.part_restarts.get_or_create(&metrics::part("part")).get(), 1);
        drop(held);
        assert_eq!(lent.strong_count(), 0, "what the first run held was let go");
        assert_eq!(heartbeats.stalled(), vec![]);
    }
}
