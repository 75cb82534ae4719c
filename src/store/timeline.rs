//! The segments of continuous recording and the coverage ledger, by camera and age.

use jiff::Timestamp;
use tracing::warn;

use super::StoreError;
use super::schema::{camera_key, decode, encode, id_of, prefix};
use super::trees::{Database, Views};
use crate::coverage::{Span, SpanState};
use crate::event::EventId;
use crate::segment::{Segment, SegmentId, SegmentState};

/// How many rows one query looks at before it returns what it has.
const SCAN_LIMIT: usize = 100_000;
/// Most segments that one query returns: a week of minutes.
const MAX_LIMIT: usize = 10_080;

/// Which segments of one camera. Conditions that are `None` do not count.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentQuery {
    /// Of this camera.
    pub camera: String,
    /// That end at this wall time or later.
    pub since: Option<Timestamp>,
    /// That begin before this wall time.
    pub until: Option<Timestamp>,
    /// With a lower id; the first id of one page gives the page before it.
    pub before: Option<SegmentId>,
    /// At most so many, the newest of those that match; capped at 10080.
    pub limit: usize,
}

impl SegmentQuery {
    fn matches(&self, segment: &Segment) -> bool {
        let end = segment.end.as_ref().map(|end| end.wall);
        self.since.is_none_or(|since| end.is_none_or(|end| end >= since))
            && self.until.is_none_or(|until| segment.start.wall < until)
    }
}

/// Puts the segment into the index, or a newer state in place of the older.
pub(super) fn put(views: &Views<'_>, segment: &Segment) -> Result<(), StoreError> {
    let key = camera_key(&segment.camera, segment.id);
    let json = encode(segment)?;
    views.segments.insert(key.as_slice(), json)?;
    if segment.state == SegmentState::Open {
        views.open_segments.insert(key, &[])?;
    } else {
        views.open_segments.remove(key)?;
    }
    Ok(())
}

/// Forgets a segment.
pub(super) fn remove(views: &Views<'_>, camera: &str, id: SegmentId) -> Result<(), StoreError> {
    let key = camera_key(camera, id);
    views.segments.remove(key.as_slice())?;
    views.open_segments.remove(key)?;
    Ok(())
}

/// Segments that match, oldest first.
pub(super) fn segments(db: &Database, query: &SegmentQuery) -> Result<Vec<Segment>, StoreError> {
    let limit = query.limit.min(MAX_LIMIT);
    let low = prefix(&query.camera);
    let end = query.before.map_or_else(|| vec![0xff; 17], |id| id.to_bytes().to_vec());
    let high = [low.as_slice(), &end].concat();
    let mut found = Vec::new();
    for entry in db.segments.range(low..high).rev().take(SCAN_LIMIT) {
        if found.len() >= limit {
            break;
        }
        match decode::<Segment>(&entry?.1) {
            Ok(segment) if query.matches(&segment) => found.push(segment),
            Ok(_) => {}
            Err(error) => warn!(%error, "a segment in the index is skipped"),
        }
    }
    found.reverse();
    Ok(found)
}

pub(super) fn segment(db: &Database, camera: &str, id: SegmentId) -> Result<Option<Segment>, StoreError> {
    db.segments.get(camera_key(camera, id))?.map(|json| decode(&json)).transpose()
}

/// Segments in state open, of all cameras.
pub(super) fn open_segments(db: &Database) -> Result<Vec<Segment>, StoreError> {
    let mut open = Vec::new();
    for key in db.open_segments.iter().keys() {
        if let Some(json) = db.segments.get(key?)? {
            open.push(decode(&json)?);
        }
    }
    Ok(open)
}

/// The highest id of a segment, found by one step for each camera.
pub(super) fn newest_id(db: &Database) -> Result<Option<EventId>, StoreError> {
    let mut newest = None;
    let mut next = db.segments.first()?;
    while let Some((key, _)) = next {
        let Some(name) = key.len().checked_sub(16).and_then(|end| key.get(..end)) else { break };
        let past = [name, &[0xff; 17]].concat();
        if let Some((last, _)) = db.segments.get_lt(&past)? {
            newest = newest.max(id_of(&last));
        }
        next = db.segments.get_gt(past)?;
    }
    Ok(newest)
}

/// Spans of the ledger in one answer at most: more only where a camera flaps every few seconds for a day.
const MAX_SPANS: usize = 20_000;

/// Puts an entry into the ledger, or a longer one in place of the shorter.
pub(super) fn put_span(views: &Views<'_>, span: &Span) -> Result<(), StoreError> {
    let json = encode(span)?;
    views.spans.insert(camera_key(&span.camera, span.id), json)?;
    Ok(())
}

/// Entries of one camera that touch the time from `since` to `until`, oldest first.
pub(super) fn spans(db: &Database, camera: &str, since: Timestamp, until: Timestamp) -> Result<Vec<Span>, StoreError> {
    let mut found = Vec::new();
    for entry in db.spans.scan_prefix(prefix(camera)).rev().take(SCAN_LIMIT) {
        let span: Span = match decode(&entry?.1) {
            Ok(span) => span,
            Err(error) => {
                warn!(%error, "an entry of the coverage ledger is skipped");
                continue;
            }
        };
        if span.from.wall < until && span.until.wall > since {
            found.push(span);
        }
        if found.len() >= MAX_SPANS {
            break;
        }
    }
    found.reverse();
    Ok(found)
}

/// Every entry of one camera, oldest first; of too many the newest.
pub(super) fn all_spans(db: &Database, camera: &str) -> Result<Vec<Span>, StoreError> {
    spans(db, camera, Timestamp::MIN, Timestamp::MAX)
}

/// Entries of one camera that boot `boot_id` wrote, newest first.
pub(super) fn spans_of_boot(db: &Database, camera: &str, boot_id: &str) -> Result<Vec<Span>, StoreError> {
    let mut found = Vec::new();
    for entry in db.spans.scan_prefix(prefix(camera)).rev().take(MAX_SPANS) {
        let span: Span = decode(&entry?.1)?;
        if *span.from.boot_id != *boot_id {
            break;
        }
        found.push(span);
    }
    Ok(found)
}

/// Segments that were deleted one after the other share one entry of the ledger, when less lies between them.
const ADJACENT: jiff::SignedDuration = jiff::SignedDuration::from_secs(5);
/// Entries that are looked through for one that the deleted segment can join.
const JOINED: usize = 32;

/// The entry of the ledger that says that `segment` is deleted: a new one, or a longer form of one that ends
/// where the segment begins.
pub(super) fn evicted_span(db: &Database, segment: &Segment) -> Result<Span, StoreError> {
    let (key, low) = (camera_key(&segment.camera, segment.id), prefix(&segment.camera));
    let until = segment.end.clone().unwrap_or_else(|| segment.start.clone());
    for entry in db.spans.range(low..key).rev().take(JOINED) {
        let span: Span = decode(&entry?.1)?;
        let gap = segment.start.wall.duration_since(span.until.wall).abs();
        if span.state == SpanState::Evicted && gap < ADJACENT {
            return Ok(Span { until, ..span });
        }
    }
    let (id, camera) = (segment.id, segment.camera.clone());
    Ok(Span { id, camera, state: SpanState::Evicted, reason: None, from: segment.start.clone(), until })
}
