//! Tasks: a run is a future, which can be dropped wherever it waits.

use std::any::Any;
use std::future::{Future, pending};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;

use anyhow::Result;
use futures::FutureExt;
use tokio_util::sync::CancellationToken;

use super::drive::{Panicked, Part, Run};
use super::{Context, Heartbeat, panic_text};

pub(super) struct Task<F>(pub F);

type Outcome = Result<Result<()>, Box<dyn Any + Send>>;

/// `None` once it was dropped.
pub(super) struct TaskRun(Option<Pin<Box<dyn Future<Output = Outcome> + Send>>>);

impl<F, Fut> Part for Task<F>
where
    F: FnMut(Context) -> Fut + Send + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    const IS_THREAD: bool = false;
    type Run = TaskRun;

    fn start(&mut self, stop: CancellationToken, heartbeat: Heartbeat) -> Result<Option<TaskRun>> {
        let context = Context::new(stop, heartbeat, ());
        let body = catch_unwind(AssertUnwindSafe(|| (self.0)(context)));
        let body = body.map_err(|panic| Panicked(panic_text(&*panic)))?;
        Ok(Some(TaskRun(Some(Box::pin(AssertUnwindSafe(body).catch_unwind())))))
    }

    /// What it holds, leases among it, goes with it.
    fn give_up(&mut self, run: &mut TaskRun) -> bool {
        drop(run.0.take());
        true
    }
}

impl Run for TaskRun {
    async fn ended(&mut self) -> Result<()> {
        let Some(body) = &mut self.0 else { return pending().await };
        body.await.unwrap_or_else(|panic| Err(Panicked(panic_text(&*panic)).into()))
    }

    fn is_around(&self) -> bool {
        self.0.is_some()
    }
}
