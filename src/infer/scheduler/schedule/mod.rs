//! Which job runs next: the state behind the scheduler's one lock. Nothing here waits, logs or asks for the time.
//!
//! Jobs come from *sources*: one for each slot of a camera, which holds the newest job only, and one queue for each
//! [`Priority`]. The rules, which the tests check on random histories:
//!
//! - **Cameras first.** While a camera waits, other work does not start, but for its reserved share.
//! - **Cameras share time, not turns.** The camera that has used the least time of the threads goes next. By turns, one
//!   camera whose model takes ten times as long would slow all others down to its own pace; by time it slows down only
//!   itself. A camera without jobs saves up nothing. A turn is charged with [`MOST_CHARGED`] at most, so that the
//!   camera with the slow model waits no longer than the others need to use up as much.
//! - **Other work has a share.** When some of it has waited for [`OVERTAKES_AFTER`], one job starts ahead of the
//!   cameras. From its end on, cameras go first for [`CAMERA_SHARE`] times as long as it ran. So it gets at most a tenth
//!   of the time of one thread that cameras want, and never nothing: the next job waits [`OVERTAKES_AFTER`] or nine
//!   times the length of the last one, whichever is longer.
//! - **Other work never has all threads**: one is left to cameras, where there are two or more. With one thread, a
//!   camera waits for one job at most, and a job is as long as one picture may take.
//! - **People before programs**, but a program that waits gets every fourth turn ([`PEOPLE_IN_A_ROW`]).
//!
//! Recording does not depend on any of this: it has its own packets, queue and thread.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::Priority;
use crate::clock::Mono;

/// What a turn of a camera costs it at most.
pub(super) const MOST_CHARGED: Duration = Duration::from_secs(1);
/// Other work that has waited for this long may start although a camera waits.
pub(super) const OVERTAKES_AFTER: Duration = Duration::from_secs(1);
/// Time that cameras have for themselves after other work, as a multiple of what that took.
pub(super) const CAMERA_SHARE: u32 = 9;
/// Jobs of people that start one after the other while a program waits.
pub(super) const PEOPLE_IN_A_ROW: u32 = 3;

/// What the schedule must know of a job.
pub(super) trait Schedulable {
    /// The result is not wanted any more.
    fn is_cancelled(&self) -> bool;
}

/// Who sends jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SourceId {
    /// A slot, which holds the newest job.
    Slot(u64),
    /// The queue of a priority.
    Queue(Priority),
}

/// Why a job was not taken in; the job comes back with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// As many as may wait do.
    Full(usize),
    /// There is no such source any more.
    NoSource,
}

/// Why a job left without a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skipped {
    /// Its result is not wanted any more.
    Cancelled,
    /// It did not start in time, and waited for this long.
    Expired(Duration),
}

/// A job whose thread hangs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hung<J> {
    pub thread: u64,
    /// `None` when its result was being delivered already.
    pub job: Option<J>,
    pub since: Mono,
}

struct Waiting<J> {
    job: J,
    since: Mono,
    start_by: Mono,
}

struct Source<J> {
    waiting: VecDeque<Waiting<J>>,
    in_work: usize,
    /// Time that it has used, as far as it is charged.
    used: Duration,
    /// When it last had its turn, as a count of turns.
    served: u64,
}

impl<J> Default for Source<J> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), in_work: 0, used: Duration::ZERO, served: 0 }
    }
}

struct Running<J> {
    source: SourceId,
    /// Taken out when its result is delivered.
    job: Option<J>,
    since: Mono,
}

/// All jobs that wait or run.
pub(super) struct Schedule<J> {
    slots: BTreeMap<u64, Source<J>>,
    queues: BTreeMap<Priority, Source<J>>,
    /// By the thread that runs it.
    running: BTreeMap<u64, Running<J>>,
    turns: u64,
    next_slot: u64,
    /// What the camera had used that started last: a camera that comes back begins there.
    used: Duration,
    /// Threads that may run other work at once.
    most_others: usize,
    /// Before this, other work does not start ahead of cameras.
    others_due: Mono,
    people_in_a_row: u32,
}

impl<J: Schedulable> Schedule<J> {
    /// For so many threads.
    pub(super) fn new(threads: usize) -> Self {
        Self {
            slots: BTreeMap::new(),
            queues: Priority::ALL.into_iter().map(|priority| (priority, Source::default())).collect(),
            running: BTreeMap::new(),
            turns: 0,
            next_slot: 0,
            used: Duration::ZERO,
            most_others: threads.saturating_sub(1).max(1),
            others_due: Mono(0),
            people_in_a_row: 0,
        }
    }

    /// A place for the newest job of one camera.
    pub(super) fn add_slot(&mut self) -> u64 {
        let id = self.next_slot;
        self.next_slot += 1;
        self.slots.insert(id, Source { served: self.turns, used: self.used, ..Source::default() });
        id
    }

    /// Takes a slot out, with what waits in it or runs. Its thread then has nothing to deliver.
    pub(super) fn remove_slot(&mut self, slot: u64) -> Vec<J> {
        let source = self.slots.remove(&slot);
        let waiting = source.into_iter().flat_map(|source| source.waiting).map(|waiting| waiting.job);
        let of_slot = |running: &&mut Running<J>| running.source == SourceId::Slot(slot);
        let running = self.running.values_mut().filter(of_slot).filter_map(|running| running.job.take());
        waiting.chain(running).collect()
    }

    /// Puts a job into a slot; gives back the one that it replaced.
    pub(super) fn replace(&mut self, slot: u64, job: J, now: Mono) -> Result<Option<J>, (J, NotTaken)> {
        let Some(source) = self.slots.get_mut(&slot) else { return Err((job, NotTaken::NoSource)) };
        if source.waiting.is_empty() && source.in_work == 0 {
            source.used = source.used.max(self.used);
        }
        // The time in the slot is that of its newest job: only the order among cameras counts, and it is by time used.
        let older = source.waiting.pop_front().map(|waiting| waiting.job);
        source.waiting.push_back(Waiting { job, since: now, start_by: Mono(u64::MAX) });
        Ok(older)
    }

    /// Puts a job at the end of the queue of its priority, where fewer than `most` wait.
    pub(super) fn queue(
        &mut self,
        priority: Priority,
        most: usize,
        job: J,
        now: Mono,
        start_by: Mono,
    ) -> Result<(), (J, NotTaken)> {
        let used = self.used;
        let Some(source) = self.queues.get_mut(&priority) else { return Err((job, NotTaken::NoSource)) };
        if source.waiting.len() >= most {
            return Err((job, NotTaken::Full(source.waiting.len())));
        }
        if source.waiting.is_empty() && source.in_work == 0 {
            source.used = source.used.max(used);
        }
        source.waiting.push_back(Waiting { job, since: now, start_by });
        Ok(())
    }

    /// Takes out what need not run any more.
    pub(super) fn sweep(&mut self, now: Mono) -> Vec<(J, Skipped)> {
        let mut skipped = Vec::new();
        for source in self.queues.values_mut() {
            let is_over = |waiting: &mut Waiting<J>| waiting.start_by <= now || waiting.job.is_cancelled();
            while let Some(at) = source.waiting.iter_mut().position(is_over) {
                let Some(waiting) = source.waiting.remove(at) else { break };
                let cancelled = waiting.job.is_cancelled();
                let why = if cancelled { Skipped::Cancelled } else { Skipped::Expired(now.since(waiting.since)) };
                skipped.push((waiting.job, why));
            }
        }
        skipped
    }

    /// Starts the job whose turn it is, on `thread`; also gives how long it has waited.
    pub(super) fn take(&mut self, thread: u64, now: Mono) -> Option<(&J, Duration)> {
        let id = self.choose(now)?;
        self.turns += 1;
        let turns = self.turns;
        let source = self.source(id)?;
        let Waiting { job, since, .. } = source.waiting.pop_front()?;
        (source.in_work, source.served) = (source.in_work + 1, turns);
        if is_camera(id) {
            self.used = self.used.max(self.source(id)?.used);
        } else {
            self.count_turn(id);
        }
        self.running.insert(thread, Running { source: id, job: Some(job), since: now });
        Some((self.running.get(&thread)?.job.as_ref()?, now.since(since)))
    }

    /// The job that `thread` ran, to be answered; its source stays busy until [`Schedule::finish`]. `None` when the
    /// thread was given up or the slot is gone.
    pub(super) fn complete(&mut self, thread: u64) -> Option<J> {
        self.running.get_mut(&thread)?.job.take()
    }

    /// `thread` is through with its job: its source may have the next one started. A job that was not completed comes
    /// back.
    pub(super) fn finish(&mut self, thread: u64, now: Mono) -> Option<J> {
        let running = self.running.get(&thread)?;
        let took = now.since(running.since);
        self.settle(thread, took, now)
    }

    /// Takes the job of `thread` out, and charges its source with `took`.
    fn settle(&mut self, thread: u64, took: Duration, now: Mono) -> Option<J> {
        let running = self.running.remove(&thread)?;
        if !is_camera(running.source) {
            self.others_due = self.others_due.max(now + took * CAMERA_SHARE);
        }
        if let Some(source) = self.source(running.source) {
            source.in_work = source.in_work.saturating_sub(1);
            source.used += took.min(MOST_CHARGED);
        }
        running.job
    }

    /// Gives up on jobs that have run for more than `hung_after`.
    pub(super) fn give_up_hung(&mut self, now: Mono, hung_after: Duration) -> Vec<Hung<J>> {
        self.give_up(now, |ran_for| ran_for > hung_after)
    }

    /// Gives up on all jobs in work.
    pub(super) fn give_up_all(&mut self, now: Mono) -> Vec<Hung<J>> {
        self.give_up(now, |_| true)
    }

    fn give_up(&mut self, now: Mono, is_hung: impl Fn(Duration) -> bool) -> Vec<Hung<J>> {
        let hung = self.running.iter().filter(|(_, running)| is_hung(now.since(running.since)));
        let hung: Vec<(u64, Mono)> = hung.map(|(thread, running)| (*thread, running.since)).collect();
        // Another thread takes the place of each, so that cameras lose no time that would have to be made up for.
        let give_up = |(thread, since)| Hung { thread, job: self.settle(thread, MOST_CHARGED, now), since };
        hung.into_iter().map(give_up).collect()
    }

    /// Takes out everything that waits.
    pub(super) fn clear(&mut self) -> Vec<J> {
        let sources = self.slots.values_mut().chain(self.queues.values_mut());
        sources.flat_map(|source| source.waiting.drain(..)).map(|waiting| waiting.job).collect()
    }

    /// Jobs of this priority that wait.
    pub(super) fn waiting(&self, priority: Priority) -> usize {
        let slots = self.slots.values().filter(|_| priority == Priority::Camera);
        slots.chain(self.queues.get(&priority)).map(|source| source.waiting.len()).sum()
    }

    #[cfg(test)]
    pub(in super::super) fn is_busy(&self) -> bool {
        !self.running.is_empty()
    }

    fn source(&mut self, id: SourceId) -> Option<&mut Source<J>> {
        match id {
            SourceId::Slot(slot) => self.slots.get_mut(&slot),
            SourceId::Queue(priority) => self.queues.get_mut(&priority),
        }
    }

    fn choose(&self, now: Mono) -> Option<SourceId> {
        let camera = self.next_camera();
        let others_in_work = self.running.values().filter(|running| !is_camera(running.source)).count();
        let other = if others_in_work < self.most_others { self.next_other() } else { None };
        let overtakes = others_in_work == 0 && now >= self.others_due && self.longest_wait(now) >= OVERTAKES_AFTER;
        match camera {
            Some(camera) => Some(other.filter(|_| overtakes).unwrap_or(camera)),
            None => other,
        }
    }

    /// The camera that has used the least; of equals the one whose turn is longest ago.
    fn next_camera(&self) -> Option<SourceId> {
        let slots =
            self.slots.iter().filter(|(_, slot)| slot.in_work == 0).map(|(id, slot)| (SourceId::Slot(*id), slot));
        let queue = self.queues.get(&Priority::Camera).map(|queue| (SourceId::Queue(Priority::Camera), queue));
        let ready = slots.chain(queue).filter(|(_, source)| !source.waiting.is_empty());
        ready.min_by_key(|(_, source)| (source.used, source.served)).map(|(id, _)| id)
    }

    fn next_other(&self) -> Option<SourceId> {
        let people = self.has_waiting(Priority::Person);
        let programs = self.has_waiting(Priority::Program);
        let programs_turn = programs && (!people || self.people_in_a_row >= PEOPLE_IN_A_ROW);
        let priority = if programs_turn { Priority::Program } else { Priority::Person };
        (people || programs).then_some(SourceId::Queue(priority))
    }

    fn has_waiting(&self, priority: Priority) -> bool {
        self.queues.get(&priority).is_some_and(|queue| !queue.waiting.is_empty())
    }

    fn count_turn(&mut self, id: SourceId) {
        let passed_over = id == SourceId::Queue(Priority::Person) && self.has_waiting(Priority::Program);
        self.people_in_a_row = if passed_over { self.people_in_a_row + 1 } else { 0 };
    }

    /// For how long other work has waited at most.
    fn longest_wait(&self, now: Mono) -> Duration {
        let others = self.queues.iter().filter(|(priority, _)| **priority != Priority::Camera);
        let oldest = others.filter_map(|(_, queue)| queue.waiting.front());
        oldest.map(|waiting| now.since(waiting.since)).max().unwrap_or_default()
    }
}

fn is_camera(id: SourceId) -> bool {
    matches!(id, SourceId::Slot(_) | SourceId::Queue(Priority::Camera))
}

#[cfg(test)]
mod tests;
