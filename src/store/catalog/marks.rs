//! What commits note of outlets: the marks in the rows of files, and the numbers of each event's alerts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::commit::Group;
use super::super::place::Place;
use super::super::schema::{Row as Item, decode, encode, item_key, upload_key};
use super::super::{Delivery, StoreError};
use super::{Mark, Marks, Row};
use crate::asset::FileId;
use crate::destination::Destination;
use crate::event::{DeliveryState, EventId};

/// The marks of files that are gone take so many bytes in the row of their sidecar at most, and the alerts of an event
/// as many: values of the index stay small.
const MOST_BYTES: usize = 2 * 1024;

/// How far outlets got with the alerts of one event: the value in `alerts`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertCounts {
    /// Whether all alerts of the event are counted. Not so where it began before this was kept, or on another volume.
    #[serde(default)]
    complete: bool,
    /// By destination.
    #[serde(default)]
    to: BTreeMap<Destination, Tally>,
}

/// How many alerts of one event are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Tally {
    #[serde(skip_serializing_if = "is_zero")]
    waiting: u32,
    #[serde(skip_serializing_if = "is_zero")]
    dead: u32,
    #[serde(skip_serializing_if = "is_zero")]
    dropped: u32,
    #[serde(skip_serializing_if = "is_zero")]
    delivered: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl Tally {
    fn state(self) -> Option<DeliveryState> {
        let states = [
            (self.dead, DeliveryState::Failed),
            (self.waiting, DeliveryState::Waiting),
            (self.dropped, DeliveryState::Dropped),
            (self.delivered, DeliveryState::Delivered),
        ];
        states.into_iter().find(|(alerts, _)| *alerts > 0).map(|(_, state)| state)
    }
}

impl AlertCounts {
    /// How far `outbox` got; `None` where that is not known.
    pub(in crate::store) fn state(&self, outbox: &Destination) -> Option<DeliveryState> {
        match self.to.get(outbox) {
            Some(tally) => tally.state(),
            None => self.complete.then_some(DeliveryState::NotWanted),
        }
    }

    /// Whether alerts may be queued that are not counted.
    pub(in crate::store) fn is_complete(&self) -> bool {
        self.complete
    }
}

fn add(number: &mut u32) {
    *number = number.saturating_add(1);
}

fn take(number: &mut u32) {
    *number = number.saturating_sub(1);
}

impl Row {
    pub(super) fn mark(&mut self, outbox: &Destination, mark: Mark) {
        self.dropped.remove(outbox);
        self.to.insert(outbox.clone(), mark);
    }

    fn drop_at(&mut self, outbox: &Destination) {
        self.to.remove(outbox);
        self.dropped.insert(outbox.clone());
    }
}

impl Group<'_> {
    /// The outbox has an item now.
    pub(in crate::store) fn mark_waiting(&mut self, outbox: &Destination, item: &Item) -> Result<(), StoreError> {
        match item.file() {
            Some(file) => self.edit_file(&file, |row| row.mark(outbox, Mark::Waiting)),
            None => self.tally(outbox, item, |alerts| add(&mut alerts.waiting)),
        }
    }

    pub(in crate::store) fn mark_delivered(&mut self, outbox: &Destination, item: &Item) -> Result<(), StoreError> {
        match item.file() {
            Some(file) => self.edit_file(&file, |row| row.mark(outbox, Mark::Delivered)),
            None => self.tally(outbox, item, |alerts| {
                take(&mut alerts.waiting);
                add(&mut alerts.delivered);
            }),
        }
    }

    pub(in crate::store) fn mark_dead(
        &mut self,
        outbox: &Destination,
        item: &Item,
        seq: u64,
    ) -> Result<(), StoreError> {
        match item.file() {
            Some(file) => self.edit_file(&file, |row| row.mark(outbox, Mark::Dead(seq))),
            None => self.tally(outbox, item, |alerts| {
                take(&mut alerts.waiting);
                add(&mut alerts.dead);
            }),
        }
    }

    /// A dead letter goes back into the outbox, which marks it as waiting.
    pub(in crate::store) fn mark_revived(&mut self, outbox: &Destination, item: &Item) -> Result<(), StoreError> {
        self.tally(outbox, item, |alerts| take(&mut alerts.dead))
    }

    /// The dead letter `seq` was discarded.
    pub(in crate::store) fn mark_discarded(
        &mut self,
        outbox: &Destination,
        item: &Item,
        seq: u64,
    ) -> Result<(), StoreError> {
        match item.file() {
            // Not where the file was queued again since, or is there already.
            Some(file) => self.edit_file(&file, |row| {
                if row.to.get(outbox) == Some(&Mark::Dead(seq)) {
                    row.drop_at(outbox);
                }
            }),
            None => self.tally(outbox, item, |alerts| {
                take(&mut alerts.dead);
                add(&mut alerts.dropped);
            }),
        }
    }

    /// An item that waited was taken out undelivered.
    pub(in crate::store) fn mark_dropped(&mut self, outbox: &Destination, item: &Item) -> Result<(), StoreError> {
        match item.file() {
            Some(file) => self.edit_file(&file, |row| row.drop_at(outbox)),
            None => self.tally(outbox, item, |alerts| {
                take(&mut alerts.waiting);
                add(&mut alerts.dropped);
            }),
        }
    }

    /// Takes a file out of every outbox and out of the dead letters, configured or not.
    pub(super) fn drop_pending(&mut self, file: &FileId) -> Result<(), StoreError> {
        let Some(row) = self.file(file)? else { return Ok(()) };
        let pending = || row.to.iter().filter(|(_, mark)| **mark != Mark::Delivered);
        for (name, mark) in pending() {
            match mark {
                Mark::Delivered => {}
                Mark::Waiting => {
                    let Some(place) = self.views.uploads.remove(upload_key(name, file))? else { continue };
                    let Some(place) = Place::from_bytes(&place) else { continue };
                    if let Some(item) = self.views.outbox.remove(place.key(name))? {
                        let item: Item = decode(&item)?;
                        self.counters.of(name).remove(&item.item);
                    }
                    // Ends its rest, which would wake the outlet for ever.
                    self.due.extend(self.queues.get(name).map(|queue| (queue.clone(), place.seq)));
                }
                Mark::Dead(seq) => {
                    if self.views.dead.remove(item_key(name, *seq))?.is_some() {
                        let dead = &mut self.counters.of(name).dead;
                        *dead = dead.saturating_sub(1);
                    }
                }
            }
        }
        self.edit_file(file, |edited| pending().for_each(|(name, _)| edited.drop_at(name)))
    }

    /// A file goes before it could be queued.
    pub(super) fn drop_unqueued(&mut self, file: &FileId) -> Result<(), StoreError> {
        let destinations = self.destinations();
        self.edit_file(file, |row| {
            for name in destinations.into_iter().filter(|name| !row.to.contains_key(*name)).collect::<Vec<_>>() {
                row.drop_at(name);
            }
        })
    }

    /// A file was deleted from the box: its sidecar's row, where there is one, keeps what is known of its delivery.
    pub(super) fn bury_file(&mut self, file: &FileId) -> Result<(), StoreError> {
        let Some(row) = self.file(file)? else { return Ok(()) };
        self.remove_file(file)?;
        let of_event = file.sidecar();
        let Some(sidecar) = self.file(&of_event)? else { return Ok(()) };
        let mut gone = sidecar.gone;
        gone.insert(file.name.clone(), Marks { to: row.to, dropped: row.dropped });
        while encode(&gone)?.len() > MOST_BYTES {
            gone.pop_first();
        }
        self.edit_file(&of_event, |sidecar| sidecar.gone = gone)
    }

    /// Alerts of an event are counted from now on. `complete`: from its first one.
    pub(in crate::store) fn begin_alerts(&mut self, id: EventId, complete: bool) -> Result<(), StoreError> {
        if self.views.alerts.get(id.to_bytes())?.is_none() {
            self.views.alerts.insert(id.to_bytes(), encode(&AlertCounts { complete, to: BTreeMap::new() })?)?;
        }
        Ok(())
    }

    /// Counts of an event that comes from another index. What waits or was given up there is queued, and counted, apart.
    pub(in crate::store) fn take_alert_counts(&mut self, id: EventId, counted: &AlertCounts) -> Result<(), StoreError> {
        if self.views.alerts.get(id.to_bytes())?.is_none() {
            let mut row = counted.clone();
            for alerts in row.to.values_mut() {
                (alerts.waiting, alerts.dead) = (0, 0);
            }
            self.views.alerts.insert(id.to_bytes(), encode(&row)?)?;
        }
        Ok(())
    }

    /// Counts an alert; one of an event that the index does not know is left alone.
    fn tally(&mut self, outbox: &Destination, item: &Item, count: impl FnOnce(&mut Tally)) -> Result<(), StoreError> {
        let (Delivery::Alert(_), Some(id), true) = (&item.item, item.asset, outbox.takes_alerts()) else {
            return Ok(());
        };
        let mut row: AlertCounts = match self.views.alerts.get(id.to_bytes())? {
            Some(known) => decode(&known)?,
            // Queued before alerts were counted.
            None if self.views.events.get(id.to_bytes())?.is_some() => AlertCounts::default(),
            None => return Ok(()),
        };
        count(row.to.entry(outbox.clone()).or_default());
        let mut value = encode(&row)?;
        if value.len() > MOST_BYTES {
            row.to.retain(|name, _| self.queues.contains_key(name));
            value = encode(&row)?;
        }
        while value.len() > MOST_BYTES && row.to.pop_last().is_some() {
            row.complete = false;
            value = encode(&row)?;
        }
        self.views.alerts.insert(id.to_bytes(), value)?;
        Ok(())
    }
}
