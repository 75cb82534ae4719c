//! One document in place of several that wait: what the lake makes of many small files.

use super::commit::{Group, ItemRef, Op};
use super::place::Place;
use super::schema::{Row, document_key};
use super::{Delivery, Document, Store, StoreError};
use crate::clock::Moment;
use crate::destination::Destination;

impl Store {
    /// The destinations that are still to get the document at `path`.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn waits_in(&self, path: &str) -> Result<Vec<Destination>, StoreError> {
        let keys: Vec<_> = self.0.queues().keys().map(|name| (name.clone(), document_key(name, path))).collect();
        self.0.read(move |db| {
            let mut found = Vec::new();
            for (name, key) in keys {
                if db.uploads.contains_key(&key)? {
                    found.push(name);
                }
            }
            Ok(found)
        })
    }

    /// In every outbox that holds all documents at `paths`, none of which is on its way at this moment: takes them out
    /// and queues `by` instead, or nothing. Other outboxes stay as they are. All in one step; blocks until that is on
    /// the disk.
    ///
    /// # Errors
    /// As [`Store::deliver`].
    pub fn supersede(&self, paths: Vec<String>, by: Option<Document>) -> Result<(), StoreError> {
        let by = by.map(Delivery::Document);
        by.iter().try_for_each(Delivery::check)?;
        self.0.write(Op::Supersede { paths, by, now: self.0.clock.now() })
    }
}

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
                items.push(ItemRef { queue: queue.clone(), place, revision: row.revision, is_document: true });
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
}
