//! What is known of an event in progress, and what can come of its end.

use std::sync::Arc;

use crate::detection::BBox;
use crate::event::{Event, EventId};
use crate::frame::Frame;

/// One look at an object: the frame, where in it the object is, and how sure the model is.
#[derive(Clone, Debug)]
pub struct Look {
    /// The whole frame.
    pub frame: Frame,
    /// The object in it.
    pub bbox: BBox,
    /// Score in this frame, 0..1.
    pub score: f32,
}

/// An event in progress, as another volume has to know it in order to go on with it.
#[derive(Clone)]
pub(super) struct InProgress {
    /// The id by which the rules know it.
    pub known_as: EventId,
    pub event: Event,
    pub look: Look,
}

/// What changed about an event in progress.
#[derive(Clone, Debug)]
pub struct Change {
    /// Present class.
    pub label: Arc<str>,
    /// Highest median score so far.
    pub score: f32,
    /// Objects at once.
    pub count: u32,
    /// Classes of all objects so far.
    pub labels: Vec<Arc<str>>,
    /// Zones so far, in order.
    pub zones: Vec<Arc<str>>,
    /// A better look, if this was one.
    pub look: Option<Look>,
}

/// The volume is too full even for an event without media.
#[derive(Debug, thiserror::Error)]
#[error("the volume is too full even for it")]
pub(super) struct NoRoom;

/// Why the end of an event is not on the disk. It was reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfinished {
    /// Disk or index have no room, or no time, for it now: the same call may succeed later.
    NoRoom,
    /// The volume does not work.
    Volume,
}
