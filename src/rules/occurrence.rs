//! One event while it goes on: what was reported about it, and what is worth an update next.

use std::sync::Arc;

use crate::clock::Mono;
use crate::detection::BBox;
use crate::event::{EventKind, Phase};

use super::Signal;

/// By how much a look must be better to be reported, in units of score.
const BETTER_BY: f32 = 0.05;
/// A box this many times as large, at equal score, is better by [`BETTER_BY`].
const NOTABLY_LARGER: f32 = 1.3;
/// What it costs that the object is cut off by the picture's edge.
const CUT_OFF: f32 = 0.1;
/// Distance from the picture's edge within which a box touches it.
const AT_EDGE: f32 = 0.01;
/// Smaller boxes are all the same, share of the picture.
const SMALLEST_AREA: f32 = 1e-5;

/// One sight of what the event is about.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub track: u64,
    pub label: Arc<str>,
    pub bbox: BBox,
    /// Whether the box was really detected in this frame.
    pub is_seen: bool,
    /// Score of the detection, 0..1.
    pub frame_score: f32,
    /// Median score of the track, 0..1.
    pub score: f32,
    pub count: u32,
    /// Of all objects, where it is one look at several.
    pub labels: Vec<Arc<str>>,
}

impl Look {
    /// One number, so that looks cannot be better than each other in a circle.
    fn quality(&self) -> f32 {
        let size = self.bbox.area().max(SMALLEST_AREA).log(NOTABLY_LARGER) * BETTER_BY;
        self.frame_score + size - if touches_edge(&self.bbox) { CUT_OFF } else { 0.0 }
    }
}

/// Whether the box reaches the picture's edge.
pub(super) fn touches_edge(bbox: &BBox) -> bool {
    let far = 1.0 - AT_EDGE;
    bbox.x <= AT_EDGE || bbox.y <= AT_EDGE || bbox.x + bbox.w >= far || bbox.y + bbox.h >= far
}

/// An event that has started and not ended.
#[derive(Debug)]
pub(super) struct Occurrence {
    key: u64,
    rule: Arc<str>,
    kind: EventKind,
    /// The last look; score and count are the highest so far.
    look: Look,
    zones: Vec<Arc<str>>,
    quality: f32,
}

impl Occurrence {
    /// Starts an event and reports it.
    pub(super) fn start(
        (key, rule, kind): (u64, Arc<str>, EventKind),
        now: Mono,
        look: Look,
        zones: Vec<Arc<str>>,
        out: &mut Vec<Signal>,
    ) -> Self {
        let started = Self { key, rule, kind, quality: look.quality(), look, zones };
        out.push(started.signal(Phase::Start, now));
        started
    }

    /// Takes in the next look, and reports what has changed if it is worth it. `zones` are those visited so far, in
    /// order; `is_named` says whether the event may take on a label.
    pub(super) fn update(
        &mut self,
        now: Mono,
        look: Look,
        zones: impl Iterator<Item = Arc<str>>,
        is_named: impl Fn(&str) -> bool,
        out: &mut Vec<Signal>,
    ) {
        let quality = look.quality();
        let is_better = look.is_seen && quality >= self.quality + BETTER_BY;
        if is_better {
            self.quality = quality;
        }
        let is_renamed = look.label != self.look.label && is_named(&look.label);
        let mut labels = std::mem::take(&mut self.look.labels);
        let (known_labels, is_new) = (labels.len(), |label: &Arc<str>| !labels.contains(label));
        let new: Vec<Arc<str>> = look.labels.iter().filter(|label| is_new(label)).cloned().collect();
        labels.extend(new);
        let is_more = look.count > self.look.count || labels.len() > known_labels;
        let known = self.zones.len();
        for zone in zones {
            if !self.zones.contains(&zone) {
                self.zones.push(zone);
            }
        }
        self.look = Look {
            label: if is_renamed { look.label.clone() } else { self.look.label.clone() },
            score: look.score.max(self.look.score),
            count: look.count.max(self.look.count),
            labels,
            ..look
        };
        if is_better || is_renamed || is_more || self.zones.len() > known {
            out.push(self.signal(Phase::Update, now));
        }
    }

    /// Ends the event and reports it.
    pub(super) fn end(mut self, now: Mono, out: &mut Vec<Signal>) {
        self.look.is_seen = false;
        out.push(self.signal(Phase::End, now));
    }

    fn signal(&self, phase: Phase, at: Mono) -> Signal {
        Signal {
            key: self.key,
            phase,
            rule: self.rule.clone(),
            kind: self.kind,
            label: self.look.label.clone(),
            score: self.look.score,
            count: self.look.count,
            labels: self.look.labels.clone(),
            track: self.look.track,
            bbox: self.look.bbox,
            seen: self.look.is_seen,
            frame_score: self.look.frame_score,
            zones: self.zones.clone(),
            at,
        }
    }
}
