//! Documents whose place in a queue depends on what waits there: one in place of several (what the lake makes of many
//! small files), and tasks of one destination.

use super::commit::Group;
use super::place::Place;
use super::queue::ItemRef;
use super::schema::{Row, document_key};
use super::{Delivery, Document, DocumentTask, StoreError};
use crate::clock::Moment;
use crate::destination::Destination;

impl Group<'_> {
    pub(super) fn supersede(
        &mut self,
        paths: &[String],
        by: Option<&Delivery>,
        now: &Moment,
    ) -> Result<(), StoreError> {
        let queues = self.queues;
        for queue in queues.values() {
            let mut items = Vec::new();
            for path in paths {
                let place = self.views.uploads.get(document_key(queue.destination(), path))?;
                let Some(place) = place.and_then(|place| Place::from_bytes(&place)) else { break };
                let Some(row) = self.row(true, &place.key(queue.destination()))? else { break };
                if queue.lease_state(place.seq, now.mono()).0 {
                    break;
                }
                items.push(ItemRef { queue: queue.clone(), place, revision: row.revision, goes_first: true });
            }
            if items.len() < paths.len() {
                continue;
            }
            for item in &items {
                self.take(item)?;
            }
            if let Some(delivery) = by {
                self.insert(queue, Row::new(None, delivery, now))?;
            }
        }
        Ok(())
    }

    /// Queues a task of one destination. What waits there under the same path is done first, or instead: only a release is
    /// given up for another task.
    pub(super) fn deliver_to(
        &mut self,
        outbox: &Destination,
        document: &Document,
        now: &Moment,
    ) -> Result<(), StoreError> {
        let Some(queue) = self.queues.get(outbox) else { return Ok(()) };
        let delivery = Delivery::Document(document.clone());
        let place = self.views.uploads.get(document_key(outbox, &document.path))?;
        if let Some(place) = place.and_then(|place| Place::from_bytes(&place)) {
            let goes_first = delivery.goes_first();
            let known = self.row(goes_first, &place.key(outbox))?;
            let is_release = |row: &Row| is_task(&row.item, DocumentTask::Release);
            let Some(known) = known.filter(is_release).filter(|_| document.task != DocumentTask::Release) else {
                return Ok(());
            };
            self.take(&ItemRef { queue: queue.clone(), place, revision: known.revision, goes_first })?;
        }
        self.insert(queue, Row::new(None, &delivery, now))
    }
}

fn is_task(item: &Delivery, task: DocumentTask) -> bool {
    matches!(item, Delivery::Document(document) if document.task == task)
}
