//! Which events and segments are being written at this moment, on whatever volume.
//!
//! A recovery may run while recorders write: on a volume that is opened again while the daemon runs, a thread may still
//! close what was open there, and an event that was decided before the change may begin after it. What is listed here
//! is repaired and queued by its writer alone.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::event::EventId;

/// The list, as seen from one archive. Clones belong to the same archive.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writing {
    writers: Arc<Mutex<BTreeMap<EventId, Arc<()>>>>,
    here: Arc<()>,
}

/// The writer of an event or segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// A recorder that records it in this archive.
    Here,
    /// One that records it in an archive of before; the files may be the same.
    Elsewhere,
}

/// Something is listed for as long as this lives.
#[derive(Debug)]
pub(crate) struct Held {
    writing: Writing,
    id: EventId,
}

impl Writing {
    /// The same list for another archive.
    pub(crate) fn elsewhere(&self) -> Self {
        Self { writers: self.writers.clone(), here: Arc::default() }
    }

    /// Lists `id`. Call it before anything of it is on the disk or in the index.
    pub(crate) fn hold(&self, id: EventId) -> Held {
        self.writers().insert(id, self.here.clone());
        Held { writing: self.clone(), id }
    }

    /// The writer of `id`, if it is being written. Ask before looking at disk and index: what is not listed then has
    /// been written to the end.
    pub(crate) fn writer_of(&self, id: EventId) -> Option<Writer> {
        let writers = self.writers();
        let writer = writers.get(&id)?;
        Some(if Arc::ptr_eq(writer, &self.here) { Writer::Here } else { Writer::Elsewhere })
    }

    fn writers(&self) -> MutexGuard<'_, BTreeMap<EventId, Arc<()>>> {
        self.writers.lock()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Entry::Occupied(entry) = self.writing.writers().entry(self.id)
            && Arc::ptr_eq(entry.get(), &self.writing.here)
        {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_listed_from_its_beginning_to_its_end_with_the_archive_that_it_belongs_to() {
        let (here, id) = (Writing::default(), EventId::from_bytes([7; 16]));
        let there = here.elsewhere();
        let held = here.hold(id);
        assert_eq!((here.writer_of(id), there.writer_of(id)), (Some(Writer::Here), Some(Writer::Elsewhere)));
        drop(held);
        assert_eq!((here.writer_of(id), there.writer_of(id)), (None, None));
    }
}
