//! The inference threads, and what becomes of jobs whose thread hangs.
//!
//! Each thread is a part of its own. It beats between jobs, and while it waits for one; where a picture takes longer than
//! `hung_after`, its supervisor gives it up and starts another in its place. A thread that was given up and comes back finds
//! its job gone, and ends. When too many of one part are around, that part becomes critical, and the service manager
//! starts the process afresh.
//!
//! The job is answered before, by the task `infer`, which looks every second: a client does not wait for a thread.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tracing::error;

use super::job::{Entry, JobError, Subject};
use super::schedule::Hung;
use super::{Priority, Shared};
use crate::clock::Mono;
use crate::metrics;
use crate::supervise::{Context, Hang, MOST_ABANDONED, Spec, ThreadBody};

/// How often hung jobs are looked for.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// The task `infer` beats every second.
pub(super) const HEARTBEAT_DEADLINE: Duration = Duration::from_secs(30);

/// The thread `infer-<number>`.
pub(super) fn spec(number: usize, hung_after: Duration) -> Spec {
    Spec::new(format!("infer-{number}"))
        .heartbeat(hung_after, Hang::Replace { most: MOST_ABANDONED })
        .ends_within(hung_after)
}

/// What a thread does, run after run.
pub(super) fn runs(shared: &Arc<Shared>) -> impl FnMut() -> Option<ThreadBody<()>> + Send + 'static {
    let shared = shared.clone();
    move || {
        let shared = shared.clone();
        Some(Box::new(move |run| {
            shared.work(&run);
            Ok(())
        }))
    }
}

/// The task `infer`, without which no hung job is noticed.
pub(super) fn watch_spec() -> Spec {
    Spec::new("infer").heartbeat(HEARTBEAT_DEADLINE, Hang::Critical)
}

/// Looks after the jobs until the stop.
pub(super) async fn watch(shared: Arc<Shared>, part: Context) -> Result<()> {
    loop {
        part.beat();
        shared.check();
        tokio::select! {
            () = part.stop().cancelled() => return Ok(()),
            () = tokio::time::sleep(WATCH_EVERY) => {}
        }
    }
}

impl Shared {
    /// Runs jobs until the stop, or until another thread has taken the place of this one.
    fn work(&self, run: &Context) {
        let thread = self.lock().enter();
        let leave = Leave { shared: self, thread };
        while self.run_next(thread, run) {}
        drop(leave);
    }

    /// Answers jobs whose thread hangs, and those that wait for nothing any more.
    pub(super) fn check(&self) {
        let now = self.clock.mono();
        let mut state = self.lock();
        let hung = state.schedule.give_up_hung(now, self.hung_after);
        let hung: Vec<_> = hung.into_iter().map(|job| (state.subjects.get(&job.thread).cloned(), job)).collect();
        let skipped = state.schedule.sweep(now);
        let waiting = Priority::ALL.map(|priority| (priority, state.schedule.waiting(priority)));
        drop(state);
        if !hung.is_empty() {
            // The source is free again, perhaps with a job in it.
            self.work.notify_all();
        }
        for (priority, jobs) in waiting {
            self.metrics.infer_waiting.get_or_create(&metrics::priority(priority.as_str())).set(jobs as i64);
        }
        for (subject, job) in hung {
            self.report_hung(subject, job, now);
        }
        self.skip(skipped);
    }

    /// Answers what is still in work after the stop: its thread is left behind.
    pub(super) fn give_up_all(&self) {
        let now = self.clock.mono();
        let mut state = self.lock();
        let left = state.schedule.give_up_all(now);
        let left: Vec<_> = left.into_iter().map(|job| (state.subjects.get(&job.thread).cloned(), job)).collect();
        drop(state);
        for (subject, job) in left {
            self.report_hung(subject, job, now);
        }
    }

    fn report_hung(&self, subject: Option<Subject>, Hung { job, since, .. }: Hung<Entry>, now: Mono) {
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
        if let Some(job) = job {
            self.answer(job, Err(JobError::Hung { model, after }));
        }
    }
}

/// Takes a thread off the list however it ends, and its job with it.
struct Leave<'a> {
    shared: &'a Shared,
    thread: u64,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let unfinished = state.schedule.finish(self.thread, self.shared.clock.mono());
        state.subjects.remove(&self.thread);
        drop(state);
        // Dropping it answers.
        drop(unfinished);
    }
}
