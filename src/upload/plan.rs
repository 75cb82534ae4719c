//! What is sent next.
//!
//! By value: metadata, pictures, clips, the rest, and of each the newest first. What waited the longest gets every
//! eighth turn, so that nothing starves however much is new. What is small has places of its own, so that it never waits
//! for large files that are on their way; twice as many, because it waits for answers rather than for the line.

use crate::store::{Lane, Order, Wanted};

/// Every so many-th item is the oldest.
const TURNS: u32 = 8;

/// The plan of one destination.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    turn: u32,
}

/// What is on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Busy {
    /// Metadata and pictures.
    pub express: usize,
    /// Everything else.
    pub bulk: usize,
}

impl Busy {
    /// Counts something of `lane` in or out.
    pub(super) fn of(&mut self, lane: Lane) -> &mut usize {
        if lane <= Lane::Stills { &mut self.express } else { &mut self.bulk }
    }
}

/// What may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    pub wanted: Wanted,
    /// Whether it counts towards the turn of the oldest.
    counts: bool,
}

impl Plan {
    /// What may be added to `busy`, where `places` files may go at a time and nothing beyond `up_to`. To be asked again
    /// until it wants nothing, or until there is nothing of what it wants.
    pub(super) fn next(&self, busy: Busy, places: usize, up_to: Lane) -> Option<Turn> {
        // While there is doubt about the link, one file goes at a time, and one small one beside a large one.
        let small = if places > 1 { 2 * places } else { 1 };
        let is_free = busy.express + busy.bulk < places;
        if !is_free && (busy.express >= small || busy.bulk > places) {
            return None;
        }
        // Where all places have large files, the oldest would be one more of them.
        let counts = is_free || busy.bulk < places;
        let wanted = match () {
            () if counts && self.turn == TURNS - 1 => Wanted { max: 1, up_to, order: Order::Age },
            () if is_free => Wanted { max: 1, up_to, order: Order::Value },
            () => Wanted { max: 1, up_to: up_to.min(Lane::Stills), order: Order::Value },
        };
        Some(Turn { wanted, counts })
    }

    /// Something was found for `turn`.
    pub(super) fn took(&mut self, turn: Turn) {
        if turn.counts {
            self.turn = (self.turn + 1) % TURNS;
        }
    }
}
