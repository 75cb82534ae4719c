//! The start of the store, however the last run and the disk left it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::archive::{Layout, Progress, Walk, recover};
use crate::clock::Clock;
use crate::config::Config;
use crate::event::EventId;
use crate::health::StoreState;
use crate::pipeline::Shared;
use crate::store::{Store, StoreError};
use crate::supervise::{Backoff, spawn_thread, systemd};

/// How often a recovery that lacks room is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(30);
/// How often it looks whether to stop meanwhile.
const LOOK: Duration = Duration::from_millis(500);

/// Opens the store. A disk that is full or read-only is waited for: ending the process would only bring the
/// next one to the same place. `None` when a stop was asked for meanwhile.
///
/// # Errors
/// What waiting does not mend.
pub(super) async fn open_store(
    config: &Config,
    clock: &Arc<dyn Clock>,
    stop: &CancellationToken,
) -> Result<Option<Store>> {
    let mut backoff = Backoff::for_connections();
    loop {
        let (storage, outboxes, clock) = (config.storage.clone(), config.outboxes(), clock.clone());
        let opened = tokio::task::spawn_blocking(move || Store::open(&storage, &outboxes, clock)).await;
        match opened.context("open the store")? {
            Err(failure @ (StoreError::Full(_) | StoreError::Disk(_))) => {
                let rest = backoff.next_pause(Duration::ZERO);
                error!(error = %failure, again_in_s = rest.as_secs(), "the store cannot be opened");
                systemd::status(&format!("waiting for the disk: {failure}"));
                tokio::select! {
                    () = stop.cancelled() => return Ok(None),
                    () = tokio::time::sleep(rest) => {}
                }
            }
            outcome => return outcome.map(Some).context("open the store"),
        }
    }
}

/// The highest event id on the box. An index that is not complete does not know it, and a clock that is behind
/// would then give ids below it.
///
/// # Errors
/// When the store is out of service.
pub(super) fn newest_id(store: &Store, layout: &Layout) -> Result<Option<EventId>, StoreError> {
    let known = store.newest_id()?;
    if store.is_filled()? {
        return Ok(known);
    }
    let highest = EventId::from_bytes([0xff; 16]);
    Ok(known.max(Walk::new(layout.clone(), highest).newest()))
}

/// Finishes what the last stop left open and fills a fresh index, beside recording.
pub(super) fn start(shared: &Shared, store: &Store, first_id: EventId, stop: CancellationToken) {
    let (shared, store) = (shared.clone(), store.clone());
    let work = move || {
        while let Err(failure) = run(&shared, &store, first_id) {
            match failure.downcast_ref() {
                Some(StoreError::Closed) => return debug!("the recovery goes on at the next start"),
                // The process ends, the next one starts over.
                Some(StoreError::Poisoned(_) | StoreError::Stalled(_) | StoreError::Corrupt(_)) => return,
                _ => error!(error = format!("{failure:#}"), "events of the last run could not be completed yet"),
            }
            let mut rest = TRY_AGAIN;
            while !rest.is_zero() {
                if stop.is_cancelled() {
                    return;
                }
                std::thread::sleep(LOOK);
                rest = rest.saturating_sub(LOOK);
            }
        }
    };
    if let Err(failure) = spawn_thread("recovery", work) {
        error!(error = %failure, "start the recovery thread");
    }
}

fn run(shared: &Shared, store: &Store, first_id: EventId) -> Result<()> {
    let is_rebuild = !store.is_filled()?;
    if store.was_reset() {
        warn!("the index was begun afresh, taking in the events that lie on the disk");
    }
    let mut told = 0;
    let mut report = |progress: Progress| {
        let Progress { done, total, found } = progress;
        shared.health.note_store(|store| {
            store.damaged_files = u64::from(found.damaged);
            if is_rebuild && done < total {
                (store.state, store.rebuilt, store.rebuild_total) = (StoreState::Rebuilding, done, total);
            }
        });
        let tenth = 10 * done / total.max(1);
        if store.was_reset() && tenth > told {
            told = tenth;
            info!(done, total, "rebuilding the index");
        }
    };
    let outcome = recover(&shared.archive, first_id, &mut report);
    shared.health.note_store(|store| {
        (store.state, store.rebuilt, store.rebuild_total) = (StoreState::Ok, 0, 0);
    });
    outcome.map(|_| ())
}
