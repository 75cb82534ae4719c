//! One document in place of several that wait: what the lake makes of many small files.

use super::commit::Group;
use super::place::Place;
use super::queue::ItemRef;
use super::schema::{Row, document_key};
use super::{Delivery, StoreError};
use crate::clock::Moment;

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
}
