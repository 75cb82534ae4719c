//! The life of one part: run after run, by the policies of its [`Spec`]. Tasks and threads differ in what a run is.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::{Backoff, Failure, Hang, Heartbeat, Heartbeats, Restart, Spec, panic_text};
use crate::metrics::{self, Metrics};

/// A failure after so long a run is worth a line even if it is the same as the last.
const WORTH_A_LINE: Duration = Duration::from_secs(60);
/// What a task waited for may be a thread that is lost with it, so that there must not be many restarts of one that hangs.
const LONGEST_REST: Duration = Duration::from_secs(3600);

/// A part as a sequence of runs.
pub(super) trait Part: Send {
    /// Threads take over at once; how many are left behind bounds their number. Restarts of threads are counted whatever
    /// the reason.
    const IS_THREAD: bool;
    type Run: Run;

    /// Begins a run; `None` when nothing is left to be done.
    fn start(&mut self, stop: CancellationToken, heartbeat: Heartbeat) -> Result<Option<Self::Run>>;

    /// Takes from a run what the next one needs, so that it can go on without it. False where it does not let go.
    fn give_up(&mut self, run: &mut Self::Run) -> bool;
}

/// One run of a part.
pub(super) trait Run: Send {
    /// Waits for its end. May be dropped and called again until there is an answer.
    fn ended(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// Whether it is still there.
    fn is_around(&self) -> bool;
}

/// Where heartbeats are registered and restarts counted.
#[derive(Clone, Debug)]
pub(super) struct Reports {
    pub heartbeats: Heartbeats,
    pub metrics: Metrics,
}

/// How a run ended.
enum End {
    /// By itself.
    Over(Result<()>),
    /// It was silent for so long, and given up.
    Hung(Duration),
    /// It did not end in time after a stop request.
    LeftBehind,
}

/// What is logged of a restart that has a consequence.
enum Reason {
    Panicked,
    Hung(Duration),
}

/// A panic of a run, as its failure.
#[derive(Debug, thiserror::Error)]
#[error("panicked: {0}")]
pub(super) struct Panicked(pub String);

pub(super) struct Driver<P: Part> {
    spec: Spec,
    part: P,
    reports: Reports,
    stop: CancellationToken,
    abandoned: Vec<P::Run>,
    /// The last failure that was logged. It is worth a line when it is new; the same one again and again is not.
    reported: String,
    rests: Backoff,
    /// Why the next run begins, where that is logged.
    reason: Option<Reason>,
    /// The next run is a restart that is counted.
    is_counted: bool,
}

impl<P: Part> Driver<P> {
    pub(super) fn new(spec: Spec, part: P, reports: Reports, stop: CancellationToken) -> Self {
        Self {
            spec,
            part,
            reports,
            stop,
            abandoned: Vec::new(),
            reported: String::new(),
            rests: Backoff::new(Duration::from_secs(1), LONGEST_REST, 2 * LONGEST_REST),
            reason: None,
            is_counted: false,
        }
    }

    /// Runs the part until it is over or to be stopped.
    ///
    /// # Errors
    /// Why a part ended that nothing works without.
    pub(super) async fn run(mut self) -> Result<()> {
        let mut before: Option<Heartbeat> = None;
        loop {
            let heartbeat = self.spec.register(&self.reports.heartbeats);
            if let Some(before) = before.take() {
                before.retire();
            }
            let started = Instant::now();
            let start = AssertUnwindSafe(|| self.part.start(self.stop.child_token(), heartbeat.clone()));
            let start = catch_unwind(start).unwrap_or_else(|panic| Err(Panicked(panic_text(&*panic)).into()));
            let end = match start {
                Ok(None) => return Ok(()),
                Ok(Some(run)) => {
                    self.note_restart();
                    self.attend(run, &heartbeat).await
                }
                Err(failure) => End::Over(Err(failure)),
            };
            if self.spec.hang != Hang::Critical {
                heartbeat.retire();
            }
            // A critical part that is not there is as good as silent.
            before = Some(heartbeat);
            let pause = match end {
                End::LeftBehind => return Ok(()),
                End::Over(outcome) if self.stop.is_cancelled() => {
                    // What fails because everything is being stopped is no failure.
                    debug!(error = ?outcome.err(), "stopped");
                    return Ok(());
                }
                End::Over(Ok(())) => return Ok(()),
                End::Over(Err(failure)) => match self.failed(failure, started.elapsed())? {
                    Some(pause) => pause,
                    None => return Ok(()),
                },
                End::Hung(silent_for) => self.hung(silent_for, started.elapsed()),
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return Ok(()),
            }
        }
    }

    /// How long to wait before the next run; `None`: there is none.
    fn failed(&mut self, failure: anyhow::Error, ran_for: Duration) -> Result<Option<Duration>> {
        let known = failure.downcast_ref::<Failure>();
        let (is_logged, had_worked) = known.map_or((false, false), |known| (known.is_logged, known.had_worked));
        let has_panicked = failure.downcast_ref::<Panicked>().is_some();
        let pause = match &mut self.spec.restart {
            Restart::Fatal => return Err(failure),
            Restart::Never => {
                error!(
                    part = self.spec.part(),
                    camera = self.spec.camera(),
                    error = format!("{failure:#}"),
                    "it failed and is not restarted"
                );
                return Ok(None);
            }
            Restart::Always(backoff) => {
                if had_worked {
                    backoff.reset();
                }
                backoff.next_pause(ran_for)
            }
        };
        if ran_for >= WORTH_A_LINE {
            self.reported.clear();
        }
        (self.is_counted, self.reason) = (P::IS_THREAD, has_panicked.then_some(Reason::Panicked));
        // Otherwise it is logged with the restart.
        if !has_panicked || self.spec.consequence.is_none() {
            self.log(format!("{failure:#}"), pause, is_logged);
        }
        Ok(Some(pause))
    }

    fn hung(&mut self, silent_for: Duration, ran_for: Duration) -> Duration {
        (self.is_counted, self.reason) = (true, Some(Reason::Hung(silent_for)));
        let pause = if P::IS_THREAD { Duration::ZERO } else { self.rests.next_pause(ran_for) };
        // Otherwise it is logged with the restart.
        if self.spec.consequence.is_none() {
            self.log(format!("it showed no life for {} s and was given up", silent_for.as_secs()), pause, false);
        }
        pause
    }

    fn log(&mut self, failure: String, pause: Duration, is_logged: bool) {
        let again_in_s = pause.as_secs_f32();
        if is_logged || failure == self.reported {
            debug!(error = failure, again_in_s, "task failed again");
        } else {
            warn!(error = failure, again_in_s, "task failed, trying again from now on");
        }
        self.reported = failure;
    }

    /// Another run is at work.
    fn note_restart(&mut self) {
        let reason = self.reason.take();
        if !std::mem::take(&mut self.is_counted) {
            return;
        }
        self.reports.metrics.part_restarts.get_or_create(&metrics::part(&self.spec.name)).inc();
        let (camera, part) = (self.spec.camera(), self.spec.part());
        let Some(consequence) = self.spec.consequence else { return };
        match reason {
            Some(Reason::Panicked) => error!(camera, part, "it panicked and was restarted: {consequence}"),
            Some(Reason::Hung(silent_for)) => {
                let silent_s = silent_for.as_secs();
                error!(camera, part, silent_s, "it hangs and was restarted: {consequence}");
            }
            None => {}
        }
    }

    /// Waits for the end of a run, and gives it up where it hangs.
    async fn attend(&mut self, mut run: P::Run, heartbeat: &Heartbeat) -> End {
        let look_every = self.spec.look_every();
        let (mut is_suspected, mut is_stuck, mut leave_at) = (false, false, None);
        loop {
            let is_stopping = self.stop.is_cancelled();
            if is_stopping && leave_at.is_none() {
                leave_at = self.spec.ends_within.map(|limit| tokio::time::Instant::now() + limit);
            }
            tokio::select! {
                outcome = run.ended() => return End::Over(outcome),
                () = self.stop.cancelled(), if !is_stopping => continue,
                () = at(leave_at) => {
                    let (camera, part) = (self.spec.camera(), self.spec.part());
                    error!(camera, part, "it did not come to an orderly end, leaving it behind");
                    self.part.give_up(&mut run);
                    return End::LeftBehind;
                }
                () = after(look_every), if !is_stopping => {}
            }
            let is_late = heartbeat.is_late();
            // One look is not enough: after a suspended box wakes up, every heartbeat is late for a moment.
            let is_silent = std::mem::replace(&mut is_suspected, is_late) && is_late;
            if is_silent && self.can_replace(&mut run) {
                self.abandoned.push(run);
                return End::Hung(heartbeat.silent_for());
            }
            if is_silent {
                heartbeat.make_critical();
            }
            let (camera, part, abandoned) = (self.spec.camera(), self.spec.part(), self.abandoned.len());
            match (is_silent, is_late) {
                (true, _) if !std::mem::replace(&mut is_stuck, true) => {
                    error!(
                        camera,
                        part,
                        abandoned,
                        "it hangs and cannot be restarted: the service manager has to restart the process"
                    );
                }
                (_, false) if std::mem::take(&mut is_stuck) => info!(camera, part, "it works again"),
                _ => {}
            }
        }
    }

    /// Whether another run can take over; `run` has lost its state then.
    fn can_replace(&mut self, run: &mut P::Run) -> bool {
        self.abandoned.retain(Run::is_around);
        let Hang::Replace { most } = self.spec.hang else { return false };
        self.abandoned.len() < most && self.part.give_up(run)
    }
}

async fn at(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn after(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}
