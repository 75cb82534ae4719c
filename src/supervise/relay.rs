//! A thread that another one takes over from when it hangs.
//!
//! What outlives the thread lies on a [`Seat`]. A [`Relay`] watches the thread's heart; when it is silent for
//! too long, or when the thread panicked, what lies on its seat goes to a fresh thread. The old one cannot be
//! ended from outside: it is left alone, and finds its seat empty should it ever wake up.

use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Heart, Heartbeats, spawn_thread};

/// Abandoned threads of one relay that may be around at once; each holds memory, and a core if it spins.
pub const MOST_ABANDONED: usize = 3;

/// What one thread after the other works on; only the present one finds it there.
pub struct Seat<T>(Arc<Mutex<Option<T>>>);

impl<T> Seat<T> {
    fn new(work: T) -> Self {
        Self(Arc::new(Mutex::new(Some(work))))
    }

    /// Lets the thread that holds the seat work on what lies there. `None` when another took over. A thread
    /// that hangs inside of `act` cannot be replaced.
    pub fn with<R>(&self, act: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(act)
    }

    /// Whether no other thread took over.
    pub fn is_held(&self) -> bool {
        self.with(|_| ()).is_some()
    }

    /// The work is done: there is nothing to be taken over.
    pub fn leave(&self) {
        let work = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // What it owns may have a lot to do at its end.
        drop(work);
    }

    /// Takes everything off the seat, unless its thread works on it at this moment.
    fn vacate(&self) -> Option<T> {
        match self.0.try_lock() {
            Ok(mut work) => work.take(),
            // A thread that panicked over it has let go of it all the same.
            Err(TryLockError::Poisoned(work)) => work.into_inner().take(),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl<T> Clone for Seat<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for Seat<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seat").finish_non_exhaustive()
    }
}

/// What a fresh thread does, from taking its seat to its end.
pub type Leg<T> = Box<dyn FnOnce(&Seat<T>, &Heart) + Send>;

/// What a look at a relay found.
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
    /// It hangs and cannot be replaced: too many hang already, or it holds on to its seat.
    Stuck {
        /// Threads that were given up and are still around.
        abandoned: usize,
    },
}

/// Threads of which one is at work.
pub struct Relay<T> {
    name: String,
    thread_name: String,
    patience: Duration,
    hearts: Heartbeats,
    /// Makes what the next thread does; `None` when nothing is left to be done.
    next: Box<dyn FnMut() -> Option<Leg<T>> + Send>,
    runner: Runner<T>,
    /// Taken from a thread that was given up, while no other could be started.
    orphaned: Option<T>,
    abandoned: Vec<JoinHandle<()>>,
    /// The last look found it silent. One look is not enough: after a suspended box wakes up, everybody was.
    suspected: bool,
}

struct Runner<T> {
    seat: Seat<T>,
    heart: Heart,
    thread: JoinHandle<()>,
    /// Closed by the end of the thread.
    end: Receiver<()>,
}

impl<T> fmt::Debug for Relay<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").field("name", &self.name).field("abandoned", &self.abandoned.len()).finish()
    }
}

impl<T: Send + 'static> Relay<T> {
    /// Starts the first thread on `work`. `name` is that of the heart, which may be silent for `patience`.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(
        name: String,
        thread_name: String,
        patience: Duration,
        hearts: &Heartbeats,
        work: T,
        mut next: impl FnMut() -> Option<Leg<T>> + Send + 'static,
    ) -> Result<Self> {
        let leg = next().with_context(|| format!("{name} has nothing to do"))?;
        let runner = Runner::start(&name, &thread_name, patience, hearts, &Seat::new(work), leg)?;
        let (hearts, next) = (hearts.clone(), Box::new(next));
        let (orphaned, abandoned, suspected) = (None, Vec::new(), false);
        Ok(Self { name, thread_name, patience, hearts, next, runner, orphaned, abandoned, suspected })
    }

    /// Looks after the thread, and lets another take over where it must. Call it every few seconds; the second
    /// look that finds it silent acts.
    ///
    /// # Errors
    /// When no thread can be started; the next look tries again.
    pub fn look(&mut self) -> Result<Finding> {
        self.abandoned.retain(|thread| !thread.is_finished());
        let panicked = self.runner.thread.is_finished();
        let silent_for = self.runner.heart.silent_for();
        if self.orphaned.is_none() {
            if panicked && !self.runner.seat.is_held() {
                return Ok(Finding::Over);
            }
            if !panicked && !self.is_silent_again() {
                return Ok(Finding::Well);
            }
            if panicked || self.abandoned.len() < MOST_ABANDONED {
                self.orphaned = self.runner.seat.vacate();
            }
        }
        let Some(work) = self.orphaned.take() else {
            self.runner.heart.make_critical();
            return Ok(Finding::Stuck { abandoned: self.abandoned.len() });
        };
        let Some(leg) = (self.next)() else { return Ok(Finding::Over) };
        let seat = Seat::new(work);
        match Runner::start(&self.name, &self.thread_name, self.patience, &self.hearts, &seat, leg) {
            Ok(runner) => {
                let old = std::mem::replace(&mut self.runner, runner);
                old.heart.retire();
                if !panicked {
                    self.abandoned.push(old.thread);
                }
                self.suspected = false;
                Ok(Finding::Replaced { panicked, silent_for })
            }
            Err(failure) => {
                self.orphaned = seat.vacate();
                Err(failure)
            }
        }
    }

    /// Whether this look and the last one found the thread silent.
    fn is_silent_again(&mut self) -> bool {
        let silent = self.runner.heart.is_late();
        std::mem::replace(&mut self.suspected, silent) && silent
    }

    #[cfg(test)]
    pub(crate) fn abandoned(&self) -> usize {
        self.abandoned.len()
    }

    /// Waits until the thread has come to its end, `limit` at most; then leaves it behind, without its seat.
    /// Returns whether it ended well.
    pub fn join(self, limit: Duration) -> bool {
        let Runner { seat, thread, end, .. } = self.runner;
        let ended = matches!(end.recv_timeout(limit), Err(RecvTimeoutError::Disconnected));
        let ended_well = ended && thread.join().is_ok();
        drop(seat.vacate());
        ended_well
    }
}

impl<T: Send + 'static> Runner<T> {
    fn start(
        name: &str,
        thread_name: &str,
        patience: Duration,
        hearts: &Heartbeats,
        seat: &Seat<T>,
        leg: Leg<T>,
    ) -> Result<Self> {
        let heart = hearts.register(name, patience, false);
        let (alive, end): (Sender<()>, Receiver<()>) = channel();
        let (seat, own_seat, own_heart) = (seat.clone(), seat.clone(), heart.clone());
        let thread = spawn_thread(thread_name, move || {
            let _alive = alive;
            leg(&own_seat, &own_heart);
            // Not after a panic: then the next thread takes over. Who has ended need not show life any more.
            own_seat.leave();
            own_heart.retire();
        });
        let thread = thread.with_context(|| format!("start a thread for {name}"))?;
        Ok(Self { seat, heart, thread, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Mono, SimulatedClock};

    const PATIENCE: Duration = Duration::from_secs(120);
    const SILENT: Duration = Duration::from_secs(11);

    /// A relay whose threads count on their seat with each message, and hang or panic when they are told to.
    struct Bench {
        relay: Relay<Vec<&'static str>>,
        clock: Arc<SimulatedClock>,
        hearts: Heartbeats,
        orders: Receiver<Sender<&'static str>>,
        counted: Receiver<Option<usize>>,
        doors: Vec<Sender<()>>,
        closed: Receiver<Sender<()>>,
    }

    fn bench() -> Bench {
        let clock = Arc::new(SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH));
        let hearts = Heartbeats::new(clock.clone());
        let (tell_orders, orders) = channel();
        let (count, counted) = channel();
        let (tell_closed, closed) = channel();
        let next = move || {
            let (order, orders) = channel();
            tell_orders.send(order).ok()?;
            let (count, tell_closed) = (count.clone(), tell_closed.clone());
            let leg: Leg<Vec<&'static str>> = Box::new(move |seat, heart| {
                for order in orders {
                    heart.beat();
                    match order {
                        "panic" => panic!("as ordered"),
                        "hang" => {
                            let (door, open) = channel::<()>();
                            tell_closed.send(door).expect("the bench listens");
                            let _ = open.recv();
                        }
                        "end" => return,
                        order => {
                            let number = seat.with(|seen| {
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
            Some(leg)
        };
        let patience = Duration::from_secs(10);
        let relay = Relay::start("part".into(), "part".into(), patience, &hearts, Vec::new(), next).expect("start");
        Bench { relay, clock, hearts, orders, counted, doors: Vec::new(), closed }
    }

    impl Bench {
        fn hang(&mut self, order: &Sender<&'static str>) {
            order.send("hang").expect("a thread");
            self.doors.push(self.closed.recv_timeout(PATIENCE).expect("it hangs"));
            self.clock.advance(SILENT);
            assert_eq!(self.relay.look().expect("look"), Finding::Well, "one look is not enough");
        }
    }

    #[test]
    fn a_thread_that_hangs_is_replaced_and_finds_its_seat_taken() {
        let mut bench = bench();
        let first = bench.orders.recv().expect("a first thread");
        first.send("one").expect("order");
        assert_eq!(bench.counted.recv_timeout(PATIENCE), Ok(Some(1)));
        bench.hang(&first);
        let silent_for = SILENT;
        assert_eq!(bench.relay.look().expect("look"), Finding::Replaced { panicked: false, silent_for });
        let second = bench.orders.recv().expect("a second thread");
        second.send("two").expect("order");
        assert_eq!(bench.counted.recv_timeout(PATIENCE), Ok(Some(2)), "what the first one knew is there");
        assert_eq!(bench.hearts.stalled(), vec![]);

        first.send("late").expect("order");
        bench.doors.clear();
        assert_eq!(bench.counted.recv_timeout(PATIENCE), Ok(None), "the first one has no business there any more");
        second.send("end").expect("order");
        assert!(bench.relay.join(PATIENCE));
    }

    #[test]
    fn a_thread_that_panics_is_replaced_at_once_and_one_that_ends_is_not() {
        let mut bench = bench();
        let first = bench.orders.recv().expect("a first thread");
        first.send("one").expect("order");
        first.send("panic").expect("order");
        let mut found = Finding::Well;
        while found == Finding::Well {
            found = bench.relay.look().expect("look");
        }
        assert_eq!(found, Finding::Replaced { panicked: true, silent_for: Duration::ZERO });
        let second = bench.orders.recv().expect("a second thread");
        second.send("two").expect("order");
        second.send("end").expect("order");
        assert_eq!(bench.counted.iter().take(2).collect::<Vec<_>>(), [Some(1), Some(2)]);
        while found != Finding::Over {
            found = bench.relay.look().expect("look");
        }
        assert!(bench.orders.try_recv().is_err(), "there is no third");
        while !bench.relay.runner.thread.is_finished() {
            std::thread::yield_now();
        }
        bench.clock.advance(SILENT);
        assert_eq!(bench.hearts.stalled(), vec![], "nobody misses who came to an end");
    }

    #[test]
    fn when_too_many_hang_it_is_left_to_the_watchdog_until_one_comes_back() {
        let mut bench = bench();
        for _ in 0..MOST_ABANDONED {
            let order = bench.orders.recv().expect("a thread");
            bench.hang(&order);
            assert!(matches!(bench.relay.look().expect("look"), Finding::Replaced { .. }));
        }
        let order = bench.orders.recv().expect("a thread");
        bench.hang(&order);
        assert!(bench.hearts.stalled().iter().all(|part| !part.critical), "so far it helps itself");
        assert_eq!(bench.relay.look().expect("look"), Finding::Stuck { abandoned: MOST_ABANDONED });
        assert!(bench.hearts.stalled().iter().any(|part| part.critical));
        bench.doors.remove(0);
        let mut found = Finding::Stuck { abandoned: 0 };
        while matches!(found, Finding::Stuck { .. }) {
            found = bench.relay.look().expect("look");
        }
        assert!(matches!(found, Finding::Replaced { .. }), "{found:?}");
        assert_eq!(bench.hearts.stalled(), vec![]);
    }

    #[test]
    fn a_thread_that_hangs_on_its_seat_is_not_replaced_and_not_waited_for_for_ever() {
        let clock = Arc::new(SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH));
        let hearts = Heartbeats::new(clock.clone());
        let (door, open) = channel::<()>();
        let (arrive, arrived) = channel();
        let mut legs = Some((open, arrive));
        let next = move || {
            let (open, arrive) = legs.take()?;
            let leg: Leg<()> = Box::new(move |seat, _| {
                seat.with(|()| {
                    arrive.send(()).expect("the test listens");
                    let _ = open.recv();
                });
            });
            Some(leg)
        };
        let mut relay = Relay::start("part".into(), "part".into(), SILENT, &hearts, (), next).expect("start");
        arrived.recv_timeout(PATIENCE).expect("it holds its seat");
        clock.advance(2 * SILENT);
        assert_eq!(relay.look().expect("look"), Finding::Well);
        assert_eq!(relay.look().expect("look"), Finding::Stuck { abandoned: 0 });
        assert!(!relay.join(Duration::from_millis(10)), "it is left behind");
        drop(door);
    }
}
