//! The store's own threads, and the calls that go to them with a deadline.
//!
//! The writer commits: it takes everything that waits, applies it in one transaction, flushes once and then
//! answers all. The reader serves queries, so that a page full of events never delays a commit.

mod writer;

use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tracing::{debug, error, warn};

use super::dropped::Dropped;
use super::lease::Wanted;
use super::op::Op;
use super::photo_changes::PhotoChanges;
use super::position::Position;
use super::queue::{Lease, Queue};
use super::queues::{self, ConfiguredQueues, Queues};
use super::reply::{Reply, async_reply, blocking_reply, full_or_gone};
use super::reserve::Reserve;
use super::schema::FILLED;
use super::trees::Database;
use super::{Config, StoreError, reset};
use crate::clock::Clock;
use crate::destination::Destination;
use crate::supervise::{panic_text, spawn_thread, without_panic_message};
use writer::write_loop;

/// Calls that may wait for each thread. Callers wait for their answer, so this is a number of callers; when
/// it is full, the call fails at once with [`StoreError::Busy`].
const QUEUE: usize = 4096;
/// Changes that are committed together.
const GROUP: usize = 256;
/// Changes that are committed together where little space is left: one may write several blocks again.
const SMALL_GROUP: usize = 8;
/// Quiet after which the writer packs some rows of an older schema.
const IDLE: Duration = Duration::from_millis(100);
/// How long the note that an index is bad is waited for.
const MARKED_WITHIN: Duration = Duration::from_secs(2);

enum WriteJob {
    Commit(Op, Reply<()>),
    Lease {
        queue: Arc<Queue>,
        wanted: Wanted,
        reply: Reply<Vec<Lease>>,
    },
    /// What needs that nothing changes meanwhile.
    Run(WriteTask),
}

type WriteTask = Box<dyn FnOnce(&Database, &File, &Shared) + Send>;
type ReadJob = Box<dyn FnOnce(&Database, &Shared) + Send>;

/// The front of the store: what all handles share.
#[derive(Debug)]
pub(super) struct Core {
    pub clock: Arc<dyn Clock>,
    pub device_id: Arc<str>,
    pub was_reset: bool,
    shared: Arc<Shared>,
    /// Taken out on close; the threads end when these are gone.
    lanes: Mutex<Option<Lanes>>,
    /// Disconnected as soon as all threads have ended.
    ended: Mutex<Receiver<()>>,
}

#[derive(Clone, Debug)]
struct Lanes {
    write: SyncSender<WriteJob>,
    read: SyncSender<ReadJob>,
}

/// What callers and threads share.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    deadline: Duration,
    queues: ConfiguredQueues,
    dropped: Dropped,
    failure: watch::Sender<Option<StoreError>>,
    flushes: AtomicU64,
    /// Grows with each commit that may change what is said of events.
    revision: AtomicU64,
    /// The last change of an event that is on the disk.
    changed: watch::Sender<Position>,
    photo_changes: PhotoChanges,
    reserve: Reserve,
    /// Something was refused for want of room, and nothing was committed since.
    is_full: AtomicBool,
    clock: Arc<dyn Clock>,
}

impl Shared {
    /// Takes the store out of service, once. Damage is noted on disk, so that the next start makes a new index.
    fn poison(&self, failure: &StoreError) {
        let first = self.failure.send_if_modified(|state| {
            let first = state.is_none();
            state.get_or_insert_with(|| failure.clone());
            first
        });
        if !first {
            return;
        }
        error!(error = %failure, "the store is out of service");
        if matches!(failure, StoreError::Stalled(_) | StoreError::Corrupt(_)) {
            self.mark_bad(failure.to_string());
        }
    }

    /// Waits for that only for a moment: the note may stall with the volume, and the caller may hold up others.
    fn mark_bad(&self, reason: String) {
        let (folder, (noted, outcome)) = (self.reserve.folder().clone(), sync_channel(1));
        let note = move || {
            if let Err(error) = reset::mark_bad(&folder, &reason) {
                error!(%error, "the index could not be marked bad");
            }
            let _ = noted.send(());
        };
        match spawn_thread("store-mark", note) {
            Ok(_) => drop(outcome.recv_timeout(MARKED_WITHIN)),
            Err(error) => error!(%error, "the index could not be marked bad"),
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        self.failure.borrow().as_ref().map_or(Ok(()), |failure| Err(StoreError::Poisoned(failure.to_string().into())))
    }

    /// Runs `work` on sled. A panic, damage or a failing disk takes the store out of service.
    fn guard<T>(&self, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let outcome = catch(work);
        if let Err(failure @ (StoreError::Corrupt(_) | StoreError::Disk(_) | StoreError::Full(_))) = &outcome {
            if matches!(failure, StoreError::Full(_)) {
                // sled cannot go on; the next start needs the room to open it.
                self.reserve.give_up();
            }
            self.poison(failure);
        }
        outcome
    }
}

fn catch<T>(work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    std::panic::catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(StoreError::Corrupt(format!("panic: {}", panic_text(&*panic)).into())))
}

impl Core {
    pub(super) fn open(config: &Config, outboxes: &[Destination], clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let queues = ConfiguredQueues::new(outboxes)?;
        let device_id = reset::prepare(&config.path)?;
        let shared = Arc::new(Shared {
            path: config.path.clone(),
            deadline: config.deadline,
            queues,
            dropped: Dropped::read(&config.path),
            failure: watch::Sender::new(None),
            flushes: AtomicU64::new(0),
            revision: AtomicU64::new(fastrand::u64(..)),
            changed: watch::Sender::new(Position::default()),
            photo_changes: PhotoChanges::new(),
            reserve: Reserve::new(&config.path),
            is_full: AtomicBool::new(false),
            clock: clock.clone(),
        });
        // Opening writes too.
        shared.reserve.room();
        let mut was_reset = reset::set_aside_if_bad(&config.path)?;
        // A disk that is too full for this note may still have a good index.
        if let Err(error) = reset::begin_opening(shared.reserve.folder()) {
            warn!(%error, "the opening of the index could not be noted");
        }
        let mut outcome = start_threads(&shared, config.cache_bytes);
        if matches!(outcome, Err(StoreError::Full(_))) && (shared.reserve.give_up() | reset::forget_bad(&config.path)) {
            outcome = start_threads(&shared, config.cache_bytes);
        }
        if let Err(StoreError::Corrupt(reason)) = &outcome {
            reset::set_aside(&config.path, reason)?;
            was_reset = true;
            outcome = start_threads(&shared, config.cache_bytes);
        }
        if let Err(stalled @ StoreError::Stalled(_)) = &outcome {
            shared.poison(stalled);
        }
        // Whatever the outcome is, the process lived to see it.
        reset::end_opening(&config.path)?;
        let (lanes, ended) = outcome?;
        let core =
            Self { clock, device_id, was_reset, shared, lanes: Mutex::new(Some(lanes)), ended: Mutex::new(ended) };
        let last = core.read(|db| Ok(db.counters()?.changes.last))?;
        core.shared.changed.send_modify(|known| {
            // A commit may have been faster.
            if known.epoch == 0 {
                *known = last;
            }
        });
        Ok(core)
    }

    pub(super) fn queues(&self) -> Arc<Queues> {
        self.shared.queues.now()
    }

    /// Makes these the outboxes, between two commits.
    pub(super) fn set_queues(&self, destinations: Vec<Destination>) -> Result<(), StoreError> {
        queues::check(&destinations)?;
        let shared = self.shared.clone();
        self.on_writer(move |_, _| {
            shared.queues.replace(&destinations);
            Ok(())
        })
    }

    pub(super) fn dropped(&self) -> &Dropped {
        &self.shared.dropped
    }

    /// Whether the last change was refused for want of room.
    pub(super) fn is_full(&self) -> bool {
        self.shared.is_full.load(Ordering::Relaxed)
    }

    pub(super) fn flushes(&self) -> u64 {
        self.shared.flushes.load(Ordering::Relaxed)
    }

    /// A number that is another one after each commit that may change what is said of events.
    pub(super) fn revision(&self) -> u64 {
        self.shared.revision.load(Ordering::Acquire)
    }

    /// The last change of an event that is on the disk.
    pub(super) fn changed(&self) -> watch::Receiver<Position> {
        self.shared.changed.subscribe()
    }

    /// The last changes of photos that are on the disk.
    pub(super) fn photo_changes(&self) -> &PhotoChanges {
        &self.shared.photo_changes
    }

    pub(super) fn write(&self, op: Op) -> Result<(), StoreError> {
        let (reply, answer) = blocking_reply();
        self.send(|lanes| lanes.write.try_send(WriteJob::Commit(op, reply)).map_err(full_or_gone))?;
        self.wait(&answer)
    }

    pub(super) async fn write_async(&self, op: Op) -> Result<(), StoreError> {
        let (reply, answer) = async_reply();
        self.send(|lanes| lanes.write.try_send(WriteJob::Commit(op, reply)).map_err(full_or_gone))?;
        self.wait_async(answer).await
    }

    /// Commits `ops`, which share flushes. Gives the outcome of each.
    pub(super) fn write_all(&self, ops: impl Iterator<Item = Result<Op, StoreError>>) -> Vec<Result<(), StoreError>> {
        let send = |op: Result<Op, StoreError>| {
            let (op, (reply, answer)) = (op?, blocking_reply());
            self.send(|lanes| lanes.write.try_send(WriteJob::Commit(op, reply)).map_err(full_or_gone))?;
            Ok(answer)
        };
        let sent: Vec<Result<Receiver<_>, StoreError>> = ops.map(send).collect();
        sent.into_iter().map(|sent| sent.and_then(|answer| self.wait(&answer))).collect()
    }

    /// Notes durably that the index holds all that the sidecars say.
    pub(super) fn note_filled(&self) -> Result<(), StoreError> {
        self.on_writer(|db, data| {
            db.meta.insert(FILLED, &[])?;
            db.flush(data)
        })
    }

    /// Runs `task` where nothing else changes the index meanwhile.
    pub(super) fn on_writer<T: Send + 'static>(
        &self,
        task: impl FnOnce(&Database, &File) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = blocking_reply();
        let task: WriteTask = Box::new(move |db, data, shared| reply(shared.guard(|| task(db, data))));
        self.send(|lanes| lanes.write.try_send(WriteJob::Run(task)).map_err(full_or_gone))?;
        self.wait(&answer)
    }

    pub(super) async fn lease(&self, queue: Arc<Queue>, wanted: Wanted) -> Result<Vec<Lease>, StoreError> {
        let (reply, answer) = async_reply();
        self.send(|lanes| lanes.write.try_send(WriteJob::Lease { queue, wanted, reply }).map_err(full_or_gone))?;
        self.wait_async(answer).await
    }

    pub(super) fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = blocking_reply();
        self.send_read(query, reply)?;
        self.wait(&answer)
    }

    pub(super) async fn read_async<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = async_reply();
        self.send_read(query, reply)?;
        self.wait_async(answer).await
    }

    fn send_read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Database) -> Result<T, StoreError> + Send + 'static,
        reply: Reply<T>,
    ) -> Result<(), StoreError> {
        let job: ReadJob = Box::new(move |db, shared| reply(shared.guard(|| query(db))));
        self.send(|lanes| lanes.read.try_send(job).map_err(full_or_gone))
    }

    pub(super) async fn poisoned(&self) -> StoreError {
        let mut failure = self.shared.failure.subscribe();
        // The guard must be gone before the next await, or the future could not move between threads.
        let failed = failure.wait_for(Option::is_some).await.ok().map(|state| state.clone());
        match failed {
            Some(state) => state.unwrap_or(StoreError::Closed),
            // The sender lives in `shared`, which `self` holds.
            None => std::future::pending().await,
        }
    }

    pub(super) fn close(&self) -> Result<(), StoreError> {
        self.lanes.lock().take();
        self.shared.check()?;
        let ended = self.ended.lock();
        match ended.recv_timeout(self.shared.deadline) {
            Err(RecvTimeoutError::Timeout) => Err(self.stalled()),
            _ => self.shared.check(),
        }
    }

    fn send(&self, send: impl FnOnce(&Lanes) -> Result<(), StoreError>) -> Result<(), StoreError> {
        self.shared.check()?;
        let lanes = self.lanes.lock().clone();
        send(&lanes.ok_or(StoreError::Closed)?)
    }

    fn wait<T>(&self, answer: &Receiver<Result<T, StoreError>>) -> Result<T, StoreError> {
        match answer.recv_timeout(self.shared.deadline) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(self.stalled()),
            Err(RecvTimeoutError::Disconnected) => Err(self.unanswered()),
        }
    }

    async fn wait_async<T>(&self, answer: oneshot::Receiver<Result<T, StoreError>>) -> Result<T, StoreError> {
        match tokio::time::timeout(self.shared.deadline, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(self.unanswered()),
            Err(_) => Err(self.stalled()),
        }
    }

    fn stalled(&self) -> StoreError {
        let failure = StoreError::Stalled(self.shared.deadline);
        self.shared.poison(&failure);
        failure
    }

    /// The thread ended without answering: it was stopped by an earlier failure, or the store was closed.
    fn unanswered(&self) -> StoreError {
        self.shared.check().err().unwrap_or(StoreError::Closed)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // Ends the threads in order, so that a store opened next finds the files free.
        if self.shared.check().is_ok()
            && self.lanes.get_mut().is_some()
            && let Err(error) = self.close()
        {
            warn!(%error, "the store did not close in time");
        }
    }
}

/// Opens the database on the writer's thread, within the deadline, and starts the reader beside it.
fn start_threads(shared: &Arc<Shared>, cache_bytes: u64) -> Result<(Lanes, Receiver<()>), StoreError> {
    let no_thread = |error: std::io::Error| StoreError::Disk(format!("start a thread: {error}").into());
    let (write, write_jobs) = sync_channel(QUEUE);
    let (read, read_jobs) = sync_channel(QUEUE);
    let (opened_tx, opened) = sync_channel(1);
    let (alive, ended) = sync_channel::<()>(0);
    let (writer, reader_alive, watch_alive) = (shared.clone(), alive.clone(), alive.clone());
    let (writes, watched) = sync_channel::<()>(0);
    spawn_thread("store-writer", move || {
        let (_alive, writes) = (alive, writes);
        let index = reset::index_path(&writer.path);
        match catch(|| reset::open_current(&index, cache_bytes, writer.deadline)) {
            Err(error) => drop(opened_tx.try_send(Err(error))),
            Ok((db, data)) => {
                if opened_tx.try_send(Ok(db.clone())).is_ok() {
                    write_loop(&db, &data, &write_jobs, &writer);
                }
                drop(writes);
                leave(db, &writer);
            }
        }
    })
    .map_err(no_thread)?;
    // sled reads everything that was written since the last open.
    let patience = shared.deadline + reset::reading_time(&shared.path);
    let db = opened.recv_timeout(patience).map_err(|_| StoreError::Stalled(patience))??;
    let (reader, watch) = (shared.clone(), (db.clone(), shared.clone(), watch_alive));
    spawn_thread("store-watch", move || {
        let (db, shared, _alive) = watch;
        db.watch_for_failures(&watched);
        leave(db, &shared);
    })
    .map_err(no_thread)?;
    spawn_thread("store-reader", move || {
        let _alive = reader_alive;
        read_loop(&db, &read_jobs, &reader);
        leave(db, &reader);
    })
    .map_err(no_thread)?;
    Ok((Lanes { write, read }, ended))
}

/// Dropping sled flushes it. A damaged one is left alone instead: it could hang or write more damage. One whose disk
/// failed is dropped, though sled may panic: its files must not keep a dead volume from being mounted again.
fn leave(db: Database, shared: &Shared) {
    let whole = match &*shared.failure.borrow() {
        None | Some(StoreError::Disk(_)) => true,
        // Within the index that is damage; where the whole volume fails so, it is not the index's.
        Some(StoreError::Corrupt(reason)) => reason.contains("Input/output error"),
        Some(_) => false,
    };
    if !whole {
        std::mem::forget(db);
    } else if let Err(panic) = without_panic_message(|| drop(db)) {
        debug!(panic, "the disk failed at the end too");
    }
}

fn read_loop(db: &Database, jobs: &Receiver<ReadJob>, shared: &Shared) {
    while shared.check().is_ok() {
        let Ok(job) = jobs.recv() else { return };
        job(db, shared);
    }
}
