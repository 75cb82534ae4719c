//! The assignment of work: the state behind the inference threads' one lock. Nothing here waits or logs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::Results;
use crate::clock::Mono;
use crate::frame::Frame;
use crate::infer::{Detector, Model};

/// Between two log lines about one camera's failing detector.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// One frame to look at.
pub(super) struct Job {
    pub camera: Arc<str>,
    pub detector: Arc<Detector>,
    pub min_score: f32,
    pub frame: Frame,
}

/// What a thread is doing, for the watch.
struct InWork {
    slot: u64,
    camera: Arc<str>,
    model: Arc<str>,
    since: Mono,
}

struct Thread {
    handle: JoinHandle<()>,
    in_work: Option<InWork>,
}

pub(super) struct SlotState {
    camera: Arc<str>,
    model: Arc<Model>,
    min_score: f32,
    results: Results,
    pending: Option<Frame>,
    /// The thread that has a frame of this slot in work.
    running: Option<u64>,
    /// When it last had its turn, as a count of turns.
    served: u64,
    logged_at: Option<Mono>,
    failures: u64,
}

/// All slots and threads.
pub(super) struct Board {
    pub stopping: bool,
    slots: BTreeMap<u64, SlotState>,
    threads: BTreeMap<u64, Thread>,
    /// Threads that left by themselves, to be joined.
    ended: Vec<JoinHandle<()>>,
    wanted: usize,
    /// Threads that were given up and have not come back.
    lost: usize,
    most_lost: usize,
    exhausted: bool,
    turns: u64,
    next_slot: u64,
    next_thread: u64,
}

impl Board {
    pub(super) fn new(wanted: usize, most_lost: usize) -> Self {
        Self {
            stopping: false,
            slots: BTreeMap::new(),
            threads: BTreeMap::new(),
            ended: Vec::new(),
            wanted,
            lost: 0,
            most_lost,
            exhausted: false,
            turns: 0,
            next_slot: 0,
            next_thread: 0,
        }
    }

    pub(super) fn add_slot(&mut self, camera: Arc<str>, model: Arc<Model>, min_score: f32, results: Results) -> u64 {
        let id = self.next_slot;
        self.next_slot += 1;
        let slot = SlotState {
            camera,
            model,
            min_score,
            results,
            pending: None,
            running: None,
            served: self.turns,
            logged_at: None,
            failures: 0,
        };
        self.slots.insert(id, slot);
        id
    }

    pub(super) fn remove_slot(&mut self, slot: u64) -> Option<SlotState> {
        self.slots.remove(&slot)
    }

    /// Returns the frame that had to make way.
    pub(super) fn offer(&mut self, slot: u64, frame: Frame) -> Option<Frame> {
        self.slots.get_mut(&slot)?.pending.replace(frame)
    }

    /// Takes the frame of the slot whose last turn is longest ago.
    pub(super) fn take_job(&mut self, thread: u64, now: Mono) -> Option<(u64, Job)> {
        let ready = self.slots.iter_mut().filter(|(_, slot)| slot.pending.is_some() && slot.running.is_none());
        let (&id, slot) = ready.min_by_key(|(_, slot)| slot.served)?;
        // Frames are only taken in once the model is loaded.
        let detector = slot.model.detector()?.clone();
        let frame = slot.pending.take()?;
        self.turns += 1;
        slot.served = self.turns;
        slot.running = Some(thread);
        let camera = slot.camera.clone();
        if let Some(thread) = self.threads.get_mut(&thread) {
            let model = detector.name().clone();
            thread.in_work = Some(InWork { slot: id, camera: camera.clone(), model, since: now });
        }
        Some((id, Job { camera, detector, min_score: slot.min_score, frame }))
    }

    /// The receiver of results of the frame that `thread` has in work. `None` when the thread was given up or the
    /// slot is gone; in the second case the thread is free again.
    pub(super) fn results(&mut self, thread: u64, slot: u64) -> Option<Results> {
        let member = self.threads.get_mut(&thread)?;
        match self.slots.get(&slot) {
            Some(slot) => Some(slot.results.clone()),
            None => {
                member.in_work = None;
                None
            }
        }
    }

    /// The frame is done with. False when the thread was given up in the meantime.
    pub(super) fn finish(&mut self, thread: u64, slot: u64) -> bool {
        let Some(member) = self.threads.get_mut(&thread) else { return false };
        member.in_work = None;
        if let Some(slot) = self.slots.get_mut(&slot) {
            slot.running = None;
        }
        true
    }

    /// Counts a failure; returns how many there were since the last line, when it is time for another.
    pub(super) fn failures_to_log(&mut self, slot: u64, now: Mono) -> Option<u64> {
        let slot = self.slots.get_mut(&slot)?;
        slot.failures += 1;
        if slot.logged_at.is_some_and(|last| now.since(last) < LOG_EVERY) {
            return None;
        }
        slot.logged_at = Some(now);
        Some(std::mem::take(&mut slot.failures))
    }

    /// Number of the next thread to start, if one is missing and may be started.
    pub(super) fn next_thread(&mut self) -> Option<u64> {
        let missing = !self.stopping && self.threads.len() < self.wanted && self.lost < self.most_lost;
        missing.then(|| {
            self.next_thread += 1;
            self.next_thread - 1
        })
    }

    pub(super) fn add_thread(&mut self, id: u64, handle: JoinHandle<()>) {
        self.threads.insert(id, Thread { handle, in_work: None });
    }

    /// Threads that are not given up.
    pub(super) fn threads(&self) -> usize {
        self.threads.len()
    }

    pub(super) fn is_member(&self, thread: u64) -> bool {
        self.threads.contains_key(&thread)
    }

    /// A thread ends: one of ours, or one that was lost and found its way back.
    pub(super) fn leave(&mut self, thread: u64) {
        match self.threads.remove(&thread) {
            Some(left) => {
                if let Some(work) = left.in_work {
                    self.release(work.slot, thread);
                }
                self.ended.retain(|handle| !handle.is_finished());
                self.ended.push(left.handle);
            }
            None => self.lost = self.lost.saturating_sub(1),
        }
    }

    pub(super) fn take_ended(&mut self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut self.ended)
    }

    /// Gives up threads that have had a frame in work for more than `hung_after`: camera, model, since when.
    pub(super) fn give_up_hung(&mut self, now: Mono, hung_after: Duration) -> Vec<(Arc<str>, Arc<str>, Mono)> {
        let is_hung = |thread: &Thread| thread.in_work.as_ref().is_some_and(|w| now.since(w.since) > hung_after);
        let hung: Vec<_> = self.threads.extract_if(.., |_, thread| is_hung(thread)).collect();
        self.lost += hung.len();
        let mut reports = Vec::new();
        for (id, thread) in hung {
            let Some(work) = thread.in_work else { continue };
            self.release(work.slot, id);
            reports.push((work.camera, work.model, work.since));
        }
        reports
    }

    fn release(&mut self, slot: u64, thread: u64) {
        if let Some(slot) = self.slots.get_mut(&slot).filter(|slot| slot.running == Some(thread)) {
            slot.running = None;
        }
    }

    /// Whether all threads are there.
    pub(super) fn is_complete(&self) -> bool {
        self.stopping || self.threads.len() >= self.wanted
    }

    /// True once when so many threads are lost that no more are started.
    pub(super) fn newly_exhausted(&mut self) -> bool {
        let before = std::mem::replace(&mut self.exhausted, self.lost >= self.most_lost);
        self.exhausted && !before
    }

    #[cfg(test)]
    pub(super) fn lost(&self) -> usize {
        self.lost
    }

    #[cfg(test)]
    pub(super) fn is_busy(&self) -> bool {
        self.slots.values().any(|slot| slot.running.is_some())
    }
}
