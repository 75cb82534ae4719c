//! What outlives a recorder's thread: the queue to it, the ring, and what is known of the events in progress.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::config::RecordConfig;
use super::super::preroll::Preroll;
use super::super::recording::{Change, InProgress, Look};
use crate::archive::Archive;
use crate::clock::Mono;
use crate::event::{Event, EventId};
use crate::frame::Packet;

/// How much later than its picture an event may be decided: the detector is shared, and slow boxes are busy.
/// The ring reaches back that much further, or clips would begin too late exactly when much happens.
pub(super) const DECISION: Duration = Duration::from_secs(10);

pub(super) enum Command {
    /// A packet, when it came, and whether others were dropped before it.
    Packet(Packet, Mono, bool),
    Begin(Box<Event>, Look),
    Update(EventId, Change),
    End(EventId, Mono),
    Stop,
}

/// A move that was asked for.
pub(super) struct Move {
    pub archive: Archive,
    pub moved: SyncSender<()>,
    /// Dropped when everything on the old volume is closed.
    pub settled: Sender<()>,
}

/// Signals when a recorder has nothing open any more on the volume that it left.
#[derive(Debug)]
pub struct Moving(Receiver<()>);

impl Moving {
    /// Waits until everything is closed there, at most for `patience`. Returns whether it is.
    pub fn wait(&self, patience: Duration) -> bool {
        matches!(self.0.recv_timeout(patience), Err(RecvTimeoutError::Disconnected))
    }
}

pub(super) struct Lane {
    commands: Mutex<Receiver<Command>>,
    ring: Mutex<Preroll>,
    progress: Mutex<Vec<InProgress>>,
    /// Events that could not be written where they should be; they wait for another volume.
    stranded: Mutex<VecDeque<InProgress>>,
    moving: Mutex<Option<Move>>,
    /// Threads that were left behind, by their number, each with a signal that it has nothing open any more.
    left_behind: Mutex<Vec<(u32, Sender<()>)>>,
    /// Which thread records: each that takes over counts one up.
    holder: AtomicU32,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lane {
    pub(super) fn new(commands: Receiver<Command>, config: &RecordConfig) -> Self {
        Self {
            commands: Mutex::new(commands),
            ring: Mutex::new(Preroll::new(config.pre_roll + DECISION)),
            progress: Mutex::default(),
            stranded: Mutex::default(),
            moving: Mutex::default(),
            left_behind: Mutex::default(),
            holder: AtomicU32::new(0),
        }
    }

    /// Makes the calling thread the one that records.
    pub(super) fn take_over(&self) -> u32 {
        self.holder.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(super) fn is_held_by(&self, holder: u32) -> bool {
        self.holder.load(Ordering::SeqCst) == holder
    }

    /// The next command for `holder`; `Timeout` also where another thread records now.
    pub(super) fn next(&self, holder: u32, patience: Duration) -> Result<Command, RecvTimeoutError> {
        let commands = locked(&self.commands);
        // Looked at under the lock, so that a thread left behind takes nothing from the one that goes on.
        if !self.is_held_by(holder) || locked(&self.moving).is_some() {
            return Err(RecvTimeoutError::Timeout);
        }
        commands.recv_timeout(patience)
    }

    pub(super) fn ring(&self) -> MutexGuard<'_, Preroll> {
        locked(&self.ring)
    }

    pub(super) fn progress(&self) -> MutexGuard<'_, Vec<InProgress>> {
        locked(&self.progress)
    }

    pub(super) fn stranded(&self) -> MutexGuard<'_, VecDeque<InProgress>> {
        locked(&self.stranded)
    }

    /// Asks the thread to move. The receiver hears when it has.
    pub(super) fn ask_to_move(&self, archive: Archive) -> (Moving, Receiver<()>) {
        let ((moved, heard), (settled, moving)) = (sync_channel(1), channel());
        *locked(&self.moving) = Some(Move { archive, moved, settled });
        (Moving(moving), heard)
    }

    /// The move that was asked for.
    pub(super) fn asked_to_move(&self) -> Option<Move> {
        locked(&self.moving).take()
    }

    /// Takes the request back, and leaves the thread behind that did not come to it. Returns whether it had not begun.
    pub(super) fn leave_behind(&self) -> bool {
        let Some(Move { settled, .. }) = self.asked_to_move() else { return false };
        locked(&self.left_behind).push((self.holder.load(Ordering::SeqCst), settled));
        true
    }

    /// The thread with this number has nothing open any more.
    pub(super) fn settle(&self, number: u32) {
        locked(&self.left_behind).retain(|(left, _)| *left != number);
    }
}
