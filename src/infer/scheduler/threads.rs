//! The inference threads: how many there are, which hang, and what takes their place.
//!
//! A thread that hangs cannot be ended. It is given up: it leaves the list, another one starts, and if it ever comes back
//! it finds that it is no member any more and exits. When [`MOST_LOST`] are around at once, no more are started, and the
//! heartbeat `infer` stops.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::{error, warn};

use super::job::{JobError, Reply, Subject};
use super::{Priority, Shared, skip};
use crate::clock::Mono;
use crate::metrics;
use crate::supervise::spawn_thread;

/// How often hung threads are looked for.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// The heartbeat `infer` beats every second while all threads are well.
pub(super) const HEARTBEAT_DEADLINE: Duration = Duration::from_secs(30);
/// Hung threads that may be around at once; each holds memory, and a core if it spins.
pub(super) const MOST_LOST: usize = 8;

struct Thread {
    handle: JoinHandle<()>,
    /// What it ran last.
    subject: Option<Subject>,
}

/// The list of threads.
pub(super) struct Threads {
    pub stopping: bool,
    members: BTreeMap<u64, Thread>,
    /// Threads that left by themselves, to be joined.
    ended: Vec<JoinHandle<()>>,
    wanted: usize,
    /// Threads that were given up and have not come back.
    lost: usize,
    exhausted: bool,
    next: u64,
}

impl Threads {
    pub(super) fn new(wanted: usize) -> Self {
        let (members, ended) = (BTreeMap::new(), Vec::new());
        Self { stopping: false, members, ended, wanted, lost: 0, exhausted: false, next: 0 }
    }

    /// Threads that are not given up.
    pub(super) fn count(&self) -> usize {
        self.members.len()
    }

    pub(super) fn is_member(&self, thread: u64) -> bool {
        self.members.contains_key(&thread)
    }

    pub(super) fn runs(&mut self, thread: u64, subject: Subject) {
        if let Some(thread) = self.members.get_mut(&thread) {
            thread.subject = Some(subject);
        }
    }

    pub(super) fn take_ended(&mut self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut self.ended)
    }

    /// The number of the next thread; `None` when there are enough or too many are lost.
    fn next(&mut self) -> Option<u64> {
        let wanted = !self.stopping && self.members.len() < self.wanted && self.lost < MOST_LOST;
        wanted.then(|| {
            self.next += 1;
            self.next - 1
        })
    }

    /// A thread ends: a member, or one that was lost and came back.
    fn leave(&mut self, thread: u64) {
        match self.members.remove(&thread) {
            Some(left) => {
                self.ended.retain(|handle| !handle.is_finished());
                self.ended.push(left.handle);
            }
            None => self.lost = self.lost.saturating_sub(1),
        }
    }

    /// Returns what it ran.
    fn give_up(&mut self, thread: u64) -> Option<Subject> {
        let member = self.members.remove(&thread)?;
        self.lost += 1;
        member.subject
    }

    /// Whether all threads are there.
    fn is_complete(&self) -> bool {
        self.stopping || self.members.len() >= self.wanted
    }

    /// True once when so many threads are lost that no more are started.
    fn newly_exhausted(&mut self) -> bool {
        let before = std::mem::replace(&mut self.exhausted, self.lost >= MOST_LOST);
        self.exhausted && !before
    }

    #[cfg(test)]
    pub(super) fn lost(&self) -> usize {
        self.lost
    }
}

/// A job whose thread was given up.
struct GivenUp {
    subject: Option<Subject>,
    reply: Option<Reply>,
    since: Mono,
}

impl Shared {
    /// Starts threads until there are as many as wanted or too many are lost.
    pub(super) fn refill(self: &Arc<Self>, threads: &mut Threads) -> std::io::Result<()> {
        while let Some(id) = threads.next() {
            let shared = self.clone();
            let handle = spawn_thread(format!("infer-{id}"), move || {
                let leave = Leave { shared: &shared, thread: id };
                while shared.run_next(id) {}
                drop(leave);
            })?;
            threads.members.insert(id, Thread { handle, subject: None });
        }
        Ok(())
    }

    /// Looks after the threads until all have ended.
    pub(super) fn watch(self: &Arc<Self>) {
        let mut state = self.lock();
        while !(state.threads.stopping && state.threads.count() == 0) {
            self.changed.wait_for(&mut state, WATCH_EVERY);
            drop(state);
            self.check();
            state = self.lock();
        }
    }

    /// Gives up hung threads, starts others in their place, answers jobs that wait for nothing any more, and beats when
    /// all is well.
    pub(super) fn check(self: &Arc<Self>) {
        let now = self.clock.mono();
        let mut state = self.lock();
        let hung = state.schedule.give_up_hung(now, self.hung_after);
        let threads = &mut state.threads;
        let given_up = hung.into_iter().map(|hung| GivenUp {
            subject: threads.give_up(hung.thread),
            reply: hung.job.map(|entry| entry.reply),
            since: hung.since,
        });
        let given_up: Vec<GivenUp> = given_up.collect();
        let refilled = self.refill(&mut state.threads);
        let exhausted = state.threads.newly_exhausted();
        if state.threads.is_complete() {
            self.heartbeat.beat();
        }
        let skipped = state.schedule.sweep(now);
        let waiting = Priority::ALL.map(|priority| (priority, state.schedule.waiting(priority)));
        drop(state);
        if !given_up.is_empty() {
            // The source is free again, perhaps with a job in it; and `stop` may be waiting.
            self.work.notify_all();
            self.changed.notify_all();
        }
        for (priority, jobs) in waiting {
            self.metrics.infer_waiting.get_or_create(&metrics::priority(priority.as_str())).set(jobs as i64);
        }
        for job in given_up {
            self.report_hung(job, now);
        }
        skip(skipped);
        if let Err(error) = refilled {
            warn!(%error, "no thread for inference, trying again");
        }
        if exhausted {
            error!(lost = MOST_LOST, "too many inference threads hang, the process must be restarted");
        }
    }

    fn report_hung(&self, GivenUp { subject, reply, since }: GivenUp, now: Mono) {
        let after = now.since(since);
        let Some(Subject { camera, priority, model }) = subject else { return };
        let for_s = after.as_secs_f32();
        match camera {
            Some(camera) => {
                self.metrics.dropped.get_or_create(&metrics::dropped(&camera, "infer_hung")).inc();
                error!(%camera, %model, for_s, "the detector hangs, its thread is given up");
            }
            None => error!(%priority, %model, for_s, "the detector hangs, its thread is given up"),
        }
        if let Some(reply) = reply {
            reply.answer(Err(JobError::Hung { model, after }));
        }
    }
}

/// Takes a thread off the list however it ends.
struct Leave<'a> {
    shared: &'a Shared,
    thread: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let unfinished = state.schedule.finish(self.thread, self.shared.clock.mono());
        state.threads.leave(self.thread);
        drop(state);
        self.shared.changed.notify_all();
        // Dropping it answers.
        drop(unfinished);
    }
}
