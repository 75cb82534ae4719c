//! The queues of the destinations, all together; [`Outbox`] is one of them.

use std::sync::Arc;

use super::op::Op;
use super::outbox::Outbox;
use super::schema::{document_key, prefix};
use super::worker::Core;
use super::{Delivery, Document, StoreError};
use crate::destination::Destination;

/// The queues of the destinations. Clones share one index.
#[derive(Clone, Debug)]
pub struct Outboxes(Arc<Core>);

impl Outboxes {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        Self(core.clone())
    }

    /// Makes these the configured outboxes, in place of those that the store was opened with. What is recorded from now on
    /// is queued for them; items of those that are gone stay where they are until those are configured again.
    ///
    /// Outlets of the ones that are gone must have ended. Blocks until no commit for the old ones is under way.
    ///
    /// # Errors
    /// For a name that no key can begin with; else when the store is out of service.
    pub fn configure(&self, destinations: &[Destination]) -> Result<(), StoreError> {
        self.0.set_queues(destinations.to_vec())
    }

    /// The queue of `destination`, one of those that are configured.
    ///
    /// # Errors
    /// [`StoreError::NoSuchOutbox`].
    pub fn get(&self, destination: &Destination) -> Result<Outbox, StoreError> {
        Outbox::new(&self.0, destination)
    }

    /// Queues `document` for every upload, where documents go before the files
    /// of events. One that still waits under the same path is replaced, so that only its latest state is
    /// delivered. Blocks until it is on the disk.
    ///
    /// # Errors
    /// [`StoreError::BadPath`] or [`StoreError::TooLarge`] for a path that is none; else when the disk is full
    /// or the store is out of service.
    pub fn deliver(&self, document: Document) -> Result<(), StoreError> {
        let delivery = Delivery::Document(document);
        delivery.check()?;
        self.0.write(Op::Deliver { delivery, now: self.0.clock.now() })
    }

    /// Queues a task of one destination, where nothing else waits under the path of `document`; only a release is given up
    /// for another task. Nothing happens where the destination is not configured any more.
    ///
    /// # Errors
    /// As [`Outboxes::deliver`].
    pub async fn deliver_to(&self, destination: &Destination, document: Document) -> Result<(), StoreError> {
        Delivery::Document(document.clone()).check()?;
        let op = Op::DeliverTo { outbox: destination.clone(), document, now: self.0.clock.now() };
        self.0.write_async(op).await
    }

    /// Whether a destination is still to get the document at `path`.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn awaits(&self, path: &str) -> Result<bool, StoreError> {
        let keys: Vec<_> = self.0.queues().keys().map(|outbox| document_key(outbox, path)).collect();
        self.0.read(move |db| {
            let mut found = keys.iter().map(|key| db.uploads.contains_key(key));
            found.try_fold(false, |waits, found| found.map(|found| waits || found))
        })
    }

    /// Whether a destination is still to get a document whose path begins with `folder`.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn awaits_below(&self, folder: &str) -> Result<bool, StoreError> {
        let keys: Vec<_> = self.0.queues().keys().map(|outbox| document_key(outbox, folder)).collect();
        self.0.read(move |db| {
            let mut found = keys.iter().map(|key| db.uploads.scan_prefix(key).next().transpose());
            found.try_fold(false, |waits, found| found.map(|found| waits || found.is_some()))
        })
    }

    /// Gives everything that is queued from now on a number above `seq`. A fresh index counts from one again, and
    /// receivers know alerts by their numbers.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn count_on_from(&self, seq: u64) -> Result<(), StoreError> {
        self.0.write(Op::CountOn(seq))
    }

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
    /// As [`Outboxes::deliver`].
    pub fn supersede(&self, paths: Vec<String>, by: Option<Document>) -> Result<(), StoreError> {
        let by = by.map(Delivery::Document);
        by.iter().try_for_each(Delivery::check)?;
        self.0.write(Op::Supersede { paths, by, now: self.0.clock.now() })
    }

    /// The items of an outbox, counted one by one.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn count_items(&self, outbox: &Destination) -> Result<u64, StoreError> {
        let key = prefix(outbox.as_str());
        self.0.read(move |db| {
            let items = [&db.documents, &db.outbox].map(|tree| tree.scan_prefix(&key));
            items.into_iter().flatten().try_fold(0, |count, entry| entry.map(|_| count + 1))
        })
    }
}
