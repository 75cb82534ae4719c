//! Takes items out of the queue ahead of the connection, without ever losing a loan.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::{Item, Queue};

/// How often the queue is looked at when nobody says that something came.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// The least time between two looks, for a queue whose `wait` returns at once.
const BREATH: Duration = Duration::from_millis(50);

/// One lease at a time, kept running across the turns of the session's loop: a lease that is dropped half
/// way may have taken items that nobody would then give back.
pub(super) struct Feed<'a> {
    queue: &'a dyn Queue,
    next: Option<BoxFuture<'a, Result<Vec<Item>>>>,
    closing: CancellationToken,
    /// Something older went back to the queue: a lease that runs already would give later items first.
    overtaken: Arc<AtomicBool>,
}

impl<'a> Feed<'a> {
    pub(super) fn new(queue: &'a dyn Queue) -> Self {
        Self { queue, next: None, closing: CancellationToken::new(), overtaken: Arc::default() }
    }

    /// The next items, at least one, at most `max` as of when the wait began. Cancel safe.
    pub(super) async fn next(&mut self, max: usize) -> Result<Vec<Item>> {
        if self.next.is_none() {
            self.overtaken.store(false, Ordering::Relaxed);
        }
        let (queue, closing, overtaken) = (self.queue, &self.closing, &self.overtaken);
        let begin = || Box::pin(wait_and_lease(queue, max, closing.clone(), overtaken.clone())) as BoxFuture<'a, _>;
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
    max: usize,
    closing: CancellationToken,
    overtaken: Arc<AtomicBool>,
) -> Result<Vec<Item>> {
    loop {
        // Asked before the look, so that what comes in between is not missed.
        let mut news = queue.wait();
        let already = futures::poll!(&mut news).is_ready();
        let items = queue.lease(max).await?;
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
