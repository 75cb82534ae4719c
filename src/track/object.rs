//! One object that is being followed.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Mono;
use crate::detection::{Detection, Track, TrackState};

use super::Config;
use super::kalman::{Kalman, size};

/// Squared deviations within which 99 % of true sightings fall (chi-squared, two degrees of freedom).
const SURPRISING: f32 = 9.2;
/// Overlap from which a detection of a foreign label is still this object.
const FOREIGN_LABEL_IOU: f32 = 0.5;
/// Overlap that is asked for after a time without detection.
const LONG_GAP_IOU: f32 = 0.4;
/// How much likeness a foreign label costs.
const FOREIGN_LABEL_COST: f32 = 0.3;
/// Likeness of the nearest jump; any overlap that counts is better.
const NEAREST_JUMP: f32 = 0.2;
/// What a vote is still worth one sighting later.
const VOTE_FADING: f32 = 0.95;
/// Share of the votes from which a label is the object's own, though not its name.
const OWN_VOTE: f32 = 0.25;
/// Labels that are voted on; a detector in doubt wavers between two or three.
const MOST_LABELS: usize = 6;

/// How far a detection may be off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// It must overlap.
    Overlap,
    /// It may lie beside the foreseen box, as far as the uncertainty allows.
    Jump,
}

/// An object and what is known of it.
#[derive(Debug)]
pub(super) struct Object {
    id: u64,
    motion: Kalman,
    votes: Vec<(Arc<str>, f32)>,
    label: Arc<str>,
    /// The last three scores, newest first; 0 where there was none.
    scores: [f32; 3],
    hits: u32,
    first_seen: Mono,
    last_seen: Mono,
    /// Whether the present look found it.
    is_seen: bool,
    max_occlusion: Duration,
    min_hits: u32,
    match_iou: f32,
    max_jump: f32,
}

impl Object {
    pub(super) fn new(id: u64, now: Mono, seen: &Detection, config: &Config) -> Self {
        Self {
            id,
            motion: Kalman::new(&seen.bbox),
            votes: vec![(seen.label.clone(), seen.score)],
            label: seen.label.clone(),
            scores: [seen.score.min(1.0), 0.0, 0.0],
            hits: 1,
            first_seen: now,
            last_seen: now,
            is_seen: true,
            max_occlusion: config.max_occlusion,
            min_hits: config.min_hits,
            match_iou: config.match_iou,
            max_jump: config.max_jump,
        }
    }

    /// Whether it has been seen often enough.
    pub(super) fn is_believed(&self) -> bool {
        self.hits >= self.min_hits
    }

    /// Whether it was looked for at `now`, not found, and has been hidden for too long.
    pub(super) fn is_over(&self, now: Mono) -> bool {
        !self.is_seen && now.since(self.last_seen) > self.max_occlusion
    }

    /// Lets time go by before a look.
    pub(super) fn predict(&mut self, step: Duration) {
        self.motion.predict(step.as_secs_f32());
        self.is_seen = false;
    }

    /// How well `seen` fits, above 0; `None` if it cannot be this object.
    pub(super) fn likeness(&self, now: Mono, seen: &Detection, reach: Reach) -> Option<f32> {
        let expected = self.motion.raw();
        let overlap = expected.iou(&seen.bbox);
        let is_long_gap = now.since(self.last_seen) > self.max_occlusion;
        let own = self.is_own(&seen.label);
        let least = match (own, is_long_gap) {
            (false, _) => self.match_iou.max(FOREIGN_LABEL_IOU),
            (true, true) => self.match_iou.max(LONG_GAP_IOU),
            (true, false) => self.match_iou,
        };
        if overlap > 0.0 && overlap >= least {
            let cost = if own { 0.0 } else { FOREIGN_LABEL_COST };
            return Some(NEAREST_JUMP + overlap - cost);
        }
        if !own || is_long_gap || reach == Reach::Overlap {
            return None;
        }
        let (here, there) = (size(&expected), size(&seen.bbox));
        let [x, y] = expected.centre();
        let [seen_x, seen_y] = seen.bbox.centre();
        let jump = (x - seen_x).hypot(y - seen_y) / here.max(there);
        let surprise = self.motion.surprise(&seen.bbox);
        let fits = jump <= self.max_jump && surprise <= SURPRISING && here.max(there) <= 2.0 * here.min(there);
        fits.then(|| NEAREST_JUMP * (1.0 - surprise / (SURPRISING + 1.0)))
    }

    /// Takes in a detection that was assigned to it.
    pub(super) fn see(&mut self, now: Mono, seen: &Detection) {
        self.motion.correct(&seen.bbox);
        self.vote(seen);
        self.scores = [seen.score.min(1.0), self.scores[0], self.scores[1]];
        self.hits = self.hits.saturating_add(1);
        self.last_seen = now;
        self.is_seen = true;
    }

    /// As it stands after the look at `now`.
    pub(super) fn track(&self, now: Mono) -> Track {
        let state = match (self.is_seen, self.is_over(now), self.is_believed()) {
            (false, true, _) => TrackState::Ended,
            (_, _, false) => TrackState::Tentative,
            (true, _, true) => TrackState::Confirmed,
            (false, false, true) => TrackState::Occluded,
        };
        self.reported(state)
    }

    /// As it is reported for the last time.
    pub(super) fn ended(&self) -> Track {
        self.reported(TrackState::Ended)
    }

    fn reported(&self, state: TrackState) -> Track {
        let [a, b, c] = self.scores;
        Track {
            id: self.id,
            label: self.label.clone(),
            state,
            bbox: self.motion.bbox(),
            score: a,
            median_score: a.max(b).min(a.min(b).max(c)),
            first_seen: self.first_seen,
            last_seen: self.last_seen,
        }
    }

    fn is_own(&self, label: &Arc<str>) -> bool {
        let all: f32 = self.votes.iter().map(|(_, votes)| votes).sum();
        *label == self.label || self.votes.iter().any(|(l, votes)| l == label && *votes >= OWN_VOTE * all)
    }

    fn vote(&mut self, seen: &Detection) {
        for (_, votes) in &mut self.votes {
            *votes *= VOTE_FADING;
        }
        match self.votes.iter_mut().find(|(label, _)| *label == seen.label) {
            Some((_, votes)) => *votes += seen.score,
            None => self.votes.push((seen.label.clone(), seen.score)),
        }
        // Stable: of equal votes, the label that came first stays in front.
        self.votes.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        self.votes.truncate(MOST_LABELS);
        if let Some((label, _)) = self.votes.first() {
            self.label = label.clone();
        }
    }
}
