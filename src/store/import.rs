//! What comes from another index.

use super::{AlertCounts, Change};
use crate::clock::Moment;
use crate::destination::Destination;
use crate::event::{Event, Phase};

/// An alert that another index could not get rid of.
#[derive(Clone, Debug, PartialEq)]
pub struct MigratedAlert {
    /// The destination that it is for.
    pub outbox: Destination,
    /// What it reports.
    pub phase: Phase,
    /// The event as it was then.
    pub event: Event,
    /// When it was queued first.
    pub created: Moment,
    /// How it became a dead letter there, where it did.
    pub given_up: Option<GivenUp>,
}

/// How an item became a dead letter.
#[derive(Clone, Debug, PartialEq)]
pub struct GivenUp {
    /// Tries that failed.
    pub attempts: u32,
    /// The kind of failure, a word.
    pub class: String,
    /// Why.
    pub error: String,
}

/// An event of another index.
#[derive(Clone, Debug)]
pub struct TakenOver {
    /// The event with its files, which go to all destinations.
    pub change: Change,
    /// Alerts that are still to be published, each by its outlet.
    pub alerts: Vec<MigratedAlert>,
    /// What the other index knows of the others.
    pub counted: Option<AlertCounts>,
    /// Files that were dropped there, by outbox: they are not delivered from here either.
    pub dropped: Vec<(Destination, String)>,
}

/// What the index knows of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryStatus {
    /// Nothing.
    Unknown,
    /// Files of it wait for their delivery, or it has no end, or what is known of it cannot be read.
    Waiting,
    /// It is over, and no file of it waits.
    Settled,
}
