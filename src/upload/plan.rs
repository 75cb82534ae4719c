//! What is sent next.
//!
//! By value: metadata, pictures, clips, the rest, and of each the newest first. What waited the longest gets every
//! eighth turn, so that nothing starves however much is new. One place is kept for what is small, so that it never
//! waits for large files that are on their way.

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
    /// Whether it counts towards the turn of the oldest. The place of its own does not: it knows no large files.
    counts: bool,
}

impl Plan {
    /// What may be added to `busy`, where `places` files may go at a time and nothing beyond `up_to`. To be asked again
    /// until it wants nothing, or until there is nothing of what it wants.
    pub(super) fn next(&self, busy: Busy, places: usize, up_to: Lane) -> Option<Turn> {
        let all = busy.express + busy.bulk;
        if all < places {
            let order = if self.turn == TURNS - 1 { Order::Age } else { Order::Value };
            return Some(Turn { wanted: Wanted { max: 1, up_to, order }, counts: true });
        }
        // The place of its own: while large files have all others.
        let own = busy.express == 0 && all == places;
        let wanted = Wanted { max: 1, up_to: up_to.min(Lane::Stills), order: Order::Value };
        own.then_some(Turn { wanted, counts: false })
    }

    /// Something was found for `turn`.
    pub(super) fn took(&mut self, turn: Turn) {
        if turn.counts {
            self.turn = (self.turn + 1) % TURNS;
        }
    }
}
