//! Looks at what the stages of one camera make of its packets.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tracing::{info, warn};

use super::Shared;
use crate::health::{Stage, Verdict};
use crate::load::LoadLevel;
use crate::metrics;
use crate::supervise::Context;

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);

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
        let (verdict, troubled) = shared.health.assess(camera, now, wanted);
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
        for stage in Stage::ALL {
            let gauge = shared.metrics.camera_degraded.get_or_create(&metrics::stage(camera, stage.as_str())).clone();
            gauge.set(i64::from(troubled.contains(&stage)));
        }
    }
}

/// Judges every few seconds.
pub(super) async fn watch(judge: Arc<Judge>, part: Context) -> Result<()> {
    loop {
        tokio::select! {
            () = part.stop().cancelled() => return Ok(()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        judge.look();
    }
}
