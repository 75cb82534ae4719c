//! How far each outlet got with an event and its files: what the marks in the catalogue mean.
//!
//! That something lies in no queue says nothing: it may have been delivered, dropped, or never queued.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::StoreError;
use super::super::packed::Lookup;
use super::super::read::Read;
use super::super::schema::{decode, prefix, upload_key};
use super::super::trees::Database;
use super::super::worker::Core;
use super::plan::Reader;
use super::{AlertCounts, Mark, Marks, Row};
use crate::asset::{FileId, SIDECAR};
use crate::destination::Destination;
use crate::event::{DeliveryState, Event, EventId, EventState, FileDelivery, OutletDelivery};

/// Queued alerts that are looked through for those that were not counted; a longer queue is judged by its order.
const ALERTS_SEEN: usize = 500;

fn state_of(to: &BTreeMap<Destination, Mark>, dropped: &BTreeSet<Destination>, outbox: &Destination) -> DeliveryState {
    match to.get(outbox) {
        Some(Mark::Waiting) => DeliveryState::Waiting,
        Some(Mark::Delivered) => DeliveryState::Delivered,
        Some(Mark::Dead(_)) => DeliveryState::Failed,
        None if dropped.contains(outbox) => DeliveryState::Dropped,
        None => DeliveryState::NotWanted,
    }
}

impl Row {
    /// How far the outbox of a destination got with the file.
    pub(super) fn state(&self, outbox: &Destination) -> DeliveryState {
        state_of(&self.to, &self.dropped, outbox)
    }
}

impl Marks {
    fn state(&self, outbox: &Destination) -> DeliveryState {
        state_of(&self.to, &self.dropped, outbox)
    }
}

/// What has to be known of an event.
struct Asked {
    id: EventId,
    is_open: bool,
    /// Its files are not queued yet.
    is_early: bool,
    files: Vec<String>,
    /// Files that were deleted from the box, and whether every destination of that time had them.
    evicted: Vec<(String, bool)>,
}

impl Asked {
    fn of(event: &Event) -> Self {
        let is_open = event.state == EventState::Open;
        let files: Vec<String> =
            [SIDECAR].into_iter().chain(event.media().map(|media| media.file.as_str())).map(str::to_owned).collect();
        let evicted = event.evicted.iter().filter(|gone| !files.contains(&gone.media.file));
        let evicted = evicted.map(|gone| (gone.media.file.clone(), gone.delivered)).collect();
        Self { id: event.id, is_open, is_early: is_open || event.filed.is_none(), files, evicted }
    }
}

/// How far each outlet got with each of `events` and their files, the outlets in the order of their names. One of
/// alerts is left out where the index does not know: of events that an older version published, or whose index was
/// rebuilt from the sidecars.
pub(in crate::store) fn deliveries(core: &Arc<Core>, events: &[Event]) -> Read<Vec<Vec<OutletDelivery>>> {
    let outboxes: Vec<_> = core.queues().keys().filter(|to| **to != Destination::Lake).cloned().collect();
    let asked: Vec<_> = events.iter().map(Asked::of).collect();
    Read::new(core, move |db| States::new(db, &outboxes).of_all(&asked))
}

/// One look at the index.
struct States<'a> {
    reader: Reader<'a>,
    alerts: Lookup<'a>,
    outboxes: &'a [Destination],
    /// By outbox, once asked: events that queued alerts are about, and whether these are all that are queued.
    queued: BTreeMap<&'a Destination, (BTreeSet<EventId>, bool)>,
}

impl<'a> States<'a> {
    fn new(db: &'a Database, outboxes: &'a [Destination]) -> Self {
        let reader = Reader { db, destinations: Vec::new() };
        Self { reader, alerts: db.alerts.lookup(), outboxes, queued: BTreeMap::new() }
    }

    fn of_all(mut self, asked: &[Asked]) -> Result<Vec<Vec<OutletDelivery>>, StoreError> {
        asked.iter().map(|event| self.of_event(event)).collect()
    }

    fn of_event(&mut self, event: &Asked) -> Result<Vec<OutletDelivery>, StoreError> {
        let rows: BTreeMap<String, Row> = self.reader.rows(event.id)?.into_iter().collect();
        let alerts = self.alerts.get(&event.id.to_bytes())?;
        let alerts: Option<AlertCounts> = alerts.map(|row| decode(&row)).transpose()?;
        let mut outlets = Vec::with_capacity(self.outboxes.len());
        for name in self.outboxes {
            let (state, files) = if name.takes_alerts() {
                let Some(state) = self.of_alerts(event, name, alerts.as_ref())? else { continue };
                (state, Vec::new())
            } else {
                let files = self.of_files(event, name, &rows)?;
                let Some(state) = files.iter().map(|file| file.state).min() else { continue };
                (state, files)
            };
            outlets.push(OutletDelivery { outlet: name.clone(), state, files });
        }
        Ok(outlets)
    }

    fn of_files(
        &self,
        event: &Asked,
        outbox: &Destination,
        rows: &BTreeMap<String, Row>,
    ) -> Result<Vec<FileDelivery>, StoreError> {
        let mut files = Vec::with_capacity(event.files.len() + event.evicted.len());
        for file in &event.files {
            let state = match rows.get(file) {
                Some(row) => row.state(outbox),
                // Not in the catalogue yet: of an event of an older version.
                None if self.reader.db.uploads.contains_key(upload_key(outbox, &FileId::new(event.id, &**file)))? => {
                    DeliveryState::Waiting
                }
                None => DeliveryState::NotWanted,
            };
            let state = if event.is_early { state.min(DeliveryState::Waiting) } else { state };
            files.push(FileDelivery { file: file.clone(), state });
        }
        let sidecar = rows.get(SIDECAR);
        for (file, was_delivered) in &event.evicted {
            let kept = sidecar.and_then(|sidecar| sidecar.gone.get(file));
            let state = match (rows.get(file), kept) {
                // It is being deleted at this moment.
                (Some(row), _) => row.state(outbox),
                (None, Some(marks)) => marks.state(outbox),
                // Deleted by an older version, or the index was rebuilt: there is only what `event.json` says.
                (None, None) if sidecar.is_none_or(|row| row.state(outbox) == DeliveryState::NotWanted) => {
                    DeliveryState::NotWanted
                }
                (None, None) if *was_delivered => DeliveryState::Delivered,
                (None, None) => DeliveryState::Dropped,
            };
            files.push(FileDelivery { file: file.clone(), state });
        }
        Ok(files)
    }

    fn of_alerts(
        &mut self,
        event: &Asked,
        outbox: &'a Destination,
        counts: Option<&AlertCounts>,
    ) -> Result<Option<DeliveryState>, StoreError> {
        let state = counts.and_then(|counts| counts.state(outbox));
        let is_exact = counts.is_some_and(AlertCounts::is_complete);
        // The end of an event that goes on is still to be published.
        let waits = event.is_open || !is_exact && self.queues_alert(outbox, event.id)?;
        Ok(if waits { Some(state.unwrap_or(DeliveryState::Waiting).min(DeliveryState::Waiting)) } else { state })
    }

    /// Whether an alert of the event waits that was queued before alerts were counted.
    fn queues_alert(&mut self, outbox: &'a Destination, id: EventId) -> Result<bool, StoreError> {
        if !self.queued.contains_key(outbox) {
            let queued = queued_alerts(self.reader.db, outbox)?;
            self.queued.insert(outbox, queued);
        }
        let Some((queued, is_whole)) = self.queued.get(outbox) else { return Ok(false) };
        Ok(queued.contains(&id) || !is_whole && queued.last().is_some_and(|last| id > *last))
    }
}

/// The events that the oldest queued alerts are about, and whether these are all that are queued.
fn queued_alerts(db: &Database, outbox: &Destination) -> Result<(BTreeSet<EventId>, bool), StoreError> {
    let (mut ids, mut rows) = (BTreeSet::new(), 0);
    for entry in db.outbox.scan_prefix(prefix(outbox.as_str())).take(ALERTS_SEEN) {
        rows += 1;
        if let Ok(row) = decode::<super::super::schema::Row>(&entry?.1) {
            ids.extend(row.asset);
        }
    }
    Ok((ids, rows < ALERTS_SEEN))
}
