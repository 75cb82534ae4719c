//! Which items an outlet gets next.

use std::iter::Peekable;
use std::sync::Arc;

use serde::Serialize;
use tracing::error;

use super::op::Op;
use super::packed::{Lookup, Scan};
use super::place::{Lane, Place, lane_prefix};
use super::queue::{ItemRef, Lease, Queue};
use super::schema::{Row, decode, prefix, seq_of};
use super::trees::Database;
use super::{Delivery, StoreError, annotations};
use crate::clock::{Moment, Mono};
use crate::destination::Destination;
use crate::event::EventId;

/// In which order items are given out. Documents, which are small, go before all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// In the order of recording.
    Age,
    /// By lane, and within a lane the newest first.
    Value,
}

/// What an outlet wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// At most so many items.
    pub max: usize,
    /// None of a less urgent lane.
    pub up_to: Lane,
    /// Which first.
    pub order: Order,
}

impl Wanted {
    /// The oldest `max` items, whatever they are.
    pub fn oldest(max: usize) -> Self {
        Self { max, up_to: Lane::Rest, order: Order::Age }
    }
}

/// An item that waits.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Waiting {
    /// Its handle for [`super::Outbox::retry_now`] and [`super::Selection`].
    pub seq: u64,
    /// How urgent it is.
    pub lane: Lane,
    /// The event that it reports or belongs to, unless it is a document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<EventId>,
    /// What is to be delivered.
    pub item: Delivery,
    /// Tries that failed.
    pub attempts: u32,
    /// When it was recorded.
    pub created: Moment,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether an outlet works on it at this moment.
    pub leased: bool,
    /// Seconds until it is tried again; none when it is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rests_s: Option<u64>,
}

type Entry = Result<(sled::IVec, sled::IVec), StoreError>;

/// The items that `wanted` is about, in its order.
fn candidates(db: &Database, outbox: &Destination, wanted: Wanted) -> Box<dyn Iterator<Item = Entry>> {
    let documents = db.documents.scan_prefix(prefix(outbox.as_str()));
    let lanes = Lane::ALL.into_iter().take_while(move |lane| *lane <= wanted.up_to);
    let without_lane = (wanted.up_to == Lane::Rest).then(|| db.outbox.scan_prefix(lane_prefix(outbox, None)));
    let lanes = lanes.map(|lane| db.outbox.scan_prefix(lane_prefix(outbox, Some(lane))));
    match wanted.order {
        Order::Value => {
            let lanes: Vec<Scan> = lanes.collect();
            Box::new(
                documents.chain(lanes.into_iter().flat_map(Iterator::rev)).chain(without_lane.into_iter().flatten()),
            )
        }
        Order::Age => {
            let heads = lanes.chain(without_lane).map(Iterator::peekable).collect();
            Box::new(documents.chain(ByAge { heads }))
        }
    }
}

/// Several lanes as one, in the order of recording.
struct ByAge {
    heads: Vec<Peekable<Scan>>,
}

impl Iterator for ByAge {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let age = |head: &mut Peekable<Scan>| {
            // What cannot be read comes first, and ends the lease.
            head.peek().map(|entry| entry.as_ref().map_or(Some(0), |(key, _)| seq_of(key)))
        };
        let ages: Vec<_> = self.heads.iter_mut().map(age).collect();
        let first = ages.iter().enumerate().filter_map(|(index, age)| Some(((*age)?, index))).min()?.1;
        self.heads.get_mut(first)?.next()
    }
}

impl Queue {
    /// Leases on the writer thread. Also returns what cannot be delivered because its event is gone.
    pub(super) fn lease(
        self: &Arc<Self>,
        db: &Database,
        now: Mono,
        wanted: Wanted,
    ) -> Result<(Vec<Lease>, Vec<Op>), StoreError> {
        let (mut leases, mut orphans) = (Vec::new(), Vec::new());
        let head = prefix(self.destination().as_str()).len();
        let (mut events, mut items, mut documents) = (db.events.lookup(), db.outbox.lookup(), db.documents.lookup());
        for entry in candidates(db, self.destination(), wanted) {
            if leases.len() >= wanted.max {
                return Ok((leases, orphans));
            }
            let (key, value) = entry?;
            let Some(place) = key.get(head..).and_then(Place::from_bytes) else { continue };
            if !self.is_free(place.seq, now) {
                continue;
            }
            match decode::<Row>(&value) {
                Ok(row) => {
                    // In a damaged tree a scan can meet a key that a look-up, and so a removal, never finds. Such an
                    // item would be delivered over and over again.
                    let tree = if row.item.goes_first() { &mut documents } else { &mut items };
                    if tree.get(&key)?.as_ref() != Some(&value) {
                        return Err(StoreError::Corrupt("a scan and a look-up of the outbox disagree".into()));
                    }
                    match self.take(&mut events, place, row)? {
                        Ok(mut lease) => {
                            // The tables have what people say, which lies in a row of its own.
                            if *self.destination() == Destination::Lake {
                                lease.event =
                                    lease.event.take().map(|event| annotations::with(db, event)).transpose()?;
                            }
                            leases.push(lease);
                        }
                        Err(orphan) => orphans.push(orphan),
                    }
                }
                Err(error) => {
                    let seq = place.seq;
                    error!(outbox = %self.destination(), seq, %error, "a queued item cannot be read, it is left where it is");
                    self.leave(seq);
                }
            }
        }
        if leases.len() < wanted.max && wanted.up_to == Lane::Rest {
            // All were looked at: a rest that is over and still noted is of an item that went meanwhile, and
            // would wake the outlet for ever.
            self.forget_rests(now);
        }
        Ok((leases, orphans))
    }

    /// The lease of an item, or what becomes of it where its event is gone.
    fn take(
        self: &Arc<Self>,
        events: &mut Lookup<'_>,
        place: Place,
        row: Row,
    ) -> Result<Result<Lease, Op>, StoreError> {
        let event = match (row.event, row.asset) {
            (Some(event), _) => Some(event),
            (None, Some(id)) => events.get(&id.to_bytes())?.and_then(|json| decode(&json).ok()),
            (None, None) => None,
        };
        if event.is_none() && !row.item.is_document() {
            let item = ItemRef { queue: self.clone(), place, revision: row.revision, goes_first: false };
            return Ok(Err(Op::DeadLetter {
                item,
                class: "orphan".to_owned(),
                error: "its event is no longer in the index".to_owned(),
            }));
        }
        Ok(Ok(Lease {
            seq: place.seq,
            event,
            item: row.item,
            attempts: row.attempts,
            created: row.created,
            progress: row.progress,
            place,
            revision: row.revision,
            ticket: self.hand_out(place.seq),
            queue: self.clone(),
        }))
    }
}

/// What waits in `queue`, in the order in which it goes.
pub(super) fn waiting(db: &Database, queue: &Queue, now: Mono, max: usize) -> Result<Vec<Waiting>, StoreError> {
    let mut items = Vec::new();
    let head = prefix(queue.destination().as_str()).len();
    let all = Wanted { max, up_to: Lane::Rest, order: Order::Value };
    for entry in candidates(db, queue.destination(), all) {
        if items.len() >= max {
            break;
        }
        let (key, value) = entry?;
        let (Some(place), Ok(row)) = (key.get(head..).and_then(Place::from_bytes), decode::<Row>(&value)) else {
            continue;
        };
        let (leased, rest) = queue.lease_state(place.seq, now);
        items.push(Waiting {
            seq: place.seq,
            lane: place.lane.unwrap_or_else(|| Lane::of(&row.item)),
            event: row.asset,
            item: row.item,
            attempts: row.attempts,
            created: row.created,
            error: row.error,
            leased,
            rests_s: rest.map(|rest| rest.as_secs().max(1)),
        });
    }
    Ok(items)
}

/// The item with this number, wherever it waits.
pub(super) fn find(db: &Database, queue: &Arc<Queue>, seq: u64) -> Result<Option<ItemRef>, StoreError> {
    Ok(find_row(db, queue, seq)?.map(|(item, _)| item))
}

/// The note of progress that is kept with it.
pub(super) fn progress(db: &Database, queue: &Arc<Queue>, seq: u64) -> Result<Option<String>, StoreError> {
    Ok(find_row(db, queue, seq)?.and_then(|(_, row)| row.progress))
}

pub(super) fn find_row(db: &Database, queue: &Arc<Queue>, seq: u64) -> Result<Option<(ItemRef, Row)>, StoreError> {
    let lanes = [None].into_iter().chain(Lane::ALL.map(Some));
    let places =
        lanes.map(|lane| (Place { lane, seq }, &db.outbox)).chain([(Place { lane: None, seq }, &db.documents)]);
    for (place, tree) in places {
        if let Some(row) = tree.get(place.key(queue.destination()))? {
            let row: Row = decode(&row)?;
            let (revision, goes_first) = (row.revision, row.item.goes_first());
            return Ok(Some((ItemRef { queue: queue.clone(), place, revision, goes_first }, row)));
        }
    }
    Ok(None)
}
