//! What outlives a recorder's thread: the queue to it, the ring, and what is known of the events in progress.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use super::super::config::RecordConfig;
use super::super::preroll::Preroll;
use super::super::progress::{Change, InProgress, Look};
use crate::archive::Archive;
use crate::clock::Mono;
use crate::detection::BBox;
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
    /// Where the event's object was.
    Path(EventId, Vec<(Mono, BBox)>),
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

/// Which events are to be started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Those that no volume took.
    Stranded,
    /// Those in progress too: they are on a volume that is left.
    All,
}

/// What outlives a recorder's thread.
pub(super) struct Held {
    pub commands: Receiver<Command>,
    pub ring: Preroll,
    pub progress: Vec<InProgress>,
    /// Events that could not be written where they should be; they wait for another volume.
    pub stranded: VecDeque<InProgress>,
}

impl Held {
    pub(super) fn new(commands: Receiver<Command>, config: &RecordConfig) -> Self {
        let ring = Preroll::new(config.pre_roll + DECISION);
        Self { commands, ring, progress: Vec::new(), stranded: VecDeque::new() }
    }

    /// An event is in progress from now on, in the place of the one that it goes on from.
    pub(super) fn start(&mut self, starting: InProgress) {
        let known_as = starting.known_as;
        self.stranded.retain(|known| known.known_as != known_as);
        self.progress.retain(|known| known.known_as != known_as);
        self.progress.push(starting);
    }

    /// The events that are to be started again, by the ids that the rules know them by; they stay where they are.
    pub(super) fn waiting(&self, which: Which) -> Vec<EventId> {
        let progress = self.progress.iter().filter(|_| which == Which::All);
        let mut waiting: Vec<&InProgress> = self.stranded.iter().chain(progress).collect();
        // The first one holds what the others show.
        waiting.sort_by_key(|known| known.event.start.mono_ns);
        waiting.into_iter().map(|known| known.known_as).collect()
    }

    pub(super) fn find(&self, known_as: EventId) -> Option<InProgress> {
        self.stranded.iter().chain(&self.progress).find(|known| known.known_as == known_as).cloned()
    }

    /// Takes an event out of those in progress.
    pub(super) fn forget(&mut self, known_as: EventId) -> Option<InProgress> {
        let place = self.progress.iter().position(|known| known.known_as == known_as)?;
        Some(self.progress.swap_remove(place))
    }
}

/// The move that was asked for, if any. Clones are one.
#[derive(Clone, Default)]
pub(super) struct Moves(Arc<Mutex<Option<Move>>>);

impl Moves {
    /// Asks the thread to move. The receiver hears when it has.
    pub(super) fn ask(&self, archive: Archive) -> (Moving, Receiver<()>) {
        let ((moved, heard), (settled, moving)) = (sync_channel(1), channel());
        *self.lock() = Some(Move { archive, moved, settled });
        (Moving(moving), heard)
    }

    pub(super) fn is_asked(&self) -> bool {
        self.lock().is_some()
    }

    /// The move that was asked for; for the thread, or for its owner where the thread does not come to it.
    pub(super) fn take(&self) -> Option<Move> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Move>> {
        self.0.lock()
    }
}

/// Dropped by a thread that was left behind when it has nothing open any more. Clones are one.
#[derive(Clone, Default)]
pub(super) struct Settled(Arc<Mutex<Option<Sender<()>>>>);

impl Settled {
    pub(super) fn set(&self, settled: Sender<()>) {
        *self.0.lock() = Some(settled);
    }
}
