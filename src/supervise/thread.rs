//! Threads: a run cannot be ended from outside. It can lose its state to the next one.

use std::future::pending;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::drive::{Panicked, Part, Run};
use super::{Context, Heartbeat, panic_text, spawn_thread};

/// A thread that works on a state, which can be taken away from it. [`super::Supervisor::thread`] looks after one by its
/// policies; used alone by parts that decide themselves when another thread takes over.
#[derive(Debug)]
pub struct OwnedThread<T> {
    context: Context<T>,
    /// `None` once it was joined.
    thread: Option<JoinHandle<Result<()>>>,
    ended: oneshot::Receiver<()>,
}

impl<T: Send + 'static> OwnedThread<T> {
    /// Starts a thread on `body`. Its state is dropped there when `body` has succeeded, and stays for the next thread when it
    /// failed or panicked.
    ///
    /// # Errors
    /// When the system has no thread left. The state is still that of `context`.
    pub fn start(
        name: &str,
        context: &Context<T>,
        body: impl FnOnce(Context<T>) -> Result<()> + Send + 'static,
    ) -> Result<Self> {
        let (end, ended) = oneshot::channel();
        let own = context.clone();
        let thread = spawn_thread(name, move || {
            // Dropped at the end, whichever that is.
            let _end: oneshot::Sender<()> = end;
            body(own.clone())?;
            own.leave();
            Ok(())
        });
        let thread = Some(thread.with_context(|| format!("start the thread {name}"))?);
        Ok(Self { context: context.clone(), thread, ended })
    }

    /// Takes the state away, unless the thread works on it at this moment. The thread is asked to stop.
    pub fn take_over(&self) -> Option<T> {
        self.context.take_over()
    }

    /// What the thread was given.
    pub fn context(&self) -> &Context<T> {
        &self.context
    }

    /// Whether it has come to its end.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for its end, without a limit.
    ///
    /// # Errors
    /// What it failed of; a panic is a failure.
    pub fn join(mut self) -> Result<()> {
        self.thread.take().map_or(Ok(()), join)
    }
}

fn join(thread: JoinHandle<Result<()>>) -> Result<()> {
    thread.join().unwrap_or_else(|panic| Err(Panicked(panic_text(&*panic)).into()))
}

impl<T: Send + 'static> Run for OwnedThread<T> {
    async fn ended(&mut self) -> Result<()> {
        if self.thread.is_some() {
            // Dropped, never answered.
            let _ = (&mut self.ended).await;
        }
        match self.thread.take() {
            Some(thread) => join(thread),
            None => pending().await,
        }
    }

    fn is_around(&self) -> bool {
        !self.is_finished()
    }
}

/// What a thread does.
pub type ThreadBody<T> = Box<dyn FnOnce(Context<T>) -> Result<()> + Send>;

pub(super) struct Thread<T, F> {
    name: String,
    make: F,
    /// Made before the first run begins, so that what it connects is connected from then on.
    first: Option<ThreadBody<T>>,
    state: State<T>,
}

enum State<T> {
    /// Held by the last run that was started.
    Lent(Context<T>),
    /// Before the first run, and after one that was given up.
    Free(T),
    Gone,
}

impl<T, F: FnMut() -> Option<ThreadBody<T>>> Thread<T, F> {
    pub(super) fn new(name: &str, state: T, mut make: F) -> Self {
        Self { name: name.to_owned(), first: make(), make, state: State::Free(state) }
    }
}

impl<T, F> Part for Thread<T, F>
where
    T: Send + 'static,
    F: FnMut() -> Option<ThreadBody<T>> + Send,
{
    const IS_THREAD: bool = true;
    type Run = OwnedThread<T>;

    fn start(&mut self, stop: CancellationToken, heartbeat: Heartbeat) -> Result<Option<OwnedThread<T>>> {
        // Before the state is taken: what is prepared may panic, and is prepared again then.
        let Some(body) = self.first.take().or_else(&mut self.make) else { return Ok(None) };
        let state = match std::mem::replace(&mut self.state, State::Gone) {
            State::Free(state) => Some(state),
            State::Lent(context) => context.take_over(),
            State::Gone => None,
        };
        let Some(state) = state else { return Ok(None) };
        let context = Context::new(stop, heartbeat, state);
        let started = OwnedThread::start(&self.name, &context, body);
        self.state = State::Lent(context);
        started.map(Some)
    }

    fn give_up(&mut self, run: &mut OwnedThread<T>) -> bool {
        let Some(state) = run.take_over() else { return false };
        self.state = State::Free(state);
        true
    }
}
