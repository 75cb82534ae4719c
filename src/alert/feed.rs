//! Takes alerts out of the queue ahead of the connection, without ever losing a loan, and gathers those that are
//! too old into digests.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::Taken;
use super::age::Limits;
use super::digest::{Parcel, Sorting};
use super::queue::Queue;
use crate::clock::Clock;
use crate::supervise::Heartbeat;

/// How often the queue is looked at without a notification.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The least time between two looks, for a queue whose `wait` returns at once.
const BREATH: Duration = Duration::from_millis(50);

/// Alerts that are leased at a time to be gathered in digests.
const BATCH: usize = 512;

/// Alerts that are gathered in digests at a time, at most; the rest gets a digest of its own.
const OVERDUE: usize = 20_000;

/// Alerts to be published one by one that may be met, and are held, meanwhile.
const ALONE: usize = 1_024;

/// One lease at a time, kept running across the turns of the session's loop: a lease that is dropped half
/// way may have taken items that would then not be given back.
pub(super) struct Feed<'a> {
    context: FeedContext<'a>,
    next: Option<BoxFuture<'a, Result<Vec<Parcel>>>>,
    has_looked: bool,
    closing: CancellationToken,
    /// Something older went back to the queue: a lease that runs already would give later items first.
    overtaken: Arc<AtomicBool>,
}

/// What a feed works with.
#[derive(Clone, Copy)]
pub(super) struct FeedContext<'a> {
    pub queue: &'a dyn Queue,
    pub limits: &'a Limits,
    pub clock: &'a dyn Clock,
    pub heartbeat: &'a Heartbeat,
}

impl<'a> Feed<'a> {
    pub(super) fn new(context: FeedContext<'a>) -> Self {
        Self { context, next: None, has_looked: false, closing: CancellationToken::new(), overtaken: Arc::default() }
    }

    /// The next parcels, at least one; the first look comes back at once, with none where the queue is empty. They stand for at most `max` alerts as of when the wait began, for more
    /// where some are too old to be published one by one. Cancel safe.
    pub(super) async fn next(&mut self, max: usize) -> Result<Vec<Parcel>> {
        if self.next.is_none() {
            self.overtaken.store(false, Ordering::Relaxed);
        }
        let (context, closing, overtaken) = (self.context, &self.closing, &self.overtaken);
        let waits = self.has_looked;
        let begin = || Box::pin(context.lease(max, waits, closing.clone(), overtaken.clone())) as BoxFuture<'a, _>;
        let parcels = self.next.get_or_insert_with(begin).await;
        (self.next, self.has_looked) = (None, true);
        parcels
    }

    /// Older items go back to the queue: what is being leased at this moment is not handed out before them.
    pub(super) fn overtake(&self) {
        self.overtaken.store(true, Ordering::Relaxed);
    }

    /// Ends the wait and returns what was taken meanwhile.
    pub(super) async fn close(&mut self) -> VecDeque<Parcel> {
        self.closing.cancel();
        let Some(next) = self.next.take() else { return VecDeque::new() };
        next.await.map(VecDeque::from).unwrap_or_default()
    }
}

impl FeedContext<'_> {
    /// Leases, and waits for something to lease where it `waits`.
    async fn lease(
        self,
        max: usize,
        waits: bool,
        closing: CancellationToken,
        overtaken: Arc<AtomicBool>,
    ) -> Result<Vec<Parcel>> {
        let Self { queue, heartbeat, .. } = self;
        loop {
            // Asked before the look, so that what comes in between is not missed.
            let mut updates = queue.wait();
            let already = futures::poll!(&mut updates).is_ready();
            let items = queue.lease(max).await?;
            heartbeat.beat();
            let parcels = self.sort(items, &closing).await?;
            if overtaken.swap(false, Ordering::Relaxed) {
                self.give_back(&parcels).await?;
                continue;
            }
            if !parcels.is_empty() || !waits {
                return Ok(parcels);
            }
            let wait = async {
                if already {
                    tokio::time::sleep(BREATH).await;
                } else {
                    updates.await;
                }
            };
            tokio::select! {
                () = wait => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                () = closing.cancelled() => return Ok(Vec::new()),
            }
        }
    }

    /// Where there is anything too old among `items`, what follows is leased too, so that one digest publishes it all.
    async fn sort(self, items: Vec<Taken>, closing: &CancellationToken) -> Result<Vec<Parcel>> {
        let mut sorting = Sorting::new(self.limits, self.clock.now());
        let mut found = sorting.take(items);
        while found && !closing.is_cancelled() {
            let (alone, overdue) = sorting.taken();
            if alone >= ALONE || overdue >= OVERDUE {
                break;
            }
            match self.queue.lease(BATCH).await {
                Ok(more) if more.is_empty() => break,
                Ok(more) => found = sorting.take(more),
                Err(failure) => {
                    self.give_back(&sorting.finish()).await?;
                    return Err(failure);
                }
            }
            self.heartbeat.beat();
        }
        Ok(sorting.finish())
    }

    async fn give_back(self, parcels: &[Parcel]) -> Result<()> {
        for seq in parcels.iter().flat_map(Parcel::seqs) {
            self.queue.release(seq).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {

    use futures::FutureExt;
    use parking_lot::Mutex;
    use tokio::sync::Semaphore;

    use super::super::fixture;
    use super::*;
    use crate::clock::{Mono, SimulatedClock};
    use crate::event::Phase;

    /// A queue whose leases take items at once but return only when the test lets them.
    struct Slow {
        turns: Semaphore,
        free: Mutex<Vec<u64>>,
    }

    impl Slow {
        fn new(free: Vec<u64>) -> Self {
            Self { turns: Semaphore::new(0), free: Mutex::new(free) }
        }

        fn put_back(&self, seq: u64) {
            let mut free = self.free.lock();
            free.push(seq);
            free.sort_unstable();
        }
    }

    impl Queue for Slow {
        fn lease(&self, max: usize) -> BoxFuture<'_, Result<Vec<Taken>>> {
            async move {
                let taken: Vec<u64> = {
                    let mut free = self.free.lock();
                    let most = max.min(free.len());
                    free.drain(..most).collect()
                };
                self.turns.acquire().await?.forget();
                let clock = SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH);
                Ok(taken
                    .into_iter()
                    .map(|seq| Taken::Alert(Box::new(fixture::item(&clock, seq, Phase::Start))))
                    .collect())
            }
            .boxed()
        }

        fn ack(&self, _: u64) -> BoxFuture<'_, Result<()>> {
            async { Ok(()) }.boxed()
        }

        fn release(&self, seq: u64) -> BoxFuture<'_, Result<()>> {
            self.put_back(seq);
            async { Ok(()) }.boxed()
        }

        fn reject<'a>(&'a self, _: u64, _: &'a str) -> BoxFuture<'a, Result<()>> {
            async { Ok(()) }.boxed()
        }

        fn wait(&self) -> BoxFuture<'_, ()> {
            std::future::pending().boxed()
        }
    }

    /// What a feed needs beside its queue.
    struct Office {
        clock: SimulatedClock,
        limits: Limits,
        heartbeat: Heartbeat,
    }

    impl Office {
        fn new() -> Self {
            let clock = || SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH);
            let limits = Limits { max_age: Duration::from_secs(60), rules: Arc::default() };
            Self { clock: clock(), limits, heartbeat: Heartbeat::detached(Arc::new(clock())) }
        }

        fn feed<'a>(&'a self, queue: &'a dyn Queue) -> Feed<'a> {
            Feed::new(FeedContext { queue, limits: &self.limits, clock: &self.clock, heartbeat: &self.heartbeat })
        }
    }

    fn seqs(parcels: impl IntoIterator<Item = Parcel>) -> Vec<u64> {
        parcels.into_iter().flat_map(|parcel| parcel.seqs()).collect()
    }

    #[tokio::test]
    async fn an_overtaken_lease_goes_back_so_that_older_items_come_first() {
        let queue = Slow::new(vec![6, 7]);
        let office = Office::new();
        let mut feed = office.feed(&queue);
        assert!(feed.next(16).now_or_never().is_none(), "the lease is under way");
        queue.put_back(5);
        feed.overtake();
        queue.turns.add_permits(2);
        assert_eq!(seqs(feed.next(16).await.expect("lease")), [5, 6, 7]);
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_half_way_loses_nothing() {
        let queue = Slow::new(vec![1, 2]);
        let office = Office::new();
        let mut feed = office.feed(&queue);
        assert!(feed.next(16).now_or_never().is_none());
        assert!(feed.next(16).now_or_never().is_none());
        queue.turns.add_permits(1);
        assert_eq!(seqs(feed.close().await), [1, 2]);
        assert!(queue.free.lock().is_empty());
    }

    #[tokio::test]
    async fn closing_ends_the_wait_for_an_empty_queue() {
        let queue = Slow::new(vec![]);
        queue.turns.add_permits(1);
        let office = Office::new();
        let mut feed = office.feed(&queue);
        assert!(feed.next(16).await.expect("the first look").is_empty());
        queue.turns.add_permits(1);
        assert!(feed.next(16).now_or_never().is_none());
        assert!(feed.close().await.is_empty());
    }
}
