//! The line to one destination: how fast it is, how fast it may be, and what goes first on it.
//!
//! Every request body goes through here in small pieces ([`BandwidthLimiter::admit`]). So a limit in kbit/s holds over all
//! transfers, a large file stands back while a small one is on its way, and a transfer counts as dead when nothing of
//! it has moved for a while, not when a clock that knows nothing of its size has run out.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::{Instant, sleep};

use super::proof::Stated;
use crate::supervise::Heartbeat;

/// Nothing has moved for so long: the line is dead.
const SILENT: Duration = Duration::from_secs(60);
/// How often a transfer is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// What the kernel may hold of a body that we have given away, in bytes.
const IN_FLIGHT: u64 = 4 << 20;
/// The slowest line that is waited for, in bytes a second (8 kbit/s).
const SLOWEST: f64 = 1024.0;
/// Bodies below this size do not measure the line's speed.
const MEASURABLE: u64 = 32 << 10;
/// Weight of the newest measurement.
const NEWEST: f64 = 0.3;
/// A large transfer stands back for at most so long before it sends its next piece: it must not be taken for dead.
const STAND_BACK: Duration = Duration::from_secs(15);
const STAND_BACK_STEP: Duration = Duration::from_millis(50);

/// What goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Priority {
    /// Small and important: it goes first.
    High,
    /// It may take its time.
    Low,
}

/// The line of one destination. Clones are one.
#[derive(Clone, Debug)]
pub(super) struct BandwidthLimiter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Bytes a second; none: as fast as it goes.
    limit: Option<f64>,
    state: Mutex<State>,
    /// Transfers of high priority that are in progress.
    express: AtomicUsize,
    /// For how long nothing may move.
    silent: Duration,
}

#[derive(Debug)]
struct State {
    /// Bytes that may be sent at once; negative after a transfer on credit.
    allowance: f64,
    refilled: Instant,
    /// Bytes a second, as measured.
    speed: Option<f64>,
}

tokio::task_local! {
    static CONTEXT: Arc<RequestContext>;
}

/// One request and its answer, as seen by its caller and by its carrier.
#[derive(Debug)]
pub(super) struct RequestContext {
    priority: Priority,
    /// Grows with each piece.
    moved: AtomicU64,
    /// What is left of the body that is being sent.
    left: AtomicU64,
    /// It waits for its turn, which is not the line's fault.
    held: AtomicBool,
    /// For how long it has, in microseconds.
    held_us: AtomicU64,
    stated: Mutex<Option<Stated>>,
    /// What is sent in place of the body of a put.
    pub file: Option<PathBuf>,
}

impl RequestContext {
    fn new(priority: Priority, file: Option<PathBuf>) -> Self {
        Self {
            priority,
            file,
            moved: AtomicU64::new(0),
            left: AtomicU64::new(0),
            held: AtomicBool::new(false),
            held_us: AtomicU64::new(0),
            stated: Mutex::new(None),
        }
    }

    /// The context that the running task carries, if it carries one.
    pub(super) fn current() -> Option<Arc<Self>> {
        CONTEXT.try_with(Arc::clone).ok()
    }

    /// A body of `bytes` begins to be sent, perhaps once more.
    pub(super) fn begin(&self, bytes: u64) {
        self.left.store(bytes, Ordering::Relaxed);
    }

    fn took(&self, bytes: u64) {
        self.moved.fetch_add(bytes, Ordering::Relaxed);
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(bytes)));
    }

    /// Keeps what the answer says of the object.
    pub(super) fn state(&self, stated: Stated) {
        *self.stated.lock() = Some(stated);
    }
}

/// An answer, and what was seen on the way.
pub(super) struct Carried<T> {
    pub answer: T,
    /// Bytes that were sent for it, repetitions included.
    pub sent: u64,
    pub stated: Option<Stated>,
}

/// What a request brings with it.
#[derive(Clone, Debug)]
pub(super) struct TransferRequest {
    pub priority: Priority,
    /// Its size.
    pub bytes: u64,
    /// A file that is too large for memory, to be sent as the body of a put.
    pub file: Option<PathBuf>,
}

/// Nothing moved any more.
#[derive(Debug, thiserror::Error)]
#[error("nothing has moved for {} s", .0.as_secs())]
pub(super) struct Silent(Duration);

impl BandwidthLimiter {
    /// `limit` in bytes a second.
    pub(super) fn new(limit: Option<u64>) -> Self {
        let limit = limit.map(|limit| limit as f64);
        let state = State { allowance: limit.unwrap_or_default() / 4.0, refilled: Instant::now(), speed: None };
        Self(Arc::new(Inner { limit, state: Mutex::new(state), express: AtomicUsize::new(0), silent: SILENT }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }

    /// Bytes a second that got through lately; none before enough was sent to measure.
    pub(super) fn speed(&self) -> Option<f64> {
        self.state().speed
    }

    /// Whether it may only be so fast.
    pub(super) fn is_limited(&self) -> bool {
        self.0.limit.is_some()
    }

    /// Waits for the turn of a piece of `bytes`.
    pub(super) async fn admit(&self, context: &RequestContext, bytes: u64) {
        let begun = Instant::now();
        context.held.store(true, Ordering::Relaxed);
        while context.priority == Priority::Low
            && self.0.express.load(Ordering::Relaxed) > 0
            && begun.elapsed() < STAND_BACK
        {
            sleep(STAND_BACK_STEP).await;
        }
        if let Some(limit) = self.0.limit {
            while let Some(wait) = self.debit(limit, bytes) {
                sleep(wait).await;
            }
        }
        context.held.store(false, Ordering::Relaxed);
        let held = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        context.held_us.fetch_add(held, Ordering::Relaxed);
        context.took(bytes);
    }

    /// Takes `bytes` from the allowance, or says how long to wait for that.
    fn debit(&self, limit: f64, bytes: u64) -> Option<Duration> {
        let mut state = self.state();
        let now = Instant::now();
        let earned = now.duration_since(state.refilled).as_secs_f64() * limit;
        state.refilled = now;
        // A quarter of a second may be saved up; a piece may be larger than that.
        state.allowance = (state.allowance + earned).min(limit / 4.0);
        if state.allowance >= 0.0 {
            state.allowance -= bytes as f64;
            return None;
        }
        Some(Duration::from_secs_f64(-state.allowance / limit).max(Duration::from_millis(1)))
    }

    /// Waits for `request` for as long as something moves.
    ///
    /// # Errors
    /// [`Silent`] when nothing does.
    pub(super) async fn carry<T, E>(
        &self,
        TransferRequest { priority, bytes, file }: TransferRequest,
        heartbeat: &Heartbeat,
        request: impl Future<Output = Result<T, E>>,
    ) -> Result<Carried<Result<T, E>>, Silent> {
        let seen = Arc::new(RequestContext::new(priority, file));
        let _first = (priority == Priority::High).then(|| PriorityGuard::new(&self.0.express));
        let mut work = std::pin::pin!(CONTEXT.scope(seen.clone(), request));
        let begun = Instant::now();
        let (mut moved, mut last) = (0, begun);
        loop {
            tokio::select! {
                answer = &mut work => {
                    let sent = seen.moved.load(Ordering::Relaxed);
                    let held = Duration::from_micros(seen.held_us.load(Ordering::Relaxed));
                    if answer.is_ok() {
                        self.measure(sent, begun.elapsed().saturating_sub(held));
                    }
                    let stated = seen.stated.lock().take();
                    return Ok(Carried { answer, sent, stated });
                }
                () = sleep(LOOK) => {}
            }
            heartbeat.beat();
            let now_moved = seen.moved.load(Ordering::Relaxed);
            if now_moved != moved || seen.held.load(Ordering::Relaxed) {
                (moved, last) = (now_moved, Instant::now());
            }
            let patience = self.patience(bytes, seen.left.load(Ordering::Relaxed));
            if last.elapsed() >= patience {
                return Err(Silent(patience));
            }
        }
    }

    /// How long a transfer of `bytes` may be silent, of which `left` were not given away yet. What was may still be in
    /// the kernel.
    fn patience(&self, bytes: u64, left: u64) -> Duration {
        if left > 0 {
            return self.0.silent;
        }
        let speed = self.speed().unwrap_or(SLOWEST * 16.0).max(SLOWEST);
        self.0.silent + Duration::from_secs_f64(bytes.min(IN_FLIGHT) as f64 / speed)
    }

    fn measure(&self, bytes: u64, took: Duration) {
        if bytes < MEASURABLE {
            return;
        }
        let now = bytes as f64 / took.as_secs_f64().max(0.001);
        let mut state = self.state();
        state.speed = Some(state.speed.map_or(now, |known| known + NEWEST * (now - known)));
    }
}

/// Counts a transfer of high priority until it ends.
struct PriorityGuard<'a>(&'a AtomicUsize);

impl<'a> PriorityGuard<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for PriorityGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Mono, SimulatedClock};

    const PIECE: u64 = 16 << 10;
    const LOW: TransferRequest = TransferRequest { priority: Priority::Low, bytes: 0, file: None };
    const HIGH: TransferRequest = TransferRequest { priority: Priority::High, bytes: 0, file: None };

    fn heartbeat() -> Heartbeat {
        Heartbeat::detached(Arc::new(SimulatedClock::new(Mono(1), jiff::Timestamp::UNIX_EPOCH)))
    }

    /// Sends a body of so many pieces, with a pause before each.
    async fn send(
        limiter: &BandwidthLimiter,
        load: TransferRequest,
        pieces: u64,
        pause: Duration,
    ) -> Result<u64, Silent> {
        let body = async {
            let context = RequestContext::current().expect("carried");
            context.begin(pieces * PIECE);
            for _ in 0..pieces {
                sleep(pause).await;
                limiter.admit(&context, PIECE).await;
            }
            Ok::<_, ()>(())
        };
        let load = TransferRequest { bytes: pieces * PIECE, ..load };
        limiter.carry(load, &heartbeat(), body).await.map(|carried| carried.sent)
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_holds_over_all_transfers_together() {
        let limiter = BandwidthLimiter::new(Some(256 << 10));
        let begun = Instant::now();
        let (bulk, express) =
            tokio::join!(send(&limiter, LOW, 16, Duration::ZERO), send(&limiter, HIGH, 16, Duration::ZERO));
        assert_eq!((bulk.expect("alive"), express.expect("alive")), (16 * PIECE, 16 * PIECE));
        // 512 KiB at 256 KiB/s; what may be saved up and one piece go ahead.
        assert!(begun.elapsed() >= Duration::from_millis(2000 - 250 - 63), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_file_stands_back_for_a_small_one() {
        let limiter = BandwidthLimiter::new(None);
        let (finish, finished) = tokio::sync::oneshot::channel::<()>();
        let small = async {
            let wait = async { finished.await.map_err(drop) };
            limiter.carry(HIGH, &heartbeat(), wait).await.expect("alive").answer.expect("finished");
        };
        let large = RequestContext::new(Priority::Low, None);
        let meanwhile = async {
            let early = tokio::time::timeout(Duration::from_millis(300), limiter.admit(&large, PIECE)).await;
            assert!(early.is_err(), "it waits");
            finish.send(()).expect("the receiver waits");
            limiter.admit(&large, PIECE).await;
            assert_eq!(large.moved.load(Ordering::Relaxed), PIECE);
        };
        tokio::join!(small, meanwhile);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_line_is_waited_for_and_a_silent_one_is_not() {
        let mut limiter = BandwidthLimiter::new(None);
        Arc::get_mut(&mut limiter.0).expect("alone").silent = Duration::from_secs(5);
        send(&limiter, LOW, 60, Duration::from_millis(100)).await.expect("it moves");
        assert!(limiter.speed().expect("measured") <= (PIECE * 10) as f64);
        let dead = std::future::pending::<Result<(), ()>>();
        assert!(limiter.carry(LOW, &heartbeat(), dead).await.is_err());
    }
}
