//! Takes items out of the queue ahead of the connection, without ever losing a loan.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{Item, Queue};
use crate::supervise::Heart;

/// How often the queue is looked at when nobody says that something came.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The least time between two looks, for a queue whose `wait` returns at once.
const BREATH: Duration = Duration::from_millis(50);

/// One lease at a time, kept running across the turns of the session's loop: a lease that is dropped half
/// way may have taken items that nobody would then give back.
pub(super) struct Feed<'a> {
    queue: &'a dyn Queue,
    heart: &'a Heart,
    next: Option<BoxFuture<'a, Result<Vec<Item>>>>,
    closing: CancellationToken,
    /// Something older went back to the queue: a lease that runs already would give later items first.
    overtaken: Arc<AtomicBool>,
}

impl<'a> Feed<'a> {
    pub(super) fn new(queue: &'a dyn Queue, heart: &'a Heart) -> Self {
        Self { queue, heart, next: None, closing: CancellationToken::new(), overtaken: Arc::default() }
    }

    /// The next items, at least one, at most `max` as of when the wait began. Cancel safe.
    pub(super) async fn next(&mut self, max: usize) -> Result<Vec<Item>> {
        if self.next.is_none() {
            self.overtaken.store(false, Ordering::Relaxed);
        }
        let (queue, heart, closing, overtaken) = (self.queue, self.heart, &self.closing, &self.overtaken);
        let begin =
            || Box::pin(wait_and_lease(queue, heart, max, closing.clone(), overtaken.clone())) as BoxFuture<'a, _>;
        let items = self.next.get_or_insert_with(begin).await;
        self.next = None;
        items
    }

    /// Older items go back to the queue: what is being leased at this moment is not handed out before them.
    pub(super) fn overtake(&self) {
        self.overtaken.store(true, Ordering::Relaxed);
    }

    /// Ends the wait and returns what was taken meanwhile.
    pub(super) async fn close(&mut self) -> VecDeque<Item> {
        self.closing.cancel();
        let Some(next) = self.next.take() else { return VecDeque::new() };
        next.await.map(VecDeque::from).unwrap_or_default()
    }
}

async fn wait_and_lease(
    queue: &dyn Queue,
    heart: &Heart,
    max: usize,
    closing: CancellationToken,
    overtaken: Arc<AtomicBool>,
) -> Result<Vec<Item>> {
    loop {
        // Asked before the look, so that what comes in between is not missed.
        let mut news = queue.wait();
        let already = futures::poll!(&mut news).is_ready();
        let items = queue.lease(max).await?;
        heart.beat();
        if overtaken.swap(false, Ordering::Relaxed) {
            for item in &items {
                queue.release(item.seq).await?;
            }
            continue;
        }
        if !items.is_empty() {
            return Ok(items);
        }
        let wait = async {
            if already {
                tokio::time::sleep(BREATH).await;
            } else {
                news.await;
            }
        };
        tokio::select! {
            () = wait => {}
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = closing.cancelled() => return Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::FutureExt;
    use tokio::sync::Semaphore;

    use super::super::tests::fixture;
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
            let mut free = self.free.lock().expect("lock");
            free.push(seq);
            free.sort_unstable();
        }
    }

    impl Queue for Slow {
        fn lease(&self, max: usize) -> BoxFuture<'_, Result<Vec<Item>>> {
            async move {
                let taken: Vec<u64> = {
                    let mut free = self.free.lock().expect("lock");
                    let most = max.min(free.len());
                    free.drain(..most).collect()
                };
                self.turns.acquire().await?.forget();
                let clock = SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH);
                Ok(taken.into_iter().map(|seq| fixture::item(&clock, seq, Phase::Start)).collect())
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

    fn unheard() -> Heart {
        Heart::unheard(Arc::new(SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH)))
    }

    fn seqs(items: impl IntoIterator<Item = Item>) -> Vec<u64> {
        items.into_iter().map(|item| item.seq).collect()
    }

    #[tokio::test]
    async fn an_overtaken_lease_goes_back_so_that_older_items_come_first() {
        let queue = Slow::new(vec![6, 7]);
        let heart = unheard();
        let mut feed = Feed::new(&queue, &heart);
        assert!(feed.next(16).now_or_never().is_none(), "the lease is under way");
        queue.put_back(5);
        feed.overtake();
        queue.turns.add_permits(2);
        assert_eq!(seqs(feed.next(16).await.expect("lease")), [5, 6, 7]);
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_half_way_loses_nothing() {
        let queue = Slow::new(vec![1, 2]);
        let heart = unheard();
        let mut feed = Feed::new(&queue, &heart);
        assert!(feed.next(16).now_or_never().is_none());
        assert!(feed.next(16).now_or_never().is_none());
        queue.turns.add_permits(1);
        assert_eq!(seqs(feed.close().await), [1, 2]);
        assert!(queue.free.lock().expect("lock").is_empty());
    }

    #[tokio::test]
    async fn closing_ends_the_wait_for_an_empty_queue() {
        let queue = Slow::new(vec![]);
        queue.turns.add_permits(1);
        let heart = unheard();
        let mut feed = Feed::new(&queue, &heart);
        assert!(feed.next(16).now_or_never().is_none());
        assert!(feed.close().await.is_empty());
    }
}
