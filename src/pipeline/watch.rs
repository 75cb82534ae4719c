//! Looks after the threads of one camera that can be restarted, and at what its stages make of its packets.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::Shared;
use super::analysis::OpenEvents;
use super::vision::Outlets;
use crate::health::{Stage, Verdict};
use crate::metrics::{self, Metrics};
use crate::supervise::governor::LoadLevel;
use crate::supervise::replaceable::{Finding, ReplaceableThread};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long vision may take for what is in its queue when the feed is gone.
const VISION_ENDS_WITHIN: Duration = Duration::from_secs(10);
/// The analysis may have to wait for a recorder with a slow disk.
const ANALYSIS_ENDS_WITHIN: Duration = Duration::from_secs(30);

/// A thread of one camera and what is to be said about it.
pub(super) struct Watched<T> {
    camera: Arc<str>,
    part: &'static str,
    /// What follows from its being restarted.
    consequence: &'static str,
    thread: ReplaceableThread<T>,
    stuck: bool,
}

impl<T: Send + 'static> Watched<T> {
    pub(super) fn new(
        camera: &Arc<str>,
        part: &'static str,
        consequence: &'static str,
        thread: ReplaceableThread<T>,
    ) -> Self {
        Self { camera: camera.clone(), part, consequence, thread, stuck: false }
    }

    /// Looks once, and says what changed.
    pub(super) fn look(&mut self, metrics: &Metrics) -> Finding {
        let (camera, part, consequence) = (&self.camera, self.part, self.consequence);
        let found = match self.thread.look() {
            Ok(found) => found,
            Err(failure) => {
                warn!(%camera, part, error = format!("{failure:#}"), "a part could not be restarted, trying again");
                return Finding::Well;
            }
        };
        let was_stuck = std::mem::replace(&mut self.stuck, matches!(found, Finding::Stuck { .. }));
        match found {
            Finding::Replaced { panicked, silent_for } => {
                metrics.part_restarts.get_or_create(&metrics::part(&format!("{part} {camera}"))).inc();
                let silent_s = silent_for.as_secs();
                if panicked {
                    error!(%camera, part, "it panicked and was restarted: {consequence}");
                } else {
                    error!(%camera, part, silent_s, "it hangs and was restarted: {consequence}");
                }
            }
            Finding::Stuck { abandoned } if !was_stuck => {
                error!(%camera, part, abandoned, "it hangs and cannot be restarted: the service manager has to restart the process");
            }
            Finding::Well if was_stuck => info!(%camera, part, "it works again"),
            _ => {}
        }
        found
    }

    fn join(self, limit: Duration) {
        if !self.thread.join(limit) {
            error!(camera = %self.camera, part = self.part, "it did not come to an orderly end, leaving it behind");
        }
    }

    #[cfg(test)]
    pub(super) fn abandoned(&self) -> usize {
        self.thread.abandoned()
    }
}

/// The threads between a camera's feed and its recorder.
pub(super) struct Threads {
    pub vision: Watched<Outlets>,
    pub analysis: Watched<OpenEvents>,
}

impl Threads {
    /// Waits for them after the feed has stopped, in the order of the data flow.
    pub(super) fn join(self) {
        self.vision.join(VISION_ENDS_WITHIN);
        self.analysis.join(ANALYSIS_ENDS_WITHIN);
    }
}

/// Judges whether the packets of one camera come to any use.
pub(super) struct Judge {
    camera: Arc<str>,
    shared: Shared,
    /// The configuration wants objects to be looked for.
    detects: bool,
}

impl Judge {
    pub(super) fn new(camera: &Arc<str>, shared: &Shared, detects: bool) -> Self {
        Self { camera: camera.clone(), shared: shared.clone(), detects }
    }

    /// Looks once, and says what changed.
    pub(super) fn look(&self) {
        let (camera, shared) = (&self.camera, &self.shared);
        let switched_on = self.detects && shared.control.switches().detects(camera, shared.clock.wall());
        let wanted = switched_on && shared.pressure.level() < LoadLevel::MotionOnly;
        let now = shared.clock.mono();
        let verdict = shared.health.assess(camera, now, wanted);
        match verdict {
            Verdict::Unchanged => {}
            Verdict::Worse(trouble) => {
                let for_s = now.since(trouble.since).as_secs();
                warn!(%camera, reason = trouble.reason, for_s, "camera degraded");
            }
            Verdict::Well(before) => {
                let lasted_s = now.since(before.since).as_secs();
                info!(%camera, was = before.reason, lasted_s, "camera works in full again");
            }
        }
        let troubled = shared.health.troubled_stages(camera);
        for stage in Stage::ALL {
            let gauge = shared.metrics.camera_degraded.get_or_create(&metrics::stage(camera, stage.as_str())).clone();
            gauge.set(i64::from(troubled.contains(&stage)));
        }
    }
}

/// Looks after `threads` until `stop`.
pub(super) async fn watch(
    threads: Arc<Mutex<Option<Threads>>>,
    judge: Arc<Judge>,
    metrics: Metrics,
    stop: CancellationToken,
) -> Result<()> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        if let Some(threads) = threads.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            threads.vision.look(&metrics);
            threads.analysis.look(&metrics);
        }
        judge.look();
    }
}
