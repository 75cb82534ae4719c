//! What one rule knows of one track.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Mono;
use crate::detection::{BBox, Track, TrackState};
use crate::event::EventKind;

use super::line::{Crossing, Direction, Line};
use super::occurrence::{Look, Occurrence, touches_edge};
use super::zone::Presence;

/// For how long a crossing waits for its track to be confirmed and to pass the filters.
const CROSSING_WAITS: Duration = Duration::from_secs(3);
/// Dead band beside a line, in box heights, and its bounds as share of the picture.
const LINE_MARGIN: (f32, f32, f32) = (0.05, 0.003, 0.015);

/// A track as all rules see it in one evaluation.
#[derive(Debug)]
pub(super) struct Sight<'t> {
    pub track: &'t Track,
    /// Whether it was detected since the last evaluation; else its box is a prediction, or old.
    pub is_fresh: bool,
    /// For each zone of the camera, whether the track stands in it.
    pub hits: Vec<bool>,
}

impl Sight<'_> {
    /// Whether an event may start with this sight.
    pub(super) fn can_start(&self) -> bool {
        self.is_fresh && self.track.state == TrackState::Confirmed
    }

    pub(super) fn look(&self) -> Look {
        let track = self.track;
        Look {
            track: track.id,
            label: track.label.clone(),
            bbox: track.bbox,
            is_seen: self.can_start(),
            frame_score: track.score,
            score: track.median_score,
            count: 1,
            labels: Vec::new(),
        }
    }
}

/// The state of one rule for one track.
#[derive(Debug)]
pub(super) struct Watch {
    /// In each zone of the camera.
    presences: Vec<Presence>,
    /// Zones of the camera visited so far, in order.
    visited: Vec<usize>,
    /// In any of the rule's zones.
    stay: Presence,
    crossings: Vec<Crossing>,
    crossed_at: Option<Mono>,
    last_box: BBox,
    /// The last look, in the present stay, that passed the filters.
    pub qualified: Option<Look>,
    /// This stay (or track) has had its event.
    pub is_reported: bool,
    pub event: Option<Occurrence>,
}

impl Watch {
    pub(super) fn new(zones: usize, lines: usize) -> Self {
        Self {
            presences: vec![Presence::default(); zones],
            visited: Vec::new(),
            stay: Presence::default(),
            crossings: vec![Crossing::default(); lines],
            crossed_at: None,
            last_box: BBox::default(),
            qualified: None,
            is_reported: false,
            event: None,
        }
    }

    /// Takes in where the track stands. Predicted boxes neither enter, leave nor cross.
    pub(super) fn see(&mut self, now: Mono, sight: &Sight, own_zones: &[usize], inertia: u32) {
        if !sight.is_fresh {
            return;
        }
        self.last_box = sight.track.bbox;
        for (zone, (presence, &is_hit)) in self.presences.iter_mut().zip(&sight.hits).enumerate() {
            presence.see(is_hit, now, inertia);
            if presence.is_inside() && !self.visited.contains(&zone) {
                self.visited.push(zone);
            }
        }
        let is_own_hit = own_zones.iter().any(|&zone| sight.hits.get(zone).copied().unwrap_or(false));
        self.stay.see(is_own_hit, now, inertia);
    }

    /// Takes in whether the track crossed one of the lines in the wanted direction.
    pub(super) fn see_lines(&mut self, now: Mono, sight: &Sight, lines: &[Line], direction: Direction) {
        if !sight.is_fresh {
            return;
        }
        let (bbox, (heights, least, most)) = (sight.track.bbox, LINE_MARGIN);
        let margin = (heights * bbox.h).clamp(least, most);
        for (crossing, line) in self.crossings.iter_mut().zip(lines) {
            let crossed = crossing.see(line, bbox.bottom_centre(), margin);
            if crossed.is_some_and(|crossed| direction.includes(crossed)) {
                self.crossed_at = Some(now);
            }
        }
    }

    /// Whether there is a crossing that has not been reported and is not too old; to be asked once it may be reported.
    pub(super) fn take_crossing(&mut self, now: Mono) -> bool {
        self.crossed_at.take().is_some_and(|at| now.since(at) <= CROSSING_WAITS)
    }

    /// Whether the track is in the rule's zones (in view, where the rule has none).
    pub(super) fn is_inside(&self, own_zones: &[usize]) -> bool {
        own_zones.is_empty() || self.stay.is_inside()
    }

    /// Whether it is inside and the last frame shows it there: inertia keeps an object inside that has just left, but
    /// nothing starts with such a frame.
    pub(super) fn is_here(&self, own_zones: &[usize]) -> bool {
        own_zones.is_empty() || self.stay.is_here()
    }

    /// For how long it has been there.
    pub(super) fn stayed(&self, now: Mono, own_zones: &[usize], track: &Track) -> Duration {
        now.since(if own_zones.is_empty() { track.first_seen } else { self.stay.since() })
    }

    /// For a track that is gone: the look with which it left, if it was last seen in the rule's zones at the edge of
    /// the picture, having passed the filters there.
    pub(super) fn went_over_the_edge(&self) -> Option<Look> {
        let qualified = self.qualified.clone()?;
        let left = self.stay.is_inside() && touches_edge(&self.last_box);
        left.then_some(Look { bbox: self.last_box, is_seen: false, ..qualified })
    }

    /// Whether it is in this zone of the camera.
    pub(super) fn is_in(&self, zone: usize) -> bool {
        self.presences.get(zone).is_some_and(Presence::is_inside)
    }

    /// Names of the zones visited so far, in order.
    pub(super) fn zones<'a>(&'a self, names: &'a [Arc<str>]) -> impl Iterator<Item = Arc<str>> + 'a {
        self.visited.iter().filter_map(|&zone| names.get(zone).cloned())
    }

    /// Whether an event of `kind` that is bound to a stay is over, its track still being there.
    pub(super) fn is_over(&self, kind: EventKind, own_zones: &[usize]) -> bool {
        matches!(kind, EventKind::Enter | EventKind::Dwell) && !self.is_inside(own_zones)
    }
}
