//! A thread that another one takes over from when it hangs.
//!
//! What outlives the thread is its [`OwnedState`]. A [`ReplaceableThread`] watches the thread's heartbeat; when it is silent for
//! too long, or when the thread panicked, its state moves to a new thread. The old one cannot be
//! ended from outside: it is left alone, and loses the state and exits if it resumes.

use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Heartbeat, Heartbeats, spawn_thread};

/// Abandoned threads of one [`ReplaceableThread`] that may be around at once; each holds memory, and a core if it spins.
pub const MOST_ABANDONED: usize = 3;

/// State that moves from thread to thread; only the current owner can use it.
pub struct OwnedState<T>(Arc<Mutex<Option<T>>>);

impl<T> OwnedState<T> {
    fn new(work: T) -> Self {
        Self(Arc::new(Mutex::new(Some(work))))
    }

    /// Runs `act` on the state. `None` when another took over. A thread
    /// that hangs inside of `act` cannot be replaced.
    pub fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(act)
    }

    /// Whether no other thread took over.
    pub fn is_current(&self) -> bool {
        self.with(|_| ()).is_some()
    }

    /// The work is done: there is nothing to be taken over.
    pub fn leave(&self) {
        let work = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // What it owns may have a lot to do at its end.
        drop(work);
    }

    /// Takes the state, unless its thread works on it at this moment.
    fn take_over(&self) -> Option<T> {
        match self.0.try_lock() {
            Ok(mut work) => work.take(),
            // A thread that panicked over it has let go of it all the same.
            Err(TryLockError::Poisoned(work)) => work.into_inner().take(),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl<T> Clone for OwnedState<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for OwnedState<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedState").finish_non_exhaustive()
    }
}

/// The body of a thread.
pub type ThreadBody<T> = Box<dyn FnOnce(&OwnedState<T>, &Heartbeat) + Send>;

/// What a look at a thread found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The thread shows life.
    Well,
    /// The thread came to its end.
    Over,
    /// Another thread took over.
    Replaced {
        /// The first one panicked; else it hangs.
        panicked: bool,
        /// How long it was silent.
        silent_for: Duration,
    },
    /// It hangs and cannot be replaced: too many hang already, or it holds on to its state.
    Stuck {
        /// Threads that were given up and are still around.
        abandoned: usize,
    },
}

/// Threads of which one is at work.
pub struct ReplaceableThread<T> {
    name: String,
    thread_name: String,
    patience: Duration,
    heartbeats: Heartbeats,
    /// Makes what the next thread does; `None` when nothing is left to be done.
    next: Box<dyn FnMut() -> Option<ThreadBody<T>> + Send>,
    runner: Runner<T>,
    /// Taken from a thread that was given up, while no other could be started.
    orphaned: Option<T>,
    abandoned: Vec<JoinHandle<()>>,
    /// The last look found it silent. One look is not enough: after a suspended box wakes up, all parts were.
    suspected: bool,
}

struct Runner<T> {
    owned: OwnedState<T>,
    heartbeat: Heartbeat,
    thread: JoinHandle<()>,
    /// Closed by the end of the thread.
    end: Receiver<()>,
}

impl<T> fmt::Debug for ReplaceableThread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplaceableThread").field("name", &self.name).field("abandoned", &self.abandoned.len()).finish()
    }
}

impl<T: Send + 'static> ReplaceableThread<T> {
    /// Starts the first thread on `work`. `name` is that of the heartbeat, which may be silent for `patience`.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(
        name: String,
        thread_name: String,
        patience: Duration,
        heartbeats: &Heartbeats,
        work: T,
        mut next: impl FnMut() -> Option<ThreadBody<T>> + Send + 'static,
    ) -> Result<Self> {
        let body = next().with_context(|| format!("{name} has nothing to do"))?;
        let runner = Runner::start(&name, &thread_name, patience, heartbeats, &OwnedState::new(work), body)?;
        let (heartbeats, next) = (heartbeats.clone(), Box::new(next));
        let (orphaned, abandoned, suspected) = (None, Vec::new(), false);
        Ok(Self { name, thread_name, patience, heartbeats, next, runner, orphaned, abandoned, suspected })
    }

    /// Looks after the thread, and lets another take over where it must. Call it every few seconds; the second
    /// look that finds it silent acts.
    ///
    /// # Errors
    /// When no thread can be started; the next look tries again.
    pub fn look(&mut self) -> Result<Finding> {
        self.abandoned.retain(|thread| !thread.is_finished());
        let panicked = self.runner.thread.is_finished();
        let silent_for = self.runner.heartbeat.silent_for();
        if self.orphaned.is_none() {
            if panicked && !self.runner.owned.is_current() {
                return Ok(Finding::Over);
            }
            if !panicked && !self.is_silent_again() {
                return Ok(Finding::Well);
            }
            if panicked || self.abandoned.len() < MOST_ABANDONED {
                self.orphaned = self.runner.owned.take_over();
            }
        }
        let Some(work) = self.orphaned.take() else {
            self.runner.heartbeat.make_critical();
            return Ok(Finding::Stuck { abandoned: self.abandoned.len() });
        };
        let Some(body) = (self.next)() else { return Ok(Finding::Over) };
        let owned = OwnedState::new(work);
        match Runner::start(&self.name, &self.thread_name, self.patience, &self.heartbeats, &owned, body) {
            Ok(runner) => {
                let old = std::mem::replace(&mut self.runner, runner);
                old.heartbeat.retire();
                if !panicked {
                    self.abandoned.push(old.thread);
                }
                self.suspected = false;
                Ok(Finding::Replaced { panicked, silent_for })
            }
            Err(failure) => {
                self.orphaned = owned.take_over();
                Err(failure)
            }
        }
    }

    /// Whether this look and the last one found the thread silent.
    fn is_silent_again(&mut self) -> bool {
        let silent = self.runner.heartbeat.is_late();
        std::mem::replace(&mut self.suspected, silent) && silent
    }

    #[cfg(test)]
    pub(crate) fn abandoned(&self) -> usize {
        self.abandoned.len()
    }

    /// Waits until the thread has come to its end, `limit` at most; then leaves it behind, without its state.
    /// Returns whether it ended well.
    pub fn join(self, limit: Duration) -> bool {
        let Runner { owned, thread, end, .. } = self.runner;
        let ended = matches!(end.recv_timeout(limit), Err(RecvTimeoutError::Disconnected));
        let ended_well = ended && thread.join().is_ok();
        drop(owned.take_over());
        ended_well
    }
}

impl<T: Send + 'static> Runner<T> {
    fn start(
        name: &str,
        thread_name: &str,
        patience: Duration,
        heartbeats: &Heartbeats,
        owned: &OwnedState<T>,
        body: ThreadBody<T>,
    ) -> Result<Self> {
        let heartbeat = heartbeats.register(name, patience, false);
        let (alive, end): (Sender<()>, Receiver<()>) = channel();
        let (owned, own_state, own_heartbeat) = (owned.clone(), owned.clone(), heartbeat.clone());
        let thread = spawn_thread(thread_name, move || {
            let _alive = alive;
            body(&own_state, &own_heartbeat);
            // Not after a panic: then the next thread takes over. A thread that has ended needs no heartbeat.
            own_state.leave();
            own_heartbeat.retire();
        });
        let thread = thread.with_context(|| format!("start a thread for {name}"))?;
        Ok(Self { owned, heartbeat, thread, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Mono, SimulatedClock};

    const PATIENCE: Duration = Duration::from_secs(120);
    const SILENT: Duration = Duration::from_secs(11);

    /// A replaceable thread whose threads count in their state with each message, and hang or panic on request.
    struct Bench {
        thread: ReplaceableThread<Vec<&'static str>>,
        clock: Arc<SimulatedClock>,
        heartbeats: Heartbeats,
        orders: Receiver<Sender<&'static str>>,
        counted: Receiver<Option<usize>>,
        doors: Vec<Sender<()>>,
        closed: Receiver<Sender<()>>,
    }

    fn bench() -> Bench {
        let clock = Arc::new(SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH));
        let heartbeats = Heartbeats::new(clock.clone());
        let (report_orders, orders) = channel();
        let (count, counted) = channel();
        let (report_closed, closed) = channel();
        let next = move || {
            let (order, orders) = channel();
            report_orders.send(order).ok()?;
            let (count, report_closed) = (count.clone(), report_closed.clone());
            let body: ThreadBody<Vec<&'static str>> = Box::new(move |owned, heartbeat| {
                for order in orders {
                    heartbeat.beat();
                    match order {
                        "panic" => panic!("as ordered"),
                        "hang" => {
                            let (door, open) = channel::<()>();
                            report_closed.send(door).expect("the bench listens");
                            let _ = open.recv();
                        }
                        "end" => return,
                        order => {
                            let number = owned.with(|seen| {
                                seen.push(order);
                                seen.len()
                            });
                            // The test may be over.
                            let _ = count.send(number);
                            if number.is_none() {
                                return;
                            }
                        }
                    }
                }
            });
            Some(body)
        };
        let patience = Duration::from_secs(10);
        let thread = ReplaceableThread::start("part".into(), "part".into(), patience, &heartbeats, Vec::new(), next)
            .expect("start");
        Bench { thread, clock, heartbeats, orders, counted, doors: Vec::new(), closed }
    }

    impl Bench {
        fn hang(&mut self, order: &Sender<&'static str>) {
            order.send("hang").expect("a thread");
            self.doors.push(self.closed.recv_timeout(PATIENCE).expect("it hangs"));
            self.clock.advance(SILENT);
            assert_eq!(self.thread.look().expect("look"), Finding::Well, "one look is not enough");
        }
    }

    #[test]
    fn a_thread_that_hangs_is_replaced_and_finds_its_state_taken() {
        let mut bench = bench();
        let first = bench.orders.recv().expect("a first thread");
        first.send("one").expect("order");
        assert_eq!(bench.counted.recv_timeout(PATIENCE), Ok(Some(1)));
        bench.hang(&first);
        let silent_for = SILENT;
        assert_eq!(bench.thread.look().expect("look"), Finding::Replaced { panicked: false, silent_for });
        let second = bench.orders.recv().expect("a second thread");
        second.send("two").expect("order");
        assert_eq!(bench.counted.recv_timeout(PATIENCE), Ok(Some(2)), "what the first one knew is there");
        assert_eq!(bench.heartbeats.stalled(), vec![]);

        first.send("late").expect("order");
        bench.doors.clear();
        assert_eq!(bench.counted.recv_timeout(PATIENCE), Ok(None), "the first one has no business there any more");
        second.send("end").expect("order");
        assert!(bench.thread.join(PATIENCE));
    }

    #[test]
    fn a_thread_that_panics_is_replaced_at_once_and_one_that_ends_is_not() {
        let mut bench = bench();
        let first = bench.orders.recv().expect("a first thread");
        first.send("one").expect("order");
        first.send("panic").expect("order");
        let mut found = Finding::Well;
        while found == Finding::Well {
            found = bench.thread.look().expect("look");
        }
        assert_eq!(found, Finding::Replaced { panicked: true, silent_for: Duration::ZERO });
        let second = bench.orders.recv().expect("a second thread");
        second.send("two").expect("order");
        second.send("end").expect("order");
        assert_eq!(bench.counted.iter().take(2).collect::<Vec<_>>(), [Some(1), Some(2)]);
        while found != Finding::Over {
            found = bench.thread.look().expect("look");
        }
        assert!(bench.orders.try_recv().is_err(), "there is no third");
        while !bench.thread.runner.thread.is_finished() {
            std::thread::yield_now();
        }
        bench.clock.advance(SILENT);
        assert_eq!(bench.heartbeats.stalled(), vec![], "a part that ended is not reported");
    }

    #[test]
    fn when_too_many_hang_it_is_left_to_the_watchdog_until_one_comes_back() {
        let mut bench = bench();
        for _ in 0..MOST_ABANDONED {
            let order = bench.orders.recv().expect("a thread");
            bench.hang(&order);
            assert!(matches!(bench.thread.look().expect("look"), Finding::Replaced { .. }));
        }
        let order = bench.orders.recv().expect("a thread");
        bench.hang(&order);
        assert!(bench.heartbeats.stalled().iter().all(|part| !part.critical), "so far it helps itself");
        assert_eq!(bench.thread.look().expect("look"), Finding::Stuck { abandoned: MOST_ABANDONED });
        assert!(bench.heartbeats.stalled().iter().any(|part| part.critical));
        bench.doors.remove(0);
        let mut found = Finding::Stuck { abandoned: 0 };
        while matches!(found, Finding::Stuck { .. }) {
            found = bench.thread.look().expect("look");
        }
        assert!(matches!(found, Finding::Replaced { .. }), "{found:?}");
        assert_eq!(bench.heartbeats.stalled(), vec![]);
    }

    #[test]
    fn a_thread_that_hangs_while_it_uses_its_state_is_not_replaced_and_not_waited_for_for_ever() {
        let clock = Arc::new(SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH));
        let heartbeats = Heartbeats::new(clock.clone());
        let (door, open) = channel::<()>();
        let (arrive, arrived) = channel();
        let mut bodies = Some((open, arrive));
        let next = move || {
            let (open, arrive) = bodies.take()?;
            let body: ThreadBody<()> = Box::new(move |owned, _| {
                owned.with(|()| {
                    arrive.send(()).expect("the test listens");
                    let _ = open.recv();
                });
            });
            Some(body)
        };
        let mut thread =
            ReplaceableThread::start("part".into(), "part".into(), SILENT, &heartbeats, (), next).expect("start");
        arrived.recv_timeout(PATIENCE).expect("it holds its state");
        clock.advance(2 * SILENT);
        assert_eq!(thread.look().expect("look"), Finding::Well);
        assert_eq!(thread.look().expect("look"), Finding::Stuck { abandoned: 0 });
        assert!(!thread.join(Duration::from_millis(10)), "it is left behind");
        drop(door);
    }
}
