//! How many at once: the events of `count` rules.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Mono;
use crate::detection::BBox;

use super::occurrence::{Look, Occurrence};

/// For how long fewer than enough must have been there for the event to end.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// The crowd of one rule.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    pub event: Option<Occurrence>,
    short_since: Option<Mono>,
}

impl Crowd {
    /// Takes in whether there are enough; returns the event if it is over.
    pub(super) fn see(&mut self, now: Mono, is_enough: bool) -> Option<Occurrence> {
        if is_enough {
            self.short_since = None;
            return None;
        }
        let since = *self.short_since.get_or_insert(now);
        if now.since(since) < GRACE {
            return None;
        }
        self.event.take()
    }
}

/// The members seen as one: the box around them all, the best scores, the commonest label, the newest track.
pub(super) fn joined(members: &[Look]) -> Option<Look> {
    let first = members.first()?;
    let mut labels: BTreeMap<&Arc<str>, u32> = BTreeMap::new();
    let (mut joined, mut corners) = (first.clone(), [1.0_f32, 1.0, 0.0, 0.0]);
    let mut all: Vec<Arc<str>> = Vec::new();
    for look in members {
        if !all.contains(&look.label) {
            all.push(look.label.clone());
        }
        *labels.entry(&look.label).or_default() += 1;
        let b = &look.bbox;
        let [x0, y0, x1, y1] = corners;
        corners = [x0.min(b.x), y0.min(b.y), x1.max(b.x + b.w), y1.max(b.y + b.h)];
        joined.track = joined.track.max(look.track);
        joined.is_seen |= look.is_seen;
        joined.frame_score = joined.frame_score.max(look.frame_score);
        joined.score = joined.score.max(look.score);
    }
    let [x0, y0, x1, y1] = corners;
    joined.bbox = BBox::from_corners(x0, y0, x1, y1);
    // Of equally common labels the first in the alphabet, so that the name does not waver.
    if let Some((label, _)) = labels.into_iter().rev().max_by_key(|(_, votes)| *votes) {
        joined.label = label.clone();
    }
    joined.labels = all;
    joined.count = u32::try_from(members.len()).unwrap_or(u32::MAX);
    Some(joined)
}
