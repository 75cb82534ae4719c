//! What a session does first: it runs `recovery` over index and disk, however the last session left them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::leftover::Leftover;
use crate::archive::Archive;
use crate::event::EventId;
use crate::executor;
use crate::health::StoreState;
use crate::library;
use crate::pipeline::Shared;
use crate::recovery::{Progress, StillWritten, recover};
use crate::store::StoreError;
use crate::supervise::{Context as Part, Spec, Supervisor};

/// How often a recovery that lacks room is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(30);
/// How often it looks whether to stop meanwhile.
const LOOK: Duration = Duration::from_millis(500);

/// What a recovery works on.
pub(super) struct Work {
    pub shared: Shared,
    pub archive: Archive,
    /// The first id of the session; what is below it is of an earlier run.
    pub first_id: EventId,
    /// A spool with events of an earlier time.
    pub spool: Option<Leftover>,
    /// The whole daemon is asked to stop.
    pub asked: CancellationToken,
}

/// Finishes what the last stop left open, fills a fresh index and empties the spool, beside recording. Begins again
/// after a panic: what is done is not done twice.
pub(super) fn start(work: Work, supervisor: &mut Supervisor) {
    let work = Arc::new(work);
    supervisor.thread(Spec::new("recovery"), (), move || {
        let work = work.clone();
        Some(Box::new(move |part: Part| {
            let Work { shared, archive, first_id, spool, asked } = &*work;
            let is_stopped = || asked.is_cancelled() || part.stop().is_cancelled();
            persist(&is_stopped, || run(shared, archive, *first_id));
            if let Some(spool) = spool {
                persist(&is_stopped, || spool.merge(archive, &is_stopped));
            }
            Ok(())
        }))
    });
}

/// Does `work` again and again until it succeeds, or cannot any more.
fn persist(is_stopped: &dyn Fn() -> bool, work: impl Fn() -> Result<()>) {
    while let Err(failure) = work() {
        if is_stopped() {
            return debug!("the recovery goes on at the next start");
        }
        match failure.downcast_ref() {
            Some(StoreError::Closed) => return debug!("the recovery goes on at the next start"),
            // The process ends, the next one starts over.
            Some(StoreError::Poisoned(_) | StoreError::Stalled(_) | StoreError::Corrupt(_)) => return,
            _ if failure.downcast_ref::<StillWritten>().is_some() => {
                info!(
                    reason = format!("{failure:#}"),
                    again_in_s = TRY_AGAIN.as_secs(),
                    "the recovery is not complete yet"
                );
            }
            _ => error!(error = format!("{failure:#}"), "events of the last run could not be completed yet"),
        }
        let mut rest = TRY_AGAIN;
        while !rest.is_zero() {
            if is_stopped() {
                return;
            }
            std::thread::sleep(LOOK);
            rest = rest.saturating_sub(LOOK);
        }
    }
}

fn run(shared: &Shared, archive: &Archive, first_id: EventId) -> Result<()> {
    let store = archive.store();
    let is_rebuild = !store.is_filled()?;
    if store.was_reset() {
        warn!("the index was begun afresh, taking in the events that lie on the disk");
    }
    let mut reported = 0;
    let mut report = |progress: Progress| {
        let Progress { done, total, found } = progress;
        shared.health.note_store(|store| {
            store.damaged_files = u64::from(found.damaged);
            if is_rebuild && done < total {
                (store.state, store.rebuilt, store.rebuild_total) = (StoreState::Rebuilding, done, total);
            }
        });
        let tenth = 10 * done / total.max(1);
        if store.was_reset() && tenth > reported {
            reported = tenth;
            info!(done, total, "rebuilding the index");
        }
    };
    // Before the index counts as filled.
    library::recover(archive, first_id)?;
    executor::recover(archive, first_id)?;
    let outcome = recover(archive, first_id, &mut report);
    shared.health.note_store(|store| {
        (store.state, store.rebuilt, store.rebuild_total) = (StoreState::Ok, 0, 0);
    });
    outcome.map(|_| ())
}
