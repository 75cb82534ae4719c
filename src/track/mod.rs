//! Which detection is which object?
//!
//! Each object is followed by a Kalman filter that foresees its box. Detections of high score are assigned to
//! all tracks first, those of low score to what is left: an object half hidden scores low, and is better
//! followed than lost. Overlap decides; where a small or fast object has jumped off its own box, distance
//! measured in expected deviations does.
//!
//! The tracker judges only frames that detection has looked at: call [`Tracker::update`] once per such frame,
//! also when it found nothing, and not for frames that the gate kept back.

mod assign;
mod kalman;
mod object;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Mono;
use crate::detection::{Detection, Track};

use assign::assign;
use object::{Object, Reach};

/// No picture holds more that can be distinguished; bounds the cost of assignment.
const MOST_DETECTIONS: usize = 200;
const MOST_TRACKS: usize = 200;
/// Two boxes of one label that overlap more than this are one object.
const SAME_LABEL_DUPLICATE: f32 = 0.8;
/// The same for two labels: a detector in doubt names both.
const OTHER_LABEL_DUPLICATE: f32 = 0.9;

/// Tracker of a camera: `[camera.<name>.track]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// For how long an object may be hidden and keep its id. Default: 2s.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub max_occlusion: Duration,
    /// How often an object must be detected before it is believed. Default: 3.
    pub min_hits: u32,
    /// Detections below the camera's `detect.min_score`, down to this score, may still continue a track, 0..1.
    /// Default: 0.2.
    pub low_score: f32,
    /// Least overlap (intersection over union) with the foreseen box for being the same object, 0..1. Default: 0.2.
    pub match_iou: f32,
    /// How many box sizes an object may be off its foreseen place when nothing overlaps; 0 switches this
    /// off. Default: 2.5.
    pub max_jump: f32,
}

impl Default for Config {
    fn default() -> Self {
        Self { max_occlusion: Duration::from_secs(2), min_hits: 3, low_score: 0.2, match_iou: 0.2, max_jump: 2.5 }
    }
}

impl Config {
    /// Checks what the types cannot.
    ///
    /// # Errors
    /// Names the key and the allowed values.
    pub fn validate(&self) -> Result<(), String> {
        let shares = [("low_score", self.low_score), ("match_iou", self.match_iou)];
        if let Some((key, value)) = shares.iter().find(|(_, value)| !(0.0..=1.0).contains(value)) {
            return Err(format!("track: {key} = {value} must be from 0 to 1"));
        }
        if self.min_hits == 0 {
            return Err("track: min_hits must be at least 1".to_owned());
        }
        if !(0.0..=100.0).contains(&self.max_jump) {
            return Err(format!("track: max_jump = {} must be from 0 to 100", self.max_jump));
        }
        Ok(())
    }
}

/// Follows the objects of one camera.
#[derive(Debug)]
pub struct Tracker {
    config: Config,
    min_score: f32,
    objects: Vec<Object>,
    last_id: u64,
    last_update: Mono,
}

impl Tracker {
    /// A tracker that has seen nothing; ids begin at 1. Detections from `min_score` on begin tracks, weaker ones
    /// may only continue them.
    pub fn new(config: &Config, min_score: f32) -> Self {
        Self { config: config.clone(), min_score, objects: Vec::new(), last_id: 0, last_update: Mono::default() }
    }

    /// Takes in what was detected in the frame taken at `now` and returns all tracks, oldest first. A track that
    /// has gone for good is reported once more, as [`TrackState::Ended`](crate::detection::TrackState::Ended);
    /// that holds for tentative ones too. Time that runs backwards counts as standing still.
    pub fn update(&mut self, now: Mono, detections: &[Detection]) -> Vec<Track> {
        let now = now.max(self.last_update);
        let step = now.since(self.last_update);
        self.last_update = now;
        for object in &mut self.objects {
            object.predict(step);
        }
        let detections = worth_looking_at(detections, self.config.low_score);
        let split = detections.partition_point(|d| d.score >= self.min_score);
        let (high, low) = detections.split_at(split);

        let mut is_free = vec![true; self.objects.len()];
        let high = self.claim(now, high.to_vec(), &mut is_free, Object::is_believed, Reach::Jump);
        self.claim(now, low.to_vec(), &mut is_free, Object::is_believed, Reach::Overlap);
        let newcomers = self.claim(now, high, &mut is_free, |object| !object.is_believed(), Reach::Jump);
        for detection in newcomers {
            if self.objects.len() < MOST_TRACKS {
                self.last_id += 1;
                self.objects.push(Object::new(self.last_id, now, detection, &self.config));
            }
        }
        let tracks = self.objects.iter().map(|object| object.track(now)).collect();
        self.objects.retain(|object| !object.is_over(now));
        tracks
    }

    /// Ends all tracks: the camera is gone. Ids go on counting.
    pub fn end_all(&mut self) -> Vec<Track> {
        self.objects.drain(..).map(|object| object.ended()).collect()
    }

    /// Objects followed at the moment, hidden and not yet believed ones included.
    pub fn active(&self) -> usize {
        self.objects.len()
    }

    /// Lets the free objects that `may` take part claim detections; returns what was not claimed.
    fn claim<'d>(
        &mut self,
        now: Mono,
        detections: Vec<&'d Detection>,
        is_free: &mut [bool],
        may: impl Fn(&Object) -> bool,
        reach: Reach,
    ) -> Vec<&'d Detection> {
        let candidates = self.objects.iter().zip(is_free.iter()).enumerate();
        let candidates: Vec<usize> =
            candidates.filter(|(_, (object, free))| **free && may(object)).map(|(at, _)| at).collect();
        let likeness = |row: usize, column: usize| {
            let (object, detection) = (self.objects.get(*candidates.get(row)?)?, detections.get(column)?);
            object.likeness(now, detection, reach)
        };
        let pairs = assign(candidates.len(), detections.len(), likeness);
        let mut left: Vec<Option<&Detection>> = detections.into_iter().map(Some).collect();
        for (row, column) in pairs {
            let at = candidates[row];
            if let Some(detection) = left[column].take() {
                self.objects[at].see(now, detection);
                is_free[at] = false;
            }
        }
        left.into_iter().flatten().collect()
    }
}

/// Sound detections from `low_score` on, best first, without those that repeat a better one.
fn worth_looking_at(detections: &[Detection], low_score: f32) -> Vec<&Detection> {
    let is_sound = |d: &&Detection| {
        let b = &d.bbox;
        [b.x, b.y, b.w, b.h].iter().all(|v| v.is_finite() && v.abs() <= 2.0) && b.w > 0.0 && b.h > 0.0
    };
    // A score that is no number fails the comparison.
    let mut sound: Vec<_> = detections.iter().filter(|d| d.score >= low_score).filter(is_sound).collect();
    sound.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut kept: Vec<&Detection> = Vec::new();
    for detection in sound {
        if kept.len() == MOST_DETECTIONS {
            break;
        }
        let repeats = |better: &&Detection| {
            let limit = if better.label == detection.label { SAME_LABEL_DUPLICATE } else { OTHER_LABEL_DUPLICATE };
            better.bbox.iou(&detection.bbox) > limit
        };
        if !kept.iter().any(repeats) {
            kept.push(detection);
        }
    }
    kept
}
