//! Many items of an outbox at a time, as a person selects them: to count them, to drop them, or to try them again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::lease::find_row;
use super::op::Op;
use super::outbox::Outbox;
use super::packed::Packed;
use super::place::{Lane, Place};
use super::queue::ItemRef;
use super::schema::{Row, decode, item_key, prefix};
use super::trees::Database;
use super::{Delivery, StoreError};
use crate::event::EventId;

/// Items that one commit changes.
const BATCH: usize = 128;
/// Rows that one look at the index goes through.
const ROWS: usize = 1000;
/// So many numbers are looked up one by one; more are met on the way through the whole outbox.
const LOOKED_UP: u64 = BATCH as u64;

/// What an item delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemKind {
    /// A message.
    Alert,
    /// An `event.json`.
    Event,
    /// A clip.
    Clip,
    /// A still picture.
    Picture,
    /// A file that belongs to no event: accounts of days, tables.
    Document,
}

impl ItemKind {
    /// The kind of `item`; `None` for a file that is none of these.
    pub fn of(item: &Delivery) -> Option<Self> {
        match item {
            Delivery::Alert(_) => Some(Self::Alert),
            Delivery::Document(_) => Some(Self::Document),
            Delivery::Upload(_) => match Lane::of(item) {
                Lane::Metadata => Some(Self::Event),
                Lane::Stills => Some(Self::Picture),
                Lane::Clips => Some(Self::Clip),
                Lane::Rest => None,
            },
        }
    }
}

/// Where an item stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueState {
    /// It waits.
    Waiting,
    /// It was given up.
    Dead,
}

/// Items of an outbox for which everything holds that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Selection {
    /// First and last number of each range, both included; none: whatever the number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<(u64, u64)>,
    /// Where they stand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<QueueState>,
    /// Of one camera.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub camera: Option<String>,
    /// Of one kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<ItemKind>,
    /// Of these events.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventId>,
    /// Recorded before this time of the wall clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Timestamp>,
}

/// What was found and dealt with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selected {
    /// Items.
    pub items: u64,
    /// Their size, in bytes; alerts count as none.
    pub bytes: u64,
    /// Of these, items that an outlet was working on: a transfer that is under way may still arrive.
    pub sending: u64,
    /// The time was over before all were looked at: the same again goes on.
    pub more: bool,
}

/// An item that matches.
struct Found {
    item: ItemRef,
    is_dead: bool,
    event: Option<EventId>,
    delivery: Delivery,
}

/// Where a look begins: the part of the outbox, and the key before it.
type From = (usize, Option<Vec<u8>>);

impl Selection {
    /// The one item of this number.
    pub fn number(seq: u64) -> Self {
        Self { numbers: vec![(seq, seq)], ..Self::default() }
    }

    /// Everything that was given up.
    pub fn dead() -> Self {
        Self { state: Some(QueueState::Dead), ..Self::default() }
    }

    /// The numbers, where they are few enough to be looked up one by one.
    fn few(&self) -> Option<Vec<u64>> {
        let count = |(first, last): &(u64, u64)| last.checked_sub(*first).map_or(0, |more| more.saturating_add(1));
        let total = self.numbers.iter().map(count).fold(0, u64::saturating_add);
        let few = (1..=LOOKED_UP).contains(&total);
        // Ranges may overlap.
        let numbers = || self.numbers.iter().flat_map(|(first, last)| *first..=*last).collect::<BTreeSet<u64>>();
        few.then(|| numbers().into_iter().collect())
    }

    fn takes(&self, db: &Database, seq: u64, row: &Row, is_dead: bool) -> Result<bool, StoreError> {
        let stand = if is_dead { QueueState::Dead } else { QueueState::Waiting };
        let is_among =
            self.numbers.is_empty() || self.numbers.iter().any(|(first, last)| (*first..=*last).contains(&seq));
        let fits = is_among
            && self.state.is_none_or(|state| state == stand)
            && self.kind.is_none_or(|kind| ItemKind::of(&row.item) == Some(kind))
            && (self.events.is_empty() || row.asset.is_some_and(|id| self.events.contains(&id)))
            && self.before.is_none_or(|before| row.created.wall < before);
        match &self.camera {
            Some(camera) if fits => is_of_camera(db, row, camera),
            _ => Ok(fits),
        }
    }
}

fn is_of_camera(db: &Database, row: &Row, camera: &str) -> Result<bool, StoreError> {
    /// All that counts here of an event.
    #[derive(Deserialize)]
    struct Short {
        camera: String,
    }

    if let Delivery::Document(document) = &row.item {
        // The account of a day; tables are of all cameras.
        return Ok(document.camera() == Some(camera));
    }
    if let Some(event) = &row.event {
        return Ok(*event.camera == *camera);
    }
    let Some(id) = row.asset else { return Ok(false) };
    let event = db.events.get(id.to_bytes())?;
    Ok(event.and_then(|json| decode::<Short>(&json).ok()).is_some_and(|event| event.camera == camera))
}

/// What is done with what was selected.
#[derive(Clone, Copy)]
enum Action {
    Count,
    Drop,
    Retry,
}

impl Outbox {
    /// Counts what `selection` is about, for at most `within`.
    ///
    /// # Errors
    /// When the store is out of service.
    pub async fn count_selected(&self, selection: &Selection, within: Duration) -> Result<Selected, StoreError> {
        self.go_through(selection, within, Action::Count).await
    }

    /// Forgets what `selection` is about, whether it waits or was given up; files stay on the box, and stay dropped when
    /// the index is rebuilt. Begins no further batch once `within` is over; each batch is dropped as a whole.
    ///
    /// # Errors
    /// When the store is out of service; what was dropped until then stays dropped.
    pub async fn drop_selected(&self, selection: &Selection, within: Duration) -> Result<Selected, StoreError> {
        self.go_through(selection, within, Action::Drop).await
    }

    /// Puts back what was given up, and ends the rest of what waits.
    ///
    /// # Errors
    /// When the store is out of service; what was put back until then stays there.
    pub async fn retry_selected(&self, selection: &Selection) -> Result<Selected, StoreError> {
        self.go_through(selection, Duration::MAX, Action::Retry).await
    }

    /// [`Outbox::drop_selected`] of one number. Gives whether there was such an item.
    ///
    /// # Errors
    /// When the store is out of service.
    pub async fn drop_item(&self, seq: u64) -> Result<bool, StoreError> {
        Ok(self.drop_selected(&Selection::number(seq), Duration::MAX).await?.items > 0)
    }

    async fn go_through(&self, selection: &Selection, within: Duration, deed: Action) -> Result<Selected, StoreError> {
        let (begun, mut selected, mut next) = (Instant::now(), Selected::default(), Some((0, None)));
        while let Some(from) = next {
            // A command that has changed nothing yet would begin at the same place again.
            if (selected.items > 0 || matches!(deed, Action::Count)) && begun.elapsed() >= within {
                selected.more = true;
                return Ok(selected);
            }
            let (found, then) = self.look(selection, from).await?;
            next = then;
            let now = self.core().clock.mono();
            for found in &found {
                selected.items += 1;
                selected.bytes += found.delivery.bytes();
                let is_sending = !found.is_dead && found.item.queue.lease_state(found.item.place.seq, now).0;
                selected.sending += u64::from(is_sending);
            }
            match deed {
                _ if found.is_empty() => {}
                Action::Count => {}
                Action::Drop => self.drop_found(found).await?,
                Action::Retry => self.retry_found(found).await?,
            }
        }
        Ok(selected)
    }

    async fn drop_found(&self, found: Vec<Found>) -> Result<(), StoreError> {
        let noted: Vec<(Option<EventId>, Delivery)> =
            found.iter().map(|found| (found.event, found.delivery.clone())).collect();
        let (core, outbox) = (self.core().clone(), self.destination().clone());
        let note = move || core.dropped().note(&outbox, noted.iter().map(|(event, item)| (*event, item)));
        // A panic in there would be a fault of ours that costs no more than the note.
        let _ = tokio::task::spawn_blocking(note).await;
        let drop = |found: Found| if found.is_dead { Op::Discard(found.item) } else { Op::Drop(found.item) };
        self.core().write_async(Op::Several(found.into_iter().map(drop).collect())).await
    }

    async fn retry_found(&self, found: Vec<Found>) -> Result<(), StoreError> {
        let (dead, waiting): (Vec<Found>, Vec<Found>) = found.into_iter().partition(|found| found.is_dead);
        waiting.iter().for_each(|found| self.retry_now(found.item.place.seq));
        if dead.is_empty() {
            return Ok(());
        }
        self.core().write_async(Op::Several(dead.into_iter().map(|found| Op::Revive(found.item)).collect())).await
    }

    /// What matches among the next rows, and where the next look begins.
    async fn look(&self, selection: &Selection, from: From) -> Result<(Vec<Found>, Option<From>), StoreError> {
        let (outbox, selection) = (self.clone(), selection.clone());
        self.core()
            .read_async(move |db| match selection.few() {
                Some(numbers) => Ok((outbox.look_up(db, &selection, &numbers)?, None)),
                None => outbox.scan(db, &selection, from),
            })
            .await
    }

    fn look_up(&self, db: &Database, selection: &Selection, numbers: &[u64]) -> Result<Vec<Found>, StoreError> {
        let mut all = Vec::new();
        for seq in numbers {
            let waiting = find_row(db, self.queue(), *seq)?.map(|(item, row)| (item, row, false));
            let dead = match waiting {
                Some(_) => None,
                None => db.dead.get(item_key(self.destination(), *seq))?.map(|row| decode::<Row>(&row)).transpose()?,
            };
            let dead = dead.map(|row| (self.letter(*seq), row, true));
            let Some((item, row, is_dead)) = waiting.or(dead) else { continue };
            if selection.takes(db, *seq, &row, is_dead)? {
                all.push(Found { item, is_dead, event: row.asset, delivery: row.item });
            }
        }
        Ok(all)
    }

    fn scan(&self, db: &Database, selection: &Selection, from: From) -> Result<(Vec<Found>, Option<From>), StoreError> {
        let parts: [(&Packed, bool); 3] = [(&db.documents, false), (&db.outbox, false), (&db.dead, true)];
        let (part, after) = from;
        let Some((tree, is_dead)) = parts.get(part) else { return Ok((Vec::new(), None)) };
        let (is_dead, head) = (*is_dead, prefix(self.destination().as_str()));
        let low = after.map_or(std::ops::Bound::Included(head.clone()), std::ops::Bound::Excluded);
        let (mut all, mut rows) = (Vec::new(), 0);
        for entry in tree.range((low, std::ops::Bound::Unbounded)) {
            let (key, value) = entry?;
            if !key.starts_with(&head) {
                break;
            }
            rows += 1;
            if let (Some(place), Ok(row)) = (key.get(head.len()..).and_then(Place::from_bytes), decode::<Row>(&value))
                && selection.takes(db, place.seq, &row, is_dead)?
            {
                let (revision, goes_first) = (row.revision, row.item.goes_first());
                let waiting = || ItemRef { queue: self.queue().clone(), place, revision, goes_first };
                let item = if is_dead { self.letter(place.seq) } else { waiting() };
                all.push(Found { item, is_dead, event: row.asset, delivery: row.item });
            }
            if rows >= ROWS || all.len() >= BATCH {
                return Ok((all, Some((part, Some(key.to_vec())))));
            }
        }
        Ok((all, Some((part + 1, None))))
    }
}
