//! Sources that block run on a thread of their own; this is the seam between the thread and the tasks.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::{Arrivals, Source, SourceError};
use crate::frame::{AudioOffer, Packet};
use crate::supervise;

/// Packets between the thread and the consumer. What happens when it is full is the thread's choice:
/// a file waits, a camera drops.
const CAPACITY: usize = 8;

/// Opening a device or a file takes no longer, or something hangs.
pub(super) const OPEN_LIMIT: Duration = Duration::from_secs(10);

/// A thread that does not end within this after its stop was requested is stuck in the kernel.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// The thread's end.
pub(super) struct Outlet {
    packets: mpsc::Sender<Result<Packet, SourceError>>,
    ready: Option<oneshot::Sender<()>>,
    stop: StopFlag,
    arrivals: Arc<Mutex<Arrivals>>,
    audio: Arc<Mutex<Option<AudioOffer>>>,
}

/// Set when the receiver is dropped. The thread is also unparked then.
#[derive(Clone, Default)]
pub(super) struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Outlet {
    /// The source is open, packets will follow.
    pub(super) fn opened(&mut self) {
        if let Some(ready) = self.ready.take() {
            // No receiver means that the connect was given up; the stop flag says so too.
            let _ = ready.send(());
        }
    }

    pub(super) fn stop_flag(&self) -> StopFlag {
        self.stop.clone()
    }

    pub(super) fn stopped(&self) -> bool {
        self.stop.is_set() || self.packets.is_closed()
    }

    /// Waits for room. False when the receiver is dropped.
    pub(super) fn send(&self, packet: Packet) -> bool {
        self.packets.blocking_send(Ok(packet)).is_ok()
    }

    /// What there is to be heard.
    pub(super) fn offers(&self, audio: AudioOffer) {
        *self.audio.lock() = Some(audio);
    }

    /// Something came that no picture could be made of, and why not.
    pub(super) fn unusable(&self, why: impl FnOnce() -> String) {
        let mut arrivals = self.arrivals.lock();
        arrivals.unusable = arrivals.unusable.saturating_add(1);
        arrivals.why.get_or_insert_with(why);
    }

    /// Gives the packet away if there is room now; says whether it did.
    #[cfg(feature = "v4l")]
    pub(super) fn offer(&self, packet: Packet) -> bool {
        self.packets.try_send(Ok(packet)).is_ok()
    }
}

/// The consumer's end. Dropping it stops the thread and waits for its end.
pub(super) struct ThreadSource {
    packets: mpsc::Receiver<Result<Packet, SourceError>>,
    ended: SourceError,
    stop: StopFlag,
    thread: Option<JoinHandle<()>>,
    done: std::sync::mpsc::Receiver<()>,
    arrivals: Arc<Mutex<Arrivals>>,
    audio: Arc<Mutex<Option<AudioOffer>>>,
}

impl ThreadSource {
    /// Runs `work` on a thread called `name` and waits for at most `limit` until it has opened what it plays.
    /// The error that `work` returns is the last thing that the consumer gets.
    pub(super) async fn start(
        name: &str,
        what: String,
        limit: Duration,
        work: impl FnOnce(&mut Outlet) -> SourceError + Send + 'static,
    ) -> Result<Box<dyn Source>, SourceError> {
        let (sender, packets) = mpsc::channel(CAPACITY);
        let (ready, opened) = oneshot::channel();
        let (alive, done) = std::sync::mpsc::channel();
        let stop = StopFlag::default();
        let lost = |reason: String| SourceError::Lost { what: what.clone(), reason };
        let arrivals = Arc::<Mutex<Arrivals>>::default();
        let audio = Arc::<Mutex<Option<AudioOffer>>>::default();
        let (stopped, arrived, offered) = (stop.clone(), arrivals.clone(), audio.clone());
        let mut outlet =
            Outlet { packets: sender, ready: Some(ready), stop: stopped, arrivals: arrived, audio: offered };
        let panicked = lost("its thread panicked".to_owned());
        let thread = supervise::spawn_thread(name, move || {
            // Dropped at the end of this thread, which notifies the owner.
            let _alive: std::sync::mpsc::Sender<()> = alive;
            let end = std::panic::catch_unwind(AssertUnwindSafe(|| work(&mut outlet)));
            let end = end.unwrap_or_else(|panic| {
                warn!(panic = supervise::panic_text(&*panic), "the thread of a source panicked");
                panicked
            });
            let _ = outlet.packets.blocking_send(Err(end));
        });
        let thread = thread.map_err(|e| lost(format!("cannot start a thread for it: {e}")))?;
        let ended = lost("it has ended".to_owned());
        let mut source = Self { packets, ended, stop, thread: Some(thread), done, arrivals, audio };
        match tokio::time::timeout(limit, opened).await {
            Ok(Ok(())) => Ok(Box::new(source)),
            // The thread ended before it was open, and said why.
            Ok(Err(_)) => Err(source.receive().await.err().unwrap_or(source.ended.clone())),
            Err(_) => Err(lost(format!("it did not open within {} s", limit.as_secs()))),
        }
    }

    /// Nothing is taken out before this is ready, so it may be dropped at any time.
    async fn receive(&mut self) -> Result<Packet, SourceError> {
        match self.packets.recv().await {
            Some(Ok(packet)) => Ok(packet),
            Some(Err(end)) => {
                self.ended = end.clone();
                Err(end)
            }
            None => Err(self.ended.clone()),
        }
    }
}

impl Source for ThreadSource {
    fn next(&mut self) -> BoxFuture<'_, Result<Packet, SourceError>> {
        Box::pin(self.receive())
    }

    fn arrivals(&self) -> Arrivals {
        self.arrivals.lock().clone()
    }

    fn audio(&self) -> Option<AudioOffer> {
        self.audio.lock().clone()
    }
}

impl Drop for ThreadSource {
    fn drop(&mut self) {
        self.stop.0.store(true, Ordering::Relaxed);
        // Wakes a thread that waits for room.
        self.packets.close();
        while self.packets.try_recv().is_ok() {}
        let Some(thread) = self.thread.take() else { return };
        thread.thread().unpark();
        // The sender is never used, only dropped: that is the sign.
        if self.done.recv_timeout(STOP_LIMIT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            // Waiting on would hang everything behind this one camera.
            warn!(thread = thread.thread().name(), "the thread of a source does not stop, left behind");
            return;
        }
        // A panic was caught and reported in there already.
        let _ = thread.join();
    }
}
