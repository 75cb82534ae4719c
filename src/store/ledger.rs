//! The segments of continuous recording, and the coverage ledger.

use std::sync::Arc;

use jiff::Timestamp;

use super::op::Op;
use super::read::Read;
use super::worker::Core;
use super::{SegmentQuery, StoreError, timeline};
use crate::coverage::Span;
use crate::segment::{Segment, SegmentId};

/// What video there is without an event, and what became of all time. Clones share one index.
#[derive(Clone, Debug)]
pub struct Ledger(Arc<Core>);

impl Ledger {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        Self(core.clone())
    }

    /// Makes what is known of a segment durable; replaces what was recorded under its id before.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn record_segment(&self, segment: Segment) -> Result<(), StoreError> {
        self.0.write(Op::Segment(Box::new(segment)))
    }

    /// Takes a segment that is being deleted out of the index, and notes in the coverage ledger that there was one.
    /// Nothing happens where the index does not know it.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn evict_segment(&self, camera: &Arc<str>, id: SegmentId) -> Result<(), StoreError> {
        let Some(segment) = self.segment(camera, id).wait()? else { return Ok(()) };
        let span = self.0.read(move |db| timeline::evicted_span(db, &segment))?;
        self.0.write(Op::EvictSegment { camera: camera.clone(), id, span: Box::new(span) })
    }

    /// Forgets a segment, e.g. one that holds no picture.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn forget_segment(&self, camera: Arc<str>, id: SegmentId) -> Result<(), StoreError> {
        self.0.write(Op::ForgetSegment { camera, id })
    }

    /// Segments of one camera that match, oldest first; of too many the newest.
    pub fn segments(&self, query: &SegmentQuery) -> Read<Vec<Segment>> {
        let query = query.clone();
        Read::new(&self.0, move |db| timeline::segments(db, &query))
    }

    /// One segment, as last recorded.
    pub fn segment(&self, camera: &str, id: SegmentId) -> Read<Option<Segment>> {
        let camera = camera.to_owned();
        Read::new(&self.0, move |db| timeline::segment(db, &camera, id))
    }

    /// Segments in state open, of all cameras. Right after the start: those that the last stop interrupted.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn open_segments(&self) -> Result<Vec<Segment>, StoreError> {
        self.0.read(timeline::open_segments)
    }

    /// Writes an entry of the coverage ledger, or its longer form.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn record_span(&self, span: Span) -> Result<(), StoreError> {
        self.0.write(Op::Span(Box::new(span)))
    }

    /// Entries of a camera's coverage ledger that touch the time from `since` to `until`, oldest first.
    pub fn spans(&self, camera: &str, since: Timestamp, until: Timestamp) -> Read<Vec<Span>> {
        let camera = camera.to_owned();
        Read::new(&self.0, move |db| timeline::spans(db, &camera, since, until))
    }

    /// All entries of a camera's coverage ledger, oldest first; of too many the newest.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn all_spans(&self, camera: &str) -> Result<Vec<Span>, StoreError> {
        let camera = camera.to_owned();
        self.0.read(move |db| timeline::all_spans(db, &camera))
    }

    /// Entries of a camera's coverage ledger that boot `boot_id` wrote.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn spans_of_boot(&self, camera: &str, boot_id: &str) -> Result<Vec<Span>, StoreError> {
        let (camera, boot_id) = (camera.to_owned(), boot_id.to_owned());
        self.0.read(move |db| timeline::spans_of_boot(db, &camera, &boot_id))
    }
}
