//! The thread that commits: what waits shares one transaction and one flush.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};

use tracing::warn;

use super::super::StoreError;
use super::super::commit::{self, Applied};
use super::super::lease::Wanted;
use super::super::migrate;
use super::super::op::Op;
use super::super::queue::{Lease, Queue};
use super::super::reserve::Room;
use super::super::trees::Database;
use super::{GROUP, IDLE, SMALL_GROUP, Shared, WriteJob};

pub(super) fn write_loop(db: &Database, data: &File, jobs: &Receiver<WriteJob>, shared: &Shared) {
    let mut old_rows = true;
    while shared.check().is_ok() {
        let first = match if old_rows { jobs.recv_timeout(IDLE) } else { jobs.recv().map_err(RecvTimeoutError::from) } {
            Ok(first) => first,
            Err(RecvTimeoutError::Timeout) => {
                // A failure is noted where it belongs; trying again would change nothing.
                old_rows =
                    shared.reserve.room() < Room::Enough || shared.guard(|| migrate::pack_some(db)).unwrap_or_default();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let most = if shared.reserve.is_tight() { SMALL_GROUP } else { GROUP };
        let group: Vec<WriteJob> = std::iter::once(first).chain(jobs.try_iter()).take(most).collect();
        // After the jobs: a refusal must not be of the room there was before its caller asked.
        let room = shared.reserve.room();
        let (mut ops, mut replies, mut leases, mut tasks) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for job in group {
            match job {
                WriteJob::Commit(op, reply) if room >= op.room() => {
                    ops.push(op);
                    replies.push(reply);
                }
                WriteJob::Commit(_, reply) => {
                    shared.is_full.store(true, Ordering::Relaxed);
                    reply(Err(StoreError::Full("the disk is full".into())));
                }
                WriteJob::Lease { queue, wanted, reply } => leases.push((queue, wanted, reply)),
                WriteJob::Run(task) => tasks.push(task),
            }
        }
        if !ops.is_empty() {
            let outcome = commit(db, data, &ops, shared);
            if outcome.is_ok() && room == Room::Enough {
                shared.is_full.store(false, Ordering::Relaxed);
            }
            for reply in replies {
                reply(outcome.clone());
            }
        }
        for (queue, wanted, reply) in leases {
            reply(lease(db, data, &queue, wanted, shared));
        }
        tasks.into_iter().for_each(|task| task(db, data, shared));
    }
}

fn commit(db: &Database, data: &File, ops: &[Op], shared: &Shared) -> Result<(), StoreError> {
    let Applied { due, last, photos } = shared.guard(|| {
        let applied = commit::apply(db, &shared.queues.now(), &shared.dropped, ops)?;
        db.flush(data)?;
        Ok(applied)
    })?;
    shared.flushes.fetch_add(1, Ordering::Relaxed);
    if ops.iter().any(Op::concerns_events) {
        shared.revision.fetch_add(1, Ordering::Release);
        shared.changed.send_if_modified(|known| std::mem::replace(known, last) != last);
    }
    shared.photo_changes.add(photos);
    for (queue, seq) in due {
        queue.announce(seq);
    }
    Ok(())
}

fn lease(
    db: &Database,
    data: &File,
    queue: &Arc<Queue>,
    wanted: Wanted,
    shared: &Shared,
) -> Result<Vec<Lease>, StoreError> {
    let now = shared.clock.mono();
    let (leases, orphans) = shared.guard(|| queue.lease(db, now, wanted))?;
    if !orphans.is_empty() {
        warn!(outbox = %queue.destination(), items = orphans.len(), "queued items whose event is gone were given up");
        commit(db, data, &orphans, shared)?;
    }
    Ok(leases)
}
