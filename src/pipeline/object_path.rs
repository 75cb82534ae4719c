//! Where an object was over time, thinned so that it takes little room however long it is in view.

use std::time::Duration;

use crate::clock::Mono;
use crate::detection::BBox;

/// Places of one object that are kept at most.
const MOST: usize = 64;
/// Time between two places at first; it doubles whenever there are too many.
const FIRST_STEP: Duration = Duration::from_millis(200);

/// The places of one object, oldest first.
#[derive(Clone, Debug)]
pub(super) struct ObjectPath {
    kept: Vec<(Mono, BBox)>,
    step: Duration,
    last: (Mono, BBox),
}

impl ObjectPath {
    /// Of an object that is at `bbox` at `at`.
    pub(super) fn new(at: Mono, bbox: BBox) -> Self {
        Self { kept: vec![(at, bbox)], step: FIRST_STEP, last: (at, bbox) }
    }

    /// It is at `bbox` now.
    pub(super) fn add(&mut self, at: Mono, bbox: BBox) {
        self.last = (at, bbox);
        if self.kept.last().is_some_and(|(known, _)| at.since(*known) < self.step) {
            return;
        }
        // One place is left for the last one.
        if self.kept.len() >= MOST - 1 {
            let mut place = 0;
            self.kept.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.step *= 2;
        }
        self.kept.push((at, bbox));
    }

    /// When it was seen last.
    pub(super) fn last_at(&self) -> Mono {
        self.last.0
    }

    /// Its places up to the last one.
    pub(super) fn places(&self) -> Vec<(Mono, BBox)> {
        let later = Some(self.last).filter(|last| self.kept.last().is_none_or(|(at, _)| *at < last.0));
        self.kept.iter().copied().chain(later).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_both_ends_and_even_places_between_however_long_it_is() {
        let at = |n: u64| Mono(n * 100_000_000);
        let bbox = |n: u64| BBox { x: n as f32 / 10_000.0, y: 0.0, w: 0.1, h: 0.1 };
        for length in [1, 2, 3, 100, 127, 128, 5000] {
            let mut path = ObjectPath::new(at(0), bbox(0));
            (1..length).for_each(|n| path.add(at(n), bbox(n)));
            let places = path.places();
            assert!(places.len() <= MOST, "{length}: {}", places.len());
            assert!(places.len() >= usize::try_from(length).expect("small").min(60) / 2, "{length}: {}", places.len());
            assert_eq!(
                (places[0].0, places[places.len() - 1]),
                (at(0), (at(length - 1), bbox(length - 1))),
                "{length}"
            );
            assert!(places.windows(2).all(|pair| pair[0].0 < pair[1].0), "{length}: in order, none twice");
        }
    }
}
