//! Something goes on in view: the events of `activity` rules.
//!
//! An object keeps an activity going while it moves: one that has stood still for a while, a parked car, does not. Where
//! objects stood is remembered after the detector has lost them, so that one which flickers there is nothing new.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Mono;
use crate::detection::BBox;

use super::occurrence::{Look, Occurrence};
use super::watch::Sight;

/// An object that has not moved for so long stands still.
const STILL_AFTER: Duration = Duration::from_secs(10);
/// For how long nothing must have gone on for the activity to be over.
const QUIET: Duration = Duration::from_secs(5);
/// An object has moved when the middle of its box is this share of the box's mean side away from where it was, or the box
/// is this many times as large or as small.
const MOVED_BY: f32 = 0.25;
const GROWN_BY: f32 = 1.5;
/// An object that appears where one stood is the same: least overlap of their boxes.
const SAME_PLACE: f32 = 0.5;
/// For how long, and how many places at most, are remembered.
const REMEMBERED: Duration = Duration::from_secs(30 * 60);
const MOST_PLACES: usize = 64;

/// How one object moves.
#[derive(Debug)]
struct Motion {
    /// Where it was when it moved last.
    anchor: BBox,
    /// When that was; never, for one that stood there before.
    moved_at: Option<Mono>,
    /// It went from where it appeared.
    has_moved: bool,
    last_box: BBox,
}

impl Motion {
    fn see(&mut self, now: Mono, bbox: BBox) {
        self.last_box = bbox;
        if has_moved(&self.anchor, &bbox) {
            (self.anchor, self.moved_at, self.has_moved) = (bbox, Some(now), true);
        }
    }

    fn moves(&self, now: Mono) -> bool {
        self.moved_at.is_some_and(|at| now.since(at) < STILL_AFTER)
    }
}

fn has_moved(from: &BBox, to: &BBox) -> bool {
    let ([x0, y0], [x1, y1]) = (from.centre(), to.centre());
    let (width, height) = ((from.w + to.w) / 2.0, (from.h + to.h) / 2.0);
    // Shares of the picture are no lengths: each direction by its own side.
    let is_away = (x1 - x0).abs() > MOVED_BY * width || (y1 - y0).abs() > MOVED_BY * height;
    let (small, large) = (from.area().min(to.area()), from.area().max(to.area()));
    is_away || large > GROWN_BY * small
}

/// The activity that one rule watches.
#[derive(Debug, Default)]
pub(super) struct Activity {
    pub event: Option<Occurrence>,
    since: Mono,
    /// When something went on last.
    last: Mono,
    motions: BTreeMap<u64, Motion>,
    /// Where objects stood that are gone, and when they were seen last, oldest first.
    places: VecDeque<(BBox, Mono)>,
    /// The labels so far in the order in which they came, each with the most objects at once.
    labels: Vec<(Arc<str>, u32)>,
}

impl Activity {
    /// Takes in where all objects are now. Those that are not among `sights` are gone.
    pub(super) fn see(&mut self, now: Mono, sights: &[Sight]) {
        let is_here = |id: &u64| sights.iter().any(|sight| sight.track.id == *id);
        let gone: Vec<u64> = self.motions.keys().copied().filter(|id| !is_here(id)).collect();
        for id in gone {
            let Some(motion) = self.motions.remove(&id) else { continue };
            if !motion.has_moved || !motion.moves(now) {
                self.remember(motion.last_box, now);
            }
        }
        self.places.retain(|(_, seen)| now.since(*seen) < REMEMBERED);
        for sight in sights.iter().filter(|sight| sight.is_fresh) {
            let bbox = sight.track.bbox;
            if let Some(motion) = self.motions.get_mut(&sight.track.id) {
                motion.see(now, bbox);
                continue;
            }
            let stood = self.places.iter().any(|(place, _)| place.iou(&bbox) >= SAME_PLACE);
            let moved_at = (!stood).then_some(now);
            self.motions.insert(sight.track.id, Motion { anchor: bbox, moved_at, has_moved: false, last_box: bbox });
        }
    }

    fn remember(&mut self, bbox: BBox, now: Mono) {
        self.places.retain(|(place, _)| place.iou(&bbox) < SAME_PLACE);
        if self.places.len() >= MOST_PLACES {
            self.places.pop_front();
        }
        self.places.push_back((bbox, now));
    }

    /// Whether the object is new or moves.
    pub(super) fn moves(&self, track: u64, now: Mono) -> bool {
        self.motions.get(&track).is_some_and(|motion| motion.moves(now))
    }

    /// Takes in whether something goes on. Gives the event if it is over, and when it was.
    pub(super) fn go_on(&mut self, now: Mono, is_active: bool, longest: Duration) -> Option<(Occurrence, Mono)> {
        self.event.as_ref()?;
        if is_active {
            self.last = now;
        }
        let is_over = now.since(self.last) >= QUIET;
        let is_long = now.since(self.since) >= longest;
        let event = if is_over || is_long { self.event.take() } else { None };
        event.map(|event| (event, if is_over { self.last } else { now }))
    }

    /// An event starts.
    pub(super) fn start(&mut self, now: Mono, event: Occurrence) {
        (self.event, self.since, self.last) = (Some(event), now, now);
    }

    /// The look as one at the whole activity: its label is the one of which most objects were there at once.
    pub(super) fn named(&mut self, look: Look, members: &[Look]) -> Look {
        if self.event.is_none() {
            self.labels.clear();
        }
        for member in members {
            let count = members.iter().filter(|other| other.label == member.label).count();
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            match self.labels.iter_mut().find(|(label, _)| *label == member.label) {
                Some((_, most)) => *most = count.max(*most),
                None => self.labels.push((member.label.clone(), count)),
            }
        }
        // Of equally many the first that came, so that the name does not waver.
        let label = self.labels.iter().rev().max_by_key(|(_, most)| *most).map(|(label, _)| label.clone());
        Look { label: label.unwrap_or(look.label), ..look }
    }
}
